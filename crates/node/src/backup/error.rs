//! Why a backup was not made or not brought back.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::control::ControlError;
use crate::error::StartError;

/// See the module.
#[derive(Debug)]
pub enum BackupError {
    /// The file is there already.
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// A file could not be read or written.
    Io {
        /// What was being done with it.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The server did not give it.
    Control(ControlError),
    /// What the server gave is no backup, or changed on the way.
    Foreign,
    /// The file is no backup of metadata, or it is damaged.
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It was written by a newer version.
    Newer {
        /// Which.
        path: PathBuf,
        /// The version that it declares.
        version: u16,
    },
    /// It belongs to another cluster than the drives.
    OtherCluster {
        /// Which.
        path: PathBuf,
        /// The cluster that it names.
        found: String,
        /// The cluster of the drives.
        expected: String,
    },
    /// The drives know more than the backup does.
    Older {
        /// The last request in the backup, and its generation.
        backup: (u64, u64),
        /// The last request that the drives show, and the newest generation that they know; 0 for a request: none can be
        /// read.
        drives: (u64, u64),
    },
    /// The drives, their keys or their metadata.
    Start(StartError),
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists { path } => write!(f, "{} exists already", path.display()),
            Self::Io { doing, path, source } => write!(f, "cannot {doing} {}: {source}", path.display()),
            Self::Control(error) => error.fmt(f),
            Self::Foreign => f.write_str("what the server sent is no backup, or was changed on the way"),
            Self::Damaged { path, what } => write!(f, "{} cannot be restored: {what}", path.display()),
            Self::Newer { path, version } => {
                write!(f, "{} has format version {version}, written by a newer pangea", path.display())
            }
            Self::OtherCluster { path, found, expected } => {
                let path = path.display();
                write!(f, "{path} is of cluster {found}, and these drives are of cluster {expected}")
            }
            Self::Older { backup: (seq, generation), drives: (known_seq, known_generation) } => {
                write!(f, "the backup ends with request {seq} (generation {generation}); ")?;
                if known_seq > seq {
                    let lost = known_seq - seq;
                    write!(f, "the drives go on to request {known_seq} (generation {known_generation}): ")?;
                    write!(f, "{lost} requests would be lost")
                } else {
                    write!(
                        f,
                        "the drives have known generation {known_generation}, whose log is not there: "
                    )?;
                    f.write_str("how many requests would be lost is not known")
                }
            }
            Self::Start(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BackupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Control(error) => Some(error),
            Self::Start(error) => Some(error),
            Self::Exists { .. }
            | Self::Foreign
            | Self::Damaged { .. }
            | Self::Newer { .. }
            | Self::OtherCluster { .. }
            | Self::Older { .. } => None,
        }
    }
}

impl From<ControlError> for BackupError {
    fn from(error: ControlError) -> Self {
        Self::Control(error)
    }
}

impl From<StartError> for BackupError {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

impl BackupError {
    /// What to do about it, in one line.
    pub fn advice(&self) -> String {
        match self {
            Self::Exists { .. } => "name a file that does not exist yet".into(),
            Self::Io { .. } => "check that the file can be used by this user, and the free space".into(),
            Self::Control(_) => "look at the server's log; asking again is safe".into(),
            Self::Foreign => "use the server's own version of pangea, and ask again".into(),
            Self::Damaged { .. } => "use another backup; nothing was changed".into(),
            Self::Newer { .. } => "use the newer pangea that wrote it; nothing was changed".into(),
            Self::OtherCluster { .. } => {
                "name the backup of this cluster, or the drives of that one; nothing was changed".into()
            }
            Self::Older { .. } => {
                "start the server, or use `pangea recover DIR...`, if the drives are well; --force goes back to the backup"
                    .into()
            }
            Self::Start(error) => error.advice(),
        }
    }

    /// The exit code, as for a server that does not start.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Exists { .. } => 2,
            Self::Io { .. } | Self::Foreign | Self::Control(_) => 1,
            Self::Damaged { .. } | Self::Newer { .. } | Self::OtherCluster { .. } | Self::Older { .. } => 5,
            Self::Start(error) => error.exit_code(),
        }
    }
}
