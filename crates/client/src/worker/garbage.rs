//! Garbage: shards of blobs that nobody refers to, and shards that no blob owns.
//!
//! A condemned blob's shards are deleted from every drive of the layout, then its row is purged; while a drive is absent
//! the blob stays condemned. Orphans are what crashed or refused writes left: their blob is not in flight on any gateway and has
//! no row. On the same way copies are found that lie beside their home for no reason.

use std::collections::BTreeMap;

use pangea_core::id::{BlobId, ShardId};
use pangea_core::layout::{Role, Slot};
use pangea_core::manifest::Manifest;
use pangea_core::meta::{BlobBody, Command, TodoRow};
use pangea_core::wire::{Fault, SHARDS_PER_MESSAGE_MAX};

use super::Progress;
use crate::client::Client;
use crate::door::ClientError;
use crate::extents::decode_extents;
use crate::gateways::InFlightElsewhere;

/// Condemned blobs of one scan, and of one purging command.
const SCAN_CONDEMNED: usize = 64;
/// Slices of spilled composites in one purging command, one composite more at most: far below the longest command.
const PURGED_SLICES_MAX: usize = 20_000;
/// Written before a blob without a row counts as nobody's.
const FENCE_SETTING: &str = "orphans/fence";
/// How long a blob stays readable after it was condemned: for reads that found it just before.
const GRACE_MS: u64 = 60_000;

/// What a pass freed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GarbageReport {
    /// Condemned blobs that were freed.
    pub blobs: u64,
    /// Condemned blobs that still wait (grace, readers, absent drives).
    pub waiting: u64,
    /// Shards that were deleted.
    pub shards: u64,
    /// Shards that no blob owned.
    pub orphans: u64,
}

impl Client {
    /// Frees condemned blobs whose grace is over.
    pub async fn collect_garbage(&self, progress: Progress<'_>) -> Result<GarbageReport, ClientError> {
        self.collect_condemned_before(self.inner.now_ms().saturating_sub(GRACE_MS), progress).await
    }

    /// Frees blobs that were condemned at or before that time.
    pub async fn collect_condemned_before(
        &self,
        condemned_ms: u64,
        progress: Progress<'_>,
    ) -> Result<GarbageReport, ClientError> {
        let mut report = GarbageReport::default();
        loop {
            // What a purged composite lets go is condemned in turn, perhaps behind the cursor.
            let before = report.blobs;
            report.waiting = 0;
            self.collect_once(condemned_ms, &mut report, progress).await?;
            if report.blobs == before {
                return Ok(report);
            }
        }
    }

    /// Looks at every condemned blob once.
    async fn collect_once(
        &self,
        condemned_ms: u64,
        report: &mut GarbageReport,
        progress: Progress<'_>,
    ) -> Result<(), ClientError> {
        let (mut after, mut freed, mut slices) = (None, vec![], 0);
        loop {
            let page = self.meta().condemned(after, SCAN_CONDEMNED).await.map_err(ClientError::Meta)?;
            after = page.last().copied();
            let is_last = page.len() < SCAN_CONDEMNED;
            let Some(elsewhere) = self.in_flight_elsewhere().await else {
                report.waiting += page.len() as u64;
                return self.purge(&mut freed, report, progress).await;
            };
            for (_, blob) in page {
                match self.free(blob, condemned_ms, &elsewhere, report).await {
                    Ok(Some(children)) => {
                        slices += children.len();
                        freed.push((blob, children));
                    }
                    Ok(None) => report.waiting += 1,
                    Err(error @ (ClientError::Meta(_) | ClientError::SlowDown)) => return Err(error),
                    Err(error) => {
                        tracing::warn!(%blob, %error, "a condemned blob cannot be freed yet");
                        report.waiting += 1;
                    }
                }
                if freed.len() >= SCAN_CONDEMNED || slices >= PURGED_SLICES_MAX {
                    self.purge(&mut freed, report, progress).await?;
                    slices = 0;
                }
            }
            if is_last {
                return self.purge(&mut freed, report, progress).await;
            }
        }
    }

