//! PutBucketTagging: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketTagging.html>

use s3s::dto::{PutBucketTaggingInput, PutBucketTaggingOutput};
use s3s::{S3Response, S3Result};

use crate::adapter::Gate;
use crate::auth::Call;
use crate::tags::{BUCKET_TAGS_MAX, TAGGING, Tags};

pub(crate) async fn run(
    gate: &Gate,
    call: Call<PutBucketTaggingInput>,
) -> S3Result<S3Response<PutBucketTaggingOutput>> {
    let tags = Tags::of_document(&call.input.tagging.tag_set, BUCKET_TAGS_MAX)?;
    let kept = tags.kept().map(String::into_bytes);
    let done = gate.client.set_document(&call.input.bucket, TAGGING, kept).await;
    done.map_err(|error| call.refuse(error))?;
    Ok(S3Response::new(PutBucketTaggingOutput::default()))
}
