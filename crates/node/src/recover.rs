//! `pangea recover`: with the server stopped, rebuilds the metadata view from snapshot and log, and compares it with what lies
//! on the drives.
//!
//! The old view is kept aside until the new one stands. Drives are opened as a server opens them (their superblock and
//! checkpoint may be healed); nothing is deleted and nothing is formatted.
//!
//! | room | owns |
//! |---|---|
//! | `report` | what was found |
//! | `shelf` | the drives and their listings, side by side |
//! | `census` | blobs against listings, both ways |
//! | `stripes` | reading a chunk with the master key alone |
//! | `unknown` | what audit records say of shards that the metadata does not know |
//! | `names` | which objects hang on what is lost or unknown |
//! | `mark` | that metadata was set back |

mod census;
pub(crate) mod mark;
mod names;
mod report;
mod shelf;
mod stripes;
mod unknown;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pangea_core::audit::AuditKeys;
use pangea_core::seam::Disk;
use pangea_meta::backup::{Survey, give_up_to, survey, view_seq};
use pangea_meta::{EmbeddedMeta, Meta, MetaError};

use crate::assemble::{log_keys, meta_options, read_layout, view_path};
use crate::config::Unseal;
use crate::drives::{Directory, has_meta, look};
use crate::entropy::SystemEntropy;
use crate::error::StartError;
use crate::keyfile::{KeyError, Ring, Unlock, read_copies};

use census::Census;
use shelf::Shelf;

pub use report::{LostObject, LostStripe, Report, Restored, Unknown};

const VIEW_COMPANIONS: [&str; 3] = ["", "-wal", "-shm"];
const ASIDE: &str = ".before-recover";

/// How to compare.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Depth {
    /// Reads and checks every shard instead of only looking it up.
    pub deep: bool,
    /// Entries of every list of the report.
    pub shown: usize,
    /// A file of object keys, one a line, to name what audit records know by hash only.
    pub names: Option<PathBuf>,
}

/// Rebuilds and compares. The server must be stopped. With `force` an older state than the drives know of is accepted.
/// `progress` is told how many blobs were compared.
pub fn recover(
    directories: &[PathBuf],
    unseal: &Unseal,
    depth: &Depth,
    force: bool,
    progress: &mut dyn FnMut(u64),
) -> Result<Report, StartError> {
    let unlock = Unlock::read(unseal).map_err(StartError::Key)?;
    let looked = look(directories).map_err(StartError::Drive)?;
    let usable: Vec<PathBuf> = looked.iter().filter(|d| d.disk.is_some()).map(|d| d.path.clone()).collect();
    if usable.is_empty() {
        return Err(StartError::Key(KeyError::NoCopy { found: Vec::new() }));
    }
    let ring = read_copies(&usable, &unlock).map_err(StartError::Key)?.ring;
    let (meta, given_up) = rebuild(&looked, &ring, force)?;
    let report = finish(&meta, &looked, &ring, depth, given_up, progress);
    meta.close();
    report
}

/// Marks the metadata if it was set back, and compares it with the drives.
pub(crate) fn finish(
    meta: &EmbeddedMeta,
    directories: &[Directory],
    ring: &Ring,
    depth: &Depth,
    set_back: Option<Survey>,
    progress: &mut dyn FnMut(u64),
) -> Result<Report, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|source| StartError::System { doing: "start threads", source })?;
    runtime.block_on(async {
        if let Some(to) = set_back {
            mark::set(meta, to.seq(), to.generation).await.map_err(StartError::Meta)?;
        }
        compare(meta, directories, ring, depth, progress).await
    })
}

/// The directories with metadata and their disks.
pub(crate) fn log_drives(directories: &[Directory]) -> Vec<(PathBuf, Arc<dyn Disk>)> {
    let with_meta = directories.iter().filter(|directory| has_meta(&directory.path));
    with_meta
        .filter_map(|directory| Some((directory.path.clone(), directory.disk.clone()? as Arc<dyn Disk>)))
        .collect()
}

/// The newest meta generation that any superblock knows.
pub(crate) fn known_generation(directories: &[Directory]) -> u64 {
    directories.iter().map(|directory| directory.meta_generation).max().unwrap_or(0)
}

