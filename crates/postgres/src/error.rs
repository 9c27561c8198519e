//! Errors: why a database cannot be opened, and what the server's errors mean for the command that met them.

use std::fmt;

use pangea_core::id::ClusterId;
use pangea_core::meta::TableId;
use pangea_meta::MetaError;
use tokio_postgres::error::SqlState;

/// Why the metadata in PostgreSQL cannot be used. Each says what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// No host answers, or none of them takes writes.
    Unreachable {
        /// The place, without its password.
        place: String,
        /// What was tried and what came back.
        why: String,
    },
    /// The server does not let this user in.
    Denied {
        /// The place.
        place: String,
        /// What the server said.
        why: String,
    },
    /// There is no such database.
    NoDatabase {
        /// The place.
        place: String,
    },
    /// TLS cannot be had as `sslmode` asks for it.
    Tls {
        /// The place.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// The user may connect and yet may not do what is needed.
    Forbidden {
        /// The place.
        place: String,
        /// What the server said.
        why: String,
    },
    /// The schema was made by a newer version of Pangea.
    SchemaNewer {
        /// The place.
        place: String,
        /// Its version.
        found: i64,
        /// What this version knows.
        known: i64,
    },
    /// The schema is one that was never made, or an older one that this version cannot bring up to date.
    SchemaUnknown {
        /// The place.
        place: String,
        /// Its version.
        found: i64,
        /// What this version knows.
        known: i64,
    },
    /// The database belongs to another cluster.
    OtherCluster {
        /// The place.
        place: String,
        /// The cluster that it names.
        found: ClusterId,
        /// The cluster that was asked for.
        wanted: ClusterId,
    },
    /// The database is empty, but drives know that there were metadata.
    Empty {
        /// The place.
        place: String,
        /// The newest generation that a drive knows.
        known: u64,
    },
    /// The database is older than what drives know: a backup was restored, or a standby without the last commits promoted.
    Restored {
        /// The place.
        place: String,
        /// Its generation.
        found: u64,
        /// The newest generation that a drive knows.
        known: u64,
    },
    /// The server failed in another way while the database was opened.
    Failed {
        /// The place.
        place: String,
        /// What was being done.
        doing: &'static str,
        /// What it said.
        why: String,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { place, why } => write!(
                f,
                "no PostgreSQL server that takes writes answers at {place} ({why}): start it, or correct the host list"
            ),
            Self::Denied { place, why } => {
                write!(f, "{place} does not let us in ({why}): correct user and password, or pg_hba.conf")
            }
            Self::NoDatabase { place } => {
                write!(f, "there is no such database at {place}: CREATE DATABASE it, empty")
            }
            Self::Tls { place, why } => write!(
                f,
                "no trusted TLS with {place} ({why}): give the server a certificate, name its root by sslrootcert=FILE, or \
                 choose another sslmode"
            ),
            Self::Forbidden { place, why } => {
                write!(f, "the user lacks a right at {place} ({why}): make it the owner of the database")
            }
            Self::SchemaNewer { place, found, known } => write!(
                f,
                "{place} has schema {found}, made by a newer Pangea (this one knows {known}): start that version"
            ),
            Self::SchemaUnknown { place, found, known } => write!(
                f,
                "{place} has schema {found}, which this Pangea (schema {known}) cannot bring up to date: start the version that \
                 made it, or restore a backup"
            ),
            Self::OtherCluster { place, found, wanted } => write!(
                f,
                "{place} belongs to cluster {found}, not to {wanted}: every cluster needs a database of its own"
            ),
            Self::Empty { place, known } => write!(
                f,
                "{place} is empty, but the drives know metadata of generation {known}: correct the database's name, or restore \
                 its newest backup"
            ),
            Self::Restored { place, found, known } => write!(
                f,
                "{place} is of generation {found}, but the drives know generation {known}: an old backup was restored, or a \
                 standby promoted that lacked commits. Bring the newest back; what was written since is not in this one"
            ),
            Self::Failed { place, doing, why } => write!(f, "{doing} at {place}: {why}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// The same in the port's own words.
impl From<OpenError> for MetaError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::SchemaNewer { place, found, .. } => {
                Self::NewerFormat { file: place, version: u16::try_from(found).unwrap_or(u16::MAX) }
            }
            OpenError::OtherCluster { place, found, .. } => Self::OtherCluster { file: place, found },
            OpenError::Empty { known, .. } => Self::Stale { found: 0, known },
            OpenError::Restored { found, known, .. } => Self::Stale { found, known },
            error => Self::Unavailable { why: error.to_string() },
        }
    }
}

/// What went wrong with a round trip, by what can be done about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    /// Another transaction was in the way: try again. Nothing was committed.
    Conflict,
    /// A row that should be new is there. Nothing was committed.
    Taken,
    /// The connection is of no use any more. If a commit was under way, what became of it is not known.
    Lost(String),
    /// The server does not want to. Nothing was committed.
    Refused {
        /// Its code, if it was the server.
        code: Option<SqlState>,
        /// What it said.
        why: String,
    },
    /// A stored row is not what its format says.
    Malformed(TableId, &'static str),
}

impl Trouble {
    /// Our own limits stand in the way.
    pub(crate) fn limit(why: String) -> Self {
        Self::Refused { code: None, why }
    }

    /// Whether the server refused with this code.
    pub(crate) fn is(&self, state: &SqlState) -> bool {
        matches!(self, Self::Refused { code: Some(code), .. } if code == state)
    }

    /// What the caller is told when nothing of the command was made durable.
    pub(crate) fn into_meta(self) -> MetaError {
        match self {
            Self::Conflict | Self::Taken => {
                MetaError::Unavailable { why: "too many others change the same thing; try again".to_owned() }
            }
            Self::Lost(why) => MetaError::Unavailable { why: format!("PostgreSQL: {why}") },
            Self::Refused { why, .. } => MetaError::Unavailable { why: format!("PostgreSQL: {why}") },
            Self::Malformed(table, what) => {
                MetaError::View { why: format!("table {}: {what} is malformed", table.name()) }
            }
        }
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(state) = error.code() else { return Self::Lost(said(&error)) };
        // Also after these the server ends the connection, is a standby, or does not know what it did.
        let lost = [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::DATABASE_DROPPED,
            SqlState::READ_ONLY_SQL_TRANSACTION,
            SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN,
            SqlState::TOO_MANY_CONNECTIONS,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        ];
        let conflicts = [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::QUERY_CANCELED,
            SqlState::LOCK_NOT_AVAILABLE,
        ];
        if conflicts.contains(state) {
            Self::Conflict
        } else if *state == SqlState::UNIQUE_VIOLATION {
            Self::Taken
        } else if lost.contains(state) || state.code().starts_with("08") {
            Self::Lost(said(&error))
        } else {
            Self::Refused { code: Some(state.clone()), why: said(&error) }
        }
    }
}

/// What the server or the driver said, with the causes, for people.
pub(crate) fn said(error: &tokio_postgres::Error) -> String {
    if let Some(from_server) = error.as_db_error() {
        return format!("{} ({})", from_server.message(), from_server.code().code());
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
