//! GetBucketCors: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketCors.html>

use s3s::dto::{GetBucketCorsInput, GetBucketCorsOutput};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::auth::Call;
use crate::cors::{DOCUMENT, Rules};

pub(crate) async fn run(
    gate: &Gate,
    call: Call<GetBucketCorsInput>,
) -> S3Result<S3Response<GetBucketCorsOutput>> {
    let bucket = gate.client.bucket(&call.input.bucket).await.map_err(|error| call.refuse(error))?;
    if !bucket.documents.iter().any(|(name, _)| name == DOCUMENT) {
        return Err(s3_error!(NoSuchCORSConfiguration, "The CORS configuration does not exist."));
    }
    let cors_rules = Some(Rules::of_bucket(&bucket.documents).document());
    Ok(S3Response::new(GetBucketCorsOutput { cors_rules }))
}
