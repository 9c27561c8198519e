//! DeleteBucketWebsite: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketWebsite.html>
//!
//! There is never one to delete, which is a success.

use s3s::dto::{DeleteBucketWebsiteInput, DeleteBucketWebsiteOutput};
use s3s::{S3Response, S3Result};

use crate::adapter::Gate;
use crate::auth::Call;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<DeleteBucketWebsiteInput>,
) -> S3Result<S3Response<DeleteBucketWebsiteOutput>> {
    gate.client.bucket(&call.input.bucket).await.map_err(|error| call.refuse(error))?;
    Ok(S3Response::new(DeleteBucketWebsiteOutput::default()))
}
