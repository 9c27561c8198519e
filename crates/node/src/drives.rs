//! Drives: which directory is which drive of the layout, and what to do with the one that is not what it should be.
//!
//! Owns directories until a store has them: making, locking, probing, initialising, adopting, moving damaged files aside.
//! `plan` decides, purely; this room only looks and acts. Nothing that holds data is ever removed or overwritten here:
//! files in the way are moved into `damaged-<unixtime>/` on the same drive.

mod error;
mod plan;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pangea_core::id::ClusterId;
use pangea_core::layout::Slot;
use pangea_core::seam::{Disk as _, WallMs};
use pangea_store::drive::{LOCK_FILE, NEIGHBOUR_FILES, OpenError, Probe, adopt, format, is_neighbour, probe};
use pangea_store::file_disk::FileDisk;
use pangea_store::format::checkpoint::CHECKPOINT_FILE;
use pangea_store::format::superblock::Identity;

pub use error::DriveError;
pub use plan::{Absent, Action, Plan, Seat, next_layout, plan, unreachable_without};
pub(crate) use plan::{absolute, is_of};

/// What the metadata engine keeps on a drive.
pub const META_DIRECTORY: &str = "meta";
const DAMAGED_PREFIX: &str = "damaged-";
const GIB: u64 = 1 << 30;

/// What a directory was found to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// It does not exist.
    NoDirectory,
    /// Nothing of a drive.
    Empty,
    /// Node's or the metadata's files, but neither a superblock nor an extent: no shard is lost by initialising it.
    Leftover,
    /// A drive.
    Formatted(Identity),
    /// A drive without a readable superblock, and whose its records say it is.
    Damaged(Option<Identity>),
    /// It cannot be used now.
    Unusable(OpenError),
}

/// A directory that was named, looked into and locked.
pub struct Directory {
    /// As it was named.
    pub path: PathBuf,
    /// What it is.
    pub found: Found,
    /// The newest meta generation that its superblock knows.
    pub meta_generation: u64,
    /// Its files, while it can be used.
    pub disk: Option<Arc<FileDisk>>,
}

/// Looks into the directories that were named and locks them. Other people's files, a newer format and a directory in use
/// end it; whatever else is wrong with one is in its [`Found`], because the others may be enough.
pub fn look(paths: &[PathBuf]) -> Result<Vec<Directory>, DriveError> {
    paths.iter().map(|path| look_into(path)).collect()
}

fn look_into(path: &Path) -> Result<Directory, DriveError> {
    let unusable = |error| Directory {
        path: path.into(),
        found: Found::Unusable(error),
        meta_generation: 0,
        disk: None,
    };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Directory {
                path: path.into(),
                found: Found::NoDirectory,
                meta_generation: 0,
                disk: None,
            });
        }
        Ok(metadata) if !metadata.is_dir() => return Err(DriveError::NotADirectory { path: path.into() }),
        _ => {}
    }
    let disk = match FileDisk::open(path) {
        Ok(disk) => Arc::new(disk),
        Err(OpenError::InUse { .. }) => return Err(DriveError::InUse { path: path.into() }),
        Err(error) => return Ok(unusable(error)),
    };
    let mut meta_generation = 0;
    let found = match probe(disk.as_ref()) {
        Ok(Probe::Empty) if has_neighbours(disk.as_ref()) => Found::Leftover,
        Ok(Probe::Empty) => Found::Empty,
        Ok(Probe::Formatted(superblock)) => {
            meta_generation = superblock.meta_generation;
            Found::Formatted(superblock.identity)
        }
        Ok(Probe::Damaged { named }) => Found::Damaged(named),
        Ok(Probe::Foreign { names }) if !only_ours(disk.as_ref()) => {
            return Err(DriveError::Foreign { path: path.into(), names });
        }
        Ok(Probe::Foreign { .. }) => Found::Leftover,
        Ok(Probe::Newer { version }) => return Err(DriveError::Newer { path: path.into(), version }),
        Err(error) => return Ok(unusable(error)),
    };
    Ok(Directory { path: path.into(), found, meta_generation, disk: Some(disk) })
}

/// Whether nothing was ever stored in the directory: it may be part of a first start, also of one that was cut short.
pub fn is_untouched(directory: &Directory) -> bool {
    let extents =
        fs::read_dir(directory.path.join("extents")).is_ok_and(|mut entries| entries.next().is_some());
    let could_be = !matches!(directory.found, Found::Damaged(_) | Found::Unusable(_));
    could_be && !extents && !has_meta(&directory.path)
}

/// Whether the metadata engine has files on the drive.
pub fn has_meta(path: &Path) -> bool {
    fs::read_dir(path.join(META_DIRECTORY)).is_ok_and(|mut entries| entries.next().is_some())
}

