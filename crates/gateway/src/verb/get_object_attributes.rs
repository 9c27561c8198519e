//! GetObjectAttributes: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html>
//!
//! The sizes of parts are kept with a version, their checksums are not: AWS shows those only for uploads that asked for
//! them, and SDKs take their absence.

use s3s::dto::{
    GetObjectAttributesInput, GetObjectAttributesOutput, GetObjectAttributesParts, ObjectAttributes,
    ObjectPart, StorageClass,
};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::attributes::{checksum, signed, time};
use crate::auth::Call;
use crate::options::{PAGE_MAX, PART_NUMBER_MAX};
use crate::reading::is_marker;
use crate::{condition, listing, names};

pub(crate) async fn run(
    gate: &Gate,
    call: Call<GetObjectAttributesInput>,
) -> S3Result<S3Response<GetObjectAttributesOutput>> {
    let input = &call.input;
    let wanted = Wanted::of(&input.object_attributes)?;
    if input.sse_customer_algorithm.is_some() || input.sse_customer_key.is_some() {
        return Err(s3_error!(NotImplemented, "SSE-C is not implemented by this server."));
    }
    let limit = listing::limit("x-amz-max-parts", input.max_parts)?;
    let after = input.part_number_marker.unwrap_or(0);
    let after = u16::try_from(after).ok().filter(|after| *after <= PART_NUMBER_MAX).ok_or_else(|| {
        s3_error!(InvalidArgument, "x-amz-part-number-marker goes from 0 to {PART_NUMBER_MAX}.")
    })?;
    let selector = names::version(input.version_id.as_deref())?;
    let object = gate.client.object(&input.bucket, input.key.as_bytes(), selector).await;
    let object = object.map_err(|error| call.refuse(error))?;
    let version = &object.version;
    if version.delete_marker {
        return Err(is_marker(&object));
    }
    let shown = checksum(&version.attributes);
    let has_checksum = shown.checksum_type.is_some();
    let mut parts = (wanted.parts && version.etag.parts > 0)
        .then(|| page(&version.part_sizes, usize::from(after), limit));
    if let Some(parts) = &mut parts {
        parts.max_parts = i32::try_from(limit.min(PAGE_MAX)).ok();
    }
    Ok(S3Response::new(GetObjectAttributesOutput {
        checksum: (wanted.checksum && has_checksum).then_some(shown),
        // Without the quotes that headers have, as AWS writes it.
        e_tag: wanted.etag.then(|| condition::told(version.etag)),
        last_modified: Some(time(version.created_ms)),
        object_parts: parts,
        object_size: wanted.size.then(|| signed(version.size)),
        storage_class: wanted.class.then(|| StorageClass::from_static(StorageClass::STANDARD)),
        version_id: names::told_version(object.bucket.versioning, version),
        ..GetObjectAttributesOutput::default()
    }))
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Wanted {
    etag: bool,
    checksum: bool,
    parts: bool,
    size: bool,
    class: bool,
}

impl Wanted {
    fn of(names: &[ObjectAttributes]) -> S3Result<Self> {
        if names.is_empty() {
            return Err(s3_error!(InvalidArgument, "Name the attributes in x-amz-object-attributes."));
        }
        let mut wanted = Self::default();
        for name in names.iter().flat_map(|name| name.as_str().split(',')).map(str::trim) {
            match name {
                ObjectAttributes::ETAG => wanted.etag = true,
                ObjectAttributes::CHECKSUM => wanted.checksum = true,
                ObjectAttributes::OBJECT_PARTS => wanted.parts = true,
                ObjectAttributes::OBJECT_SIZE => wanted.size = true,
                ObjectAttributes::STORAGE_CLASS => wanted.class = true,
                _ => return Err(s3_error!(InvalidArgument, "Invalid attribute name specified.")),
            }
        }
        Ok(wanted)
    }
}

/// Parts are counted anew from 1 when an upload is completed: which numbers they had is not kept.
fn page(sizes: &[(u64, u32)], after: usize, limit: usize) -> GetObjectAttributesParts {
    let total: usize = sizes.iter().map(|(_, count)| *count as usize).sum();
    let all = sizes.iter().flat_map(|(bytes, count)| std::iter::repeat_n(*bytes, *count as usize));
    let part = |(at, bytes): (usize, u64)| ObjectPart {
        part_number: i32::try_from(at + 1).ok(),
        size: Some(signed(bytes)),
        ..ObjectPart::default()
    };
    let parts: Vec<ObjectPart> = all.enumerate().skip(after).take(limit).map(part).collect();
    let last = after + parts.len();
    let number = |number: usize| i32::try_from(number).ok();
    GetObjectAttributesParts {
        is_truncated: Some(last < total),
        max_parts: None,
        next_part_number_marker: number(last),
        part_number_marker: number(after),
        parts: Some(parts),
        total_parts_count: number(total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_shown_by_pages() {
        let sizes = [(5, 3), (2, 1)];
        let shown = |after, limit| {
            let page = page(&sizes, after, limit);
            let parts = page.parts.unwrap_or_default();
            let parts: Vec<_> = parts.iter().map(|part| (part.part_number, part.size)).collect();
            (parts, page.is_truncated, page.next_part_number_marker, page.total_parts_count)
        };
        let part = |number, size| (Some(number), Some(size));
        let all = vec![part(1, 5), part(2, 5), part(3, 5), part(4, 2)];
        assert_eq!(shown(0, 1000), (all.clone(), Some(false), Some(4), Some(4)));
        assert_eq!(shown(0, 2), (all[..2].to_vec(), Some(true), Some(2), Some(4)));
        assert_eq!(shown(2, 2), (all[2..].to_vec(), Some(false), Some(4), Some(4)));
        assert_eq!(shown(9, 2), (vec![], Some(false), Some(9), Some(4)));
    }

    #[test]
    fn unknown_attributes_are_refused() {
        let of = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| ObjectAttributes::from((*name).to_owned())).collect();
            Wanted::of(&names).map_err(|error| error.code().as_str().to_owned())
        };
        assert_eq!(of(&["ETag", "ObjectSize"]), Ok(Wanted { etag: true, size: true, ..Wanted::default() }));
        for bad in [&[][..], &["etag"], &["ETag", "Colour"]] {
            assert_eq!(of(bad), Err("InvalidArgument".to_owned()), "{bad:?}");
        }
    }
}
