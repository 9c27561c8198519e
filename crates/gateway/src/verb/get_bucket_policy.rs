//! GetBucketPolicy: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketPolicy.html>
//!
//! Buckets have no policies here: what a key may do stands with the key.

use s3s::dto::{GetBucketPolicyInput, GetBucketPolicyOutput};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::auth::Call;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<GetBucketPolicyInput>,
) -> S3Result<S3Response<GetBucketPolicyOutput>> {
    gate.client.bucket(&call.input.bucket).await.map_err(|error| call.refuse(error))?;
    Err(s3_error!(NoSuchBucketPolicy, "The bucket policy does not exist."))
}
