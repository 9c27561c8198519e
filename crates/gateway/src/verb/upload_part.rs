//! UploadPart: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPart.html>

use pangea_client::UploadPart;
use pangea_core::meta::{ETag, UploadRow};
use s3s::dto::{UploadPartInput, UploadPartOutput};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::attributes::{checksum, encryption, show_checksum};
use crate::auth::Call;
use crate::checksum::{Digests, algorithm_of, checked};
use crate::inlet::body_length;
use crate::{condition, names};

pub(crate) async fn run(
    gate: &Gate,
    mut call: Call<UploadPartInput>,
) -> S3Result<S3Response<UploadPartOutput>> {
    let digests = Digests::of_headers(&call.headers)?;
    let input = &mut call.input;
    if input.sse_customer_algorithm.is_some() || input.sse_customer_key.is_some() {
        return Err(s3_error!(NotImplemented, "SSE-C is not implemented by this server."));
    }
    let part = UploadPart {
        bucket: input.bucket.clone(),
        key: input.key.clone().into_bytes(),
        upload: names::upload(&input.upload_id)?,
        number: names::part_number(input.part_number)?,
        len: body_length(&call.headers),
    };
    let body = input.body.take();
    let upload = gate.client.upload(&part.bucket, &part.key, part.upload).await;
    let upload = upload.map_err(|error| call.refuse(error))?;
    let digests = fitting(digests, &upload)?;
    let (body, accept) = checked(body, digests, call.trailers.take());
    let done = gate.client.put_part(part, body, accept).await.map_err(|error| call.refuse(error))?;
    let mut output = UploadPartOutput {
        e_tag: Some(condition::told(ETag { md5: done.part.md5, parts: 0 })),
        server_side_encryption: encryption(),
        ..UploadPartOutput::default()
    };
    show_checksum!(output, checksum(&done.part.attributes));
    Ok(S3Response::new(output))
}

/// Every part has its upload's kind of checksum, whether the client states it or not.
fn fitting(digests: Digests, upload: &UploadRow) -> S3Result<Digests> {
    let wanted = algorithm_of(&upload.attributes)?;
    match (digests.algorithm(), wanted) {
        (Some(stated), Some(wanted)) if stated != wanted => Err(s3_error!(
            InvalidRequest,
            "The upload was started with {} checksums, this part has {}.",
            wanted.name(),
            stated.name()
        )),
        _ => Ok(digests.or_algorithm(wanted)),
    }
}
