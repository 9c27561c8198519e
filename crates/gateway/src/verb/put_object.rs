//! PutObject: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html>
//!
//! Nothing is visible before length, signature, MD5 and checksum of the whole body were found right.

use pangea_client::PutObject;
use s3s::dto::{PutObjectInput, PutObjectOutput};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::attributes::{checksum, encryption, show_checksum, signed, taken};
use crate::auth::Call;
use crate::checksum::{Digests, checked};
use crate::inlet::body_length;
use crate::{condition, names};

pub(crate) async fn run(
    gate: &Gate,
    mut call: Call<PutObjectInput>,
) -> S3Result<S3Response<PutObjectOutput>> {
    let digests = Digests::of_headers(&call.headers)?;
    let input = &mut call.input;
    if input.write_offset_bytes.is_some() {
        return Err(s3_error!(NotImplemented, "Appending is not implemented by this server."));
    }
    let put = PutObject {
        bucket: input.bucket.clone(),
        key: input.key.clone().into_bytes(),
        condition: condition::of_write(input.if_match.as_ref(), input.if_none_match.as_ref()),
        attributes: taken!(input)?.attributes()?,
        len: body_length(&call.headers),
    };
    let (body, accept) = checked(input.body.take(), digests, call.trailers.take());
    let done = gate.client.put_object(put, body, accept).await.map_err(|error| call.refuse(error))?;
    let checksum = checksum(&done.attributes);
    let mut output = PutObjectOutput {
        checksum_type: checksum.checksum_type.clone(),
        e_tag: Some(condition::told(done.etag)),
        server_side_encryption: encryption(),
        size: Some(signed(done.size)),
        version_id: done.version.map(|(id, null)| names::version_text(id, null)),
        ..PutObjectOutput::default()
    };
    show_checksum!(output, checksum);
    Ok(S3Response::new(output))
}