fn has_neighbours(disk: &FileDisk) -> bool {
    disk.list("").is_ok_and(|names| names.iter().any(|name| is_neighbour(name)))
}

/// Whether nothing but a checkpoint is in the way of a new drive.
fn only_ours(disk: &FileDisk) -> bool {
    let ours = |name: &String| [LOCK_FILE, CHECKPOINT_FILE].contains(&name.as_str()) || is_neighbour(name);
    disk.list("").is_ok_and(|names| names.iter().all(ours))
}

impl Directory {
    /// Makes the directory if it does not exist; its parent must.
    pub fn ensure(&mut self) -> Result<(), DriveError> {
        if self.found != Found::NoDirectory {
            return Ok(());
        }
        let path = self.path.clone();
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(DriveError::NoParent { path }),
            Err(source) => Err(DriveError::Io { doing: "make the directory", path, source }),
            Ok(()) => {
                *self = look_into(&path)?;
                Ok(())
            }
        }
    }

    /// Makes the directory the drive that it shall be. Says what it moved aside.
    pub fn settle(&mut self, action: &Action, now_ms: WallMs) -> Result<Option<PathBuf>, DriveError> {
        self.ensure()?;
        let path = self.path.clone();
        let failed = |error| DriveError::Open { path: path.clone(), error };
        let mut moved = None;
        match action {
            Action::Open(_) => {}
            Action::Adopt(identity) => {
                adopt(self.disk()?.as_ref(), *identity, now_ms).map_err(failed)?;
            }
            Action::Format(identity) => {
                if matches!(self.found, Found::Leftover | Found::Damaged(_)) {
                    moved = move_aside(&self.path, now_ms)?;
                }
                format(self.disk()?.as_ref(), *identity, now_ms).map_err(failed)?;
            }
        }
        self.found = Found::Formatted(action.identity());
        Ok(moved)
    }

    /// Its files.
    pub fn disk(&self) -> Result<&Arc<FileDisk>, DriveError> {
        let error = || match &self.found {
            Found::Unusable(error) => error.clone(),
            _ => OpenError::NotADirectory { path: self.path.display().to_string() },
        };
        self.disk.as_ref().ok_or_else(|| DriveError::Open { path: self.path.clone(), error: error() })
    }

    /// Its share of the data: GiB of capacity, at least 1.
    pub fn weight(&self) -> u32 {
        let total = self.disk.as_ref().and_then(|disk| disk.space().ok()).map_or(0, |space| space.total);
        u32::try_from(total / GIB).unwrap_or(u32::MAX).max(1)
    }
}

/// Moves whatever is in the way of a new drive into a directory of its own; the lock, the keys and the metadata stay.
fn move_aside(path: &Path, now_ms: WallMs) -> Result<Option<PathBuf>, DriveError> {
    let failed = |doing| move |source| DriveError::Io { doing, path: path.to_owned(), source };
    let mut target = None;
    for entry in fs::read_dir(path).map_err(failed("list"))? {
        let name = entry.map_err(failed("list"))?.file_name();
        let stays = name.to_str().is_some_and(|name| {
            [LOCK_FILE, META_DIRECTORY, "lost+found"].contains(&name)
                || NEIGHBOUR_FILES.contains(&name)
                || name.starts_with(DAMAGED_PREFIX)
        });
        if stays {
            continue;
        }
        let target = match &target {
            Some(target) => target,
            None => target.insert(make_damaged(path, now_ms)?),
        };
        fs::rename(path.join(&name), target.join(&name)).map_err(failed("move damaged files aside in"))?;
    }
    fs::File::open(path).and_then(|directory| directory.sync_all()).map_err(failed("sync"))?;
    Ok(target)
}

/// Makes `damaged-<unixtime>`, or the next free name.
pub(crate) fn make_damaged(path: &Path, now_ms: WallMs) -> Result<PathBuf, DriveError> {
    const NAMES: u64 = 1000;
    for second in now_ms / 1000..now_ms / 1000 + NAMES {
        let target = path.join(format!("{DAMAGED_PREFIX}{second}"));
        match fs::create_dir(&target) {
            Ok(()) => return Ok(target),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(DriveError::Io { doing: "make", path: target, source }),
        }
    }
    let source = io::Error::from(io::ErrorKind::AlreadyExists);
    Err(DriveError::Io { doing: "move damaged files aside in", path: path.to_owned(), source })
}

/// The identity of a drive at a slot.
pub(crate) fn identity(cluster: ClusterId, drive: pangea_core::id::DriveId, slot: Slot) -> Identity {
    Identity { cluster, drive, slot: slot.0 }
}
