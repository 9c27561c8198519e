//! Opening a drive: superblock, checkpoint, then a scan of whatever came after.
//!
//! ```text
//! checkpoint good ──► index from it ──► scan what is behind each extent's known end ─┐
//! checkpoint missing, damaged, ahead of the extents ──► scan every extent ───────────┴► sync ──► checkpoint
//! ```
//! A record behind the known end was written, but nobody knows whether it was ever synced: its data is hashed before it
//! counts. In a full scan that question is open only for the last group commit of each extent (the next one in the same
//! extent began after a good sync) and for the newest extent. What was found so is synced before anything is served: it
//! may so far lie in the page cache only.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read};
use std::sync::Arc;

use pangea_core::chunk::ShardHeader;
use pangea_core::id::ShardId;
use pangea_core::seam::{Disk, DiskFile};

use super::commit::locate;
use super::files::{ExtentFiles, list_extents};
use super::index::Index;
use super::reader::{ExtentReader, Shared};
use super::scan::{Found, Scan};
use super::{Active, ExtentStore, Options};
use crate::drive::{OpenError, SuperblockFile};
use crate::format::checkpoint::{self, CHECKPOINT_FILE, Checkpoint, ExtentUse, Marks};
use crate::format::record::{Body, Head, Place, data_offset, decode_head};
use crate::format::superblock::Identity;
use crate::format::{BLOCK_BYTES, block_offset};
use crate::port::{Fault, IoOp, Stopped};

/// Damages and lost shards that a report lists one by one; it counts all.
pub const REPORT_LINES_MAX: usize = 64;
const CHECKPOINT_BUFFER_BYTES: usize = 1 << 20;

/// What opening a drive found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecoveryReport {
    /// Whether the checkpoint could be used.
    pub checkpoint: CheckpointUse,
    /// One superblock copy was bad and was rewritten.
    pub superblock_healed: bool,
    /// Records found behind the checkpoint (all of them, if it could not be used).
    pub records_scanned: u64,
    /// Stretches of an extent that hold no whole record; torn by a crash, or rotten.
    pub damage: Vec<Damage>,
    /// All of them; `damage` lists the first [`REPORT_LINES_MAX`].
    pub damage_count: u64,
    /// Shards that the checkpoint knew and whose extent is gone or too short; the first [`REPORT_LINES_MAX`].
    pub lost: Vec<ShardId>,
    /// All of them.
    pub lost_count: u64,
    /// Extents left over from an interrupted compaction, now removed.
    pub leftovers_removed: u64,
}

/// What became of the checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CheckpointUse {
    /// It was the base.
    Used,
    /// There was none.
    #[default]
    Missing,
    /// It was not what its hash says.
    Damaged,
    /// It knows a last record that is not on the drive.
    AheadOfExtents,
}

/// A stretch of an extent without a whole record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Where it starts.
    pub at: Place,
    /// How many blocks it is long.
    pub blocks: u32,
    /// The shard that it was, if its head is whole.
    pub shard: Option<ShardId>,
}

impl ExtentStore {
    /// Opens the drive that `expected` names.
    pub fn open(
        disk: Arc<dyn Disk>,
        expected: Identity,
        options: Options,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let (superblock, healed, fault) = SuperblockFile::open(&disk, expected)?;
        let io = |op| move |error: io::Error| OpenError::Io(Fault::new(op, &error));
        let on_disk = list_extents(disk.as_ref()).map_err(io(IoOp::List))?;
        let files = ExtentFiles::new(disk.clone(), options.open_files_max);
        let mut recovery = Recovery::new(disk.as_ref(), &files, expected, &on_disk);
        recovery.report.superblock_healed = healed && fault.is_none();
        recovery.load_checkpoint()?;
        recovery.scan()?;
        let Recovery { index, marks, report, faults, notes, active, scanned_bytes, empty, .. } = recovery;
        let sync_fault = faults.first().copied();
        let shared = Shared::new(expected, files, index);
        let mut store = Self {
            disk,
            options,
            superblock,
            reader: ExtentReader { shared: Arc::new(shared) },
            active,
            marks,
            appended_since_checkpoint: scanned_bytes,
            emptied: empty,
            compacting: None,
            held: BTreeSet::new(),
            failures: 0,
            checkpoint_owed: false,
            stopped: None,
            damaged_records: report.damage_count,
            closed: false,
        };
        fault.into_iter().chain(notes).chain(faults).for_each(|fault| store.shared().note(fault));
        store.settle(sync_fault, report.checkpoint);
        store.publish();
        Ok((store, report))
    }

