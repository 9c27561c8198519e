//! Objects: HeadObject, GetObject, PutObject, CopyObject, DeleteObject, DeleteObjects.

use bytes::Bytes;
use hyper::Method;

use crate::body::Meter;
use crate::call::{Answer, Ask, Client};
use crate::checksum::{Algorithm, Proof, Sum, is_md5, parts_of_tag};
use crate::endpoint::encode;
use crate::error::S3Error;
use crate::moment::Moment;
use crate::xml::escape;

/// Metadata headers begin with it.
const META: &str = "x-amz-meta-";

/// What an object carries beside its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Its media type.
    pub content_type: Option<String>,
    /// `Cache-Control`, `Content-Encoding`, …: other headers that S3 keeps, names in lower case.
    pub headers: Vec<(String, String)>,
    /// User metadata, names in lower case and without their prefix.
    pub meta: Vec<(String, String)>,
    /// How it is to be stored.
    pub class: Option<String>,
}

/// A condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Only if there is no such object.
    pub absent: bool,
    /// Only if the object has this entity tag.
    pub etag: Option<String>,
}

/// What HeadObject or GetObject says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the whole object.
    pub size: u64,
    /// Without quotation marks.
    pub etag: String,
    /// When it was written.
    pub modified: Option<Moment>,
    /// Which version it is.
    pub version: Option<String>,
    /// What it carries.
    pub attributes: Attributes,
    /// Checksums of the whole object's bytes, the cheapest first; MD5 last.
    pub proofs: Vec<Proof>,
    /// Whether its entity tag is not made of its bytes, because it is encrypted under a key that is not the endpoint's own.
    pub is_sealed: bool,
}

/// One entry of a list of removals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The object.
    pub key: String,
    /// One version of it, for good; without one a versioned bucket keeps it behind a delete marker.
    pub version: Option<String>,
}

impl Attributes {
    pub(crate) fn onto<'a>(&self, mut ask: Ask<'a>) -> Ask<'a> {
        ask = ask.maybe_header("content-type", self.content_type.as_deref());
        ask = ask.maybe_header("x-amz-storage-class", self.class.as_deref());
        for (name, value) in &self.headers {
            ask = ask.header(name, value);
        }
        for (name, value) in &self.meta {
            ask = ask.header(format!("{META}{name}"), value);
        }
        ask
    }
}

impl Guard {
    pub(crate) fn onto<'a>(&self, ask: Ask<'a>) -> Ask<'a> {
        let ask = ask.maybe_header("if-none-match", self.absent.then_some("*"));
        match &self.etag {
            Some(etag) => ask.header("if-match", format!("\"{etag}\"")),
            None => ask,
        }
    }
}

impl Head {
    fn read(answer: &Answer) -> Result<Self, S3Error> {
        let text = |name: &str| answer.header(name).map(str::to_owned);
        // Of a range, the whole's size stands behind the slash.
        let whole = answer.header("content-range").and_then(|range| range.rsplit('/').next());
        let size = whole.or_else(|| answer.header("content-length")).and_then(|size| size.parse().ok());
        let etag = answer.header("etag").unwrap_or_default().trim_matches('"').to_owned();
        let mut attributes = Attributes { content_type: text("content-type"), ..Attributes::default() };
        for name in
            ["cache-control", "content-disposition", "content-encoding", "content-language", "expires"]
        {
            attributes.headers.extend(text(name).map(|value| (name.to_owned(), value)));
        }
        attributes.class = text("x-amz-storage-class");
        for (name, value) in &answer.headers {
            if let (Some(name), Ok(value)) = (name.as_str().strip_prefix(META), value.to_str()) {
                attributes.meta.push((name.to_owned(), value.to_owned()));
            }
        }
        attributes.meta.sort();
        Ok(Self {
            size: size.ok_or_else(|| S3Error::garbled("the size of an object"))?,
            proofs: proofs(answer, &etag),
            is_sealed: is_sealed(answer),
            etag,
            modified: answer.header("last-modified").and_then(Moment::from_http),
            version: text("x-amz-version-id").filter(|version| version != "null"),
            attributes,
        })
    }

