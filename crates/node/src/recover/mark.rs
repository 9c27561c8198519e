//! The mark of metadata that was set back to an older state: a setting that says to which. While it stands, and something on
//! the drives is unknown, the worker that deletes orphans is paused: those shards may be all that is left of an object.

use pangea_core::id::RequestId;
use pangea_core::meta::{Command, Outcome, Request};
use pangea_core::seam::{Clock as _, random};
use pangea_meta::{Meta, MetaError};

use super::report::Restored;
use crate::clock::SystemClock;
use crate::entropy::SystemEntropy;
use crate::pace::Limits;

/// The state that was restored: sequence, generation, ms since 1970, each u64.
const RESTORED_SETTING: &str = "meta/restored";
/// The pace of the worker that deletes orphans.
const ORPHANS_SETTING: &str = "worker/orphans";

/// What the mark says.
pub(super) async fn read(meta: &dyn Meta) -> Result<Option<Restored>, MetaError> {
    let setting = meta.setting(RESTORED_SETTING).await?;
    let bytes: Option<[u8; 24]> = setting.and_then(|(_, bytes)| bytes.try_into().ok());
    Ok(bytes.map(|bytes| {
        let number = |at: usize| bytes[at..at + 8].iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte));
        Restored { seq: number(0), generation: number(8), at_ms: number(16) }
    }))
}

/// Sets the mark, and pauses the worker that deletes orphans.
pub(crate) async fn set(meta: &dyn Meta, seq: u64, generation: u64) -> Result<(), MetaError> {
    let numbers = [seq, generation, SystemClock::new().wall_ms()];
    let value = numbers.into_iter().flat_map(u64::to_le_bytes).collect();
    write(meta, RESTORED_SETTING, value).await?;
    let kept = meta.setting(ORPHANS_SETTING).await?.and_then(|(_, bytes)| Limits::decode(&bytes));
    write(meta, ORPHANS_SETTING, Limits { paused: true, ..kept.unwrap_or_default() }.encode()).await
}

async fn write(meta: &dyn Meta, name: &str, value: Vec<u8>) -> Result<(), MetaError> {
    let expected = meta.setting(name).await?.map_or(0, |(revision, _)| revision);
    let command = Command::SetSetting { name: name.to_owned(), expected, value };
    let now_ms = SystemClock::new().wall_ms();
    let request = Request { id: RequestId(random(&SystemEntropy)), now_ms, command };
    match meta.apply(request).await? {
        Outcome::Setting { .. } => Ok(()),
        // Nobody else writes while the server is stopped.
        _ => Err(MetaError::Unavailable { why: format!("the setting {name} was refused") }),
    }
}
