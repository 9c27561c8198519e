//! Rebalancing: what older layouts placed goes where the current one wants it; then the older ones are retired.
//!
//! ```text
//! new layout ─▶ [old writers done: floor raised] ─▶ walk all blobs, move what lies elsewhere ─▶ retire ─▶ drained drives empty?
//! ```
//! A shard is copied, checked and durable in its new home before the old copy goes, so no stripe is ever weaker on the way.
//! Reads find it in either place. Whatever is not simply in its old place is a matter of repair, and handed to it.

use std::collections::BTreeSet;

use futures_util::stream::{FuturesUnordered, StreamExt};
use pangea_core::id::{BlobId, ChunkId, ShardId};
use pangea_core::layout::{Change, Role, Slot};
use pangea_core::manifest::ChunkEntry;
use pangea_core::meta::{BlobRow, Command, WRITE_FLOOR};
use pangea_core::wire::SHARDS_PER_MESSAGE_MAX;

use super::Progress;
use super::garbage::{OrphanError, Owner};
use super::inventory::Inventory;
use crate::client::Client;
use crate::door::ClientError;
use crate::gateways::InFlightElsewhere;

/// Blobs of one scan.
const SCAN_BLOBS: usize = 256;
/// Stripes moved at a time.
const STRIPES_AT_ONCE: usize = 8;
/// How long writes that began before a change may go on; then they are refused, so that the change can end.
const WRITERS_PATIENCE_US: u64 = 3600 * 1_000_000;
/// How often it is looked whether they are done.
const WRITERS_LOOK_US: u64 = 200_000;

/// What a pass moved.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RebalanceReport {
    /// Stripes that an older layout placed.
    pub stripes: u64,
    /// Shards that moved.
    pub moved_shards: u64,
    /// Their bytes.
    pub moved_bytes: u64,
    /// Stripes that were handed to repair because a shard was not where any layout said.
    pub mended: u64,
    /// Stripes that could not all be brought home: a drive is absent or refused them.
    pub waiting: u64,
    /// Blobs whose manifest could not be read.
    pub unreadable: u64,
    /// Layouts that were retired.
    pub retired: u64,
    /// The codes (k, m) of all blobs that were looked at.
    pub codes: BTreeSet<(u8, u8)>,
}

/// What became of a drained drive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Emptied {
    /// It holds nothing any more, and left the layout.
    Removed,
    /// So many shards at least are still on it: of deleted objects that wait for their grace, or of writes under way.
    Holding(u64),
    /// It does not answer or takes no writes, but nothing lies only there: every stripe is whole without it. It left the
    /// layout.
    RemovedUnseen,
}

/// Which stripes a walk looks at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    /// Those that may lie elsewhere than the current layout wants them.
    Displaced,
    All,
}

/// A stripe on its way.
struct Moving {
    /// Where its shards lie: index and slot.
    held: Vec<(u8, Slot)>,
    /// Shards that moved.
    shards: u64,
    /// Whether something has to wait.
    waiting: bool,
}

impl Moving {
    fn is_home(&self, index: u8, homes: &[Slot]) -> bool {
        let home = homes[usize::from(index)];
        let mut places = self.held.iter().filter(|(held, _)| *held == index).map(|(_, slot)| *slot);
        places.next() == Some(home) && places.next().is_none()
    }

    /// The next shard to bring home: one whose home holds no other shard of the stripe, so that no drive ever holds two
    /// that need not.
    fn take_next(&self, left: &mut Vec<u8>, homes: &[Slot]) -> Option<u8> {
        let is_free = |index: u8| {
            let home = homes[usize::from(index)];
            self.held.iter().all(|(held, slot)| *held == index || *slot != home)
        };
        let at = left.iter().position(|index| is_free(*index)).unwrap_or(0);
        (!left.is_empty()).then(|| left.remove(at))
    }
}

enum Step {
    Home,
    Moved { shards: u64, bytes: u64 },
    Mended { whole: bool },
    Waiting,
}

