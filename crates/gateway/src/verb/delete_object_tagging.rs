//! DeleteObjectTagging: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjectTagging.html>
//!
//! Without tags, and still the same version.

use s3s::dto::{DeleteObjectTaggingInput, DeleteObjectTaggingOutput};
use s3s::{S3Response, S3Result};

use crate::adapter::Gate;
use crate::auth::Call;
use crate::names;
use crate::reading::is_marker;
use crate::tags::TAGGING;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<DeleteObjectTaggingInput>,
) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
    let version = names::version(call.input.version_id.as_deref())?;
    let (bucket, key) = (&call.input.bucket, call.input.key.as_bytes());
    let object = gate.client.object(bucket, key, version).await.map_err(|error| call.refuse(error))?;
    if object.version.delete_marker {
        return Err(is_marker(&object));
    }
    let done = gate.client.set_attribute(bucket, key, version, (TAGGING.to_owned(), None)).await;
    let done = done.map_err(|error| call.refuse(error))?;
    let version_id = done.map(|(id, null)| names::version_text(id, null));
    Ok(S3Response::new(DeleteObjectTaggingOutput { version_id }))
}
