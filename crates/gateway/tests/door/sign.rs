//! SigV4 as a client does it, written from its description, independent of the server's.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use s3s::crypto::{Checksum as _, Sha256};

use crate::http::Ask;

pub const ACCESS_KEY: &str = "ROOTKEY";
pub const SECRET_KEY: &str = "root/secret+key";
pub const LOW_KEY: &str = "LOWKEY";
pub const LOW_SECRET: &str = "low secret";

/// Signs with a key.
#[derive(Clone)]
pub struct Signer {
    pub access_key: String,
    pub secret_key: String,
    pub region: String,
    pub skew_s: i64,
}

/// A signature, and what chunk signatures go on from.
pub struct Seed {
    pub signature: String,
    pub date: String,
    pub scope: String,
    key: [u8; 32],
}

impl Signer {
    /// With the root key.
    pub fn root() -> Self {
        Self::with(ACCESS_KEY, SECRET_KEY)
    }

    /// With a key that has these grants, with spaces between: the rig knows them by the key's name.
    pub fn granted(grants: &str) -> Self {
        Self::with(&format!("may-{}", hex(grants.as_bytes())), LOW_SECRET)
    }

    /// With this one.
    pub fn with(access_key: &str, secret_key: &str) -> Self {
        let (access_key, secret_key) = (access_key.into(), secret_key.into());
        Self { access_key, secret_key, region: "us-east-1".into(), skew_s: 0 }
    }

    /// Signs in the header; the payload as announced, or hashed.
    pub fn sign(&self, ask: Ask, address: SocketAddr) -> Ask {
        self.sign_seed(ask, address).0
    }

    /// Signs, and tells what chunks go on from.
    pub fn sign_seed(&self, ask: Ask, address: SocketAddr) -> (Ask, Seed) {
        let mut ask = ask.host(address);
        let date = self.date();
        if ask.get("x-amz-date").is_none() {
            ask = ask.header("x-amz-date", &date);
        }
        if ask.get("x-amz-content-sha256").is_none() {
            let hash = hex(&sha256(&ask.body));
            ask = ask.header("x-amz-content-sha256", &hash);
        }
        let payload = ask.get("x-amz-content-sha256").expect("set above").to_owned();
        let mut headers: Vec<(String, String)> = ask
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .filter(|(name, _)| !matches!(name.as_str(), "expect" | "connection" | "transfer-encoding"))
            .collect();
        headers.sort();
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let (path, query) = ask.target.split_once('?').unwrap_or((&ask.target, ""));
        let query = canonical_query(query);
        // A slash is never encoded in a canonical path, however it was sent.
        let path = path.replace("%2F", "/");
        let canonical = format!("{}\n{path}\n{query}\n{lines}\n{names}\n{payload}", ask.method);
        let seed = self.seed(&date, &canonical);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={names}, Signature={}",
            self.access_key, seed.scope, seed.signature
        );
        (ask.header("authorization", &authorization), seed)
    }

    /// Signs in the query.
    pub fn presign(&self, ask: Ask, address: SocketAddr, expires_s: u32) -> Ask {
        let mut ask = ask.host(address);
        let date = self.date();
        let scope = format!("{}/{}/s3/aws4_request", &date[..8], self.region);
        let credential = format!("{}/{scope}", self.access_key).replace('/', "%2F");
        let separator = if ask.target.contains('?') { '&' } else { '?' };
        ask.target.push_str(&format!(
            "{separator}X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={date}\
             &X-Amz-Expires={expires_s}&X-Amz-SignedHeaders=host"
        ));
        let (path, query) = ask.target.split_once('?').expect("appended above");
        let host = ask.get("host").expect("set above");
        let canonical = format!(
            "{}\n{path}\n{}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD",
            ask.method,
            canonical_query(query)
        );
        let signature = self.seed(&date, &canonical).signature;
        ask.target.push_str(&format!("&X-Amz-Signature={signature}"));
        ask
    }

    /// The credential and the date of a form.
    pub fn form_credential(&self) -> (String, String) {
        let date = self.date();
        (format!("{}/{}/{}/s3/aws4_request", self.access_key, &date[..8], self.region), date)
    }

    /// The signature of a form's policy.
    pub fn form_signature(&self, policy: &str) -> String {
        let mut key = hmac(format!("AWS4{}", self.secret_key).as_bytes(), &self.date().as_bytes()[..8]);
        for step in [self.region.as_str(), "s3", "aws4_request"] {
            key = hmac(&key, step.as_bytes());
        }
        hex(&hmac(&key, policy.as_bytes()))
    }

    fn seed(&self, date: &str, canonical: &str) -> Seed {
        let scope = format!("{}/{}/s3/aws4_request", &date[..8], self.region);
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&sha256(canonical.as_bytes())));
        let mut key = hmac(format!("AWS4{}", self.secret_key).as_bytes(), &date.as_bytes()[..8]);
        for step in [self.region.as_str(), "s3", "aws4_request"] {
            key = hmac(&key, step.as_bytes());
        }
        Seed { signature: hex(&hmac(&key, to_sign.as_bytes())), date: date.to_owned(), scope, key }
    }

    fn date(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64;
        amz_date(now + self.skew_s)
    }
}

impl Seed {
    /// Frames data in signed chunks of that size.
    pub fn chunks(mut self, data: &[u8], size: usize) -> Vec<u8> {
        let mut wire = Vec::new();
        for chunk in data.chunks(size).chain(std::iter::once(&b""[..])) {
            let empty = hex(&sha256(b""));
            let to_sign = format!(
                "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{empty}\n{}",
                self.date,
                self.scope,
                self.signature,
                hex(&sha256(chunk))
            );
            self.signature = hex(&hmac(&self.key, to_sign.as_bytes()));
            wire.extend_from_slice(
                format!("{:x};chunk-signature={}\r\n", chunk.len(), self.signature).as_bytes(),
            );
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire
    }
}

fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
        .collect();
    // By name first: `=` sorts behind some characters of names.
    pairs.sort_by(|a, b| a.split_once('=').cmp(&b.split_once('=')));
    pairs.join("&")
}

/// `YYYYMMDDTHHMMSSZ`, by Howard Hinnant's days-to-civil algorithm.
fn amz_date(unix_s: i64) -> String {
    let (days, second) = (unix_s.div_euclid(86_400), unix_s.rem_euclid(86_400));
    let z = days + 719_468;
    let (era, day_of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::checksum(bytes)
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let inner: Vec<u8> = block.iter().map(|byte| byte ^ 0x36).chain(message.iter().copied()).collect();
    let outer: Vec<u8> = block.iter().map(|byte| byte ^ 0x5c).chain(sha256(&inner)).collect();
    sha256(&outer)
}
