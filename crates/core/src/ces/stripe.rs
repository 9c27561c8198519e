//! Sealing a chunk into its stripe, and checking and rebuilding shards of one.
//!
//! A piece is copied, sealed and hashed while it is in the cache; parity follows over the whole stripe. One buffer holds all
//! shards, and before them the zstd frame that they are made of: it lies a little behind its place, and is sealed forward.

use std::ops::Range;

use blake3::hazmat::{Mode, merge_subtrees_non_root, merge_subtrees_root};
use bytes::{Bytes, BytesMut};

use super::compress::{self, CompressPolicy};
use super::segments::{SegmentAad, payload_of};
use crate::chunk::{AUDIT_BYTES_MAX, Aead, Code, Codec, PIECES_MAX, Shape, ShardHeader, TAG_BYTES};
use crate::chunker;
use crate::erasure::{self, TooFew};
use crate::id::{BlobId, ChunkId, ShardId};
use crate::keys::DataKey;
use crate::seal::Sealer;

/// The payload of the smallest piece, 1 KiB: no shape cuts a chunk into smaller segments.
const SEGMENT_BYTES_MIN: usize = 1024 - TAG_BYTES;

/// A chunk to be sealed.
#[derive(Clone, Copy, Debug)]
pub struct SealChunk<'a> {
    /// The blob that it is a slice of.
    pub blob: BlobId,
    /// Its number within the blob.
    pub chunk: u32,
    /// The blob's code; a small chunk uses fewer data shards.
    pub code: Code,
    /// The cipher. [`Aead::Packed`] seals and compresses nothing: `plain` is items that were sealed one by one.
    pub aead: Aead,
    /// The key of this sealing attempt: never used for another one. Not touched when packed.
    pub key: &'a DataKey,
    /// Whether and how hard to compress.
    pub compress: CompressPolicy,
    /// The layout epoch that places the shards.
    pub layout_epoch: u32,
    /// The sealed audit record of the blob.
    pub audit: &'a [u8],
    /// The plaintext: at least one byte, at most what `chunker::chunk_bytes_max` says of the code.
    pub plain: &'a [u8],
}

/// A sealed chunk: every shard and its header, in the order of their indices.
#[derive(Clone, Debug)]
pub struct SealedChunk {
    /// How the chunk lies.
    pub shape: Shape,
    /// One header a shard.
    pub headers: Vec<ShardHeader>,
    /// The shards: slices of one allocation.
    pub shards: Vec<Bytes>,
}

/// A shard whose bytes are not what its header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadPiece {
    /// The first wrong piece.
    pub piece: u8,
}

impl std::fmt::Display for BadPiece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "piece {} is not what its header says", self.piece)
    }
}

impl std::error::Error for BadPiece {}

/// Compresses, seals and shards a chunk in a buffer of its own.
///
/// # Panics
/// As [`seal_chunk_in`].
pub fn seal_chunk(job: &SealChunk<'_>) -> SealedChunk {
    seal_chunk_in(job, &mut BytesMut::new())
}

/// As [`seal_chunk`], in memory of `pool`: an allocation whose shards have all been dropped is used again.
///
/// # Panics
/// If the plaintext is empty or larger than any shape holds, or the audit record too long: the caller cuts by `chunker`.
pub fn seal_chunk_in(job: &SealChunk<'_>, pool: &mut BytesMut) -> SealedChunk {
    assert!(job.audit.len() <= AUDIT_BYTES_MAX, "an audit record is bounded where it is sealed");
    let (shape, payload) = choose_shape(job, pool);
    let (data_bytes, all_bytes) = (data_bytes(&shape), stripe_bytes(&shape));
    let mut values = seal_pieces(job, &shape, &payload, pool);
    let chunk_hash = merge_chunk_hash(&values);
    pool.truncate(data_bytes);
    pool.resize(all_bytes, 0);
    let (data, parity) = pool.split_at_mut(data_bytes);
    let data: Vec<&[u8]> = data.chunks_exact(shape.shard_bytes()).collect();
    let mut rooms: Vec<&mut [u8]> = parity.chunks_exact_mut(shape.shard_bytes()).collect();
    erasure::encode(shape.code, &data, &mut rooms);
    for (index, shard) in (shape.code.k()..shape.code.n()).zip(parity.chunks_exact(shape.shard_bytes())) {
        let pieces = (0..shape.pieces).zip(shard.chunks_exact(shape.piece_bytes()));
        values.extend(pieces.map(|(piece, bytes)| ShardHeader::piece_value(&shape, index, piece, bytes)));
    }
    let header = |(index, values): (u8, &[[u8; 32]])| ShardHeader {
        id: ShardId { chunk: ChunkId { blob: job.blob, chunk: job.chunk }, index },
        shape,
        layout_epoch: job.layout_epoch,
        chunk_hash,
        audit: job.audit.to_vec(),
        values: values.to_vec(),
    };
    let headers = (0..shape.code.n()).zip(values.chunks_exact(shape.pieces.into())).map(header).collect();
    let mut rest = pool.split().freeze();
    let shards = (0..shape.code.n()).map(|_| rest.split_to(shape.shard_bytes())).collect();
    SealedChunk { shape, headers, shards }
}

