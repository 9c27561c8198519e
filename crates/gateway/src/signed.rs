//! What a request's signature must look like before anybody computes one.
//!
//! `s3s` verifies signatures; here is what it leaves open or answers unclearly: old algorithms, two signatures at once,
//! the scope's region and service, `x-amz-*` headers that are not signed, presigned lifetimes.

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use crate::error::coded;

/// The one algorithm.
pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Says where we are; an error document repeats it as its Region.
pub(crate) const BUCKET_REGION: HeaderName = HeaderName::from_static("x-amz-bucket-region");
const EXPIRES_S_MAX: u64 = 7 * 24 * 3600;

/// How `x-amz-content-sha256` says that the body is protected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Payload {
    /// By its own hash in the header, or by nothing.
    Plain,
    /// aws-chunked.
    Chunked {
        /// Every chunk carries a signature.
        signed: bool,
        /// A trailer follows.
        trailer: bool,
    },
}

/// Reads `x-amz-content-sha256`.
pub(crate) fn payload(headers: &HeaderMap) -> S3Result<Payload> {
    let Some(value) = headers.get("x-amz-content-sha256") else { return Ok(Payload::Plain) };
    match value.as_bytes() {
        b"UNSIGNED-PAYLOAD" => Ok(Payload::Plain),
        b"STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(Payload::Chunked { signed: false, trailer: true }),
        b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Ok(Payload::Chunked { signed: true, trailer: false }),
        b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Ok(Payload::Chunked { signed: true, trailer: true }),
        b"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD" | b"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER" => {
            Err(wrong_algorithm())
        }
        hex if hex.len() == 64 && hex.iter().all(u8::is_ascii_hexdigit) => Ok(Payload::Plain),
        _ => Err(s3_error!(
            InvalidArgument,
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING- name, or a SHA-256 in hex."
        )),
    }
}

/// Refuses what no signature can be computed for, or none that protects the request.
pub(crate) fn inspect(headers: &HeaderMap, query: &[(String, String)], region: &str) -> S3Result<()> {
    let in_query = query.iter().any(|(name, _)| is_auth_parameter(name));
    match (headers.get(AUTHORIZATION), in_query) {
        (Some(_), true) => Err(s3_error!(
            InvalidArgument,
            "Sign either in the Authorization header or in the query, not in both."
        )),
        (Some(value), false) => in_header(value.as_bytes(), headers, region),
        (None, true) => in_url(headers, query, region),
        (None, false) => Ok(()),
    }
}

fn is_auth_parameter(name: &str) -> bool {
    matches!(
        name,
        "X-Amz-Signature" | "X-Amz-Algorithm" | "X-Amz-Credential" | "Signature" | "AWSAccessKeyId"
    )
}

fn wrong_algorithm() -> S3Error {
    s3_error!(InvalidRequest, "This signature version is not supported: use {ALGORITHM}.")
}

fn in_header(value: &[u8], headers: &HeaderMap, region: &str) -> S3Result<()> {
    let malformed = |what: &'static str| coded(S3ErrorCode::AuthorizationHeaderMalformed, what);
    let text = std::str::from_utf8(value).map_err(|_| malformed("The Authorization header is not text."))?;
    let Some(fields) = text.strip_prefix(ALGORITHM).filter(|rest| rest.starts_with(' ')) else {
        return Err(wrong_algorithm());
    };
    let field =
        |name: &str| fields.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
    let credential = field("Credential").ok_or_else(|| malformed("Authorization lacks Credential."))?;
    let signed = field("SignedHeaders").ok_or_else(|| malformed("Authorization lacks SignedHeaders."))?;
    let signature = field("Signature").ok_or_else(|| malformed("Authorization lacks Signature."))?;
    if signature.len() != 64 || !signature.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(malformed("The Signature in Authorization is not 64 hex digits."));
    }
    scope(credential, region)
        .map_err(|what| in_region(coded(S3ErrorCode::AuthorizationHeaderMalformed, what), region))?;
    if !headers.contains_key("x-amz-date") {
        return Err(s3_error!(AccessDenied, "A signed request needs an x-amz-date header."));
    }
    if !headers.contains_key("x-amz-content-sha256") {
        return Err(s3_error!(InvalidRequest, "A signed request needs an x-amz-content-sha256 header."));
    }
    all_signed(headers, signed)
}

