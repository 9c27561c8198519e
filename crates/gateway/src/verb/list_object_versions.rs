//! ListObjectVersions: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html>

use pangea_client::{ListVersions, VersionEntry};
use pangea_core::meta::VersionRow;
use s3s::dto::{
    CommonPrefix, DeleteMarkerEntry, ListObjectVersionsInput, ListObjectVersionsOutput, ObjectVersion,
    ObjectVersionStorageClass, Owner,
};
use s3s::{S3Response, S3Result, s3_error};

use crate::access::Action;
use crate::adapter::Gate;
use crate::attributes::{signed, time};
use crate::auth::Call;
use crate::condition::told;
use crate::listing::{self, Encoding};
use crate::names;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<ListObjectVersionsInput>,
) -> S3Result<S3Response<ListObjectVersionsOutput>> {
    let input = &call.input;
    let limit = listing::limit("max-keys", input.max_keys)?;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let prefix = input.prefix.as_deref().unwrap_or_default();
    call.require(&gate.client, Action::List, &input.bucket, prefix).await?;
    // An empty delimiter or marker is none.
    let delimiter = input.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
    let key_marker = input.key_marker.as_deref().filter(|marker| !marker.is_empty());
    let version_marker = input.version_id_marker.as_deref().filter(|marker| !marker.is_empty());
    let after = match (key_marker, version_marker) {
        (None, None) => None,
        (Some(key), None) => Some((key.as_bytes().to_vec(), None)),
        (Some(key), version) => Some((key.as_bytes().to_vec(), Some(names::version(version)?))),
        (None, Some(_)) => {
            return Err(s3_error!(
                InvalidArgument,
                "A version-id marker cannot be specified without a key marker."
            ));
        }
    };
    let bucket = gate.client.bucket(&input.bucket).await.map_err(|error| call.refuse(error))?;
    let list =
        ListVersions { prefix: prefix.into(), delimiter: delimiter.unwrap_or_default().into(), after, limit };
    let page = gate.client.list_versions(&input.bucket, list).await.map_err(|error| call.refuse(error))?;
    let (next_key, next_version) = match page.entries.last().filter(|_| page.more) {
        None => (None, None),
        Some(VersionEntry::Prefix(prefix)) => (Some(encoding.name(prefix)), None),
        Some(VersionEntry::Version(key, row, _)) => {
            (Some(encoding.name(key)), Some(names::version_text(row.id, row.null)))
        }
    };
    let sorted = sort(page.entries, encoding, &listing::owner(&bucket.owner));
    Ok(S3Response::new(ListObjectVersionsOutput {
        name: Some(input.bucket.clone()),
        prefix: Some(encoding.name(prefix.as_bytes())),
        key_marker: Some(encoding.name(key_marker.unwrap_or_default().as_bytes())),
        version_id_marker: Some(version_marker.unwrap_or_default().to_owned()),
        max_keys: i32::try_from(limit).ok(),
        is_truncated: Some(page.more),
        next_key_marker: next_key,
        next_version_id_marker: next_version,
        versions: Some(sorted.versions),
        delete_markers: Some(sorted.markers),
        common_prefixes: Some(sorted.prefixes),
        delimiter: delimiter.map(|delimiter| encoding.name(delimiter.as_bytes())),
        encoding_type: encoding.told(),
        ..ListObjectVersionsOutput::default()
    }))
}

#[derive(Default)]
struct Sorted {
    versions: Vec<ObjectVersion>,
    markers: Vec<DeleteMarkerEntry>,
    prefixes: Vec<CommonPrefix>,
}

fn sort(entries: Vec<VersionEntry>, encoding: Encoding, owner: &Owner) -> Sorted {
    let mut sorted = Sorted::default();
    for entry in entries {
        match entry {
            VersionEntry::Prefix(prefix) => {
                sorted.prefixes.push(CommonPrefix { prefix: Some(encoding.name(&prefix)) })
            }
            VersionEntry::Version(key, row, current) if row.delete_marker => {
                sorted.markers.push(DeleteMarkerEntry {
                    is_latest: Some(current),
                    key: Some(encoding.name(&key)),
                    last_modified: Some(time(row.created_ms)),
                    owner: Some(owner.clone()),
                    version_id: Some(names::version_text(row.id, row.null)),
                })
            }
            VersionEntry::Version(key, row, current) => {
                sorted.versions.push(version(encoding.name(&key), &row, current, owner))
            }
        }
    }
    sorted
}

fn version(key: String, row: &VersionRow, current: bool, owner: &Owner) -> ObjectVersion {
    ObjectVersion {
        e_tag: Some(told(row.etag)),
        is_latest: Some(current),
        key: Some(key),
        last_modified: Some(time(row.created_ms)),
        owner: Some(owner.clone()),
        size: Some(signed(row.size)),
        storage_class: Some(ObjectVersionStorageClass::from_static(ObjectVersionStorageClass::STANDARD)),
        version_id: Some(names::version_text(row.id, row.null)),
        ..ObjectVersion::default()
    }
}
