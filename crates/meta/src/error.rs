//! The one error of the metadata port: what the caller can do about it.
//!
//! A refused command is no error (it is an `Outcome`); these are failures of the engine or of the drives below it.

use std::fmt;
use std::io;

use pangea_core::id::ClusterId;

/// Why the metadata engine could not answer.
#[derive(Debug)]
pub enum MetaError {
    /// Not now: no log drive takes writes, or the engine stopped. Nothing of this command was made durable.
    Unavailable {
        /// What happened, for people.
        why: String,
    },
    /// Whether the command was made durable is not known: retry it with the same request id.
    Unknown,
    /// Stored metadata contradicts its own checks and no other copy has it.
    Damaged {
        /// The file and drive, for people.
        file: String,
        /// The request where reading stopped.
        seq: u64,
        /// Which check failed.
        what: &'static str,
    },
    /// Requests are missing between what was found: a snapshot or the log before is older than the log that is left.
    Gap {
        /// The last request before the gap that is there; 0: none.
        have_seq: u64,
        /// The first request behind the gap that is there; `None`: there is none.
        next_seq: Option<u64>,
        /// The file behind the gap, or else the one before it.
        file: String,
    },
    /// Written by a newer version of Pangea.
    NewerFormat {
        /// The file and drive, for people.
        file: String,
        /// The version it declares.
        version: u16,
    },
    /// What was found is older than what other drives have seen: a drive was rolled back or replaced.
    Stale {
        /// The newest generation found.
        found: u64,
        /// The generation that is known to exist.
        known: u64,
    },
    /// The view has seen requests that no log drive has: a drive with the log is missing, or was rolled back.
    LogLost {
        /// The last request that the view has.
        view_seq: u64,
        /// The last request that the log has.
        log_seq: u64,
    },
    /// The files belong to another cluster.
    OtherCluster {
        /// The file and drive, for people.
        file: String,
        /// The cluster they name.
        found: ClusterId,
    },
    /// The key cannot open the files: a key of another generation, or the wrong one.
    WrongKey {
        /// The file and drive, for people.
        file: String,
    },
    /// One command is larger than the log takes.
    TooLarge {
        /// Its encoded bytes.
        bytes: usize,
        /// The most that the log takes.
        bytes_max: usize,
    },
    /// The engine was shut down.
    Closed,
    /// The view's database failed; the log is whole and the next start rebuilds the view.
    View {
        /// What the database said, for people.
        why: String,
    },
    /// A drive failed while the engine was opened or a snapshot was taken.
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl MetaError {
    /// Whether the same request, sent again with the same id, may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Unknown)
    }
}

impl fmt::Display for MetaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable { why } => write!(f, "metadata is unavailable: {why}"),
            Self::Unknown => {
                write!(f, "whether the command was committed is not known; retry it with the same id")
            }
            Self::Damaged { file, seq, what } => {
                write!(f, "{file} is damaged at request {seq} ({what}) and no other copy has it")
            }
            Self::Gap { have_seq, next_seq: Some(next), file } => {
                let (first, last) = (have_seq + 1, next - 1);
                write!(
                    f,
                    "requests {first} to {last} of the metadata are missing: what is before ends with request \
                     {have_seq}, and {file} begins with request {next}"
                )
            }
            Self::Gap { have_seq, next_seq: None, file } => {
                write!(
                    f,
                    "no log follows {file}: how many requests there were behind request {have_seq} is not known"
                )
            }
            Self::NewerFormat { file, version } => {
                write!(f, "{file} has format version {version}, written by a newer Pangea")
            }
            Self::Stale { found, known } => {
                write!(
                    f,
                    "the newest metadata found is of generation {found}, but generation {known} is known to exist"
                )
            }
            Self::LogLost { view_seq, log_seq } => {
                write!(
                    f,
                    "the view has seen request {view_seq}, but the log ends with {log_seq}: a log drive is missing"
                )
            }
            Self::OtherCluster { file, found } => write!(f, "{file} belongs to another cluster, {found}"),
            Self::WrongKey { file } => write!(f, "the key does not open {file}"),
            Self::TooLarge { bytes, bytes_max } => {
                write!(f, "a command of {bytes} bytes is larger than the log takes ({bytes_max})")
            }
            Self::Closed => write!(f, "the metadata engine was shut down"),
            Self::View { why } => write!(f, "the metadata view failed: {why}"),
            Self::Io { doing, source } => write!(f, "{doing}: {source}"),
        }
    }
}

impl std::error::Error for MetaError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Unavailable { .. }
            | Self::Unknown
            | Self::Damaged { .. }
            | Self::Gap { .. }
            | Self::NewerFormat { .. }
            | Self::Stale { .. }
            | Self::LogLost { .. }
            | Self::OtherCluster { .. }
            | Self::WrongKey { .. }
            | Self::TooLarge { .. }
            | Self::Closed
            | Self::View { .. } => None,
        }
    }
}
