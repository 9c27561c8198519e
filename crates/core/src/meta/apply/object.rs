//! Objects: what a put and a delete do to a key's head and to its older versions.
//!
//! ```text
//!             Off                     Suspended                         Enabled
//! put         replaces the head       replaces the null version,       becomes the head; the old
//!                                     wherever it stands; any other    head becomes an older version
//!                                     head becomes an older version
//! delete      removes the head        puts a null delete marker        puts a delete marker
//! delete id   removes that version; if it was the head, the newest older version becomes the head
//! ```
//!
//! Older versions exist only below a head. Sequence numbers come from the bucket's counter, so they rise per key even
//! across deleting and making again.

use super::{Outcome, Refusal, Step, blob, bucket, pack, refuse, require};
use crate::ces::item::ITEM_PLAIN_BYTES_MAX;
use crate::id::{BucketId, VersionId};
use crate::meta::command::{Condition, Deleted, NewBlob, NewVersion, VersionSelector};
use crate::meta::reason;
use crate::meta::row::{BlobBody, BucketRow, Content, ETag, Extent, UsageRow, VersionRow, Versioning};
use crate::meta::table_key::{KeyEnd, escaped};
use crate::meta::tables::{Heads, Span, Tables, Typed, Usages, VersionSeqs, Versions};
use crate::seam::WallMs;

/// Under which id the older null version of a key is found.
const NULL: VersionId = VersionId::ZERO;

/// Which key a command is about, and when it was asked.
pub(super) struct Place<'a> {
    pub bucket: BucketId,
    pub key: &'a [u8],
    pub now: WallMs,
}

impl Place<'_> {
    fn head_key(&self) -> (BucketId, Vec<u8>) {
        (self.bucket, self.key.to_vec())
    }
}

/// A version of a key, and whether it is the head.
pub(in crate::meta) fn find_version<T: Tables>(
    t: &T,
    bucket: BucketId,
    key: &[u8],
    selector: VersionSelector,
) -> Result<Option<(VersionRow, bool)>, T::Error> {
    let Some(head) = t.get::<Heads>(&(bucket, key.to_vec()))? else { return Ok(None) };
    let (is_head, id) = match selector {
        VersionSelector::Current => (true, NULL),
        VersionSelector::Null => (head.null, NULL),
        VersionSelector::Id(id) => (head.id == id, id),
    };
    if is_head {
        return Ok(Some((head, true)));
    }
    let Some(seq) = t.get::<VersionSeqs>(&(bucket, key.to_vec(), id))? else { return Ok(None) };
    Ok(t.get::<Versions>(&(bucket, key.to_vec(), seq))?.map(|row| (row, false)))
}

/// Refuses unless the head is what the condition asks for. A delete marker counts as no object.
pub(super) fn check<T: Tables>(t: &T, place: &Place<'_>, condition: &Condition) -> Step<(), T> {
    if *condition == Condition::default() {
        return Ok(());
    }
    let head = t.get::<Heads>(&place.head_key())?.filter(|head| !head.delete_marker);
    let fits = |asked: &Option<ETag>, head: &VersionRow| asked.is_none_or(|etag| etag == head.etag);
    if let Some(asked) = &condition.if_match {
        match &head {
            None => return refuse(Refusal::NoSuchKey),
            Some(head) if !fits(asked, head) => return refuse(Refusal::PreconditionFailed),
            Some(_) => {}
        }
    }
    if let (Some(asked), Some(head)) = (&condition.if_none_match, &head)
        && fits(asked, head)
    {
        return refuse(Refusal::PreconditionFailed);
    }
    Ok(())
}

pub(super) fn put<T: Tables>(
    t: &mut T,
    place: &Place<'_>,
    condition: &Condition,
    version: &NewVersion,
    new: Option<&NewBlob>,
) -> Step<Outcome, T> {
    let bucket = bucket::by_id(t, place.bucket)?;
    check(t, place, condition)?;
    check_size(version)?;
    match (&version.content, new) {
        (Content::Empty, None) => {}
        (Content::Blob(extent), None) => blob::acquire(t, extent)?,
        (Content::Packed(item), None) => pack::hold(t, place, version.id, item)?,
        (Content::Blob(extent), Some(new)) => {
            let composite =
                matches!(new.body, BlobBody::Composite { .. } | BlobBody::CompositeSpilled { .. });
            require(!composite, reason::BLOB_COMPOSITE)?;
            require(extent.blob == new.id, reason::VERSION_CONTENT)?;
            let end = extent.offset.checked_add(extent.len);
            require(end.is_some_and(|end| end <= new.len), reason::EXTENT_OUTSIDE)?;
            blob::bring(t, new, place.now)?;
        }
        (Content::Empty | Content::Packed(_), Some(_)) => {
            return refuse(Refusal::Invalid(reason::VERSION_CONTENT));
        }
    }
    commit(t, place, &bucket, version)
}

