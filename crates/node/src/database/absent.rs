//! No database: this program was built without the feature `postgres`.

use std::sync::Arc;

use pangea_core::id::ClusterId;
use pangea_core::seam::WallMs;
use pangea_meta::Meta;

use super::DatabaseError;
use crate::config::DatabaseOptions;

/// What to do about `--meta`.
pub(crate) const CONFIG_ADVICE: &str =
    "build it with the feature: cargo build --release -p pangea-cli --features postgres";

/// There is nothing that it could name.
pub(crate) fn check(_: &str) -> Result<(), String> {
    Err(DatabaseError::NotBuilt.to_string())
}

/// Nothing is known of such places, so nothing is shown.
pub(crate) fn shown(_: &str) -> Option<String> {
    None
}

/// It never comes.
pub(super) fn may_come(_: &DatabaseError) -> bool {
    false
}

/// Refused.
pub(super) async fn open(
    _: &DatabaseOptions,
    _: ClusterId,
    _: u64,
    _: WallMs,
) -> Result<Arc<dyn Meta>, DatabaseError> {
    Err(DatabaseError::NotBuilt)
}

/// Refused.
pub(super) async fn cluster_in(_: &DatabaseOptions) -> Result<Option<ClusterId>, DatabaseError> {
    Err(DatabaseError::NotBuilt)
}
