//! The head of a request, before anything is believed: is it one request, to this host, of a size we take?
//!
//! Pure: a head and the limits in, a [`Plan`] for the body out, or a refusal.

use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use hyper::http::request;
use hyper::{HeaderMap, Method, StatusCode, Uri};
use s3s::{S3Result, s3_error};

use crate::checksum::Digests;
use crate::error::custom;
use crate::host::Hosts;
use crate::options::{DOCUMENT_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX, Options};
use crate::signed::{Payload, inspect, payload};

/// What the body is, and what it may be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    /// The aws-chunked framing, if there is one.
    pub(crate) chunked: Option<Chunking>,
    /// Bytes that may come over the wire.
    pub(crate) bytes_max: u64,
    /// What an XML document must hash to; data is checked in its verb, while it is written.
    pub(crate) document: Option<Digests>,
    /// A browser's form.
    pub(crate) form: bool,
}

/// An aws-chunked body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Chunking {
    /// Every chunk carries a signature.
    pub(crate) signed: bool,
    /// A trailer follows.
    pub(crate) trailer: bool,
    /// Bytes without the framing.
    pub(crate) decoded: u64,
}

/// Headers that must not be there twice: `s3s` treats a second one as none.
const SINGLE: [&str; 12] = [
    "authorization",
    "content-length",
    "content-md5",
    "if-match",
    "if-none-match",
    "range",
    "x-amz-content-sha256",
    "x-amz-copy-source",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-security-token",
    "x-amz-trailer",
];

/// Query names that make a PUT on a key something else than data.
const SUBRESOURCES: [&str; 9] = [
    "acl",
    "encryption",
    "legal-hold",
    "renameObject",
    "retention",
    "tagging",
    "torrent",
    "restore",
    "annotation",
];

/// Framing around aws-chunked data: clients use chunks of 8 KiB and more, 90 bytes of framing each.
const FRAMING_BYTES_MAX: u64 = 64 << 10;
/// What a form may hold around its file.
const FORM_BYTES_MAX: u64 = 256 << 10;

/// Screens a head.
pub(crate) fn screen(
    head: &request::Parts,
    hosts: &Hosts,
    region: &str,
    options: &Options,
) -> S3Result<Plan> {
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(s3_error!(MethodNotAllowed));
    }
    let host = one_host(head)?;
    size(head)?;
    if let Some(name) = SINGLE.iter().find(|name| head.headers.get_all(**name).iter().nth(1).is_some()) {
        return Err(s3_error!(InvalidArgument, "The header {name} must not be sent twice."));
    }
    if head.headers.get(TRANSFER_ENCODING).is_some_and(|te| !te.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return Err(s3_error!(NotImplemented, "The only Transfer-Encoding that is taken is chunked."));
    }
    if head.headers.get("x-amz-copy-source").is_some_and(hyper::header::HeaderValue::is_empty) {
        return Err(s3_error!(
            InvalidArgument,
            "x-amz-copy-source has the form BUCKET/KEY, percent-encoded."
        ));
    }
    path(&head.uri)?;
    let query = query(&head.uri);
    inspect(&head.headers, &query, region)?;
    if is_form(head) {
        return form(head, hosts.bucket(&host).is_some(), options);
    }
    body(head, &query, hosts.bucket(&host).is_some(), options)
}

fn one_host(head: &request::Parts) -> S3Result<String> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(s3_error!(InvalidRequest, "A request has exactly one Host header."));
    };
    let well_formed =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':' | b'[' | b']');
    let host = host.to_str().ok().filter(|host| !host.is_empty() && host.bytes().all(well_formed));
    let Some(host) = host else {
        return Err(s3_error!(InvalidRequest, "The Host header is malformed."));
    };
    if head.uri.authority().is_some_and(|authority| !authority.as_str().eq_ignore_ascii_case(host)) {
        return Err(s3_error!(InvalidRequest, "The request line names another host than the Host header."));
    }
    Ok(host.to_owned())
}

fn size(head: &request::Parts) -> S3Result<()> {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let lines: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if target + lines > HEAD_BYTES_MAX || head.headers.len() > HEADERS_MAX {
        let message = "Request line and headers may have 16 KiB in 100 lines: send fewer or shorter headers.";
        return Err(custom(
            "RequestHeaderSectionTooLarge",
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            message,
        ));
    }
    Ok(())
}

/// The path must be percent-encoded properly (`s3s` lets `%zz` stand for itself) and must not hold NUL.
fn path(uri: &Uri) -> S3Result<()> {
    let bytes = uri.path().as_bytes();
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'%' {
            continue;
        }
        let digit = |byte: Option<&u8>| byte.and_then(|b| char::from(*b).to_digit(16));
        match (digit(rest.next()), digit(rest.next())) {
            (Some(0), Some(0)) => return Err(s3_error!(InvalidURI, "A key must not hold NUL.")),
            (Some(_), Some(_)) => {}
            _ => return Err(s3_error!(InvalidURI, "The path holds a % that two hex digits do not follow.")),
        }
    }
    Ok(())
}

/// The query's names and values, decoded as far as they can be; `s3s` parses them again, strictly.
pub(crate) fn query(uri: &Uri) -> Vec<(String, String)> {
    let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(n, v)| (decode(n), decode(v)))
        .collect()
}

