//! Seats of the metadata log and of the keys: on drives that work and stay, moved before one leaves.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use pangea_core::layout::{Layout, Role, Slot};
use pangea_core::seam::Disk;
use pangea_meta::{Meta as _, MetaError};
use pangea_store::drive::NEIGHBOUR_FILES;

use super::Reshaper;
use crate::assemble::{meta_options, view_path};
use crate::drives::{META_DIRECTORY, has_meta};
use crate::ground::KEY_COPIES_MIN;
use crate::roster::Mounted;

impl Reshaper {
    /// Takes the keys from a drive that leaves, and gives them to others first.
    pub(super) async fn forget_keys(&self, leaving: &Mounted) -> Option<String> {
        let layout = self.parts.client.layout();
        let wanted = KEY_COPIES_MIN.max(usize::from(layout.code.m()) + 1);
        let mut keepers = self.parts.vault.keepers();
        keepers.retain(|path| *path != leaving.path);
        for drive in self.workers_of(&layout) {
            if keepers.len() < wanted && !keepers.contains(&drive.path) && drive.slot != leaving.slot {
                keepers.push(drive.path.clone());
            }
        }
        if let Err(error) = self.parts.vault.keep_on(keepers).await {
            return Some(format!("the key stays on {}: {error}", leaving.path.display()));
        }
        for name in NEIGHBOUR_FILES {
            // Most of them were never there.
            let _ = std::fs::remove_file(leaving.path.join(name));
        }
        None
    }

    /// Drives that take data and work, by slot.
    fn workers_of(&self, layout: &Layout) -> Vec<Arc<Mounted>> {
        let active = |drive: &Arc<Mounted>| {
            layout.drive(Slot(drive.slot)).is_some_and(|known| known.role == Role::Active)
        };
        let works = |drive: &Arc<Mounted>| drive.takes_part.load(Ordering::Relaxed);
        self.parts.roster.mounted().into_iter().filter(|drive| active(drive) && works(drive)).collect()
    }

    /// Keeps the metadata log on m+1 drives that work and stay. Says what changed.
    pub(super) async fn seat_log(&self) -> Result<Option<String>, String> {
        let layout = self.parts.client.layout();
        let wanted = 1 + usize::from(layout.code.m());
        let all = self.parts.roster.mounted();
        let holds: Vec<Arc<Mounted>> = all.iter().filter(|drive| has_meta(&drive.path)).cloned().collect();
        let status = self.parts.meta.status().await.map_err(|error| error.to_string())?;
        let out = status.log_drives.iter().filter(|drive| !drive.ok).count();
        let working = self.workers_of(&layout);
        let is_in = |list: &[Arc<Mounted>], drive: &Arc<Mounted>| list.iter().any(|d| d.slot == drive.slot);
        let mut chosen: Vec<Arc<Mounted>> =
            holds.iter().filter(|drive| is_in(&working, drive)).cloned().collect();
        let stays = chosen.len() == holds.len() && out == 0;
        if stays && chosen.len() >= wanted {
            return Ok(None);
        }
        for drive in &working {
            if chosen.len() < wanted && !is_in(&chosen, drive) {
                chosen.push(drive.clone());
            }
        }
        let same = chosen.len() == holds.len() && holds.iter().all(|drive| is_in(&chosen, drive));
        if chosen.is_empty() || (same && out == 0) {
            return Ok(None);
        }
        // What was failing may fail again at once, and a drive that takes no writes keeps its old log: only another set of
        // drives than the last one is worth a change.
        let slots: Vec<u16> = chosen.iter().map(|drive| drive.slot).collect();
        if same || *self.seated.lock().unwrap_or_else(PoisonError::into_inner) == slots {
            return Ok(None);
        }
        let moved = self.reseat(holds, chosen).await?;
        *self.seated.lock().unwrap_or_else(PoisonError::into_inner) = slots;
        Ok(moved)
    }

    async fn reseat(
        &self,
        holds: Vec<Arc<Mounted>>,
        chosen: Vec<Arc<Mounted>>,
    ) -> Result<Option<String>, String> {
        let meta = self.parts.meta.clone();
        // A short log makes the change quick; without a snapshot it is only slower.
        let _ = meta.snapshot().await;
        let generation = meta.status().await.map_err(|error| error.to_string())?.generation;
        let ring = self.parts.vault.ring().await;
        let (old, new) = (holds.clone(), chosen.clone());
        let moved = tokio::task::spawn_blocking(move || {
            let view = old.iter().map(|drive| view_path(&drive.path)).find(|path| path.exists());
            let options = |moved: bool| {
                let drives = if moved { &new } else { &old };
                let drives: Vec<(PathBuf, Arc<dyn Disk>)> = drives
                    .iter()
                    .map(|drive| (drive.path.clone(), drive.disk.clone() as Arc<dyn Disk>))
                    .collect();
                let why = |error: crate::StartError| MetaError::Unavailable { why: error.to_string() };
                meta_options(&drives, &ring, generation).map_err(why)
            };
            meta.reseat(options, view.as_deref())
        });
        let moved = moved.await.map_err(|error| error.to_string())?;
        moved.map_err(|error| format!("the metadata log could not be moved: {error}"))?;
        let generation = self.parts.meta.status().await.map_err(|error| error.to_string())?.generation;
        let epoch = self.parts.client.layout().epoch;
        for drive in self.parts.roster.mounted() {
            if let Err(error) = drive.store.set_generation(generation, epoch).await {
                tracing::warn!(drive = %drive.path.display(), %error, "the superblock was not updated");
            }
        }
        for drive in holds.iter().filter(|drive| chosen.iter().all(|other| other.slot != drive.slot)) {
            // It is of the past; what cannot be removed is refused by its generation.
            let _ = std::fs::remove_dir_all(drive.path.join(META_DIRECTORY));
        }
        let names: Vec<String> = chosen.iter().map(|drive| drive.path.display().to_string()).collect();
        Ok(Some(format!("the metadata log lies on {} now", names.join(", "))))
    }
}
