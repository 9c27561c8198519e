//! Metadata in a database that all nodes share: whether it goes together with the directories, opening it, waiting for it.
//!
//! Only `server` knows that it is PostgreSQL; without the feature `postgres` every such wish is refused there.

#[cfg(feature = "postgres")]
#[path = "database/postgres.rs"]
mod server;
#[cfg(not(feature = "postgres"))]
#[path = "database/absent.rs"]
mod server;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pangea_core::id::ClusterId;
use pangea_core::seam::Clock as _;
use pangea_meta::{Meta, MetaError};

use crate::clock::SystemClock;
use crate::cluster::Card;
use crate::config::DatabaseOptions;
use crate::drives::has_meta;
use crate::error::StartError;
use crate::ground::Ground;

pub(crate) use server::{CONFIG_ADVICE, check, shown};

/// How often a server that does not answer is asked again, and how often that is said.
const ASKED_EVERY: Duration = Duration::from_secs(1);
const SAID_EVERY: Duration = Duration::from_secs(10);

/// Why a node does not start with its metadata in a database, or without.
#[derive(Debug)]
pub enum DatabaseError {
    /// The metadata of this cluster lies on its drives.
    Embedded,
    /// The metadata of this cluster lies in a database, and none was named.
    Needed,
    /// A newcomer's database holds no cluster's metadata.
    NoCluster,
    /// It cannot be used.
    #[cfg(feature = "postgres")]
    Open(pangea_postgres::OpenError),
    /// This program was built without it.
    NotBuilt,
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str(
                "the metadata of this cluster lies on its drives, and a database was named with --meta: where it lies cannot \
                 be changed",
            ),
            Self::Needed => f.write_str(
                "the metadata of this cluster lies in a PostgreSQL database, and none was named: where it lies cannot be \
                 changed",
            ),
            Self::NoCluster => f.write_str("the database that was named holds no cluster's metadata"),
            #[cfg(feature = "postgres")]
            Self::Open(error) => write!(f, "the metadata cannot be opened: {error}"),
            Self::NotBuilt => f.write_str("this pangea was built without PostgreSQL"),
        }
    }
}

impl std::error::Error for DatabaseError {}

impl DatabaseError {
    /// What to do about it, in one line.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Self::Embedded => {
                "start it without --meta; a new cluster in empty directories may have its metadata there"
            }
            Self::Needed => "name the same database as the other nodes: --meta postgres://… or PANGEA_META",
            Self::NoCluster => "name the database that the nodes of the cluster use, not an empty one",
            #[cfg(feature = "postgres")]
            Self::Open(_) => {
                "correct --meta (or PANGEA_META) or the server; docs/scale.md says what it needs"
            }
            Self::NotBuilt => CONFIG_ADVICE,
        }
    }
}

/// Refuses directories whose metadata lies elsewhere than where it would be looked for. `card` is what a member of a
/// cluster has.
pub(crate) fn agrees(ground: &Ground, card: Option<&Card>, is_named: bool) -> Result<(), StartError> {
    let has_log = || ground.directories.iter().any(|directory| has_meta(&directory.path));
    let refused = |error| Err(StartError::Database(error));
    match (card.map(|card| card.members.keeper.is_some()), is_named) {
        (Some(true), true) => refused(DatabaseError::Embedded),
        (Some(false), false) => refused(DatabaseError::Needed),
        (None, true) if has_log() => refused(DatabaseError::Embedded),
        // Either it is in a database, or all directories that have it are missing.
        (None, false) if ground.known_generation() > 0 && !has_log() => {
            Err(StartError::Meta(MetaError::Stale { found: 0, known: ground.known_generation() }))
        }
        _ => Ok(()),
    }
}

/// Opens this cluster's metadata; waits for a server that does not answer.
pub(crate) async fn open(
    options: &DatabaseOptions,
    ground: &Ground,
    clock: &SystemClock,
) -> Result<Arc<dyn Meta>, StartError> {
    let (cluster, known_generation) = (ground.ring.cluster, ground.known_generation());
    let opened = || server::open(options, cluster, known_generation, clock.wall_ms());
    wait_for(opened).await.map_err(StartError::Database)
}

/// The cluster whose metadata is in the database; waits for a server that does not answer.
pub(crate) async fn cluster_in(options: &DatabaseOptions) -> Result<ClusterId, StartError> {
    let found = wait_for(|| server::cluster_in(options)).await.map_err(StartError::Database)?;
    found.ok_or(StartError::Database(DatabaseError::NoCluster))
}

/// A node can do nothing without the metadata; the server may be starting, too.
async fn wait_for<T, F: Future<Output = Result<T, DatabaseError>>>(
    mut ask: impl FnMut() -> F,
) -> Result<T, DatabaseError> {
    let mut said = None;
    loop {
        match ask().await {
            Err(error) if server::may_come(&error) => {
                if said.is_none_or(|at: Instant| at.elapsed() > SAID_EVERY) {
                    tracing::warn!("waiting for the database with the metadata: {error}");
                    said = Some(Instant::now());
                }
                tokio::time::sleep(ASKED_EVERY).await;
            }
            other => return other,
        }
    }
}
