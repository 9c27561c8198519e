//! The index: where every shard lies, which extents are how full, and which dead records still lie about.
//!
//! Owns the three tables and the bytes that they add up to. Pure: recovery fills it, `commit` and `compact` change it
//! after the drive said "durable", readers look shards up.

use std::collections::BTreeMap;
use std::ops::Bound;

use pangea_core::id::ShardId;

use crate::format::block_offset;
use crate::format::checkpoint::{ExtentUse, Grave, Location, checkpoint_bytes};
use crate::port::ListedShard;

/// See the module.
#[derive(Default)]
pub struct Index {
    pub(super) live: BTreeMap<ShardId, Location>,
    pub(super) graves: BTreeMap<ShardId, Grave>,
    pub(super) extents: BTreeMap<u32, ExtentUse>,
    /// Bytes of live records by extent; an extent without live records has no entry.
    live_bytes: BTreeMap<u32, u64>,
}

impl Index {
    /// The index that a checkpoint holds.
    pub fn new(
        live: BTreeMap<ShardId, Location>,
        graves: BTreeMap<ShardId, Grave>,
        extents: BTreeMap<u32, ExtentUse>,
    ) -> Self {
        let mut live_bytes = BTreeMap::new();
        for location in live.values() {
            *live_bytes.entry(location.at.extent).or_default() += location.record_bytes();
        }
        Self { live, graves, extents, live_bytes }
    }

    /// Where a shard lies.
    pub fn get(&self, id: &ShardId) -> Option<Location> {
        self.live.get(id).copied()
    }

    /// A shard's record is durable at `location`; an older one of it is dead from now on.
    pub fn insert(&mut self, id: ShardId, location: Location) {
        if let Some(old) = self.live.insert(id, location) {
            self.bury(id, &old, None);
        } else if let Some(grave) = self.graves.get_mut(&id) {
            grave.tombstone = None;
        }
        *self.live_bytes.entry(location.at.extent).or_default() += location.record_bytes();
    }

    /// A tombstone for a shard is durable in extent `tombstone`.
    pub fn delete(&mut self, id: &ShardId, tombstone: u32) {
        if let Some(old) = self.live.remove(id) {
            self.bury(*id, &old, Some(tombstone));
        } else if let Some(grave) = self.graves.get_mut(id) {
            grave.tombstone = Some(tombstone);
        }
    }

    fn bury(&mut self, id: ShardId, old: &Location, tombstone: Option<u32>) {
        self.uncount(old);
        let grave = self.graves.entry(id).or_default();
        grave.tombstone = tombstone;
        if let Err(at) = grave.extents.binary_search(&old.at.extent) {
            grave.extents.insert(at, old.at.extent);
        }
    }

    fn uncount(&mut self, old: &Location) {
        let bytes = self.live_bytes.get_mut(&old.at.extent).expect("a live record is counted");
        *bytes = bytes.checked_sub(old.record_bytes()).expect("a live record is counted once");
        if *bytes == 0 {
            self.live_bytes.remove(&old.at.extent);
        }
    }

    /// Takes out live shards whose record cannot be in its extent (a drive that lost the end of a file).
    pub fn drop_unreachable(&mut self, blocks_of: &BTreeMap<u32, u32>) -> Vec<ShardId> {
        let lost: Vec<ShardId> = self
            .live
            .iter()
            .filter(|(_, l)| {
                let end = block_offset(l.at.block) + l.record_bytes();
                blocks_of.get(&l.at.extent).is_none_or(|blocks| end > block_offset(*blocks))
            })
            .map(|(id, _)| *id)
            .collect();
        for id in &lost {
            if let Some(old) = self.live.remove(id) {
                self.uncount(&old);
            }
        }
        lost
    }

    /// Extents are gone from the drive, and with them every dead record and tombstone in them.
    pub fn remove_extents(&mut self, gone: &[u32]) {
        self.graves.retain(|_, grave| {
            grave.extents.retain(|extent| !gone.contains(extent));
            if grave.tombstone.is_some_and(|extent| gone.contains(&extent)) {
                grave.tombstone = None;
            }
            !grave.extents.is_empty()
        });
        for extent in gone {
            assert!(!self.live_bytes.contains_key(extent), "an extent with live records is never removed");
            self.extents.remove(extent);
        }
    }

    /// The graves without what lies in `gone`: what a checkpoint says when these extents are about to be removed.
    pub fn graves_without(&self, gone: &[u32]) -> BTreeMap<ShardId, Grave> {
        let without = |(id, grave): (&ShardId, &Grave)| {
            let extents: Vec<u32> = grave.extents.iter().copied().filter(|e| !gone.contains(e)).collect();
            (!extents.is_empty()).then_some((*id, Grave { extents, tombstone: grave.tombstone }))
        };
        self.graves.iter().filter_map(without).collect()
    }

    /// Bytes of live records in one extent.
    pub fn live_bytes_in(&self, extent: u32) -> u64 {
        self.live_bytes.get(&extent).copied().unwrap_or(0)
    }

    /// Bytes of live records.
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes.values().sum()
    }

    /// Bytes of everything written, live or not.
    pub fn used_bytes(&self) -> u64 {
        self.extents.values().map(|e| block_offset(e.used_blocks)).sum()
    }

    /// Bytes of a checkpoint of all this; a shard with several dead records counts once.
    pub fn checkpoint_bytes(&self) -> u64 {
        checkpoint_bytes(self.extents.len(), self.live.len(), self.graves.len())
    }

    /// Bytes in one extent that compaction could give back.
    pub fn garbage_in(&self, extent: u32) -> u64 {
        let used = self.extents.get(&extent).map_or(0, |e| block_offset(e.used_blocks));
        used.saturating_sub(self.live_bytes_in(extent))
    }

    /// Live shards of one extent from block `from` on, in the order in which they lie. Walks the whole index.
    pub fn live_in(&self, extent: u32, from: u32) -> Vec<(ShardId, Location)> {
        let mut found: Vec<_> = self
            .live
            .iter()
            .filter(|(_, l)| l.at.extent == extent && l.at.block >= from)
            .map(|(id, l)| (*id, *l))
            .collect();
        found.sort_unstable_by_key(|(_, l)| l.at.block);
        found
    }

    /// Shards whose only tombstone lies in `extent` and is still needed once `gone` and `extent` are removed.
    pub fn tombstones_to_keep(&self, extent: u32, gone: &[u32]) -> Vec<ShardId> {
        self.graves
            .iter()
            .filter(|(id, grave)| {
                grave.tombstone == Some(extent)
                    && !self.live.contains_key(id)
                    && grave.extents.iter().any(|e| *e != extent && !gone.contains(e))
            })
            .map(|(id, _)| *id)
            .collect()
    }

    /// A page of the census.
    pub fn list(&self, after: Option<ShardId>, limit: usize) -> Vec<ListedShard> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let line = |(id, l): (&ShardId, &Location)| ListedShard {
            id: *id,
            tag: l.tag,
            shard_bytes: l.shard_bytes() as u32,
        };
        self.live.range((from, Bound::Unbounded)).take(limit).map(line).collect()
    }
}
