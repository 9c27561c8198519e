//! Where the metadata lies, among the settings: on the drives, or in a database that is named.

use std::time::Duration;

use super::{ConfigError, META, META_PATIENCE, Secret, Stack};
use crate::database;

/// Seconds that a request waits for the database while it is away, unless told otherwise: longer than a failover takes.
pub(super) const META_PATIENCE_DEFAULT: u64 = 30;
const META_PATIENCE_SECONDS: std::ops::RangeInclusive<u64> = 1..=300;

/// The database with the metadata.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatabaseOptions {
    /// Its URL, which may hold a password.
    pub place: Secret,
    /// For how long a request waits for it while it is away.
    pub patience: Duration,
}

/// The part of a stack of settings that is about the database.
pub(super) fn read(stack: &Stack) -> Result<Option<DatabaseOptions>, ConfigError> {
    let patience =
        stack.parse(META_PATIENCE, META_PATIENCE_DEFAULT, "a number of seconds, 1 to 300", |text| {
            text.parse().ok().filter(|seconds| META_PATIENCE_SECONDS.contains(seconds))
        })?;
    let Some((what, text)) = stack.find(META) else { return Ok(None) };
    database::check(text).map_err(|why| ConfigError::Database { what, why })?;
    Ok(Some(DatabaseOptions { place: Secret::new(text), patience: Duration::from_secs(patience) }))
}