/// Names and values of text that is written like a query; `None` where one is not percent-encoded UTF-8.
pub(crate) fn query_pairs(text: &str) -> impl Iterator<Item = Option<(String, String)>> + '_ {
    let strict = |text: &str| {
        let spaced = text.replace('+', "%20");
        let escapes = spaced.split('%').skip(1).all(|rest| {
            rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        });
        let bytes = escapes.then(|| decode_bytes(&spaced))?;
        String::from_utf8(bytes).ok()
    };
    text.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((strict(name)?, strict(value)?))
    })
}

fn decode(text: &str) -> String {
    String::from_utf8_lossy(&decode_bytes(text)).into_owned()
}

fn decode_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let pair = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match (first, pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
    }
    bytes
}

fn is_form(head: &request::Parts) -> bool {
    let form = |value: &hyper::header::HeaderValue| {
        value.as_bytes().get(..19).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/form-data"))
    };
    head.method == Method::POST && head.headers.get(CONTENT_TYPE).is_some_and(form)
}

/// A form goes to a bucket; its signature is in it.
fn form(head: &request::Parts, host_has_bucket: bool, options: &Options) -> S3Result<Plan> {
    let mut names = head.uri.path().split('/').skip(1);
    let is_bucket = host_has_bucket || names.next().is_some_and(|bucket| !bucket.is_empty());
    if !is_bucket || names.any(|name| !name.is_empty()) {
        return Err(s3_error!(MethodNotAllowed, "Post a form to its bucket; the key is one of its fields."));
    }
    let length = number(&head.headers, CONTENT_LENGTH.as_str())?
        .ok_or_else(|| s3_error!(MissingContentLength, "Send a Content-Length header."))?;
    let bytes_max = options.put_bytes_max.saturating_add(FORM_BYTES_MAX);
    if length > bytes_max {
        return Err(s3_error!(EntityTooLarge, "A form takes {bytes_max} bytes."));
    }
    Ok(Plan { chunked: None, bytes_max: length, document: None, form: true })
}

fn number(headers: &HeaderMap, name: &str) -> S3Result<Option<u64>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let number = digits.and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| s3_error!(InvalidArgument, "The header {name} is not a number of bytes."))
}

fn body(
    head: &request::Parts,
    query: &[(String, String)],
    host_has_bucket: bool,
    options: &Options,
) -> S3Result<Plan> {
    let length = number(&head.headers, CONTENT_LENGTH.as_str())?;
    let has = |name: &str| query.iter().any(|(known, _)| known == name);
    let key_start = if host_has_bucket { 1 } else { 2 };
    let has_key =
        head.uri.path().splitn(key_start + 1, '/').nth(key_start).is_some_and(|key| !key.is_empty());
    let is_data = head.method == Method::PUT && has_key && !SUBRESOURCES.iter().any(|name| has(name));
    let chunking = match payload(&head.headers)? {
        Payload::Plain => None,
        Payload::Chunked { signed, trailer } => {
            let decoded = number(&head.headers, "x-amz-decoded-content-length")?.ok_or_else(|| {
                s3_error!(MissingContentLength, "An aws-chunked body needs x-amz-decoded-content-length.")
            })?;
            Some(Chunking { signed, trailer, decoded })
        }
    };
    if !is_data {
        return document(head, chunking, length, (has("delete"), has("uploadId")));
    }
    let is_copy = head.headers.contains_key("x-amz-copy-source");
    if chunking.is_none() && length.is_none() && !is_copy {
        return Err(s3_error!(MissingContentLength, "Send a Content-Length header."));
    }
    let bytes = chunking.map_or(length, |chunking| Some(chunking.decoded)).unwrap_or_default();
    if bytes > options.put_bytes_max {
        let max = options.put_bytes_max;
        return Err(s3_error!(
            EntityTooLarge,
            "One request takes {max} bytes: upload larger objects in parts."
        ));
    }
    let bytes_max = match chunking {
        // Chunks may be as small as 8 KiB (64 bytes of data per byte of framing).
        Some(chunking) => chunking.decoded + chunking.decoded / 64 + FRAMING_BYTES_MAX,
        None => bytes,
    };
    Ok(Plan { chunked: chunking, bytes_max, document: None, form: false })
}

fn document(
    head: &request::Parts,
    chunking: Option<Chunking>,
    length: Option<u64>,
    (is_delete, is_completion): (bool, bool),
) -> S3Result<Plan> {
    if chunking.is_some() {
        return Err(s3_error!(
            InvalidRequest,
            "Send documents whole, with their SHA-256 in x-amz-content-sha256."
        ));
    }
    if length.is_some_and(|length| length > DOCUMENT_BYTES_MAX) {
        return Err(s3_error!(MalformedXML, "The document is larger than {DOCUMENT_BYTES_MAX} bytes."));
    }
    // The checksum of a completion is the finished object's, and checked in its verb.
    let digests = if is_completion {
        Digests::of_document(&head.headers)?
    } else {
        Digests::of_headers(&head.headers)?
    };
    if head.method == Method::POST && is_delete && digests.is_empty() {
        return Err(s3_error!(
            InvalidRequest,
            "DeleteObjects needs a Content-MD5 or x-amz-checksum- header."
        ));
    }
    Ok(Plan { chunked: None, bytes_max: DOCUMENT_BYTES_MAX, document: Some(digests), form: false })
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;
