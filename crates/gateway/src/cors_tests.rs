//! Which rule a browser meets, and what it is told.

use hyper::HeaderMap;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderName,
};
use s3s::dto::CORSRule;

use super::{DOCUMENT, Rules};

fn rule(origins: &[&str], methods: &[&str], headers: &[&str]) -> CORSRule {
    let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    CORSRule {
        allowed_headers: Some(list(headers)),
        allowed_methods: list(methods),
        allowed_origins: list(origins),
        expose_headers: None,
        id: None,
        max_age_seconds: None,
    }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value")))
        .collect()
}

fn code(rules: &[CORSRule]) -> String {
    Rules::of_document(rules).map_or_else(|error| error.code().as_str().to_owned(), |_| "ok".to_owned())
}

#[test]
fn documents_are_checked() {
    let with = |change: fn(&mut CORSRule)| {
        let mut rule = rule(&["*"], &["GET"], &[]);
        change(&mut rule);
        vec![rule]
    };
    let cases: Vec<(Vec<CORSRule>, &str)> = vec![
        (vec![], "MalformedXML"),
        (vec![rule(&["*"], &["GET"], &[]); 101], "MalformedXML"),
        (vec![rule(&["*"], &["GET"], &[]); 100], "ok"),
        (vec![rule(&[], &["GET"], &[])], "MalformedXML"),
        (vec![rule(&["*"], &[], &[])], "MalformedXML"),
        (vec![rule(&["*"], &["OPTIONS"], &[])], "InvalidRequest"),
        (vec![rule(&["*"], &["get"], &[])], "InvalidRequest"),
        (vec![rule(&["http://*.*"], &["GET"], &[])], "InvalidRequest"),
        (vec![rule(&["*"], &["GET"], &["x-*-*"])], "InvalidRequest"),
        (vec![rule(&["a\r\nb"], &["GET"], &[])], "InvalidRequest"),
        (with(|rule| rule.expose_headers = Some(vec!["x-*".into()])), "InvalidRequest"),
        (with(|rule| rule.expose_headers = Some(vec!["a\r\nset-cookie: b".into()])), "InvalidRequest"),
        (with(|rule| rule.id = Some("i".repeat(256))), "InvalidRequest"),
        (with(|rule| rule.max_age_seconds = Some(-1)), "InvalidRequest"),
        (with(|rule| rule.max_age_seconds = Some(0)), "ok"),
    ];
    for (rules, expected) in cases {
        assert_eq!(code(&rules), expected, "{rules:?}");
    }
}

#[test]
fn the_first_rule_that_fits_answers() {
    let mut second = rule(&["https://*.example.com"], &["GET", "PUT"], &["x-amz-*", "Content-Type"]);
    second.max_age_seconds = Some(60);
    second.expose_headers = Some(vec!["ETag".into()]);
    let rules = Rules::of_document(&[rule(&["https://a.org"], &["GET"], &[]), second]).expect("valid");
    assert_eq!(Rules::of_kept(&rules.kept()), Some(rules.clone()));
    let origin = |answer: Option<HeaderMap>| {
        answer.map(|told| told[&ACCESS_CONTROL_ALLOW_ORIGIN].to_str().expect("text").to_owned())
    };
    let cases = [
        ("https://a.org", "GET", Some("https://a.org")),
        ("https://a.org", "PUT", None),
        ("https://x.example.com", "PUT", Some("https://x.example.com")),
        ("https://example.com", "GET", None),
        ("https://x.example.com.evil.org", "GET", None),
        ("null", "GET", None),
    ];
    for (asked, method, expected) in cases {
        let asked = headers(&[("origin", asked)]);
        assert_eq!(origin(rules.answer(method, &asked)).as_deref(), expected, "{asked:?} {method}");
    }
    assert!(rules.answer("GET", &HeaderMap::new()).is_none(), "no browser asks");
    let preflight = |wanted: &str| {
        let asked = [
            ("origin", "https://x.example.com"),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", wanted),
        ];
        rules.preflight(&headers(&asked))
    };
    let told = preflight("X-Amz-Date, content-type").expect("allowed");
    assert_eq!(told[&ACCESS_CONTROL_ALLOW_HEADERS], "x-amz-date, content-type");
    assert_eq!(told[&ACCESS_CONTROL_MAX_AGE], "60");
    assert_eq!(told[&ACCESS_CONTROL_EXPOSE_HEADERS], "ETag");
    assert_eq!(told[&ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
    assert!(preflight("x-other").is_none());
    assert!(preflight("").is_some());
}

#[test]
fn every_origin_is_told_as_such_and_without_credentials() {
    let rules = Rules::of_document(&[rule(&["*"], &["GET"], &[])]).expect("valid");
    let told = rules.answer("GET", &headers(&[("origin", "https://x.org")])).expect("allowed");
    assert_eq!(told[&ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    assert!(told.get(&ACCESS_CONTROL_ALLOW_CREDENTIALS).is_none());
}

#[test]
fn what_cannot_be_read_allows_nothing() {
    let documents = vec![(DOCUMENT.to_owned(), b"{".to_vec())];
    assert_eq!(Rules::of_bucket(&documents), Rules::default());
    assert!(Rules::default().answer("GET", &headers(&[("origin", "https://x.org")])).is_none());
}
