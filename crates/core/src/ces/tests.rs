//! Chunks sealed, damaged, rebuilt and opened again.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest};

use super::{
    BadPiece, CompressPolicy, OpenChunk, OpenError, SealChunk, SealedChunk, check_shard, open_range,
    pieces_of, rebuild, seal_chunk, seal_chunk_in, segments_for,
};
use crate::chunk::{Aead, Code, Codec, Shape, ShardHeader, TAG_BYTES};
use crate::chunker::{CHUNK_BYTES_MAX, chunk_bytes_max};
use crate::codec::Reader;
use crate::erasure::TooFew;
use crate::id::BlobId;
use crate::keys::DataKey;

const BLOB: BlobId = BlobId([0x42; 16]);
static KEY: DataKey = DataKey::new([7; 32]);
const AEADS: [Aead; 3] = [Aead::Packed, Aead::Aes256Gcm, Aead::XChaCha20Poly1305];

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

fn code(k: u8, m: u8) -> Code {
    Code::new(k, m).expect("a valid code")
}

fn job(code: Code, aead: Aead, plain: &[u8]) -> SealChunk<'_> {
    SealChunk {
        blob: BLOB,
        chunk: 9,
        code,
        aead,
        key: &KEY,
        compress: CompressPolicy::DEFAULT,
        layout_epoch: 3,
        audit: b"audit",
        plain,
    }
}

fn opening(shape: &Shape) -> OpenChunk<'_> {
    OpenChunk { blob: BLOB, chunk: 9, shape, key: &KEY }
}

/// Opens a range from exactly the pieces that it asks for.
fn open(shape: &Shape, shards: &[Bytes], range: Range<u32>) -> Result<Bytes, OpenError> {
    let reads = segments_for(shape, range.clone());
    let pieces = reads.iter().flat_map(|read| {
        pieces_of(shape, read.index, read.pieces.start, &shards[usize::from(read.index)][read.bytes(shape)])
    });
    open_range(&opening(shape), &pieces.collect::<Vec<_>>(), range)
}

fn flipped(shards: &[Bytes], shard: usize, bit: usize) -> Vec<Bytes> {
    let mut shards = shards.to_vec();
    let mut bytes = shards[shard].to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    shards[shard] = bytes.into();
    shards
}

/// What a shard is checked for everywhere: its own pieces, and that headers survive the wire.
fn check_stripe(sealed: &SealedChunk) {
    let shape = &sealed.shape;
    assert!(shape.is_valid() && sealed.shards.len() == usize::from(shape.code.n()));
    assert_eq!(sealed.headers.len(), sealed.shards.len());
    let data: Vec<u8> = sealed.shards[..shape.code.k().into()].concat();
    for (header, shard) in sealed.headers.iter().zip(&sealed.shards) {
        assert_eq!(header.chunk_hash, *blake3::hash(&data).as_bytes());
        assert_eq!(check_shard(header, shard), Ok(()));
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        assert_eq!(ShardHeader::decode(&mut Reader::new(&bytes, "header")).as_ref(), Ok(header));
    }
}

