//! PostgreSQL as the database with the metadata.

use std::sync::Arc;

use pangea_core::id::ClusterId;
use pangea_core::seam::WallMs;
use pangea_meta::Meta;
use pangea_postgres::{BadPlace, OpenError, Options, Place, PostgresMeta};

use super::DatabaseError;
use crate::config::DatabaseOptions;
use crate::entropy::SystemEntropy;

/// What to do about a wrong `--meta`.
pub(crate) const CONFIG_ADVICE: &str =
    "write postgres://USER:PASSWORD@HOST:PORT/DATABASE; docs/scale.md says more";

/// Whether the text names a database; the error repeats nothing of it.
pub(crate) fn check(url: &str) -> Result<(), String> {
    url.parse::<Place>().map(drop).map_err(|error| error.to_string())
}

/// The place for people, without its password.
pub(crate) fn shown(url: &str) -> Option<String> {
    url.parse::<Place>().ok().map(|place| place.to_string())
}

/// Whether the same may go well later, without anybody changing anything here.
pub(super) fn may_come(error: &DatabaseError) -> bool {
    matches!(error, DatabaseError::Open(OpenError::Unreachable { .. }))
}

/// Opens the metadata of a cluster.
pub(super) async fn open(
    options: &DatabaseOptions,
    cluster: ClusterId,
    known_generation: u64,
    now_ms: WallMs,
) -> Result<Arc<dyn Meta>, DatabaseError> {
    let (place, roots) = place(options)?;
    let wanted = Options {
        place,
        roots,
        cluster,
        known_generation,
        now_ms,
        entropy: Arc::new(SystemEntropy),
        writers: Options::WRITERS,
        readers: Options::READERS,
        patience: options.patience,
    };
    let opened = tokio::task::spawn_blocking(move || PostgresMeta::open(wanted)).await;
    let opened = opened.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    Ok(Arc::new(opened.map_err(DatabaseError::Open)?))
}

/// The cluster whose metadata is there; none: the database is empty.
pub(super) async fn cluster_in(options: &DatabaseOptions) -> Result<Option<ClusterId>, DatabaseError> {
    let (place, roots) = place(options)?;
    pangea_postgres::cluster_in(&place, roots.as_deref()).await.map_err(DatabaseError::Open)
}

/// The place, and the roots that its file names.
fn place(options: &DatabaseOptions) -> Result<(Place, Option<Vec<u8>>), DatabaseError> {
    let malformed = |error: BadPlace| {
        let (place, doing) = ("--meta".to_owned(), "reading the URL");
        DatabaseError::Open(OpenError::Failed { place, doing, why: error.to_string() })
    };
    let place: Place = options.place.expose().parse().map_err(malformed)?;
    let Some(file) = &place.root_file else { return Ok((place, None)) };
    let roots = std::fs::read(file).map_err(|error| {
        let why = format!("sslrootcert={}: {error}", file.display());
        DatabaseError::Open(OpenError::Tls { place: place.to_string(), why })
    })?;
    Ok((place, Some(roots)))
}
