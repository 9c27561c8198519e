//! ListBuckets: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListBuckets.html>
//!
//! Only buckets that the caller may see.

use s3s::dto::{Bucket, ListBucketsInput, ListBucketsOutput};
use s3s::{S3Response, S3Result, s3_error};

use crate::access::Action;
use crate::adapter::Gate;
use crate::attributes::time;
use crate::auth::Call;
use crate::listing;
use crate::token::{self, Listing};

/// AWS takes up to ten thousand a page, and gives all when nobody asks for pages.
const BUCKETS_MAX: usize = 10_000;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<ListBucketsInput>,
) -> S3Result<S3Response<ListBucketsOutput>> {
    let input = &call.input;
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let limit = match input.max_buckets {
        None => BUCKETS_MAX,
        Some(asked) => usize::try_from(asked)
            .ok()
            .filter(|asked| (1..=BUCKETS_MAX).contains(asked))
            .ok_or_else(|| s3_error!(InvalidArgument, "max-buckets is between 1 and {BUCKETS_MAX}."))?,
    };
    let listing = Listing { purpose: "buckets", bucket: "", prefix, delimiter: "" };
    let after = match input.continuation_token.as_deref() {
        None => None,
        Some(token) => Some(token::open(&gate.token_key, listing, token)?),
    };
    let mut rows = gate.client.buckets().await.map_err(|error| call.refuse(error))?;
    rows.retain(|row| {
        row.name.starts_with(prefix)
            && after.as_deref().is_none_or(|after| row.name.as_bytes() > after)
            && call.require_in(Action::SeeBucket, row, "").is_ok()
    });
    if input.bucket_region.as_ref().is_some_and(|region| *region != gate.region) {
        rows.clear();
    }
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more);
    let next = last.map(|row| token::seal(&gate.token_key, listing, row.name.as_bytes()));
    let bucket = |row: pangea_core::meta::BucketRow| Bucket {
        bucket_region: Some(gate.region.clone()),
        creation_date: Some(time(row.created_ms)),
        name: Some(row.name),
    };
    Ok(S3Response::new(ListBucketsOutput {
        buckets: Some(rows.into_iter().map(bucket).collect()),
        continuation_token: next,
        owner: Some(listing::owner(&call.principal.access_key)),
        prefix: input.prefix.clone(),
    }))
}