impl Client {
    /// Brings home what older layouts placed. When nothing lies by an older layout any more, it is retired.
    pub async fn rebalance_pass(&self, progress: Progress<'_>) -> Result<RebalanceReport, ClientError> {
        let mut report = RebalanceReport::default();
        let older = self.older_layouts();
        if older.is_empty() {
            return Ok(report);
        }
        let current = self.layout().epoch;
        let writers = self.writers().await;
        // Most of the work does not wait for them.
        self.walk(Which::Displaced, &mut report, progress).await?;
        self.fence(current, &writers).await?;
        let found = std::mem::take(&mut report);
        self.walk(Which::Displaced, &mut report, progress).await?;
        report.absorb(found);
        let settled = report.waiting == 0 && report.unreadable == 0 && self.layout().epoch == current;
        if settled {
            self.retire_layouts(&older).await?;
            report.retired = older.len() as u64;
        }
        Ok(report)
    }

    /// Census: are all shards there? Compares what every drive lists with what the metadata says, and mends what is missing;
    /// no data is read for what is there.
    pub async fn census_pass(&self, progress: Progress<'_>) -> Result<RebalanceReport, ClientError> {
        let mut report = RebalanceReport::default();
        let older = self.older_codes().await?;
        self.walk(Which::All, &mut report, progress).await?;
        if report.unreadable == 0 {
            self.forget_older_codes(&older, &report.codes).await?;
        }
        Ok(report)
    }

    /// What is being written now, through any gateway that answers; what the others write is refused by the fence.
    async fn writers(&self) -> Vec<BlobId> {
        let mut writers = self.inner.flight.written();
        writers.extend(self.in_flight_elsewhere().await.unwrap_or_default().written);
        writers
    }

    /// From now on nothing is committed that an older layout placed. Writes that were under way may end first.
    async fn fence(&self, epoch: u32, writers: &[BlobId]) -> Result<(), ClientError> {
        let parts = &self.inner.parts;
        let deadline = parts.clock.mono_us() + WRITERS_PATIENCE_US;
        // A newer layout has a fence of its own.
        while self.layout().epoch == epoch && parts.clock.mono_us() < deadline {
            let now: BTreeSet<BlobId> = self.writers().await.into_iter().collect();
            if !writers.iter().any(|blob| now.contains(blob)) {
                break;
            }
            parts.runtime.sleep_until(parts.clock.mono_us() + WRITERS_LOOK_US).await;
        }
        if self.layout().epoch != epoch {
            return Ok(());
        }
        let seen = self.meta().setting(WRITE_FLOOR).await.map_err(ClientError::Meta)?;
        let (expected, floor) = seen.unwrap_or_default();
        if floor.try_into().is_ok_and(|floor| u32::from_le_bytes(floor) >= epoch) {
            // Whoever came after us raised it further.
            return Ok(());
        }
        let (name, value) = (WRITE_FLOOR.to_owned(), epoch.to_le_bytes().to_vec());
        self.command(Command::SetSetting { name, expected, value }).await.map(drop)
    }

    async fn walk(
        &self,
        which: Which,
        report: &mut RebalanceReport,
        progress: Progress<'_>,
    ) -> Result<(), ClientError> {
        let mut inventory = Inventory::new(self);
        let mut after = None;
        loop {
            let page = self.meta().blobs(after, SCAN_BLOBS).await.map_err(ClientError::Meta)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(*last);
            let mut moving = FuturesUnordered::new();
            for (id, row) in page.into_iter().filter(|(_, row)| row.refs > 0) {
                for (chunk, entry) in self.stripes_of(id, &row, which, report).await? {
                    let held = inventory.holders(self, chunk).await;
                    moving.push(self.settle(chunk, entry, held, progress));
                    if moving.len() >= STRIPES_AT_ONCE
                        && let Some(step) = moving.next().await
                    {
                        report.count(step?);
                        progress.at(report.moved_bytes, None);
                    }
                }
            }
            while let Some(step) = moving.next().await {
                report.count(step?);
                progress.at(report.moved_bytes, None);
            }
        }
    }

