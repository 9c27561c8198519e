//! Layouts, as the data path knows them: the current one is written, older ones are read.
//!
//! A chunk's home is where the current layout wants it; where the layouts since it was written wanted it are its former homes,
//! until nothing lies only there: then those layouts are *retired* (their settings emptied). The drive behind a slot always
//! comes from the current one, because a drive that was emptied takes over its predecessor's slot.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};

use pangea_core::chunk::Code;
use pangea_core::id::{ChunkId, DriveId, NodeId};
use pangea_core::layout::{Layout, Slot};
use pangea_core::meta::Command;
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

/// The current epoch, the oldest that counts, partition, and shards: what was computed of layouts that are gone by now is
/// not asked for any more.
type PlacementKey = (u32, u32, u32, u8);

/// See the module.
#[derive(Default)]
pub(crate) struct Layouts {
    known: RwLock<BTreeMap<u32, Arc<Layout>>>,
    placements: Mutex<BTreeMap<PlacementKey, Arc<Placement>>>,
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

    /// The oldest one that is not retired, as far as is known.
    fn oldest(&self) -> Option<u32> {
        let known = self.known.read().expect("no code panics while it holds the layouts");
        known.first_key_value().map(|(epoch, _)| *epoch)
    }

    /// Epochs older than the current one that are not retired.
    pub(crate) fn older(&self) -> Vec<u32> {
        let known = self.known.read().expect("no code panics while it holds the layouts");
        let mut epochs: Vec<u32> = known.keys().copied().collect();
        epochs.pop();
        epochs
    }

    /// The layouts from that of an epoch to the current one, newest first.
    fn since(&self, epoch: u32) -> Vec<Arc<Layout>> {
        let known = self.known.read().expect("no code panics while it holds the layouts");
        let since: Vec<_> = known.range(epoch..).rev().map(|(_, layout)| layout.clone()).collect();
        if since.is_empty() { known.values().next_back().cloned().into_iter().collect() } else { since }
    }

    /// Where a chunk's shards lie, by slot.
    pub(crate) fn placement(
        &self,
        epoch: u32,
        code: Code,
        chunk: ChunkId,
        salt: u16,
    ) -> Option<Arc<Placement>> {
        let layouts = self.since(epoch);
        let (current, oldest) = (layouts.first()?, layouts.last()?);
        let partition = |layout: &Layout| partition_of(chunk, salt, layout.partitions_log2);
        let key = (current.epoch, oldest.epoch, partition(current), code.n());
        let mut placements = self.placements.lock().expect("no code panics while it holds the placements");
        if let Some(placement) = placements.get(&key) {
            return Some(placement.clone());
        }
        let former: Vec<Placement> =
            layouts[1..].iter().filter_map(|layout| place(layout, code.n(), partition(layout))).collect();
        let placement = Arc::new(place(current, code.n(), partition(current))?.after(&former));
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

    /// Knows these from now on, and no others.
    fn replace(&self, layouts: Vec<Layout>) {
        let newest = layouts.last().map_or(0, |layout| layout.epoch);
        let layouts = layouts.into_iter().map(|layout| (layout.epoch, Arc::new(layout))).collect();
        {
            let mut known = self.known.write().expect("no code panics while it holds the layouts");
            if known.last_key_value().is_some_and(|(epoch, _)| *epoch > newest) {
                // A slow reading ends after a quick one that began later.
                return;
            }
            *known = layouts;
        }
        self.placements.lock().expect("no code panics while it holds the placements").clear();
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
        let mut layouts = vec![];
        // What was retired stays so: nothing before the oldest that is known is asked for again.
        for epoch in self.inner.layouts.oldest().unwrap_or(1)..=current {
            let setting = self.meta().setting(&layout_setting(epoch)).await.map_err(ClientError::Meta)?;
            let bytes = setting.map(|(_, bytes)| bytes).filter(|bytes| !bytes.is_empty());
            match bytes.map(|bytes| Layout::decode(&bytes)) {
                Some(Ok(layout)) => layouts.push(layout),
                Some(Err(error)) => return Err(damaged(&format!("layout {epoch}: {error}"))),
                // A retired epoch; the current one must be there.
                None if epoch < current => {}
                None => return Err(damaged("the current layout is not there")),
            }
        }
        self.inner.layouts.replace(layouts);
        Ok(())
    }

    /// Makes a layout the current one. It must follow the one that is: of two changes made of the same layout, one is
    /// refused.
    pub async fn install_layout(&self, next: &Layout) -> Result<(), ClientError> {
        let stale = |epoch: u32| ClientError::Unavailable {
            why: format!("the layout was changed meanwhile: its epoch is {epoch}; plan again"),
        };
        let setting = self.meta().setting(CURRENT_EPOCH_SETTING).await.map_err(ClientError::Meta)?;
        let (revision, bytes) =
            setting.ok_or(ClientError::Damaged { what: "no layout was ever written".into() })?;
        let current = bytes.try_into().map_or(0, u32::from_le_bytes);
        if next.epoch != current + 1 {
            return Err(stale(current));
        }
        let name = layout_setting(next.epoch);
        let seen = self.meta().setting(&name).await.map_err(ClientError::Meta)?.map_or(0, |(seen, _)| seen);
        let epoch = next.epoch.to_le_bytes().to_vec();
        let settings = vec![(name, seen, next.encode()), (CURRENT_EPOCH_SETTING.to_owned(), revision, epoch)];
        self.command(Command::SetSettings { settings }).await?;
        self.refresh_layouts().await
    }

    /// Forgets layouts that nothing lies by any more.
    pub(crate) async fn retire_layouts(&self, epochs: &[u32]) -> Result<(), ClientError> {
        for epoch in epochs {
            self.set_setting(layout_setting(*epoch), vec![]).await?;
        }
        self.refresh_layouts().await
    }

    /// Writes a setting, whatever it was.
    pub async fn set_setting(&self, name: String, value: Vec<u8>) -> Result<(), ClientError> {
        let seen = self.meta().setting(&name).await.map_err(ClientError::Meta)?;
        if seen.as_ref().is_some_and(|(_, bytes)| *bytes == value) {
            return Ok(());
        }
        let expected = seen.map_or(0, |(revision, _)| revision);
        self.command(Command::SetSetting { name, expected, value }).await.map(drop)
    }

    /// The layout of an epoch, unless it is retired.
    pub fn layout_at(&self, epoch: u32) -> Option<Arc<Layout>> {
        self.inner.layouts.since(epoch).pop().filter(|layout| layout.epoch == epoch)
    }

    /// The epochs of older layouts by which something may still lie.
    pub fn older_layouts(&self) -> Vec<u32> {
        self.inner.layouts.older()
    }

    /// The current layout.
    pub fn layout(&self) -> Arc<Layout> {
        self.inner.layouts.current()
    }

    /// Whether the drive at a slot is believed to work.
    pub(crate) fn is_present(&self, slot: Slot) -> bool {
        let inner = &self.inner;
        inner.layouts.drive(slot).is_some_and(|(node, drive)| (inner.parts.present)(node, drive))
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
