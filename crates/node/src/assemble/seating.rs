//! Seating: the directories of this node take their places in the layout, which others may be changing at the same time.

use std::path::PathBuf;
use std::time::Duration;

use pangea_client::{CURRENT_EPOCH_SETTING, OLDER_CODES_SETTING, codes_used, layout_setting};
use pangea_core::chunk::Code;
use pangea_core::id::{NodeId, RequestId};
use pangea_core::layout::{Domain, Layout};
use pangea_core::meta::{Command, Outcome, Request};
use pangea_core::seam::{Clock as _, random};
use pangea_meta::{Meta, MetaError};

use super::Ways;
use crate::clock::SystemClock;
use crate::cluster::domain_of;
use crate::config::Options;
use crate::drives::{Plan, next_layout};
use crate::entropy::SystemEntropy;
use crate::error::StartError;
use crate::ground::{Ground, only_node, seat};

/// Tries of a change that others make at the same time, and of a command whose answer was lost.
const TRIES: u32 = 10;
const TRY_AGAIN: Duration = Duration::from_millis(300);

/// What the directories are now.
pub(super) struct Settled {
    pub(super) plan: Plan,
    /// The current layout, with this node's drives in it.
    pub(super) layout: Layout,
    /// The codes that data lies under.
    pub(super) codes: Vec<Code>,
}

/// The setting with the directories of drives that were added while a node ran, a line each. Members have one each.
pub(crate) fn added_setting(member: Option<NodeId>) -> String {
    member.map_or("drives/added".to_owned(), |node| format!("drives/added/{node}"))
}

