//! `pangea recover`: with the server stopped, rebuilds the metadata view from snapshot and log, and compares it with what lies
//! on the drives.
//!
//! The old view is kept aside until the new one stands. Drives are opened as a server opens them (their superblock and
//! checkpoint may be healed); nothing is deleted and nothing is formatted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pangea_core::audit::AuditKeys;
use pangea_core::id::{BlobId, ShardId};
use pangea_core::manifest::Manifest;
use pangea_core::meta::BlobBody;
use pangea_core::seam::Disk;
use pangea_meta::{EmbeddedMeta, Meta, MetaError, PAGE_ROWS_MAX};
use pangea_store::extent::{ExtentReader, ExtentStore, Options as ExtentOptions};
use pangea_store::port::LIST_MAX;
use serde::Serialize;

use crate::assemble::{meta_options, view_path};
use crate::config::Unseal;
use crate::drives::{Directory, Found, has_meta, look};
use crate::error::StartError;
use crate::keyfile::{KeyError, Ring, Unlock, read_copies};

/// Unknown blobs that are described one by one; all are counted.
const UNKNOWN_SHOWN: usize = 20;
const VIEW_COMPANIONS: [&str; 3] = ["", "-wal", "-shm"];
const ASIDE: &str = ".before-recover";

/// What a recovery found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Report {
    /// The cluster.
    pub cluster: String,
    /// Requests in the rebuilt view.
    pub requests: u64,
    /// The meta generation.
    pub generation: u64,
    /// What the metadata's recovery put right.
    pub notes: Vec<String>,
    /// Buckets.
    pub buckets: u64,
    /// Blobs that something refers to.
    pub blobs: u64,
    /// Their stripes, as far as manifests lie in the metadata itself.
    pub stripes: u64,
    /// Stripes with all shards on the drives that were named.
    pub whole_stripes: u64,
    /// Stripes that lack shards and can be rebuilt.
    pub short_stripes: u64,
    /// Stripes with fewer shards than reading needs.
    pub lost_stripes: u64,
    /// Blobs whose manifest is itself stored as shards: their stripes were not compared here (a scrub does).
    pub spilled_blobs: u64,
    /// Drives that were read: directory and shards.
    pub drives: Vec<(PathBuf, u64)>,
    /// Directories that could not be read, and why.
    pub unread: Vec<(PathBuf, String)>,
    /// Blobs with shards on the drives that the metadata does not know: of writes that were never acknowledged, or of
    /// metadata that is gone.
    pub unknown_blobs: u64,
    /// Some of them, with what their audit records say.
    pub unknown: Vec<String>,
}

impl Report {
    /// Whether every stripe that the metadata knows can be read.
    pub fn is_complete(&self) -> bool {
        self.lost_stripes == 0
    }
}

/// Rebuilds and compares. The server must be stopped.
pub fn recover(directories: &[PathBuf], unseal: &Unseal) -> Result<Report, StartError> {
    let unlock = Unlock::read(unseal).map_err(StartError::Key)?;
    let looked = look(directories).map_err(StartError::Drive)?;
    let usable: Vec<PathBuf> = looked.iter().filter(|d| d.disk.is_some()).map(|d| d.path.clone()).collect();
    if usable.is_empty() {
        return Err(StartError::Key(KeyError::NoCopy { found: Vec::new() }));
    }
    let ring = read_copies(&usable, &unlock).map_err(StartError::Key)?.ring;
    let meta = rebuild(&looked, &ring)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|source| StartError::System { doing: "start threads", source })?;
    let report = runtime.block_on(compare(&meta, &looked, &ring)).map_err(StartError::Meta)?;
    meta.close();
    Ok(report)
}

