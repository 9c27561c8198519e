//! Scanning: the records of an extent as they lie on the medium, whatever state it is in.
//!
//! A record's own head says where the next one starts. Where there is no readable head, every block is tried: a torn or
//! rotten record hides nothing behind it.

use pangea_core::seam::DiskFile;

use crate::format::record::{Head, Place, decode_head};
use crate::format::superblock::Identity;
use crate::format::{BLOCK_BYTES, ZEROS, block_offset};

/// Blocks that are read at once.
const WINDOW_BLOCKS: u32 = 64;

/// What lies at a block.
pub(super) enum Found {
    /// The head of a record that belongs there.
    Record(Head),
    /// Blocks up to this one (exclusive) hold something that is no record of this place.
    Damage {
        /// The first block after them.
        until: u32,
    },
}

/// Walks through one extent.
pub(super) struct Scan<'a> {
    file: &'a dyn DiskFile,
    number: u32,
    identity: Identity,
    end: u32,
    block: u32,
    /// The block after the last one that was not all zeros.
    filled: u32,
    window: Vec<u8>,
    window_at: u32,
}

impl<'a> Scan<'a> {
    /// Starts at block `from`; `end` is the number of whole blocks in the file.
    pub(super) fn new(file: &'a dyn DiskFile, number: u32, identity: Identity, from: u32, end: u32) -> Self {
        Self { file, number, identity, end, block: from, filled: from, window: Vec::new(), window_at: from }
    }

    /// The block after the last one seen that was not all zeros.
    pub(super) fn filled(&self) -> u32 {
        self.filled
    }

    /// The next thing and the block where it starts; `None` at the end.
    pub(super) fn next(&mut self) -> Option<(u32, Found)> {
        let mut damaged_from = None;
        while self.block < self.end {
            let here = self.block;
            let looked = self.block_bytes(here).map(|bytes| (decode_head(bytes).ok(), is_zero(bytes)));
            // A block that cannot be read is damage, like any other that is neither a record nor empty.
            let (head, zero) = looked.unwrap_or((None, false));
            if let Some(head) = self.record_at(here, head) {
                if let Some(from) = damaged_from {
                    return Some((from, Found::Damage { until: here }));
                }
                self.block = here + head.blocks();
                self.filled = self.block;
                return Some((here, Found::Record(head)));
            }
            if zero && let Some(from) = damaged_from {
                return Some((from, Found::Damage { until: here }));
            }
            self.block += 1;
            if !zero {
                damaged_from = damaged_from.or(Some(here));
                self.filled = self.block;
            }
        }
        damaged_from.map(|from| (from, Found::Damage { until: self.end }))
    }

    fn record_at(&self, block: u32, head: Option<Head>) -> Option<Head> {
        let head = head?;
        let at = Place { extent: self.number, block };
        let fits = block.checked_add(head.blocks()).is_some_and(|end| end <= self.end);
        (head.stamp.at == at && head.stamp.identity == self.identity && fits).then_some(head)
    }

    /// One block; `None` if the medium does not give it back.
    fn block_bytes(&mut self, block: u32) -> Option<&[u8]> {
        let held = (self.window.len() / BLOCK_BYTES) as u32;
        if block < self.window_at || block >= self.window_at + held {
            self.fetch(block);
        }
        let start = (block - self.window_at) as usize * BLOCK_BYTES;
        self.window.get(start..start + BLOCK_BYTES)
    }

    fn fetch(&mut self, block: u32) {
        self.window_at = block;
        let count = WINDOW_BLOCKS.min(self.end - block);
        self.window.resize(count as usize * BLOCK_BYTES, 0);
        if self.file.read_at(&mut self.window, block_offset(block)).is_ok() {
            return;
        }
        // Somewhere in the window is a bad sector: take the blocks before it one by one.
        self.window.truncate(BLOCK_BYTES);
        if self.file.read_at(&mut self.window, block_offset(block)).is_err() {
            self.window.clear();
        }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes == &ZEROS[..bytes.len()]
}
