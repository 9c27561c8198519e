//! Refusals: every failure's S3 code, its status, and what the client can do about it.
//!
//! [`from_client`] is the one place where the data path's errors become S3's. Messages for people carry no names of
//! drives or files; those go to the log.
//!
//! Full drives answer 507 with a code of our own: SDKs retry 500, 502, 503 and 504, and sending a whole body again into
//! a full store would only hide the message and add load. Everything that a retry can cure is 503 SlowDown.

use std::borrow::Cow;
use std::fmt::Write as _;

use hyper::header::{CONTENT_RANGE, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use pangea_client::{BodyError, ClientError};
use pangea_meta::MetaError;
use s3s::{S3Error, S3ErrorCode};

use crate::inlet::BodyFault;
use crate::scope::Scope;

/// A refusal by the gateway's own check of a body, on its way through the data path and back.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) S3Error);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "refused: {}", self.0.code().as_str())
    }
}

impl std::error::Error for Refused {}

/// Hands a refusal to the data path as its caller's own error.
pub(crate) fn refused(error: S3Error) -> BodyError {
    Box::new(Refused(error))
}

/// A refusal with a code that `s3s` does not know.
pub(crate) fn custom(
    code: &'static str,
    status: StatusCode,
    message: impl Into<Cow<'static, str>>,
) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
    error.set_status_code(status);
    error
}

/// A refusal with an S3 code and a message.
pub(crate) fn coded(code: S3ErrorCode, message: impl Into<Cow<'static, str>>) -> S3Error {
    S3Error::with_message(code, message)
}

/// The answer to a failure of the data path.
pub(crate) fn from_client(error: ClientError, scope: &Scope) -> S3Error {
    use S3ErrorCode as Code;
    let text = error.to_string();
    match error {
        ClientError::NoSuchBucket => coded(Code::NoSuchBucket, "The bucket does not exist."),
        ClientError::BucketExists { owner: _ } => {
            coded(Code::BucketAlreadyExists, "The bucket name is taken: choose another.")
        }
        ClientError::BucketNotEmpty => coded(
            Code::BucketNotEmpty,
            "The bucket still holds objects, versions or unfinished uploads: delete them first.",
        ),
        ClientError::NoSuchKey { marker } => {
            let mut refusal = coded(Code::NoSuchKey, "The key does not exist.");
            if let Some(version) = marker {
                refusal.set_headers(marker_headers(Some(version.to_string())));
            }
            refusal
        }
        ClientError::NoSuchVersion => coded(Code::NoSuchVersion, "The key has no such version."),
        ClientError::NoSuchUpload => coded(
            Code::NoSuchUpload,
            "No such upload for that bucket and key: it may have been completed or aborted.",
        ),
        ClientError::InvalidPart { number } => coded(
            Code::InvalidPart,
            format!(
                "Part {number} was not uploaded, or its entity tag or checksum is another: list the parts."
            ),
        ),
        ClientError::InvalidPartOrder => {
            coded(Code::InvalidPartOrder, "List at least one part, by rising part numbers.")
        }
        ClientError::PartTooSmall { number, size } => coded(
            Code::EntityTooSmall,
            format!("Part {number} has {size} bytes; every part but the last needs at least 5 MiB."),
        ),
        ClientError::PreconditionFailed => {
            coded(Code::PreconditionFailed, "At least one of the preconditions did not hold.")
        }
        ClientError::InvalidRange { size } => invalid_range(size),
        ClientError::WrongLength { expected, received } => {
            body_fault(BodyFault::Length { expected, received })
        }
        ClientError::Body(error) => from_body(error, scope),
        ClientError::SlowDown => slow_down("The server is busy: try again in a moment."),
        ClientError::Unavailable { why: _ } => {
            scope.note(text);
            slow_down("Too few drives are reachable to do this safely; nothing was changed: try again.")
        }
        ClientError::Full => {
            scope.note(text);
            let message = "The drives are full: nothing was written. Delete data or add drives.";
            custom("InsufficientStorage", StatusCode::INSUFFICIENT_STORAGE, message)
        }
        ClientError::Unreadable { chunk: _, found: _, needed: _ } => {
            scope.note(text);
            internal(
                "The data cannot be read now: too few good shards are reachable. See the server's status.",
            )
        }
        ClientError::Meta(error) => from_meta(&error, text, scope),
        ClientError::Damaged { what: _ } => {
            scope.note(text);
            internal("Stored data failed its checks and was not served. See the server's log.")
        }
    }
}