/// The same bytes in another blob: nothing that a client sees changes.
pub(super) fn replace_content<T: Tables>(
    t: &mut T,
    place: &Place<'_>,
    version: VersionId,
    seen: &Extent,
    new: &NewBlob,
) -> Step<Outcome, T> {
    let found = find_version(t, place.bucket, place.key, VersionSelector::Id(version))?;
    let Some((mut row, is_head)) = found.filter(|(row, _)| row.content == Content::Blob(*seen)) else {
        return refuse(Refusal::NoSuchKey);
    };
    let composite = matches!(new.body, BlobBody::Composite { .. } | BlobBody::CompositeSpilled { .. });
    require(!composite, reason::BLOB_COMPOSITE)?;
    require(row.size == new.len, reason::VERSION_SIZE)?;
    blob::bring(t, new, place.now)?;
    blob::release(t, seen.blob, place.now)?;
    row.content = Content::Blob(Extent { blob: new.id, offset: 0, len: new.len });
    rewrite(t, place, &row, is_head)?;
    Ok(Outcome::Done)
}

/// Whether the version's size is its content's.
pub(super) fn check_size<E>(version: &NewVersion) -> Result<(), super::Stop<E>> {
    let fits = match &version.content {
        Content::Empty => version.size == 0,
        Content::Blob(extent) => version.size == extent.len,
        Content::Packed(_) => (1..=u64::from(ITEM_PLAIN_BYTES_MAX)).contains(&version.size),
    };
    require(fits, reason::VERSION_SIZE)
}

/// Makes `version` the head; its content's reference is already taken.
pub(super) fn commit<T: Tables>(
    t: &mut T,
    place: &Place<'_>,
    bucket: &BucketRow,
    version: &NewVersion,
) -> Step<Outcome, T> {
    let row = VersionRow {
        id: version.id,
        null: false,
        seq: 0,
        delete_marker: false,
        created_ms: place.now,
        size: version.size,
        etag: version.etag,
        content: version.content.clone(),
        attributes: version.attributes.clone(),
        part_sizes: version.part_sizes.clone(),
    };
    let null = become_head(t, place, bucket, row)?;
    Ok(Outcome::Committed { version: version.id, null, versioned: bucket.versioning != Versioning::Off })
}

/// Puts `row` on top of the key's versions; tells whether it became the null version.
fn become_head<T: Tables>(
    t: &mut T,
    place: &Place<'_>,
    bucket: &BucketRow,
    mut row: VersionRow,
) -> Step<bool, T> {
    require(row.id != NULL, reason::VERSION_ID_ZERO)?;
    let taken = find_version(t, place.bucket, place.key, VersionSelector::Id(row.id))?;
    require(taken.is_none(), reason::VERSION_ID_TAKEN)?;
    let mut usage = usage(t, place.bucket)?;
    usage.last_seq += 1;
    row.seq = usage.last_seq;
    row.null = bucket.versioning != Versioning::Enabled;
    let old = t.get::<Heads>(&place.head_key())?;
    if row.null
        && let Some((null, is_head)) = find_version(t, place.bucket, place.key, VersionSelector::Null)?
    {
        if !is_head {
            remove_older(t, place, &null)?;
        }
        forget(t, place, &mut usage, &null)?;
    }
    match old {
        None => usage.heads += 1,
        Some(old) if row.null && old.null => {} // replaced
        Some(old) => keep_older(t, place, &old)?,
    }
    count(&mut usage, &row, true);
    t.put::<Heads>(&place.head_key(), &row)?;
    t.put::<Usages>(&place.bucket, &usage)?;
    Ok(row.null)
}

pub(super) fn delete<T: Tables>(
    t: &mut T,
    place: &Place<'_>,
    condition: &Condition,
    selector: VersionSelector,
    marker: VersionId,
) -> Step<Outcome, T> {
    let bucket = bucket::by_id(t, place.bucket)?;
    check(t, place, condition)?;
    if selector == VersionSelector::Current && bucket.versioning != Versioning::Off {
        return put_marker(t, place, &bucket, marker);
    }
    let Some((gone, is_head)) = find_version(t, place.bucket, place.key, selector)? else {
        let null = selector == VersionSelector::Null;
        return Ok(Outcome::Deleted(Deleted { version: None, null, marker: false }));
    };
    let mut usage = usage(t, place.bucket)?;
    if is_head {
        promote(t, place, &mut usage)?;
    } else {
        remove_older(t, place, &gone)?;
    }
    forget(t, place, &mut usage, &gone)?;
    t.put::<Usages>(&place.bucket, &usage)?;
    Ok(Outcome::Deleted(Deleted { version: Some(gone.id), null: gone.null, marker: gone.delete_marker }))
}

