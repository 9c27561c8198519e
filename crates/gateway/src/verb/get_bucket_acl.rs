//! GetBucketAcl: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketAcl.html>
//!
//! Access control lists are off: the bucket's owner has full control, whatever was written by whom.

use s3s::dto::{GetBucketAclInput, GetBucketAclOutput};
use s3s::{S3Response, S3Result};

use crate::adapter::Gate;
use crate::auth::Call;
use crate::{acl, listing};

pub(crate) async fn run(
    gate: &Gate,
    call: Call<GetBucketAclInput>,
) -> S3Result<S3Response<GetBucketAclOutput>> {
    let bucket = gate.client.bucket(&call.input.bucket).await.map_err(|error| call.refuse(error))?;
    Ok(S3Response::new(GetBucketAclOutput {
        grants: Some(vec![acl::owner_grant(&bucket.owner)]),
        owner: Some(listing::owner(&bucket.owner)),
    }))
}
