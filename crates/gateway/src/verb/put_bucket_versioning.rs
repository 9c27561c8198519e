//! PutBucketVersioning: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketVersioning.html>

use pangea_core::meta::Versioning;
use s3s::dto::{BucketVersioningStatus, MFADelete, PutBucketVersioningInput, PutBucketVersioningOutput};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::auth::Call;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<PutBucketVersioningInput>,
) -> S3Result<S3Response<PutBucketVersioningOutput>> {
    let wanted = &call.input.versioning_configuration;
    let mfa = wanted.mfa_delete.as_ref().is_some_and(|mfa| mfa.as_str() != MFADelete::DISABLED);
    if mfa || call.input.mfa.is_some() {
        return Err(s3_error!(NotImplemented, "MFA delete is not implemented by this server."));
    }
    let versioning = match wanted.status.as_ref().map(BucketVersioningStatus::as_str) {
        Some(BucketVersioningStatus::ENABLED) => Versioning::Enabled,
        Some(BucketVersioningStatus::SUSPENDED) => Versioning::Suspended,
        Some(_) | None => return Err(s3_error!(MalformedXML, "Status is Enabled or Suspended.")),
    };
    gate.client.set_versioning(&call.input.bucket, versioning).await.map_err(|error| call.refuse(error))?;
    Ok(S3Response::new(PutBucketVersioningOutput::default()))
}
