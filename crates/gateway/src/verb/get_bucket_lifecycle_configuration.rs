//! GetBucketLifecycleConfiguration: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLifecycleConfiguration.html>
//!
//! Buckets have no lifecycle rules here.

use s3s::dto::{GetBucketLifecycleConfigurationInput, GetBucketLifecycleConfigurationOutput};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::auth::Call;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<GetBucketLifecycleConfigurationInput>,
) -> S3Result<S3Response<GetBucketLifecycleConfigurationOutput>> {
    gate.client.bucket(&call.input.bucket).await.map_err(|error| call.refuse(error))?;
    Err(s3_error!(NoSuchLifecycleConfiguration, "The lifecycle configuration does not exist."))
}
