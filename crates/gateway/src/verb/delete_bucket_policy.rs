//! DeleteBucketPolicy: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketPolicy.html>
//!
//! There is never one to delete, which is a success.

use s3s::dto::{DeleteBucketPolicyInput, DeleteBucketPolicyOutput};
use s3s::{S3Response, S3Result};

use crate::adapter::Gate;
use crate::auth::Call;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<DeleteBucketPolicyInput>,
) -> S3Result<S3Response<DeleteBucketPolicyOutput>> {
    gate.client.bucket(&call.input.bucket).await.map_err(|error| call.refuse(error))?;
    Ok(S3Response::new(DeleteBucketPolicyOutput::default()))
}
