//! Which engine writes a drive: what was asked for, what can be had, and why not.
//!
//! Owns the choice between io_uring and plain system calls. Both keep one format, so the choice may change at every start.

use std::sync::Arc;

use pangea_core::seam::Disk;
use pangea_store::file_disk::FileDisk;

/// What a person asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IoEngine {
    /// What measures better here: io_uring where the kernel and the file system allow it.
    #[default]
    Auto,
    /// io_uring; where it cannot be had, `threads`, and a note says so.
    Uring,
    /// Plain system calls.
    Threads,
}

/// The name of the engine that appends through io_uring.
pub(crate) const URING: &str = "uring";
/// The name of the engine that every system has.
pub(crate) const THREADS: &str = "threads";

impl IoEngine {
    /// The word for it, if it is one.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "auto" => Some(Self::Auto),
            "uring" => Some(Self::Uring),
            "threads" => Some(Self::Threads),
            _ => None,
        }
    }
}

/// A directory under the engine that was chosen for it.
pub(crate) struct Chosen {
    pub disk: Arc<dyn Disk>,
    pub name: &'static str,
    /// Why it is not the one that was wanted.
    pub instead: Option<String>,
}

/// Chooses for one directory.
pub(crate) fn choose(plain: Arc<FileDisk>, wanted: IoEngine) -> Chosen {
    if wanted == IoEngine::Threads {
        return Chosen { disk: plain, name: THREADS, instead: None };
    }
    match with_uring(plain.clone()) {
        Ok(disk) => Chosen { disk, name: URING, instead: None },
        Err(why) => Chosen { disk: plain, name: THREADS, instead: Some(why) },
    }
}

#[cfg(target_os = "linux")]
fn with_uring(plain: Arc<FileDisk>) -> Result<Arc<dyn Disk>, String> {
    match pangea_store::uring::UringDisk::new(plain) {
        Ok(disk) => Ok(Arc::new(disk)),
        Err(why) => Err(why.to_string()),
    }
}

#[cfg(not(target_os = "linux"))]
fn with_uring(_plain: Arc<FileDisk>) -> Result<Arc<dyn Disk>, String> {
    Err("there is no io_uring on this system".to_owned())
}

/// Whether this process can use io_uring: tried, not read from a version.
pub(crate) fn uring_available() -> Result<(), String> {
    #[cfg(target_os = "linux")]
    return pangea_store::uring::available().map_err(|why| why.to_string());
    #[cfg(not(target_os = "linux"))]
    Err("there is no io_uring on this system".to_owned())
}
