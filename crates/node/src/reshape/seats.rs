//! Seats of the metadata log and of the keys: on drives that work and stay, moved before one leaves.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pangea_core::id::DriveId;
use pangea_core::layout::{Layout, Role, Slot};
use pangea_core::seam::Disk;
use pangea_meta::{Meta as _, MetaError, SeatedMeta};
use pangea_store::drive::NEIGHBOUR_FILES;
use pangea_store::file_disk::FileDisk;

use super::Reshaper;
use crate::assemble::{meta_options, view_path};
use crate::drives::{META_DIRECTORY, has_meta};
use crate::ground::KEY_COPIES_MIN;
use crate::roster::Mounted;

/// The same drives are tried again for the log after so long.
const SAME_SEATS_AFTER: Duration = Duration::from_secs(60);
/// How long a drive is waited for where others wait too.
const DRIVE_PATIENCE: Duration = Duration::from_secs(5);

/// A drive that the metadata log lies on.
#[derive(Clone)]
pub(crate) struct LogSeat {
    pub drive: DriveId,
    pub path: PathBuf,
    pub disk: Arc<FileDisk>,
}

/// Where the metadata log lies, in the order that the engine knows.
pub(crate) struct LogSeats {
    pub(super) at: Vec<LogSeat>,
    /// When it was moved last.
    pub(super) moved_at: Option<Instant>,
}

impl LogSeat {
    fn on(drive: &Mounted) -> Self {
        Self { drive: drive.drive, path: drive.path.clone(), disk: drive.disk.clone() }
    }
}

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
        let left = |name: &&str| match std::fs::remove_file(leaving.path.join(name)) {
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
            Ok(()) => false,
        };
        let left: Vec<&str> = NEIGHBOUR_FILES.into_iter().filter(left).collect();
        let path = leaving.path.display();
        (!left.is_empty())
            .then(|| format!("{path} STILL HOLDS {}: destroy it, or rotate the keys", left.join(", ")))
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
        let mut seats = self.seats.lock().await;
        let layout = self.parts.client.layout();
        let wanted = 1 + usize::from(layout.code.m());
        let Some(meta) = &self.parts.seated else { return Ok(None) };
        let status = meta.status().await.map_err(|error| error.to_string())?;
        let working = self.workers_of(&layout);
        let works = |drive: DriveId| working.iter().any(|known| known.drive == drive);
        // The engine tells of its drives in the order in which it was given them.
        let ok = status.log_drives.iter().map(|drive| drive.ok).chain(std::iter::repeat(false));
        let mut live: Vec<LogSeat> =
            seats.at.iter().zip(ok).filter(|(_, ok)| *ok).map(|(seat, _)| seat.clone()).collect();
        if live.is_empty() {
            // Whatever was acknowledged lies on drives that failed: nothing there is touched, and the next start reads it.
            return Ok(None);
        }
        let mut chosen: Vec<LogSeat> = live.iter().filter(|seat| works(seat.drive)).cloned().collect();
        for drive in &working {
            if chosen.len() < wanted && chosen.iter().all(|seat| seat.drive != drive.drive) {
                chosen.push(LogSeat::on(drive));
            }
        }
        let same = chosen.len() == seats.at.len()
            && seats.at.iter().all(|seat| chosen.iter().any(|other| other.drive == seat.drive));
        if chosen.is_empty() || (same && live.len() == seats.at.len()) {
            return Ok(None);
        }
        // What failed may fail again at once.
        if same && seats.moved_at.is_some_and(|at| at.elapsed() < SAME_SEATS_AFTER) {
            return Ok(None);
        }
        seats.moved_at = Some(Instant::now());
        if !chosen.iter().any(|seat| live.iter().any(|known| known.drive == seat.drive)) {
            // The newcomers get all of the log beside those that have it; only then do these go.
            let both: Vec<LogSeat> = live.iter().chain(&chosen).cloned().collect();
            self.reseat(meta, &live, &live, &both).await?;
            (seats.at, live) = (both.clone(), both);
        }
        let old = seats.at.clone();
        self.reseat(meta, &old, &live, &chosen).await?;
        seats.at = chosen;
        self.tell_generation().await;
        for drive in self.parts.roster.mounted() {
            if has_meta(&drive.path) && seats.at.iter().all(|seat| seat.drive != drive.drive) {
                // It is of the past; what cannot be removed is refused by its generation.
                let _ = std::fs::remove_dir_all(drive.path.join(META_DIRECTORY));
            }
        }
        let names: Vec<String> = seats.at.iter().map(|seat| seat.path.display().to_string()).collect();
        Ok(Some(format!("the metadata log lies on {} now", names.join(", "))))
    }

    /// Whether the metadata log lies on a drive.
    pub(super) async fn holds_log(&self, drive: DriveId) -> bool {
        self.seats.lock().await.at.iter().any(|seat| seat.drive == drive)
    }

    /// Opens the engine on `new` drives; `old` are those to go back to, and `live` those of them that have all of the log.
    async fn reseat(
        &self,
        meta: &Arc<SeatedMeta>,
        old: &[LogSeat],
        live: &[LogSeat],
        new: &[LogSeat],
    ) -> Result<(), String> {
        let meta = meta.clone();
        // A short log makes the change quick; without a snapshot it is only slower.
        let _ = meta.snapshot().await;
        let generation = meta.status().await.map_err(|error| error.to_string())?.generation;
        let ring = self.parts.vault.ring().await;
        let (old, live, new) = (old.to_vec(), live.to_vec(), new.to_vec());
        let moved = tokio::task::spawn_blocking(move || {
            for seat in new.iter().filter(|seat| live.iter().all(|known| known.drive != seat.drive)) {
                // What an earlier log left there is not part of this one.
                let _ = std::fs::remove_dir_all(seat.path.join(META_DIRECTORY));
            }
            let view = old.iter().map(|seat| view_path(&seat.path)).find(|path| path.exists());
            let options = |moved: bool| {
                let seats = if moved { &new } else { &old };
                let drives: Vec<(PathBuf, Arc<dyn Disk>)> = seats
                    .iter()
                    .map(|seat| (seat.path.clone(), seat.disk.clone() as Arc<dyn Disk>))
                    .collect();
                let why = |error: crate::StartError| MetaError::Unavailable { why: error.to_string() };
                meta_options(&drives, &ring, generation).map_err(why)
            };
            meta.reseat(options, view.as_deref())
        });
        let moved = moved.await.map_err(|error| error.to_string())?;
        moved.map_err(|error| format!("the metadata log could not be moved: {error}"))
    }

    /// Tells every drive the newest generation: one that comes back without knowing it is behind.
    async fn tell_generation(&self) {
        let Ok(status) = self.parts.client.meta().status().await else { return };
        let epoch = self.parts.client.layout().epoch;
        for drive in self.parts.roster.mounted() {
            match brief(drive.store.set_generation(status.generation, epoch)).await {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::warn!(drive = %drive.path.display(), %error, "the superblock was not updated");
                }
                None => tracing::warn!(drive = %drive.path.display(), "the drive does not answer"),
            }
        }
    }
}

/// Waits for a drive's answer, but not for ever.
pub(crate) async fn brief<T>(answer: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(DRIVE_PATIENCE, answer).await.ok()
}
