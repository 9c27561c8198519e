//! Multipart uploads: CreateMultipartUpload, UploadPart, UploadPartCopy, ListParts, CompleteMultipartUpload,
//! AbortMultipartUpload, ListMultipartUploads.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;

use crate::body::Meter;
use crate::call::{Answer, Ask, Client};
use crate::checksum::{Algorithm, Sum, crc64nvme_text, tag_of_parts};
use crate::endpoint::decode;
use crate::error::S3Error;
use crate::moment::Moment;
use crate::object::{Attributes, Guard, copy_source};
use crate::xml::escape;

/// How long an endpoint may take to copy or to put an object together.
pub(crate) const THINKING_MAX: Duration = Duration::from_secs(900);

/// A part that the endpoint has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DonePart {
    /// From 1.
    pub number: u32,
    /// Without quotation marks.
    pub etag: String,
    /// Bytes.
    pub size: u64,
}

/// An upload that was begun and neither completed nor given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The object it is for.
    pub key: String,
    /// Its id.
    pub id: String,
    /// When it was begun.
    pub begun: Option<Moment>,
}

impl Client {
    /// Begins an upload; its id. `checked`: with a CRC64NVME of the whole object, which not every endpoint knows.
    pub async fn begin_upload(
        &self,
        bucket: &str,
        key: &str,
        attributes: &Attributes,
        checked: bool,
    ) -> Result<String, S3Error> {
        let mut ask = attributes.onto(Ask::new(Method::POST, Some(bucket), Some(key)).query("uploads", ""));
        if checked {
            ask = ask.header("x-amz-checksum-algorithm", "CRC64NVME");
            ask = ask.header("x-amz-checksum-type", "FULL_OBJECT");
        }
        let id = self.send(&ask).await?.xml()?.some_text_of("UploadId");
        id.ok_or_else(|| S3Error::garbled("the id of an upload"))
    }

    /// Sends one part; its entity tag.
    pub async fn upload_part(
        &self,
        bucket: &str,
        key: &str,
        upload: &str,
        number: u32,
        body: Bytes,
        checked: bool,
        meter: Meter,
    ) -> Result<String, S3Error> {
        let mut ask = part(Method::PUT, bucket, key, upload).query("partNumber", number.to_string());
        if checked {
            ask = ask.header("x-amz-checksum-crc64nvme", Sum::of(Algorithm::Crc64Nvme, &body));
        }
        ask = ask.body(body);
        ask.meter = meter;
        etag(&self.send(&ask).await?)
    }

    /// Copies a range of an object (first and last byte) into a part; its entity tag.
    pub async fn copy_part(
        &self,
        from: (&str, &str, Option<&str>),
        from_etag: &str,
        (first, last): (u64, u64),
        to: (&str, &str),
        upload: &str,
        number: u32,
    ) -> Result<String, S3Error> {
        let ask = part(Method::PUT, to.0, to.1, upload).query("partNumber", number.to_string());
        let mut ask = ask
            .header("x-amz-copy-source", copy_source(from))
            .header("x-amz-copy-source-if-match", format!("\"{from_etag}\""))
            .header("x-amz-copy-source-range", format!("bytes={first}-{last}"));
        ask.silence_max = THINKING_MAX;
        let tag = self.send(&ask).await?.xml()?.some_text_of("ETag");
        Ok(tag.ok_or_else(|| S3Error::garbled("the entity tag of a part"))?.trim_matches('"').to_owned())
    }

    /// The parts that an upload has, in order.
    pub async fn parts(&self, bucket: &str, key: &str, upload: &str) -> Result<Vec<DonePart>, S3Error> {
        let mut parts: Vec<DonePart> = Vec::new();
        loop {
            let mut ask = part(Method::GET, bucket, key, upload);
            if let Some(last) = parts.last() {
                ask = ask.query("part-number-marker", last.number.to_string());
            }
            let root = self.send(&ask).await?.xml()?;
            let before = parts.len();
            for element in root.all("Part") {
                let number = element.text_of("PartNumber").parse().ok();
                let size = element.text_of("Size").parse().ok();
                let (Some(number), Some(size)) = (number, size) else {
                    return Err(S3Error::garbled("a part of an upload"));
                };
                parts.push(DonePart {
                    number,
                    size,
                    etag: element.text_of("ETag").trim_matches('"').to_owned(),
                });
            }
            if root.text_of("IsTruncated") != "true" || parts.len() == before {
                return Ok(parts);
            }
        }
    }