    /// The chunks of a blob that are looked at.
    async fn stripes_of(
        &self,
        blob: BlobId,
        row: &BlobRow,
        which: Which,
        report: &mut RebalanceReport,
    ) -> Result<Vec<(ChunkId, ChunkEntry)>, ClientError> {
        let manifest = match self.manifest_of(blob, row).await {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return Ok(vec![]),
            Err(error @ (ClientError::Meta(_) | ClientError::SlowDown)) => return Err(error),
            Err(error) => {
                tracing::error!(%blob, %error, "a manifest cannot be read");
                report.unreadable += 1;
                return Ok(vec![]);
            }
        };
        if which == Which::All {
            report.codes.insert((manifest.head().code.k(), manifest.head().code.m()));
        }
        let all = (0..manifest.chunks()).filter_map(|at| {
            let entry = *manifest.chunk(at)?;
            let chunk = ChunkId { blob, chunk: at };
            let placement =
                self.inner.layouts.placement(entry.layout_epoch, entry.shape.code, chunk, entry.salt)?;
            (which == Which::All || placement.is_moving()).then_some((chunk, entry))
        });
        Ok(all.collect())
    }

    /// Brings one stripe home.
    async fn settle(
        &self,
        chunk: ChunkId,
        entry: ChunkEntry,
        held: Vec<(u8, Slot)>,
        progress: Progress<'_>,
    ) -> Result<Step, ClientError> {
        let (layouts, code) = (&self.inner.layouts, entry.shape.code);
        let placement = || layouts.placement(entry.layout_epoch, code, chunk, entry.salt);
        if let Some(placement) = placement() {
            let away =
                (0..).zip(placement.shards()).filter(|(index, home)| !held.contains(&(*index, **home)));
            // Whoever waits here keeps nobody from the stripe.
            progress.spend(2 * away.count() as u64 * entry.shape.shard_bytes() as u64).await;
        }
        let alone = self.inner.mending.begin(chunk).await;
        let Some(placement) = placement() else { return Ok(Step::Waiting) };
        let homes = placement.shards();
        let mut moving = Moving { held, shards: 0, waiting: false };
        let mut left: Vec<u8> = (0..code.n()).filter(|index| !moving.is_home(*index, homes)).collect();
        let mut simple = true;
        while let Some(index) = moving.take_next(&mut left, homes) {
            simple = self
                .bring_home(ShardId { chunk, index }, homes[usize::from(index)], &entry, &mut moving)
                .await;
            if !simple {
                break;
            }
        }
        drop(alone);
        if !simple {
            let todo = self.meta().todo(chunk).await.map_err(ClientError::Meta)?;
            let mended = self.mend(chunk, &entry, todo.as_ref()).await?;
            self.note(chunk, todo, &mended).await?;
            // What can never be whole again keeps no layout; the scrub goes on naming it.
            let whole = mended.left.is_none() && !mended.lost;
            return Ok(Step::Mended { whole: whole || mended.hopeless });
        }
        let shards = moving.shards;
        Ok(match (moving.waiting, shards) {
            (true, _) => Step::Waiting,
            (false, 0) => Step::Home,
            (false, _) => Step::Moved { shards, bytes: shards * entry.shape.shard_bytes() as u64 },
        })
    }

    /// Brings one shard home and takes other copies away; `false`: that is a matter of repair.
    async fn bring_home(&self, shard: ShardId, home: Slot, entry: &ChunkEntry, moving: &mut Moving) -> bool {
        let away: Vec<Slot> =
            moving.held.iter().filter(|(i, s)| *i == shard.index && *s != home).map(|(_, s)| *s).collect();
        if moving.held.contains(&(shard.index, home)) {
            // Another copy may be the better one.
            if self.verify_shard(home, shard).await.is_err() {
                return false;
            }
        } else if !self.is_present(home) {
            moving.waiting = true;
            return true;
        } else {
            let Some(from) = away.first() else { return false };
            if !self.copy(*from, home, shard, entry).await {
                return false;
            }
            moving.shards += 1;
            moving.held.push((shard.index, home));
        }
        for slot in away {
            match self.delete_shards(slot, vec![shard]).await {
                Ok(()) => moving.held.retain(|held| *held != (shard.index, slot)),
                // What stays behind on a drive that leaves is nobody's.
                Err(_) if self.is_leaving(slot) => {}
                Err(fault) => {
                    tracing::debug!(%shard, ?fault, "a copy could not be taken away yet");
                    moving.waiting = true;
                }
            }
        }
        true
    }

