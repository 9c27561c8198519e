//! A directory as a [`Disk`]: the only place in this crate that touches the file system (with `direct`, its way past the
//! page cache).
//!
//! Owns the directory's lock for as long as it lives: two processes on one directory would each believe their own index.
//! Files are reserved when they are created, so that a sync has no new length to write down.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use pangea_core::seam::{Disk, DiskFile, Space};
use rustix::fs::{AtFlags, Dir, FallocateFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::direct::{self, Direct, Staging};
use crate::drive::{LOCK_FILE, OpenError};
use crate::port::IoOp;

/// Slices that one system call takes (IOV_MAX).
const SLICES_MAX: usize = 1024;
/// A directory that file systems make by themselves.
const LOST_AND_FOUND: &str = "lost+found";

/// See the module.
pub struct FileDisk {
    /// Names are resolved from here, not from the path: if the drive is unmounted or the directory renamed under us,
    /// we must not go on in whatever is found at the path then.
    root: Arc<OwnedFd>,
    path: String,
    staging: Arc<Staging>,
    /// Held open for its lock; `touch` writes into it.
    lock: File,
}

impl FileDisk {
    /// Takes a directory, which must exist, and its lock.
    pub fn open(root: &Path) -> Result<Self, OpenError> {
        let path = root.display().to_string();
        let refused = |errno: Errno| OpenError::new(IoOp::Lock, &errno.into(), &path);
        let root = rustix::fs::open(root, directory_flags(), Mode::empty()).map_err(refused)?;
        let lock = open_at(&root, LOCK_FILE, OFlags::CREATE).map_err(refused)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { root: Arc::new(root), path, staging: Arc::default(), lock }),
            Err(Errno::WOULDBLOCK) => Err(OpenError::InUse { path }),
            Err(errno) => Err(refused(errno)),
        }
    }

    /// Whether a path still leads to this directory: not after it was unmounted, renamed or replaced.
    pub fn is_at(&self, path: &Path) -> io::Result<bool> {
        let ours = rustix::fs::fstat(&self.root)?;
        match rustix::fs::stat(path) {
            Ok(there) => Ok((there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Writes a few bytes into the lock file, syncs them and reads them back: whether the drive still takes writes.
    pub fn touch(&self, mark: u64) -> io::Result<()> {
        self.lock.write_all_at(&mark.to_le_bytes(), 0)?;
        self.lock.sync_data()?;
        let mut read = [0; 8];
        self.lock.read_exact_at(&mut read, 0)?;
        if u64::from_le_bytes(read) == mark { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// Whether its file system opens files for direct writes.
    #[cfg(all(target_os = "linux", feature = "uring"))]
    pub(crate) fn try_direct(&self) -> io::Result<()> {
        Ok(open_at(&self.root, LOCK_FILE, OFlags::DIRECT).map(drop)?)
    }

    /// The same as [`Disk::open`], for who adds something to the file.
    pub(crate) fn open_file(&self, name: &str, create: Option<u64>) -> io::Result<OpenFile> {
        let file = match create {
            Some(size) => self.create(name, size)?,
            None => open_at(&self.root, name, OFlags::empty())?,
        };
        let (root, staging) = (self.root.clone(), self.staging.clone());
        Ok(OpenFile { file, root, name: name.to_owned(), direct: Direct::default(), staging })
    }

    /// Makes the directory that a new file lies in, durably.
    fn make_parent(&self, name: &str) -> io::Result<()> {
        let Some((parent, _)) = name.split_once('/') else { return Ok(()) };
        match rustix::fs::mkdirat(&self.root, parent, Mode::RWXU) {
            Ok(()) => Ok(rustix::fs::fsync(&self.root)?),
            Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn create(&self, name: &str, size: u64) -> io::Result<File> {
        self.make_parent(name)?;
        let file = open_at(&self.root, name, OFlags::CREATE | OFlags::EXCL)?;
        if let Err(error) = reserve(&file, size) {
            drop(file);
            // The name must be free for the next try; the first error is the one that tells why.
            let _ = rustix::fs::unlinkat(&self.root, name, AtFlags::empty());
            return Err(error);
        }
        Ok(file)
    }

    fn open_dir(&self, name: &str) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(&self.root, name, directory_flags(), Mode::empty())
    }

    /// Names in one directory, and which of them are directories.
    fn entries(&self, dir: &str) -> io::Result<Vec<(String, bool)>> {
        let mut found = Vec::new();
        for entry in Dir::new(self.open_dir(if dir.is_empty() { "." } else { dir })?)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if [".", "..", LOST_AND_FOUND].contains(&name.as_str()) {
                continue;
            }
            let full = if dir.is_empty() { name } else { format!("{dir}/{name}") };
            let is_dir = match entry.file_type() {
                FileType::Unknown => {
                    let stat = rustix::fs::statat(&self.root, full.as_str(), AtFlags::SYMLINK_NOFOLLOW)?;
                    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                }
                known => known == FileType::Directory,
            };
            found.push((full, is_dir));
        }
        Ok(found)
    }
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC
}

/// A file for reading and writing, for its owner only: shards are sealed, but nobody else has business with them.
fn open_at(root: &OwnedFd, name: &str, flags: OFlags) -> Result<File, Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | flags;
    rustix::fs::openat(root, name, flags, Mode::RUSR | Mode::WUSR).map(File::from)
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
        Ok(Box::new(self.open_file(name, create)?))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        let entries = match self.entries(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !dir.is_empty() => Vec::new(),
            other => other?,
        };
        for (name, is_dir) in entries {
            if !is_dir {
                names.push(name);
            } else if dir.is_empty() {
                // One level is all that we make; what others nest deeper is not ours to look at.
                names.extend(
                    self.entries(&name)?.into_iter().filter(|(_, is_dir)| !is_dir).map(|(name, _)| name),
                );
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.root, name, AtFlags::empty())?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.root, from, &self.root, to)?)
    }

    fn sync_dir(&self) -> io::Result<()> {
        for (name, is_dir) in self.entries("")? {
            if is_dir {
                rustix::fs::fsync(self.open_dir(&name)?)?;
            }
        }
        Ok(rustix::fs::fsync(&self.root)?)
    }

    fn space(&self) -> io::Result<Space> {
        let stat = rustix::fs::fstatvfs(&self.root)?;
        Ok(Space { total: stat.f_blocks * stat.f_frsize, available: stat.f_bavail * stat.f_frsize })
    }

    fn describe(&self) -> String {
        self.path.clone()
    }
}

/// An open file of the directory.
pub(crate) struct OpenFile {
    file: File,
    root: Arc<OwnedFd>,
    name: String,
    direct: Direct,
    staging: Arc<Staging>,
}

impl OpenFile {
    /// The same file, open for direct reads and writes, if that can be.
    #[cfg(all(target_os = "linux", feature = "uring"))]
    pub(crate) fn reopen_direct(&self) -> Option<File> {
        direct::reopen(&self.root, &self.name, &self.file)
    }
}

impl DiskFile for OpenFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        if Direct::suits(parts, offset) {
            let reopen = || direct::reopen(&self.root, &self.name, &self.file);
            if self.direct.write(reopen, &self.staging, parts, offset)? {
                return Ok(());
            }
        }
        for group in parts.chunks(SLICES_MAX) {
            let mut slices = group.to_vec();
            let mut rest: &mut [IoSlice<'_>] = &mut slices;
            // Empty slices would look like an empty write.
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                let written = match rustix::io::pwritev(&self.file, rest, offset) {
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
        self.file.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }
}
