//! Signatures: AWS Signature Version 4 in the header. Every body is hashed, so the endpoint checks what it got.
//!
//! Source: "Authenticating Requests: Using the Authorization Header" in the Amazon S3 API reference.

use std::fmt;
use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use zeroize::Zeroizing;

use crate::moment::Moment;

/// Who asks. The secret is wiped when it is dropped and never printed.
#[derive(Clone)]
pub struct Credentials {
    access_key: String,
    secret_key: Zeroizing<String>,
    token: Option<Zeroizing<String>>,
}

impl Credentials {
    /// An access key, its secret and, of temporary ones, the session's token.
    pub fn new(access_key: &str, secret_key: &str, token: Option<&str>) -> Self {
        Self {
            access_key: access_key.to_owned(),
            secret_key: Zeroizing::new(secret_key.to_owned()),
            token: token.map(|token| Zeroizing::new(token.to_owned())),
        }
    }

    /// The public half.
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_ref().map(|token| token.as_str())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// What is signed.
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    /// Percent-encoded.
    pub(crate) path: &'a str,
    /// Percent-encoded, sorted, without the question mark.
    pub(crate) query: &'a str,
    /// Names in lower case, sorted, with their values.
    pub(crate) headers: &'a [(String, String)],
    /// Hexadecimal SHA-256 of the body.
    pub(crate) payload: &'a str,
}

/// The value of the Authorization header.
pub(crate) fn authorization(who: &Credentials, region: &str, at: Moment, what: &Signed<'_>) -> String {
    let stamp = at.compact();
    let date = &stamp[..8];
    let names: Vec<&str> = what.headers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let mut canonical = format!("{}\n{}\n{}\n", what.method, what.path, what.query);
    for (name, value) in what.headers {
        // Inner runs of spaces count as one.
        let value: Vec<&str> = value.split_ascii_whitespace().collect();
        let _ = writeln!(canonical, "{name}:{}", value.join(" "));
    }
    let _ = write!(canonical, "\n{names}\n{}", what.payload);
    let scope = format!("{date}/{region}/s3/aws4_request");
    let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", sha256_hex(canonical.as_bytes()));
    let first = Zeroizing::new(format!("AWS4{}", who.secret_key.as_str()));
    let mut key = hmac(first.as_bytes(), date);
    for step in [region, "s3", "aws4_request"] {
        key = hmac(&key, step);
    }
    let signature = hex(&hmac(&key, &to_sign));
    format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}",
        who.access_key
    )
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    sign(&Key::new(HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// The SHA-256 of bytes as signatures want it.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2013-05-24, the day of the examples in the API reference.
    const EXAMPLE_SECONDS: u64 = 1_369_353_600;

    #[test]
    fn the_examples_of_the_api_reference_come_out() {
        let who = Credentials::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None);
        let empty = sha256_hex(b"");
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = [
            header("host", "examplebucket.s3.amazonaws.com"),
            header("x-amz-content-sha256", &empty),
            header("x-amz-date", "20130524T000000Z"),
        ];
        let ranged =
            [headers[0].clone(), header("range", "bytes=0-9"), headers[1].clone(), headers[2].clone()];
        for (path, query, headers, signature) in [
            (
                "/",
                "lifecycle=",
                &headers[..],
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            ),
            (
                "/",
                "max-keys=2&prefix=J",
                &headers[..],
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
            (
                "/test.txt",
                "",
                &ranged[..],
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
        ] {
            let what = Signed { method: "GET", path, query, headers, payload: &empty };
            let text = authorization(&who, "us-east-1", Moment::at(EXAMPLE_SECONDS), &what);
            assert!(text.ends_with(&format!("Signature={signature}")), "{text}");
            assert!(text.starts_with(
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;"
            ));
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let shown = format!("{:?}", Credentials::new("AK", "hidden-secret", Some("hidden-token")));
        assert!(shown.contains("AK") && !shown.contains("hidden"), "{shown}");
    }
}
