//! Repacking: items of packs that are mostly holes, or small, move together into new packs.
//!
//! A delete or an overwrite leaves a hole in its pack. No pack keeps holes of more than a fifth of what is alive in it, and
//! small packs (a lone write makes one) are merged into full ones. Items move as they are sealed, after every one of them was
//! opened: what is damaged is never copied into a pack whose hashes would vouch for it. The emptied packs are condemned by
//! the commit that moves their last version, and collected like any other garbage.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use pangea_core::id::{BlobId, BucketId};
use pangea_core::meta::{Command, Content, Extent, PackEntry, PackRow, PackedMove, VersionSelector};

use super::Progress;
use crate::client::Client;
use crate::door::ClientError;
use crate::flight::{InFlight, Undecided};
use crate::item::ItemKey;
use crate::packer::PackPlace;
use crate::stripe::Opening;

/// Packs, and versions of a pack, of one scan.
const SCAN_ROWS: usize = 256;
/// Items that one pass moves into one pack: as many as a command surely takes.
const MOVED_ITEMS_MAX: usize = 1000;
/// A pack may have holes of one part in so many of what is alive in it.
const HOLES_FRACTION: u64 = 5;
/// A pack is small below one part in so many of the largest.
const SMALL_FRACTION: usize = 2;
/// So many small packs are merged even if they do not fill one: every item is rewritten seldom, and few small packs remain.
const MERGED_PACKS_MIN: usize = 8;

/// What a pass moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RepackReport {
    /// Packs whose items moved.
    pub emptied: u64,
    /// Packs that were written.
    pub written: u64,
    /// Items that moved.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packs that could not be read and stay as they are.
    pub unreadable: u64,
    /// Packs that could not be written.
    pub failed: u64,
}

/// Packs that will be rewritten together.
#[derive(Default)]
struct Pile {
    packs: Vec<BlobId>,
    live: u64,
    has_holes: bool,
}

/// The items of a pack that some version refers to.
struct Live {
    bytes: Bytes,
    items: Vec<Extent>,
    start: u64,
    _pin: InFlight,
}

impl Client {
    /// Moves the items of packs with too many holes, and of small packs, into new ones.
    pub async fn repack(&self, progress: Progress<'_>) -> Result<RepackReport, ClientError> {
        let mut report = RepackReport::default();
        let mut piles: BTreeMap<PackPlace, Pile> = BTreeMap::new();
        let mut after = None;
        loop {
            let page = self.meta().packs(after, SCAN_ROWS).await.map_err(ClientError::Meta)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            for (id, row) in page {
                let place = PackPlace { code: row.code, region_pin: row.region_pin.clone() };
                let bytes_max = place.pack_bytes_max();
                if !has_holes(&row) && row.len as usize >= bytes_max / SMALL_FRACTION {
                    continue;
                }
                let pile = piles.entry(place.clone()).or_default();
                if pile.live + row.live > bytes_max as u64 {
                    let full = std::mem::take(pile);
                    if full.packs.len() > 1 || full.has_holes {
                        self.rewrite_noting(&place, &full.packs, &mut report).await?;
                        progress.at(report.items, None);
                    }
                }
                let pile = piles.entry(place).or_default();
                pile.packs.push(id);
                pile.live += row.live;
                pile.has_holes |= has_holes(&row);
            }
        }
        for (place, rest) in piles {
            if rest.has_holes || rest.packs.len() >= MERGED_PACKS_MIN {
                self.rewrite_noting(&place, &rest.packs, &mut report).await?;
                progress.at(report.items, None);
            }
        }
        Ok(report)
    }

