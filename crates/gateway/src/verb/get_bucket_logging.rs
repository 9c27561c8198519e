//! GetBucketLogging: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLogging.html>
//!
//! Requests are logged for the operator, not into buckets.

use s3s::dto::{GetBucketLoggingInput, GetBucketLoggingOutput};
use s3s::{S3Response, S3Result};

use crate::adapter::Gate;
use crate::auth::Call;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<GetBucketLoggingInput>,
) -> S3Result<S3Response<GetBucketLoggingOutput>> {
    gate.client.bucket(&call.input.bucket).await.map_err(|error| call.refuse(error))?;
    Ok(S3Response::new(GetBucketLoggingOutput::default()))
}
