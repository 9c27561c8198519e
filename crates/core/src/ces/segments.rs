//! Where the segments of a chunk lie, which of them a range needs, and what each of them authenticates.

use std::ops::Range;

use crate::chunk::{Codec, SHAPE_BYTES, Shape};
use crate::codec::Put;
use crate::id::BlobId;

/// The version of the sealed layout, bound into every segment.
const FORMAT_VERSION: u8 = 1;
const SEGMENT_AT: usize = 1 + 16 + 4;
const AAD_BYTES: usize = SEGMENT_AT + 4 + SHAPE_BYTES;

/// Pieces of one shard that stand side by side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardPieces {
    /// Which data shard.
    pub index: u8,
    /// Which of its pieces.
    pub pieces: Range<u8>,
}

impl ShardPieces {
    /// The bytes of the shard that these pieces are.
    pub fn bytes(&self, shape: &Shape) -> Range<usize> {
        let size = shape.piece_bytes();
        usize::from(self.pieces.start) * size..usize::from(self.pieces.end) * size
    }
}

/// What must be read to open a range of a chunk's plaintext: in raw chunks only the pieces that hold it, in compressed ones
/// every piece with payload. Bytes behind the end of the chunk are left out; an empty range needs nothing.
pub fn segments_for(shape: &Shape, range: Range<u32>) -> Vec<ShardPieces> {
    let segments = needed(shape, &range);
    let per_shard = usize::from(shape.pieces);
    let mut reads = Vec::new();
    let mut next = segments.start;
    while next < segments.end {
        let (index, first) = (next / per_shard, next % per_shard);
        let end = per_shard.min(first + segments.end - next);
        reads.push(ShardPieces { index: index as u8, pieces: first as u8..end as u8 });
        next += end - first;
    }
    reads
}

/// The pieces in `bytes`, read from data shard `index` from piece `first` on, with their segment numbers: what
/// [`open_range`](super::open_range) takes. A rest shorter than a piece is left out.
pub fn pieces_of<'a>(
    shape: &Shape,
    index: u8,
    first: u8,
    bytes: &'a [u8],
) -> impl Iterator<Item = (u32, &'a [u8])> + use<'a> {
    let start = u32::from(index) * u32::from(shape.pieces) + u32::from(first);
    (start..).zip(bytes.chunks_exact(shape.piece_bytes()))
}

/// The numbers of the segments that a range of the plaintext needs.
pub(super) fn needed(shape: &Shape, range: &Range<u32>) -> Range<usize> {
    let end = range.end.min(shape.plain_len);
    match shape.codec {
        _ if range.start >= end => 0..0,
        Codec::Raw => {
            range.start as usize / shape.segment_bytes()..(end as usize).div_ceil(shape.segment_bytes())
        }
        Codec::Zstd => 0..shape.segments(),
    }
}

/// The part of the payload that segment `segment` holds.
pub(super) fn payload_of(shape: &Shape, segment: usize) -> Range<usize> {
    let (size, end) = (shape.segment_bytes(), shape.payload_len as usize);
    (segment * size).min(end)..((segment + 1) * size).min(end)
}

/// The associated data of a chunk's segments; only the segment number changes.
pub(super) struct SegmentAad(Vec<u8>);

impl SegmentAad {
    pub(super) fn new(blob: BlobId, chunk: u32, shape: &Shape) -> Self {
        let mut bytes = Vec::with_capacity(AAD_BYTES);
        bytes.put_u8(FORMAT_VERSION);
        bytes.put_raw(&blob.0);
        bytes.put_u32(chunk);
        bytes.put_u32(0);
        shape.encode(&mut bytes);
        assert_eq!(bytes.len(), AAD_BYTES, "the associated data has a fixed length");
        Self(bytes)
    }

    pub(super) fn of(&mut self, segment: u32) -> &[u8] {
        self.0[SEGMENT_AT..SEGMENT_AT + 4].copy_from_slice(&segment.to_le_bytes());
        &self.0
    }
}
