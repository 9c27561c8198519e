//! Checksums: what a request announces, what its body turns out to have, what a finished upload gets.
//!
//! A body is hashed while it streams and compared in the data path's `Accept`, before anything becomes visible. Stored
//! as attributes under their header names, in base64 as clients send them.
//!
//! A finished upload's checksum is either COMPOSITE (the checksum of its parts' checksums, `-N` at the end) or
//! FULL_OBJECT (combined from its parts' CRCs)
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>).

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use hyper::HeaderMap;
use hyper::header::HeaderName;
use pangea_client::{Accept, Body, BodyError, Received};
use pangea_core::meta::PartRow;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use s3s::dto::StreamingBlob;
use s3s::{S3Result, TrailingHeaders, s3_error};

use crate::error::{body_fault, refused};
use crate::inlet::BodyFault;

/// The attribute (and header) that says which algorithm an upload's parts use.
pub(crate) const ALGORITHM: &str = "x-amz-checksum-algorithm";
/// The attribute (and header) that says how parts make a whole.
pub(crate) const TYPE: &str = "x-amz-checksum-type";
/// Of the parts' checksums.
pub(crate) const COMPOSITE: &str = "COMPOSITE";
/// Of all bytes.
pub(crate) const FULL_OBJECT: &str = "FULL_OBJECT";
const PREFIX: &str = "x-amz-checksum-";

/// A checksum algorithm of S3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Algorithm {
    /// CRC-32 (ISO-HDLC).
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl Algorithm {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// S3's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The header, trailer and attribute that carries it.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// The algorithm of that name, in any case.
    pub(crate) fn named(name: &str) -> S3Result<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            s3_error!(
                InvalidRequest,
                "Unknown checksum algorithm: use CRC32, CRC32C, CRC64NVME, SHA1 or SHA256."
            )
        })
    }

    fn of_header(header: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.header().eq_ignore_ascii_case(header.trim()))
    }

    fn crc(self) -> Option<crc_fast::CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(crc_fast::CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(crc_fast::CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(crc_fast::CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }

    /// How parts make a whole: what the client wants, as far as the algorithm can do it.
    pub(crate) fn kind(self, wanted: Option<&str>) -> S3Result<&'static str> {
        match (self, wanted) {
            (Self::Crc64Nvme, None | Some(FULL_OBJECT)) | (Self::Crc32 | Self::Crc32c, Some(FULL_OBJECT)) => {
                Ok(FULL_OBJECT)
            }
            (Self::Crc32 | Self::Crc32c | Self::Sha1 | Self::Sha256, None | Some(COMPOSITE)) => Ok(COMPOSITE),
            _ => Err(s3_error!(
                InvalidRequest,
                "{} cannot be of that checksum type: CRC64NVME is FULL_OBJECT, SHA1 and SHA256 are COMPOSITE.",
                self.name()
            )),
        }
    }
}

/// The algorithm that an upload's parts use, from its attributes.
pub(crate) fn algorithm_of(attributes: &[(String, String)]) -> S3Result<Option<Algorithm>> {
    let stored = attributes.iter().find(|(name, _)| name == ALGORITHM);
    stored.map(|(_, name)| Algorithm::named(name)).transpose()
}

/// A running checksum.
pub(crate) enum Sum {
    /// See [`Algorithm::Crc32`].
    Crc32(Crc32),
    /// See [`Algorithm::Crc32c`].
    Crc32c(Crc32c),
    /// See [`Algorithm::Crc64Nvme`].
    Crc64Nvme(Crc64Nvme),
    /// See [`Algorithm::Sha1`].
    Sha1(Sha1),
    /// See [`Algorithm::Sha256`].
    Sha256(Sha256),
}

impl Sum {
    /// Of nothing.
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Crc32 => Self::Crc32(Crc32::new()),
            Algorithm::Crc32c => Self::Crc32c(Crc32c::new()),
            Algorithm::Crc64Nvme => Self::Crc64Nvme(Crc64Nvme::new()),
            Algorithm::Sha1 => Self::Sha1(Sha1::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
        }
    }

    /// And of these bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc32(sum) => sum.update(bytes),
            Self::Crc32c(sum) => sum.update(bytes),
            Self::Crc64Nvme(sum) => sum.update(bytes),
            Self::Sha1(sum) => sum.update(bytes),
            Self::Sha256(sum) => sum.update(bytes),
        }
    }

    /// In base64.
    pub(crate) fn finish(self) -> String {
        match self {
            Self::Crc32(sum) => base64(&sum.finalize()),
            Self::Crc32c(sum) => base64(&sum.finalize()),
            Self::Crc64Nvme(sum) => base64(&sum.finalize()),
            Self::Sha1(sum) => base64(sum.finalize().as_ref()),
            Self::Sha256(sum) => base64(sum.finalize().as_ref()),
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    base64_simd::STANDARD.encode_to_string(bytes)
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    base64_simd::STANDARD.decode_to_vec(text).ok()
}

/// What a request says that its body hashes to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Digests {
    md5: Option<[u8; 16]>,
    stated: Option<(Algorithm, String)>,
    trailer: Option<Algorithm>,
    declared: Option<Algorithm>,
}

