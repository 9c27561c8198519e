//! Opening: from the pieces of a chunk back to a range of its plaintext.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use super::compress;
use super::segments::{SegmentAad, needed, payload_of};
use crate::chunk::{Codec, Shape, TAG_BYTES};
use crate::chunker::CHUNK_BYTES_MAX;
use crate::id::BlobId;
use crate::keys::DataKey;
use crate::seal::{BadTag, Sealer};

/// A chunk to be opened.
#[derive(Clone, Copy, Debug)]
pub struct OpenChunk<'a> {
    /// The blob that it is a slice of.
    pub blob: BlobId,
    /// Its number within the blob.
    pub chunk: u32,
    /// How it lies, as the manifest says.
    pub shape: &'a Shape,
    /// The blob's data key. Not touched when packed.
    pub key: &'a DataKey,
}

/// Why a range could not be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// A segment that the range needs was not given.
    Missing {
        /// Its number.
        segment: u32,
    },
    /// A segment's bytes are not those that were sealed there: check its shard's piece values to find the liar.
    BadTag {
        /// Its number.
        segment: u32,
    },
    /// The payload is authentic but no zstd frame of the promised length: whoever sealed it was broken or hostile.
    BadFrame,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { segment } => write!(f, "segment {segment} was not given"),
            Self::BadTag { segment } => write!(f, "segment {segment} is not what was sealed"),
            Self::BadFrame => f.write_str("the payload is no frame of the promised length"),
        }
    }
}

impl std::error::Error for OpenError {}

/// Opens a range of a chunk's plaintext from the pieces that [`segments_for`](super::segments_for) asks for.
///
/// `pieces` are whole pieces with their segment numbers, in any order; more than needed does no harm. Bytes behind the end of
/// the chunk are left out. Nothing is returned that was not authenticated, except from a pack, whose items the caller opens.
pub fn open_range(
    job: &OpenChunk<'_>,
    pieces: &[(u32, &[u8])],
    range: Range<u32>,
) -> Result<Bytes, OpenError> {
    let mut buffer = Vec::new();
    let plain = open_range_into(job, pieces, range, &mut buffer)?;
    Ok(Bytes::from(buffer).slice(plain))
}

/// As [`open_range`], into a buffer that the caller keeps: where in it the plaintext is. The buffer grows if it must and never
/// shrinks; on an error it holds nothing of worth.
///
/// New memory for each chunk made opening an eighth slower where it was measured (docs/benchmarks.md); what it costs is the
/// allocator's affair.
pub fn open_range_into(
    job: &OpenChunk<'_>,
    pieces: &[(u32, &[u8])],
    range: Range<u32>,
    buffer: &mut Vec<u8>,
) -> Result<Range<usize>, OpenError> {
    let shape = job.shape;
    let segments = needed(shape, &range);
    if segments.is_empty() {
        return Ok(0..0);
    }
    if shape.plain_len > CHUNK_BYTES_MAX {
        return Err(OpenError::BadFrame);
    }
    let payload = open_segments(job, pieces, segments.clone(), buffer)?;
    let first = match shape.codec {
        Codec::Raw => segments.start * shape.segment_bytes(),
        Codec::Zstd => {
            let plain = compress::decompress(&buffer[..payload], shape.plain_len as usize);
            *buffer = plain.ok_or(OpenError::BadFrame)?;
            0
        }
    };
    let end = range.end.min(shape.plain_len) as usize;
    Ok(range.start as usize - first..end - first)
}

/// Opens the given segments, one behind the other, into the beginning of `buffer`: how many bytes they are.
fn open_segments(
    job: &OpenChunk<'_>,
    pieces: &[(u32, &[u8])],
    segments: Range<usize>,
    buffer: &mut Vec<u8>,
) -> Result<usize, OpenError> {
    let mut given: Vec<Option<&[u8]>> = vec![None; segments.len()];
    for (segment, piece) in pieces {
        if let Some(slot) = (*segment as usize).checked_sub(segments.start).and_then(|i| given.get_mut(i)) {
            *slot = Some(piece);
        }
    }
    // Before any room is made for them: an attacker's lengths cost nothing.
    if let Some(absent) = given.iter().position(Option::is_none) {
        return Err(OpenError::Missing { segment: (segments.start + absent) as u32 });
    }
    let sealer = Sealer::new(job.shape.aead, job.key, job.chunk);
    let mut aad = SegmentAad::new(job.blob, job.chunk, job.shape);
    let room = payload_of(job.shape, segments.start).start..payload_of(job.shape, segments.end - 1).end;
    if buffer.len() < room.len() {
        // Not `resize`: what is in it need not be kept, and new memory comes cleared.
        *buffer = vec![0; room.len()];
    }
    let mut rest = &mut buffer[..room.len()];
    for (segment, piece) in segments.zip(given.into_iter().flatten()) {
        let (out, behind) = rest.split_at_mut(payload_of(job.shape, segment).len());
        let number = segment as u32;
        open_piece(sealer.as_ref(), job.shape, number, aad.of(number), piece, out)
            .map_err(|BadTag| OpenError::BadTag { segment: number })?;
        rest = behind;
    }
    Ok(room.len())
}

fn open_piece(
    sealer: Option<&Sealer>,
    shape: &Shape,
    segment: u32,
    aad: &[u8],
    piece: &[u8],
    out: &mut [u8],
) -> Result<(), BadTag> {
    let used = out.len() + if sealer.is_some() { TAG_BYTES } else { 0 };
    // The padding is outside the tag; anything but zeros there is not what was sealed either.
    if piece.len() != shape.piece_bytes() || piece[used..].iter().any(|byte| *byte != 0) {
        return Err(BadTag);
    }
    match sealer {
        Some(sealer) => sealer.open_segment(segment, aad, &piece[..used], out)?,
        None => out.copy_from_slice(&piece[..used]),
    }
    Ok(())
}
