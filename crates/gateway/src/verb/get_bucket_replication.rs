//! GetBucketReplication: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketReplication.html>
//!
//! Buckets are not replicated here.

use s3s::dto::{GetBucketReplicationInput, GetBucketReplicationOutput};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::auth::Call;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<GetBucketReplicationInput>,
) -> S3Result<S3Response<GetBucketReplicationOutput>> {
    gate.client.bucket(&call.input.bucket).await.map_err(|error| call.refuse(error))?;
    Err(s3_error!(ReplicationConfigurationNotFoundError, "The replication configuration was not found."))
}
