//! Signatures that are refused by their looks.

// A table of cases spells its type out.
#![allow(clippy::type_complexity)]

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use super::{Payload, inspect, payload};

const SCOPE: &str = "AKID/20261120/us-east-1/s3/aws4_request";

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            let name = HeaderName::try_from(*name).expect("a header name");
            (name, HeaderValue::try_from(*value).expect("a header value"))
        })
        .collect()
}

fn signature() -> String {
    "0f".repeat(32)
}

fn header_code(authorization: &str, more: &[(&str, &str)]) -> String {
    let mut pairs = vec![("authorization", authorization), ("x-amz-date", "20261120T000000Z")];
    pairs.push(("x-amz-content-sha256", "UNSIGNED-PAYLOAD"));
    pairs.extend_from_slice(more);
    code(inspect(&headers(&pairs), &[], "us-east-1"))
}

fn code(result: s3s::S3Result<()>) -> String {
    result.map_or_else(|error| error.code().as_str().to_owned(), |()| "ok".to_owned())
}

#[test]
fn authorization_headers() {
    let signature = signature();
    let make = |scope: &str, signed: &str| {
        format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={signed}, Signature={signature}")
    };
    let all = "host;x-amz-content-sha256;x-amz-date";
    let malformed = "AuthorizationHeaderMalformed";
    let cases = [
        (make(SCOPE, all), "ok"),
        (make(SCOPE, all).replace(", ", ","), "ok"),
        (make("a/b/20261120/us-east-1/s3/aws4_request", all), "ok"),
        (make(SCOPE, "host;x-amz-content-sha256"), "AccessDenied"),
        (make(SCOPE, "x-amz-content-sha256;x-amz-date"), "AccessDenied"),
        (make("AKID/us-east-1/s3/aws4_request", all), malformed),
        (make("AKID/20261120/eu-west-1/s3/aws4_request", all), malformed),
        (make("AKID/20261120/us-east-1/sts/aws4_request", all), malformed),
        (make("AKID/20261120/us-east-1/s3/aws3_request", all), malformed),
        (make("AKID/2026112/us-east-1/s3/aws4_request", all), malformed),
        (make("/20261120/us-east-1/s3/aws4_request", all), malformed),
        (make(SCOPE, all).replace("Credential=", "C="), malformed),
        (make(SCOPE, all).replace("SignedHeaders=", "S="), malformed),
        (make(SCOPE, all).replace("Signature=", "S="), malformed),
        (make(SCOPE, all).replace("0f0f", "0"), malformed),
        ("AWS AKID:c2lnbmF0dXJl".into(), "InvalidRequest"),
        ("AWS4-ECDSA-P256-SHA256 Credential=x".into(), "InvalidRequest"),
        ("AWS4-HMAC-SHA256".into(), "InvalidRequest"),
        ("AWS4-HMAC-SHA256 ".into(), malformed),
        ("Bearer x".into(), "InvalidRequest"),
        ("".into(), "InvalidRequest"),
    ];
    for (authorization, expected) in cases {
        assert_eq!(header_code(&authorization, &[]), expected, "{authorization}");
    }
    assert_eq!(header_code(&make(SCOPE, all), &[("x-amz-acl", "private")]), "AccessDenied");
    assert_eq!(header_code(&make(SCOPE, all), &[("x-amzn-trace-id", "1")]), "ok");
    assert_eq!(header_code(&make(SCOPE, all), &[("content-type", "text/plain")]), "ok");
}

#[test]
fn a_signed_request_says_when_and_what() {
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={SCOPE},SignedHeaders=host,Signature={}", signature());
    let cases = [
        (vec![("authorization", authorization.as_str())], "AccessDenied"),
        (vec![("authorization", &authorization), ("x-amz-date", "20261120T000000Z")], "InvalidRequest"),
    ];
    for (pairs, expected) in cases {
        assert_eq!(code(inspect(&headers(&pairs), &[], "us-east-1")), expected);
    }
}

