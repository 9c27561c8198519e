//! Writing: a batch of puts and deletes becomes records, one write and one sync, then answers.
//!
//! ```text
//! writes -> drafts -> runs (what fits the active extent) -> write_at, sync -> index -> answers
//! ```
//! A run that fails gives its writes errors, and seals its extent at the last point that is known to be good.

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;

use bytes::Bytes;
use pangea_core::chunk::ShardHeader;
use pangea_core::id::ShardId;
use pangea_core::seam::AppendError;

use super::{Active, ExtentStore};
use crate::format::checkpoint::{ExtentUse, Location};
use crate::format::record::{Body, Place, Stamp, TOMBSTONES_MAX, data_offset, encode_head};
use crate::format::{BLOCK_BYTES, ZEROS, block_offset};
use crate::port::{ChunkTag, Fault, IoOp, Stopped, StoreError, check_put};

/// Appends that may fail, one after the other, before the drive counts as failed.
const FAILURES_MAX: u8 = 2;
/// The size of an extent that is made in the reserve.
const SHRINK_EXTENT_BLOCKS: u32 = 256;

/// One thing to make durable.
#[derive(Clone, Debug)]
pub enum Write {
    /// A shard; its pieces were checked already.
    Put(CheckedPut),
    /// Shards to forget.
    Delete(Vec<ShardId>),
}

/// A shard whose pieces are what its header says: checking is the costly part and needs no drive.
#[derive(Clone, Debug)]
pub struct CheckedPut {
    header: ShardHeader,
    data: Bytes,
}

impl CheckedPut {
    /// Checks the header against itself and every piece against the header.
    pub fn new(header: ShardHeader, data: Bytes) -> Result<Self, StoreError> {
        check_put(&header, &data)?;
        Ok(Self { header, data })
    }
}

impl Write {
    /// A put, checked here.
    pub fn put(header: ShardHeader, data: Bytes) -> Result<Self, StoreError> {
        CheckedPut::new(header, data).map(Self::Put)
    }

    /// Bytes that it holds in memory.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Put(put) => put.data.len() + BLOCK_BYTES,
            Self::Delete(ids) => size_of_val(ids.as_slice()) + BLOCK_BYTES,
        }
    }
}

/// A record without a place.
pub(super) struct Draft {
    body: Body,
    data: Bytes,
}

impl Draft {
    pub(super) fn shard(header: ShardHeader, data: Bytes) -> Self {
        Self { body: Body::Shard(header), data }
    }

    pub(super) fn tombstones(ids: Vec<ShardId>) -> Self {
        Self { body: Body::Tombstones(ids), data: Bytes::new() }
    }

    pub(super) fn bytes(&self) -> u64 {
        block_offset(self.body.blocks())
    }
}

/// Who may use the reserve.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// New data: leaves the reserve alone.
    Grow,
    /// Tombstones and compaction: what they take they give back.
    Shrink,
}

type Answer = Result<(), StoreError>;

/// What one write waits for: an answer already known, or records.
enum Waiting {
    Known(Answer),
    Drafts(Vec<usize>),
}

impl ExtentStore {
    /// Makes a batch durable with one sync (one more for every extent that it fills) and answers each write.
    ///
    /// The writes count in their order: a put after a delete of the same shard is a new put.
    pub fn commit(&mut self, batch: Vec<Write>) -> Vec<Answer> {
        if let Err(error) = self.check_open().and_then(|()| self.pay_owed_checkpoint()) {
            return batch.iter().map(|_| Err(error.clone())).collect();
        }
        let (drafts, waiting) = self.plan(batch);
        let done = self.append(drafts, Purpose::Grow);
        self.publish();
        let answer = |waiting| match waiting {
            Waiting::Known(answer) => answer,
            Waiting::Drafts(drafts) => drafts.into_iter().try_for_each(|draft: usize| done[draft].clone()),
        };
        waiting.into_iter().map(answer).collect()
    }

    /// Forgets shards. Those that are not here cost nothing.
    pub fn delete(&mut self, ids: Vec<ShardId>) -> Answer {
        self.commit(vec![Write::Delete(ids)]).pop().expect("one write, one answer")
    }

    /// See [`ShardStore::quarantine`](crate::port::ShardStore::quarantine).
    pub fn quarantine(&mut self, id: ShardId) -> Result<bool, StoreError> {
        self.check_open()?;
        match self.reader.verify(id) {
            Ok(()) => Ok(false),
            Err(error) if is_damage(&error) => {
                self.damaged_records += 1;
                self.delete(vec![id]).map(|()| true)
            }
            Err(other) => Err(other),
        }
    }

