//! Chunk and stripe sizes: how a blob is cut, and how each chunk lies on its drives.
//!
//! Pure arithmetic over lengths. Owns the default sizes (D1) and the choice of [`Shape`]; the format's limits are in
//! `chunk`. Writers ask here once a blob ([`plan`]) and once a chunk ([`fit`]); readers never do, they have the manifest.

#[cfg(test)]
mod tests;

use std::fmt;

use crate::audit::SEALED_AUDIT_BYTES;
use crate::chunk::{Aead, Code, Codec, PIECE_LOG2_MAX, PIECES_MAX, SHARD_HEADER_BYTES_MAX, Shape, TAG_BYTES};

/// The largest piece by default, log2 in KiB: 32 KiB, so that a 64 KiB range read fetches at most 128 KiB.
pub const PIECE_LOG2_DEFAULT_MAX: u8 = 5;
/// Bytes of a drive's page: records start and end on it.
pub const DRIVE_PAGE_BYTES: usize = 4096;
/// The store's own fields in front of a shard record.
pub const RECORD_FIELDS_BYTES: usize = 128;
/// The fixed fields of a shard header.
pub const SHARD_HEADER_FIXED_BYTES: usize = 74;
/// The audit record of a shard header.
pub const RECORD_AUDIT_BYTES: usize = SEALED_AUDIT_BYTES;
/// The value of each piece in a shard header.
pub const PIECE_VALUE_BYTES: usize = 32;
/// The longest blob: 50 TiB, S3's largest object.
pub const BLOB_BYTES_MAX: u64 = 50 << 40;
/// The most plaintext in one chunk of any code: 255 data shards of sixteen 32 KiB pieces.
pub const CHUNK_BYTES_MAX: u32 = 255 * PIECES_MAX as u32 * (32 * 1024 - TAG_BYTES as u32);

const _: () = assert!(PIECE_LOG2_DEFAULT_MAX <= PIECE_LOG2_MAX);
const _: () = assert!(SHARD_HEADER_FIXED_BYTES + RECORD_AUDIT_BYTES <= SHARD_HEADER_BYTES_MAX);
// Even one data shard a chunk numbers the chunks of the longest blob with room to spare.
const _: () = assert!(BLOB_BYTES_MAX / (PIECES_MAX as u64 * 4096) < u32::MAX as u64);

/// A blob longer than [`BLOB_BYTES_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLong {
    /// The length that was asked for, in bytes.
    pub bytes: u64,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes are more than a blob's {BLOB_BYTES_MAX}", self.bytes)
    }
}

impl std::error::Error for TooLong {}

/// Bytes that a record with a shard of this shape takes on its drive.
pub const fn record_bytes(piece_bytes: usize, pieces: usize) -> usize {
    let header =
        RECORD_FIELDS_BYTES + SHARD_HEADER_FIXED_BYTES + RECORD_AUDIT_BYTES + PIECE_VALUE_BYTES * pieces;
    (header + piece_bytes * pieces).next_multiple_of(DRIVE_PAGE_BYTES)
}

/// Bytes that a whole stripe takes on its drives.
pub const fn stripe_bytes(shape: &Shape) -> u64 {
    shape.code.n() as u64 * record_bytes(shape.piece_bytes(), shape.pieces as usize) as u64
}

/// The most plaintext that a chunk of this code holds by default: k shards of sixteen 32 KiB pieces, less their tags.
pub const fn chunk_bytes_max(code: Code) -> u32 {
    code.k() as u32 * PIECES_MAX as u32 * ((1024 << PIECE_LOG2_DEFAULT_MAX) - TAG_BYTES as u32)
}