/// The BLAKE3 hash of a padded sealed chunk, from the values of all its data pieces in order.
///
/// # Panics
/// If there are none.
pub fn merge_chunk_hash(values: &[[u8; 32]]) -> [u8; 32] {
    assert!(!values.is_empty(), "a chunk has pieces");
    if let [only] = values {
        return *only;
    }
    let (left, right) = values.split_at(left_pieces(values.len()));
    *merge_subtrees_root(&merge(left), &merge(right), Mode::Hash).as_bytes()
}

/// Whether a shard's bytes are what its header says; names the first piece that is not.
pub fn check_shard(header: &ShardHeader, bytes: &[u8]) -> Result<(), BadPiece> {
    if bytes.len() != header.shape.shard_bytes() || header.values.len() != usize::from(header.shape.pieces) {
        return Err(BadPiece { piece: 0 });
    }
    header.first_bad_piece(0, bytes).map_or(Ok(()), |piece| Err(BadPiece { piece }))
}

/// Rebuilds the `wanted` shards, or the same range of pieces of each, from any k of the `present` ones.
///
/// What is present must have been checked against its header: wrong bytes give wrong shards. A shard that is not exactly
/// `pieces` long, or whose index the code does not have, counts as absent.
///
/// # Panics
/// If the code has no such `wanted` index.
pub fn rebuild(
    shape: &Shape,
    pieces: Range<u8>,
    present: &[(u8, &[u8])],
    wanted: &[u8],
) -> Result<Vec<(u8, Vec<u8>)>, TooFew> {
    let bytes = pieces.len() * shape.piece_bytes();
    let mut rebuilt: Vec<(u8, Vec<u8>)> = wanted.iter().map(|index| (*index, vec![0; bytes])).collect();
    let mut rooms: Vec<(u8, &mut [u8])> =
        rebuilt.iter_mut().map(|(i, room)| (*i, room.as_mut_slice())).collect();
    rebuild_into(shape, pieces, present, &mut rooms)?;
    Ok(rebuilt)
}

/// As [`rebuild`], into memory of the caller's: new memory costs more than the arithmetic.
///
/// # Panics
/// If the code has no such `wanted` index, or a room is not exactly `pieces` long.
pub fn rebuild_into(
    shape: &Shape,
    pieces: Range<u8>,
    present: &[(u8, &[u8])],
    wanted: &mut [(u8, &mut [u8])],
) -> Result<(), TooFew> {
    let bytes = pieces.len() * shape.piece_bytes();
    assert!(wanted.iter().all(|(_, room)| room.len() == bytes), "rooms for the pieces");
    let is_usable = |(index, shard): &&(u8, &[u8])| *index < shape.code.n() && shard.len() == bytes;
    let usable: Vec<(u8, &[u8])> = present.iter().filter(is_usable).copied().collect();
    erasure::reconstruct(shape.code, &usable, wanted)
}

/// What is sealed, and where it lies.
enum Payload<'a> {
    /// The plaintext; the memory of the stripe is empty.
    Plain(&'a [u8]),
    /// A frame in the memory of the stripe, far enough behind its place that no sealed piece reaches what is not sealed yet.
    Frame(Range<usize>),
}

impl Payload<'_> {
    /// Makes `piece` of `out` a part of the payload, and zeros behind it: room for the tag, and padding. Piece by piece from the first on.
    fn put(&self, part: Range<usize>, piece: Range<usize>, out: &mut BytesMut) {
        match self {
            Self::Plain(plain) => {
                out.extend_from_slice(&plain[part]);
                out.resize(piece.end, 0);
            }
            Self::Frame(frame) => {
                let (from, bytes) = (frame.start + part.start..frame.start + part.end, part.len());
                debug_assert!(
                    piece.end <= from.end || from.end == frame.end,
                    "{piece:?} would reach {from:?}"
                );
                out.copy_within(from, piece.start);
                out[piece.start + bytes..piece.end].fill(0);
            }
        }
    }
}

