//! Reads: every query of the metadata port, on any engine's tables.
//!
//! Owns how pages are cut and merged, so that all embedded engines answer alike. Nothing here writes; each function is one
//! or two ordered reads and sees whatever state its tables show. `limit` is used as given: the port bounds it.

use super::apply::find_version;
use super::command::VersionSelector;
use super::query::{HeadPage, KeyRange, VersionPage};
use super::row::{
    AccessKeyRow, BlobRow, BucketKeyRow, BucketRow, Content, LeaseRow, PackEntry, PackRow, PartRow, TodoRow,
    UploadRow, UsageRow, VersionRow,
};
use super::table_key::{KeyEnd, TableKey, escaped};
use super::tables::{
    AccessKeys, Blobs, BucketKeys, Buckets, CondemnedBlobs, Heads, Leases, PackEntries, Packs, Parts,
    Settings, Span, States, Tables, Todos, Typed, Uploads, Usages, Versions,
};
use crate::id::{BlobId, BucketId, ChunkId, UploadId};

/// The bucket of that name.
pub fn bucket<T: Tables>(t: &T, name: &str) -> Result<Option<BucketRow>, T::Error> {
    t.get::<Buckets>(&name.to_owned())
}

/// Buckets by name, after that one.
pub fn buckets<T: Tables>(t: &T, after: Option<&str>, limit: usize) -> Result<Vec<BucketRow>, T::Error> {
    let span = after.map_or_else(Span::default, |name| Span::default().after(&name.to_owned()));
    Ok(t.scan::<Buckets>(&span, limit)?.into_iter().map(|(_, row)| row).collect())
}

/// One generation of a bucket's key.
pub fn bucket_key<T: Tables>(t: &T, id: BucketId, generation: u32) -> Result<Option<BucketKeyRow>, T::Error> {
    t.get::<BucketKeys>(&(id, generation))
}

/// Bucket keys after that one.
pub fn bucket_keys<T: Tables>(
    t: &T,
    after: Option<(BucketId, u32)>,
    limit: usize,
) -> Result<Vec<(BucketId, u32, BucketKeyRow)>, T::Error> {
    let rows = t.scan::<BucketKeys>(&behind(after), limit)?;
    Ok(rows.into_iter().map(|((bucket, generation), row)| (bucket, generation, row)).collect())
}

/// What a bucket holds.
pub fn usage<T: Tables>(t: &T, bucket: BucketId) -> Result<Option<UsageRow>, T::Error> {
    t.get::<Usages>(&bucket)
}

/// A version of a key, and whether it is the head.
pub fn version<T: Tables>(
    t: &T,
    bucket: BucketId,
    key: &[u8],
    selector: VersionSelector,
) -> Result<Option<(VersionRow, bool)>, T::Error> {
    find_version(t, bucket, key, selector)
}

/// A version, whether it is the head, and the blob that its content lies in (none for an empty one).
pub type VersionWithBlob = (VersionRow, bool, Option<BlobRow>);

/// A version of a key, and the blob that its content lies in.
pub fn version_with_blob<T: Tables>(
    t: &T,
    bucket: BucketId,
    key: &[u8],
    selector: VersionSelector,
) -> Result<Option<VersionWithBlob>, T::Error> {
    let Some((row, is_head)) = find_version(t, bucket, key, selector)? else { return Ok(None) };
    let blob = match &row.content {
        Content::Empty => None,
        Content::Blob(extent) => t.get::<Blobs>(&extent.blob)?,
        Content::Packed(item) => t.get::<Blobs>(&item.at.blob)?,
    };
    Ok(Some((row, is_head, blob)))
}

/// A page of heads.
pub fn heads<T: Tables>(
    t: &T,
    bucket: BucketId,
    range: &KeyRange,
    limit: usize,
) -> Result<HeadPage, T::Error> {
    let mut heads = scan_heads(t, bucket, range, limit.saturating_add(1))?;
    let more = heads.len() > limit;
    heads.truncate(limit);
    Ok(HeadPage { heads, more })
}

/// A page of versions: the heads and the older ones, merged by key.
pub fn versions<T: Tables>(
    t: &T,
    bucket: BucketId,
    range: &KeyRange,
    after_seq: Option<u64>,
    limit: usize,
) -> Result<VersionPage, T::Error> {
    let fetched = limit.saturating_add(1); // of each kind: the page may be all of one
    let mut heads = scan_heads(t, bucket, range, fetched)?.into_iter().peekable();
    let mut older = scan_versions(t, bucket, range, after_seq, fetched)?.into_iter().peekable();
    let mut versions = Vec::new();
    while versions.len() < fetched {
        let head_next = match (heads.peek(), older.peek()) {
            (Some((head, _)), Some((old, _))) => head <= old,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => break,
        };
        let from = if head_next { heads.next() } else { older.next() };
        versions.extend(from.map(|(key, row)| (key, row, head_next)));
    }
    let more = versions.len() > limit;
    versions.truncate(limit);
    Ok(VersionPage { versions, more })
}

fn scan_heads<T: Tables>(
    t: &T,
    bucket: BucketId,
    range: &KeyRange,
    limit: usize,
) -> Result<Vec<(Vec<u8>, VersionRow)>, T::Error> {
    let mut span = Span::prefix((bucket, range.prefix.clone()).bytes());
    if let Some(after) = &range.after {
        span = span.after(&(bucket, after.clone()));
    }
    if let Some(from) = &range.from {
        span = span.at_least((bucket, from.clone()).bytes());
    }
    Ok(t.scan::<Heads>(&span, limit)?.into_iter().map(|((_, key), row)| (key, row)).collect())
}

