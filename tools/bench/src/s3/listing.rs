//! Listings: pages of ListObjectsV2, read to the end and checked for order and completeness.

use std::cell::RefCell;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::round::{Limits, Tally};
use crate::connection::Connection;
use crate::sigv4::encode;

/// What S3 gives at most, and what every client asks for.
const KEYS_A_PAGE: u64 = 1000;

/// What a listing must show.
#[derive(Clone)]
pub struct Expected {
    /// Where.
    pub bucket: String,
    /// Under which prefix.
    pub prefix: String,
    /// How many keys.
    pub keys: u64,
}

/// One page, as far as it matters here.
#[derive(PartialEq, Eq, Debug)]
struct Page {
    keys: u64,
    first: String,
    last: String,
    next: Option<String>,
}

/// Lists everything, again and again until the time is over; once at least.
pub async fn run(
    mut connection: Connection,
    expected: Expected,
    tally: &RefCell<Tally>,
    begun: Instant,
    limits: Limits,
) -> Result<()> {
    let pages_max = expected.keys / KEYS_A_PAGE + 2;
    loop {
        let (mut keys, mut last, mut token) = (0, String::new(), None);
        for _ in 0..pages_max {
            let start = Instant::now();
            let text = match connection
                .page(&format!("/{}", expected.bucket), &query(&expected.prefix, token.as_deref()))
                .await
            {
                Ok(text) => text,
                // A listing with a hole is no listing.
                Err(failure) => return Err(failure).context("listing"),
            };
            let latency = start.elapsed();
            let page = Page::read(&text)?;
            ensure!(page.first > last, "listing: {:?} came after {last:?}", page.first);
            keys += page.keys;
            tally.borrow_mut().count(latency, 0, page.keys);
            (last, token) = (page.last, page.next);
            if token.is_none() {
                break;
            }
        }
        ensure!(keys == expected.keys, "listing: {keys} keys of {}", expected.keys);
        if begun.elapsed() >= limits.time {
            return Ok(());
        }
    }
}

fn query(prefix: &str, token: Option<&str>) -> String {
    let token = token.map(|token| format!("continuation-token={}&", encode(token))).unwrap_or_default();
    format!("{token}list-type=2&max-keys={KEYS_A_PAGE}&prefix={}", encode(prefix))
}

impl Page {
    /// Our own keys need no XML escapes, so this may be as simple as it is.
    fn read(xml: &str) -> Result<Self> {
        let (mut keys, mut first, mut last) = (0, "", "");
        for key in xml.split("<Key>").skip(1) {
            let key = key.split_once("</Key>").context("listing: a key has no end")?.0;
            ensure!(key > last, "listing: {key:?} comes after {last:?}");
            if keys == 0 {
                first = key;
            }
            last = key;
            keys += 1;
        }
        ensure!(keys > 0, "listing: an empty page: {}", xml.chars().take(300).collect::<String>());
        let element = |name: &str| {
            let begin = xml.split_once(&format!("<{name}>"))?.1;
            Some(begin.split_once('<')?.0)
        };
        let next = match element("IsTruncated") {
            Some("true") => {
                Some(element("NextContinuationToken").context("listing: truncated, and no token")?)
            }
            _ => None,
        };
        let next =
            next.map(|token| token.replace("&#x2F;", "/").replace("&#x3D;", "=").replace("&amp;", "&"));
        Ok(Self { keys, first: first.to_string(), last: last.to_string(), next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read_and_disorder_is_an_error() {
        let page = |keys: &str, rest: &str| Page::read(&format!("<L>{rest}{keys}</L>"));
        let (two, token) = (
            "<Contents><Key>a/1</Key></Contents><Contents><Key>a/2</Key></Contents>",
            "<IsTruncated>true</IsTruncated><NextContinuationToken>x+/=</NextContinuationToken>",
        );
        let read = page(two, token).expect("well formed");
        assert_eq!((read.keys, read.first.as_str(), read.last.as_str()), (2, "a/1", "a/2"));
        assert_eq!(read.next.as_deref(), Some("x+/="));
        assert_eq!(page(two, "<IsTruncated>false</IsTruncated>").expect("well formed").next, None);
        for (keys, rest) in [
            ("", ""),
            ("<Key>b</Key><Key>a</Key>", ""),
            ("<Key>a</Key><Key>a</Key>", ""),
            ("<Key>a", ""),
            (two, "<IsTruncated>true</IsTruncated>"),
        ] {
            assert!(page(keys, rest).is_err(), "{keys} {rest}");
        }
    }

    #[test]
    fn queries_are_sorted_and_encoded() {
        assert_eq!(query("a/", None), "list-type=2&max-keys=1000&prefix=a%2F");
        assert_eq!(query("a", Some("x=")), "continuation-token=x%3D&list-type=2&max-keys=1000&prefix=a");
    }
}
