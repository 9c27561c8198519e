//! Shards of blobs that the metadata does not know: what their audit records say of them, and of every item of a pack.
//!
//! Owns what is remembered of them until `names` has gone through the versions. A write that was never acknowledged leaves
//! the same traces as one whose metadata is gone; only whether all of it is there tells some of them apart.

use pangea_core::audit::{AuditKeys, AuditRecord, Owner};
use pangea_core::ces::item::{audit_of, walk_items};
use pangea_core::id::{BlobId, BucketId, ChunkId, VersionId};

use super::report::Report;
use super::shelf::Shelf;
use super::stripes::read_chunk;

/// Objects, parts and items that are remembered one by one; further blobs are only counted.
const FINDS_MAX: usize = 100_000;

/// Something that has an owner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Find {
    pub blob: BlobId,
    pub kind: &'static str,
    pub bucket: BucketId,
    pub name_hash: [u8; 16],
    /// The version, if it was written for one.
    pub version: Option<VersionId>,
    /// Version or upload, for people.
    pub owner: String,
    pub bytes: Option<u64>,
    pub begun_ms: u64,
    pub complete: bool,
    /// The object's key, once one with that hash was met.
    pub key: Option<Vec<u8>>,
    /// Whether the metadata has the version, with its content elsewhere.
    pub superseded: bool,
}

/// All of them.
#[derive(Default)]
pub(super) struct Finds {
    pub all: Vec<Find>,
}

/// How much of a blob is there.
#[derive(Default)]
struct Extent {
    chunks: u32,
    whole: u32,
    gap: bool,
    audit: Option<Vec<u8>>,
}

impl Finds {
    /// Looks into the blob that the listings stand at, and passes over it.
    pub(super) fn look_into(
        &mut self,
        blob: BlobId,
        shelf: &mut Shelf,
        keys: &AuditKeys,
        report: &mut Report,
    ) {
        report.unknown_blobs += 1;
        if self.all.len() >= FINDS_MAX {
            report.unknown_untold = true;
            report.unknown_shards += shelf.skip(blob);
            return;
        }
        let extent = measure(blob, shelf, report);
        let record = extent.audit.as_ref().and_then(|audit| keys.open(blob, audit).ok());
        let Some(record) = record else {
            let blank = AuditRecordless { blob, complete: false };
            return self.all.push(blank.into());
        };
        let complete = is_all(&extent, &record);
        match record.owner {
            Owner::Pack => self.look_into_pack(blob, complete, &record, shelf, keys),
            Owner::Version(_) | Owner::Upload(_) => {
                let len = record.blob_len;
                self.all.push(find(blob, "object", &record, len, complete));
            }
        }
    }

    fn look_into_pack(
        &mut self,
        blob: BlobId,
        complete: bool,
        record: &AuditRecord,
        shelf: &Shelf,
        keys: &AuditKeys,
    ) {
        let payload = complete.then(|| read_chunk(shelf, ChunkId { blob, chunk: 0 }, keys)).flatten();
        let Some((payload, _)) = payload else {
            return self.all.push(find(blob, "pack", record, record.blob_len, complete));
        };
        for (place, head) in walk_items(&payload).0 {
            let sealed = payload.get(place).and_then(audit_of);
            match sealed.and_then(|sealed| keys.open(head.id, sealed).ok()) {
                Some(item) => {
                    self.all.push(find(blob, "item", &item, Some(head.plain_len.into()), true));
                }
                None => self.all.push(AuditRecordless { blob, complete: true }.into()),
            }
        }
    }
}

/// Something whose audit record does not open.
struct AuditRecordless {
    blob: BlobId,
    complete: bool,
}

impl From<AuditRecordless> for Find {
    fn from(found: AuditRecordless) -> Self {
        Self {
            blob: found.blob,
            kind: "unreadable",
            bucket: BucketId::default(),
            name_hash: [0; 16],
            version: None,
            owner: String::new(),
            bytes: None,
            begun_ms: 0,
            complete: found.complete,
            key: None,
            superseded: false,
        }
    }
}

fn find(blob: BlobId, kind: &'static str, record: &AuditRecord, bytes: Option<u64>, complete: bool) -> Find {
    let (kind, version, owner) = match record.owner {
        Owner::Version(id) => (kind, Some(id), id.to_string()),
        Owner::Upload(id) => ("part", None, id.to_string()),
        Owner::Pack => (kind, None, String::new()),
    };
    Find {
        blob,
        kind,
        bucket: record.key.bucket,
        name_hash: record.name_hash,
        version,
        owner,
        bytes,
        begun_ms: record.created_ms,
        complete,
        key: None,
        superseded: false,
    }
}

/// Takes all stripes of a blob off the listings and counts those that can be read.
fn measure(blob: BlobId, shelf: &mut Shelf, report: &mut Report) -> Extent {
    let mut extent = Extent::default();
    while let Some(chunk) = shelf.next_chunk().filter(|chunk| chunk.blob == blob) {
        let held = shelf.take(chunk);
        report.unknown_shards += held.len() as u64;
        extent.gap |= chunk.chunk != extent.chunks;
        extent.chunks = extent.chunks.saturating_add(1);
        let Some(header) = held.iter().find_map(|held| shelf.header(chunk, *held)) else { continue };
        let mut indices: Vec<u8> = held.iter().map(|held| held.index).collect();
        indices.sort_unstable();
        indices.dedup();
        extent.whole += u32::from(indices.len() >= usize::from(header.shape.code.k()));
        extent.audit.get_or_insert(header.audit);
    }
    extent
}

/// Whether the whole blob is there, as far as its length was known when it was begun.
fn is_all(extent: &Extent, record: &AuditRecord) -> bool {
    let expected = record.blob_len.map(|len| len.div_ceil(u64::from(record.chunk_bytes.max(1))).max(1));
    let is_expected = expected.is_none_or(|chunks| chunks == u64::from(extent.chunks));
    !extent.gap && extent.whole == extent.chunks && is_expected
}
