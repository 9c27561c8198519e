//! PutBucketOwnershipControls: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketOwnershipControls.html>
//!
//! BucketOwnerEnforced is what every bucket has.

use s3s::dto::{ObjectOwnership, PutBucketOwnershipControlsInput, PutBucketOwnershipControlsOutput};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::auth::Call;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<PutBucketOwnershipControlsInput>,
) -> S3Result<S3Response<PutBucketOwnershipControlsOutput>> {
    gate.client.bucket(&call.input.bucket).await.map_err(|error| call.refuse(error))?;
    match call.input.ownership_controls.rules.as_slice() {
        [rule] if rule.object_ownership.as_str() == ObjectOwnership::BUCKET_OWNER_ENFORCED => {
            Ok(S3Response::new(PutBucketOwnershipControlsOutput::default()))
        }
        [rule]
            if matches!(
                rule.object_ownership.as_str(),
                ObjectOwnership::BUCKET_OWNER_PREFERRED | ObjectOwnership::OBJECT_WRITER
            ) =>
        {
            let message = "Access control lists are not implemented by this server: use BucketOwnerEnforced.";
            Err(s3_error!(NotImplemented, "{message}"))
        }
        _ => Err(s3_error!(MalformedXML, "Ownership controls have one rule: BucketOwnerEnforced.")),
    }
}
