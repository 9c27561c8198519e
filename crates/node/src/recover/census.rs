//! The census: blobs and listings side by side, in the order of their ids; each shard and each blob once, in bounded memory.
//!
//! Forth: every chunk of every blob that something refers to has at least k shards. Back: every shard belongs to a blob that
//! is known, or that waits to be freed, or it is `unknown`'s. With `deep` a shard counts only once it was read and is what its
//! header says.

use std::collections::{BTreeSet, VecDeque};
use std::thread;

use pangea_core::audit::AuditKeys;
use pangea_core::id::{BlobId, ChunkId, ShardId};
use pangea_core::manifest::{ChunkEntry, Manifest};
use pangea_core::meta::{BlobBody, BlobRow};
use pangea_meta::{Meta, MetaError};
use pangea_store::port::ChunkTag;

use super::report::{LostStripe, Report};
use super::shelf::{Held, Shelf};
use super::stripes::read_spilled;
use super::unknown::Finds;

/// Blobs of one scan; each may carry a manifest of 16 KiB.
const SCAN_BLOBS: usize = 512;
/// Stripes that are judged together: with `deep`, every drive reads its shards of them at the same time.
const BATCH_STRIPES: usize = 1024;
/// Blobs that are remembered as lost, to name the objects that hang on them.
const LOST_BLOBS_MAX: usize = 100_000;

/// What is needed on the way.
pub(super) struct Census<'a> {
    pub meta: &'a dyn Meta,
    pub shelf: Shelf,
    pub keys: AuditKeys,
    pub report: &'a mut Report,
    /// Lost stripes that are listed.
    pub shown: usize,
    /// Blobs that cannot be read in full.
    pub lost: BTreeSet<BlobId>,
    /// What the metadata does not know.
    pub finds: Finds,
    /// Told how many blobs were looked at.
    pub progress: &'a mut dyn FnMut(u64),
    batch: Vec<Stripe>,
}

/// A stripe of a known blob.
struct Stripe {
    chunk: ChunkId,
    entry: ChunkEntry,
    held: Vec<Held>,
}

/// All blobs, by id, a page at a time.
struct Blobs {
    page: VecDeque<(BlobId, BlobRow)>,
    after: Option<BlobId>,
    over: bool,
}

impl Blobs {
    async fn front(&mut self, meta: &dyn Meta) -> Result<Option<BlobId>, MetaError> {
        if self.page.is_empty() && !self.over {
            self.page.extend(meta.blobs(self.after, SCAN_BLOBS).await?);
            match self.page.back() {
                Some((last, _)) => self.after = Some(*last),
                None => self.over = true,
            }
        }
        Ok(self.page.front().map(|(id, _)| *id))
    }
}

impl<'a> Census<'a> {
    /// Before the first blob.
    pub(super) fn new(
        meta: &'a dyn Meta,
        shelf: Shelf,
        keys: AuditKeys,
        report: &'a mut Report,
        shown: usize,
        progress: &'a mut dyn FnMut(u64),
    ) -> Self {
        let (lost, finds) = (BTreeSet::new(), Finds::default());
        Self { meta, shelf, keys, report, shown, lost, finds, progress, batch: Vec::new() }
    }

    /// Walks everything.
    pub(super) async fn run(&mut self) -> Result<(), MetaError> {
        let mut blobs = Blobs { page: VecDeque::new(), after: None, over: false };
        loop {
            let known = blobs.front(self.meta).await?;
            let seen = self.shelf.next_chunk().map(|chunk| chunk.blob);
            match (known, seen) {
                (None, None) => break,
                (Some(known), seen) if seen.is_none_or(|seen| known <= seen) => {
                    if let Some((id, row)) = blobs.page.pop_front() {
                        self.known(id, &row).await?;
                    }
                }
                (_, Some(seen)) => self.finds.look_into(seen, &mut self.shelf, &self.keys, self.report),
                (Some(_), None) => {} // the arm above takes it
            }
        }
        self.judge();
        (self.progress)(self.report.blobs);
        Ok(())
    }

    async fn known(&mut self, id: BlobId, row: &BlobRow) -> Result<(), MetaError> {
        if row.refs == 0 {
            self.report.condemned_blobs += 1;
            self.shelf.skip(id);
            return Ok(());
        }
        self.report.blobs += 1;
        let manifest = match &row.body {
            BlobBody::Chunked { manifest } => Manifest::decode(manifest).ok(),
            BlobBody::ChunkedSpilled { manifest, manifest_len } => {
                self.report.spilled_blobs += 1;
                self.spilled(*manifest, *manifest_len).await?
            }
            BlobBody::Inline { .. } | BlobBody::Composite { .. } | BlobBody::CompositeSpilled { .. } => {
                self.report.stray_shards += self.shelf.skip(id);
                return Ok(());
            }
        };
        match manifest {
            Some(manifest) => self.stripes(id, &manifest),
            None => {
                self.report.unreadable_blobs += 1;
                self.lose(id);
                self.shelf.skip(id);
            }
        }
        Ok(())
    }