    /// Makes what recovery found the new base, so that the next crash does not pay for this one again.
    ///
    /// A checkpoint that was not used must be gone before anything is written: without it, extent numbers may start again
    /// below the ones that it knows, and if it turned readable later it would take the new extents for leftovers.
    fn settle(&mut self, sync_fault: Option<Fault>, checkpoint: CheckpointUse) {
        if let Some(fault) = sync_fault {
            self.stopped =
                Some(if fault.is_read_only() { Stopped::ReadOnly } else { Stopped::Failed(fault) });
            return;
        }
        let misleading = matches!(checkpoint, CheckpointUse::Damaged | CheckpointUse::AheadOfExtents);
        let nothing_new = self.appended_since_checkpoint == 0 && self.emptied.is_empty();
        let base_is_good = checkpoint == CheckpointUse::Used || self.shared().index().extents.is_empty();
        if nothing_new && base_is_good && !misleading {
            return;
        }
        // Without a checkpoint the drive is as safe as before, only slower to open: the fault is noted, nothing stops.
        if self.write_checkpoint().is_err() && misleading && self.stopped.is_none() {
            self.remove_checkpoint();
        }
    }

    fn remove_checkpoint(&mut self) {
        let removed = match self.disk.remove(CHECKPOINT_FILE) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err((IoOp::Remove, error)),
            _ => self.disk.sync_dir().map_err(|error| (IoOp::SyncDir, error)),
        };
        if let Err((op, error)) = removed {
            self.fault(op, &error);
            self.stopped = self.stopped.or(Some(Stopped::Failed(Fault::new(op, &error))));
        }
    }
}

/// One opening.
struct Recovery<'a> {
    disk: &'a dyn Disk,
    files: &'a ExtentFiles,
    identity: Identity,
    on_disk: &'a [u32],
    index: Index,
    marks: Marks,
    report: RecoveryReport,
    /// Faults after which the drive must not be written to.
    faults: Vec<Fault>,
    /// Faults that cost space or time, not safety.
    notes: Vec<Fault>,
    active: Option<Active>,
    scanned_bytes: u64,
    /// Extents without any record.
    empty: Vec<u32>,
    /// No checkpoint: everything is scanned, and not every record's data is hashed.
    full: bool,
    last_sequence: Option<u64>,
}

impl<'a> Recovery<'a> {
    fn new(disk: &'a dyn Disk, files: &'a ExtentFiles, identity: Identity, on_disk: &'a [u32]) -> Self {
        Self {
            disk,
            files,
            identity,
            on_disk,
            index: Index::default(),
            marks: Marks::default(),
            report: RecoveryReport::default(),
            faults: Vec::new(),
            notes: Vec::new(),
            active: None,
            scanned_bytes: 0,
            empty: Vec::new(),
            full: true,
            last_sequence: None,
        }
    }

