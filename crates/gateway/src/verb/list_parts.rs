//! ListParts: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html>

use pangea_core::meta::{ETag, PartRow};
use s3s::dto::{
    ChecksumAlgorithm, ChecksumType, Initiator, ListPartsInput, ListPartsOutput, Part, StorageClass,
};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::attributes::{checksum, show_checksum, signed, time};
use crate::auth::Call;
use crate::checksum::{ALGORITHM, TYPE};
use crate::{condition, listing, names};

pub(crate) async fn run(gate: &Gate, call: Call<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
    let input = &call.input;
    let limit = listing::limit("max-parts", input.max_parts)?;
    let after = u16::try_from(input.part_number_marker.unwrap_or_default())
        .map_err(|_| s3_error!(InvalidArgument, "part-number-marker is the number of a part."))?;
    let upload_id = names::upload(&input.upload_id)?;
    let (bucket, key) = (&input.bucket, input.key.as_bytes());
    let upload = gate.client.upload(bucket, key, upload_id).await.map_err(|error| call.refuse(error))?;
    let found = gate.client.parts(bucket, key, upload_id, after, limit).await;
    let (parts, more) = found.map_err(|error| call.refuse(error))?;
    let stored =
        |name: &str| upload.attributes.iter().find(|(known, _)| known == name).map(|(_, v)| v.clone());
    // A page of nothing leads nowhere.
    let more = more && limit > 0;
    Ok(S3Response::new(ListPartsOutput {
        bucket: Some(bucket.clone()),
        checksum_algorithm: stored(ALGORITHM).map(ChecksumAlgorithm::from),
        checksum_type: stored(TYPE).map(ChecksumType::from),
        initiator: Some(Initiator {
            display_name: Some(upload.owner.clone()),
            id: Some(upload.owner.clone()),
        }),
        is_truncated: Some(more),
        key: Some(input.key.clone()),
        max_parts: i32::try_from(limit).ok(),
        next_part_number_marker: parts.last().filter(|_| more).map(|(number, _)| i32::from(*number)),
        owner: Some(listing::owner(&upload.owner)),
        part_number_marker: Some(i32::from(after)),
        parts: Some(parts.iter().map(|(number, row)| told(*number, row)).collect()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        upload_id: Some(input.upload_id.clone()),
        ..ListPartsOutput::default()
    }))
}

fn told(number: u16, row: &PartRow) -> Part {
    let mut part = Part {
        e_tag: Some(condition::told(ETag { md5: row.md5, parts: 0 })),
        last_modified: Some(time(row.created_ms)),
        part_number: Some(i32::from(number)),
        size: Some(signed(row.size)),
        ..Part::default()
    };
    show_checksum!(part, checksum(&row.attributes));
    part
}
