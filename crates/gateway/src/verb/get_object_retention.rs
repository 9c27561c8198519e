//! GetObjectRetention: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectRetention.html>
//!
//! Buckets have no Object Lock here.

use s3s::dto::{GetObjectRetentionInput, GetObjectRetentionOutput};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::auth::Call;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<GetObjectRetentionInput>,
) -> S3Result<S3Response<GetObjectRetentionOutput>> {
    gate.client.bucket(&call.input.bucket).await.map_err(|error| call.refuse(error))?;
    Err(s3_error!(InvalidRequest, "Bucket is missing Object Lock Configuration."))
}
