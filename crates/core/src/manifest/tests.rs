//! Manifests: round trips, arithmetic, and every way of lying that decoding refuses.

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::{
    Aead, BlobHead, ChunkEntry, Code, FIXED_BYTES, KeyRef, MANIFEST_INLINE_BYTES_MAX, Manifest, PushError,
    RUN_BYTES, Shape, WrappedKey,
};
use crate::chunk::Codec;
use crate::chunker;
use crate::id::BucketId;

fn head(chunk_bytes: u32) -> BlobHead {
    BlobHead {
        chunk_bytes,
        aead: Aead::Aes256Gcm,
        code: Code::new(4, 2).expect("valid"),
        key: KeyRef { bucket: BucketId([1; 16]), generation: 2 },
        data_key: WrappedKey { nonce: [3; 12], sealed: [4; 48] },
    }
}

fn entry(plain_len: u32, payload_len: u32, salt: u16) -> ChunkEntry {
    let codec = if payload_len < plain_len { Codec::Zstd } else { Codec::Raw };
    let shape = chunker::fit(head(1).code, Aead::Aes256Gcm, codec, plain_len, payload_len).expect("it fits");
    ChunkEntry { shape, salt, layout_epoch: 5 }
}

/// A blob of full chunks and a tail; `payloads` are what the chunks compressed to.
fn manifest(chunk_bytes: u32, payloads: &[u32], tail: u32) -> Manifest {
    let mut manifest = Manifest::new(head(chunk_bytes));
    for payload in payloads {
        manifest.push(entry(chunk_bytes, *payload, 0)).expect("a full chunk");
    }
    if tail > 0 {
        manifest.push(entry(tail, tail, 0)).expect("the tail");
    }
    manifest
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_again(
        chunk_bytes in 1u32..2_000_000, shares in proptest::collection::vec(0.3..1.5f64, 0..40), tail: u32,
    ) {
        let payload = |share: &f64| ((f64::from(chunk_bytes) * share) as u32).clamp(1, chunk_bytes);
        let payloads: Vec<u32> = shares.iter().map(payload).collect();
        let manifest = manifest(chunk_bytes, &payloads, tail % chunk_bytes);
        let bytes = manifest.encode();
        prop_assert_eq!(bytes.len(), manifest.encoded_len());
        prop_assert_eq!(Manifest::decode(&bytes), Ok(manifest.clone()));
        for (number, payload) in (0..).zip(&payloads) {
            prop_assert_eq!(manifest.chunk(number).map(|c| c.shape.payload_len), Some(*payload));
        }
        prop_assert_eq!(manifest.chunk(manifest.chunks()), None);
        for cut in 0..bytes.len() {
            prop_assert!(Manifest::decode(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn decoding_never_panics_and_accepts_only_what_it_would_write(
        noise: Vec<u8>, at: proptest::sample::Index, value: u8, second: proptest::sample::Index,
    ) {
        let _ = Manifest::decode(&noise);
        let mut bytes = manifest(50_000, &[50_000, 50_000, 20_000], 77).encode();
        let (at, second) = (at.index(bytes.len()), second.index(bytes.len()));
        bytes[at] = value;
        bytes[second] = bytes[second].wrapping_add(1);
        if let Ok(decoded) = Manifest::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }

    #[test]
    fn located_ranges_are_the_range_cut_at_chunk_borders(
        chunk_bytes in 1u32..5000, chunks in 0usize..20, tail: u32, range in any::<std::ops::Range<u16>>(),
    ) {
        let manifest = manifest(chunk_bytes, &vec![chunk_bytes; chunks], tail % chunk_bytes);
        let (start, end) = (u64::from(range.start), u64::from(range.end));
        let located: Vec<u64> = manifest
            .locate(start..end)
            .flat_map(|(n, r)| r.map(move |at| u64::from(n) * u64::from(chunk_bytes) + u64::from(at)))
            .collect();
        prop_assert_eq!(located, (start..end.min(manifest.blob_len())).collect::<Vec<_>>());
        prop_assert!(manifest.locate(start..end).all(|(n, r)| n < manifest.chunks() && r.start < r.end));
    }
}

#[test]
fn equal_neighbours_share_a_run_and_others_do_not() {
    let raw = manifest(50_000, &[50_000; 1000], 10);
    assert_eq!((raw.chunks(), raw.encoded_len()), (1001, FIXED_BYTES + 2 * RUN_BYTES));
    let mixed = manifest(50_000, &[50_000, 9_000, 9_000, 50_000], 0);
    assert_eq!(mixed.encoded_len(), FIXED_BYTES + 3 * RUN_BYTES);
    let long: Vec<u32> = (1000..1700).collect();
    let long = manifest(50_000, &long, 0);
    assert!(long.spills() && long.encoded_len() > MANIFEST_INLINE_BYTES_MAX && !raw.spills());
}

#[test]
fn an_empty_blob_has_no_chunks() {
    let empty = Manifest::new(head(4096));
    assert_eq!((empty.chunks(), empty.blob_len(), empty.locate(0..u64::MAX).count()), (0, 0, 0));
    assert_eq!(Manifest::decode(&empty.encode()), Ok(empty));
}

#[test]
fn a_50_tib_blob_is_one_line() {
    let size = chunker::plan(None, head(1).code).expect("not too long");
    let mut manifest = Manifest::new(head(size));
    let chunks = u32::try_from(chunker::BLOB_BYTES_MAX / u64::from(size)).expect("few enough");
    manifest.push_run(chunks, entry(size, size, 0)).expect("full chunks");
    let tail = (chunker::BLOB_BYTES_MAX % u64::from(size)) as u32;
    assert_eq!(manifest.push(entry(size, size, 0)), Err(PushError::TooLong));
    manifest.push(entry(tail, tail, 0)).expect("the tail");
    assert_eq!(manifest.blob_len(), chunker::BLOB_BYTES_MAX);
    assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest.clone()));
    let last = manifest.locate(chunker::BLOB_BYTES_MAX - 1..u64::MAX).collect::<Vec<_>>();
    assert_eq!(last, [(chunks, tail - 1..tail)]);
}

#[test]
fn chunks_that_are_not_the_blobs_are_not_taken() {
    let mut manifest = manifest(50_000, &[50_000], 10);
    assert_eq!(manifest.push(entry(50_000, 50_000, 0)), Err(PushError::AfterTheLast));
    let mut manifest = Manifest::new(head(50_000));
    let good = entry(50_000, 50_000, 0);
    let others = [
        Shape { aead: Aead::XChaCha20Poly1305, ..good.shape },
        Shape { code: Code::new(4, 1).expect("valid"), ..good.shape },
        Shape { code: Code::new(5, 2).expect("valid"), ..good.shape },
        Shape { pieces: 0, ..good.shape },
        Shape { plain_len: 50_001, payload_len: 50_001, ..good.shape },
    ];
    for shape in others {
        assert_eq!(manifest.push(ChunkEntry { shape, ..good }), Err(PushError::NotOfThisBlob), "{shape:?}");
    }
    assert_eq!(manifest.push(good), Ok(()));
    assert_eq!(manifest.push_run(u32::MAX, good), Err(PushError::TooLong));
}

#[test]
fn a_manifest_has_one_spelling() {
    let good = manifest(50_000, &[50_000, 50_000], 0);
    let bytes = good.encode();
    let run = &bytes[FIXED_BYTES..];
    let with_runs = |runs: &[&[u8]], blob_len: u64| {
        let mut out = bytes[..FIXED_BYTES - 4].to_vec();
        out[1..9].copy_from_slice(&blob_len.to_le_bytes());
        out.extend_from_slice(&(runs.len() as u32).to_le_bytes());
        runs.iter().for_each(|r| out.extend_from_slice(r));
        Manifest::decode(&out)
    };
    let counted = |chunks: u32| [&chunks.to_le_bytes(), &run[4..]].concat();
    assert_eq!(with_runs(&[run], 100_000), Ok(good));
    assert!(with_runs(&[&counted(1), &counted(1)], 100_000).is_err(), "split run");
    assert!(with_runs(&[run, &counted(0)], 100_000).is_err(), "empty run");
    assert!(with_runs(&[&counted(0)], 0).is_err(), "only an empty run");
    assert!(with_runs(&[run], 100_001).is_err() && with_runs(&[run], 99_999).is_err(), "another length");
    let trailing = [&bytes[..], &[0]].concat();
    assert!(Manifest::decode(&trailing).is_err(), "trailing byte");
}