    fn plan(&self, batch: Vec<Write>) -> (Vec<Draft>, Vec<Waiting>) {
        let mut plan = Plan::default();
        let index = self.shared().index();
        let waiting = batch
            .into_iter()
            .map(|write| match write {
                Write::Put(put) => plan.put(put, |id| index.get(id).map(|l| l.tag)),
                Write::Delete(ids) => plan.delete(ids, |id| index.get(id).is_some()),
            })
            .collect();
        (plan.drafts, waiting)
    }

    /// Appends drafts, run by run; the answers stand in the order of the drafts. `shards` says why shards are written.
    pub(super) fn append(&mut self, drafts: Vec<Draft>, shards: Purpose) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(drafts.len());
        let mut rest: VecDeque<Draft> = drafts.into();
        while let Some(first) = rest.front() {
            let purpose = match first.body {
                Body::Shard(_) => shards,
                Body::Tombstones(_) => Purpose::Shrink,
            };
            if let Err(error) = self.make_room(first.body.blocks(), purpose) {
                answers.push(Err(error));
                rest.pop_front();
                continue;
            }
            let run = self.take_run(&mut rest);
            let answer = self.append_run(&run);
            answers.extend(run.iter().map(|_| answer.clone()));
        }
        answers
    }

    fn take_run(&self, rest: &mut VecDeque<Draft>) -> Vec<Draft> {
        let active = self.active.as_ref().expect("room was made");
        let mut free = active.size_blocks - active.used_blocks;
        let mut run = Vec::new();
        while let Some(left) = rest.front().and_then(|draft| free.checked_sub(draft.body.blocks())) {
            free = left;
            run.extend(rest.pop_front());
        }
        run
    }

    /// One write, one sync, then the index. `make_room` has left room for all of `run` in the active extent.
    fn append_run(&mut self, run: &[Draft]) -> Answer {
        let active = self.active.as_ref().expect("room was made");
        let file = active.file.clone();
        let (number, start) = (active.number, active.used_blocks);
        let (heads, places, end) = self.stamp(run, number, start);
        let written = file.append(&slices(run, &heads), block_offset(start)).map_err(|error| match error {
            AppendError::Write(error) => (IoOp::Write, error),
            AppendError::Sync(error) => (IoOp::Sync, error),
        });
        if let Err((op, error)) = written {
            return Err(self.append_failed(op, &error, block_offset(end - start)));
        }
        self.failures = 0;
        self.appended_since_checkpoint += block_offset(end - start);
        self.marks.last_record = places.last().copied();
        if let Some(active) = self.active.as_mut() {
            active.used_blocks = end;
        }
        let mut index = self.shared().index_mut();
        index.extents.insert(number, ExtentUse { used_blocks: end, sealed: false });
        for (draft, at) in run.iter().zip(places) {
            match &draft.body {
                Body::Shard(header) => index.insert(header.id, locate(header, &draft.body, at)),
                Body::Tombstones(ids) => ids.iter().for_each(|id| index.delete(id, at.extent)),
            }
        }
        Ok(())
    }

    /// Gives every draft its numbers and place; also the first block after them.
    fn stamp(&mut self, run: &[Draft], extent: u32, start: u32) -> (Vec<Vec<u8>>, Vec<Place>, u32) {
        let identity = self.superblock.current().identity;
        let batch = self.marks.next_batch;
        self.marks.next_batch += 1;
        let (mut heads, mut places) = (Vec::with_capacity(run.len()), Vec::with_capacity(run.len()));
        let mut block = start;
        for draft in run {
            let at = Place { extent, block };
            let sequence = self.marks.next_sequence;
            self.marks.next_sequence += 1;
            heads.push(encode_head(&Stamp { identity, batch, sequence, at }, &draft.body));
            places.push(at);
            block += draft.body.blocks();
        }
        (heads, places, block)
    }

    /// Sees to it that the active extent has room for `blocks`.
    fn make_room(&mut self, blocks: u32, purpose: Purpose) -> Answer {
        self.check_open()?;
        if self.active.as_ref().is_some_and(|a| a.size_blocks - a.used_blocks >= blocks) {
            return Ok(());
        }
        let size_blocks = self.next_extent_blocks(blocks, purpose)?;
        let number = self.marks.next_extent;
        // The number is spent even if creation fails: a half-made file must not be taken for the next one.
        self.marks.next_extent += 1;
        match self.shared().files.create(number, block_offset(size_blocks)) {
            Ok(file) => {
                self.seal_active();
                self.shared().index_mut().extents.insert(number, ExtentUse::default());
                self.active = Some(Active { number, file, used_blocks: 0, size_blocks });
                Ok(())
            }
            Err(error) => {
                if let Err(error) = self.shared().files.remove(number) {
                    self.fault(IoOp::Remove, &error);
                }
                Err(self.write_failed(IoOp::Create, &error, block_offset(size_blocks)))
            }
        }
    }

    /// How large the next extent is to be: it grows with what is stored, and shrinks when the drive is nearly full.
    fn next_extent_blocks(&mut self, blocks: u32, purpose: Purpose) -> Result<u32, StoreError> {
        let space = self.disk.space().map_err(|e| self.fault(IoOp::Space, &e))?;
        let reserve = self.reserve(space.total);
        let (used, checkpoint) = {
            let index = self.shared().index();
            (index.used_bytes(), index.checkpoint_bytes())
        };
        let wanted = (used / 8)
            .max(self.options.extent_bytes_min)
            .min(self.options.extent_bytes_max)
            .min(reserve)
            .max(block_offset(blocks));
        let to_blocks = |bytes: u64| u32::try_from(bytes / BLOCK_BYTES as u64).unwrap_or(u32::MAX);
        // A new checkpoint is written beside the old one: it must always fit.
        let room = space.available.saturating_sub(checkpoint);
        let free = room.saturating_sub(reserve);
        if to_blocks(free) >= blocks {
            return Ok(to_blocks(wanted.min(free)));
        }
        let small = blocks.max(SHRINK_EXTENT_BLOCKS.min(to_blocks(room) / 4));
        if purpose == Purpose::Shrink && to_blocks(room) >= small {
            return Ok(small);
        }
        Err(StoreError::Full { needed: block_offset(blocks), available: free })
    }

    /// Ends the active extent in good order and gives back what it did not use.
    pub(super) fn seal_active(&mut self) {
        let Some(active) = self.active.take() else { return };
        self.shared()
            .index_mut()
            .extents
            .insert(active.number, ExtentUse { used_blocks: active.used_blocks, sealed: true });
        if active.used_blocks == 0 {
            self.emptied.push(active.number);
        }
        if active.used_blocks < active.size_blocks
            && let Err(error) = active.file.set_size(block_offset(active.used_blocks))
        {
            // The space stays taken until the extent is compacted; nothing is wrong with the data.
            self.fault(IoOp::SetSize, &error);
        }
    }

    /// After a failed write or sync nothing behind the last good record may be trusted: cut it off, say so durably.
    fn append_failed(&mut self, op: IoOp, error: &std::io::Error, needed: u64) -> StoreError {
        let answer = self.write_failed(op, error, needed);
        self.seal_active();
        if self.stopped.is_none() {
            match self.write_checkpoint() {
                Ok(()) => {}
                Err(StoreError::Io(fault)) => self.stopped = Some(Stopped::Failed(fault)),
                // No room to say so now: nothing is acknowledged before it is said.
                Err(_) => self.checkpoint_owed = true,
            }
        }
        answer
    }

    /// Until a failed append is durably cut off, its records may come back: a put that finds its shard here would be
    /// acknowledged, and then undone by the tombstone that failed before it.
    fn pay_owed_checkpoint(&mut self) -> Answer {
        if self.checkpoint_owed { self.write_checkpoint() } else { Ok(()) }
    }

    fn write_failed(&mut self, op: IoOp, error: &std::io::Error, needed: u64) -> StoreError {
        let fault = Fault::new(op, error);
        if fault.is_full() {
            self.shared().note(fault);
            let available = self.disk.space().map_or(0, |space| space.available);
            return StoreError::Full { needed, available };
        }
        let answer = self.fault(op, error);
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_MAX && self.stopped.is_none() {
            self.stopped = Some(Stopped::Failed(fault));
            return StoreError::Failed(fault);
        }
        answer
    }
}