fn presigned(change: &[(&str, Option<&str>)]) -> Vec<(String, String)> {
    let signature = signature();
    let mut query: Vec<(String, String)> = [
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("X-Amz-Credential", SCOPE),
        ("X-Amz-Date", "20261120T000000Z"),
        ("X-Amz-Expires", "600"),
        ("X-Amz-SignedHeaders", "host"),
        ("X-Amz-Signature", &signature),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    for (name, value) in change {
        query.retain(|(known, _)| known != name);
        query.extend(value.map(|value| ((*name).to_owned(), value.to_owned())));
    }
    query
}

#[test]
fn presigned_urls() {
    let malformed = "AuthorizationQueryParametersError";
    let cases: [(&[(&str, Option<&str>)], &str); 17] = [
        (&[], "ok"),
        (&[("X-Amz-Expires", Some("1"))], "ok"),
        (&[("X-Amz-Expires", Some("604800"))], "ok"),
        (&[("X-Amz-Expires", Some("604801"))], malformed),
        (&[("X-Amz-Expires", Some("0"))], malformed),
        (&[("X-Amz-Expires", Some("-1"))], malformed),
        (&[("X-Amz-Expires", Some("abc"))], malformed),
        (&[("X-Amz-Expires", None)], malformed),
        (&[("X-Amz-Signature", None)], malformed),
        (&[("X-Amz-Date", None)], malformed),
        (&[("X-Amz-SignedHeaders", None)], malformed),
        (&[("X-Amz-SignedHeaders", Some("content-type"))], "AccessDenied"),
        (&[("X-Amz-Algorithm", None)], malformed),
        (&[("X-Amz-Algorithm", Some("AWS4-ECDSA-P256-SHA256"))], "InvalidRequest"),
        (&[("X-Amz-Credential", Some("AKID/20261120/eu/s3/aws4_request"))], malformed),
        (&[("Signature", Some("c2ln"))], "InvalidRequest"),
        (&[("AWSAccessKeyId", Some("AKID"))], "InvalidRequest"),
    ];
    for (change, expected) in cases {
        let query = presigned(change);
        assert_eq!(code(inspect(&HeaderMap::new(), &query, "us-east-1")), expected, "{change:?}");
    }
    let mut twice = presigned(&[]);
    twice.push(("X-Amz-Expires".into(), "700".into()));
    assert_eq!(code(inspect(&HeaderMap::new(), &twice, "us-east-1")), malformed);
    let unsigned_header = headers(&[("x-amz-meta-a", "b")]);
    assert_eq!(code(inspect(&unsigned_header, &presigned(&[]), "us-east-1")), "AccessDenied");
    let harmless = headers(&[("x-amz-content-sha256", "UNSIGNED-PAYLOAD")]);
    assert_eq!(code(inspect(&harmless, &presigned(&[]), "us-east-1")), "ok");
    let both = headers(&[("authorization", "AWS4-HMAC-SHA256 x")]);
    assert_eq!(code(inspect(&both, &presigned(&[]), "us-east-1")), "InvalidArgument");
}

#[test]
fn payload_words() {
    let hex = "AB".repeat(32);
    let cases = [
        ("UNSIGNED-PAYLOAD", Ok(Payload::Plain)),
        (&hex, Ok(Payload::Plain)),
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", Ok(Payload::Chunked { signed: false, trailer: true })),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", Ok(Payload::Chunked { signed: true, trailer: false })),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", Ok(Payload::Chunked { signed: true, trailer: true })),
        ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", Err("InvalidRequest")),
        ("unsigned-payload", Err("InvalidArgument")),
        ("", Err("InvalidArgument")),
        ("zz", Err("InvalidArgument")),
    ];
    for (value, expected) in cases {
        let got =
            payload(&headers(&[("x-amz-content-sha256", value)])).map_err(|e| e.code().as_str().to_owned());
        assert_eq!(got, expected.map_err(str::to_owned), "{value}");
    }
    assert_eq!(payload(&HeaderMap::new()).ok(), Some(Payload::Plain));
}
