//! CES: compress, encrypt, shard: from a slice of plaintext to the k+m shards of a sealed chunk, and back.
//!
//! Owns the layout of a sealed chunk and what its segments authenticate. Pure and single-threaded: the CPU pool and the
//! buffer pool around it live in `client`. Sizes come from `chunker`, ciphers from `seal`, parity from `erasure`.
//!
//! The payload (the plaintext or one zstd frame of it) is cut into segments of one piece less its tag. Segment *s* lies at
//! the start of piece *s* of the data shards taken one after the other, its tag right behind it; all bytes behind the last
//! segment's tag are zero. A pack's segments fill their pieces and have no tags: its payload is items (`item`), each sealed
//! by itself.
//!
//! ```text
//! shard 0: | seg 0 | tag | seg 1 | tag | ...   shard 1: | seg p | tag | ...   shard k-1: ... | last | tag | 0 0 0 |
//! ```
//!
//! The associated data of a segment binds where it belongs and how its chunk lies: format version 1 (u8), blob 16, chunk
//! u32, segment u32, shape 14.
//!
//! Who checks what: a healthy read is authenticated by the AEAD alone; piece values name the liar when a tag does not fit,
//! before decoding, on receipt and in scrub.

mod compress;
pub mod config;
pub mod item;
mod open;
mod segments;
mod stripe;
#[cfg(test)]
mod tests;

pub use compress::{CompressPolicy, compress_chunk};
pub use open::{OpenChunk, OpenError, open_range, open_range_into};
pub use segments::{ShardPieces, pieces_of, segments_for};
pub use stripe::{
    BadPiece, SealChunk, SealedChunk, check_shard, merge_chunk_hash, rebuild, rebuild_into, seal_chunk,
    seal_chunk_in,
};
