//! DeleteObject: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html>
//!
//! Deleting what is not there is a success.

use s3s::dto::{DeleteObjectInput, DeleteObjectOutput};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::auth::Call;
use crate::{condition, names};

pub(crate) async fn run(
    gate: &Gate,
    call: Call<DeleteObjectInput>,
) -> S3Result<S3Response<DeleteObjectOutput>> {
    let input = &call.input;
    if input.if_match_last_modified_time.is_some() || input.if_match_size.is_some() {
        return Err(s3_error!(NotImplemented, "The only condition of a delete is If-Match."));
    }
    if input.mfa.is_some() {
        return Err(s3_error!(NotImplemented, "MFA delete is not implemented by this server."));
    }
    let version = names::version(input.version_id.as_deref())?;
    let condition = condition::of_write(input.if_match.as_ref(), None);
    let deleted = gate.client.delete_object(&input.bucket, input.key.as_bytes(), version, condition).await;
    let deleted = deleted.map_err(|error| call.refuse(error))?;
    let made = deleted.version.filter(|_| deleted.marker).map(|id| names::version_text(id, deleted.null));
    Ok(S3Response::new(DeleteObjectOutput {
        delete_marker: deleted.marker.then_some(true),
        version_id: input.version_id.clone().or(made),
        ..DeleteObjectOutput::default()
    }))
}
