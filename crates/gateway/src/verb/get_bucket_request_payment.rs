//! GetBucketRequestPayment: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketRequestPayment.html>
//!
//! Nobody pays.

use s3s::dto::{GetBucketRequestPaymentInput, GetBucketRequestPaymentOutput, Payer};
use s3s::{S3Response, S3Result};

use crate::adapter::Gate;
use crate::auth::Call;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<GetBucketRequestPaymentInput>,
) -> S3Result<S3Response<GetBucketRequestPaymentOutput>> {
    gate.client.bucket(&call.input.bucket).await.map_err(|error| call.refuse(error))?;
    Ok(S3Response::new(GetBucketRequestPaymentOutput {
        payer: Some(Payer::from_static(Payer::BUCKET_OWNER)),
    }))
}
