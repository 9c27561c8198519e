//! DeleteBucketCors: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketCors.html>

use s3s::dto::{DeleteBucketCorsInput, DeleteBucketCorsOutput};
use s3s::{S3Response, S3Result};

use crate::adapter::Gate;
use crate::auth::Call;
use crate::cors::DOCUMENT;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<DeleteBucketCorsInput>,
) -> S3Result<S3Response<DeleteBucketCorsOutput>> {
    let done = gate.client.set_document(&call.input.bucket, DOCUMENT, None).await;
    done.map_err(|error| call.refuse(error))?;
    Ok(S3Response::new(DeleteBucketCorsOutput::default()))
}
