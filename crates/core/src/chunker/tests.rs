//! Sizes: always valid, never beaten by another shape, and what they cost on the drives.

use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

use super::{
    Aead, BLOB_BYTES_MAX, CHUNK_BYTES_MAX, Code, Codec, DRIVE_PAGE_BYTES, PIECE_LOG2_DEFAULT_MAX, Shape,
    TooLong, chunk_bytes_max, fit, plan, record_bytes, stripe_bytes,
};

const AEADS: [Aead; 3] = [Aead::Packed, Aead::Aes256Gcm, Aead::XChaCha20Poly1305];
const SHARD_BYTES_MAX: usize = 8 << 20;

fn code(k: u8, m: u8) -> Code {
    Code::new(k, m).expect("a valid code")
}

fn any_code() -> impl Strategy<Value = Code> {
    (1u8..=255).prop_flat_map(|k| (proptest::strategy::Just(k), 0..=255 - k)).prop_map(|(k, m)| code(k, m))
}

/// Bytes on the drives of a blob that is cut and laid out as writers do.
fn blob_bytes(code: Code, len: u64) -> u64 {
    let chunk = u64::from(plan(Some(len), code).expect("not too long"));
    let chunks = (0..len).step_by(chunk as usize).map(|at| chunk.min(len - at) as u32);
    let shapes =
        chunks.map(|bytes| fit(code, Aead::Aes256Gcm, Codec::Raw, bytes, bytes).expect("a chunk fits"));
    shapes.map(|shape| stripe_bytes(&shape)).sum()
}

proptest! {
    #[test]
    fn every_chunk_that_chunker_cuts_has_a_valid_shape(
        code in any_code(), aead in proptest::sample::select(&AEADS[..]), share: f64, shrink in any::<Option<f64>>(),
    ) {
        let plain = 1 + (share.abs().fract() * f64::from(chunk_bytes_max(code) - 1)) as u32;
        let payload = shrink.map(|s| 1 + (s.abs().fract() * f64::from(plain - 1)) as u32).filter(|p| *p < plain);
        let codec = if payload.is_some() { Codec::Zstd } else { Codec::Raw };
        let shape = fit(code, aead, codec, plain, payload.unwrap_or(plain)).expect("it fits");
        prop_assert!(shape.is_valid());
        prop_assert_eq!(shape.code.m(), code.m());
        prop_assert!(shape.code.k() <= code.k());
        prop_assert!(shape.piece_log2 <= PIECE_LOG2_DEFAULT_MAX && shape.shard_bytes() <= 512 * 1024);
        let smaller = Shape { pieces: shape.pieces - 1, ..shape };
        prop_assert!(!smaller.is_valid(), "no piece is left over: {:?}", shape);
    }

    #[test]
    fn no_other_shape_takes_fewer_bytes(k in 1u8..16, m in 0u8..6, plain in 1u32..8_000_000) {
        let plain = plain.min(chunk_bytes_max(code(k, m)));
        let best = fit(code(k, m), Aead::Aes256Gcm, Codec::Raw, plain, plain).expect("it fits");
        for (k, piece_log2, pieces) in (1..=k).flat_map(|k| (0..=5).flat_map(move |j| (1..=16).map(move |p| (k, j, p)))) {
            let other = Shape { code: code(k, m), piece_log2, pieces, ..best };
            prop_assert!(!other.is_valid() || stripe_bytes(&other) >= stripe_bytes(&best), "{:?} {:?}", best, other);
        }
    }

    #[test]
    fn a_plan_cuts_any_blob_into_chunks_that_fit(code in any_code(), len in 0..=BLOB_BYTES_MAX) {
        let chunk = plan(Some(len), code).expect("not too long");
        prop_assert!((1..=chunk_bytes_max(code)).contains(&chunk));
        prop_assert!(len.div_ceil(chunk.into()) <= u64::from(u32::MAX));
    }
}

#[test]
fn chunks_larger_than_the_default_still_have_shapes_up_to_8_mib_a_shard() {
    let largest = |piece_log2: u32| 16 * ((1u32 << (10 + piece_log2)) - 16);
    for log2 in 6..=9 {
        let shape =
            fit(code(1, 2), Aead::Aes256Gcm, Codec::Raw, largest(log2), largest(log2)).expect("it fits");
        assert_eq!((u32::from(shape.piece_log2), shape.pieces), (log2, 16));
        assert!(shape.shard_bytes() <= SHARD_BYTES_MAX);
    }
    assert_eq!(fit(code(1, 2), Aead::Aes256Gcm, Codec::Raw, largest(9) + 1, largest(9) + 1), None);
    assert_eq!(fit(code(1, 2), Aead::Aes256Gcm, Codec::Raw, 0, 0), None);
    assert_eq!(fit(code(1, 2), Aead::Aes256Gcm, Codec::Zstd, 9, 9), None);
}

