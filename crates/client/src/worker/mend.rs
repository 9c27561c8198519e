//! Mending a stripe: census, plan (core's `repair` machine), copy or rebuild, clear.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use pangea_core::ces::{check_shard, rebuild};
use pangea_core::chunk::ShardHeader;
use pangea_core::id::{ChunkId, DriveId, ShardId};
use pangea_core::layout::Slot;
use pangea_core::machine::repair::{Plan, Sighting, Verdict, weigh};
use pangea_core::manifest::ChunkEntry;
use pangea_core::meta::{Command, TodoRow};
use pangea_core::place::Placement;
use pangea_core::wire::Fault;

use super::Progress;
use crate::client::Client;
use crate::door::ClientError;
use crate::runtime::compute;

/// Todos of one scan.
const SCAN_TODOS: usize = 256;
/// Stripes mended at a time.
pub(super) const STRIPES_AT_ONCE: usize = 4;

/// What a pass over the todos did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MendReport {
    /// Stripes looked at.
    pub stripes: u64,
    /// Stripes that are whole again.
    pub whole: u64,
    /// Stripes that wait for an absent drive.
    pub waiting: u64,
    /// Stripes with fewer good shards than needed, as far as can be seen now.
    pub lost: u64,
    /// Shards written.
    pub shards_written: u64,
    /// Bytes read and written.
    pub bytes: u64,
}

/// What became of one stripe.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Mended {
    pub(super) was_whole: bool,
    pub(super) lost: bool,
    /// It is lost, and no drive that is away could change that.
    pub(super) hopeless: bool,
    pub(super) bad: u8,
    pub(super) missing: u8,
    pub(super) written: Vec<u8>,
    /// What still waits: indices not at home, and stand-ins that keep the place.
    pub(super) left: Option<TodoRow>,
    pub(super) bytes: u64,
}

impl Client {
    /// Works through the durable queue of stripes that are not whole.
    pub async fn complete_todos(&self, progress: Progress<'_>) -> Result<MendReport, ClientError> {
        let mut report = MendReport::default();
        let mut after = None;
        loop {
            let page = self.meta().todos(after, SCAN_TODOS).await.map_err(ClientError::Meta)?;
            let Some((last, _)) = page.last() else { return Ok(report) };
            after = Some(*last);
            let mended = futures_util::stream::iter(page)
                .map(|(chunk, seen)| async move { self.complete_todo(chunk, seen, progress).await })
                .buffer_unordered(STRIPES_AT_ONCE);
            let mut mended = std::pin::pin!(mended);
            while let Some(mended) = mended.next().await {
                report.add(&mended?);
                progress.at(report.stripes, None);
            }
        }
    }

    async fn complete_todo(
        &self,
        chunk: ChunkId,
        seen: TodoRow,
        progress: Progress<'_>,
    ) -> Result<Mended, ClientError> {
        let row = self.meta().blob(chunk.blob).await.map_err(ClientError::Meta)?;
        let entry = match &row {
            // Being freed, or gone: nothing to mend.
            None => None,
            Some(row) if row.refs == 0 => None,
            Some(row) => self.manifest_of(chunk.blob, row).await?.and_then(|m| m.chunk(chunk.chunk).copied()),
        };
        let mended = match entry {
            Some(entry) => {
                progress.spend(stripe_bytes(&entry)).await;
                self.mend(chunk, &entry, Some(&seen)).await?
            }
            None => Mended { was_whole: true, ..Mended::default() },
        };
        let left = mended.left.clone();
        if left.as_ref() != Some(&seen) {
            self.command(Command::FinishTodo { chunk, seen, left }).await?;
        }
        Ok(mended)
    }

    /// Looks at every shard of a stripe and makes it whole as far as the drives allow.
    pub(super) async fn mend(
        &self,
        chunk: ChunkId,
        entry: &ChunkEntry,
        todo: Option<&TodoRow>,
    ) -> Result<Mended, ClientError> {
        let _alone = self.inner.mending.begin(chunk).await;
        let (epoch, code, salt) = (entry.layout_epoch, entry.shape.code, entry.salt);
        let placement = self.inner.layouts.placement(epoch, code, chunk, salt);
        let placement =
            placement.ok_or(ClientError::Unavailable { why: "the layout has no drives".into() })?;
        let sightings = self.census(chunk, entry, &placement, todo).await;
        let mut mended = Mended::default();
        for sighting in &sightings {
            let at_home = placement.shards()[usize::from(sighting.index)] == sighting.slot;
            match sighting.found {
                Err(Fault::Corrupt | Fault::Conflict) => mended.bad += 1,
                Err(Fault::Missing) if at_home => mended.missing += 1,
                _ => {}
            }
        }
        match weigh(code, placement.shards(), &sightings, |slot| self.is_present(slot)) {
            Verdict::Whole => mended.was_whole = true,
            Verdict::Lost { found, unreachable } => {
                tracing::error!(%chunk, found, needed = code.k(), unreachable, "a stripe has too few good shards");
                (mended.lost, mended.hopeless) = (true, unreachable == 0);
                mended.left = Some(self.left_over(&sightings, &placement, &[], todo));
            }
            Verdict::Mend(plan) => {
                self.carry_out(chunk, entry, &placement, &sightings, plan, todo, &mut mended).await?
            }
        }
        Ok(mended)
    }