/// Gives every directory its slot and makes that the current layout.
pub(super) async fn settle(
    ground: &mut Ground,
    meta: &dyn Meta,
    ways: &Ways,
    options: &Options,
    clock: &SystemClock,
) -> Result<Settled, StartError> {
    let member = ways.cluster.as_ref().filter(|cluster| !cluster.is_keeper()).map(|cluster| cluster.me());
    let stands = match &ways.cluster {
        Some(cluster) => cluster.member.domain.clone(),
        None => domain_of(&options.cluster.labels, ground.node_id()),
    };
    for _ in 0..TRIES {
        let current = read_current(meta).await?;
        let (revision, found) = current.map_or((0, None), |(revision, layout)| (revision, Some(layout)));
        let layout = found.clone().map(|layout| owned(layout, ground, &stands));
        let mut added = added_drives(meta, &added_setting(member)).await?;
        if let Some(layout) = layout.as_ref().filter(|_| options.meta.is_some()) {
            added.extend(added_alone(meta, ground, layout).await?);
        }
        ground.look_at_added(&added, layout.as_ref());
        let codes = match &layout {
            Some(layout) => codes_used(meta, layout).await.map_err(StartError::Meta)?,
            None => vec![],
        };
        let node = ground.node_id();
        let plan = seat(ground.ring.cluster, node, layout.as_ref(), &codes, &ground.directories);
        let plan = plan.map_err(StartError::Drive)?;
        for seat in &plan.seats {
            // Its capacity must be known before the layout names it.
            ground.directories[seat.directory].ensure().map_err(StartError::Drive)?;
        }
        let next = next_layout(layout.as_ref(), &plan, &ground.weights(), (node, &stands), options.erasure);
        if found.as_ref() == Some(&next) {
            return Ok(Settled { plan, layout: next, codes });
        }
        if let Some(old) = layout.filter(|old| old.code != next.code) {
            keep_older_code(meta, old.code, clock).await?;
        }
        if write_layout(meta, &next, revision, clock).await? {
            return Ok(Settled { plan, layout: next, codes });
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
    let why = "other nodes change the layout all the time: start again in a while".into();
    Err(StartError::Cluster { why })
}

/// A node that was on its own had no key; now that it has one, its drives are that node's.
fn owned(mut layout: Layout, ground: &Ground, stands: &Domain) -> Layout {
    let (before, now) = (only_node(ground.ring.cluster), ground.node_id());
    if before == now || layout.drives.iter().all(|drive| drive.node != before) {
        return layout;
    }
    for drive in layout.drives.iter_mut().filter(|drive| drive.node == before) {
        drive.node = now;
        if drive.domain.host == before.to_string() {
            drive.domain = stands.clone();
        }
    }
    layout.epoch += 1;
    layout
}

/// The directories that were added to the running server: the command line need not name them.
pub(crate) async fn added_drives(meta: &dyn Meta, setting: &str) -> Result<Vec<PathBuf>, StartError> {
    let setting = meta.setting(setting).await.map_err(StartError::Meta)?;
    let text = setting.map(|(_, bytes)| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    Ok(text.lines().map(PathBuf::from).collect())
}

/// Those that were added to this node while it was on its own, its metadata in a database.
async fn added_alone(
    meta: &dyn Meta,
    ground: &Ground,
    layout: &Layout,
) -> Result<impl Iterator<Item = PathBuf>, StartError> {
    let added = added_drives(meta, &added_setting(None)).await?;
    let node = ground.node_id();
    let ours: Vec<PathBuf> = layout
        .drives
        .iter()
        .filter(|drive| drive.node == node)
        .map(|drive| PathBuf::from(&drive.path))
        .collect();
    Ok(added.into_iter().filter(move |path| ours.contains(path)))
}

/// The current layout; `None` before the first was written.
pub(crate) async fn read_layout(meta: &dyn Meta) -> Result<Option<Layout>, StartError> {
    Ok(read_current(meta).await?.map(|(_, layout)| layout))
}

/// The current layout, and the revision of the setting that names it.
async fn read_current(meta: &dyn Meta) -> Result<Option<(u64, Layout)>, StartError> {
    let damaged =
        |what| StartError::Meta(MetaError::Damaged { file: CURRENT_EPOCH_SETTING.into(), seq: 0, what });
    let Some((revision, bytes)) = meta.setting(CURRENT_EPOCH_SETTING).await.map_err(StartError::Meta)? else {
        return Ok(None);
    };
    let epoch = u32::from_le_bytes(bytes.try_into().map_err(|_| damaged("the current epoch is no u32"))?);
    let setting = meta.setting(&layout_setting(epoch)).await.map_err(StartError::Meta)?;
    let (_, bytes) = setting.ok_or_else(|| damaged("the current layout is not there"))?;
    let layout = Layout::decode(&bytes).map_err(|_| damaged("the current layout cannot be read"))?;
    Ok(Some((revision, layout)))
}

/// Makes a layout the current one, if the one that it follows still is. Else somebody else's is now.
async fn write_layout(
    meta: &dyn Meta,
    layout: &Layout,
    follows: u64,
    clock: &SystemClock,
) -> Result<bool, StartError> {
    let name = layout_setting(layout.epoch);
    let seen = meta.setting(&name).await.map_err(StartError::Meta)?.map_or(0, |(revision, _)| revision);
    let current = (CURRENT_EPOCH_SETTING.to_owned(), follows, layout.epoch.to_le_bytes().to_vec());
    let settings = vec![(name, seen, layout.encode()), current];
    let outcome = apply(meta, Command::SetSettings { settings }, clock).await?;
    Ok(!matches!(outcome, Outcome::Refused(_)))
}

/// What was written under the code until now stays under it.
async fn keep_older_code(meta: &dyn Meta, code: Code, clock: &SystemClock) -> Result<(), StartError> {
    for _ in 0..TRIES {
        let known = meta.setting(OLDER_CODES_SETTING).await.map_err(StartError::Meta)?;
        let (expected, mut value) = known.unwrap_or_default();
        if value.chunks_exact(2).any(|known| known == [code.k(), code.m()]) {
            return Ok(());
        }
        value.extend([code.k(), code.m()]);
        let name = OLDER_CODES_SETTING.to_owned();
        if let Outcome::Setting { .. } =
            apply(meta, Command::SetSetting { name, expected, value }, clock).await?
        {
            return Ok(());
        }
    }
    let why = "other nodes change the list of codes all the time: start again in a while".into();
    Err(StartError::Cluster { why })
}

/// Carries a command out; one whose answer was lost is asked for again.
async fn apply(meta: &dyn Meta, command: Command, clock: &SystemClock) -> Result<Outcome, StartError> {
    let request = Request { id: RequestId(random(&SystemEntropy)), now_ms: clock.wall_ms(), command };
    let mut tries = 0;
    loop {
        match meta.apply(request.clone()).await {
            Err(error) if error.is_retryable() && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(TRY_AGAIN).await;
            }
            other => return other.map_err(StartError::Meta),
        }
    }
}