    async fn purge(
        &self,
        freed: &mut Vec<(BlobId, Vec<BlobId>)>,
        report: &mut GarbageReport,
        progress: Progress<'_>,
    ) -> Result<(), ClientError> {
        let blobs = std::mem::take(freed);
        if !blobs.is_empty() {
            report.blobs += blobs.len() as u64;
            self.command(Command::Purge { blobs }).await?;
            progress.at(report.blobs, None);
        }
        Ok(())
    }

    /// Deletes a condemned blob's shards everywhere; gives the children of a spilled composite. `None`: not yet.
    async fn free(
        &self,
        blob: BlobId,
        condemned_ms: u64,
        elsewhere: &InFlightElsewhere,
        report: &mut GarbageReport,
    ) -> Result<Option<Vec<BlobId>>, ClientError> {
        let Some(row) = self.meta().blob(blob).await.map_err(ClientError::Meta)? else {
            return Ok(Some(vec![]));
        };
        let is_in_flight = self.inner.flight.has(blob) || elsewhere.all.contains(&blob);
        if row.refs > 0 || row.condemned_ms > condemned_ms || is_in_flight {
            return Ok(None);
        }
        let mut children = vec![];
        match &row.body {
            BlobBody::Inline { .. } | BlobBody::Composite { .. } => {}
            BlobBody::Chunked { .. } | BlobBody::ChunkedSpilled { .. } => {
                let Some(deleted) = self.delete_everywhere(blob).await else { return Ok(None) };
                report.shards += deleted;
            }
            BlobBody::CompositeSpilled { list, list_len, .. } => {
                let bytes = self.read_spill(*list, *list_len, 0).await?;
                let parts = decode_extents(&bytes)
                    .map_err(|_| ClientError::Damaged { what: format!("blob {list}: a list of parts") })?;
                children = parts.into_iter().map(|part| part.blob).collect();
            }
        }
        Ok(Some(children))
    }

    /// Deletes every shard of a blob from every drive of the layout; `None` if one of them did not answer.
    async fn delete_everywhere(&self, blob: BlobId) -> Option<u64> {
        let mut deleted = 0;
        let layout = self.layout();
        for drive in layout.drives.iter().filter(|drive| drive.role != Role::Gone) {
            let start = first_shard(blob);
            loop {
                let limit = SHARDS_PER_MESSAGE_MAX as u16;
                let mut found = self.list_shards(drive.slot, start, limit).await.ok()?;
                found.retain(|shard| shard.chunk.blob == blob);
                if found.is_empty() {
                    break;
                }
                deleted += found.len() as u64;
                self.delete_shards(drive.slot, found).await.ok()?;
            }
        }
        Some(deleted)
    }

    /// Deletes shards that no blob owns: of writes that crashed or were refused.
    pub async fn collect_orphans(&self, progress: Progress<'_>) -> Result<GarbageReport, ClientError> {
        let mut report = GarbageReport::default();
        let slots: Vec<Slot> = self
            .layout()
            .drives
            .iter()
            .filter(|drive| drive.role != Role::Gone)
            .map(|drive| drive.slot)
            .collect();
        for slot in slots {
            match self.collect_orphans_of(slot, &mut report, progress).await {
                Ok(()) => {}
                Err(OrphanError::Drive(fault)) => {
                    tracing::debug!(?slot, ?fault, "a drive could not be searched for orphans");
                }
                Err(OrphanError::Client(error)) => return Err(error),
            }
        }
        Ok(report)
    }

