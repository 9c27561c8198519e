//! GetPublicAccessBlock: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetPublicAccessBlock.html>
//!
//! Anonymous requests are never allowed, so everything public is blocked.

use s3s::dto::{GetPublicAccessBlockInput, GetPublicAccessBlockOutput, PublicAccessBlockConfiguration};
use s3s::{S3Response, S3Result};

use crate::adapter::Gate;
use crate::auth::Call;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<GetPublicAccessBlockInput>,
) -> S3Result<S3Response<GetPublicAccessBlockOutput>> {
    gate.client.bucket(&call.input.bucket).await.map_err(|error| call.refuse(error))?;
    Ok(S3Response::new(GetPublicAccessBlockOutput {
        public_access_block_configuration: Some(PublicAccessBlockConfiguration {
            block_public_acls: Some(true),
            block_public_policy: Some(true),
            ignore_public_acls: Some(true),
            restrict_public_buckets: Some(true),
        }),
    }))
}
