//! What listings share: limits, encoding, entries.

use pangea_client::ListEntry;
use pangea_core::meta::VersionRow;
use s3s::dto::{CommonPrefix, EncodingType, Object, ObjectStorageClass, Owner};
use s3s::{S3Result, s3_error};

use crate::attributes::{signed, time};
use crate::condition::told;
use crate::options::PAGE_MAX;

/// How many entries a page may have: what was asked for, at most a thousand.
pub(crate) fn limit(name: &str, asked: Option<i32>) -> S3Result<usize> {
    match asked {
        None => Ok(PAGE_MAX),
        Some(asked) => usize::try_from(asked)
            .map(|asked| asked.min(PAGE_MAX))
            .map_err(|_| s3_error!(InvalidArgument, "{name} must not be negative.")),
    }
}

/// How names are written into the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encoding {
    /// As they are.
    Plain,
    /// Percent-encoded, all but `/`.
    Url,
}

impl Encoding {
    /// What the client asked for.
    pub(crate) fn of(asked: Option<&EncodingType>) -> S3Result<Self> {
        match asked.map(EncodingType::as_str) {
            None => Ok(Self::Plain),
            Some(EncodingType::URL) => Ok(Self::Url),
            Some(_) => Err(s3_error!(InvalidArgument, "The only encoding-type is url.")),
        }
    }

    /// What the answer says it is.
    pub(crate) fn told(self) -> Option<EncodingType> {
        (self == Self::Url).then(|| EncodingType::from_static(EncodingType::URL))
    }

    /// A name in the answer.
    pub(crate) fn name(self, name: &[u8]) -> String {
        match self {
            Self::Plain => String::from_utf8_lossy(name).into_owned(),
            Self::Url => percent_encode(name),
        }
    }
}

fn percent_encode(name: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(name.len());
    for byte in name {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(*byte))
            }
            byte => {
                out.push('%');
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    out
}

/// Percent-encodes everything but letters, digits and `-._~`.
pub(crate) fn percent_encode_all(text: &str) -> String {
    percent_encode(text.as_bytes()).replace('/', "%2F")
}

/// An owner, or whoever started an upload.
pub(crate) fn owner(id: &str) -> Owner {
    Owner { display_name: Some(id.to_owned()), id: Some(id.to_owned()) }
}

/// Keys and rolled-up prefixes of a page, each in order.
pub(crate) fn sort(
    entries: Vec<ListEntry>,
    encoding: Encoding,
    of: Option<&Owner>,
) -> (Vec<Object>, Vec<CommonPrefix>) {
    let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            ListEntry::Object(key, row) => objects.push(object(encoding.name(&key), &row, of.cloned())),
            ListEntry::Prefix(prefix) => prefixes.push(CommonPrefix { prefix: Some(encoding.name(&prefix)) }),
        }
    }
    (objects, prefixes)
}

fn object(key: String, row: &VersionRow, owner: Option<Owner>) -> Object {
    Object {
        e_tag: Some(told(row.etag)),
        key: Some(key),
        last_modified: Some(time(row.created_ms)),
        owner,
        size: Some(signed(row.size)),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        ..Object::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_cut_and_checked() {
        for (asked, expected) in [
            (None, Some(1000)),
            (Some(0), Some(0)),
            (Some(7), Some(7)),
            (Some(5000), Some(1000)),
            (Some(-1), None),
        ] {
            assert_eq!(limit("max-keys", asked).ok(), expected);
        }
    }

    #[test]
    fn names_are_encoded_so_that_plus_decoding_clients_read_them_back() {
        let cases = [
            ("asdf+b", "asdf%2Bb"),
            ("quux ab/", "quux%20ab/"),
            ("ü", "%C3%BC"),
            ("\u{1}~", "%01~"),
            ("a%", "a%25"),
        ];
        for (name, expected) in cases {
            assert_eq!(Encoding::Url.name(name.as_bytes()), expected);
            assert_eq!(Encoding::Plain.name(name.as_bytes()), name);
        }
        assert!(Encoding::of(Some(&EncodingType::from("base64".to_owned()))).is_err());
    }
}