    /// Puts the object together; its entity tag. `sum` is the CRC64NVME of the whole, of an upload begun `checked`.
    pub async fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        upload: &str,
        parts: &[DonePart],
        sum: Option<u64>,
        guard: &Guard,
    ) -> Result<String, S3Error> {
        let mut body =
            String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
        for DonePart { number, etag, .. } in parts {
            let etag = escape(etag);
            body += &format!("<Part><PartNumber>{number}</PartNumber><ETag>&quot;{etag}&quot;</ETag></Part>");
        }
        body += "</CompleteMultipartUpload>";
        let mut ask = guard.onto(part(Method::POST, bucket, key, upload)).body(body);
        if let Some(sum) = sum {
            ask = ask.header("x-amz-checksum-crc64nvme", crc64nvme_text(sum));
            ask = ask.header("x-amz-checksum-type", "FULL_OBJECT");
        }
        ask.silence_max = THINKING_MAX;
        match self.send(&ask).await {
            Ok(answer) => {
                let tag = answer.xml()?.some_text_of("ETag").unwrap_or_default();
                Ok(tag.trim_matches('"').to_owned())
            }
            // A try before may have been carried out while its answer was lost.
            Err(error) if error.code() == Some("NoSuchUpload") => {
                let expected = tag_of_parts(parts.iter().map(|part| part.etag.as_str()));
                match self.head(bucket, key, None).await {
                    Ok(head) if expected.as_ref() == Some(&head.etag) => Ok(head.etag),
                    _ => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Throws an upload away.
    pub async fn abort_upload(&self, bucket: &str, key: &str, upload: &str) -> Result<(), S3Error> {
        match self.send(&part(Method::DELETE, bucket, key, upload)).await {
            Err(error) if error.code() != Some("NoSuchUpload") => Err(error),
            _ => Ok(()),
        }
    }

    /// All unfinished uploads for keys with a prefix.
    pub async fn uploads(&self, bucket: &str, prefix: &str) -> Result<Vec<Upload>, S3Error> {
        let mut uploads: Vec<Upload> = Vec::new();
        let mut marks: Option<(String, String)> = None;
        loop {
            let mut ask = Ask::new(Method::GET, Some(bucket), None).query("uploads", "");
            ask = ask
                .query("encoding-type", "url")
                .maybe_query("prefix", Some(prefix).filter(|p| !p.is_empty()));
            if let Some((key, id)) = &marks {
                ask = ask.query("key-marker", key).query("upload-id-marker", id);
            }
            let root = self.send(&ask).await?.xml()?;
            let encoded = root.text_of("EncodingType") == "url";
            let name = |text: &str| {
                let plain = if encoded { decode(text) } else { Some(text.to_owned()) };
                plain.ok_or_else(|| S3Error::garbled(format!("a key: {text}")))
            };
            for element in root.all("Upload") {
                let begun = Moment::from_iso(element.text_of("Initiated"));
                let id = element.text_of("UploadId").to_owned();
                uploads.push(Upload { key: name(element.text_of("Key"))?, id, begun });
            }
            let next = (name(root.text_of("NextKeyMarker"))?, root.text_of("NextUploadIdMarker").to_owned());
            if root.text_of("IsTruncated") != "true" || marks.as_ref() == Some(&next) {
                return Ok(uploads);
            }
            marks = Some(next);
        }
    }
}

fn part<'a>(method: Method, bucket: &'a str, key: &'a str, upload: &str) -> Ask<'a> {
    Ask::new(method, Some(bucket), Some(key)).query("uploadId", upload)
}

fn etag(answer: &Answer) -> Result<String, S3Error> {
    let tag = answer.header("etag").ok_or_else(|| S3Error::garbled("the entity tag of a part"))?;
    Ok(tag.trim_matches('"').to_owned())
}
