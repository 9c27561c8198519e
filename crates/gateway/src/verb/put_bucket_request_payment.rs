//! PutBucketRequestPayment: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketRequestPayment.html>
//!
//! Nobody pays.

use s3s::dto::{Payer, PutBucketRequestPaymentInput, PutBucketRequestPaymentOutput};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::auth::Call;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<PutBucketRequestPaymentInput>,
) -> S3Result<S3Response<PutBucketRequestPaymentOutput>> {
    gate.client.bucket(&call.input.bucket).await.map_err(|error| call.refuse(error))?;
    match call.input.request_payment_configuration.payer.as_str() {
        Payer::BUCKET_OWNER => Ok(S3Response::new(PutBucketRequestPaymentOutput::default())),
        Payer::REQUESTER => {
            Err(s3_error!(NotImplemented, "Requester pays is not implemented by this server."))
        }
        _ => Err(s3_error!(MalformedXML, "Payer is BucketOwner or Requester.")),
    }
}
