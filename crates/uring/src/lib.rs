//! io_uring for one drive: appends that are durable when they return, past the page cache, without copying what is aligned.
//!
//! Owns all `unsafe` that talks to the kernel about io_uring, and nothing of ours: a [`Uring`] knows files, bytes and offsets.
//! The door is safe because no call returns while the kernel may still touch memory that the call was lent (`flight`), and
//! because the uring's own memory (`pages`) lives as long as the uring. Linux only; elsewhere [`Uring::open`] says so.

#[cfg(target_os = "linux")]
mod flight;
#[cfg(target_os = "linux")]
mod pages;
mod refused;
#[cfg(all(test, target_os = "linux"))]
mod tests;
#[cfg(not(target_os = "linux"))]
mod unsupported;
#[cfg(target_os = "linux")]
mod uring;

use std::io;
use std::time::Duration;

pub use refused::Refused;
#[cfg(not(target_os = "linux"))]
pub use unsupported::{Slot, Uring};
#[cfg(target_os = "linux")]
pub use uring::{Slot, Uring};

/// What offsets and lengths must be multiples of: the largest block that drives and file systems ask for.
pub const BLOCK_BYTES: usize = 4096;

/// Sizes of a uring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Requests that may be on their way at once.
    pub requests_max: u32,
    /// Files that may be registered at once.
    pub files_max: u32,
    /// Registered buffers: what is not aligned, or small, goes through them.
    pub buffers: u16,
    /// Bytes of each, a multiple of [`BLOCK_BYTES`]. Together they count against RLIMIT_MEMLOCK.
    pub buffer_bytes: usize,
    /// After so long without an answer, what is on its way is cancelled (as far as the kernel can) and then fails as
    /// timed out.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            requests_max: 64,
            files_max: 256,
            buffers: 4,
            buffer_bytes: 256 << 10,
            patience: Duration::from_secs(30),
        }
    }
}

/// Which half of an append failed, and how. Nothing of it may be trusted after either.
#[derive(Debug)]
pub enum AppendError {
    /// The bytes did not all reach the file.
    Write(io::Error),
    /// They did, but may not be durable.
    Sync(io::Error),
}
