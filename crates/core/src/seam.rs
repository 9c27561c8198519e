//! Seams: what the world lends to code that must run the same in production and in the simulator.
//!
//! Only contracts live here, never an implementation: `store` lends files as [`Disk`]s, `node` lends the clock and the
//! random source, `sim` lends all of them from one seed. Nothing in core calls them except through an argument.

use std::fmt;
use std::io;

/// Microseconds since an arbitrary start; never goes back. Deadlines and latencies are counted in it.
pub type MonoUs = u64;

/// Milliseconds since the Unix epoch; may jump either way. Only for what people and clients see.
pub type WallMs = u64;

/// Time, as the shell sees it.
pub trait Clock: Send + Sync {
    /// The monotonic clock.
    fn mono_us(&self) -> MonoUs;
    /// The wall clock.
    fn wall_ms(&self) -> WallMs;
}

/// Randomness fit for keys.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` from the operating system's generator (or, in the simulator, from the seed).
    fn fill(&self, bytes: &mut [u8]);
}

/// Draws `N` random bytes.
pub fn random<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

/// A drive's directory: flat named files, read and written at offsets.
///
/// Contract: `write_at` is not durable before a `sync` of the same file returned `Ok`; creation, removal and renaming are
/// not durable before `sync_dir` returned `Ok`. After a failed `sync` nothing written since the last good one may be
/// trusted, and a later success proves nothing: the caller stops writing to that file. File names are chosen by us
/// (`[a-z0-9._-]`, at most one `/`), never derived from a user's key.
pub trait Disk: Send + Sync {
    /// Opens a file for reading and writing; `create` makes it (it must not exist), with `size` bytes reserved.
    fn open(&self, name: &str, create: Option<u64>) -> io::Result<Box<dyn DiskFile>>;
    /// The names of all files below `dir` (no trailing slash; "" is the drive itself), without directories, sorted.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Renames a file over another: after a crash either the old or the new content is there, whole.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes creations, removals and renamings durable.
    fn sync_dir(&self) -> io::Result<()>;
    /// Total and available bytes.
    fn space(&self) -> io::Result<Space>;
    /// Where it is, for people.
    fn describe(&self) -> String;
}

/// An open file of a [`Disk`].
pub trait DiskFile: Send + Sync {
    /// Fills `buf` from `offset`; reading past the end is `UnexpectedEof`.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `parts`, one after the other, from `offset`.
    fn write_at(&self, parts: &[io::IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Makes everything written to this file durable.
    fn sync(&self) -> io::Result<()>;
    /// `write_at`, then `sync`: a file that can do both in one go does it here, and its errors mean the same.
    fn append(&self, parts: &[io::IoSlice<'_>], offset: u64) -> Result<(), AppendError> {
        self.write_at(parts, offset).map_err(AppendError::Write)?;
        self.sync().map_err(AppendError::Sync)
    }
    /// `read_at` for bytes that will hardly be read again soon: they need not be kept in memory.
    fn read_once(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_at(buf, offset)
    }
    /// Bytes in the file.
    fn size(&self) -> io::Result<u64>;
    /// Cuts or extends the file.
    fn set_size(&self, size: u64) -> io::Result<()>;
}

/// Which half of [`DiskFile::append`] failed. Nothing of what was appended may be trusted after either.
#[derive(Debug)]
pub enum AppendError {
    /// Writing.
    Write(io::Error),
    /// Making it durable.
    Sync(io::Error),
}

/// How much a drive holds and could still take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Space {
    /// Bytes of the file system.
    pub total: u64,
    /// Bytes that can still be written.
    pub available: u64,
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes available", self.available, self.total)
    }
}