/// The shape of a chunk: the one that takes the fewest bytes on the drives.
///
/// A small chunk may use fewer data shards than `code` (never fewer parity shards), because every record costs at least a
/// page. Among equals the most data shards win, then the fewest pieces. `None` if there is nothing to seal, or if it does not
/// fit the largest shard.
pub fn fit(code: Code, aead: Aead, codec: Codec, plain_len: u32, payload_len: u32) -> Option<Shape> {
    let shape = |k: u8, piece_log2: u8| {
        let code = Code::new(k, code.m())?;
        let mut shape = Shape { code, piece_log2, pieces: 1, codec, aead, plain_len, payload_len };
        shape.pieces = u8::try_from(shape.segments().div_ceil(k.into())).ok()?;
        shape.is_valid().then_some(shape)
    };
    let best = |logs: std::ops::RangeInclusive<u8>| {
        let all = (1..=code.k()).flat_map(|k| logs.clone().map(move |log| (k, log)));
        let valid = all.filter_map(|(k, log)| shape(k, log));
        valid.min_by_key(|s| (stripe_bytes(s), std::cmp::Reverse((s.code.k(), s.piece_log2))))
    };
    best(0..=PIECE_LOG2_DEFAULT_MAX)
        .or_else(|| (PIECE_LOG2_DEFAULT_MAX + 1..=PIECE_LOG2_MAX).find_map(|log| best(log..=log)))
}

/// Plaintext bytes of every chunk of a blob but the last; the largest there are if the length is not known.
///
/// Chunks are of even size, unless filling whole pieces and leaving a short chunk at the end takes fewer bytes on the
/// drives: 5 MiB at 10+4 are just too much for one chunk, and two halves of it would waste an eighth.
pub fn plan(len: Option<u64>, code: Code) -> Result<u32, TooLong> {
    plan_within(len, code, chunk_bytes_max(code))
}

/// As [`plan`], with chunks of at most `bytes_max`, for a machine that has no room for larger ones. Never less than a page.
pub fn plan_within(len: Option<u64>, code: Code, bytes_max: u32) -> Result<u32, TooLong> {
    let page = DRIVE_PAGE_BYTES as u64;
    let bytes_max = bytes_max.clamp(DRIVE_PAGE_BYTES as u32, chunk_bytes_max(code));
    // Fewer data shards than the code has fill what is smaller than one piece of each.
    let max = full_sizes(code).filter(|size| *size <= bytes_max).max().unwrap_or(bytes_max);
    let Some(bytes) = len else { return Ok(max) };
    if bytes > BLOB_BYTES_MAX {
        return Err(TooLong { bytes });
    }
    let chunks = bytes.div_ceil(max.into()).max(1);
    let even = bytes.div_ceil(chunks).next_multiple_of(page).max(page);
    let even = u32::try_from(even).map_or(max, |even| even.min(max));
    if chunks == 1 && bytes <= even.into() {
        return Ok(even);
    }
    let full = full_sizes(code).filter(|size| (max / 2 + 1..=max).contains(size));
    let sizes = std::iter::once(even).chain(full);
    Ok(sizes.min_by_key(|size| blob_drive_bytes(code, bytes, *size)).unwrap_or(max))
}

/// Plaintext that fills all pieces of all k data shards; for each size of a piece the most pieces first.
fn full_sizes(code: Code) -> impl Iterator<Item = u32> {
    let sizes = (0..=PIECE_LOG2_DEFAULT_MAX)
        .rev()
        .flat_map(|log| (1..=PIECES_MAX).rev().map(move |pieces| (log, pieces)));
    sizes.map(move |(log, pieces)| {
        u32::from(code.k()) * u32::from(pieces) * ((1024 << log) - TAG_BYTES as u32)
    })
}

/// Bytes on the drives of a blob of incompressible data cut into chunks of `size`.
fn blob_drive_bytes(code: Code, bytes: u64, size: u32) -> u64 {
    let cost =
        |len: u32| fit(code, Aead::Aes256Gcm, Codec::Raw, len, len).map_or(0, |shape| stripe_bytes(&shape));
    bytes / u64::from(size) * cost(size) + cost((bytes % u64::from(size)) as u32)
}
