//! PutBucketAcl: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketAcl.html>
//!
//! Access control lists are off: only what every bucket has anyway can be asked for.

use s3s::dto::{PutBucketAclInput, PutBucketAclOutput};
use s3s::{S3Response, S3Result};

use crate::acl;
use crate::adapter::Gate;
use crate::attributes::Wishes;
use crate::auth::Call;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<PutBucketAclInput>,
) -> S3Result<S3Response<PutBucketAclOutput>> {
    let input = &call.input;
    let bucket = gate.client.bucket(&input.bucket).await.map_err(|error| call.refuse(error))?;
    let owner = bucket.owner;
    let wishes = Wishes {
        acl: input.acl.as_ref().map(|acl| acl.as_str()),
        grants: input.grant_full_control.is_some()
            || input.grant_read.is_some()
            || input.grant_read_acp.is_some()
            || input.grant_write.is_some()
            || input.grant_write_acp.is_some(),
        ..Wishes::default()
    };
    wishes.check()?;
    if input.acl.is_none() {
        acl::check_document(input.access_control_policy.as_ref(), &owner)?;
    }
    Ok(S3Response::new(PutBucketAclOutput::default()))
}
