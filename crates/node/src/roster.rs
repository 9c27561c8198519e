//! The roster: which drives are mounted now, which are not and why. Drives come and go while the node runs.
//!
//! Owns the stores. The transport's handler finds a drive's store here, the data path asks here whether a drive takes part,
//! and everything that is shown of drives comes from here. Who mounts and takes out is `health` and `reshape`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use pangea_core::id::DriveId;
use pangea_core::layout::Slot;
use pangea_store::file_disk::FileDisk;
use pangea_store::port::ShardStore;

use crate::drives::Absent;
use crate::engine::IoEngine;

/// A drive with its store.
pub(crate) struct Mounted {
    pub slot: u16,
    pub drive: DriveId,
    pub path: PathBuf,
    pub disk: Arc<FileDisk>,
    pub store: Arc<dyn ShardStore>,
    /// The name of the engine that writes it.
    pub engine: &'static str,
    /// How often it found a shard corrupt or failed, since it was mounted.
    pub errors: Arc<AtomicU64>,
    /// The drive that it took the place of at this start.
    pub replaces: Option<DriveId>,
    /// Whether it is given new shards. Reads go on either way.
    pub takes_part: AtomicBool,
    /// Whether it does not answer: nobody is kept waiting for it then.
    pub is_silent: AtomicBool,
    /// Why not, in words.
    pub trouble: RwLock<Option<String>>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Roster {
    drives: RwLock<Drives>,
    engine: IoEngine,
}

#[derive(Default)]
struct Drives {
    mounted: BTreeMap<DriveId, Arc<Mounted>>,
    absent: BTreeMap<u16, Absent>,
}

impl Roster {
    /// Without drives; those that come are opened by that engine.
    pub(crate) fn new(engine: IoEngine) -> Self {
        Self { drives: RwLock::default(), engine }
    }

    /// What a start found.
    pub(crate) fn fill(&self, mounted: Vec<Mounted>, absent: Vec<Absent>) {
        let mut drives = self.write();
        drives.mounted = mounted.into_iter().map(|drive| (drive.drive, Arc::new(drive))).collect();
        drives.absent = absent.into_iter().map(|absent| (absent.slot.0, absent)).collect();
    }

    /// What engine was asked for, for drives that come later.
    pub(crate) fn engine(&self) -> IoEngine {
        self.engine
    }

    fn read(&self) -> RwLockReadGuard<'_, Drives> {
        self.drives.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Drives> {
        self.drives.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that are mounted, by slot.
    pub(crate) fn mounted(&self) -> Vec<Arc<Mounted>> {
        let mut all: Vec<Arc<Mounted>> = self.read().mounted.values().cloned().collect();
        all.sort_by_key(|drive| drive.slot);
        all
    }

    /// A drive, if it is mounted.
    pub(crate) fn drive(&self, drive: DriveId) -> Option<Arc<Mounted>> {
        self.read().mounted.get(&drive).cloned()
    }

    /// The drive at a slot, if it is mounted.
    pub(crate) fn at(&self, slot: Slot) -> Option<Arc<Mounted>> {
        self.read().mounted.values().find(|drive| drive.slot == slot.0).cloned()
    }

    /// Why the drive of a slot is not mounted.
    pub(crate) fn absence(&self, slot: Slot) -> Option<Absent> {
        self.read().absent.get(&slot.0).cloned()
    }

    /// Whether a drive is given new shards.
    pub(crate) fn takes_part(&self, drive: DriveId) -> bool {
        self.read().mounted.get(&drive).is_some_and(|drive| drive.takes_part.load(Ordering::Relaxed))
    }

    /// A drive is there (again).
    pub(crate) fn mount(&self, drive: Mounted) {
        let mut drives = self.write();
        drives.absent.remove(&drive.slot);
        drives.mounted.insert(drive.drive, Arc::new(drive));
    }

    /// A drive is not there any more; whoever uses it still ends with an error.
    pub(crate) fn take_out(&self, drive: DriveId, why: String) -> Option<Arc<Mounted>> {
        let mut drives = self.write();
        let mounted = drives.mounted.remove(&drive)?;
        let (slot, path) = (Slot(mounted.slot), mounted.path.display().to_string());
        drives.absent.insert(mounted.slot, Absent { slot, drive, path, why });
        Some(mounted)
    }

    /// A slot that left the layout.
    pub(crate) fn forget(&self, slot: Slot) {
        self.write().absent.remove(&slot.0);
    }
}

impl Mounted {
    /// Says whether it is given new shards, and why not.
    pub(crate) fn set_trouble(&self, trouble: Option<String>) {
        self.takes_part.store(trouble.is_none(), Ordering::Relaxed);
        *self.trouble.write().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Why it is not given new shards.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
