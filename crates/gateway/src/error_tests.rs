//! The error table, code by code.

use pangea_client::ClientError;
use pangea_core::id::{BlobId, ChunkId, VersionId};
use pangea_meta::MetaError;
use s3s::s3_error;

use super::{Refused, body_fault, document, from_client, read_document, refused};
use crate::inlet::BodyFault;
use crate::scope::Scope;

fn told(error: ClientError) -> (String, u16, Option<String>) {
    let scope = Scope::new("id".into());
    let refusal = from_client(error, &scope);
    let status = refusal.status_code().expect("every refusal has a status").as_u16();
    (refusal.code().as_str().to_owned(), status, scope.cause())
}

#[test]
fn every_failure_of_the_data_path_has_its_code() {
    let chunk = ChunkId { blob: BlobId::ZERO, chunk: 0 };
    let cases = [
        (ClientError::NoSuchBucket, "NoSuchBucket", 404, false),
        (ClientError::BucketExists { owner: "o".into() }, "BucketAlreadyExists", 409, false),
        (ClientError::BucketNotEmpty, "BucketNotEmpty", 409, false),
        (ClientError::NoSuchKey { marker: None }, "NoSuchKey", 404, false),
        (ClientError::NoSuchKey { marker: Some(VersionId::ZERO) }, "NoSuchKey", 404, false),
        (ClientError::NoSuchVersion, "NoSuchVersion", 404, false),
        (ClientError::NoSuchUpload, "NoSuchUpload", 404, false),
        (ClientError::InvalidPart { number: 3 }, "InvalidPart", 400, false),
        (ClientError::InvalidPartOrder, "InvalidPartOrder", 400, false),
        (ClientError::PartTooSmall { number: 1, size: 5 }, "EntityTooSmall", 400, false),
        (ClientError::PreconditionFailed, "PreconditionFailed", 412, false),
        (ClientError::InvalidRange { size: 5 }, "InvalidRange", 416, false),
        (ClientError::WrongLength { expected: 5, received: 4 }, "IncompleteBody", 400, false),
        (
            ClientError::Body("UploadStreamError: Sha256Mismatch".into()),
            "XAmzContentSHA256Mismatch",
            400,
            false,
        ),
        (ClientError::Body("UploadStreamError: Incomplete".into()), "IncompleteBody", 400, false),
        (
            ClientError::Body("AwsChunkedStreamError: SignatureMismatch".into()),
            "SignatureDoesNotMatch",
            403,
            false,
        ),
        (ClientError::Body("AwsChunkedStreamError: FormatError".into()), "InvalidRequest", 400, false),
        (ClientError::Body(refused(s3_error!(BadDigest))), "BadDigest", 400, false),
        (ClientError::Body("connection reset".into()), "IncompleteBody", 400, true),
        (ClientError::SlowDown, "SlowDown", 503, false),
        (ClientError::Unavailable { why: "2 of 3".into() }, "SlowDown", 503, true),
        (ClientError::Full, "InsufficientStorage", 507, true),
        (ClientError::Unreadable { chunk, found: 1, needed: 2 }, "InternalError", 500, true),
        (ClientError::Meta(MetaError::Unavailable { why: "stopped".into() }), "SlowDown", 503, true),
        (ClientError::Meta(MetaError::Unknown), "SlowDown", 503, true),
        (ClientError::Meta(MetaError::Stale { found: 1, known: 2 }), "InternalError", 500, true),
        (ClientError::Damaged { what: "manifest".into() }, "InternalError", 500, true),
    ];
    for (error, code, status, logged) in cases {
        let name = format!("{error:?}");
        let (got_code, got_status, cause) = told(error);
        assert_eq!((got_code.as_str(), got_status, cause.is_some()), (code, status, logged), "{name}");
    }
}

#[test]
fn what_the_inlet_found_wins_over_what_s3s_says_about_it() {
    let scope = Scope::new("id".into());
    scope.set_fault(BodyFault::Slow);
    let refusal = from_client(ClientError::Body("AwsChunkedStreamError: Underlying: slow".into()), &scope);
    assert_eq!(refusal.code().as_str(), "RequestTimeout");
}

#[test]
fn every_fault_of_a_body_has_its_code() {
    let cases = [
        (BodyFault::Length { expected: 2, received: 1 }, "IncompleteBody"),
        (BodyFault::Slow, "RequestTimeout"),
        (BodyFault::TooLarge { bytes_max: 1 }, "EntityTooLarge"),
        (BodyFault::ChunkTooLarge { bytes_max: 1 }, "InvalidRequest"),
        (BodyFault::Framing, "InvalidRequest"),
        (BodyFault::Trailer, "MalformedTrailerError"),
        (BodyFault::Truncated, "IncompleteBody"),
        (BodyFault::Digest, "BadDigest"),
        (BodyFault::Document, "MalformedXML"),
        (BodyFault::Busy, "SlowDown"),
    ];
    for (fault, code) in cases {
        assert_eq!(body_fault(fault).code().as_str(), code);
    }
}

#[test]
fn a_document_round_trips_and_escapes() {
    let xml = document("NoSuchKey", "a <b> & 'c'", false, "/b/k\u{1}<", "0f");
    assert!(xml.contains("<Resource>/b/k%01&lt;</Resource><RequestId>0f</RequestId>"), "{xml}");
    assert_eq!(read_document(&xml), Some(("NoSuchKey", Some("a &lt;b&gt; &amp; &apos;c&apos;"))));
    assert_eq!(read_document("<Error><Code>X</Code></Error>"), Some(("X", None)));
    assert_eq!(read_document("not xml"), None);
    let again = document("X", "a &amp; b", true, "/", "1");
    assert!(again.contains("<Message>a &amp; b</Message>"));
}

#[test]
fn a_refusal_keeps_its_type_through_the_data_path() {
    let error = refused(s3_error!(InvalidDigest));
    assert!(error.downcast_ref::<Refused>().is_some());
}
