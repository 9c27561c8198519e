//! CORS: a bucket's rules, which of them a browser's request meets, and the headers that say so.
//!
//! Rules are kept as a JSON document of the bucket, [`DOCUMENT`]. Pure: rules and a request's headers in, headers out
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/cors.html>).

use hyper::HeaderMap;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderName, HeaderValue, ORIGIN, VARY,
};
use s3s::dto::CORSRule;
use s3s::{S3Result, s3_error};
use serde::{Deserialize, Serialize};

/// The bucket document that holds the rules.
pub(crate) const DOCUMENT: &str = "cors";
const RULES_MAX: usize = 100;
const ID_CHARS_MAX: usize = 255;
/// Of one list in a rule, and of one text in a list: the document as a whole is bounded already.
const LIST_MAX: usize = 100;
const METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "HEAD"];
/// What caches must tell apart.
const VARIES: &str = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";

/// A bucket's rules, in their order.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    id: Option<String>,
    origins: Vec<String>,
    methods: Vec<String>,
    headers: Vec<String>,
    exposed: Vec<String>,
    max_age_s: Option<i32>,
}

impl Rules {
    /// Out of a client's document.
    pub(crate) fn of_document(rules: &[CORSRule]) -> S3Result<Self> {
        if rules.is_empty() || rules.len() > RULES_MAX {
            return Err(s3_error!(MalformedXML, "List between 1 and {RULES_MAX} rules."));
        }
        Ok(Self { rules: rules.iter().map(Rule::of_document).collect::<S3Result<_>>()? })
    }

    /// As clients see them.
    pub(crate) fn document(&self) -> Vec<CORSRule> {
        let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
        let told = |rule: &Rule| CORSRule {
            allowed_headers: some(&rule.headers),
            allowed_methods: rule.methods.clone(),
            allowed_origins: rule.origins.clone(),
            expose_headers: some(&rule.exposed),
            id: rule.id.clone(),
            max_age_seconds: rule.max_age_s,
        };
        self.rules.iter().map(told).collect()
    }

    /// As they are kept.
    pub(crate) fn kept(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are always JSON")
    }

    /// Out of what is kept; `None`: it cannot be read.
    pub(crate) fn of_kept(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Out of a bucket's documents; no rules where there are none, or none that can be read: then nothing is allowed.
    pub(crate) fn of_bucket(documents: &[(String, Vec<u8>)]) -> Self {
        let found = documents.iter().find(|(name, _)| name == DOCUMENT);
        found.and_then(|(_, bytes)| Self::of_kept(bytes)).unwrap_or_default()
    }

    /// What the answer to a request with these headers adds; `None`: no rule allows it.
    pub(crate) fn answer(&self, method: &str, headers: &HeaderMap) -> Option<HeaderMap> {
        let origin = text(headers, &ORIGIN)?;
        let rule = self.rules.iter().find(|rule| rule.fits(origin, method, &[]))?;
        Some(rule.tell(origin))
    }

    /// The same for a browser's question before a request.
    pub(crate) fn preflight(&self, headers: &HeaderMap) -> Option<HeaderMap> {
        let origin = text(headers, &ORIGIN)?;
        let method = text(headers, &ACCESS_CONTROL_REQUEST_METHOD)?;
        let wanted = text(headers, &ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or_default();
        let wanted: Vec<&str> = wanted.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        let rule = self.rules.iter().find(|rule| rule.fits(origin, method, &wanted))?;
        let mut told = rule.tell(origin);
        let mut add = |name: HeaderName, value: String| {
            if let Ok(value) = HeaderValue::try_from(value) {
                told.insert(name, value);
            }
        };
        if !wanted.is_empty() {
            add(ACCESS_CONTROL_ALLOW_HEADERS, wanted.join(", ").to_ascii_lowercase());
        }
        if let Some(seconds) = rule.max_age_s {
            add(ACCESS_CONTROL_MAX_AGE, seconds.to_string());
        }
        Some(told)
    }
}

impl Rule {
    fn of_document(rule: &CORSRule) -> S3Result<Self> {
        let (origins, methods) = (rule.allowed_origins.clone(), rule.allowed_methods.clone());
        let (headers, exposed) = (
            rule.allowed_headers.clone().unwrap_or_default(),
            rule.expose_headers.clone().unwrap_or_default(),
        );
        if origins.is_empty() || methods.is_empty() {
            return Err(s3_error!(MalformedXML, "Every rule has an AllowedOrigin and an AllowedMethod."));
        }
        if [&origins, &methods, &headers, &exposed].iter().any(|list| list.len() > LIST_MAX) {
            return Err(s3_error!(MalformedXML, "A rule lists at most {LIST_MAX} of each kind."));
        }
        if let Some(method) = methods.iter().find(|method| !METHODS.contains(&method.as_str())) {
            return Err(s3_error!(
                InvalidRequest,
                "Found unsupported HTTP method in CORS config: '{method}'."
            ));
        }
        if origins.iter().chain(&headers).any(|pattern| pattern.matches('*').count() > 1) {
            return Err(s3_error!(InvalidRequest, "An AllowedOrigin or AllowedHeader has at most one *."));
        }
        if exposed.iter().any(|name| name.contains('*')) {
            return Err(s3_error!(InvalidRequest, "An ExposeHeader has no *."));
        }
        let printable = |text: &String| HeaderValue::try_from(text.as_str()).is_ok();
        if !origins.iter().chain(&headers).chain(&exposed).all(printable) {
            return Err(s3_error!(InvalidRequest, "A rule holds something that no header can hold."));
        }
        if rule.id.as_ref().is_some_and(|id| id.chars().count() > ID_CHARS_MAX) {
            return Err(s3_error!(InvalidRequest, "A rule's ID has at most {ID_CHARS_MAX} characters."));
        }
        if rule.max_age_seconds.is_some_and(|seconds| seconds < 0) {
            return Err(s3_error!(InvalidRequest, "MaxAgeSeconds is not negative."));
        }
        Ok(Self { id: rule.id.clone(), origins, methods, headers, exposed, max_age_s: rule.max_age_seconds })
    }

    fn fits(&self, origin: &str, method: &str, wanted: &[&str]) -> bool {
        self.origins.iter().any(|pattern| matches(pattern, origin))
            && self.methods.iter().any(|known| known == method)
            && wanted.iter().all(|name| {
                let name = name.to_ascii_lowercase();
                self.headers.iter().any(|pattern| matches(&pattern.to_ascii_lowercase(), &name))
            })
    }

    fn tell(&self, origin: &str) -> HeaderMap {
        // An origin is only repeated where a rule names it: `*` never goes with credentials.
        let any = self.origins.iter().any(|pattern| pattern == "*");
        let mut told = HeaderMap::new();
        let mut add = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::try_from(value) {
                told.insert(name, value);
            }
        };
        add(ACCESS_CONTROL_ALLOW_ORIGIN, if any { "*" } else { origin });
        add(ACCESS_CONTROL_ALLOW_METHODS, &self.methods.join(", "));
        if !any {
            add(ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        }
        if !self.exposed.is_empty() {
            add(ACCESS_CONTROL_EXPOSE_HEADERS, &self.exposed.join(", "));
        }
        add(VARY, VARIES);
        told
    }
}

/// Whether a text fits a pattern with at most one `*`.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => {
            text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end)
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty())
}

#[cfg(test)]
#[path = "cors_tests.rs"]
mod tests;
