//! UploadPartCopy: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html>

use pangea_client::UploadPart;
use pangea_core::meta::ETag;
use s3s::dto::{CopyPartResult, UploadPartCopyInput, UploadPartCopyOutput};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::attributes::{checksum, encryption, show_checksum, time};
use crate::auth::Call;
use crate::checksum::{Digests, algorithm_of, checked};
use crate::copy_source::{find, source_conditions};
use crate::reading::blob;
use crate::{condition, names, range};

pub(crate) async fn run(
    gate: &Gate,
    mut call: Call<UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let input = &mut call.input;
    let conditions = source_conditions!(input);
    if input.sse_customer_algorithm.is_some() || input.copy_source_sse_customer_algorithm.is_some() {
        return Err(s3_error!(NotImplemented, "SSE-C is not implemented by this server."));
    }
    let part = UploadPart {
        bucket: input.bucket.clone(),
        key: input.key.clone().into_bytes(),
        upload: names::upload(&input.upload_id)?,
        number: names::part_number(input.part_number)?,
        len: None,
    };
    let source = find(gate, &call, &call.input.copy_source, conditions).await?;
    let bytes = range::of_copy(call.input.copy_source_range.as_deref(), source.version.size)?;
    let part = UploadPart { len: Some(bytes.end - bytes.start), ..part };
    let upload = gate.client.upload(&part.bucket, &part.key, part.upload).await;
    let upload = upload.map_err(|error| call.refuse(error))?;
    // A part has its upload's kind of checksum; that costs reading the source once.
    let through = match algorithm_of(&upload.attributes)? {
        None => None,
        Some(algorithm) => {
            let read = gate.windows.read(&gate.client, &source, bytes.clone()).await?;
            let digests = Digests::default().or_algorithm(Some(algorithm));
            Some(checked(Some(blob(read, &bytes)), digests, None))
        }
    };
    let done =
        gate.client.copy_part(&source, bytes, part, through).await.map_err(|error| call.refuse(error))?;
    let mut result = CopyPartResult {
        e_tag: Some(condition::told(ETag { md5: done.part.md5, parts: 0 })),
        last_modified: Some(time(done.part.created_ms)),
        ..CopyPartResult::default()
    };
    show_checksum!(result, checksum(&done.part.attributes));
    Ok(S3Response::new(UploadPartCopyOutput {
        copy_part_result: Some(result),
        copy_source_version_id: names::told_version(source.bucket.versioning, &source.version),
        server_side_encryption: encryption(),
        ..UploadPartCopyOutput::default()
    }))
}
