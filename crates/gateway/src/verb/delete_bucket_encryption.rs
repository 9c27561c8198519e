//! DeleteBucketEncryption: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketEncryption.html>
//!
//! What is left is the default, AES256: nothing else can be set.

use s3s::dto::{DeleteBucketEncryptionInput, DeleteBucketEncryptionOutput};
use s3s::{S3Response, S3Result};

use crate::adapter::Gate;
use crate::auth::Call;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<DeleteBucketEncryptionInput>,
) -> S3Result<S3Response<DeleteBucketEncryptionOutput>> {
    gate.client.bucket(&call.input.bucket).await.map_err(|error| call.refuse(error))?;
    Ok(S3Response::new(DeleteBucketEncryptionOutput::default()))
}