impl Digests {
    /// Reads Content-MD5 and the checksum headers; at most one checksum may be stated.
    pub(crate) fn of_headers(headers: &HeaderMap) -> S3Result<Self> {
        let mut digests = Self::default();
        if let Some(value) = headers.get("content-md5") {
            let md5 =
                value.to_str().ok().and_then(unbase64).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
            let invalid = || s3_error!(InvalidDigest, "Content-MD5 is not the base64 of 16 bytes.");
            digests.md5 = Some(md5.ok_or_else(invalid)?);
        }
        for (name, value) in headers {
            let Some(word) = name.as_str().strip_prefix(PREFIX) else { continue };
            if matches!(word, "algorithm" | "mode" | "type") {
                continue;
            }
            let algorithm = Algorithm::named(word)?;
            let value = value.to_str().unwrap_or_default();
            if unbase64(value).is_none_or(|bytes| bytes.len() != algorithm.bytes()) {
                return Err(s3_error!(InvalidRequest, "Value for {} header is invalid.", algorithm.header()));
            }
            if digests.stated.replace((algorithm, value.to_owned())).is_some() {
                return Err(s3_error!(InvalidRequest, "Expecting a single x-amz-checksum- header."));
            }
        }
        if let Some(value) = headers.get("x-amz-trailer") {
            digests.trailer = Some(of_trailer(value.to_str().unwrap_or_default())?);
        }
        if let Some(value) = headers.get("x-amz-sdk-checksum-algorithm") {
            digests.declared = Some(Algorithm::named(value.to_str().unwrap_or_default())?);
        }
        if digests.stated.is_some() && digests.trailer.is_some() {
            return Err(s3_error!(
                InvalidRequest,
                "State the checksum in a header or in the trailer, not in both."
            ));
        }
        Ok(digests)
    }

    /// Reads Content-MD5 only: the other headers are about something else than this document.
    pub(crate) fn of_document(headers: &HeaderMap) -> S3Result<Self> {
        let md5 = headers.get("content-md5");
        let only = md5.map(|value| (HeaderName::from_static("content-md5"), value.clone()));
        Self::of_headers(&only.into_iter().collect())
    }

    /// Whether the body is protected by none of them.
    pub(crate) fn is_empty(&self) -> bool {
        self.md5.is_none() && self.stated.is_none() && self.trailer.is_none()
    }

    /// The algorithm that the body is hashed with.
    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        self.stated.as_ref().map(|(algorithm, _)| *algorithm).or(self.trailer).or(self.declared)
    }

    /// Hashes with `algorithm` where the client names none.
    pub(crate) fn or_algorithm(mut self, algorithm: Option<Algorithm>) -> Self {
        if self.algorithm().is_none() {
            self.declared = algorithm;
        }
        self
    }
}

fn of_trailer(value: &str) -> S3Result<Algorithm> {
    let mut names = value.split(',').filter(|name| !name.trim().is_empty());
    let (Some(name), None) = (names.next(), names.next()) else {
        return Err(s3_error!(InvalidRequest, "x-amz-trailer must name one checksum."));
    };
    Algorithm::of_header(name).ok_or_else(|| {
        s3_error!(
            InvalidRequest,
            "x-amz-trailer must name a checksum: CRC32, CRC32C, CRC64NVME, SHA1 or SHA256."
        )
    })
}

/// Checks a document as its bytes come by.
pub(crate) struct DocumentCheck {
    digests: Digests,
    md5: Option<Md5>,
    sum: Option<Sum>,
}

impl DocumentCheck {
    /// Expects those.
    pub(crate) fn new(digests: Digests) -> Self {
        let md5 = digests.md5.map(|_| Md5::new());
        let sum = digests.stated.as_ref().map(|(algorithm, _)| Sum::new(*algorithm));
        Self { digests, md5, sum }
    }

    /// Takes bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        if let Some(sum) = &mut self.sum {
            sum.update(bytes);
        }
    }

    /// Whether the document is the one that was announced.
    pub(crate) fn holds(self) -> bool {
        let md5 = self.md5.map(Md5::finalize);
        let sum = self.sum.map(Sum::finish);
        md5 == self.digests.md5 && sum == self.digests.stated.map(|(_, value)| value)
    }
}

