//! MD5 against RFC 1321's examples and another crate.

use md5::Digest;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert_eq, proptest};

use super::{Md5, advance};

fn reference(bytes: &[u8]) -> [u8; 16] {
    md5::Md5::digest(bytes).into()
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

#[test]
fn the_examples_of_the_standard_hold() {
    for (text, hash) in [
        ("", 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e_u128),
        ("a", 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661),
        ("abc", 0x9001_5098_3cd2_4fb0_d696_3f7d_28e1_7f72),
        ("message digest", 0xf96b_697d_7cb7_938d_525a_2f31_aaf1_61d0),
        ("abcdefghijklmnopqrstuvwxyz", 0xc3fc_d3d7_6192_e400_7dfb_496c_ca67_e13b),
        (
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            0xd174_ab98_d277_d9f5_a561_1c2c_9f41_9d9f,
        ),
        (
            "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
            0x57ed_f4a2_2be3_c955_ac49_da2e_2107_b67a,
        ),
    ] {
        assert_eq!(Md5::hash(text.as_bytes()), hash.to_be_bytes(), "{text:?}");
    }
}

#[test]
fn every_length_up_to_four_blocks_is_hashed_in_one_piece_and_in_two() {
    let bytes = noise(1, 256);
    for len in 0..=256 {
        let (bytes, expected) = (&bytes[..len], reference(&bytes[..len]));
        assert_eq!(Md5::hash(bytes), expected, "{len} bytes");
        let (head, tail) = bytes.split_at(len / 3);
        let mut md5 = Md5::new();
        md5.update(head);
        md5.update(tail);
        assert_eq!(md5.finish(), expected, "{len} bytes in two pieces");
    }
}

#[test]
fn any_number_of_streams_advances_together() {
    for count in 0..=40 {
        let inputs: Vec<Vec<u8>> = (0..count).map(|n| noise(n as u64, 1000 + 37 * n)).collect();
        let mut streams = vec![Md5::new(); count];
        let mut jobs: Vec<(&mut Md5, &[u8])> =
            streams.iter_mut().zip(inputs.iter().map(Vec::as_slice)).collect();
        advance(&mut jobs);
        assert!(jobs.iter().all(|(_, left)| left.is_empty()));
        for (stream, input) in streams.into_iter().zip(&inputs) {
            assert_eq!(stream.finish(), reference(input), "of {count} streams");
        }
    }
}

/// For each call of `advance`: which streams take part, and with how many bytes.
fn calls() -> impl Strategy<Value = Vec<Vec<(usize, usize)>>> {
    let part = (0usize..20, proptest::prop_oneof![0usize..200, 0usize..3000]);
    proptest::collection::vec(proptest::collection::vec(part, 0..24), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn streams_may_be_fed_in_any_pieces_and_any_company(calls in calls(), seed in any::<u64>()) {
        let mut streams = vec![Md5::new(); 20];
        let mut fed: Vec<Vec<u8>> = vec![Vec::new(); 20];
        for (number, call) in calls.iter().enumerate() {
            let mut pieces = vec![Vec::new(); 20];
            for (stream, bytes) in call {
                pieces[*stream] = noise(seed ^ (number * 20 + stream) as u64, *bytes);
            }
            fed.iter_mut().zip(&pieces).for_each(|(fed, piece)| fed.extend_from_slice(piece));
            let jobs = streams.iter_mut().zip(pieces.iter().map(Vec::as_slice));
            let mut jobs: Vec<(&mut Md5, &[u8])> = jobs.filter(|(_, piece)| !piece.is_empty()).collect();
            advance(&mut jobs);
        }
        for (stream, fed) in streams.into_iter().zip(&fed) {
            prop_assert_eq!(stream.finish(), reference(fed));
        }
    }
}
