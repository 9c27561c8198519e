//! AbortMultipartUpload: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html>

use s3s::dto::{AbortMultipartUploadInput, AbortMultipartUploadOutput};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::auth::Call;
use crate::names;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let input = &call.input;
    if input.if_match_initiated_time.is_some() {
        return Err(s3_error!(
            NotImplemented,
            "x-amz-if-match-initiated-time is not implemented by this server."
        ));
    }
    let upload = names::upload(&input.upload_id)?;
    let aborted = gate.client.abort_upload(&input.bucket, input.key.as_bytes(), upload).await;
    aborted.map_err(|error| call.refuse(error))?;
    Ok(S3Response::new(AbortMultipartUploadOutput::default()))
}
