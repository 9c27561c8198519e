//! PutBucketCors: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketCors.html>

use s3s::dto::{PutBucketCorsInput, PutBucketCorsOutput};
use s3s::{S3Response, S3Result};

use crate::adapter::Gate;
use crate::auth::Call;
use crate::cors::{DOCUMENT, Rules};

pub(crate) async fn run(
    gate: &Gate,
    call: Call<PutBucketCorsInput>,
) -> S3Result<S3Response<PutBucketCorsOutput>> {
    let rules = Rules::of_document(&call.input.cors_configuration.cors_rules)?;
    let done = gate.client.set_document(&call.input.bucket, DOCUMENT, Some(rules.kept())).await;
    done.map_err(|error| call.refuse(error))?;
    Ok(S3Response::new(PutBucketCorsOutput::default()))
}
