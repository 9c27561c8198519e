//! DeleteObjects: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>
//!
//! Every key is asked for, and answered, on its own.

use futures_util::{StreamExt as _, stream};
use pangea_core::meta::BucketRow;
use s3s::dto::{
    DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETagCondition, Error, ObjectIdentifier,
};
use s3s::{S3Error, S3Response, S3Result, s3_error};

use crate::access::Action;
use crate::adapter::Gate;
use crate::auth::Call;
use crate::error::advice;
use crate::options::DELETE_KEYS_MAX;
use crate::{condition, names};

/// Commits in flight: they share the log's syncs.
const AT_ONCE: usize = 32;
const KEY_BYTES_MAX: usize = 1024;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let input = &call.input;
    if input.mfa.is_some() {
        return Err(s3_error!(NotImplemented, "MFA delete is not implemented by this server."));
    }
    let wanted = &input.delete.objects;
    if wanted.is_empty() || wanted.len() > DELETE_KEYS_MAX {
        return Err(s3_error!(MalformedXML, "List between 1 and {DELETE_KEYS_MAX} keys."));
    }
    let row = gate.client.bucket(&input.bucket).await.map_err(|error| call.refuse(error))?;
    let quiet = input.delete.quiet == Some(true);
    let each: Vec<_> = wanted.iter().map(|one| delete(gate, &call, &row, one)).collect();
    let outcomes: Vec<_> = stream::iter(each).buffered(AT_ONCE).collect().await;
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for (one, outcome) in wanted.iter().zip(outcomes) {
        match outcome {
            Ok(done) if !quiet => deleted.push(done),
            Ok(_) => {}
            Err(error) => errors.push(told(one, &error)),
        }
    }
    Ok(S3Response::new(DeleteObjectsOutput {
        deleted: Some(deleted),
        errors: Some(errors),
        ..DeleteObjectsOutput::default()
    }))
}

async fn delete(
    gate: &Gate,
    call: &Call<DeleteObjectsInput>,
    row: &BucketRow,
    one: &ObjectIdentifier,
) -> S3Result<DeletedObject> {
    let bucket = &call.input.bucket;
    call.require_in(Action::Delete, row, &one.key)?;
    if one.key.is_empty() || one.key.len() > KEY_BYTES_MAX {
        return Err(s3_error!(KeyTooLongError));
    }
    if one.last_modified_time.is_some() || one.size.is_some() {
        return Err(s3_error!(NotImplemented, "The only condition of a delete is its ETag."));
    }
    let version = names::version(one.version_id.as_deref())?;
    let condition = condition::of_write(one.e_tag.clone().map(ETagCondition::ETag).as_ref(), None);
    let done = gate.client.delete_object(bucket, one.key.as_bytes(), version, condition).await;
    let done = done.map_err(|error| call.refuse(error))?;
    let marker = done.version.filter(|_| done.marker).map(|id| names::version_text(id, done.null));
    Ok(DeletedObject {
        delete_marker: done.marker.then_some(true),
        delete_marker_version_id: marker,
        key: Some(one.key.clone()),
        version_id: one.version_id.clone(),
    })
}

fn told(one: &ObjectIdentifier, error: &S3Error) -> Error {
    let code = error.code().as_str();
    Error {
        code: Some(code.to_owned()),
        key: Some(one.key.clone()),
        message: Some(error.message().unwrap_or_else(|| advice(code)).to_owned()),
        version_id: one.version_id.clone(),
    }
}