fn any_code() -> impl Strategy<Value = Code> {
    proptest::prop_oneof![
        4 => (1u8..12, 0u8..5).prop_map(|(k, m)| code(k, m)),
        1 => proptest::sample::select(vec![code(1, 0), code(10, 4), code(255, 0), code(1, 254), code(200, 55)]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_sealed_opens_again_in_any_range_after_any_loss(
        code in any_code(), aead in proptest::sample::select(&AEADS[..]), size in 0.0..1.0f64, alphabet in 1u8..=255,
        never: bool, seed: u64, cuts: [proptest::sample::Index; 4], losses: Vec<proptest::sample::Index>,
    ) {
        let bytes_max = chunk_bytes_max(code).min(600_000);
        let bytes = f64::from(bytes_max).powf(size) as usize;
        let plain: Vec<u8> = noise(seed, bytes).iter().map(|b| b % alphabet).collect();
        let compress = if never { CompressPolicy::Never } else { CompressPolicy::DEFAULT };
        let sealed = seal_chunk(&SealChunk { compress, ..job(code, aead, &plain) });
        check_stripe(&sealed);
        let shape = sealed.shape;
        prop_assert!(!(never || aead == Aead::Packed) || shape.codec == Codec::Raw);

        let lost: Vec<u8> = losses.iter().take(shape.code.m().into()).map(|l| l.index(shape.code.n().into()) as u8).collect();
        let present: Vec<(u8, &[u8])> =
            (0..shape.code.n()).zip(&sealed.shards).filter(|(i, _)| !lost.contains(i)).map(|(i, s)| (i, &s[..])).collect();
        let mut shards = sealed.shards.clone();
        for (index, shard) in rebuild(&shape, 0..shape.pieces, &present, &lost).expect("enough are left") {
            prop_assert_eq!(&shard[..], &shards[usize::from(index)]);
            shards[usize::from(index)] = shard.into();
        }
        let whole = open(&shape, &shards, 0..u32::MAX);
        prop_assert_eq!(whole.as_deref(), Ok(&plain[..]));
        for pair in cuts.chunks(2) {
            let (a, b) = (pair[0].index(bytes + 1), pair[1].index(bytes + 1));
            let range = a.min(b)..a.max(b);
            let opened = open(&shape, &shards, range.start as u32..range.end as u32);
            prop_assert_eq!(opened.as_deref(), Ok(&plain[range]));
        }
    }

    #[test]
    fn nothing_that_a_stranger_sends_makes_opening_panic(
        shape in proptest::collection::vec(any::<u8>(), 14), k in 1u8..4, m in 0u8..3, j in 0u8..3, pieces in 1u8..5,
        len in 1u32..40_000, segments in proptest::collection::vec((0u32..20, 0usize..5000), 0..20), range: Range<u32>,
    ) {
        let mut near = vec![k, m, j, pieces, 0, 1];
        near.extend([len, len].iter().flat_map(|len| len.to_le_bytes()));
        let pieces: Vec<(u32, Vec<u8>)> = segments.iter().map(|(s, bytes)| (*s, vec![0; *bytes])).collect();
        let pieces: Vec<(u32, &[u8])> = pieces.iter().map(|(s, bytes)| (*s, bytes.as_slice())).collect();
        for bytes in [shape, near] {
            if let Ok(shape) = Shape::decode(&mut Reader::new(&bytes, "shape")) {
                let opened = open_range(&opening(&shape), &pieces, range.clone());
                prop_assert!(opened.is_err() || opened == Ok(Bytes::new()) || shape.aead == Aead::Packed);
                segments_for(&shape, range.clone());
            }
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_and_named() {
    for aead in [Aead::Aes256Gcm, Aead::XChaCha20Poly1305] {
        let plain = noise(1, 4500);
        let sealed = seal_chunk(&job(code(2, 1), aead, &plain));
        let shape = sealed.shape;
        let (pieces, segments) = (3, 5);
        assert_eq!((shape.code, usize::from(shape.pieces), shape.segments()), (code(2, 1), pieces, segments));
        for (shard, bit) in (0..3).flat_map(|shard| (0..shape.shard_bytes() * 8).map(move |bit| (shard, bit)))
        {
            let shards = flipped(&sealed.shards, shard, bit);
            let piece = bit / 8 / shape.piece_bytes();
            let named = check_shard(&sealed.headers[shard], &shards[shard]);
            assert_eq!(named, Err(BadPiece { piece: piece as u8 }), "shard {shard} bit {bit}");
            // Parity and empty pieces are not read; the padding of a piece that is counts like its payload.
            let number = shard * pieces + piece;
            let refused = Err(OpenError::BadTag { segment: number as u32 });
            let expected = if number < segments { refused } else { Ok(plain.clone().into()) };
            assert_eq!(open(&shape, &shards, 0..4500), expected, "shard {shard} bit {bit}");
        }
    }
}

#[test]
fn a_piece_opens_only_in_its_own_blob_chunk_place_and_shape() {
    let plain = noise(2, 100_000);
    let sealed = seal_chunk(&job(code(2, 1), Aead::Aes256Gcm, &plain));
    let shape = sealed.shape;
    let pieces: Vec<(u32, &[u8])> =
        (0..2).flat_map(|i| pieces_of(&shape, i, 0, &sealed.shards[usize::from(i)])).collect();
    let all = 0..100_000;
    assert!(open_range(&opening(&shape), &pieces, all.clone()).is_ok());
    let refused = |job: OpenChunk<'_>| open_range(&job, &pieces, 0..100_000).is_err();
    assert!(refused(OpenChunk { blob: BlobId([0x43; 16]), ..opening(&shape) }));
    assert!(refused(OpenChunk { chunk: 8, ..opening(&shape) }));
    assert!(refused(OpenChunk { key: &DataKey::new([8; 32]), ..opening(&shape) }));
    let other_shapes = [
        Shape { code: code(2, 2), ..shape },
        Shape { plain_len: shape.plain_len - 1, payload_len: shape.payload_len - 1, ..shape },
        Shape { plain_len: shape.plain_len + 1, codec: Codec::Zstd, ..shape },
        Shape { aead: Aead::XChaCha20Poly1305, ..shape },
        Shape { pieces: shape.pieces + 1, ..shape },
    ];
    for other in other_shapes {
        assert!(other.is_valid() && refused(opening(&other)), "{other:?}");
    }
    let mut swapped = pieces.clone();
    (swapped[0].1, swapped[1].1) = (pieces[1].1, pieces[0].1);
    assert_eq!(open_range(&opening(&shape), &swapped, all.clone()), Err(OpenError::BadTag { segment: 0 }));
    assert_eq!(open_range(&opening(&shape), &pieces[1..], all), Err(OpenError::Missing { segment: 0 }));
}

#[test]
fn a_range_reads_only_the_pieces_that_hold_it() {
    let plain = noise(3, chunk_bytes_max(code(10, 4)) as usize);
    let sealed = seal_chunk(&job(code(10, 4), Aead::Aes256Gcm, &plain));
    let piece = 32 * 1024 - TAG_BYTES as u32;
    let read = |range| {
        let reads = segments_for(&sealed.shape, range);
        reads.iter().map(|r| format!("{}:{:?}", r.index, r.pieces)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(read(0..1), "0:0..1");
    assert_eq!(read(0..piece), "0:0..1");
    assert_eq!(read(piece - 1..piece + 1), "0:0..2");
    assert_eq!(read(16 * piece - 1..16 * piece + 1), "0:15..16 1:0..1");
    assert_eq!(read(15 * piece..33 * piece), "0:15..16 1:0..16 2:0..1");
    assert_eq!(read(160 * piece - 1..u32::MAX), "9:15..16");
    assert_eq!(read(160 * piece..u32::MAX), "");
    assert_eq!(read(5..5), "");
    // Any 64 KiB need at most 128 KiB of pieces.
    let reads = (0..piece).map(|at| segments_for(&sealed.shape, at..at + 65_536));
    let pieces = reads.map(|reads| reads.iter().map(|r| r.pieces.len()).sum::<usize>()).max();
    assert_eq!(pieces, Some(4));
    let zstd = seal_chunk(&job(code(10, 4), Aead::Aes256Gcm, &b"abcdefgh".repeat(600_000)));
    assert_eq!(zstd.shape.codec, Codec::Zstd);
    let all: usize = segments_for(&zstd.shape, 7..8).iter().map(|r| r.pieces.len()).sum();
    assert_eq!(all, zstd.shape.segments());
}

#[test]
fn a_sealed_chunk_never_changes_its_bytes() {
    let hash = |aead| {
        let plain: Vec<u8> = (0..40_000u32).map(|i| ((i * i) >> 7) as u8).collect();
        let never = SealChunk { compress: CompressPolicy::Never, ..job(code(4, 2), aead, &plain) };
        let sealed = seal_chunk(&never);
        blake3::hash(&sealed.shards.concat()).to_hex()[..16].to_string()
    };
    expect_test::expect!["a0a1d0ae45f44037 ff27563cfd685962 43b8653528c7aac8"]
        .assert_eq(&AEADS.map(hash).join(" "));
}

#[test]
fn a_range_of_pieces_is_rebuilt_like_whole_shards() {
    let plain = noise(4, 200_000);
    let sealed = seal_chunk(&job(code(4, 2), Aead::Aes256Gcm, &plain));
    let shape = sealed.shape;
    let range = 2..5u8;
    let bytes = 2 * shape.piece_bytes()..5 * shape.piece_bytes();
    let part = |i: u8| (i, &sealed.shards[usize::from(i)][bytes.clone()]);
    let rebuilt = rebuild(&shape, range.clone(), &[part(5), part(1), part(2), part(4)], &[0, 3]);
    assert_eq!(rebuilt, Ok(vec![(0, part(0).1.to_vec()), (3, part(3).1.to_vec())]));
    // What is not a range of a shard of this stripe does not count.
    let (short, stray) = ((0, &part(0).1[1..]), (6, part(0).1));
    let too_few = rebuild(&shape, range, &[short, stray, part(1), part(2), part(4)], &[3]);
    assert_eq!(too_few, Err(TooFew { have: 3, need: 4 }));
}

#[test]
fn a_shard_of_the_wrong_length_is_bad() {
    let sealed = seal_chunk(&job(code(1, 0), Aead::Aes256Gcm, b"x"));
    let (header, shard) = (&sealed.headers[0], &sealed.shards[0]);
    for wrong in [&shard[1..], &[], &[&shard[..], &[0; 1024]].concat()] {
        assert_eq!(check_shard(header, wrong), Err(BadPiece { piece: 0 }));
    }
}

#[test]
fn a_promise_of_a_huge_plaintext_is_refused() {
    let sealed = seal_chunk(&job(code(1, 0), Aead::Aes256Gcm, &[0; 50_000]));
    let huge = Shape { plain_len: CHUNK_BYTES_MAX + 1, codec: Codec::Zstd, ..sealed.shape };
    assert_eq!(open(&huge, &sealed.shards, 0..1), Err(OpenError::BadFrame));
}

#[test]
fn memory_is_used_again_once_its_shards_are_gone() {
    let (plain, mut pool) = (noise(5, 1 << 20), BytesMut::new());
    let first = seal_chunk_in(&job(code(4, 2), Aead::Aes256Gcm, &plain), &mut pool);
    let memory = first.shards[0].as_ptr();
    let while_held = seal_chunk_in(&job(code(4, 2), Aead::Aes256Gcm, &plain), &mut pool);
    assert_ne!(while_held.shards[0].as_ptr(), memory);
    let second = while_held.shards[0].as_ptr();
    assert_eq!(first.shards, while_held.shards);
    drop((first, while_held));
    let again = seal_chunk_in(&job(code(4, 2), Aead::Aes256Gcm, &plain), &mut pool);
    assert_eq!(again.shards[0].as_ptr(), second);
    check_stripe(&again);
}

#[test]
fn compression_that_saves_no_page_is_not_kept() {
    let sealed = seal_chunk(&job(code(1, 0), Aead::Aes256Gcm, &[0; 1000]));
    assert_eq!(sealed.shape.codec, Codec::Raw);
}

#[test]
fn pieces_merge_into_the_published_hashes_of_blake3() {
    // The input of BLAKE3's own test vectors: 0, 1, … 250, 0, 1, …
    let input = |bytes: usize| (0..bytes).map(|at| (at % 251) as u8).collect::<Vec<u8>>();
    for (bytes, hash) in [
        (0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
        (1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"),
        (1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"),
        (1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"),
        (102_400, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085"),
    ] {
        assert_eq!(blake3::hash(&input(bytes)).to_hex().as_str(), hash, "{bytes} bytes");
    }
    let whole = input(102_400);
    for (k, pieces, piece_log2) in [(10, 10, 0), (10, 5, 1), (5, 5, 2), (25, 4, 0), (100, 1, 0)] {
        let shape = Shape {
            code: code(k, 4),
            piece_log2,
            pieces,
            codec: Codec::Raw,
            aead: Aead::Packed,
            plain_len: 102_400,
            payload_len: 102_400,
        };
        let shards = (0..k).zip(whole.chunks_exact(shape.shard_bytes()));
        let values = shards.flat_map(|(index, shard)| {
            let pieces = (0..pieces).zip(shard.chunks_exact(shape.piece_bytes()));
            pieces.map(move |(piece, bytes)| ShardHeader::piece_value(&shape, index, piece, bytes))
        });
        let merged = super::merge_chunk_hash(&values.collect::<Vec<_>>());
        assert_eq!(merged, *blake3::hash(&whole).as_bytes(), "{k} shards of {pieces}");
    }
}
