//! GetBucketTagging: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketTagging.html>

use s3s::dto::{GetBucketTaggingInput, GetBucketTaggingOutput};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::auth::Call;
use crate::tags::{TAGGING, Tags};

pub(crate) async fn run(
    gate: &Gate,
    call: Call<GetBucketTaggingInput>,
) -> S3Result<S3Response<GetBucketTaggingOutput>> {
    let bucket = gate.client.bucket(&call.input.bucket).await.map_err(|error| call.refuse(error))?;
    let kept = bucket.documents.iter().find(|(name, _)| name == TAGGING);
    let (_, kept) = kept.ok_or_else(|| s3_error!(NoSuchTagSet, "The bucket has no tags."))?;
    let tag_set = Tags::of_kept(&String::from_utf8_lossy(kept)).document();
    Ok(S3Response::new(GetBucketTaggingOutput { tag_set }))
}