#[test]
fn the_chunk_sizes_are_those_of_the_design() {
    assert_eq!(chunk_bytes_max(code(1, 0)), 524_032);
    assert_eq!(chunk_bytes_max(code(10, 4)), 5_240_320);
    assert_eq!(chunk_bytes_max(code(255, 0)), CHUNK_BYTES_MAX);
    assert_eq!(plan(None, code(10, 4)), Ok(5_240_320));
    assert_eq!(plan(Some(0), code(10, 4)), Ok(DRIVE_PAGE_BYTES as u32));
    assert_eq!(plan(Some(BLOB_BYTES_MAX + 1), code(1, 0)), Err(TooLong { bytes: BLOB_BYTES_MAX + 1 }));
    assert!(BLOB_BYTES_MAX / u64::from(chunk_bytes_max(code(1, 0))) < u64::from(u32::MAX) / 30);
}

#[test]
fn a_small_chunk_uses_fewer_data_shards_and_all_the_parity() {
    let shape = |len| {
        let s = fit(code(10, 4), Aead::Aes256Gcm, Codec::Raw, len, len).expect("it fits");
        format!("{len}: {} {}x{}K", s.code, s.pieces, s.piece_bytes() / 1024)
    };
    let shapes: Vec<String> = [1, 4_096, 16_384, 65_536, 262_144, 1 << 20, 5_240_320].map(shape).into();
    expect_test::expect![[r#"
        1: 1+4 1x2K
        4096: 2+4 3x1K
        16384: 6+4 3x1K
        65536: 10+4 7x1K
        262144: 10+4 13x2K
        1048576: 10+4 13x8K
        5240320: 10+4 16x32K"#]]
    .assert_eq(&shapes.join("\n"));
}

#[test]
fn a_blob_just_over_one_chunk_does_not_waste_pieces() {
    for (len, percent_max) in
        [(5 << 20, 142), (8 << 20, 144), (10 << 20, 142), (16 << 20, 144), (64 << 20, 144)]
    {
        let percent = blob_bytes(code(10, 4), len) * 100 / len;
        assert!(percent <= percent_max, "{len} bytes take {percent} %");
    }
}

#[test]
fn a_record_is_whole_pages() {
    assert_eq!(
        (record_bytes(1024, 3), record_bytes(1024, 4), record_bytes(32 * 1024, 16)),
        (4096, 8192, 528_384)
    );
}

/// Prints what blobs cost at 10+4 against their own bytes: `cargo test -p pangea-core overhead -- --nocapture --ignored`.
#[test]
#[ignore = "a measurement, not a test"]
fn overhead() {
    let code = code(10, 4);
    for (name, from, to) in [
        ("16 KiB to 5 MiB", 16 << 10, 5 << 20),
        ("128 KiB to 5 MiB", 128 << 10, 5 << 20),
        ("5 MiB to 64 MiB", 5 << 20, 64 << 20),
    ] {
        let (from, to): (f64, f64) = (f64::from(from), f64::from(to));
        let sizes = 4000;
        let size = |i: i32| (from * (to / from).powf((f64::from(i) + 0.5) / f64::from(sizes))) as u64;
        let ratios: Vec<f64> =
            (0..sizes).map(|i| blob_bytes(code, size(i)) as f64 / size(i) as f64).collect();
        let (bytes, drives) =
            (0..sizes).fold((0, 0), |(b, d), i| (b + size(i), d + blob_bytes(code, size(i))));
        let mean = ratios.iter().sum::<f64>() / f64::from(sizes);
        let worst = ratios.iter().copied().fold(0.0, f64::max);
        println!("{name}: mean {mean:.3}, worst {worst:.3}, by bytes {:.3}", drives as f64 / bytes as f64);
    }
    for kib in [1, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 5120, 8192, 10240, 16384, 65536] {
        let len = kib << 10;
        println!("{kib} KiB: {:.3}", blob_bytes(code, len) as f64 / len as f64);
    }
}
