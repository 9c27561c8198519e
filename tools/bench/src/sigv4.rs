//! Signatures: AWS Signature Version 4 in the header, as the load generator needs it.
//!
//! Our own, so that the bench does not test the server's library with itself. Signs exactly `host`,
//! `x-amz-content-sha256` and `x-amz-date`. Paths and queries come in encoded and sorted already.
//! Source: "Authenticating Requests: Using the Authorization Header" in the Amazon S3 API reference.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// What stands for a body that the signature does not cover.
pub const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// SHA-256 of nothing.
pub const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const SIGNED_HEADERS: &str = "host;x-amz-content-sha256;x-amz-date";
const SECONDS_A_DAY: u64 = 86_400;

type HmacSha256 = Hmac<Sha256>;

/// One access key in one region.
pub struct Signer {
    access_key: String,
    secret_key: String,
    region: String,
    /// The key of the day (days since 1970), which costs four HMACs.
    key: RefCell<Option<(u64, HmacSha256)>>,
}

/// What is signed.
pub struct Request<'a> {
    /// `GET`, `PUT`, …
    pub method: &'a str,
    /// Percent-encoded.
    pub path: &'a str,
    /// Percent-encoded, sorted, without the question mark.
    pub query: &'a str,
    /// As the Host header says it.
    pub host: &'a str,
    /// Hexadecimal SHA-256 of the body, or [`UNSIGNED`].
    pub payload: &'a str,
}

/// A moment in the two forms that signatures need.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moment {
    day: u64,
    /// `20130524T000000Z`
    pub text: String,
}

impl Moment {
    /// The clock's.
    pub fn now() -> Result<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
        Ok(Self::at(since.as_secs()))
    }

    /// Seconds since 1970, UTC.
    fn at(seconds: u64) -> Self {
        let (day, second) = (seconds / SECONDS_A_DAY, seconds % SECONDS_A_DAY);
        let (year, month, date) = civil(day);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        Self { day, text: format!("{year:04}{month:02}{date:02}T{hour:02}{minute:02}{second:02}Z") }
    }

    fn date(&self) -> &str {
        &self.text[..8]
    }
}

impl Signer {
    /// Signs with these.
    pub fn new(access_key: &str, secret_key: &str, region: &str) -> Self {
        Self {
            access_key: access_key.to_string(),
            secret_key: secret_key.to_string(),
            region: region.to_string(),
            key: RefCell::new(None),
        }
    }

    /// The value of the Authorization header.
    pub fn authorization(&self, request: &Request<'_>, now: &Moment) -> String {
        let Request { method, path, query, host, payload } = request;
        let date = &now.text;
        let canonical = format!(
            "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{payload}\nx-amz-date:{date}\n\n\
             {SIGNED_HEADERS}\n{payload}"
        );
        let scope = format!("{}/{}/s3/aws4_request", now.date(), self.region);
        let canonical = hex(&Sha256::digest(canonical));
        let signature =
            self.mac(now).chain_update(format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{canonical}")).finalize();
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={SIGNED_HEADERS},Signature={}",
            self.access_key,
            hex(&signature.into_bytes())
        )
    }

    /// An HMAC that has taken in the day's key and nothing else.
    fn mac(&self, now: &Moment) -> HmacSha256 {
        let mut key = self.key.borrow_mut();
        match &*key {
            Some((day, mac)) if *day == now.day => mac.clone(),
            _ => {
                let first = keyed(format!("AWS4{}", self.secret_key).as_bytes());
                let steps = [now.date(), &self.region, "s3", "aws4_request"];
                let mac = steps
                    .iter()
                    .fold(first, |mac, step| keyed(&mac.chain_update(step).finalize().into_bytes()));
                *key = Some((now.day, mac.clone()));
                mac
            }
        }
    }
}

fn keyed(key: &[u8]) -> HmacSha256 {
    HmacSha256::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// The body's SHA-256 as signatures want it.
pub fn payload_hash(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Percent-encodes everything but the unreserved characters, as canonical queries want it.
pub fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => {
                let _ = write!(encoded, "%{other:02X}");
            }
        }
        encoded
    })
}

/// Year, month and day of a day since 1970 (Howard Hinnant's `civil_from_days`).
fn civil(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, day_of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2013-05-24, the day of the examples in the API reference.
    const EXAMPLE_SECONDS: u64 = 1_369_353_600;

    #[test]
    fn the_examples_of_the_api_reference_come_out() {
        let signer =
            Signer::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1");
        for (query, signature) in [
            ("lifecycle=", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            ("max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
        ] {
            let request = Request {
                method: "GET",
                path: "/",
                query,
                host: "examplebucket.s3.amazonaws.com",
                payload: EMPTY,
            };
            let header = signer.authorization(&request, &Moment::at(EXAMPLE_SECONDS));
            assert_eq!(
                header,
                format!(
                    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
                     SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature={signature}"
                )
            );
        }
    }

    #[test]
    fn the_day_key_changes_with_the_day() {
        let signer = Signer::new("a", "b", "c");
        let request = Request { method: "GET", path: "/", query: "", host: "h", payload: UNSIGNED };
        let today = signer.authorization(&request, &Moment::at(EXAMPLE_SECONDS));
        let tomorrow = Moment::at(EXAMPLE_SECONDS + SECONDS_A_DAY);
        let fresh = Signer::new("a", "b", "c").authorization(&request, &tomorrow);
        assert_eq!(signer.authorization(&request, &tomorrow), fresh);
        assert_ne!(today, fresh);
    }

    #[test]
    fn dates_follow_the_calendar() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (951_868_800, "20000301T000000Z"),
            (1_735_689_599, "20241231T235959Z"),
        ] {
            assert_eq!(Moment::at(seconds).text, text);
        }
    }

    #[test]
    fn queries_are_encoded_and_bodies_hashed() {
        assert_eq!(encode("a/b+c=d ~é"), "a%2Fb%2Bc%3Dd%20~%C3%A9");
        assert_eq!(payload_hash(b""), EMPTY);
    }
}
