//! The bytes on a drive: what each file means, and nothing about when it is written.
//!
//! Owns the encoders and decoders of the three structures of a drive. Decoders take any bytes, allocate no more than
//! they were given, and never panic. A change here is a new format version: see docs/formats.md.
//!
//! | file | what |
//! |---|---|
//! | `superblock` | two copies of [`superblock::Superblock`], at 0 and 64 KiB |
//! | `extents/%08x` | records ([`record`]), one after the other, each on a 4 KiB boundary |
//! | `checkpoint` | the index at one moment ([`checkpoint`]); missing or damaged, it costs a scan, nothing else |

pub mod checkpoint;
pub mod record;
pub mod superblock;

use pangea_core::codec::{Malformed, Put, Reader};
use pangea_core::id::{BlobId, ChunkId, ShardId};

/// Everything on a drive starts on a multiple of this many bytes.
pub const BLOCK_BYTES: usize = 4096;
/// One empty block: padding, and what an unwritten block reads as.
pub(crate) static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
/// Bytes of an encoded [`ShardId`].
pub const SHARD_ID_BYTES: usize = 21;

/// Blocks that hold `bytes`.
pub const fn blocks(bytes: usize) -> u32 {
    bytes.div_ceil(BLOCK_BYTES) as u32
}

/// Bytes before block `block`.
pub const fn block_offset(block: u32) -> u64 {
    block as u64 * BLOCK_BYTES as u64
}

/// Appends blob, chunk, index.
pub(crate) fn put_shard_id(out: &mut Vec<u8>, id: &ShardId) {
    out.put_raw(&id.chunk.blob.0);
    out.put_u32(id.chunk.chunk);
    out.put_u8(id.index);
}

/// Reads blob, chunk, index.
pub(crate) fn read_shard_id(r: &mut Reader<'_>) -> Result<ShardId, Malformed> {
    let chunk = ChunkId { blob: BlobId(r.array()?), chunk: r.u32()? };
    Ok(ShardId { chunk, index: r.u8()? })
}