/// Sets or removes one attribute where the version stands: its id, its place and its bytes stay.
pub(super) fn set_attribute<T: Tables>(
    t: &mut T,
    place: &Place<'_>,
    selector: VersionSelector,
    name: &str,
    value: Option<&str>,
) -> Step<Outcome, T> {
    let versioned = bucket::by_id(t, place.bucket)?.versioning != Versioning::Off;
    let found = find_version(t, place.bucket, place.key, selector)?;
    let Some((mut row, is_head)) = found.filter(|(row, _)| !row.delete_marker) else {
        return refuse(Refusal::NoSuchKey);
    };
    row.attributes.retain(|(known, _)| known != name);
    if let Some(value) = value {
        let at = row.attributes.partition_point(|(known, _)| known.as_str() < name);
        row.attributes.insert(at, (name.to_owned(), value.to_owned()));
    }
    if is_head {
        t.put::<Heads>(&place.head_key(), &row)?;
    } else {
        let (bucket, key) = place.head_key();
        t.put::<Versions>(&(bucket, key, row.seq), &row)?;
    }
    Ok(Outcome::Committed { version: row.id, null: row.null, versioned })
}

fn put_marker<T: Tables>(
    t: &mut T,
    place: &Place<'_>,
    bucket: &BucketRow,
    marker: VersionId,
) -> Step<Outcome, T> {
    let row = VersionRow {
        id: marker,
        null: false,
        seq: 0,
        delete_marker: true,
        created_ms: place.now,
        size: 0,
        etag: ETag { md5: [0; 16], parts: 0 },
        content: Content::Empty,
        attributes: Vec::new(),
        part_sizes: Vec::new(),
    };
    let null = become_head(t, place, bucket, row)?;
    Ok(Outcome::Deleted(Deleted { version: Some(marker), null, marker: true }))
}

/// Writes a version again where it stands: other content, the same bytes.
pub(super) fn rewrite<T: Tables>(
    t: &mut T,
    place: &Place<'_>,
    row: &VersionRow,
    is_head: bool,
) -> Step<(), T> {
    let (bucket, key) = place.head_key();
    if is_head {
        t.put::<Heads>(&(bucket, key), row)?;
    } else {
        t.put::<Versions>(&(bucket, key, row.seq), row)?;
    }
    Ok(())
}

/// The head is gone: the newest older version takes its place, or the key is no more.
fn promote<T: Tables>(t: &mut T, place: &Place<'_>, usage: &mut UsageRow) -> Step<(), T> {
    let older = Span::prefix(escaped(place.bucket, place.key, KeyEnd::Whole));
    match t.scan::<Versions>(&older, 1)?.pop() {
        Some((_, row)) => {
            remove_older(t, place, &row)?;
            t.put::<Heads>(&place.head_key(), &row)?;
        }
        None => {
            usage.heads -= 1;
            t.remove::<Heads>(&place.head_key())?;
        }
    }
    Ok(())
}

/// Writes a former head among the older versions.
fn keep_older<T: Tables>(t: &mut T, place: &Place<'_>, row: &VersionRow) -> Step<(), T> {
    let (bucket, key) = place.head_key();
    t.put::<Versions>(&(bucket, key.clone(), row.seq), row)?;
    if row.null {
        t.put::<VersionSeqs>(&(bucket, key.clone(), NULL), &row.seq)?;
    }
    t.put::<VersionSeqs>(&(bucket, key, row.id), &row.seq)?;
    Ok(())
}

/// Takes a version out from among the older ones.
fn remove_older<T: Tables>(t: &mut T, place: &Place<'_>, row: &VersionRow) -> Step<(), T> {
    let (bucket, key) = place.head_key();
    t.remove::<Versions>(&(bucket, key.clone(), row.seq))?;
    if row.null {
        t.remove::<VersionSeqs>(&(bucket, key.clone(), NULL))?;
    }
    t.remove::<VersionSeqs>(&(bucket, key, row.id))?;
    Ok(())
}

/// A version is gone for good: it is counted no more and its blob is released.
fn forget<T: Tables>(t: &mut T, place: &Place<'_>, usage: &mut UsageRow, row: &VersionRow) -> Step<(), T> {
    count(usage, row, false);
    match &row.content {
        Content::Empty => Ok(()),
        Content::Blob(extent) => blob::release(t, extent.blob, place.now),
        Content::Packed(item) => pack::let_go(t, place, row.id, item),
    }
}

fn count(usage: &mut UsageRow, row: &VersionRow, here: bool) {
    if row.delete_marker {
        return;
    }
    // The sum of all sizes may exceed 64 bits only for references to one huge blob by billions of copies.
    if here {
        usage.versions += 1;
        usage.bytes = usage.bytes.wrapping_add(row.size);
    } else {
        usage.versions -= 1;
        usage.bytes = usage.bytes.wrapping_sub(row.size);
    }
}

/// What the bucket holds.
pub(super) fn usage<T: Tables>(t: &T, bucket: BucketId) -> Step<UsageRow, T> {
    match t.get::<Usages>(&bucket)? {
        Some(usage) => Ok(usage),
        None => refuse(Refusal::NoSuchBucket),
    }
}