    fn load_checkpoint(&mut self) -> Result<(), OpenError> {
        let checkpoint = match self.read_checkpoint() {
            Ok(checkpoint) => checkpoint,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) => {
                self.report.checkpoint = CheckpointUse::Damaged;
                return Ok(());
            }
        };
        if checkpoint.marks.last_record.is_some_and(|place| !self.is_there(place)) {
            self.report.checkpoint = CheckpointUse::AheadOfExtents;
            // The numbers are still good: what they count was given out.
            self.marks = Marks { last_record: None, ..checkpoint.marks };
            return Ok(());
        }
        self.report.checkpoint = CheckpointUse::Used;
        self.full = false;
        self.marks = checkpoint.marks;
        self.last_sequence = checkpoint.marks.next_sequence.checked_sub(1);
        self.index = Index::new(checkpoint.live, checkpoint.graves, checkpoint.extents);
        self.drop_what_is_gone()
    }

    fn read_checkpoint(&self) -> io::Result<Checkpoint> {
        let file = self.disk.open(CHECKPOINT_FILE, None)?;
        let len = file.size()?;
        let reader = FileReader { file: file.as_ref(), offset: 0, end: len };
        checkpoint::read(&mut BufReader::with_capacity(CHECKPOINT_BUFFER_BYTES, reader), len, &self.identity)
    }

    fn is_there(&self, place: Place) -> bool {
        let mut block = vec![0; BLOCK_BYTES];
        let read =
            self.files.get(place.extent).and_then(|f| f.read_at(&mut block, block_offset(place.block)));
        match read.map(|()| decode_head(&block)) {
            Ok(Ok(head)) => head.stamp.at == place && head.stamp.identity == self.identity,
            // One rotten or unreadable head is no proof of a rollback, but cannot be told from one either.
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Extents that were cut or removed under us lose their shards, and only those.
    fn drop_what_is_gone(&mut self) -> Result<(), OpenError> {
        let mut blocks_of = BTreeMap::new();
        for number in self.index.extents.keys().filter(|n| self.on_disk.binary_search(n).is_ok()) {
            blocks_of.insert(*number, self.blocks_in(*number)?);
        }
        let short = |(number, extent): (&u32, &ExtentUse)| {
            blocks_of.get(number).is_none_or(|blocks| *blocks < extent.used_blocks)
        };
        if self.index.extents.iter().any(short) {
            let lost = self.index.drop_unreachable(&blocks_of);
            self.report.lost_count = lost.len() as u64;
            self.report.lost = lost.into_iter().take(REPORT_LINES_MAX).collect();
            let gone: Vec<u32> =
                self.index.extents.keys().copied().filter(|n| !blocks_of.contains_key(n)).collect();
            self.index.remove_extents(&gone);
            for (number, extent) in &mut self.index.extents {
                let blocks = blocks_of[number];
                if blocks < extent.used_blocks {
                    *extent = ExtentUse { used_blocks: blocks, sealed: true };
                }
            }
        }
        Ok(())
    }

    fn blocks_in(&self, number: u32) -> Result<u32, OpenError> {
        let size = self
            .files
            .get(number)
            .and_then(|file| file.size())
            .map_err(|error| OpenError::Io(Fault::new(IoOp::Open, &error)))?;
        Ok(u32::try_from(size / BLOCK_BYTES as u64).unwrap_or(u32::MAX))
    }

    fn scan(&mut self) -> Result<(), OpenError> {
        let newest = self.on_disk.last().copied();
        for number in self.on_disk.iter().copied() {
            let known = self.index.extents.get(&number).copied();
            match known {
                Some(extent) if extent.sealed => self.trim(number, extent.used_blocks)?,
                Some(extent) => self.scan_extent(number, extent.used_blocks, newest)?,
                // Its removal was decided by the checkpoint that does not name it any more.
                None if !self.full && number < self.marks.next_extent => self.remove_leftover(number),
                None => self.scan_extent(number, 0, newest)?,
            }
        }
        let after_disk = newest.map_or(0, |n| n.saturating_add(1));
        self.marks.next_extent = self.marks.next_extent.max(after_disk);
        Ok(())
    }

    /// Gives back what a sealed extent does not use: the cut that sealing made is not synced, so a power cut may have
    /// undone it.
    fn trim(&mut self, number: u32, used_blocks: u32) -> Result<(), OpenError> {
        if self.blocks_in(number)? <= used_blocks {
            return Ok(());
        }
        let cut = self.files.get(number).and_then(|file| file.set_size(block_offset(used_blocks)));
        if let Err(error) = cut {
            self.note(IoOp::SetSize, &error);
        }
        Ok(())
    }

    fn remove_leftover(&mut self, number: u32) {
        match self.files.remove(number) {
            Ok(()) => self.report.leftovers_removed += 1,
            Err(error) => self.note(IoOp::Remove, &error),
        }
    }

    /// A fault that costs space, not safety: the next opening tries again.
    fn note(&mut self, op: IoOp, error: &io::Error) {
        let fault = Fault::new(op, error);
        let list = if fault.is_read_only() { &mut self.faults } else { &mut self.notes };
        list.push(fault);
    }

    fn scan_extent(&mut self, number: u32, from: u32, newest: Option<u32>) -> Result<(), OpenError> {
        let file = self.files.get(number).map_err(|e| OpenError::Io(Fault::new(IoOp::Open, &e)))?;
        let end = self.blocks_in(number)?;
        let hash_from = if self.full && newest != Some(number) {
            self.last_batch(file.as_ref(), number, from, end)
        } else {
            0
        };
        let mut scan = Scan::new(file.as_ref(), number, self.identity, from, end);
        while let Some((block, found)) = scan.next() {
            let at = Place { extent: number, block };
            match found {
                Found::Damage { until } => self.damaged(at, until - block, None),
                Found::Record(head) => self.take(file.as_ref(), at, head, hash_from),
            }
        }
        let filled = scan.filled();
        if filled == 0 {
            self.empty.push(number);
            self.index.extents.insert(number, ExtentUse { used_blocks: 0, sealed: true });
            return Ok(());
        }
        if filled == from && newest == Some(number) && end > filled {
            let active = Active { number, file, used_blocks: filled, size_blocks: end };
            self.active = Some(active);
            return Ok(());
        }
        self.scanned_bytes += block_offset(filled - from).max(1);
        self.close_scanned(file.as_ref(), number, filled, end);
        Ok(())
    }

    /// Seals an extent behind the last thing found in it and makes that durable.
    fn close_scanned(&mut self, file: &dyn DiskFile, number: u32, filled: u32, end: u32) {
        self.index.extents.insert(number, ExtentUse { used_blocks: filled, sealed: true });
        if filled < end
            && let Err(error) = file.set_size(block_offset(filled))
        {
            self.note(IoOp::SetSize, &error);
        }
        if let Err(error) = file.sync() {
            self.faults.push(Fault::new(IoOp::Sync, &error));
        }
    }

    /// The number of the last group commit that left a head in an extent.
    fn last_batch(&self, file: &dyn DiskFile, number: u32, from: u32, end: u32) -> u64 {
        let mut scan = Scan::new(file, number, self.identity, from, end);
        let mut last = 0;
        while let Some((_, found)) = scan.next() {
            if let Found::Record(head) = found {
                last = last.max(head.stamp.batch);
            }
        }
        last
    }

    fn take(&mut self, file: &dyn DiskFile, at: Place, head: Head, hash_from: u64) {
        self.report.records_scanned += 1;
        self.marks.next_batch = self.marks.next_batch.max(head.stamp.batch.saturating_add(1));
        self.marks.next_sequence = self.marks.next_sequence.max(head.stamp.sequence.saturating_add(1));
        if self.last_sequence.is_some_and(|last| head.stamp.sequence <= last) {
            // Left over from a write that failed and was written over: whatever it says was said again, or never true.
            return self.damaged(at, head.blocks(), None);
        }
        self.last_sequence = Some(head.stamp.sequence);
        match &head.body {
            Body::Tombstones(ids) => ids.iter().for_each(|id| self.index.delete(id, at.extent)),
            Body::Shard(header) => {
                if head.stamp.batch >= hash_from && !is_whole(file, at, &head, header) {
                    return self.damaged(at, head.blocks(), Some(header.id));
                }
                self.index.insert(header.id, locate(header, &head.body, at));
            }
        }
        self.marks.last_record = Some(at);
    }

    fn damaged(&mut self, at: Place, blocks: u32, shard: Option<ShardId>) {
        self.report.damage_count += 1;
        if self.report.damage.len() < REPORT_LINES_MAX {
            self.report.damage.push(Damage { at, blocks, shard });
        }
    }
}

fn is_whole(file: &dyn DiskFile, at: Place, head: &Head, header: &ShardHeader) -> bool {
    let mut data = vec![0; header.shape.shard_bytes()];
    let offset = block_offset(at.block) + data_offset(head.header_len, data.len()) as u64;
    file.read_at(&mut data, offset).is_ok() && header.first_bad_piece(0, &data).is_none()
}

struct FileReader<'a> {
    file: &'a dyn DiskFile,
    offset: u64,
    end: u64,
}

impl Read for FileReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let n = buf.len().min(left);
        self.file.read_at(&mut buf[..n], self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }
}
