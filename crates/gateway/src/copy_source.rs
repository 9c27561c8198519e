//! The source of a copy: found, allowed, and as its conditions want it.
//!
//! `x-amz-copy-source` is percent-decoded once, by `s3s`; so is the key that authorisation sees.

use pangea_client::Object;
use s3s::dto::CopySource;
use s3s::{S3Result, s3_error};

use crate::access::Action;
use crate::adapter::Gate;
use crate::auth::{Call, expect_owner};
use crate::condition::{ReadConditions, Verdict};
use crate::names;

/// Finds a copy's source for whoever may read it.
pub(crate) async fn find<T>(
    gate: &Gate,
    call: &Call<T>,
    source: &CopySource,
    conditions: ReadConditions,
) -> S3Result<Object> {
    let (bucket, key, version) = match source {
        CopySource::Bucket { bucket, key, version_id } => (&**bucket, &**key, version_id.as_deref()),
        CopySource::AccessPoint { .. } | CopySource::Outpost { .. } => {
            return Err(s3_error!(NotImplemented, "Access points are not implemented: name bucket and key."));
        }
    };
    if key.is_empty() {
        return Err(s3_error!(
            InvalidArgument,
            "x-amz-copy-source has the form BUCKET/KEY, percent-encoded."
        ));
    }
    call.require(&gate.client, Action::Read, bucket, key).await?;
    if let Some(expected) = call.headers.get("x-amz-source-expected-bucket-owner") {
        let expected = expected.to_str().unwrap_or_default();
        expect_owner(&gate.client, &call.scope, bucket, expected).await?;
    }
    let version = names::version(version)?;
    let object = gate.client.object(bucket, key.as_bytes(), version).await.map_err(|e| call.refuse(e))?;
    if object.version.delete_marker {
        return Err(s3_error!(InvalidRequest, "The source of a copy must not be a delete marker."));
    }
    match conditions.verdict(object.version.etag, object.version.created_ms) {
        Verdict::Proceed => Ok(object),
        // A copy has nothing to fall back to: here a source that was not modified is a failure too.
        Verdict::NotModified | Verdict::Failed => Err(s3_error!(PreconditionFailed)),
    }
}

/// The conditions on the source, from an input with S3's usual fields.
macro_rules! source_conditions {
    ($input:expr) => {
        $crate::condition::ReadConditions {
            if_match: $input.copy_source_if_match.take(),
            if_none_match: $input.copy_source_if_none_match.take(),
            if_modified_since: $input.copy_source_if_modified_since.take(),
            if_unmodified_since: $input.copy_source_if_unmodified_since.take(),
        }
    };
}
pub(crate) use source_conditions;

#[cfg(test)]
mod tests {
    use s3s::dto::CopySource;

    /// What `s3s` makes of the header, which this crate relies on.
    #[test]
    fn copy_sources_are_decoded_once() {
        let parsed = |header: &str| match CopySource::parse(header) {
            Ok(CopySource::Bucket { bucket, key, version_id }) => {
                format!("{bucket} {key} {}", version_id.as_deref().unwrap_or("-"))
            }
            Ok(CopySource::AccessPoint { .. } | CopySource::Outpost { .. }) => "access point".to_owned(),
            Err(_) => "refused".to_owned(),
        };
        let cases = [
            ("bkt/key", "bkt key -"),
            ("/bkt/a/b", "bkt a/b -"),
            ("bkt/a%2Fb%20c", "bkt a/b c -"),
            ("bkt/a%252Fb", "bkt a%2Fb -"),
            ("bkt/a+b", "bkt a+b -"),
            ("bkt/k?versionId=null", "bkt k null"),
            ("bkt/k%3FversionId=null", "bkt k?versionId=null -"),
            ("bkt%2Fkey", "bkt key -"),
            ("", "refused"),
            ("bkt", "refused"),
            ("b/k", "refused"),
            ("BKT/k", "refused"),
        ];
        for (header, expected) in cases {
            assert_eq!(parsed(header), expected, "{header}");
        }
    }
}