    async fn spilled(&mut self, holder: BlobId, bytes_len: u32) -> Result<Option<Manifest>, MetaError> {
        let Some(row) = self.meta.blob(holder).await? else { return Ok(None) };
        let BlobBody::Chunked { manifest } = &row.body else { return Ok(None) };
        let of = Manifest::decode(manifest).ok();
        Ok(of.and_then(|of| read_spilled(&self.shelf, holder, &of, bytes_len, &self.keys)))
    }

    fn stripes(&mut self, id: BlobId, manifest: &Manifest) {
        for number in 0..manifest.chunks() {
            let Some(entry) = manifest.chunk(number) else { break };
            let chunk = ChunkId { blob: id, chunk: number };
            let held = self.shelf.take(chunk);
            self.batch.push(Stripe { chunk, entry: *entry, held });
            if self.batch.len() >= BATCH_STRIPES {
                self.judge();
                (self.progress)(self.report.blobs);
            }
        }
        self.report.stray_shards += self.shelf.skip(id);
    }

    /// Counts the stripes that were gathered.
    fn judge(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        if self.report.deep {
            let bad = read_all(&self.shelf, &batch);
            self.report.bad_shards += bad.len() as u64;
            for (at, stripe) in batch.iter_mut().enumerate() {
                stripe.held.retain(|held| !bad.contains(&(at, held.drive, held.index)));
            }
        }
        for stripe in &batch {
            let code = stripe.entry.shape.code;
            let (good, stray) = count(stripe);
            self.report.stray_shards += stray;
            self.report.stripes += 1;
            if good >= code.n() {
                self.report.whole_stripes += 1;
            } else if good >= code.k() {
                self.report.short_stripes += 1;
            } else {
                self.report.lost_stripes += 1;
                self.lose(stripe.chunk.blob);
                if self.report.lost.len() < self.shown {
                    let (blob, chunk) = (stripe.chunk.blob.to_string(), stripe.chunk.chunk);
                    self.report.lost.push(LostStripe { blob, chunk, shards: good, needed: code.k() });
                }
            }
        }
        batch.clear();
        self.batch = batch;
    }

    fn lose(&mut self, blob: BlobId) {
        if self.lost.len() < LOST_BLOBS_MAX {
            self.lost.insert(blob);
        } else {
            self.report.lost_untold |= !self.lost.contains(&blob);
        }
    }
}

/// The different shards of the sealing that has the most of them, and the shards that are of no use.
fn count(stripe: &Stripe) -> (u8, u64) {
    let n = stripe.entry.shape.code.n();
    let mut tags: Vec<ChunkTag> = stripe.held.iter().map(|held| held.tag).collect();
    tags.sort_unstable();
    tags.dedup();
    let indices = |tag: ChunkTag| -> BTreeSet<u8> {
        let of = stripe.held.iter().filter(|held| held.tag == tag && held.index < n);
        of.map(|held| held.index).collect()
    };
    let best = tags.iter().copied().max_by_key(|tag| indices(*tag).len());
    let good = best.map_or(0, |tag| indices(tag).len());
    let stray = stripe.held.iter().filter(|held| Some(held.tag) != best || held.index >= n).count();
    (u8::try_from(good).unwrap_or(u8::MAX), stray as u64)
}

/// Reads every shard of these stripes, all drives at once; gives those that are wrong: stripe, drive, index.
fn read_all(shelf: &Shelf, batch: &[Stripe]) -> BTreeSet<(usize, usize, u8)> {
    let of_drive = |drive: usize| {
        let mut bad = Vec::new();
        for (at, stripe) in batch.iter().enumerate() {
            for held in stripe.held.iter().filter(|held| held.drive == drive) {
                let id = ShardId { chunk: stripe.chunk, index: held.index };
                let good = shelf.read_from(drive, id).is_ok_and(|header| header.shape == stripe.entry.shape);
                if !good {
                    bad.push((at, drive, held.index));
                }
            }
        }
        bad
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..shelf.len()).map(|drive| scope.spawn(move || of_drive(drive))).collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("reading a shard does not panic"));
        joined.flatten().collect()
    })
}
