//! Why a server cannot start on the drives that were named, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use pangea_core::id::{ClusterId, DriveId};
use pangea_store::drive::OpenError;

/// See the module.
#[derive(Debug)]
pub enum DriveError {
    /// The directory's parent does not exist: probably a typing error or a mount that is not there.
    NoParent {
        /// Which directory.
        path: PathBuf,
    },
    /// A file is there, not a directory.
    NotADirectory {
        /// Which path.
        path: PathBuf,
    },
    /// Another process has the directory.
    InUse {
        /// Which directory.
        path: PathBuf,
    },
    /// Other people's files.
    Foreign {
        /// Which directory.
        path: PathBuf,
        /// Some of the names.
        names: Vec<String>,
    },
    /// Written by a later program.
    Newer {
        /// Which directory.
        path: PathBuf,
        /// Its format version.
        version: u16,
    },
    /// A drive of another cluster.
    OtherCluster {
        /// Which directory.
        path: PathBuf,
        /// Whose it is.
        found: ClusterId,
        /// Whose keys and metadata are here.
        expected: ClusterId,
    },
    /// A drive of this cluster that the layout does not know any more.
    NotInLayout {
        /// Which directory.
        path: PathBuf,
        /// Which drive.
        drive: DriveId,
        /// The slot that it was made for.
        slot: u16,
        /// Who holds that slot now, and where, if anybody.
        holder: Option<(DriveId, String)>,
    },
    /// One drive, twice: one is a copy.
    Twice {
        /// One directory.
        one: PathBuf,
        /// The other.
        other: PathBuf,
        /// Which drive.
        drive: DriveId,
    },
    /// Too few drives to read everything.
    TooFew {
        /// Shards that reading needs.
        needed: u8,
        /// Shards of the worst stripe that are left.
        left: u8,
        /// The drives that are missing: slot, where it was, why.
        missing: Vec<String>,
    },
    /// A directory could not be opened, initialised or adopted, and nothing is known of it that would do without.
    Open {
        /// Which directory.
        path: PathBuf,
        /// Why.
        error: OpenError,
    },
    /// The system refused.
    Io {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl fmt::Display for DriveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoParent { path } => {
                write!(f, "{} cannot be made: its parent directory does not exist", path.display())
            }
            Self::NotADirectory { path } => write!(f, "{} is not a directory", path.display()),
            Self::InUse { path } => write!(f, "{} is in use by another process", path.display()),
            Self::Foreign { path, names } => {
                write!(f, "{} holds other files ({}): it is not a drive", path.display(), names.join(", "))
            }
            Self::Newer { path, version } => {
                write!(f, "{} has format version {version}, newer than this program knows", path.display())
            }
            Self::OtherCluster { path, found, expected } => {
                write!(
                    f,
                    "wrong drive: {} belongs to cluster {found}, the others to {expected}",
                    path.display()
                )
            }
            Self::NotInLayout { path, drive, slot, holder } => {
                write!(f, "wrong drive: {} is drive {drive}, made for slot {slot}, ", path.display())?;
                match holder {
                    Some((holder, at)) => write!(f, "which is now held by drive {holder} ({at})"),
                    None => write!(f, "which the layout does not have"),
                }
            }
            Self::Twice { one, other, drive } => {
                write!(f, "wrong drive: {} and {} are both drive {drive}", one.display(), other.display())
            }
            Self::TooFew { needed, left, missing } => write!(
                f,
                "too few drives: some data has {left} of the {needed} shards it needs; missing: {}",
                missing.join("; ")
            ),
            Self::Open { path, error } => {
                let (path, text) = (path.display().to_string(), error.to_string());
                if text.contains(&path) { f.write_str(&text) } else { write!(f, "{path}: {text}") }
            }
            Self::Io { doing, path, source } => write!(f, "cannot {doing} {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for DriveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Open { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl DriveError {
    /// What to do about it, in one line.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NoParent { .. } => {
                "check the path and that its drive is mounted, or make the parent directory"
            }
            Self::NotADirectory { .. } | Self::Foreign { .. } => {
                "name an empty directory, or one that pangea made"
            }
            Self::InUse { .. } => "stop the other pangea server, or name other directories",
            Self::Newer { .. } => "start it with the newer pangea that wrote it",
            Self::OtherCluster { .. } => "name only drives of one cluster",
            Self::NotInLayout { .. } => {
                "it was replaced: leave it out, or empty the directory to use it anew"
            }
            Self::Twice { .. } => "leave the copy out",
            Self::TooFew { .. } => {
                "name all directories of the cluster and check that their drives are mounted"
            }
            Self::Open { error: OpenError::Denied { .. }, .. } => {
                "give this user the directory: chown -R USER DIR, or start as its owner"
            }
            Self::Open { error: OpenError::ReadOnly { .. }, .. } => "mount the file system writable",
            Self::Open { .. } | Self::Io { .. } => "check the drive, its permissions and the kernel log",
        }
    }
}
