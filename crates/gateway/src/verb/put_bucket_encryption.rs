//! PutBucketEncryption: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketEncryption.html>
//!
//! AES256 is what everything has; anything else is refused.

use s3s::dto::{PutBucketEncryptionInput, PutBucketEncryptionOutput, ServerSideEncryption};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::auth::Call;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<PutBucketEncryptionInput>,
) -> S3Result<S3Response<PutBucketEncryptionOutput>> {
    gate.client.bucket(&call.input.bucket).await.map_err(|error| call.refuse(error))?;
    let rules = &call.input.server_side_encryption_configuration.rules;
    let [rule] = rules.as_slice() else {
        return Err(s3_error!(MalformedXML, "An encryption configuration has one rule."));
    };
    let wanted = rule.apply_server_side_encryption_by_default.as_ref();
    let wanted = wanted.ok_or_else(|| s3_error!(MalformedXML, "The rule names no default encryption."))?;
    match wanted.sse_algorithm.as_str() {
        ServerSideEncryption::AES256 if wanted.kms_master_key_id.is_none() => {
            Ok(S3Response::new(PutBucketEncryptionOutput::default()))
        }
        ServerSideEncryption::AES256 => Err(s3_error!(InvalidArgument, "A KMS key does not go with AES256.")),
        ServerSideEncryption::AWS_KMS | ServerSideEncryption::AWS_KMS_DSSE => {
            Err(s3_error!(NotImplemented, "SSE-KMS is not implemented by this server: use AES256."))
        }
        _ => Err(s3_error!(MalformedXML, "The only encryption is AES256.")),
    }
}
