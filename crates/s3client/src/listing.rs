//! Listings: ListObjectsV2 and ListObjectVersions, page by page.

use hyper::Method;

use crate::call::{Ask, Client};
use crate::endpoint::decode;
use crate::error::S3Error;
use crate::moment::Moment;
use crate::xml::Element;

/// What is listed.
#[derive(Clone, Debug, Default)]
pub struct PageAsk {
    /// The beginning of the keys.
    pub prefix: String,
    /// Whether keys that go on behind the next `/` are folded into one prefix.
    pub folds: bool,
    /// Whether old versions and delete markers are wanted, too.
    pub versions: bool,
    /// Where the page before ended.
    pub after: Option<String>,
    /// Keys a page; `None` for the endpoint's own number.
    pub count_max: Option<u32>,
}

/// One object, or one version of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When it was written.
    pub modified: Option<Moment>,
    /// Its entity tag, without quotation marks.
    pub etag: String,
    /// How it is stored; empty when the endpoint does not say.
    pub class: String,
    /// Of a list of versions.
    pub version: Option<String>,
    /// Whether it is the current version.
    pub latest: bool,
    /// Whether it is a delete marker.
    pub marker: bool,
}

/// Some of the keys, in bytewise order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Objects or versions.
    pub objects: Vec<Listed>,
    /// Folded keys.
    pub prefixes: Vec<String>,
    /// What to ask with for the next page; `None` at the end.
    pub next: Option<String>,
}

/// Between the two marks of a list of versions in [`PageAsk::after`]; never in a key as listed.
const BETWEEN_MARKS: char = '\u{0}';

impl Client {
    /// One page.
    pub async fn list(&self, bucket: &str, what: &PageAsk) -> Result<Page, S3Error> {
        let mut ask = Ask::new(Method::GET, Some(bucket), None).query("encoding-type", "url");
        if !what.prefix.is_empty() {
            ask = ask.query("prefix", &what.prefix);
        }
        if what.folds {
            ask = ask.query("delimiter", "/");
        }
        if let Some(count) = what.count_max {
            ask = ask.query("max-keys", count.to_string());
        }
        if what.versions {
            ask = ask.query("versions", "");
            if let Some((key, version)) =
                what.after.as_deref().and_then(|marks| marks.split_once(BETWEEN_MARKS))
            {
                ask = ask.query("key-marker", key);
                if !version.is_empty() {
                    ask = ask.query("version-id-marker", version);
                }
            }
        } else {
            ask = ask.query("list-type", "2").maybe_query("continuation-token", what.after.as_deref());
        }
        let page = read(&self.send(&ask).await?.xml()?, what.versions)?;
        if page.next.is_some() && page.next == what.after {
            return Err(S3Error::garbled("a listing that goes on; it stands still"));
        }
        Ok(page)
    }
}

fn read(root: &Element, versions: bool) -> Result<Page, S3Error> {
    let encoded = root.text_of("EncodingType") == "url";
    let name = |text: &str| {
        let plain = if encoded { decode(text) } else { Some(text.to_owned()) };
        plain.ok_or_else(|| S3Error::garbled(format!("a key: {text}")))
    };
    let mut page = Page::default();
    for element in &root.children {
        match element.name.as_str() {
            "Contents" | "Version" | "DeleteMarker" => page.objects.push(object(element, &name)?),
            "CommonPrefixes" => page.prefixes.push(name(element.text_of("Prefix"))?),
            _ => {}
        }
    }
    if root.text_of("IsTruncated") == "true" {
        page.next = if versions {
            let key = name(root.text_of("NextKeyMarker"))?;
            Some(format!("{key}{BETWEEN_MARKS}{}", root.text_of("NextVersionIdMarker")))
        } else {
            let token = root.some_text_of("NextContinuationToken");
            Some(token.ok_or_else(|| S3Error::garbled("a listing that says how it goes on"))?)
        };
    }
    Ok(page)
}

fn object(element: &Element, name: &dyn Fn(&str) -> Result<String, S3Error>) -> Result<Listed, S3Error> {
    let marker = element.name == "DeleteMarker";
    let size = element.text_of("Size").parse().ok().or(marker.then_some(0));
    Ok(Listed {
        key: name(element.text_of("Key"))?,
        size: size.ok_or_else(|| S3Error::garbled("the size of an object"))?,
        modified: Moment::from_iso(element.text_of("LastModified")),
        etag: element.text_of("ETag").trim_matches('"').to_owned(),
        class: element.text_of("StorageClass").to_owned(),
        version: element.some_text_of("VersionId"),
        latest: element.name == "Contents" || element.text_of("IsLatest") == "true",
        marker,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read() {
        let text = b"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
            <NextContinuationToken>t</NextContinuationToken><Contents><Key>a%2Bb+c</Key><Size>5</Size>\
            <LastModified>1970-01-01T00:00:01.000Z</LastModified><ETag>&quot;e&quot;</ETag></Contents>\
            <CommonPrefixes><Prefix>d%2F</Prefix></CommonPrefixes></ListBucketResult>";
        let page = read(&Element::parse(text).expect("valid"), false).expect("a page");
        assert_eq!((page.next.as_deref(), page.prefixes), (Some("t"), vec!["d/".to_owned()]));
        let object = &page.objects[0];
        assert_eq!((object.key.as_str(), object.size, object.etag.as_str()), ("a+b c", 5, "e"));
        assert!(object.latest && object.modified == Some(Moment::at(1)));
    }

    #[test]
    fn versions_and_markers_are_told_apart() {
        let text = b"<R><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker><Version><Key>k</Key>\
            <Size>1</Size><VersionId>v</VersionId><IsLatest>false</IsLatest></Version>\
            <DeleteMarker><Key>k</Key><VersionId>m</VersionId><IsLatest>true</IsLatest></DeleteMarker></R>";
        let page = read(&Element::parse(text).expect("valid"), true).expect("a page");
        assert_eq!(page.next.as_deref(), Some("k\u{0}"));
        let seen: Vec<_> = page.objects.iter().map(|o| (o.version.as_deref(), o.latest, o.marker)).collect();
        assert_eq!(seen, [(Some("v"), false, false), (Some("m"), true, true)]);
    }

    #[test]
    fn a_listing_that_makes_no_sense_is_refused() {
        for bad in [
            &b"<R><IsTruncated>true</IsTruncated></R>"[..],
            b"<R><Contents><Key>k</Key></Contents></R>",
            b"<R><EncodingType>url</EncodingType><Contents><Key>%zz</Key><Size>1</Size></Contents></R>",
        ] {
            assert!(read(&Element::parse(bad).expect("XML"), false).is_err());
        }
    }
}
