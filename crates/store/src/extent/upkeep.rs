//! Upkeep: checkpoints, and compaction, which gives the bytes of dead records back to the drive.
//!
//! ```text
//! victim ──► live records checked and appended elsewhere (synced) ──► needed tombstones too ──► emptied
//! emptied ──► checkpoint that does not name it (durable) ──► file removed
//! ```
//! A live record that is damaged is not copied: its extent is held as it is until the shard was quarantined.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, IoSlice, Write};

use pangea_core::id::ShardId;
use pangea_core::seam::DiskFile;

use super::ExtentStore;
use super::commit::{Draft, Purpose, is_damage};
use crate::format::checkpoint::{self, CHECKPOINT_FILE, CHECKPOINT_NEW_FILE, ExtentUse, checkpoint_bytes};
use crate::format::record::TOMBSTONES_MAX;
use crate::format::{BLOCK_BYTES, block_offset};
use crate::port::{Compacted, IoOp, StoreError};

/// Bytes that compaction holds in memory and writes with one sync.
const MOVE_BYTES_MAX: u64 = 16 << 20;
/// Sealed extents smaller than a quarter of the smallest size (crashes and failures leave them) that are left alone.
const SMALL_EXTENTS_MAX: usize = 32;
const CHECKPOINT_BUFFER_BYTES: usize = 1 << 20;

/// An extent that is being emptied.
#[derive(Clone, Copy)]
pub(super) struct Compacting {
    extent: u32,
    /// Live records before this block were moved or found damaged.
    next_block: u32,
    /// A damaged live record keeps the file.
    held: bool,
}

impl ExtentStore {
    /// Whether enough was appended since the last checkpoint for a new one.
    pub fn checkpoint_due(&self) -> bool {
        let every = self.options.checkpoint_every_bytes;
        self.appended_since_checkpoint >= every
            && self.appended_since_checkpoint >= 8 * self.checkpoint_bytes()
    }

    /// Makes the index durable, then removes the extents that nothing needs any more.
    pub fn checkpoint(&mut self) -> Result<(), StoreError> {
        self.check_open()?;
        let done = self.write_checkpoint();
        self.publish();
        done
    }

    /// See [`ShardStore::compact`](crate::port::ShardStore::compact).
    pub fn compact_step(&mut self, budget_bytes: u64) -> Result<Compacted, StoreError> {
        self.check_open()?;
        let done = self.compact_some(budget_bytes);
        self.publish();
        done
    }

    fn compact_some(&mut self, budget_bytes: u64) -> Result<Compacted, StoreError> {
        let mut report = Compacted::default();
        let mut left = budget_bytes.max(1);
        while left > 0 {
            let Some(mut work) = self.compacting.take().or_else(|| self.choose_victim()) else {
                report.done = true;
                break;
            };
            match self.empty_some(&mut work, &mut left, &mut report) {
                Ok(true) if !work.held => self.emptied.push(work.extent),
                Ok(true) => {
                    self.held.insert(work.extent);
                }
                Ok(false) => self.compacting = Some(work),
                Err(error) => {
                    self.compacting = Some(work);
                    let full = matches!(error, StoreError::Full { .. });
                    if !full || self.emptied.is_empty() {
                        return Err(error);
                    }
                    // No room to go on: first give back what was emptied so far.
                    report.freed_bytes += self.free_emptied()?;
                }
            }
        }
        let emptied = self.emptied_bytes();
        if emptied > 0 && (report.done || emptied >= 4 * self.checkpoint_bytes()) {
            report.freed_bytes += self.free_emptied()?;
        }
        Ok(report)
    }

    fn free_emptied(&mut self) -> Result<u64, StoreError> {
        let emptied = self.emptied_bytes();
        self.write_checkpoint().map(|()| emptied)
    }