fn scan_versions<T: Tables>(
    t: &T,
    bucket: BucketId,
    range: &KeyRange,
    after_seq: Option<u64>,
    limit: usize,
) -> Result<Vec<(Vec<u8>, VersionRow)>, T::Error> {
    let mut span = Span::prefix(escaped(bucket, &range.prefix, KeyEnd::Open));
    match (&range.after, after_seq) {
        (Some(after), Some(seq)) => span = span.after(&(bucket, after.clone(), seq)),
        (Some(after), None) => span = span.at_least(escaped(bucket, after, KeyEnd::Past)),
        (None, _) => {}
    }
    if let Some(from) = &range.from {
        span = span.at_least(escaped(bucket, from, KeyEnd::Whole));
    }
    Ok(t.scan::<Versions>(&span, limit)?.into_iter().map(|((_, key, _), row)| (key, row)).collect())
}

/// A blob.
pub fn blob<T: Tables>(t: &T, id: BlobId) -> Result<Option<BlobRow>, T::Error> {
    t.get::<Blobs>(&id)
}

/// Blobs after that one.
pub fn blobs<T: Tables>(
    t: &T,
    after: Option<BlobId>,
    limit: usize,
) -> Result<Vec<(BlobId, BlobRow)>, T::Error> {
    t.scan::<Blobs>(&behind(after), limit)
}

/// Packs after that one.
pub fn packs<T: Tables>(
    t: &T,
    after: Option<BlobId>,
    limit: usize,
) -> Result<Vec<(BlobId, PackRow)>, T::Error> {
    t.scan::<Packs>(&behind(after), limit)
}

/// The versions whose content lies in a pack, after that one, with the bytes of their items; by where the items start.
pub fn pack_entries<T: Tables>(
    t: &T,
    pack: BlobId,
    after: Option<PackEntry>,
    limit: usize,
) -> Result<Vec<(PackEntry, u64)>, T::Error> {
    let span = Span::prefix(pack.0.to_vec());
    let span = if let Some(after) = after { span.after(&after) } else { span };
    t.scan::<PackEntries>(&span, limit)
}

/// Condemned blobs after that one, by the generation that condemned them.
pub fn condemned<T: Tables>(
    t: &T,
    after: Option<(u64, BlobId)>,
    limit: usize,
) -> Result<Vec<(u64, BlobId)>, T::Error> {
    Ok(t.scan::<CondemnedBlobs>(&behind(after), limit)?.into_iter().map(|(key, ())| key).collect())
}

/// An upload in progress.
pub fn upload<T: Tables>(
    t: &T,
    bucket: BucketId,
    key: &[u8],
    upload: UploadId,
) -> Result<Option<UploadRow>, T::Error> {
    t.get::<Uploads>(&(bucket, key.to_vec(), upload))
}

/// Uploads of a bucket, by key and id.
pub fn uploads<T: Tables>(
    t: &T,
    bucket: BucketId,
    after: Option<(Vec<u8>, UploadId)>,
    prefix: &[u8],
    limit: usize,
) -> Result<Vec<(UploadId, UploadRow)>, T::Error> {
    let mut span = Span::prefix(escaped(bucket, prefix, KeyEnd::Open));
    if let Some((key, upload)) = after {
        span = span.after(&(bucket, key, upload));
    }
    Ok(t.scan::<Uploads>(&span, limit)?.into_iter().map(|((_, _, upload), row)| (upload, row)).collect())
}

/// Parts of an upload with numbers above `after`.
pub fn parts<T: Tables>(
    t: &T,
    upload: UploadId,
    after: u16,
    limit: usize,
) -> Result<Vec<(u16, PartRow)>, T::Error> {
    let span = Span::prefix(upload.0.to_vec()).after(&(upload, after));
    Ok(t.scan::<Parts>(&span, limit)?.into_iter().map(|((_, number), row)| (number, row)).collect())
}

/// What is not whole in a stripe.
pub fn todo<T: Tables>(t: &T, chunk: ChunkId) -> Result<Option<TodoRow>, T::Error> {
    t.get::<Todos>(&chunk)
}

/// Stripes that are not whole, after that one.
pub fn todos<T: Tables>(
    t: &T,
    after: Option<ChunkId>,
    limit: usize,
) -> Result<Vec<(ChunkId, TodoRow)>, T::Error> {
    t.scan::<Todos>(&behind(after), limit)
}

/// A lease.
pub fn lease<T: Tables>(t: &T, name: &str) -> Result<Option<LeaseRow>, T::Error> {
    t.get::<Leases>(&name.to_owned())
}

/// An access key.
pub fn access_key<T: Tables>(t: &T, id: &str) -> Result<Option<AccessKeyRow>, T::Error> {
    t.get::<AccessKeys>(&id.to_owned())
}

/// Access keys after that one.
pub fn access_keys<T: Tables>(
    t: &T,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, AccessKeyRow)>, T::Error> {
    t.scan::<AccessKeys>(&behind(after.map(str::to_owned)), limit)
}

/// A setting: its revision and bytes.
pub fn setting<T: Tables>(t: &T, name: &str) -> Result<Option<(u64, Vec<u8>)>, T::Error> {
    Ok(t.get::<Settings>(&name.to_owned())?.map(|row| (row.revision, row.value)))
}

/// The meta generation that began last; 0 before the first.
pub fn generation<T: Tables>(t: &T) -> Result<u64, T::Error> {
    Ok(t.get::<States>(&())?.map_or(0, |row| row.generation))
}

fn behind(after: Option<impl TableKey>) -> Span {
    match after {
        Some(key) => Span::default().after(&key),
        None => Span::default(),
    }
}
