//! ListObjects (version 1): <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjects.html>

use pangea_client::List;
use s3s::dto::{ListObjectsInput, ListObjectsOutput};
use s3s::{S3Response, S3Result};

use crate::access::Action;
use crate::adapter::Gate;
use crate::auth::Call;
use crate::listing::{self, Encoding};

pub(crate) async fn run(
    gate: &Gate,
    call: Call<ListObjectsInput>,
) -> S3Result<S3Response<ListObjectsOutput>> {
    let input = &call.input;
    let limit = listing::limit("max-keys", input.max_keys)?;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let prefix = input.prefix.as_deref().unwrap_or_default();
    call.require(&gate.client, Action::List, &input.bucket, prefix).await?;
    let bucket = gate.client.bucket(&input.bucket).await.map_err(|error| call.refuse(error))?;
    // An empty delimiter or marker is none.
    let delimiter = input.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
    let marker = input.marker.as_deref().filter(|marker| !marker.is_empty());
    let list = List {
        prefix: input.prefix.clone().unwrap_or_default().into_bytes(),
        delimiter: delimiter.unwrap_or_default().into(),
        after: marker.map(Into::into),
        limit,
    };
    let page = gate.client.list(&input.bucket, list).await.map_err(|error| call.refuse(error))?;
    let owner = listing::owner(&bucket.owner);
    let (contents, prefixes) = listing::sort(page.entries, encoding, Some(&owner));
    Ok(S3Response::new(ListObjectsOutput {
        name: Some(input.bucket.clone()),
        prefix: Some(encoding.name(input.prefix.as_deref().unwrap_or_default().as_bytes())),
        marker: Some(encoding.name(marker.unwrap_or_default().as_bytes())),
        max_keys: i32::try_from(limit).ok(),
        is_truncated: Some(page.next.is_some()),
        contents: Some(contents),
        common_prefixes: Some(prefixes),
        delimiter: delimiter.map(|delimiter| encoding.name(delimiter.as_bytes())),
        next_marker: page.next.map(|next| encoding.name(&next)),
        encoding_type: encoding.told(),
        ..ListObjectsOutput::default()
    }))
}
