//! ListObjectsV2: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>

use pangea_client::List;
use s3s::dto::{ListObjectsV2Input, ListObjectsV2Output};
use s3s::{S3Response, S3Result};

use crate::access::Action;
use crate::adapter::Gate;
use crate::auth::Call;
use crate::listing::{self, Encoding};
use crate::token::{self, Listing};

pub(crate) async fn run(
    gate: &Gate,
    call: Call<ListObjectsV2Input>,
) -> S3Result<S3Response<ListObjectsV2Output>> {
    let input = &call.input;
    let limit = listing::limit("max-keys", input.max_keys)?;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let prefix = input.prefix.as_deref().unwrap_or_default();
    call.require(&gate.client, Action::List, &input.bucket, prefix).await?;
    // An empty delimiter or start is none.
    let delimiter = input.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
    let start = input.start_after.as_deref().filter(|start| !start.is_empty());
    let listing = Listing {
        purpose: "objects",
        bucket: &input.bucket,
        prefix,
        delimiter: delimiter.unwrap_or_default(),
    };
    let after = match input.continuation_token.as_deref().filter(|token| !token.is_empty()) {
        Some(token) => Some(token::open(&gate.token_key, listing, token)?),
        None => start.map(Into::into),
    };
    let bucket = gate.client.bucket(&input.bucket).await.map_err(|error| call.refuse(error))?;
    let list = List { prefix: prefix.into(), delimiter: delimiter.unwrap_or_default().into(), after, limit };
    let page = gate.client.list(&input.bucket, list).await.map_err(|error| call.refuse(error))?;
    let key_count = i32::try_from(page.entries.len()).ok();
    let owner = (input.fetch_owner == Some(true)).then(|| listing::owner(&bucket.owner));
    let (contents, prefixes) = listing::sort(page.entries, encoding, owner.as_ref());
    Ok(S3Response::new(ListObjectsV2Output {
        name: Some(input.bucket.clone()),
        prefix: Some(encoding.name(prefix.as_bytes())),
        max_keys: i32::try_from(limit).ok(),
        key_count,
        continuation_token: input.continuation_token.clone(),
        is_truncated: Some(page.next.is_some()),
        next_continuation_token: page.next.map(|next| token::seal(&gate.token_key, listing, &next)),
        contents: Some(contents),
        common_prefixes: Some(prefixes),
        delimiter: delimiter.map(|delimiter| encoding.name(delimiter.as_bytes())),
        encoding_type: encoding.told(),
        start_after: start.map(|start| encoding.name(start.as_bytes())),
        ..ListObjectsV2Output::default()
    }))
}