/// Whether an error of a read says that the medium does not give the bytes back. A file that cannot be *opened* (too many
/// are open, say) says nothing about them.
pub(super) fn is_damage(error: &StoreError) -> bool {
    match error {
        StoreError::Corrupt { .. } => true,
        StoreError::Io(fault) => fault.op == IoOp::Read && fault.kind != std::io::ErrorKind::OutOfMemory,
        _ => false,
    }
}

/// Where a shard lies whose record starts at `at`.
pub(super) fn locate(header: &ShardHeader, body: &Body, at: Place) -> Location {
    Location {
        at,
        tag: ChunkTag::of(&header.chunk_hash),
        header_len: body.header_len(),
        piece_log2: header.shape.piece_log2,
        pieces: header.shape.pieces,
    }
}

/// Head, zeros to its data, data, zeros to the next block.
const SLICES_PER_RECORD: usize = 4;

fn slices<'a>(run: &'a [Draft], heads: &'a [Vec<u8>]) -> Vec<IoSlice<'a>> {
    let mut parts = Vec::with_capacity(run.len() * SLICES_PER_RECORD);
    for (draft, head) in run.iter().zip(heads) {
        let data_at = data_offset(draft.body.header_len(), draft.data.len());
        let padding = block_offset(draft.body.blocks()) as usize - data_at - draft.data.len();
        parts.push(IoSlice::new(head));
        if data_at > head.len() {
            parts.push(IoSlice::new(&ZEROS[..data_at - head.len()]));
        }
        if !draft.data.is_empty() {
            parts.push(IoSlice::new(&draft.data));
        }
        if padding > 0 {
            parts.push(IoSlice::new(&ZEROS[..padding]));
        }
    }
    parts
}

