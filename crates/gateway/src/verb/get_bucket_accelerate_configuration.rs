//! GetBucketAccelerateConfiguration: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketAccelerateConfiguration.html>
//!
//! Never accelerated.

use s3s::dto::{GetBucketAccelerateConfigurationInput, GetBucketAccelerateConfigurationOutput};
use s3s::{S3Response, S3Result};

use crate::adapter::Gate;
use crate::auth::Call;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<GetBucketAccelerateConfigurationInput>,
) -> S3Result<S3Response<GetBucketAccelerateConfigurationOutput>> {
    gate.client.bucket(&call.input.bucket).await.map_err(|error| call.refuse(error))?;
    Ok(S3Response::new(GetBucketAccelerateConfigurationOutput::default()))
}
