//! Heads that are refused, and what is planned for the others.

// A table of cases spells its type out.
#![allow(clippy::type_complexity)]

use hyper::Request;

use super::{Chunking, Plan, query, screen};
use crate::host::Hosts;
use crate::options::Options;

fn told(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Plan, String> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (head, ()) = request.body(()).expect("a request that hyper would hand over").into_parts();
    let hosts = Hosts::new(&["s3.test".into()]);
    screen(&head, &hosts, "us-east-1", &Options::default()).map_err(|error| {
        format!("{} {}", error.status_code().map_or(0, |status| status.as_u16()), error.code().as_str())
    })
}

fn refusal(method: &str, target: &str, headers: &[(&str, &str)]) -> String {
    match told(method, target, headers) {
        Ok(_) => "ok".to_owned(),
        Err(code) => code,
    }
}

#[test]
fn heads_that_are_not_one_request_to_this_host() {
    let host = ("host", "h:9000");
    let long = "x".repeat(17 << 10);
    let cases: [(&str, &str, &[(&str, &str)], &str); 22] = [
        ("GET", "/b/k", &[host], "ok"),
        ("GET", "/b/k", &[], "400 InvalidRequest"),
        ("GET", "/b/k", &[host, host], "400 InvalidRequest"),
        ("GET", "/b/k", &[("host", "")], "400 InvalidRequest"),
        ("GET", "/b/k", &[("host", "a b")], "400 InvalidRequest"),
        ("GET", "/b/k", &[("host", "a/b")], "400 InvalidRequest"),
        ("GET", "http://h:9000/b/k", &[host], "ok"),
        ("GET", "http://other/b/k", &[host], "400 InvalidRequest"),
        ("TRACE", "/b/k", &[host], "405 MethodNotAllowed"),
        ("GET", "/b/k", &[host, ("x-long", &long)], "431 RequestHeaderSectionTooLarge"),
        ("PUT", "/b/k", &[host, ("transfer-encoding", "gzip, chunked")], "501 NotImplemented"),
        ("GET", "/b/k", &[host, ("range", "bytes=0-1"), ("range", "bytes=2-3")], "400 InvalidArgument"),
        ("GET", "/b/%zz", &[host], "400 InvalidURI"),
        ("GET", "/b/%", &[host], "400 InvalidURI"),
        ("GET", "/b/a%2", &[host], "400 InvalidURI"),
        ("GET", "/b/%00", &[host], "400 InvalidURI"),
        ("GET", "/b/%2e%2e/%2e%2e/etc/passwd", &[host], "ok"),
        ("GET", "/b//a/./b", &[host], "ok"),
        (
            "POST",
            "/b",
            &[host, ("content-type", "Multipart/Form-Data; boundary=x")],
            "411 MissingContentLength",
        ),
        (
            "POST",
            "/b/k",
            &[host, ("content-type", "multipart/form-data"), ("content-length", "1")],
            "405 MethodNotAllowed",
        ),
        (
            "POST",
            "/",
            &[host, ("content-type", "multipart/form-data"), ("content-length", "1")],
            "405 MethodNotAllowed",
        ),
        ("POST", "/b/", &[host, ("content-type", "multipart/form-data"), ("content-length", "1")], "ok"),
    ];
    for (method, target, headers, expected) in cases {
        assert_eq!(refusal(method, target, headers), expected, "{method} {target} {headers:?}");
    }
    let many: Vec<(&str, &str)> = std::iter::once(host).chain((0..100).map(|_| ("x-a", "b"))).collect();
    assert_eq!(refusal("GET", "/", &many), "431 RequestHeaderSectionTooLarge");
    assert_eq!(refusal("GET", "/", &many[..100]), "ok");
}

#[test]
fn bodies_say_how_long_they_are() {
    let host = ("host", "h");
    let streaming = ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
    let md5 = ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==");
    let cases: [(&str, &str, &[(&str, &str)], &str); 17] = [
        ("PUT", "/b/k", &[host, ("content-length", "5")], "ok"),
        ("PUT", "/b/k", &[host], "411 MissingContentLength"),
        ("PUT", "/b/k", &[host, ("transfer-encoding", "chunked")], "411 MissingContentLength"),
        ("PUT", "/b/k", &[host, ("x-amz-copy-source", "b/o")], "ok"),
        ("PUT", "/b/k", &[host, ("content-length", "5368709120")], "ok"),
        ("PUT", "/b/k", &[host, ("content-length", "5368709121")], "400 EntityTooLarge"),
        ("PUT", "/b/k", &[host, streaming], "411 MissingContentLength"),
        ("PUT", "/b/k", &[host, streaming, ("x-amz-decoded-content-length", "x")], "400 InvalidArgument"),
        ("PUT", "/b/k", &[host, streaming, ("x-amz-decoded-content-length", "-1")], "400 InvalidArgument"),
        ("PUT", "/b/k", &[host, streaming, ("x-amz-decoded-content-length", "5")], "ok"),
        (
            "PUT",
            "/b/k",
            &[host, streaming, ("x-amz-decoded-content-length", "5368709121")],
            "400 EntityTooLarge",
        ),
        ("PUT", "/b", &[host], "ok"),
        ("PUT", "/b?versioning", &[host, ("content-length", "3000000")], "400 MalformedXML"),
        (
            "PUT",
            "/b/k?tagging",
            &[host, streaming, ("x-amz-decoded-content-length", "5")],
            "400 InvalidRequest",
        ),
        ("POST", "/b?delete", &[host, ("content-length", "5")], "400 InvalidRequest"),
        ("POST", "/b/?delete=", &[host, ("content-length", "5"), md5], "ok"),
        ("POST", "/b?delete", &[host, ("content-md5", "x")], "400 InvalidDigest"),
    ];
    for (method, target, headers, expected) in cases {
        assert_eq!(refusal(method, target, headers), expected, "{method} {target} {headers:?}");
    }
}

#[test]
fn data_and_documents_are_told_apart() {
    let length = ("content-length", "5");
    let cases = [
        ("PUT", "/b/k", "h", true),
        ("PUT", "/b/k?partNumber=1&uploadId=x", "h", true),
        ("PUT", "/b/k?x-id=PutObject", "h", true),
        ("PUT", "/b//", "h", true),
        ("PUT", "/b/", "h", false),
        ("PUT", "/b/k?tagging", "h", false),
        ("PUT", "/k", "b.s3.test", true),
        ("PUT", "/", "b.s3.test", false),
        ("POST", "/b/k?uploadId=x", "h", false),
        ("GET", "/b/k", "h", false),
    ];
    for (method, target, host, is_data) in cases {
        let plan = told(method, target, &[("host", host), length]).expect("well formed");
        assert_eq!(plan.document.is_none(), is_data, "{method} {target}");
    }
    let streaming = [
        ("host", "h"),
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        ("x-amz-decoded-content-length", "65536"),
    ];
    let plan = told("PUT", "/b/k", &streaming).expect("well formed");
    assert_eq!(plan.chunked, Some(Chunking { signed: true, trailer: false, decoded: 65_536 }));
    assert!(plan.bytes_max > 65_536 && plan.bytes_max < 200_000);
}

#[test]
fn queries_are_decoded_leniently() {
    let uri = "/b?a=b%2Fc&d&e=&f=g+h&%zz=%".parse().expect("a target");
    let expected = [("a", "b/c"), ("d", ""), ("e", ""), ("f", "g h"), ("%zz", "%")];
    let expected: Vec<_> = expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    assert_eq!(query(&uri), expected);
}
