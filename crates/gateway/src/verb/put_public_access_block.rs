//! PutPublicAccessBlock: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutPublicAccessBlock.html>
//!
//! Everything public is blocked; that much can be asked for.

use s3s::dto::{PutPublicAccessBlockInput, PutPublicAccessBlockOutput};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::auth::Call;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<PutPublicAccessBlockInput>,
) -> S3Result<S3Response<PutPublicAccessBlockOutput>> {
    gate.client.bucket(&call.input.bucket).await.map_err(|error| call.refuse(error))?;
    let wanted = &call.input.public_access_block_configuration;
    let flags = [
        wanted.block_public_acls,
        wanted.block_public_policy,
        wanted.ignore_public_acls,
        wanted.restrict_public_buckets,
    ];
    if flags.iter().any(|flag| *flag != Some(true)) {
        return Err(s3_error!(
            NotImplemented,
            "Public access is not implemented by this server: block all four kinds."
        ));
    }
    Ok(S3Response::new(PutPublicAccessBlockOutput::default()))
}