/// A fresh view from snapshot and log.
fn rebuild(directories: &[Directory], ring: &Ring) -> Result<EmbeddedMeta, StartError> {
    let drives: Vec<(PathBuf, Arc<dyn Disk>)> = directories
        .iter()
        .filter(|directory| has_meta(&directory.path))
        .filter_map(|directory| Some((directory.path.clone(), directory.disk.clone()? as Arc<dyn Disk>)))
        .collect();
    let known = directories.iter().map(|directory| directory.meta_generation).max().unwrap_or(0);
    let homes: Vec<&Path> = drives.iter().map(|(path, _)| path.as_path()).collect();
    let failed = |source| StartError::System { doing: "set the old view aside", source };
    let options = meta_options(&drives, ring, known)?;
    homes.iter().try_for_each(|home| set_aside(home)).map_err(failed)?;
    match EmbeddedMeta::open(options) {
        Ok(meta) => {
            homes.iter().try_for_each(|home| forget_aside(home)).map_err(failed)?;
            Ok(meta)
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
async fn compare(meta: &dyn Meta, directories: &[Directory], ring: &Ring) -> Result<Report, MetaError> {
    let status = meta.status().await?;
    let mut report = Report {
        cluster: ring.cluster.to_string(),
        requests: status.applied_seq,
        generation: status.generation,
        notes: status.recovery_notes,
        buckets: meta.buckets().await?.len() as u64,
        ..Report::default()
    };
    let (mut seen, mut readers) = (BTreeMap::new(), Vec::new());
    for directory in directories {
        match read_drive(directory, &mut seen) {
            Ok((reader, shards)) => {
                readers.push(reader);
                report.drives.push((directory.path.clone(), shards));
            }
            Err(why) => report.unread.push((directory.path.clone(), why)),
        }
    }
    let known = count_stripes(meta, &seen, &mut report).await?;
    describe_unknown(&seen, &known, &readers, ring, &mut report);
    Ok(report)
}

/// Which shards of which blobs were seen: blob → (chunk, index).
type Seen = BTreeMap<BlobId, BTreeSet<(u32, u8)>>;

fn read_drive(directory: &Directory, seen: &mut Seen) -> Result<(ExtentReader, u64), String> {
    let (Some(disk), Found::Formatted(identity)) = (&directory.disk, &directory.found) else {
        return Err(match &directory.found {
            Found::Unusable(error) => error.to_string(),
            Found::Damaged(_) => "its superblock is damaged; the next start rebuilds it".to_owned(),
            _ => "it is not a drive yet".to_owned(),
        });
    };
    let opened = ExtentStore::open(disk.clone() as Arc<dyn Disk>, *identity, ExtentOptions::default());
    let (store, _) = opened.map_err(|error| error.to_string())?;
    let reader = store.reader();
    let (mut after, mut shards): (Option<ShardId>, u64) = (None, 0);
    loop {
        let page = reader.list(after, LIST_MAX);
        let Some(last) = page.last() else { return Ok((reader, shards)) };
        after = Some(last.id);
        shards += page.len() as u64;
        for shard in page {
            seen.entry(shard.id.chunk.blob).or_default().insert((shard.id.chunk.chunk, shard.id.index));
        }
    }
}

/// Walks all blobs; gives the ids of those that exist.
async fn count_stripes(
    meta: &dyn Meta,
    seen: &Seen,
    report: &mut Report,
) -> Result<BTreeSet<BlobId>, MetaError> {
    let (mut known, mut after) = (BTreeSet::new(), None);
    let none = BTreeSet::new();
    loop {
        let page = meta.blobs(after, PAGE_ROWS_MAX).await?;
        let Some((last, _)) = page.last() else { return Ok(known) };
        after = Some(*last);
        for (id, row) in page {
            known.insert(id);
            if row.refs == 0 {
                continue;
            }
            report.blobs += 1;
            let manifest = match &row.body {
                BlobBody::Chunked { manifest } => Manifest::decode(manifest),
                BlobBody::ChunkedSpilled { .. } => {
                    report.spilled_blobs += 1;
                    continue;
                }
                BlobBody::Inline { .. } | BlobBody::Composite { .. } | BlobBody::CompositeSpilled { .. } => {
                    continue;
                }
            };
            let shards = seen.get(&id).unwrap_or(&none);
            match manifest {
                Ok(manifest) => count_blob(&manifest, shards, report),
                Err(error) => report.notes.push(format!("blob {id}: {error}")),
            }
        }
    }
}

fn count_blob(manifest: &Manifest, shards: &BTreeSet<(u32, u8)>, report: &mut Report) {
    for (number, entry) in (0..manifest.chunks()).filter_map(|chunk| Some((chunk, manifest.chunk(chunk)?))) {
        let code = entry.shape.code;
        let found =
            shards.range((number, 0)..=(number, u8::MAX)).filter(|(_, index)| *index < code.n()).count();
        report.stripes += 1;
        if found == usize::from(code.n()) {
            report.whole_stripes += 1;
        } else if found >= usize::from(code.k()) {
            report.short_stripes += 1;
        } else {
            report.lost_stripes += 1;
        }
    }
}

fn describe_unknown(
    seen: &Seen,
    known: &BTreeSet<BlobId>,
    readers: &[ExtentReader],
    ring: &Ring,
    report: &mut Report,
) {
    // Audit records are always sealed under the oldest master key.
    let keys = AuditKeys::new(&ring.generations().first().expect("a ring is never empty").key);
    for (blob, shards) in seen.iter().filter(|(blob, _)| !known.contains(blob)) {
        report.unknown_blobs += 1;
        if report.unknown.len() >= UNKNOWN_SHOWN {
            continue;
        }
        let Some((chunk, index)) = shards.first() else { continue };
        let chunk = pangea_core::id::ChunkId { blob: *blob, chunk: *chunk };
        let id = ShardId { chunk, index: *index };
        let header = readers.iter().find_map(|reader| reader.header(id).ok());
        let text = match header.map(|header| keys.open(*blob, &header.audit)) {
            Some(Ok(record)) => format!(
                "blob {blob}: {:?} in bucket {}, {} bytes, begun {} ms after 1970",
                record.owner,
                record.key.bucket,
                record.blob_len.map_or("an unknown number of".to_owned(), |len| len.to_string()),
                record.created_ms
            ),
            Some(Err(error)) => format!("blob {blob}: {error}"),
            None => format!("blob {blob}: no header can be read"),
        };
        report.unknown.push(text);
    }
}
