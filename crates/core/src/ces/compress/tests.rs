//! When compression is tried and kept, and that nothing it reads can take more room than promised.

use proptest::prelude::{any, prop_assert_eq, proptest};

use super::{CompressPolicy, compress_chunk as compress, decompress, entropy_bits, native, portable};

const ZSTD: CompressPolicy = CompressPolicy::DEFAULT;

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

type Backend = fn(&[u8], u8, &mut [u8]) -> Option<usize>;

fn frame_of(backend: Backend, plain: &[u8], level: u8, bytes_max: usize) -> Option<Vec<u8>> {
    let mut frame = vec![0; bytes_max];
    let bytes = backend(plain, level, &mut frame)?;
    frame.truncate(bytes);
    Some(frame)
}

#[test]
fn only_what_pays_is_compressed() {
    let text = "the quick brown fox jumps over the lazy dog; ".repeat(2000).into_bytes();
    let random = noise(1, 300_000);
    let repeated = noise(2, 5_000).repeat(60);
    let base64: Vec<u8> = random.iter().map(|b| b'0' + (b & 63)).collect();
    // 97 % noise: what zstd would gain is below five per cent.
    let almost: Vec<u8> =
        noise(3, 300_000).chunks(100).flat_map(|c| [&c[..97.min(c.len())], b"   "].concat()).collect();
    for (name, plain, pays) in [
        ("text", &text, true),
        ("random", &random, false),
        ("repeated noise, which entropy alone misses", &repeated, true),
        ("base64, which matches alone miss", &base64, true),
        ("almost random", &almost, false),
    ] {
        assert_eq!(compress(plain, ZSTD).is_some(), pays, "{name}");
        assert_eq!(compress(plain, CompressPolicy::Never), None, "{name}");
    }
}

#[test]
fn tiny_and_odd_inputs_are_no_trouble() {
    for bytes in [1, 2, 15, 16, 1023, 1024, 16_384, 16_385, 49_152, 49_153] {
        for plain in [vec![7; bytes], noise(4, bytes)] {
            for level in [0, 1, 9, 255] {
                let frame = compress(&plain, CompressPolicy::Zstd { level });
                assert!(
                    frame.is_none_or(|f| decompress(&f, bytes).as_ref() == Some(&plain)),
                    "{bytes} {level}"
                );
            }
        }
    }
    assert_eq!(entropy_bits(&[9; 100]), 0.0);
    assert!(entropy_bits(&noise(5, 1 << 20)) > 7.95);
}

#[test]
fn a_frame_takes_the_room_it_is_given_and_no_more() {
    let plain: Vec<u8> = noise(6, 50_000).iter().map(|byte| byte & 15).collect();
    for backend in [native::compress as Backend, portable::compress] {
        let frame = frame_of(backend, &plain, 1, plain.len()).expect("half of it is zeros");
        assert_eq!(frame_of(backend, &plain, 1, frame.len() - 1), None);
    }
}

#[test]
fn a_frame_of_another_length_is_refused_by_both_backends() {
    let plain = vec![0; 1 << 20];
    let bomb = compress(&plain, ZSTD).expect("zeros compress");
    assert!(bomb.len() < 200);
    for promised in [0, 1, 1000, (1 << 20) - 1, (1 << 20) + 1, 2 << 20] {
        assert_eq!(native::decompress(&bomb, promised), None, "{promised}");
        assert_eq!(portable::decompress(&bomb, promised), None, "{promised}");
    }
}

proptest! {
    #[test]
    fn each_backend_reads_the_others_frames(seed: u64, bytes in 1usize..200_000, alphabet in 2u8..=255) {
        let plain: Vec<u8> = noise(seed, bytes).iter().map(|b| b % alphabet).collect();
        let room = plain.len() * 2 + 100;
        for level in [1, 3, 9] {
            let frame = frame_of(native::compress, &plain, level, room).expect("room");
            prop_assert_eq!(&portable::decompress(&frame, bytes), &Some(plain.clone()));
            prop_assert_eq!(&native::decompress(&frame, bytes), &Some(plain.clone()));
        }
        let frame = frame_of(portable::compress, &plain, 3, room).expect("room");
        prop_assert_eq!(&native::decompress(&frame, bytes), &Some(plain.clone()));
        prop_assert_eq!(&portable::decompress(&frame, bytes), &Some(plain));
    }

    #[test]
    fn no_frame_makes_a_decoder_panic(
        frame in proptest::collection::vec(any::<u8>(), 0..300), flip: proptest::sample::Index, bit in 0u8..8,
        len in 0usize..5000,
    ) {
        native::decompress(&frame, len);
        portable::decompress(&frame, len);
        let mut mutated = frame_of(native::compress, &b"abcabcabd".repeat(100), 3, 900).expect("room");
        let at = flip.index(mutated.len());
        mutated[at] ^= 1 << bit;
        native::decompress(&mutated, 900);
        portable::decompress(&mutated, 900);
    }
}
