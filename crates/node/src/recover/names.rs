//! Names: one walk over all versions, for the objects that hang on lost blobs and for those that audit records only know by
//! the hash of their key.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;

use pangea_core::audit::AuditRecord;
use pangea_core::id::{BlobId, BucketId, VersionId};
use pangea_core::meta::{BlobBody, Content, KeyRange, VersionRow};
use pangea_meta::{Meta, MetaError};

use super::report::{LostObject, Report, Unknown};
use super::unknown::Find;

/// Versions, and blobs, of one scan.
const SCAN_ROWS: usize = 1000;
/// The longest object key.
const KEY_BYTES_MAX: u64 = 4096;

/// Names the objects whose content lies in these blobs, and the finds.
pub(super) async fn name(
    meta: &dyn Meta,
    lost: BTreeSet<BlobId>,
    finds: &mut [Find],
    report: &mut Report,
    shown: usize,
) -> Result<(), MetaError> {
    if lost.is_empty() && finds.is_empty() {
        return Ok(());
    }
    let lost = with_composites(meta, lost).await?;
    let (mut by_version, mut by_name) = (BTreeMap::new(), Hashes::new());
    for (at, find) in finds.iter().enumerate() {
        if let Some(version) = find.version {
            by_version.entry(version).or_insert_with(Vec::new).push(at);
        }
        by_name.entry(find.name_hash).or_default().push(at);
    }
    for bucket in meta.buckets().await? {
        let mut walk = Walk { lost: &lost, by_version: &by_version, by_name: &by_name, finds, report, shown };
        walk.bucket(meta, bucket.id, &bucket.name).await?;
    }
    Ok(())
}

type Hashes = BTreeMap<[u8; 16], Vec<usize>>;

struct Walk<'a> {
    lost: &'a BTreeSet<BlobId>,
    by_version: &'a BTreeMap<VersionId, Vec<usize>>,
    by_name: &'a Hashes,
    finds: &'a mut [Find],
    report: &'a mut Report,
    shown: usize,
}

impl Walk<'_> {
    async fn bucket(&mut self, meta: &dyn Meta, id: BucketId, name: &str) -> Result<(), MetaError> {
        let (mut range, mut after_seq) = (KeyRange::default(), None);
        loop {
            let page = meta.versions(id, range.clone(), after_seq, SCAN_ROWS).await?;
            let Some((last, row, _)) = page.versions.last() else { return Ok(()) };
            (range.after, after_seq) = (Some(last.clone()), Some(row.seq));
            for (key, row, _) in &page.versions {
                self.version(id, name, key, row);
            }
            if !page.more {
                return Ok(());
            }
        }
    }

    fn version(&mut self, bucket: BucketId, name: &str, key: &[u8], row: &VersionRow) {
        let blob = match &row.content {
            Content::Empty => None,
            Content::Blob(extent) => Some(extent.blob),
            Content::Packed(item) => Some(item.at.blob),
        };
        if blob.is_some_and(|blob| self.lost.contains(&blob)) {
            self.report.lost_objects += 1;
            if self.report.lost_names.len() < self.shown {
                self.report.lost_names.push(LostObject {
                    bucket: name.to_owned(),
                    key: String::from_utf8_lossy(key).into_owned(),
                    version: row.id.to_string(),
                    bytes: row.size,
                });
            }
        }
        for at in self.by_version.get(&row.id).into_iter().flatten() {
            if let Some(find) = self.finds.get_mut(*at) {
                find.superseded = true;
            }
        }
        if !self.by_name.is_empty() {
            tell(self.by_name, self.finds, Some(bucket), key);
        }
    }
}

/// Gives a key to the finds that have its hash.
fn tell(by_name: &Hashes, finds: &mut [Find], bucket: Option<BucketId>, key: &[u8]) {
    for at in by_name.get(&AuditRecord::hash_name(key)).into_iter().flatten() {
        match finds.get_mut(*at) {
            Some(find) if bucket.is_none_or(|bucket| bucket == find.bucket) => find.key = Some(key.to_vec()),
            _ => {}
        }
    }
}

/// Keys that an operator knows of, one a line: the audit records keep only their hashes.
pub(super) fn name_from_list(path: &Path, finds: &mut [Find]) -> io::Result<()> {
    let mut by_name = Hashes::new();
    for (at, find) in finds.iter().enumerate() {
        by_name.entry(find.name_hash).or_default().push(at);
    }
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut reader).take(KEY_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        tell(&by_name, finds, None, line.strip_suffix(b"\n").unwrap_or(&line));
    }
}

/// With the composites that have a part among them. (Those of more than 511 parts keep their list in shards; their parts are
/// found, their names are not.)
async fn with_composites(meta: &dyn Meta, mut lost: BTreeSet<BlobId>) -> Result<BTreeSet<BlobId>, MetaError> {
    if lost.is_empty() {
        return Ok(lost);
    }
    let (mut after, mut more) = (None, Vec::new());
    loop {
        let page = meta.blobs(after, SCAN_ROWS).await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        for (id, row) in page {
            let is_lost = match &row.body {
                BlobBody::Composite { parts } => parts.iter().any(|part| lost.contains(&part.blob)),
                BlobBody::CompositeSpilled { list, .. } => lost.contains(list),
                BlobBody::Inline { .. } | BlobBody::Chunked { .. } | BlobBody::ChunkedSpilled { .. } => false,
            };
            if is_lost {
                more.push(id);
            }
        }
    }
    lost.extend(more);
    Ok(lost)
}

/// Counts the finds and lists the first of them.
pub(super) async fn list(
    meta: &dyn Meta,
    finds: &[Find],
    report: &mut Report,
    shown: usize,
) -> Result<(), MetaError> {
    let buckets: BTreeMap<BucketId, String> =
        meta.buckets().await?.into_iter().map(|bucket| (bucket.id, bucket.name)).collect();
    report.unknown_objects = finds.len() as u64;
    report.unknown_superseded = finds.iter().filter(|find| find.superseded).count() as u64;
    let open = |find: &&Find| !find.superseded;
    report.unknown_complete = finds.iter().filter(open).filter(|find| find.complete).count() as u64;
    let (whole, parts): (Vec<&Find>, Vec<&Find>) = finds.iter().filter(open).partition(|find| find.complete);
    for find in whole.into_iter().chain(parts).take(shown) {
        let bucket = buckets.get(&find.bucket).cloned();
        report.unknown.push(Unknown {
            blob: find.blob.to_string(),
            kind: find.kind,
            bucket: bucket.unwrap_or_else(|| find.bucket.to_string()),
            key: find.key.as_deref().map(|key| String::from_utf8_lossy(key).into_owned()),
            name_hash: find.name_hash.iter().map(|byte| format!("{byte:02x}")).collect(),
            owner: find.owner.clone(),
            bytes: find.bytes,
            begun_ms: find.begun_ms,
            complete: find.complete,
        });
    }
    Ok(())
}
