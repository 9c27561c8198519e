//! Tags: of objects and of buckets. Read from a header or a document, kept as S3's header writes them, given back.
//!
//! An object's tags are one attribute of its version, [`TAGGING`]; a bucket's are its document of the same name.

use s3s::dto::Tag;
use s3s::{S3Result, s3_error};

use crate::listing::percent_encode_all;
use crate::screen::query_pairs;

/// The attribute (and header) that holds an object's tags, and the document that holds a bucket's.
pub(crate) const TAGGING: &str = "x-amz-tagging";
/// Tags of one object.
pub(crate) const OBJECT_TAGS_MAX: usize = 10;
/// Tags of one bucket.
pub(crate) const BUCKET_TAGS_MAX: usize = 50;
const KEY_CHARS_MAX: usize = 128;
const VALUE_CHARS_MAX: usize = 256;
/// What tags may hold beside letters, digits and white space.
const MARKS: &str = "+-=._:/@";

/// Checked tags, by key.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Tags(Vec<(String, String)>);

impl Tags {
    /// Out of a document.
    pub(crate) fn of_document(tags: &[Tag], max: usize) -> S3Result<Self> {
        let pair = |tag: &Tag| match (&tag.key, &tag.value) {
            (Some(key), Some(value)) => Ok((key.clone(), value.clone())),
            _ => Err(s3_error!(MalformedXML, "Every Tag has a Key and a Value.")),
        };
        Self(tags.iter().map(pair).collect::<S3Result<_>>()?).checked(max)
    }

    /// Out of `x-amz-tagging`.
    pub(crate) fn of_header(text: &str) -> S3Result<Self> {
        let invalid =
            || s3_error!(InvalidArgument, "x-amz-tagging is written like a query: KEY=VALUE&KEY=VALUE.");
        let pairs = query_pairs(text).collect::<Option<Vec<_>>>().ok_or_else(invalid)?;
        Self(pairs).checked(OBJECT_TAGS_MAX)
    }

    /// As they are kept; `None`: there are none.
    pub(crate) fn kept(&self) -> Option<String> {
        let pair = |(key, value): &(String, String)| {
            format!("{}={}", percent_encode_all(key), percent_encode_all(value))
        };
        (!self.0.is_empty()).then(|| self.0.iter().map(pair).collect::<Vec<_>>().join("&"))
    }

    /// As documents show them.
    pub(crate) fn document(&self) -> Vec<Tag> {
        let tag =
            |(key, value): &(String, String)| Tag { key: Some(key.clone()), value: Some(value.clone()) };
        self.0.iter().map(tag).collect()
    }

    /// Out of what is kept. What cannot be read was never written by this program and is shown as nothing.
    pub(crate) fn of_kept(text: &str) -> Self {
        Self(query_pairs(text).flatten().collect())
    }

    /// Among an object's attributes.
    pub(crate) fn of_attributes(attributes: &[(String, String)]) -> Self {
        attributes
            .iter()
            .find(|(name, _)| name == TAGGING)
            .map(|(_, kept)| Self::of_kept(kept))
            .unwrap_or_default()
    }

    /// How many, as answers to reads count them; `None`: there are none.
    pub(crate) fn count(&self) -> Option<i32> {
        i32::try_from(self.0.len()).ok().filter(|count| *count > 0)
    }

    fn checked(self, max: usize) -> S3Result<Self> {
        if self.0.len() > max {
            return Err(s3_error!(InvalidTag, "There may be {max} tags; these are {}.", self.0.len()));
        }
        for (at, (key, value)) in self.0.iter().enumerate() {
            if key.is_empty() || key.chars().count() > KEY_CHARS_MAX {
                return Err(s3_error!(
                    InvalidTag,
                    "The TagKey has between 1 and {KEY_CHARS_MAX} characters."
                ));
            }
            if value.chars().count() > VALUE_CHARS_MAX {
                return Err(s3_error!(InvalidTag, "The TagValue has at most {VALUE_CHARS_MAX} characters."));
            }
            if key.to_ascii_lowercase().starts_with("aws:") {
                return Err(s3_error!(InvalidTag, "Tags that begin with aws: are reserved."));
            }
            if !key.chars().chain(value.chars()).all(is_allowed) {
                return Err(s3_error!(
                    InvalidTag,
                    "Tags hold letters, digits, white space and {MARKS} only."
                ));
            }
            if self.0.iter().take(at).any(|(earlier, _)| earlier == key) {
                return Err(s3_error!(InvalidTag, "The tag '{key}' is there twice."));
            }
        }
        // One order, whatever was sent: the same tags are the same text.
        let mut sorted = self.0;
        sorted.sort_unstable();
        Ok(Self(sorted))
    }
}

fn is_allowed(c: char) -> bool {
    c.is_alphanumeric() || (c.is_whitespace() && !c.is_control()) || MARKS.contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(header: &str) -> String {
        match Tags::of_header(header) {
            Ok(tags) => tags.kept().unwrap_or_default(),
            Err(error) => error.code().as_str().to_owned(),
        }
    }

    #[test]
    fn headers_are_read_strictly_and_kept_canonically() {
        let long = "k".repeat(128);
        let longer = format!("{}=v", "k".repeat(129));
        let eleven: Vec<String> = (0..11).map(|n| format!("{n}=v")).collect();
        let cases = [
            ("", ""),
            ("a=1&b=2", "a=1&b=2"),
            ("b=2&a=", "a=&b=2"),
            ("a", "a="),
            ("a=x+y%20z", "a=x%20y%20z"),
            ("%C3%BC=%2F%3D", "%C3%BC=%2F%3D"),
            ("a=1&a=2", "InvalidTag"),
            ("=1", "InvalidTag"),
            ("aws:x=1", "InvalidTag"),
            ("AWS%3Ax=1", "InvalidTag"),
            ("a=%0A", "InvalidTag"),
            ("a=<", "InvalidTag"),
            ("a=%", "InvalidArgument"),
            ("a=%zz", "InvalidArgument"),
            ("a=%FF", "InvalidArgument"),
            (&longer, "InvalidTag"),
        ];
        for (header, expected) in cases {
            assert_eq!(told(header), expected, "{header}");
        }
        assert_eq!(told(&long), format!("{long}="));
        assert_eq!(told(&format!("a={}", "v".repeat(257))), "InvalidTag");
        assert_eq!(told(&eleven.join("&")), "InvalidTag");
        assert_eq!(told(&eleven[..10].join("&")), eleven[..10].join("&"));
    }

    #[test]
    fn what_is_kept_comes_back() {
        let tags = Tags::of_header("a=1&%C3%BC+b=%3D%2F").expect("valid");
        let kept = tags.kept().expect("some");
        assert_eq!(Tags::of_kept(&kept), tags);
        let attributes = vec![("content-type".to_owned(), "x".to_owned()), (TAGGING.to_owned(), kept)];
        assert_eq!(Tags::of_attributes(&attributes).count(), Some(2));
        assert_eq!(Tags::of_document(&tags.document(), 10).expect("valid"), tags);
        assert_eq!(Tags::of_attributes(&[]).count(), None);
    }

    #[test]
    fn documents_need_keys_and_values() {
        for tag in [Tag { key: None, value: Some("v".into()) }, Tag { key: Some("k".into()), value: None }] {
            let refused = Tags::of_document(&[tag], 10).map_err(|error| error.code().as_str().to_owned());
            assert_eq!(refused, Err("MalformedXML".to_owned()));
        }
    }
}
