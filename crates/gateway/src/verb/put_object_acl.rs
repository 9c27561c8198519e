//! PutObjectAcl: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectAcl.html>
//!
//! Access control lists are off: only what every bucket has anyway can be asked for.

use s3s::dto::{PutObjectAclInput, PutObjectAclOutput};
use s3s::{S3Response, S3Result};

use crate::adapter::Gate;
use crate::attributes::Wishes;
use crate::auth::Call;
use crate::reading::is_marker;
use crate::{acl, names};

pub(crate) async fn run(
    gate: &Gate,
    call: Call<PutObjectAclInput>,
) -> S3Result<S3Response<PutObjectAclOutput>> {
    let input = &call.input;
    let version = names::version(input.version_id.as_deref())?;
    let object = gate.client.object(&input.bucket, input.key.as_bytes(), version).await;
    let object = object.map_err(|error| call.refuse(error))?;
    if object.version.delete_marker {
        return Err(is_marker(&object));
    }
    let owner = object.bucket.owner;
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
    Ok(S3Response::new(PutObjectAclOutput::default()))
}
