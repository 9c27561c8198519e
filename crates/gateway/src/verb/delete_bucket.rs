//! DeleteBucket: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucket.html>

use s3s::dto::{DeleteBucketInput, DeleteBucketOutput};
use s3s::{S3Response, S3Result};

use crate::adapter::Gate;
use crate::auth::Call;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<DeleteBucketInput>,
) -> S3Result<S3Response<DeleteBucketOutput>> {
    gate.client.delete_bucket(&call.input.bucket).await.map_err(|error| call.refuse(error))?;
    Ok(S3Response::new(DeleteBucketOutput::default()))
}
