//! GetObjectAcl: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAcl.html>
//!
//! Access control lists are off: the bucket's owner has full control, whatever was written by whom.

use s3s::dto::{GetObjectAclInput, GetObjectAclOutput};
use s3s::{S3Response, S3Result};

use crate::adapter::Gate;
use crate::auth::Call;
use crate::reading::is_marker;
use crate::{acl, listing, names};

pub(crate) async fn run(
    gate: &Gate,
    call: Call<GetObjectAclInput>,
) -> S3Result<S3Response<GetObjectAclOutput>> {
    let input = &call.input;
    let version = names::version(input.version_id.as_deref())?;
    let object = gate.client.object(&input.bucket, input.key.as_bytes(), version).await;
    let object = object.map_err(|error| call.refuse(error))?;
    if object.version.delete_marker {
        return Err(is_marker(&object));
    }
    let bucket = object.bucket;
    Ok(S3Response::new(GetObjectAclOutput {
        grants: Some(vec![acl::owner_grant(&bucket.owner)]),
        owner: Some(listing::owner(&bucket.owner)),
        ..GetObjectAclOutput::default()
    }))
}
