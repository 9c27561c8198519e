//! Multipart uploads: parts hold references, and completing passes them on.
//!
//! Completing turns the listed parts, in order and without the empty ones, into the version's content: nothing, the one
//! part's own slice, or a composite of all slices. The listed parts' references pass to it one by one, so a blob that is
//! listed twice is referenced twice. Parts that are not listed are released.

use std::collections::BTreeMap;

use super::object::{self, usage};
use super::{Outcome, PART_NUMBER_MAX, Refusal, Step, blob, bucket, refuse, require};
use crate::id::{BucketId, UploadId};
use crate::meta::command::{Condition, NewBlob, NewVersion, PartRef};
use crate::meta::reason;
use crate::meta::row::{BlobBody, Content, Extent, PartRow, UploadRow};
use crate::meta::tables::{Parts, Span, Tables, Typed, Uploads, Usages};
use crate::seam::WallMs;

/// Which upload a command is about, and when it was asked.
pub(super) struct Place<'a> {
    pub bucket: BucketId,
    pub key: &'a [u8],
    pub upload: UploadId,
    pub now: WallMs,
}

impl Place<'_> {
    fn row_key(&self) -> (BucketId, Vec<u8>, UploadId) {
        (self.bucket, self.key.to_vec(), self.upload)
    }

    /// Refuses unless the upload is in progress.
    fn find<T: Tables>(&self, t: &T) -> Step<(), T> {
        if t.get::<Uploads>(&self.row_key())?.is_none() {
            return refuse(Refusal::NoSuchUpload);
        }
        Ok(())
    }
}

pub(super) fn create<T: Tables>(t: &mut T, upload: UploadId, row: &UploadRow) -> Step<Outcome, T> {
    bucket::by_id(t, row.bucket)?;
    let key = (row.bucket, row.key.clone(), upload);
    require(upload != UploadId::ZERO && t.get::<Uploads>(&key)?.is_none(), reason::UPLOAD_ID_TAKEN)?;
    // Parts are kept by upload id alone, so an id that still has parts cannot be shared by two keys.
    require(parts_of(t, upload, 1)?.is_empty(), reason::UPLOAD_ID_TAKEN)?;
    t.put::<Uploads>(&key, row)?;
    let mut usage = usage(t, row.bucket)?;
    usage.uploads += 1;
    t.put::<Usages>(&row.bucket, &usage)?;
    Ok(Outcome::Done)
}

pub(super) fn put_part<T: Tables>(
    t: &mut T,
    place: &Place<'_>,
    number: u16,
    part: &PartRow,
    new: Option<&NewBlob>,
) -> Step<Outcome, T> {
    bucket::by_id(t, place.bucket)?;
    place.find(t)?;
    require((1..=PART_NUMBER_MAX).contains(&number), reason::PART_NUMBER)?;
    require(part.size == part.content.map_or(0, |extent| extent.len), reason::PART_CONTENT)?;
    match (part.content, new) {
        (None, None) => {}
        (Some(extent), None) => blob::acquire(t, &extent)?,
        (None, Some(_)) => return refuse(Refusal::Invalid(reason::PART_CONTENT)),
        (Some(extent), Some(new)) => {
            let composite =
                matches!(new.body, BlobBody::Composite { .. } | BlobBody::CompositeSpilled { .. });
            require(!composite, reason::BLOB_COMPOSITE)?;
            require(extent.blob == new.id, reason::PART_CONTENT)?;
            let end = extent.offset.checked_add(extent.len);
            require(end.is_some_and(|end| end <= new.len), reason::EXTENT_OUTSIDE)?;
            blob::bring(t, new, place.now)?;
        }
    }
    // Released after the new reference is taken: a part may be replaced by a slice of the same blob.
    let old = t.get::<Parts>(&(place.upload, number))?;
    release_part(t, old.as_ref(), place.now)?;
    t.put::<Parts>(&(place.upload, number), part)?;
    Ok(Outcome::Done)
}

