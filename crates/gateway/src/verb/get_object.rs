//! GetObject: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>
//!
//! The data path's buffers go to the socket as they are.

use s3s::dto::{ChecksumMode, GetObjectInput, GetObjectOutput};
use s3s::{S3Response, S3Result};

use crate::adapter::Gate;
use crate::attributes::{show, show_checksum, shown, signed, time};
use crate::auth::Call;
use crate::reading::{self, Wanted, blob};
use crate::tags::Tags;
use crate::{condition, names};

pub(crate) async fn run(
    gate: &Gate,
    mut call: Call<GetObjectInput>,
) -> S3Result<S3Response<GetObjectOutput>> {
    let wanted = Wanted::of_headers(reading::wanted!(call.input), &call.headers);
    let (object, slice) = reading::find(gate, &call, wanted).await?;
    let version = &object.version;
    let shown = show(&version.attributes);
    let mut output = GetObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        content_length: Some(signed(slice.bytes.end - slice.bytes.start)),
        content_range: slice.content_range.clone(),
        e_tag: Some(condition::told(version.etag)),
        last_modified: Some(time(version.created_ms)),
        parts_count: slice.parts,
        tag_count: Tags::of_attributes(&version.attributes).count(),
        version_id: names::told_version(object.bucket.versioning, version),
        ..GetObjectOutput::default()
    };
    let asked = call.input.checksum_mode.as_ref().map(ChecksumMode::as_str) == Some(ChecksumMode::ENABLED);
    if asked && slice.is_whole() {
        output.checksum_type = shown.checksum.checksum_type.clone();
        show_checksum!(output, shown.checksum);
    }
    shown!(output, shown);
    let read = gate.windows.read(&gate.client, &object, slice.bytes.clone()).await?;
    output.body = Some(blob(read, &slice.bytes));
    Ok(S3Response::new(output))
}
