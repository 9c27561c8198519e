//! Backups of the metadata: made from a running server, brought back onto the drives of a stopped one.
//!
//! ```text
//! backup:  POST meta/backup ─▶ snapshot, checked ─▶ its bytes, part by part ─▶ FILE.part ─▶ FILE
//! restore: FILE checked whole ─▶ drives know nothing newer, or force ─▶ what was there moved aside ─▶ snapshot, log, view
//! ```
//! Nothing is changed before the whole backup was read, opened and found to be this cluster's.

mod error;
mod restore;
mod serve;

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use pangea_core::id::ClusterId;
use pangea_core::seam::{Clock as _, DiskFile};
use pangea_meta::backup::{BackupHead, HEAD_BYTES};

use crate::admin::unhex;
use crate::clock::SystemClock;
use crate::control::{Control, MetaBackup, MetaBackupPart};

pub use error::BackupError;
pub use restore::{Restored, Wanted, restore};
pub(crate) use serve::{begin, part};

/// What a half-written backup is called.
const PARTIAL: &str = ".part";

/// Fetches a backup of the metadata from a running server into a new file. `progress` is told bytes and all bytes.
pub async fn fetch(
    control: &dyn Control,
    path: &Path,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<MetaBackup, BackupError> {
    if path.exists() {
        return Err(BackupError::Exists { path: path.to_owned() });
    }
    let partial = partial_of(path);
    let fetched = fetch_into(control, &partial, progress).await;
    let placed = fetched.and_then(|backup| {
        // A link fails if somebody made the file meanwhile; a rename would replace it.
        fs::hard_link(&partial, path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => BackupError::Exists { path: path.to_owned() },
            _ => BackupError::Io { doing: "name", path: path.to_owned(), source },
        })?;
        Ok(backup)
    });
    // Whole or not, its other name is not wanted any more; a leftover is overwritten by the next attempt.
    let _ = fs::remove_file(&partial);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = File::open(parent).and_then(|parent| parent.sync_all());
    let failed = |source| BackupError::Io { doing: "sync the directory of", path: path.to_owned(), source };
    placed.and_then(|backup| synced.map_err(failed).map(|()| backup))
}

fn partial_of(path: &Path) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(PARTIAL);
    PathBuf::from(name)
}

async fn fetch_into(
    control: &dyn Control,
    path: &Path,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<MetaBackup, BackupError> {
    let failed = |doing| move |source| BackupError::Io { doing, path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // Before the server is asked to do anything.
    let mut file = options.open(path).map_err(failed("make"))?;
    let backup = control.back_up_meta().await.map_err(BackupError::Control)?;
    let foreign = || BackupError::Foreign;
    let cluster = unhex(&backup.cluster).and_then(|id| id.try_into().ok()).ok_or_else(foreign)?;
    let hash = unhex(&backup.hash).and_then(|hash| hash.try_into().ok()).ok_or_else(foreign)?;
    file.write_all(&[0; HEAD_BYTES]).map_err(failed("write"))?;
    let (mut offset, mut hasher) = (0, blake3::Hasher::new());
    while offset < backup.bytes {
        let wanted = MetaBackupPart { seq: backup.seq, offset };
        let got = control.read_meta_backup(wanted).await.map_err(BackupError::Control)?;
        let bytes = unhex(&got.hex).filter(|bytes| !bytes.is_empty()).ok_or_else(foreign)?;
        hasher.update(&bytes);
        file.write_all(&bytes).map_err(failed("write"))?;
        offset += bytes.len() as u64;
        progress(offset, backup.bytes);
    }
    if offset != backup.bytes || hasher.finalize() != blake3::Hash::from_bytes(hash) {
        return Err(foreign());
    }
    let (generation, seq, bytes) = (backup.generation, backup.seq, backup.bytes);
    let created_ms = SystemClock::new().wall_ms();
    let head = BackupHead { cluster: ClusterId(cluster), generation, seq, created_ms, bytes, hash };
    file.write_all_at(&head.encode(), 0).map_err(failed("write"))?;
    file.sync_all().map_err(failed("sync"))?;
    Ok(backup)
}

/// The snapshot inside a backup file, for reading.
pub(crate) struct Inside {
    file: File,
    from: u64,
    bytes: u64,
}

impl DiskFile for Inside {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > self.bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_exact_at(buf, self.from + offset)
    }

    fn write_at(&self, _: &[IoSlice<'_>], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes)
    }

    fn set_size(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