type Shared = Arc<Mutex<Option<Sum>>>;

/// A body that is hashed as it passes.
struct Hashed {
    body: StreamingBlob,
    sum: Shared,
}

impl Stream for Hashed {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = Pin::new(&mut self.body).poll_next(cx);
        if let Poll::Ready(Some(Ok(bytes))) = &polled
            && let Ok(mut slot) = self.sum.lock()
            && let Some(sum) = slot.as_mut()
        {
            sum.update(bytes);
        }
        polled
    }
}

/// A body to write, and the check of it that the data path calls before it commits.
pub(crate) fn checked(
    body: Option<StreamingBlob>,
    digests: Digests,
    trailers: Option<TrailingHeaders>,
) -> (Body, Accept) {
    let body = body.unwrap_or_else(|| StreamingBlob::from(s3s::Body::empty()));
    let sum: Shared = Arc::new(Mutex::new(digests.algorithm().map(Sum::new)));
    let accept = {
        let sum = Arc::clone(&sum);
        Box::new(move |received: &Received| {
            let computed = sum.lock().ok().and_then(|mut slot| slot.take()).map(Sum::finish);
            accept(received, &digests, computed, trailers.as_ref()).map_err(refused)
        })
    };
    if digests_nothing(&sum) {
        return (Box::pin(body), accept);
    }
    (Box::pin(Hashed { body, sum }), accept)
}

fn digests_nothing(sum: &Shared) -> bool {
    sum.lock().is_ok_and(|slot| slot.is_none())
}

fn accept(
    received: &Received,
    digests: &Digests,
    computed: Option<String>,
    trailers: Option<&TrailingHeaders>,
) -> S3Result<Vec<(String, String)>> {
    if digests.md5.is_some_and(|md5| md5 != received.md5) {
        return Err(body_fault(BodyFault::Digest));
    }
    let arrived = trailers.and_then(TrailingHeaders::take).unwrap_or_default();
    let from_trailer = stated_in_trailer(digests.trailer, &arrived)?;
    let (Some(algorithm), Some(computed)) = (digests.algorithm(), computed) else { return Ok(Vec::new()) };
    let stated = digests.stated.as_ref().map(|(_, value)| value).or(from_trailer.as_ref());
    if stated.is_some_and(|stated| *stated != computed) {
        return Err(body_fault(BodyFault::Digest));
    }
    Ok(vec![(algorithm.header().to_owned(), computed)])
}

/// The trailer must bring what was announced, and no other checksum.
fn stated_in_trailer(announced: Option<Algorithm>, arrived: &HeaderMap) -> S3Result<Option<String>> {
    let malformed = || body_fault(BodyFault::Trailer);
    let unannounced = |name: &str| announced.is_none_or(|algorithm| algorithm.header() != name);
    if arrived.keys().any(|name| name.as_str().starts_with("x-amz-") && unannounced(name.as_str())) {
        return Err(malformed());
    }
    let Some(algorithm) = announced else { return Ok(None) };
    let mut values = arrived.get_all(algorithm.header()).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(malformed()) };
    let value = value.to_str().map_err(|_| malformed())?;
    if unbase64(value).is_none_or(|bytes| bytes.len() != algorithm.bytes()) {
        return Err(malformed());
    }
    Ok(Some(value.to_owned()))
}

/// What a finished upload's checksum is; `None` when a part has none of that algorithm.
pub(crate) fn of_parts(algorithm: Algorithm, kind: &str, parts: &[(u16, PartRow)]) -> Option<String> {
    let stored = |part: &PartRow| {
        let (_, value) = part.attributes.iter().find(|(name, _)| name == algorithm.header())?;
        unbase64(value).filter(|bytes| bytes.len() == algorithm.bytes())
    };
    if kind == COMPOSITE {
        let mut sum = Sum::new(algorithm);
        for (_, part) in parts {
            sum.update(&stored(part)?);
        }
        return Some(format!("{}-{}", sum.finish(), parts.len()));
    }
    let crc = algorithm.crc()?;
    let mut whole: Option<u64> = None;
    for (_, part) in parts {
        let value = stored(part)?.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        whole = Some(whole.map_or(value, |whole| crc_fast::checksum_combine(crc, whole, value, part.size)));
    }
    let bytes = whole?.to_be_bytes();
    Some(base64(bytes.get(8 - algorithm.bytes()..)?))
}

#[cfg(test)]
#[path = "checksum_tests.rs"]
mod tests;
