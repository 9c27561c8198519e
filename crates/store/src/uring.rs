//! The uring engine's way to the drive: a directory whose extents are appended to through io_uring.
//!
//! ```text
//! threads (queues, group commit) ─► extent (format, index) ─► UringDisk ─┬─ appends: the drive's uring, past the page cache
//!                                                                      └─ everything else: `file_disk`
//! ```
//! Reads for clients go through the page cache; large reads of what will not be read again soon (scrub, compaction) past
//! it. Both were measured (docs/decisions/0005-io-engines.md).
//!
//! The engine is the threads engine's own queues and the same engine room over another [`Disk`]: what it writes is opened by
//! the other one, and its errors are the other one's. Only the writer thread appends, so the one uring of a drive is never
//! waited for. Where io_uring cannot be had, [`UringDisk::new`] says why, and the caller uses the directory as it is.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use pangea_core::seam::{AppendError, Disk, DiskFile, Space};
use pangea_uring::{AppendError as UringError, BLOCK_BYTES, Options, Refused, Slot, Uring};

use crate::direct::{DIRECT_BYTES_MIN, is_refusal};
use crate::file_disk::{FileDisk, OpenFile};

/// See the module.
pub struct UringDisk {
    plain: Arc<FileDisk>,
    uring: Arc<Mutex<Uring>>,
    direct_from: usize,
}

/// Why a directory is not written through io_uring.
#[derive(Debug)]
pub enum NoUring {
    /// There is no uring to be had.
    Refused(Refused),
    /// Its file system does not do direct writes.
    NoDirect(io::Error),
}

impl fmt::Display for NoUring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::NoDirect(error) => write!(f, "the file system does not do direct writes: {error}"),
        }
    }
}

impl std::error::Error for NoUring {}

/// Whether this process can have one at all: what `doctor` asks.
pub fn available() -> Result<(), NoUring> {
    Uring::open(Options::default()).map(drop).map_err(NoUring::Refused)
}

impl UringDisk {
    /// Makes a drive's uring, and sees whether its directory can be written through it.
    pub fn new(plain: Arc<FileDisk>) -> Result<Self, NoUring> {
        plain.try_direct().map_err(NoUring::NoDirect)?;
        let uring = Uring::open(Options::default()).map_err(NoUring::Refused)?;
        Ok(Self { plain, uring: Arc::new(Mutex::new(uring)), direct_from: BLOCK_BYTES })
    }

    /// The same, but appends of this many bytes and more go through io_uring: for measuring.
    pub fn with_direct_from(self, bytes: usize) -> Self {
        Self { direct_from: bytes, ..self }
    }
}

impl Disk for UringDisk {
    fn open(&self, name: &str, create: Option<u64>) -> io::Result<Box<dyn DiskFile>> {
        let plain = self.plain.open_file(name, create)?;
        let uring = self.uring.clone();
        let (way, refused) = (OnceLock::new(), AtomicBool::new(false));
        let direct = OnceLock::new();
        Ok(Box::new(UringFile { plain, uring, direct_from: self.direct_from, way, refused, direct }))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.plain.list(dir)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.plain.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.plain.rename(from, to)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.plain.sync_dir()
    }

    fn space(&self) -> io::Result<Space> {
        self.plain.space()
    }

    fn describe(&self) -> String {
        self.plain.describe()
    }
}

struct UringFile {
    plain: OpenFile,
    uring: Arc<Mutex<Uring>>,
    direct_from: usize,
    /// Opened and registered at the first append; `None` inside: it could not be.
    way: OnceLock<Option<Way>>,
    /// Registered, but refused at an append.
    refused: AtomicBool,
    /// Opened for direct I/O when it is first needed; `None` inside: it could not be.
    direct: OnceLock<Option<File>>,
}

/// A file's way through the uring, which has its own hold on it.
struct Way {
    slot: Slot,
    memory_align: usize,
}

impl UringFile {
    fn way(&self, parts: &[IoSlice<'_>], offset: u64) -> Option<&Way> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let suits = bytes >= self.direct_from
            && bytes.is_multiple_of(BLOCK_BYTES)
            && offset.is_multiple_of(BLOCK_BYTES as u64)
            && !self.refused.load(Ordering::Relaxed);
        if suits { self.way.get_or_init(|| self.make_way()).as_ref() } else { None }
    }

    fn make_way(&self) -> Option<Way> {
        let file = self.direct()?;
        let slot = self.uring().register(file.as_fd()).ok()??;
        Some(Way { slot, memory_align: memory_align(file) })
    }

    fn direct(&self) -> Option<&File> {
        self.direct.get_or_init(|| self.plain.reopen_direct()).as_ref()
    }

    fn uring(&self) -> MutexGuard<'_, Uring> {
        // A panic inside the uring has settled what was on its way before it got here.
        self.uring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskFile for UringFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.plain.read_at(buf, offset)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.plain.write_at(parts, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.plain.sync()
    }

    fn append(&self, parts: &[IoSlice<'_>], offset: u64) -> Result<(), AppendError> {
        if let Some(way) = self.way(parts, offset) {
            match self.uring().append(&way.slot, way.memory_align, parts, offset) {
                Ok(()) => return Ok(()),
                Err(UringError::Write(error)) if is_refusal(&error) => {
                    self.refused.store(true, Ordering::Relaxed);
                }
                Err(UringError::Write(error)) => return Err(AppendError::Write(error)),
                Err(UringError::Sync(error)) => return Err(AppendError::Sync(error)),
            }
        }
        self.plain.append(parts, offset)
    }

    fn read_once(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let suits = buf.len() >= DIRECT_BYTES_MIN
            && buf.len().is_multiple_of(BLOCK_BYTES)
            && buf.as_ptr().addr().is_multiple_of(BLOCK_BYTES)
            && offset.is_multiple_of(BLOCK_BYTES as u64);
        if suits && let Some(file) = self.direct() {
            match file.read_exact_at(buf, offset) {
                Err(error) if is_refusal(&error) => {}
                other => return other,
            }
        }
        self.plain.read_at(buf, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.plain.size()
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.plain.set_size(size)
    }
}

impl Drop for UringFile {
    fn drop(&mut self) {
        if let Some(Way { slot, .. }) = self.way.take().flatten() {
            // Else the uring would keep the file's space after it was removed.
            self.uring().forget(slot);
        }
    }
}

/// What memory must be aligned to for direct I/O on a file; where the kernel does not say (before Linux 6.1), the most that
/// any asks for.
fn memory_align(file: &File) -> usize {
    let mask = rustix::fs::StatxFlags::DIOALIGN;
    let stat = rustix::fs::statx(file, "", rustix::fs::AtFlags::EMPTY_PATH, mask);
    let known = stat.ok().filter(|stat| stat.stx_mask & mask.bits() != 0).map(|stat| stat.stx_dio_mem_align);
    match known {
        Some(align) if align.is_power_of_two() => align as usize,
        _ => BLOCK_BYTES,
    }
}
