//! DeleteBucket: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucket.html>
//!
//! Only objects, versions and delete markers keep a bucket: uploads that were never finished go with it, as at AWS.

use pangea_client::{ClientError, ListVersions};
use s3s::dto::{DeleteBucketInput, DeleteBucketOutput};
use s3s::{S3Response, S3Result};

use crate::adapter::Gate;
use crate::auth::Call;

/// Uploads given up between two tries, and how often it is tried: somebody may start new ones meanwhile.
const UPLOADS_AT_ONCE: usize = 1000;
const TRIES: usize = 20;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<DeleteBucketInput>,
) -> S3Result<S3Response<DeleteBucketOutput>> {
    let bucket = &call.input.bucket;
    for _ in 0..TRIES {
        match gate.client.delete_bucket(bucket).await {
            Ok(()) => return Ok(S3Response::new(DeleteBucketOutput::default())),
            Err(ClientError::BucketNotEmpty) => {}
            Err(error) => return Err(call.refuse(error)),
        }
        if !give_up_uploads(gate, bucket).await.map_err(|error| call.refuse(error))? {
            break;
        }
    }
    Err(call.refuse(ClientError::BucketNotEmpty))
}

/// Gives uploads up, if nothing else is in the bucket; whether there were any.
async fn give_up_uploads(gate: &Gate, bucket: &str) -> Result<bool, ClientError> {
    let one = ListVersions { limit: 1, ..ListVersions::default() };
    if !gate.client.list_versions(bucket, one).await?.entries.is_empty() {
        return Ok(false);
    }
    let (uploads, _) = gate.client.uploads(bucket, b"", None, UPLOADS_AT_ONCE).await?;
    for (id, row) in &uploads {
        match gate.client.abort_upload(bucket, &row.key, *id).await {
            Ok(()) | Err(ClientError::NoSuchUpload) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(!uploads.is_empty())
}