    /// Moves live records out of an extent, at most `left` bytes; `true` when it was walked to its end.
    fn empty_some(
        &mut self,
        work: &mut Compacting,
        left: &mut u64,
        report: &mut Compacted,
    ) -> Result<bool, StoreError> {
        let live = self.shared().index().live_in(work.extent, work.next_block);
        let mut live = live.into_iter().peekable();
        while live.peek().is_some() && *left > 0 {
            let batch_max = MOVE_BYTES_MAX.min(*left);
            let (mut drafts, mut bytes, mut next_block) = (Vec::new(), 0, work.next_block);
            let mut corrupt = Vec::new();
            while bytes < batch_max
                && let Some((id, location)) = live.next()
            {
                match self.reader.read_checked_at(id, &location) {
                    Ok((header, data)) => {
                        let draft = Draft::shard(header, data);
                        bytes += draft.bytes();
                        drafts.push(draft);
                    }
                    Err(error) if is_damage(&error) => corrupt.push(id),
                    Err(error) => return Err(error),
                }
                next_block = location.at.block + 1;
            }
            self.append(drafts, Purpose::Shrink).into_iter().collect::<Result<(), _>>()?;
            work.next_block = next_block;
            work.held |= !corrupt.is_empty();
            self.damaged_records += corrupt.len() as u64;
            report.corrupt.extend(corrupt);
            report.moved_bytes += bytes;
            *left = left.saturating_sub(bytes);
        }
        if live.peek().is_some() {
            return Ok(false);
        }
        if !work.held {
            self.keep_tombstones(work.extent)?;
        }
        Ok(true)
    }

    fn keep_tombstones(&mut self, extent: u32) -> Result<(), StoreError> {
        let ids: Vec<ShardId> = self.shared().index().tombstones_to_keep(extent, &self.emptied);
        let drafts = ids.chunks(TOMBSTONES_MAX).map(|ids| Draft::tombstones(ids.to_vec())).collect();
        self.append(drafts, Purpose::Shrink).into_iter().collect()
    }

    /// The extent with the largest share of bytes to win, if that is worth it.
    fn choose_victim(&mut self) -> Option<Compacting> {
        let active = self.active.as_ref().map(|a| a.number);
        let most_garbage = {
            let index = self.shared().index();
            let needed = tombstone_bytes(&index.graves, |id| index.live.contains_key(id));
            let share = |(number, extent): (&u32, &ExtentUse)| {
                let used = block_offset(extent.used_blocks);
                let won = index.garbage_in(*number).saturating_sub(needed.get(number).copied().unwrap_or(0));
                let is_active = active == Some(*number);
                let worth = won * 100 > used * u64::from(self.options.garbage_percent_max)
                    && (!is_active || won >= self.options.extent_bytes_min / 2)
                    && !self.emptied.contains(number)
                    && (!self.held.contains(number) || index.live_bytes_in(*number) == 0);
                worth.then(|| (won * 1000 / used.max(1), *number, is_active))
            };
            let most = index.extents.iter().filter_map(share).max();
            most.map(|(_, number, is_active)| (number, is_active))
        };
        let (extent, seal) = most_garbage.or_else(|| Some((self.small_extent()?, false)))?;
        if seal {
            self.seal_active();
        }
        self.held.remove(&extent);
        Some(Compacting { extent, next_block: 0, held: false })
    }

    /// The smallest of too many small extents, where there is room to merge them.
    fn small_extent(&self) -> Option<u32> {
        let small_max = self.options.extent_bytes_min / 4;
        let active = self.active.as_ref().map(|a| a.number);
        let smallest = {
            let index = self.shared().index();
            let is_small = |(number, extent): (&u32, &ExtentUse)| {
                let free_to_go =
                    active != Some(*number) && !self.emptied.contains(number) && !self.held.contains(number);
                let used = block_offset(extent.used_blocks);
                (free_to_go && used < small_max).then_some((used, *number))
            };
            let small: Vec<_> = index.extents.iter().filter_map(is_small).collect();
            if small.len() <= SMALL_EXTENTS_MAX {
                return None;
            }
            small.into_iter().min()
        };
        // On a nearly full drive the next extent would be small again, and this would never end.
        let space = self.disk.space().ok()?;
        let room = space.available.saturating_sub(self.reserve(space.total) + self.checkpoint_bytes());
        smallest.filter(|_| room >= 2 * self.options.extent_bytes_max).map(|(_, number)| number)
    }