    pub(super) async fn collect_orphans_of(
        &self,
        slot: Slot,
        report: &mut GarbageReport,
        progress: Progress<'_>,
    ) -> Result<(), OrphanError> {
        let mut after = None;
        loop {
            let limit = SHARDS_PER_MESSAGE_MAX as u16;
            let page = self.list_shards(slot, after, limit).await.map_err(OrphanError::Drive)?;
            let Some(last) = page.last().copied() else { return Ok(()) };
            after = Some(last);
            // A commit that was sent and not answered may still be on its way, behind a database that waits for its standby:
            // what is committed now stands behind it.
            self.set_setting(FENCE_SETTING.to_owned(), self.inner.random::<8>().to_vec())
                .await
                .map_err(OrphanError::Client)?;
            // Asked after the listing: what is written since then is not on the page.
            let elsewhere = self.in_flight_elsewhere().await.filter(|elsewhere| !elsewhere.is_partial);
            let Some(elsewhere) = elsewhere else {
                tracing::debug!(?slot, "a gateway does not say what it writes: no orphan is looked for");
                return Ok(());
            };
            let mut owners = BTreeMap::new();
            for shard in &page {
                if let std::collections::btree_map::Entry::Vacant(unknown) = owners.entry(shard.chunk.blob) {
                    unknown
                        .insert(self.owner(shard.chunk.blob, &elsewhere).await.map_err(OrphanError::Client)?);
                }
            }
            for shard in &page {
                if let Owner::Blob(manifest) = &owners[&shard.chunk.blob] {
                    self.note_if_astray(*shard, slot, manifest).await.map_err(OrphanError::Client)?;
                }
            }
            let nobodys = |shard: &ShardId| matches!(owners[&shard.chunk.blob], Owner::Nobody);
            let orphans: Vec<ShardId> = page.into_iter().filter(nobodys).collect();
            if !orphans.is_empty() {
                report.orphans += orphans.len() as u64;
                self.delete_shards(slot, orphans).await.map_err(OrphanError::Drive)?;
                progress.at(report.orphans, None);
            }
        }
    }

    /// Whether a blob has a row, or is being written: asked in the order that cannot miss a commit.
    pub(super) async fn owner(
        &self,
        blob: BlobId,
        elsewhere: &InFlightElsewhere,
    ) -> Result<Owner, ClientError> {
        if self.inner.flight.has(blob) || elsewhere.all.contains(&blob) {
            return Ok(Owner::Changing);
        }
        let Some(row) = self.meta().blob(blob).await.map_err(ClientError::Meta)? else {
            return Ok(Owner::Nobody);
        };
        if row.refs == 0 {
            return Ok(Owner::Changing);
        }
        match self.manifest_of(blob, &row).await {
            Ok(Some(manifest)) => Ok(Owner::Blob(manifest)),
            Err(error @ ClientError::Meta(_)) => Err(error),
            // What cannot be read is the scrub's to say.
            Ok(None) | Err(_) => Ok(Owner::Changing),
        }
    }

    /// A copy that stood in for its home, and that nobody could take back (a lost answer, a crash), is queued: completion
    /// copies it home or clears it.
    async fn note_if_astray(
        &self,
        shard: ShardId,
        slot: Slot,
        manifest: &Manifest,
    ) -> Result<(), ClientError> {
        let (chunk, index) = (shard.chunk, shard.index);
        let Some(entry) = manifest.chunk(chunk.chunk) else { return Ok(()) };
        let placement = self.inner.layouts.placement(entry.layout_epoch, entry.shape.code, chunk, entry.salt);
        let is_known = placement.is_none_or(|placement| {
            // Where an older layout had it, the rebalancing fetches it from.
            let home = placement.shards().get(usize::from(index)).copied();
            home == Some(slot) || placement.former(index).any(|former| former == slot)
        });
        let Some((_, drive)) = self.inner.layouts.drive(slot).filter(|_| !is_known) else {
            return Ok(());
        };
        let known = self.meta().todo(chunk).await.map_err(ClientError::Meta)?;
        if known.is_some_and(|todo| todo.stand_ins.contains(&(index, drive))) {
            return Ok(());
        }
        let todo =
            TodoRow { missing: vec![], stand_ins: vec![(index, drive)], since_ms: self.inner.now_ms() };
        self.command(Command::AddTodo { chunk, todo }).await.map(drop)
    }
}

/// Whose a shard is.
pub(super) enum Owner {
    /// No blob's.
    Nobody,
    /// A blob's that is being written or freed, or that has no manifest to ask.
    Changing,
    /// A blob's.
    Blob(Manifest),
}

pub(super) enum OrphanError {
    Drive(Fault),
    Client(ClientError),
}

/// The position just before a blob's first shard.
pub(super) fn first_shard(blob: BlobId) -> Option<ShardId> {
    let before = u128::from_be_bytes(blob.0).checked_sub(1)?;
    let chunk = pangea_core::id::ChunkId { blob: BlobId(before.to_be_bytes()), chunk: u32::MAX };
    Some(ShardId { chunk, index: u8::MAX })
}
