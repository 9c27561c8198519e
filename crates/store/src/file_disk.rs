//! A directory as a [`Disk`]: the only place in this crate that touches the file system.
//!
//! Owns the directory's lock for as long as it lives: two processes on one directory would each believe their own index.
//! Files are reserved when they are created, so that a sync has no new length to write down.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use pangea_core::seam::{Disk, DiskFile, Space};
use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::Errno;

use crate::drive::{LOCK_FILE, OpenError};
use crate::port::IoOp;

/// Slices that one system call takes (IOV_MAX).
const SLICES_MAX: usize = 1024;
/// A directory that file systems make by themselves.
const LOST_AND_FOUND: &str = "lost+found";

/// See the module.
pub struct FileDisk {
    root: PathBuf,
    /// Held open for its lock.
    _lock: File,
}

impl FileDisk {
    /// Takes a directory, which must exist, and its lock.
    pub fn open(root: &Path) -> Result<Self, OpenError> {
        let path = root.display().to_string();
        let refused = |error: io::Error| OpenError::new(IoOp::Lock, &error, &path);
        if !std::fs::metadata(root).map_err(refused)?.is_dir() {
            return Err(OpenError::NotADirectory { path });
        }
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(root.join(LOCK_FILE))
            .map_err(refused)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { root: root.to_owned(), _lock: lock }),
            Err(Errno::WOULDBLOCK) => Err(OpenError::InUse { path }),
            Err(errno) => Err(refused(errno.into())),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Makes the directory that a new file lies in, durably.
    fn make_parent(&self, name: &str) -> io::Result<()> {
        let Some((parent, _)) = name.split_once('/') else { return Ok(()) };
        match std::fs::create_dir(self.path(parent)) {
            Ok(()) => File::open(&self.root)?.sync_all(),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn create(&self, name: &str, size: u64) -> io::Result<File> {
        self.make_parent(name)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.path(name))?;
        if let Err(error) = reserve(&file, size) {
            drop(file);
            // The name must be free for the next try; the first error is the one that tells why.
            let _ = std::fs::remove_file(self.path(name));
            return Err(error);
        }
        Ok(file)
    }
}

/// Reserves blocks, or, where the file system cannot, at least the length.
fn reserve(file: &File, size: u64) -> io::Result<()> {
    if size == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => file.set_len(size),
        Err(errno) => Err(errno.into()),
    }
}

impl Disk for FileDisk {
    fn open(&self, name: &str, create: Option<u64>) -> io::Result<Box<dyn DiskFile>> {
        let file = match create {
            Some(size) => self.create(name, size)?,
            None => OpenOptions::new().read(true).write(true).open(self.path(name))?,
        };
        Ok(Box::new(OpenFile(file)))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        match list_into(&self.path(dir), dir, &mut names) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !dir.is_empty() => {}
            other => other?,
        }
        names.sort_unstable();
        Ok(names)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    fn sync_dir(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.root)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() && entry.file_name() != LOST_AND_FOUND {
                File::open(entry.path())?.sync_all()?;
            }
        }
        File::open(&self.root)?.sync_all()
    }

    fn space(&self) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(Space { total: stat.f_blocks * stat.f_frsize, available: stat.f_bavail * stat.f_frsize })
    }

    fn describe(&self) -> String {
        self.root.display().to_string()
    }
}

/// Names below `path`, with `prefix` before them; one level of directories, which is all that we make.
fn list_into(path: &Path, prefix: &str, names: &mut Vec<String>) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let name = file_name.to_string_lossy();
        let full = if prefix.is_empty() { name.to_string() } else { format!("{prefix}/{name}") };
        if !entry.file_type()?.is_dir() {
            names.push(full);
        } else if prefix.is_empty() && name != LOST_AND_FOUND {
            list_into(&entry.path(), &full, names)?;
        }
    }
    Ok(())
}

struct OpenFile(File);

impl DiskFile for OpenFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        for group in parts.chunks(SLICES_MAX) {
            let mut slices = group.to_vec();
            let mut rest: &mut [IoSlice<'_>] = &mut slices;
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                let written = match rustix::io::pwritev(&self.0, rest, offset) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => written,
                    Err(Errno::INTR) => continue,
                    Err(errno) => return Err(errno.into()),
                };
                offset += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }
}