    fn is_leaving(&self, slot: Slot) -> bool {
        self.layout().drive(slot).is_some_and(|drive| drive.role == Role::Draining)
    }

    /// Copies a shard; `true`: it is durable in its new place.
    async fn copy(&self, from: Slot, to: Slot, shard: ShardId, entry: &ChunkEntry) -> bool {
        let Some((header, data)) = self.read_whole(from, shard, entry).await else { return false };
        match self.store_shard(to, header, data).await {
            Ok(()) => true,
            Err(fault) => {
                tracing::debug!(%shard, ?fault, "a shard could not be moved");
                false
            }
        }
    }

    /// Takes a drive that was drained out of the layout, if nothing is left on it; what nobody owns is deleted. All layouts
    /// before the current one must be retired.
    pub async fn empty_drive(&self, slot: Slot, progress: Progress<'_>) -> Result<Emptied, ClientError> {
        if !self.is_leaving(slot) || !self.older_layouts().is_empty() {
            return Ok(Emptied::Holding(1));
        }
        // A drive that takes no writes keeps what it has; nothing lies only there either way.
        let seen = self.sweep(slot, progress).await? && self.is_present(slot);
        if seen {
            let left = self.list_shards(slot, None, SHARDS_PER_MESSAGE_MAX as u16).await;
            match left.as_deref() {
                Ok([]) => {}
                Ok(left) => return Ok(Emptied::Holding(left.len() as u64)),
                Err(_) => return Ok(Emptied::Holding(1)),
            }
        }
        let now = self.layout();
        let next = now.changed(&[Change::Remove(slot)], &[]);
        let next = next.map_err(|error| ClientError::Unavailable { why: error.to_string() })?;
        self.install_layout(&next).await?;
        if now.tables == next.tables {
            // Nothing moves, so nothing lies by the last one only.
            self.retire_layouts(&[now.epoch]).await?;
        }
        Ok(if seen { Emptied::Removed } else { Emptied::RemovedUnseen })
    }

    /// Deletes what nobody owns from a drained drive and mends what somebody does; `false`: it does not answer.
    async fn sweep(&self, slot: Slot, progress: Progress<'_>) -> Result<bool, ClientError> {
        let mut orphans = super::GarbageReport::default();
        match self.collect_orphans_of(slot, &mut orphans, progress).await {
            Ok(()) => {}
            Err(OrphanError::Drive(_)) => return Ok(false),
            Err(OrphanError::Client(error)) => return Err(error),
        }
        let Ok(left) = self.list_shards(slot, None, SHARDS_PER_MESSAGE_MAX as u16).await else {
            return Ok(false);
        };
        let mut chunks: Vec<ChunkId> = left.iter().map(|shard| shard.chunk).collect();
        chunks.dedup();
        for chunk in chunks {
            let Owner::Blob(manifest) = self.owner(chunk.blob, &InFlightElsewhere::default()).await? else {
                continue;
            };
            let Some(entry) = manifest.chunk(chunk.chunk) else { continue };
            let todo = self.meta().todo(chunk).await.map_err(ClientError::Meta)?;
            let mended = self.mend(chunk, entry, todo.as_ref()).await?;
            self.note(chunk, todo, &mended).await?;
        }
        Ok(true)
    }
}

impl RebalanceReport {
    fn count(&mut self, step: Step) {
        self.stripes += 1;
        match step {
            Step::Home => {}
            Step::Moved { shards, bytes } => {
                self.moved_shards += shards;
                self.moved_bytes += bytes;
            }
            Step::Mended { whole } => {
                self.mended += 1;
                self.waiting += u64::from(!whole);
            }
            Step::Waiting => self.waiting += 1,
        }
    }

    /// Adds what an earlier walk of the same pass did; what it found waiting, this one looked at again.
    fn absorb(&mut self, earlier: Self) {
        self.moved_shards += earlier.moved_shards;
        self.moved_bytes += earlier.moved_bytes;
        self.mended += earlier.mended;
    }
}