    /// Asks every home, and wherever else a shard that is not good at home may lie.
    async fn census(
        &self,
        chunk: ChunkId,
        entry: &ChunkEntry,
        placement: &Placement,
        todo: Option<&TodoRow>,
    ) -> Vec<Sighting> {
        let look = |index: u8, slot: Slot| async move {
            let found = self.verify_shard(slot, ShardId { chunk, index }).await;
            Sighting { index, slot, found }
        };
        let homes =
            (0..entry.shape.code.n()).map(|index| look(index, placement.shards()[usize::from(index)]));
        let mut sightings: Vec<Sighting> = homes.collect::<FuturesUnordered<_>>().collect().await;
        let astray: Vec<u8> = sightings.iter().filter(|s| s.found.is_err()).map(|s| s.index).collect();
        let slot_of = |drive: DriveId| self.layout().slot_of(drive);
        let known = todo.map(|todo| &todo.stand_ins[..]).unwrap_or_default();
        let mut places: Vec<(u8, Slot)> =
            known.iter().filter_map(|(index, drive)| Some((*index, slot_of(*drive)?))).collect();
        for index in astray {
            places.extend(placement.candidates(index).skip(1).map(|slot| (index, slot)));
        }
        // A move that was cut short leaves a second copy where the shard came from.
        for index in 0..entry.shape.code.n() {
            places.extend(placement.former(index).map(|slot| (index, slot)));
        }
        places.retain(|(index, slot)| placement.shards().get(usize::from(*index)) != Some(slot));
        places.sort_unstable();
        places.dedup();
        let elsewhere = places.into_iter().map(|(index, slot)| look(index, slot));
        let elsewhere: Vec<Sighting> = elsewhere.collect::<FuturesUnordered<_>>().collect().await;
        // Not being where it need not be is no news.
        sightings.extend(elsewhere.into_iter().filter(|s| matches!(s.found, Ok(()) | Err(Fault::Corrupt))));
        sightings
    }

    async fn carry_out(
        &self,
        chunk: ChunkId,
        entry: &ChunkEntry,
        placement: &Placement,
        sightings: &[Sighting],
        plan: Plan,
        todo: Option<&TodoRow>,
        mended: &mut Mended,
    ) -> Result<(), ClientError> {
        for (index, slot) in &plan.condemn {
            if let Err(fault) = self.condemn_shard(*slot, ShardId { chunk, index: *index }).await {
                tracing::warn!(%chunk, index, ?fault, "a bad shard could not be dropped");
            }
        }
        let sources = self.read_sources(chunk, entry, &plan).await;
        let shards = self.shards_to_write(chunk, entry, &plan, sources).await?;
        mended.bytes += shards.iter().map(|(.., data)| 2 * data.len() as u64).sum::<u64>();
        let mut at_home = vec![];
        for (slot, header, data) in shards {
            let index = header.id.index;
            match self.store_shard(slot, header, data).await {
                Ok(()) => at_home.push(index),
                Err(fault) => tracing::warn!(%chunk, index, ?fault, "a rebuilt shard could not be stored"),
            }
        }
        let has_home = |index: &u8| {
            at_home.contains(index)
                || sightings.iter().any(|s| {
                    s.index == *index && s.found.is_ok() && placement.shards()[usize::from(*index)] == s.slot
                })
        };
        for (index, slot) in plan.clear.iter().filter(|(index, _)| has_home(index)) {
            if let Err(fault) = self.delete_shards(*slot, vec![ShardId { chunk, index: *index }]).await {
                tracing::debug!(%chunk, index, ?fault, "a stand-in stays until the garbage collector finds it");
            }
        }
        mended.written = at_home;
        let left = self.left_over(sightings, placement, &mended.written, todo);
        mended.left = (left.missing.len() + left.stand_ins.len() > 0).then_some(left);
        Ok(())
    }

    /// A whole shard, if it is what its header says and the header that of the stripe.
    pub(super) async fn read_whole(
        &self,
        slot: Slot,
        shard: ShardId,
        entry: &ChunkEntry,
    ) -> Option<(ShardHeader, Bytes)> {
        let header = self.shard_header(slot, shard).await.ok()?;
        let data = self.read_shard(slot, shard, 0..entry.shape.pieces).await.ok()?;
        let (checked, bytes) = (header.clone(), data.clone());
        let good = compute(&*self.inner.parts.runtime, move || check_shard(&checked, &bytes).is_ok()).await?;
        (good && header.shape == entry.shape).then_some((header, data))
    }

