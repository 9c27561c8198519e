//! CopyObject: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>
//!
//! Metadata only, whatever the size: the new version points at the source's blob.

use futures_util::StreamExt as _;
use pangea_client::{Object, PutObject};
use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, MetadataDirective, TaggingDirective,
};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::attributes::{algorithm, checksum, encryption, is_about_bytes, show_checksum, taken, time};
use crate::auth::Call;
use crate::checksum::{Algorithm, Sum, TYPE};
use crate::copy_source::{find, source_conditions};
use crate::tags::TAGGING;
use crate::{condition, names};

pub(crate) async fn run(
    gate: &Gate,
    mut call: Call<CopyObjectInput>,
) -> S3Result<S3Response<CopyObjectOutput>> {
    let input = &mut call.input;
    let conditions = source_conditions!(input);
    let replace = match input.metadata_directive.as_ref().map(MetadataDirective::as_str) {
        None | Some(MetadataDirective::COPY) => false,
        Some(MetadataDirective::REPLACE) => true,
        Some(_) => return Err(s3_error!(InvalidArgument, "x-amz-metadata-directive is COPY or REPLACE.")),
    };
    if input.copy_source_sse_customer_algorithm.is_some() || input.copy_source_sse_customer_key.is_some() {
        return Err(s3_error!(NotImplemented, "SSE-C is not implemented by this server."));
    }
    let retag = match input.tagging_directive.as_ref().map(TaggingDirective::as_str) {
        None | Some(TaggingDirective::COPY) => false,
        Some(TaggingDirective::REPLACE) => true,
        Some(_) => return Err(s3_error!(InvalidArgument, "x-amz-tagging-directive is COPY or REPLACE.")),
    };
    if input.tagging.is_some() && !retag {
        return Err(s3_error!(InvalidArgument, "x-amz-tagging needs x-amz-tagging-directive: REPLACE."));
    }
    let changes_nothing = !replace && !retag && input.server_side_encryption.is_none();
    let given = taken!(input)?.attributes()?;
    if changes_nothing && is_self(&call.input) {
        let message =
            "This copies an object onto itself: change its metadata (REPLACE), or name an older version.";
        return Err(s3_error!(InvalidRequest, "{message}"));
    }
    let target = condition::of_headers(&call.headers)?;
    let source = find(gate, &call, &call.input.copy_source, conditions).await?;
    let mut attributes = chosen(&source.version.attributes, &given, replace, retag);
    if let Some(wanted) = call.input.checksum_algorithm.as_ref() {
        rehash(gate, &call, &source, Algorithm::named(wanted.as_str())?, &mut attributes).await?;
    }
    attributes.sort_unstable();
    let put = PutObject {
        bucket: call.input.bucket.clone(),
        key: call.input.key.clone().into_bytes(),
        condition: target,
        attributes,
        len: Some(source.version.size),
    };
    let done = gate.client.copy_object(&source, put).await.map_err(|error| call.refuse(error))?;
    let checksum = checksum(&done.attributes);
    let mut result = CopyObjectResult {
        e_tag: Some(condition::told(done.etag)),
        last_modified: Some(time(done.created_ms)),
        checksum_type: checksum.checksum_type.clone(),
        ..CopyObjectResult::default()
    };
    show_checksum!(result, checksum);
    Ok(S3Response::new(CopyObjectOutput {
        copy_object_result: Some(result),
        copy_source_version_id: names::told_version(source.bucket.versioning, &source.version),
        server_side_encryption: encryption(),
        version_id: done.version.map(|(id, null)| names::version_text(id, null)),
        ..CopyObjectOutput::default()
    }))
}

/// Every attribute from the source or from the request, as the directives say; checksums go with the bytes.
fn chosen(
    source: &[(String, String)],
    given: &[(String, String)],
    replace: bool,
    retag: bool,
) -> Vec<(String, String)> {
    let replaced = |name: &str| match name {
        TAGGING => retag,
        name => replace && !is_about_bytes(name),
    };
    let kept = source.iter().filter(|(name, _)| !replaced(name));
    let new = given.iter().filter(|(name, _)| replaced(name));
    kept.chain(new).cloned().collect()
}

fn is_self(input: &CopyObjectInput) -> bool {
    match &input.copy_source {
        CopySource::Bucket { bucket, key, version_id } => {
            version_id.is_none() && **bucket == *input.bucket && **key == *input.key
        }
        CopySource::AccessPoint { .. } | CopySource::Outpost { .. } => false,
    }
}

/// Another checksum than the source has: its bytes are read once for it.
async fn rehash(
    gate: &Gate,
    call: &Call<CopyObjectInput>,
    source: &Object,
    wanted: Algorithm,
    attributes: &mut Vec<(String, String)>,
) -> S3Result<()> {
    let composite = attributes.iter().any(|(name, kind)| name == TYPE && kind == crate::checksum::COMPOSITE);
    if algorithm(attributes) == Some(wanted) && !composite {
        return Ok(());
    }
    let mut sum = Sum::new(wanted);
    let mut read = gate.windows.read(&gate.client, source, 0..source.version.size).await?;
    while let Some(bytes) = read.body.next().await {
        match bytes {
            Ok(bytes) => sum.update(&bytes),
            Err(error) => {
                call.scope.note(error.to_string());
                return Err(s3_error!(InternalError, "The source cannot be read now: try again."));
            }
        }
    }
    attributes.retain(|(name, _)| !is_about_bytes(name));
    attributes.push((wanted.header().to_owned(), sum.finish()));
    Ok(())
}
