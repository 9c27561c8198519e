//! Memory for stripes: on large pages, so that page tables are not what is measured, and cut into shards.

use anyhow::{Context, Result};

use super::raw::pages;

/// Shards start on a cache line.
const LINE_BYTES: usize = 64;
/// Shards do not all start at the same place of a page, where they would compete for one set of each cache.
const SKEW_BYTES: usize = 5 * LINE_BYTES;

/// An allocation for the shards of one case.
pub struct Memory(Vec<u8>);

/// What is left of it.
pub struct Cutter<'a>(&'a mut [u8]);

impl Memory {
    /// Room for so many shards.
    pub fn new(shards: usize, shard_bytes: usize) -> Self {
        let mut bytes: Vec<u8> = Vec::with_capacity((shards + 1) * (shard_bytes + SKEW_BYTES + LINE_BYTES));
        pages::want_large(bytes.spare_capacity_mut());
        bytes.resize(bytes.capacity(), 0);
        Self(bytes)
    }

    /// Begins to cut.
    pub fn cut(&mut self) -> Cutter<'_> {
        let lead = self.0.as_ptr().align_offset(LINE_BYTES);
        Cutter(&mut self.0[lead..])
    }
}

impl<'a> Cutter<'a> {
    /// The next shard.
    pub fn shard(&mut self, bytes: usize) -> Result<&'a mut [u8]> {
        let room = bytes.next_multiple_of(LINE_BYTES);
        let room = if room.is_multiple_of(4096) { room + SKEW_BYTES } else { room };
        let (shard, rest) =
            std::mem::take(&mut self.0).split_at_mut_checked(room).context("memory for all shards")?;
        self.0 = rest;
        Ok(&mut shard[..bytes])
    }

    /// The next few shards.
    pub fn shards(&mut self, count: usize, bytes: usize) -> Result<Vec<&'a mut [u8]>> {
        (0..count).map(|_| self.shard(bytes)).collect()
    }
}

/// Incompressible bytes, the same for the same seed (xorshift64*).
pub fn fill(bytes: &mut [u8], seed: u64) {
    let mut state = seed.wrapping_mul(2) + 1;
    for word in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let random = state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
        word.copy_from_slice(&random[..word.len()]);
    }
}