fn from_meta(error: &MetaError, text: String, scope: &Scope) -> S3Error {
    scope.note(text);
    match error {
        MetaError::Unavailable { .. } => {
            slow_down("The metadata cannot be written now; nothing was changed: try again.")
        }
        MetaError::Unknown => {
            slow_down("Whether the request was carried out is not known: look, or try again.")
        }
        MetaError::TooLarge { .. } => coded(
            S3ErrorCode::InvalidRequest,
            "The request needs more metadata than one object may have: send less of it, or fewer parts.",
        ),
        _ => internal("The metadata failed. See the server's log."),
    }
}

/// What a body's own failure means: ours says it itself, the inlet recorded it, or `s3s` says it in words only (its
/// stream errors are private types).
pub(crate) fn from_body(error: BodyError, scope: &Scope) -> S3Error {
    let error = match error.downcast::<Refused>() {
        Ok(refused) => return refused.0,
        Err(other) => other,
    };
    if let Some(fault) = scope.fault() {
        return body_fault(fault);
    }
    let text = error.to_string();
    let (code, message): (S3ErrorCode, _) = if text.contains("Sha256Mismatch") {
        return content_sha256_mismatch();
    } else if text.contains("SignatureMismatch") {
        (S3ErrorCode::SignatureDoesNotMatch, "The signature of a chunk or of the trailer does not match.")
    } else if text.contains("LengthMismatch") || text.contains("Incomplete") {
        (S3ErrorCode::IncompleteBody, "The body does not have the length that was announced.")
    } else if text.contains("FormatError") || text.contains("TooLarge") || text.contains("TooMany") {
        (S3ErrorCode::InvalidRequest, "The aws-chunked framing of the body is malformed.")
    } else {
        scope.note(text);
        (S3ErrorCode::IncompleteBody, "The connection ended before the body was complete.")
    };
    coded(code, message)
}

/// The body is not what `x-amz-content-sha256` says.
pub(crate) fn content_sha256_mismatch() -> S3Error {
    custom(
        "XAmzContentSHA256Mismatch",
        StatusCode::BAD_REQUEST,
        "The body's SHA-256 is not the one in x-amz-content-sha256; nothing was written.",
    )
}

/// The answer to a fault that the inlet found.
pub(crate) fn body_fault(fault: BodyFault) -> S3Error {
    use S3ErrorCode as Code;
    match fault {
        BodyFault::Length { expected, received } => coded(
            Code::IncompleteBody,
            format!("The body has {received} bytes where {expected} were announced; nothing was written."),
        ),
        BodyFault::Slow => coded(Code::RequestTimeout, "The body came too slowly: send it again."),
        BodyFault::TooLarge { bytes_max } => coded(
            Code::EntityTooLarge,
            format!("The body is larger than the {bytes_max} bytes that are allowed."),
        ),
        BodyFault::ChunkTooLarge { bytes_max } => coded(
            Code::InvalidRequest,
            format!("A signed chunk may have at most {bytes_max} bytes: use smaller chunks."),
        ),
        BodyFault::Framing => {
            coded(Code::InvalidRequest, "The aws-chunked framing of the body is malformed.")
        }
        BodyFault::Trailer => custom(
            "MalformedTrailerError",
            StatusCode::BAD_REQUEST,
            "The body's trailer is malformed or missing.",
        ),
        BodyFault::Truncated => coded(Code::IncompleteBody, "The body ended before its last chunk."),
        BodyFault::Digest => {
            coded(Code::BadDigest, "The body does not match its Content-MD5 or checksum; nothing was done.")
        }
        BodyFault::Document => {
            coded(Code::MalformedXML, "The document holds a declaration: send plain XML without DTD.")
        }
        BodyFault::Busy => slow_down("The server is busy: try again in a moment."),
    }
}