    /// As `rewrite`; what keeps one pile from being moved does not keep the others.
    async fn rewrite_noting(
        &self,
        place: &PackPlace,
        packs: &[BlobId],
        report: &mut RepackReport,
    ) -> Result<(), ClientError> {
        match self.rewrite(place, packs, None, report).await {
            Err(error @ ClientError::Meta(_)) => Err(error),
            Err(error) => {
                tracing::warn!(packs = packs.len(), %error, "packs could not be rewritten");
                report.failed += 1;
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Copies what is alive in these packs into a new one, and moves the versions there; with `only`, just the items of
    /// that bucket alone.
    pub(super) async fn rewrite(
        &self,
        place: &PackPlace,
        packs: &[BlobId],
        only: Option<BucketId>,
        report: &mut RepackReport,
    ) -> Result<(), ClientError> {
        let (bytes_max, code) = (place.pack_bytes_max(), place.code);
        let (k, n) = (usize::from(code.k()), usize::from(code.n()));
        // Never all of it: a pass that waits for a slow drive must not stop the writers.
        let wanted = (bytes_max * (2 * k + n) / k).min(self.inner.options.memory_bytes / 4);
        let _grant = self.inner.budget.take(wanted).await;
        let (mut payload, mut moves, mut pins) = (BytesMut::new(), vec![], vec![]);
        for pack in packs {
            let live = match self.live_items(*pack, only).await {
                Ok(live) => live,
                Err(error @ (ClientError::Meta(_) | ClientError::SlowDown)) => return Err(error),
                Err(error) => {
                    tracing::warn!(%pack, %error, "a pack cannot be read; its items stay where they are");
                    report.unreadable += 1;
                    continue;
                }
            };
            for from in live.items {
                let at = (from.offset - live.start) as usize;
                // A copy may have brought an item back to life since its pack was counted.
                if payload.len() + from.len as usize <= bytes_max && moves.len() < MOVED_ITEMS_MAX {
                    moves.push(PackedMove { from, to: payload.len() as u64 });
                    payload.extend_from_slice(&live.bytes[at..at + from.len as usize]);
                }
            }
            pins.push(live._pin);
            report.emptied += 1;
        }
        if moves.is_empty() {
            return Ok(());
        }
        (report.items, report.bytes) =
            (report.items + moves.len() as u64, report.bytes + payload.len() as u64);
        let id = BlobId(self.inner.random());
        let (pack, flight) = self.store_pack(place, id, payload.freeze()).await?;
        let undecided = Undecided::new(vec![flight]);
        let outcome = self.inner.command(Command::MovePacked { pack, moves }).await;
        undecided.settle(&outcome);
        report.written += 1;
        outcome.map(drop)
    }

    /// Reads what is alive in a pack, and opens every item of it.
    async fn live_items(&self, pack: BlobId, only: Option<BucketId>) -> Result<Live, ClientError> {
        let pin = self.inner.flight.enter(pack);
        let empty = |pin| Live { bytes: Bytes::new(), items: vec![], start: 0, _pin: pin };
        let Some(row) = self.meta().blob(pack).await.map_err(ClientError::Meta)? else {
            return Ok(empty(pin));
        };
        let (mut items, mut keys): (Vec<Extent>, Vec<ItemKey>) = (vec![], vec![]);
        let mut after: Option<PackEntry> = None;
        // Where the last item starts that belongs to somebody else as well.
        let mut others = None;
        loop {
            let page = self.meta().pack_entries(pack, after, SCAN_ROWS).await.map_err(ClientError::Meta)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (entry, len) in page {
                if only.is_some_and(|only| only != entry.bucket) {
                    others = Some(entry.offset);
                    if items.last().is_some_and(|item| item.offset == entry.offset) {
                        items.pop();
                        keys.pop();
                    }
                    continue;
                }
                let known = items.last().is_some_and(|item| item.offset == entry.offset);
                if known || others == Some(entry.offset) {
                    continue; // another version of the same item
                }
                if let Some(key) = self.key_of_entry(&entry).await? {
                    items.push(Extent { blob: pack, offset: entry.offset, len });
                    keys.push(key);
                }
            }
        }
        let (Some(first), Some(last)) = (items.first(), items.last()) else { return Ok(empty(pin)) };
        let start = first.offset;
        let within = |item: &Extent| {
            let at = (item.offset - start) as usize;
            Range { start: at, end: at + item.len as usize }
        };
        let all = Extent { blob: pack, offset: start, len: last.offset + last.len - start };
        let opening = Opening::Items(Arc::new(items.iter().map(within).zip(keys).collect()));
        let bytes = self.read_packed(&all, &row, opening).await?;
        Ok(Live { bytes, items, start, _pin: pin })
    }

    /// The key of the item that a version refers to; `None` if the version is gone meanwhile.
    async fn key_of_entry(&self, entry: &PackEntry) -> Result<Option<ItemKey>, ClientError> {
        let selector = VersionSelector::Id(entry.version);
        let found =
            self.meta().version(entry.bucket, &entry.key, selector).await.map_err(ClientError::Meta)?;
        match found {
            Some((row, _)) => match &row.content {
                Content::Packed(item) if item.at.blob == entry.pack && item.at.offset == entry.offset => {
                    self.item_key(item, row.size).await.map(Some)
                }
                _ => Ok(None),
            },
            None => Ok(None),
        }
    }
}

fn has_holes(row: &PackRow) -> bool {
    row.len.saturating_sub(row.live) > row.live / HOLES_FRACTION
}