    /// A value of the user metadata.
    pub fn meta(&self, name: &str) -> Option<&str> {
        self.attributes.meta.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn is_sealed(answer: &Answer) -> bool {
    answer.headers.contains_key("x-amz-server-side-encryption-customer-algorithm")
        || answer.header("x-amz-server-side-encryption").is_some_and(|how| how.starts_with("aws:kms"))
}

fn proofs(answer: &Answer, etag: &str) -> Vec<Proof> {
    let mut found = Vec::new();
    let of_parts = answer.header("x-amz-checksum-type") == Some("COMPOSITE");
    for algorithm in Algorithm::WITH_HEADER {
        let value = answer.header(&format!("x-amz-checksum-{}", algorithm.name()));
        // A checksum of checksums of parts has their number behind a dash and says nothing of the whole.
        if let Some(value) = value.filter(|value| !of_parts && algorithm.can_be(value)) {
            found.push(Proof { algorithm, value: value.to_owned() });
        }
    }
    if is_md5(etag) && !is_sealed(answer) {
        found.push(Proof { algorithm: Algorithm::Md5, value: etag.to_ascii_lowercase() });
    }
    found
}

impl Client {
    /// What the endpoint knows of an object.
    pub async fn head(&self, bucket: &str, key: &str, version: Option<&str>) -> Result<Head, S3Error> {
        let ask = Ask::new(Method::HEAD, Some(bucket), Some(key)).maybe_query("versionId", version);
        let ask = ask.header("x-amz-checksum-mode", "ENABLED");
        Head::read(&self.send(&ask).await?)
    }

    /// The same, with something to compare its bytes with if there is any: of an object that was uploaded in parts and has
    /// no checksum of the whole, its tag, when one more question shows that its parts are equally long.
    pub async fn head_with_proof(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<Head, S3Error> {
        let mut head = self.head(bucket, key, version).await?;
        let Some(count) = parts_of_tag(&head.etag).filter(|_| head.proofs.is_empty() && !head.is_sealed)
        else {
            return Ok(head);
        };
        let ask = Ask::new(Method::HEAD, Some(bucket), Some(key)).maybe_query("versionId", version);
        // Not every endpoint knows parts of objects.
        let Ok(first) = self.send(&ask.query("partNumber", "1")).await else { return Ok(head) };
        let same = first.header("etag").unwrap_or_default().trim_matches('"') == head.etag;
        let part_bytes = first.header("content-length").and_then(|bytes| bytes.parse::<u64>().ok());
        if let Some(part_bytes) =
            part_bytes.filter(|bytes| same && *bytes > 0 && head.size.div_ceil(*bytes) == count)
        {
            let (algorithm, value) = (Algorithm::Md5OfParts(part_bytes), head.etag.clone());
            head.proofs.push(Proof { algorithm, value });
        }
        Ok(head)
    }

    /// A whole object of at most `bytes_max` bytes, checked against what the endpoint says of it.
    pub async fn get(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        guard: &Guard,
        bytes_max: usize,
        meter: Meter,
    ) -> Result<(Head, Bytes), S3Error> {
        let mut ask = Ask::new(Method::GET, Some(bucket), Some(key)).maybe_query("versionId", version);
        ask = guard.onto(ask.header("x-amz-checksum-mode", "ENABLED"));
        (ask.meter, ask.meters_answer, ask.answer_bytes_max) = (meter, true, bytes_max);
        let answer = self.send(&ask).await?;
        let head = Head::read(&answer)?;
        if answer.body.len() as u64 != head.size {
            return Err(S3Error::garbled(format!("{} bytes; {} came", head.size, answer.body.len())));
        }
        if let Some(proof) = head.proofs.first() {
            let got = Sum::of(proof.algorithm, &answer.body);
            if got != proof.value {
                let (check, wanted) = (proof.algorithm.name().to_owned(), proof.value.clone());
                return Err(S3Error::Corrupt { check, wanted, got });
            }
        }
        Ok((head, answer.body))
    }

    /// `length` bytes from `offset`, exactly as many.
    pub async fn get_range(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        guard: &Guard,
        (offset, length): (u64, usize),
        meter: Meter,
    ) -> Result<Bytes, S3Error> {
        let ask = Ask::new(Method::GET, Some(bucket), Some(key)).maybe_query("versionId", version);
        let last = offset + (length as u64).max(1) - 1;
        let mut ask = guard.onto(ask).header("range", format!("bytes={offset}-{last}"));
        (ask.meter, ask.meters_answer, ask.answer_bytes_max) = (meter, true, length);
        let answer = self.send(&ask).await?;
        if answer.body.len() != length {
            return Err(S3Error::garbled(format!(
                "{length} bytes from {offset}; {} came",
                answer.body.len()
            )));
        }
        Ok(answer.body)
    }

    /// Stores bytes, with their CRC64NVME; the entity tag.
    pub async fn put(
        &self,
        bucket: &str,
        key: &str,
        body: Bytes,
        attributes: &Attributes,
        guard: &Guard,
        meter: Meter,
    ) -> Result<String, S3Error> {
        let sum = Sum::of(Algorithm::Crc64Nvme, &body);
        let ask = Ask::new(Method::PUT, Some(bucket), Some(key)).header("x-amz-checksum-crc64nvme", sum);
        let mut ask = guard.onto(attributes.onto(ask)).body(body);
        ask.meter = meter;
        let answer = self.send(&ask).await?;
        Ok(answer.header("etag").unwrap_or_default().trim_matches('"').to_owned())
    }

    /// Copies within the endpoint, with the metadata, or with other `attributes`; only the object with the tag that is named.
    pub async fn copy(
        &self,
        from: (&str, &str, Option<&str>),
        from_etag: Option<&str>,
        to: (&str, &str),
        attributes: Option<&Attributes>,
        guard: &Guard,
    ) -> Result<(), S3Error> {
        let ask =
            Ask::new(Method::PUT, Some(to.0), Some(to.1)).header("x-amz-copy-source", copy_source(from));
        let quoted = from_etag.map(|etag| format!("\"{etag}\""));
        let mut ask = guard.onto(ask.maybe_header("x-amz-copy-source-if-match", quoted.as_deref()));
        if let Some(attributes) = attributes {
            ask = attributes.onto(ask.header("x-amz-metadata-directive", "REPLACE"));
        }
        ask.silence_max = crate::multipart::THINKING_MAX;
        self.send(&ask).await?.xml().map(drop)
    }

    /// Removes an object, or one version of it.
    pub async fn delete(&self, bucket: &str, removal: &Removal, guard: &Guard) -> Result<(), S3Error> {
        let ask = guard.onto(Ask::new(Method::DELETE, Some(bucket), Some(&removal.key)));
        self.send(&ask.maybe_query("versionId", removal.version.as_deref())).await.map(drop)
    }

    /// Removes up to 1,000; what could not be removed, and why (code and message).
    pub async fn delete_many(
        &self,
        bucket: &str,
        removals: &[Removal],
    ) -> Result<Vec<(Removal, String)>, S3Error> {
        let mut body =
            String::from("<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>");
        for removal in removals {
            body += &format!("<Object><Key>{}</Key>", escape(&removal.key));
            if let Some(version) = &removal.version {
                body += &format!("<VersionId>{}</VersionId>", escape(version));
            }
            body += "</Object>";
        }
        body += "</Delete>";
        let ask = Ask::new(Method::POST, Some(bucket), None).query("delete", "").body(body).with_md5();
        let root = self.send(&ask).await?.xml()?;
        let failed = |element: &crate::xml::Element| {
            let version = element.some_text_of("VersionId");
            let removal = Removal { key: element.text_of("Key").to_owned(), version };
            (removal, format!("{}: {}", element.text_of("Code"), element.text_of("Message")))
        };
        Ok(root.all("Error").map(failed).collect())
    }
}

pub(crate) fn copy_source((bucket, key, version): (&str, &str, Option<&str>)) -> String {
    let mut source = format!("/{}/{}", encode(bucket, ""), encode(key, "/"));
    if let Some(version) = version {
        source += &format!("?versionId={}", encode(version, ""));
    }
    source
}