/// Try again; the answer also says when.
pub(crate) fn slow_down(message: &'static str) -> S3Error {
    coded(S3ErrorCode::SlowDown, message)
}

fn internal(message: &'static str) -> S3Error {
    coded(S3ErrorCode::InternalError, message)
}

/// The range lies outside; the answer says how large the object is.
pub(crate) fn invalid_range(size: u64) -> S3Error {
    let mut refusal =
        coded(S3ErrorCode::InvalidRange, format!("The range lies outside of the object's {size} bytes."));
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::try_from(format!("bytes */{size}")) {
        headers.insert(CONTENT_RANGE, value);
    }
    refusal.set_headers(headers);
    refusal
}

/// The headers by which a client learns that a delete marker is why.
pub(crate) fn marker_headers(version: Option<String>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-delete-marker", HeaderValue::from_static("true"));
    if let Some(value) = version.and_then(|version| HeaderValue::try_from(version).ok()) {
        headers.insert("x-amz-version-id", value);
    }
    headers
}

/// What a client can do about a code that came without a message.
pub(crate) fn advice(code: &str) -> &'static str {
    match code {
        "AccessDenied" => "Access denied: the access key may not do this.",
        "SignatureDoesNotMatch" => {
            "The signature does not match: check the secret key, the host name and port, and proxies that change headers or paths."
        }
        "InvalidAccessKeyId" => "The access key does not exist here: check the key id and the endpoint.",
        "InvalidBucketName" => {
            "Bucket names have 3 to 63 lower-case letters, digits, dots and hyphens, begin and end with a letter or digit, and are no IP address."
        }
        "KeyTooLongError" => "A key may have at most 1024 bytes of UTF-8.",
        "InvalidURI" => "The path or query is not valid percent-encoded UTF-8.",
        "MalformedXML" => "The XML document is not what this operation expects.",
        "MethodNotAllowed" => "This resource does not take that method.",
        "MissingContentLength" => "Send a Content-Length header.",
        "MissingRequestBodyError" => "Send the document that this operation needs as the body.",
        "MaxMessageLengthExceeded" => "The document is too large.",
        "IncompleteBody" => "The body is not as long as was announced.",
        "InvalidRange" => "The range lies outside of the object.",
        "NotImplemented" => "This operation is not implemented by this server.",
        _ => "The request could not be carried out; give the request id when asking for help.",
    }
}

/// An error document. `message` is escaped already where `escaped` says so.
pub(crate) fn document(code: &str, message: &str, escaped: bool, resource: &str, request_id: &str) -> String {
    let mut xml = String::with_capacity(256 + message.len() + resource.len());
    xml.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>");
    escape(&mut xml, code);
    xml.push_str("</Code><Message>");
    if escaped {
        xml.push_str(message)
    } else {
        escape(&mut xml, message)
    }
    xml.push_str("</Message><Resource>");
    escape(&mut xml, resource);
    xml.push_str("</Resource><RequestId>");
    escape(&mut xml, request_id);
    xml.push_str("</RequestId></Error>");
    xml
}

/// Code and message out of an error document that `s3s` wrote; the message stays escaped.
pub(crate) fn read_document(xml: &str) -> Option<(&str, Option<&str>)> {
    let between = |open: &str, close: &str| {
        let start = xml.find(open)? + open.len();
        let end = start + xml.get(start..)?.find(close)?;
        xml.get(start..end)
    };
    Some((between("<Code>", "</Code>")?, between("<Message>", "</Message>")))
}

/// Text for a document.
pub(crate) fn escaped(text: &str) -> String {
    let mut xml = String::with_capacity(text.len());
    escape(&mut xml, text);
    xml
}

fn escape(xml: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\'' => xml.push_str("&apos;"),
            // XML 1.0 has no way to say these at all.
            c if c < ' ' && !matches!(c, '\t' | '\n' | '\r') => {
                write!(xml, "%{:02X}", u32::from(c)).expect("writing to a String cannot fail");
            }
            c => xml.push(c),
        }
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
