//! Buckets: making, removing, versioning, documents and keys.

use super::{Outcome, Refusal, Step, refuse, require};
use crate::chunk::Code;
use crate::id::BucketId;
use crate::meta::reason;
use crate::meta::row::{BucketKeyRow, BucketRow, UsageRow, Versioning};
use crate::meta::table_key::{KeyEnd, escaped};
use crate::meta::tables::{
    BucketKeys, BucketNames, Buckets, Heads, Span, Tables, Typed, Uploads, Usages, Versions,
};

/// The bucket of that id.
pub(super) fn by_id<T: Tables>(t: &T, id: BucketId) -> Step<BucketRow, T> {
    let Some(name) = t.get::<BucketNames>(&id)? else { return refuse(Refusal::NoSuchBucket) };
    by_name(t, &name)
}

fn by_name<T: Tables>(t: &T, name: &str) -> Step<BucketRow, T> {
    match t.get::<Buckets>(&name.to_owned())? {
        Some(bucket) => Ok(bucket),
        None => refuse(Refusal::NoSuchBucket),
    }
}

pub(super) fn create<T: Tables>(t: &mut T, bucket: &BucketRow, key: &BucketKeyRow) -> Step<Outcome, T> {
    if let Some(there) = t.get::<Buckets>(&bucket.name)? {
        return refuse(Refusal::BucketExists { owner: there.owner });
    }
    require(bucket.key_generation == 1, reason::BUCKET_KEY_GENERATION)?;
    // The keys of a deleted bucket stay, so they tell whether its id was ever used.
    require(t.get::<BucketKeys>(&(bucket.id, 1))?.is_none(), reason::BUCKET_ID_TAKEN)?;
    t.put::<Buckets>(&bucket.name, bucket)?;
    t.put::<BucketNames>(&bucket.id, &bucket.name)?;
    t.put::<BucketKeys>(&(bucket.id, 1), key)?;
    t.put::<Usages>(&bucket.id, &UsageRow::default())?;
    Ok(Outcome::Done)
}

pub(super) fn delete<T: Tables>(t: &mut T, name: &str) -> Step<Outcome, T> {
    let bucket = by_name(t, name)?;
    let in_bucket = Span::prefix(escaped(bucket.id, b"", KeyEnd::Open));
    let empty = t.scan::<Heads>(&in_bucket, 1)?.is_empty()
        && t.scan::<Versions>(&in_bucket, 1)?.is_empty()
        && t.scan::<Uploads>(&in_bucket, 1)?.is_empty();
    if !empty {
        return refuse(Refusal::BucketNotEmpty);
    }
    t.remove::<Buckets>(&bucket.name)?;
    t.remove::<BucketNames>(&bucket.id)?;
    t.remove::<Usages>(&bucket.id)?;
    Ok(Outcome::Done)
}

pub(super) fn set_versioning<T: Tables>(t: &mut T, name: &str, versioning: Versioning) -> Step<Outcome, T> {
    let mut bucket = by_name(t, name)?;
    require(versioning != Versioning::Off || bucket.versioning == Versioning::Off, reason::VERSIONING_OFF)?;
    bucket.versioning = versioning;
    t.put::<Buckets>(&bucket.name, &bucket)?;
    Ok(Outcome::Done)
}

pub(super) fn set_code<T: Tables>(t: &mut T, name: &str, code: Option<Code>) -> Step<Outcome, T> {
    let mut bucket = by_name(t, name)?;
    bucket.code = code;
    t.put::<Buckets>(&bucket.name, &bucket)?;
    Ok(Outcome::Done)
}

pub(super) fn set_document<T: Tables>(
    t: &mut T,
    name: &str,
    document: &str,
    value: Option<&[u8]>,
) -> Step<Outcome, T> {
    let mut bucket = by_name(t, name)?;
    bucket.documents.retain(|(known, _)| known != document);
    if let Some(value) = value {
        let at = bucket.documents.partition_point(|(known, _)| known.as_str() < document);
        bucket.documents.insert(at, (document.to_owned(), value.to_vec()));
    }
    t.put::<Buckets>(&bucket.name, &bucket)?;
    Ok(Outcome::Done)
}

/// A known generation is rewrapped, even after its bucket is gone; the next one becomes the bucket's own.
pub(super) fn put_key<T: Tables>(
    t: &mut T,
    id: BucketId,
    generation: u32,
    key: &BucketKeyRow,
) -> Step<Outcome, T> {
    if t.get::<BucketKeys>(&(id, generation))?.is_none() {
        let mut bucket = by_id(t, id)?;
        let next = bucket.key_generation.checked_add(1);
        require(Some(generation) == next, reason::BUCKET_KEY_GENERATION)?;
        bucket.key_generation = generation;
        t.put::<Buckets>(&bucket.name, &bucket)?;
    }
    t.put::<BucketKeys>(&(id, generation), key)?;
    Ok(Outcome::Done)
}