    fn emptied_bytes(&self) -> u64 {
        let index = self.shared().index();
        let used = |number| index.extents.get(number).map_or(0, |e| block_offset(e.used_blocks));
        self.emptied.iter().map(used).sum()
    }

    fn checkpoint_bytes(&self) -> u64 {
        self.shared().index().checkpoint_bytes()
    }

    pub(super) fn write_checkpoint(&mut self) -> Result<(), StoreError> {
        if let Err((op, error)) = self.try_checkpoint() {
            let answer = self.fault(op, &error);
            return Err(match answer {
                StoreError::Io(fault) if fault.is_full() => {
                    StoreError::Full { needed: self.checkpoint_bytes(), available: 0 }
                }
                other => other,
            });
        }
        self.appended_since_checkpoint = 0;
        self.checkpoint_owed = false;
        self.remove_emptied()
    }

    fn try_checkpoint(&self) -> Result<(), (IoOp, io::Error)> {
        let at = |op| move |error| (op, error);
        let index = self.shared().index();
        let mut extents = index.extents.clone();
        extents.retain(|number, _| !self.emptied.contains(number));
        let graves = index.graves_without(&self.emptied);
        let lines = graves.values().map(|g| g.extents.len()).sum();
        let len = checkpoint_bytes(extents.len(), index.live.len(), lines);
        match self.disk.remove(CHECKPOINT_NEW_FILE) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err((IoOp::Remove, error)),
            _ => {}
        }
        let file = self.disk.open(CHECKPOINT_NEW_FILE, Some(len)).map_err(at(IoOp::Create))?;
        let mut out =
            BufWriter::with_capacity(CHECKPOINT_BUFFER_BYTES, FileWriter { file: file.as_ref(), offset: 0 });
        let identity = self.superblock.current().identity;
        let mut marks = self.marks;
        marks.last_record = marks.last_record.filter(|place| extents.contains_key(&place.extent));
        checkpoint::write(&mut out, &identity, &marks, &extents, &index.live, &graves)
            .and_then(|()| out.flush())
            .map_err(at(IoOp::Write))?;
        file.sync().map_err(at(IoOp::Sync))?;
        self.disk.rename(CHECKPOINT_NEW_FILE, CHECKPOINT_FILE).map_err(at(IoOp::Rename))?;
        self.disk.sync_dir().map_err(at(IoOp::SyncDir))
    }

    /// The checkpoint is durable and names none of them: they may go. What cannot be removed now, the next opening removes.
    fn remove_emptied(&mut self) -> Result<(), StoreError> {
        let gone = std::mem::take(&mut self.emptied);
        if gone.is_empty() {
            return Ok(());
        }
        self.shared().index_mut().remove_extents(&gone);
        for number in &gone {
            if let Err(error) = self.shared().files.remove(*number) {
                self.fault(IoOp::Remove, &error);
            }
        }
        self.disk.sync_dir().map_err(|error| self.fault(IoOp::SyncDir, &error))
    }
}

/// Bytes that the tombstones still needed in each extent take when they are packed.
fn tombstone_bytes(
    graves: &BTreeMap<ShardId, checkpoint::Grave>,
    is_live: impl Fn(&ShardId) -> bool,
) -> BTreeMap<u32, u64> {
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    for (id, grave) in graves {
        if let Some(extent) = grave.tombstone.filter(|_| !is_live(id)) {
            *counts.entry(extent).or_default() += 1;
        }
    }
    for count in counts.values_mut() {
        *count = count.div_ceil(TOMBSTONES_MAX as u64) * BLOCK_BYTES as u64;
    }
    counts
}

struct FileWriter<'a> {
    file: &'a dyn DiskFile,
    offset: u64,
}

impl Write for FileWriter<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write_at(&[IoSlice::new(buf)], self.offset)?;
        self.offset += buf.len() as u64;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
