//! HeadObject: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>

use hyper::HeaderMap;
use hyper::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, HeaderName,
    HeaderValue,
};
use s3s::dto::{ChecksumMode, HeadObjectInput, HeadObjectOutput};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::attributes::{show, show_checksum, shown, signed, time};
use crate::auth::Call;
use crate::reading::{self, Wanted};
use crate::tags::Tags;
use crate::{condition, names};

pub(crate) async fn run(
    gate: &Gate,
    mut call: Call<HeadObjectInput>,
) -> S3Result<S3Response<HeadObjectOutput>> {
    let mut added = overrides(&call.input)?;
    let wanted = Wanted::of_headers(reading::wanted!(call.input), &call.headers);
    let (object, slice) = reading::find(gate, &call, wanted).await?;
    let version = &object.version;
    let shown = show(&version.attributes);
    let mut output = HeadObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        content_length: Some(signed(slice.bytes.end - slice.bytes.start)),
        content_range: slice.content_range.clone(),
        e_tag: Some(condition::told(version.etag)),
        last_modified: Some(time(version.created_ms)),
        parts_count: slice.parts,
        version_id: names::told_version(object.bucket.versioning, version),
        ..HeadObjectOutput::default()
    };
    let asked = call.input.checksum_mode.as_ref().map(ChecksumMode::as_str) == Some(ChecksumMode::ENABLED);
    if asked && slice.is_whole() {
        output.checksum_type = shown.checksum.checksum_type.clone();
        show_checksum!(output, shown.checksum);
    }
    shown!(output, shown);
    if let Some(count) = Tags::of_attributes(&version.attributes).count() {
        added.insert("x-amz-tagging-count", HeaderValue::from(count));
    }
    Ok(S3Response::with_headers(output, added))
}

/// `response-*`: `s3s` does it for GET only.
fn overrides(input: &HeadObjectInput) -> S3Result<HeaderMap> {
    let wanted: [(HeaderName, &Option<String>); 5] = [
        (CACHE_CONTROL, &input.response_cache_control),
        (CONTENT_DISPOSITION, &input.response_content_disposition),
        (CONTENT_ENCODING, &input.response_content_encoding),
        (CONTENT_LANGUAGE, &input.response_content_language),
        (CONTENT_TYPE, &input.response_content_type),
    ];
    let mut headers = HeaderMap::new();
    for (name, value) in wanted {
        if let Some(value) = value {
            let value = HeaderValue::try_from(value.as_str())
                .map_err(|_| s3_error!(InvalidArgument, "response-{name} is not a header value."))?;
            headers.insert(name, value);
        }
    }
    Ok(headers)
}