fn in_url(headers: &HeaderMap, query: &[(String, String)], region: &str) -> S3Result<()> {
    let malformed = |what: &'static str| coded(S3ErrorCode::AuthorizationQueryParametersError, what);
    let mut fields = [None; 6];
    let names = [
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-SignedHeaders",
        "X-Amz-Signature",
    ];
    for (name, value) in query {
        if matches!(name.as_str(), "Signature" | "AWSAccessKeyId") {
            return Err(wrong_algorithm());
        }
        let field = names.iter().position(|known| known == name);
        if field.is_some_and(|at| fields[at].replace(value.as_str()).is_some()) {
            return Err(malformed("A parameter of the presigned URL is there twice."));
        }
    }
    let [algorithm, credential, date, expires, signed, signature] = fields;
    match algorithm {
        Some(ALGORITHM) => {}
        Some(_) => return Err(wrong_algorithm()),
        None => return Err(malformed("The presigned URL lacks X-Amz-Algorithm.")),
    }
    let (Some(credential), Some(_), Some(expires), Some(signed), Some(_)) =
        (credential, date, expires, signed, signature)
    else {
        return Err(malformed(
            "A presigned URL has X-Amz-Credential, -Date, -Expires, -SignedHeaders and -Signature.",
        ));
    };
    match expires.parse::<u64>() {
        Ok(1..=EXPIRES_S_MAX) => {}
        Ok(_) | Err(_) => return Err(malformed("X-Amz-Expires must be between 1 and 604800 seconds.")),
    }
    scope(credential, region).map_err(|what| coded(S3ErrorCode::AuthorizationQueryParametersError, what))?;
    all_signed(headers, signed)
}

/// Checks `KEY/DATE/REGION/SERVICE/aws4_request`; keys may hold slashes.
pub(crate) fn scope(credential: &str, region: &str) -> Result<(), String> {
    let mut fields = credential.rsplitn(5, '/');
    let (Some(terminator), Some(service), Some(given), Some(date), Some(key)) =
        (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err("The credential has the form KEY/DATE/REGION/s3/aws4_request.".into());
    };
    if key.is_empty() || date.len() != 8 || !date.bytes().all(|b| b.is_ascii_digit()) {
        return Err("The credential has the form KEY/YYYYMMDD/REGION/s3/aws4_request.".into());
    }
    if terminator != "aws4_request" {
        return Err("The credential must end in aws4_request.".into());
    }
    if service != "s3" {
        return Err("The credential's service must be s3.".into());
    }
    if given != region {
        return Err(format!("The region '{given}' is wrong; expecting '{region}'."));
    }
    Ok(())
}

/// A refusal that tells where we are: clients that guessed the region sign again.
fn in_region(mut refusal: S3Error, region: &str) -> S3Error {
    if let Ok(value) = HeaderValue::try_from(region) {
        refusal.set_headers(HeaderMap::from_iter([(BUCKET_REGION, value)]));
    }
    refusal
}

/// `host` and every `x-amz-*` header must be under the signature.
fn all_signed(headers: &HeaderMap, signed: &str) -> S3Result<()> {
    let is_signed = |name: &str| signed.split(';').any(|one| one.eq_ignore_ascii_case(name));
    if !is_signed("host") {
        return Err(s3_error!(AccessDenied, "The Host header must be signed."));
    }
    for name in headers.keys().map(hyper::header::HeaderName::as_str) {
        if name.starts_with("x-amz-") && !is_signed(name) && !says_nothing(name, headers) {
            return Err(s3_error!(
                AccessDenied,
                "There were headers present in the request which were not signed: {name}."
            ));
        }
    }
    Ok(())
}

/// A presigned request may repeat, unsigned, that its body is not signed.
fn says_nothing(name: &str, headers: &HeaderMap) -> bool {
    name == "x-amz-content-sha256" && headers.get(name).is_some_and(|value| value == "UNSIGNED-PAYLOAD")
}

#[cfg(test)]
#[path = "signed_tests.rs"]
mod tests;