/// Compressed if that saves bytes on the drives; a compressed chunk must be read whole, so it has to pay. Leaves memory for
/// the stripe in `pool`, with the frame in it if there is one.
fn choose_shape<'a>(job: &SealChunk<'a>, pool: &mut BytesMut) -> (Shape, Payload<'a>) {
    let plain_len = u32::try_from(job.plain.len()).expect("a chunk is cut by chunker");
    let fit = |codec, payload_len| chunker::fit(job.code, job.aead, codec, plain_len, payload_len);
    let raw = fit(Codec::Raw, plain_len).expect("a chunk is cut by chunker: not empty, and it fits");
    pool.clear();
    pool.reserve(stripe_bytes(&raw));
    let plain = (raw, Payload::Plain(job.plain));
    if job.aead == Aead::Packed || !compress::may_pay(job.plain, job.compress) {
        return plain;
    }
    let lead = frame_lead(job);
    let room = lead + compress::frame_bytes_max(job.plain.len());
    debug_assert!(room <= data_bytes(&raw), "what compression gains is more than all tags");
    pool.resize(room, 0);
    let frame_len = compress::compress_into(job.plain, job.compress, &mut pool[lead..]);
    let zstd = frame_len.and_then(|len| Some((len, fit(Codec::Zstd, u32::try_from(len).ok()?)?)));
    match zstd {
        Some((len, zstd)) if chunker::stripe_bytes(&zstd) < chunker::stripe_bytes(&raw) => {
            let frame = lead..lead + len;
            pool.resize(frame.end.max(data_bytes(&zstd)), 0);
            (zstd, Payload::Frame(frame))
        }
        _ => {
            pool.clear();
            plain
        }
    }
}

/// How far behind its place a frame lies. Each sealed segment is a tag longer than its payload, so the tags of as many
/// segments as any shape of the chunk has are enough.
fn frame_lead(job: &SealChunk<'_>) -> usize {
    let segments = job.plain.len().div_ceil(SEGMENT_BYTES_MIN);
    segments.min(usize::from(job.code.k()) * usize::from(PIECES_MAX)) * TAG_BYTES
}

/// Seals and pads all data pieces, from the start of `out` on, and returns their values.
fn seal_pieces(
    job: &SealChunk<'_>,
    shape: &Shape,
    payload: &Payload<'_>,
    out: &mut BytesMut,
) -> Vec<[u8; 32]> {
    let sealer = Sealer::new(job.aead, job.key, job.chunk);
    let mut aad = SegmentAad::new(job.blob, job.chunk, shape);
    let per_shard = usize::from(shape.pieces);
    let pieces = per_shard * usize::from(shape.code.k());
    let mut values = Vec::with_capacity(usize::from(shape.code.n()) * per_shard);
    for piece in 0..pieces {
        let (part, start) = (payload_of(shape, piece), piece * shape.piece_bytes());
        let (bytes, whole) = (part.len(), start..start + shape.piece_bytes());
        payload.put(part, whole.clone(), out);
        if let Some(sealer) = sealer.as_ref().filter(|_| piece < shape.segments()) {
            let sealed = &mut out[start..start + bytes + TAG_BYTES];
            sealer.seal_segment(piece as u32, aad.of(piece as u32), sealed);
        }
        let (index, within) = ((piece / per_shard) as u8, (piece % per_shard) as u8);
        values.push(ShardHeader::piece_value(shape, index, within, &out[whole]));
    }
    values
}

fn data_bytes(shape: &Shape) -> usize {
    usize::from(shape.code.k()) * shape.shard_bytes()
}

fn stripe_bytes(shape: &Shape) -> usize {
    usize::from(shape.code.n()) * shape.shard_bytes()
}

fn merge(values: &[[u8; 32]]) -> [u8; 32] {
    if let [only] = values {
        return *only;
    }
    let (left, right) = values.split_at(left_pieces(values.len()));
    merge_subtrees_non_root(&merge(left), &merge(right), Mode::Hash)
}

/// Pieces in the left subtree: the largest power of two below `pieces` (≥ 2).
fn left_pieces(pieces: usize) -> usize {
    pieces.next_power_of_two() / 2
}

#[cfg(test)]
mod tests;