/// A fresh view from snapshot and log; and the older state that was accepted, if it was.
fn rebuild(
    directories: &[Directory],
    ring: &Ring,
    force: bool,
) -> Result<(EmbeddedMeta, Option<Survey>), StartError> {
    let drives = log_drives(directories);
    let disks: Vec<Arc<dyn Disk>> = drives.iter().map(|(_, disk)| disk.clone()).collect();
    let known = known_generation(directories);
    if drives.is_empty() {
        return Err(StartError::Meta(MetaError::Stale { found: 0, known }));
    }
    let homes: Vec<&Path> = drives.iter().map(|(path, _)| path.as_path()).collect();
    let keys = log_keys(ring);
    let there = survey(&disks, ring.cluster, &keys).map_err(StartError::Meta)?;
    // The view that is about to be replaced may be the only one to know that the log was rolled back.
    let views = homes.iter().filter_map(|home| view_seq(&view_path(home), ring.cluster));
    let view_seq = views.max().unwrap_or(0);
    let (is_stale, is_behind) = (there.generation < known, view_seq > there.seq());
    if is_behind && !force {
        return Err(StartError::Meta(MetaError::LogLost { view_seq, log_seq: there.log_seq }));
    }
    if is_stale && force {
        give_up_to(&disks, ring.cluster, &keys, known + 1, &SystemEntropy).map_err(StartError::Meta)?;
    }
    let failed = |source| StartError::System { doing: "set the old view aside", source };
    let options = meta_options(&drives, ring, known)?;
    homes.iter().try_for_each(|home| set_aside(home)).map_err(failed)?;
    match EmbeddedMeta::open(options) {
        Ok(meta) => {
            homes.iter().try_for_each(|home| forget_aside(home)).map_err(failed)?;
            Ok((meta, (is_stale || is_behind).then_some(there)))
        }
        Err(error) => {
            homes.iter().try_for_each(|home| bring_back(home)).map_err(failed)?;
            Err(StartError::Meta(error))
        }
    }
}

fn companions(home: &Path) -> impl Iterator<Item = (PathBuf, PathBuf)> {
    let view = view_path(home);
    VIEW_COMPANIONS.into_iter().map(move |suffix| {
        let named = |end: &str| {
            let mut name = view.clone().into_os_string();
            name.push(end);
            PathBuf::from(name)
        };
        (named(suffix), named(&format!("{suffix}{ASIDE}")))
    })
}

fn forgive_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn set_aside(home: &Path) -> io::Result<()> {
    companions(home).try_for_each(|(view, aside)| fs::rename(view, aside).or_else(forgive_missing))
}

fn bring_back(home: &Path) -> io::Result<()> {
    companions(home).try_for_each(|(view, aside)| fs::rename(aside, view).or_else(forgive_missing))
}

fn forget_aside(home: &Path) -> io::Result<()> {
    companions(home).try_for_each(|(_, aside)| fs::remove_file(aside).or_else(forgive_missing))
}

/// Both ways: does every stripe have its shards, and does every shard belong to something?
async fn compare(
    meta: &dyn Meta,
    directories: &[Directory],
    ring: &Ring,
    depth: &Depth,
    progress: &mut dyn FnMut(u64),
) -> Result<Report, StartError> {
    let failed = StartError::Meta;
    let status = meta.status().await.map_err(failed)?;
    let mut report = Report {
        cluster: ring.cluster.to_string(),
        requests: status.applied_seq,
        generation: status.generation,
        restored: mark::read(meta).await.map_err(failed)?,
        notes: status.recovery_notes,
        deep: depth.deep,
        buckets: meta.buckets().await.map_err(failed)?.len() as u64,
        ..Report::default()
    };
    let layout = read_layout(meta).await?;
    let shelf = Shelf::open(directories, layout.as_ref(), &mut report);
    // Audit records are always sealed under the oldest master key.
    let keys = AuditKeys::new(&ring.generations().first().expect("a ring is never empty").key);
    let mut census = Census::new(meta, shelf, keys, &mut report, depth.shown, progress);
    census.run().await.map_err(failed)?;
    let (lost, mut finds) = (std::mem::take(&mut census.lost), std::mem::take(&mut census.finds).all);
    names::name(meta, lost, &mut finds, &mut report, depth.shown).await.map_err(failed)?;
    if let Some(path) = &depth.names {
        let unread = |source| StartError::System { doing: "read the list of names", source };
        names::name_from_list(path, &mut finds).map_err(unread)?;
    }
    names::list(meta, &finds, &mut report, depth.shown).await.map_err(failed)?;
    Ok(report)
}
