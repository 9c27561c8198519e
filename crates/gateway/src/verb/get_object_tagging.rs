//! GetObjectTagging: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectTagging.html>

use s3s::dto::{GetObjectTaggingInput, GetObjectTaggingOutput};
use s3s::{S3Response, S3Result};

use crate::adapter::Gate;
use crate::auth::Call;
use crate::names;
use crate::reading::is_marker;
use crate::tags::Tags;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<GetObjectTaggingInput>,
) -> S3Result<S3Response<GetObjectTaggingOutput>> {
    let version = names::version(call.input.version_id.as_deref())?;
    let (bucket, key) = (&call.input.bucket, call.input.key.as_bytes());
    let object = gate.client.object(bucket, key, version).await.map_err(|error| call.refuse(error))?;
    if object.version.delete_marker {
        return Err(is_marker(&object));
    }
    let version_id = names::told_version(object.bucket.versioning, &object.version);
    let tag_set = Tags::of_attributes(&object.version.attributes).document();
    Ok(S3Response::new(GetObjectTaggingOutput { tag_set, version_id }))
}
