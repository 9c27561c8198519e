//! Layouts, as the data path knows them: the current one is written, older ones are read.
//!
//! Placement comes from the layout of the epoch that a chunk was written at; the drive behind a slot always from the
//! current one, because a replaced drive takes over its predecessor's slot.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};

use pangea_core::chunk::Code;
use pangea_core::id::{ChunkId, DriveId, NodeId};
use pangea_core::layout::{Layout, Slot};
use pangea_core::place::{Placement, partition_of, place};

use crate::client::Client;
use crate::door::ClientError;

/// The setting that names the current epoch: u32, little-endian.
pub const CURRENT_EPOCH_SETTING: &str = "layout/current";
/// Placements that are remembered.
const PLACEMENTS_MAX: usize = 8192;
/// Salts that a writer tries for a partition whose drives are all there.
const SALTS: u16 = 8;

/// The name of the setting that holds a layout.
pub fn layout_setting(epoch: u32) -> String {
    format!("layout/{epoch}")
}

/// See the module.
#[derive(Default)]
pub(crate) struct Layouts {
    known: RwLock<BTreeMap<u32, Arc<Layout>>>,
    placements: Mutex<BTreeMap<(u32, u32, u8), Arc<Placement>>>,
}

impl Layouts {
    /// The newest one.
    ///
    /// # Panics
    /// If none was ever loaded: the client is started with one.
    pub(crate) fn current(&self) -> Arc<Layout> {
        let known = self.known.read().expect("no code panics while it holds the layouts");
        known.last_key_value().expect("a client starts with a layout").1.clone()
    }

    /// The one of an epoch; the next newer one if that is gone.
    pub(crate) fn at(&self, epoch: u32) -> Arc<Layout> {
        let known = self.known.read().expect("no code panics while it holds the layouts");
        known.range(epoch..).next().map_or_else(|| self.current(), |(_, layout)| layout.clone())
    }

    /// Where a chunk's shards lie, by slot.
    pub(crate) fn placement(
        &self,
        epoch: u32,
        code: Code,
        chunk: ChunkId,
        salt: u16,
    ) -> Option<Arc<Placement>> {
        let layout = self.at(epoch);
        let partition = partition_of(chunk, salt, layout.partitions_log2);
        let key = (layout.epoch, partition, code.n());
        let mut placements = self.placements.lock().expect("no code panics while it holds the placements");
        if let Some(placement) = placements.get(&key) {
            return Some(placement.clone());
        }
        let placement = Arc::new(place(&layout, code.n(), partition)?);
        if placements.len() >= PLACEMENTS_MAX {
            placements.clear();
        }
        placements.insert(key, placement.clone());
        Some(placement)
    }

    /// The drive at a slot now, and its node.
    pub(crate) fn drive(&self, slot: Slot) -> Option<(NodeId, DriveId)> {
        self.current().drive(slot).map(|drive| (drive.node, drive.drive))
    }

    fn insert(&self, layout: Layout) {
        self.known
            .write()
            .expect("no code panics while it holds the layouts")
            .insert(layout.epoch, layout.into());
    }
}

impl Client {
    /// Loads the layouts that the metadata holds; called at the start and after every change.
    pub async fn refresh_layouts(&self) -> Result<(), ClientError> {
        let damaged = |what: &str| ClientError::Damaged { what: what.into() };
        let setting = self.meta().setting(CURRENT_EPOCH_SETTING).await.map_err(ClientError::Meta)?;
        let (_, bytes) = setting.ok_or_else(|| damaged("no layout was ever written"))?;
        let current =
            u32::from_le_bytes(bytes.try_into().map_err(|_| damaged("the current epoch is no u32"))?);
        for epoch in 1..=current {
            let setting = self.meta().setting(&layout_setting(epoch)).await.map_err(ClientError::Meta)?;
            match setting.map(|(_, bytes)| Layout::decode(&bytes)) {
                Some(Ok(layout)) => self.inner.layouts.insert(layout),
                Some(Err(error)) => return Err(damaged(&format!("layout {epoch}: {error}"))),
                // A retired epoch; the current one must be there.
                None if epoch < current => {}
                None => return Err(damaged("the current layout is not there")),
            }
        }
        Ok(())
    }

    /// The current layout.
    pub fn layout(&self) -> Arc<Layout> {
        self.inner.layouts.current()
    }

    /// Whether the drive at a slot is believed to work.
    pub(crate) fn is_present(&self, slot: Slot) -> bool {
        let inner = &self.inner;
        inner.layouts.drive(slot).is_some_and(|(_, drive)| (inner.parts.present)(drive))
    }

    /// Where a new chunk goes: the first salt whose homes are all there, or the first.
    pub(crate) fn place_new(
        &self,
        code: Code,
        chunk: ChunkId,
    ) -> Result<(u16, u32, Arc<Placement>), ClientError> {
        let layouts = &self.inner.layouts;
        let epoch = layouts.current().epoch;
        let placed = |salt| {
            let placement = layouts.placement(epoch, code, chunk, salt);
            placement.ok_or_else(|| ClientError::Unavailable {
                why: "the layout has no drive that takes data".into(),
            })
        };
        for salt in 0..SALTS {
            let placement = placed(salt)?;
            if placement.shards().iter().all(|slot| self.is_present(*slot)) {
                return Ok((salt, epoch, placement));
            }
            if placement.stand_ins().is_empty() {
                break;
            }
        }
        Ok((0, epoch, placed(0)?))
    }
}
