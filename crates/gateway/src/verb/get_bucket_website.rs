//! GetBucketWebsite: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketWebsite.html>
//!
//! Buckets are no websites here.

use s3s::dto::{GetBucketWebsiteInput, GetBucketWebsiteOutput};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::auth::Call;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<GetBucketWebsiteInput>,
) -> S3Result<S3Response<GetBucketWebsiteOutput>> {
    gate.client.bucket(&call.input.bucket).await.map_err(|error| call.refuse(error))?;
    Err(s3_error!(NoSuchWebsiteConfiguration, "The bucket has no website configuration."))
}
