//! DeleteBucketTagging: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketTagging.html>

use s3s::dto::{DeleteBucketTaggingInput, DeleteBucketTaggingOutput};
use s3s::{S3Response, S3Result};

use crate::adapter::Gate;
use crate::auth::Call;
use crate::tags::TAGGING;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<DeleteBucketTaggingInput>,
) -> S3Result<S3Response<DeleteBucketTaggingOutput>> {
    let done = gate.client.set_document(&call.input.bucket, TAGGING, None).await;
    done.map_err(|error| call.refuse(error))?;
    Ok(S3Response::new(DeleteBucketTaggingOutput::default()))
}