/// Turns writes into drafts, seeing the earlier writes of the same batch as done.
#[derive(Default)]
struct Plan {
    drafts: Vec<Draft>,
    /// What this batch has done to a shard so far.
    seen: BTreeMap<ShardId, Seen>,
    /// The tombstone draft that still takes ids.
    open_tombstones: Option<usize>,
}

#[derive(Clone, Copy)]
enum Seen {
    Put { draft: usize, tag: ChunkTag },
    Deleted { draft: usize },
}

impl Plan {
    fn put(&mut self, put: CheckedPut, stored: impl Fn(&ShardId) -> Option<ChunkTag>) -> Waiting {
        let id = put.header.id;
        let tag = ChunkTag::of(&put.header.chunk_hash);
        let same = |there: ChunkTag| if there == tag { Ok(()) } else { Err(StoreError::Conflict(id)) };
        match self.seen.get(&id) {
            Some(Seen::Put { draft, tag: there }) => {
                return same(*there)
                    .map_or_else(|e| Waiting::Known(Err(e)), |()| Waiting::Drafts(vec![*draft]));
            }
            // The new record must lie behind the tombstone.
            Some(Seen::Deleted { .. }) => {}
            None => {
                if let Some(there) = stored(&id) {
                    return Waiting::Known(same(there));
                }
            }
        }
        let draft = self.drafts.len();
        self.drafts.push(Draft::shard(put.header, put.data));
        self.seen.insert(id, Seen::Put { draft, tag });
        Waiting::Drafts(vec![draft])
    }

    fn delete(&mut self, ids: Vec<ShardId>, stored: impl Fn(&ShardId) -> bool) -> Waiting {
        let mut waits = Vec::new();
        for id in ids {
            let draft = match self.seen.get(&id) {
                Some(Seen::Deleted { draft }) => *draft,
                // A tombstone must lie behind the record that it kills: not in a draft from before the put.
                Some(Seen::Put { draft, .. }) => self.tombstone(id, *draft),
                None if stored(&id) => self.tombstone(id, 0),
                None => continue,
            };
            if !waits.contains(&draft) {
                waits.push(draft);
            }
        }
        Waiting::Drafts(waits)
    }

    /// Adds a tombstone to a draft that stands at `after` or later.
    fn tombstone(&mut self, id: ShardId, after: usize) -> usize {
        let takes = |draft: &usize| match &self.drafts[*draft].body {
            Body::Tombstones(ids) => *draft >= after && ids.len() < TOMBSTONES_MAX,
            Body::Shard(_) => false,
        };
        let draft = self.open_tombstones.filter(takes).unwrap_or_else(|| {
            self.drafts.push(Draft::tombstones(Vec::new()));
            self.drafts.len() - 1
        });
        if let Body::Tombstones(ids) = &mut self.drafts[draft].body {
            ids.push(id);
        }
        self.open_tombstones = Some(draft);
        self.seen.insert(id, Seen::Deleted { draft });
        draft
    }
}
