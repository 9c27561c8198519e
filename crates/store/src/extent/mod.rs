//! The extent engine: one drive's shards in append-only files, with one owner, no thread and no clock.
//!
//! Owns everything below `extents/` and the file `checkpoint`. Runs the same over a directory and over the simulator's
//! disk. `commit` appends and acknowledges, `reader` reads, `recovery` opens, `upkeep` checkpoints and compacts.
//!
//! What must hold at every crash point:
//! * nothing enters the index before the drive said that it is durable;
//! * an extent file is removed only after a durable checkpoint that needs nothing in it;
//! * sequence numbers are never reused, and extents are filled in the order of their numbers, so that the later record
//!   of a shard is the one with the higher (extent, block);
//! * nothing is appended to an extent after one of its writes or syncs failed, nor after a crash left something unknown
//!   behind its last known record.

mod commit;
pub mod files;
mod index;
mod reader;
mod recovery;
mod scan;
mod upkeep;

use std::collections::BTreeSet;
use std::sync::Arc;

use pangea_core::seam::{Disk, DiskFile};

use crate::drive::SuperblockFile;
use crate::format::block_offset;
use crate::format::checkpoint::Marks;
use crate::format::superblock::Superblock;
use crate::port::{Fault, IoOp, Stopped, StoreError, StoreStatus};

pub use commit::{CheckedPut, Write};
pub use reader::ExtentReader;
pub use recovery::{CheckpointUse, Damage, RecoveryReport};

use reader::{Shared, WriterView, reserve};
use upkeep::Compacting;

/// Sizes of the engine. All in bytes; the defaults suit drives from a laptop's directory to tens of terabytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// The first extents are this large, so that a fresh drive is small.
    pub extent_bytes_min: u64,
    /// Extents grow with what is stored, up to this.
    pub extent_bytes_max: u64,
    /// Kept free for tombstones and compaction, besides room for a checkpoint; at most 1/32 of the drive. No extent is
    /// larger than the reserve, or a full drive could not empty one.
    pub reserve_bytes: u64,
    /// A checkpoint is due after so much was appended (or eight times the checkpoint's own size, if that is more): the
    /// most that opening the drive after a crash must re-read.
    pub checkpoint_every_bytes: u64,
    /// Extents with a larger share of garbage than this are compacted, in percent.
    pub garbage_percent_max: u8,
    /// Extent files kept open.
    pub open_files_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            extent_bytes_min: 16 << 20,
            extent_bytes_max: 256 << 20,
            reserve_bytes: 320 << 20,
            checkpoint_every_bytes: 256 << 20,
            garbage_percent_max: 20,
            open_files_max: 64,
        }
    }
}

/// The extent that is being written.
struct Active {
    number: u32,
    file: Arc<dyn DiskFile>,
    used_blocks: u32,
    size_blocks: u32,
}

/// See the module.
pub struct ExtentStore {
    disk: Arc<dyn Disk>,
    options: Options,
    superblock: SuperblockFile,
    reader: ExtentReader,
    active: Option<Active>,
    marks: Marks,
    appended_since_checkpoint: u64,
    /// Extents without anything needed; removed with the next checkpoint.
    emptied: Vec<u32>,
    compacting: Option<Compacting>,
    /// Extents kept for a damaged live record; compacted again once nothing in them is live.
    held: BTreeSet<u32>,
    /// Failed appends since the last good one.
    failures: u8,
    /// An append failed, and there was no room for the checkpoint that cuts it off.
    checkpoint_owed: bool,
    stopped: Option<Stopped>,
    damaged_records: u64,
    closed: bool,
}

impl ExtentStore {
    /// A handle for reading, for any number of threads.
    pub fn reader(&self) -> ExtentReader {
        self.reader.clone()
    }

    /// The superblock as last written.
    pub fn superblock(&self) -> &Superblock {
        self.superblock.current()
    }

    /// See [`ShardStore::set_generation`](crate::port::ShardStore::set_generation).
    pub fn set_generation(&mut self, meta_generation: u64, layout_epoch: u32) -> Result<(), StoreError> {
        self.check_open()?;
        let done = self.superblock.set_generation(meta_generation, layout_epoch);
        if let Err(StoreError::Io(fault)) = &done {
            self.shared().note(*fault);
        }
        self.publish();
        done
    }

    /// See [`ShardStore::status`](crate::port::ShardStore::status).
    pub fn status(&self) -> StoreStatus {
        self.publish();
        self.reader.status()
    }

    /// Tells the readers what only the writer knows; every public change ends with it.
    fn publish(&self) {
        let superblock = self.superblock.current();
        self.shared().set_view(WriterView {
            slot: superblock.identity.slot,
            layout_epoch: superblock.layout_epoch,
            meta_generation: superblock.meta_generation,
            unused_bytes: self.active.as_ref().map_or(0, |a| block_offset(a.size_blocks - a.used_blocks)),
            reserve_bytes: self.options.reserve_bytes,
            damaged_records: self.damaged_records,
            stopped: self.stopped,
        });
    }

    /// Checkpoints and closes. Every later call is [`StoreError::Closed`], except this one.
    pub fn shutdown(&mut self) -> Result<(), StoreError> {
        if self.closed {
            return Ok(());
        }
        self.closed = true;
        if self.stopped.is_some() || self.appended_since_checkpoint == 0 && self.emptied.is_empty() {
            return Ok(());
        }
        self.write_checkpoint()
    }

    fn shared(&self) -> &Shared {
        &self.reader.shared
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.closed {
            return Err(StoreError::Closed);
        }
        self.stopped.map_or(Ok(()), |stopped| Err(stopped.into()))
    }

    fn reserve(&self, total: u64) -> u64 {
        reserve(self.options.reserve_bytes, total)
    }

    /// Remembers a fault of the write side and says what the caller gets.
    fn fault(&mut self, op: IoOp, error: &std::io::Error) -> StoreError {
        let fault = Fault::new(op, error);
        self.shared().note(fault);
        if fault.is_read_only() {
            self.stopped = Some(Stopped::ReadOnly);
            return StoreError::ReadOnly;
        }
        StoreError::Io(fault)
    }
}
