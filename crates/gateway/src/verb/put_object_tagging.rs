//! PutObjectTagging: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectTagging.html>
//!
//! Tags belong to a version: setting them makes no other one.

use s3s::dto::{PutObjectTaggingInput, PutObjectTaggingOutput};
use s3s::{S3Response, S3Result};

use crate::adapter::Gate;
use crate::auth::Call;
use crate::names;
use crate::reading::is_marker;
use crate::tags::{OBJECT_TAGS_MAX, TAGGING, Tags};

pub(crate) async fn run(
    gate: &Gate,
    call: Call<PutObjectTaggingInput>,
) -> S3Result<S3Response<PutObjectTaggingOutput>> {
    let version = names::version(call.input.version_id.as_deref())?;
    let kept = Tags::of_document(&call.input.tagging.tag_set, OBJECT_TAGS_MAX)?.kept();
    let (bucket, key) = (&call.input.bucket, call.input.key.as_bytes());
    let object = gate.client.object(bucket, key, version).await.map_err(|error| call.refuse(error))?;
    if object.version.delete_marker {
        return Err(is_marker(&object));
    }
    let done = gate.client.set_attribute(bucket, key, version, (TAGGING.to_owned(), kept)).await;
    let done = done.map_err(|error| call.refuse(error))?;
    let version_id = done.map(|(id, null)| names::version_text(id, null));
    Ok(S3Response::new(PutObjectTaggingOutput { version_id }))
}