    /// Whole shards that were read and are what their headers say.
    async fn read_sources(
        &self,
        chunk: ChunkId,
        entry: &ChunkEntry,
        plan: &Plan,
    ) -> BTreeMap<u8, (ShardHeader, Bytes)> {
        let read = |index: u8, slot: Slot| async move {
            let whole = self.read_whole(slot, ShardId { chunk, index }, entry).await?;
            Some((index, whole))
        };
        let reads = plan.read.iter().map(|(index, slot)| read(*index, *slot));
        reads.collect::<FuturesUnordered<_>>().filter_map(|found| async move { found }).collect().await
    }

    /// The shards that the plan wants written, with their headers: copies and rebuilt ones.
    async fn shards_to_write(
        &self,
        chunk: ChunkId,
        entry: &ChunkEntry,
        plan: &Plan,
        sources: BTreeMap<u8, (ShardHeader, Bytes)>,
    ) -> Result<Vec<(Slot, ShardHeader, Bytes)>, ClientError> {
        let shape = entry.shape;
        let Some((pattern, _)) = sources.values().next().cloned() else { return Ok(vec![]) };
        // One sealing has one chunk hash; a source that says otherwise was never part of it.
        let sources: BTreeMap<u8, Bytes> = sources
            .into_iter()
            .filter(|(_, (header, _))| header.chunk_hash == pattern.chunk_hash)
            .map(|(index, (_, data))| (index, data))
            .collect();
        let wanted = plan.rebuild.clone();
        let given = sources.clone();
        let job = move || {
            let present: Vec<(u8, &[u8])> = given.iter().map(|(index, data)| (*index, &data[..])).collect();
            let rebuilt = rebuild(&shape, 0..shape.pieces, &present, &wanted).unwrap_or_default();
            let all = rebuilt.into_iter().map(|(index, data)| (index, Bytes::from(data)));
            all.chain(given.iter().map(|(index, data)| (*index, data.clone())))
                .map(|(index, data)| (index, values_of(&shape, index, &data), data))
                .collect::<Vec<_>>()
        };
        let stopping = ClientError::Unavailable { why: "this node is stopping".into() };
        let ready = compute(&*self.inner.parts.runtime, job).await.ok_or(stopping)?;
        let home = |index| plan.write.iter().find(|(i, _)| *i == index).map(|(_, slot)| *slot);
        let shard = |(index, values, data): (u8, Vec<[u8; 32]>, Bytes)| {
            let header = ShardHeader { id: ShardId { chunk, index }, values, ..pattern.clone() };
            Some((home(index)?, header, data))
        };
        Ok(ready.into_iter().filter_map(shard).collect())
    }

    /// What still waits after a mend: homes without their shard, and the stand-ins that keep their place.
    fn left_over(
        &self,
        sightings: &[Sighting],
        placement: &Placement,
        written: &[u8],
        todo: Option<&TodoRow>,
    ) -> TodoRow {
        let home = |index: u8| placement.shards()[usize::from(index)];
        let is_home = |index: u8| {
            written.contains(&index)
                || sightings.iter().any(|s| s.index == index && s.found.is_ok() && s.slot == home(index))
        };
        let mut indices: Vec<u8> = sightings.iter().map(|s| s.index).collect();
        indices.sort_unstable();
        indices.dedup();
        let drive = |slot: Slot| self.inner.layouts.drive(slot).map(|(_, drive)| drive);
        let away: Vec<(u8, DriveId)> = sightings
            .iter()
            .filter(|s| s.found.is_ok() && s.slot != home(s.index) && !is_home(s.index))
            .filter_map(|s| Some((s.index, drive(s.slot)?)))
            .collect();
        let missing = |index: &u8| !is_home(*index) && !away.iter().any(|(i, _)| i == index);
        TodoRow {
            missing: indices.into_iter().filter(missing).collect(),
            stand_ins: away,
            since_ms: todo.map_or_else(|| self.inner.now_ms(), |todo| todo.since_ms),
        }
    }
}

impl MendReport {
    pub(super) fn add(&mut self, mended: &Mended) {
        self.stripes += 1;
        self.lost += u64::from(mended.lost);
        self.whole += u64::from(mended.left.is_none() && !mended.lost);
        self.waiting += u64::from(mended.left.is_some() && !mended.lost);
        self.shards_written += mended.written.len() as u64;
        self.bytes += mended.bytes;
    }
}

/// Bytes of all shards of a stripe.
pub(super) fn stripe_bytes(entry: &ChunkEntry) -> u64 {
    u64::from(entry.shape.code.n()) * entry.shape.shard_bytes() as u64
}

fn values_of(shape: &pangea_core::chunk::Shape, index: u8, data: &[u8]) -> Vec<[u8; 32]> {
    let pieces = (0..).zip(data.chunks_exact(shape.piece_bytes()));
    pieces.map(|(piece, bytes)| ShardHeader::piece_value(shape, index, piece, bytes)).collect()
}