pub(super) fn complete<T: Tables>(
    t: &mut T,
    place: &Place<'_>,
    condition: &Condition,
    listed: &[PartRef],
    version: &NewVersion,
    new: Option<&NewBlob>,
) -> Step<Outcome, T> {
    let bucket = bucket::by_id(t, place.bucket)?;
    place.find(t)?;
    if listed.is_empty() || !listed.is_sorted_by(|a, b| a.number < b.number) {
        return refuse(Refusal::InvalidPartOrder);
    }
    let mut parts: BTreeMap<u16, PartRow> =
        parts_of(t, place.upload, usize::from(PART_NUMBER_MAX))?.into_iter().collect();
    let mut slices = Vec::with_capacity(listed.len());
    for part in listed {
        // The references of listed parts pass on: only their rows go.
        let Some(row) = parts.remove(&part.number).filter(|row| row.content.map(|e| e.blob) == part.blob)
        else {
            return refuse(Refusal::InvalidPart { number: part.number });
        };
        slices.extend(row.content);
        t.remove::<Parts>(&(place.upload, part.number))?;
    }
    let object = object::Place { bucket: place.bucket, key: place.key, now: place.now };
    object::check(t, &object, condition)?;
    object::check_size(version)?;
    take_content(t, &slices, version, new, place.now)?;
    close(t, place, &parts)?;
    object::commit(t, &object, &bucket, version)
}

/// Checks that the version is the listed slices, and brings the composite that holds them.
fn take_content<T: Tables>(
    t: &mut T,
    slices: &[Extent],
    version: &NewVersion,
    new: Option<&NewBlob>,
    now: WallMs,
) -> Step<(), T> {
    let Some(new) = new else {
        let content = match slices {
            [] => Content::Empty,
            [slice] => Content::Blob(*slice),
            _ => return refuse(Refusal::Invalid(reason::COMPOSITE_PARTS)),
        };
        return require(version.content == content, reason::VERSION_CONTENT);
    };
    let same = match &new.body {
        BlobBody::Composite { parts } => parts == slices,
        BlobBody::CompositeSpilled { parts, .. } => *parts as usize == slices.len(),
        BlobBody::Inline { .. } | BlobBody::Chunked { .. } | BlobBody::ChunkedSpilled { .. } => false,
    };
    let bytes = slices.iter().try_fold(0u64, |sum, slice| sum.checked_add(slice.len));
    require(same && !slices.is_empty() && bytes == Some(new.len), reason::COMPOSITE_PARTS)?;
    let whole = Content::Blob(Extent { blob: new.id, offset: 0, len: new.len });
    require(version.content == whole, reason::VERSION_CONTENT)?;
    blob::bring(t, new, now)
}

pub(super) fn abort<T: Tables>(t: &mut T, place: &Place<'_>) -> Step<Outcome, T> {
    bucket::by_id(t, place.bucket)?;
    place.find(t)?;
    let parts = parts_of(t, place.upload, usize::from(PART_NUMBER_MAX))?.into_iter().collect();
    close(t, place, &parts)?;
    Ok(Outcome::Done)
}

/// Removes the upload and releases the parts that are left over.
fn close<T: Tables>(t: &mut T, place: &Place<'_>, left_over: &BTreeMap<u16, PartRow>) -> Step<(), T> {
    for (number, row) in left_over {
        release_part(t, Some(row), place.now)?;
        t.remove::<Parts>(&(place.upload, *number))?;
    }
    t.remove::<Uploads>(&place.row_key())?;
    let mut usage = usage(t, place.bucket)?;
    usage.uploads -= 1;
    t.put::<Usages>(&place.bucket, &usage)?;
    Ok(())
}

fn parts_of<T: Tables>(t: &T, upload: UploadId, limit: usize) -> Step<Vec<(u16, PartRow)>, T> {
    let parts = t.scan::<Parts>(&Span::prefix(upload.0.to_vec()), limit)?;
    Ok(parts.into_iter().map(|((_, number), row)| (number, row)).collect())
}

fn release_part<T: Tables>(t: &mut T, part: Option<&PartRow>, now: WallMs) -> Step<(), T> {
    match part.and_then(|row| row.content) {
        Some(extent) => blob::release(t, extent.blob, now),
        None => Ok(()),
    }
}
