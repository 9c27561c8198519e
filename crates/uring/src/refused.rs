//! Why there is no uring: what a person is told when another engine takes over.

use std::fmt;
use std::io;

/// Why io_uring cannot be used here.
#[derive(Debug)]
pub enum Refused {
    /// This is not Linux, or a build without it.
    NotLinux,
    /// The kernel does not have it, or forbids it to this process (a switch, a seccomp filter, a container's profile).
    Setup(io::Error),
    /// The kernel is too old for what the engine needs.
    Lacks(&'static str),
    /// The registered buffers do not fit below the limit of locked memory.
    LockedMemory {
        /// Bytes that one drive needs.
        needed: usize,
        /// What the kernel said.
        error: io::Error,
    },
    /// The uring was made, but a request through it failed.
    Trial(io::Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLinux => write!(f, "there is no io_uring on this system"),
            Self::Setup(error) if error.kind() == io::ErrorKind::OutOfMemory => {
                write!(f, "RLIMIT_MEMLOCK (ulimit -l) leaves no memory for io_uring: {error}")
            }
            Self::Setup(error) => write!(f, "the kernel does not allow io_uring: {error}"),
            Self::Lacks(what) => write!(f, "the kernel's io_uring lacks {what}"),
            Self::LockedMemory { needed, error } => write!(
                f,
                "{needed} bytes of locked memory a drive are more than RLIMIT_MEMLOCK leaves (ulimit -l): {error}"
            ),
            Self::Trial(error) => write!(f, "a first request through io_uring failed: {error}"),
        }
    }
}

impl std::error::Error for Refused {}
