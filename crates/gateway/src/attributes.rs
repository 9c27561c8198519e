//! What an object carries beside its bytes: headers and user metadata, stored under their header names.
//!
//! Taken from a request by [`taken!`](crate::attributes::taken), given back by [`shown!`](crate::attributes::shown).
//! Features that would change what is stored (SSE-C, KMS, locks, ACLs, storage classes) are refused here, never
//! ignored.

use std::time::{Duration, UNIX_EPOCH};

use pangea_core::seam::WallMs;
use s3s::dto::{Checksum, ChecksumType, Metadata, ServerSideEncryption, Timestamp, TimestampFormat};
use s3s::{S3Result, s3_error};

use crate::checksum::{Algorithm, TYPE};
use crate::options::METADATA_BYTES_MAX;
use crate::tags::{TAGGING, Tags};

const USER: &str = "x-amz-meta-";
const SSE: &str = "x-amz-server-side-encryption";
const AES256: &str = "AES256";

/// The headers that an object carries, as requests bring them.
#[derive(Default)]
pub(crate) struct Taken {
    /// `Cache-Control`.
    pub(crate) cache_control: Option<String>,
    /// `Content-Disposition`.
    pub(crate) content_disposition: Option<String>,
    /// `Content-Encoding`, `aws-chunked` and all.
    pub(crate) content_encoding: Option<String>,
    /// `Content-Language`.
    pub(crate) content_language: Option<String>,
    /// `Content-Type`.
    pub(crate) content_type: Option<String>,
    /// `Expires`.
    pub(crate) expires: Option<Timestamp>,
    /// `x-amz-website-redirect-location`.
    pub(crate) redirect: Option<String>,
    /// `x-amz-meta-*`, without the prefix.
    pub(crate) metadata: Option<Metadata>,
    /// `x-amz-server-side-encryption`.
    pub(crate) encryption: Option<String>,
    /// `x-amz-tagging`.
    pub(crate) tagging: Option<String>,
}

impl Taken {
    /// As they are stored.
    pub(crate) fn attributes(self) -> S3Result<Vec<(String, String)>> {
        let mut attributes = Vec::new();
        let expires = self.expires.as_ref().map(http_date);
        let tags = self.tagging.as_deref().map(Tags::of_header).transpose()?;
        let encoding = self.content_encoding.and_then(|encoding| without_aws_chunked(&encoding));
        let headers = [
            ("cache-control", self.cache_control),
            ("content-disposition", self.content_disposition),
            ("content-encoding", encoding),
            ("content-language", self.content_language),
            ("content-type", self.content_type),
            ("expires", expires),
            ("x-amz-website-redirect-location", self.redirect),
            (SSE, self.encryption),
            (TAGGING, tags.and_then(|tags| tags.kept())),
        ];
        attributes.extend(headers.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        let mut bytes = 0;
        for (name, value) in self.metadata.unwrap_or_default() {
            bytes += name.len() + value.len();
            if value.chars().any(|c| c.is_control() && c != '\t') {
                return Err(s3_error!(InvalidArgument, "User metadata must not hold control characters."));
            }
            attributes.push((format!("{USER}{name}"), value));
        }
        if bytes > METADATA_BYTES_MAX {
            let max = METADATA_BYTES_MAX;
            return Err(s3_error!(MetadataTooLarge, "User metadata may have {max} bytes; this has {bytes}."));
        }
        attributes.sort_unstable();
        Ok(attributes)
    }
}

/// `aws-chunked` says how a body travelled, not what it is.
fn without_aws_chunked(encoding: &str) -> Option<String> {
    let kept: Vec<&str> =
        encoding.split(',').map(str::trim).filter(|one| !one.is_empty() && *one != "aws-chunked").collect();
    (!kept.is_empty()).then(|| kept.join(", "))
}

fn http_date(date: &Timestamp) -> String {
    let mut text = Vec::new();
    let formatted = date.format(TimestampFormat::HttpDate, &mut text).is_ok();
    if formatted { String::from_utf8(text).unwrap_or_default() } else { String::new() }
}

/// What a request asks for that this server does not do.
#[derive(Default)]
pub(crate) struct Wishes<'a> {
    /// A canned ACL.
    pub(crate) acl: Option<&'a str>,
    /// Any `x-amz-grant-*`.
    pub(crate) grants: bool,
    /// Any object lock header.
    pub(crate) lock: bool,
    /// `x-amz-server-side-encryption`.
    pub(crate) encryption: Option<&'a str>,
    /// Any customer key header.
    pub(crate) customer_key: bool,
    /// Any KMS header.
    pub(crate) kms: bool,
    /// `x-amz-storage-class`.
    pub(crate) storage_class: Option<&'a str>,
}

impl Wishes<'_> {
    /// Refuses what would otherwise be silently ignored.
    pub(crate) fn check(&self) -> S3Result<()> {
        if self.acl.is_some_and(|acl| !matches!(acl, "private" | "bucket-owner-full-control")) || self.grants
        {
            let message =
                "ACLs are not supported: leave them out, or use private or bucket-owner-full-control.";
            return Err(s3_error!(AccessControlListNotSupported, "{message}"));
        }
        if self.lock {
            return Err(s3_error!(NotImplemented, "Object lock is not implemented by this server."));
        }
        if self.customer_key {
            return Err(s3_error!(NotImplemented, "SSE-C is not implemented by this server."));
        }
        // Everything is sealed with AES-256 under keys of the server: that much can be asked for.
        if self.kms || self.encryption.is_some_and(|encryption| encryption != AES256) {
            return Err(s3_error!(NotImplemented, "SSE-KMS is not implemented by this server: use AES256."));
        }
        if self.storage_class.is_some_and(|class| class != "STANDARD") {
            return Err(s3_error!(InvalidStorageClass, "The only storage class is STANDARD."));
        }
        Ok(())
    }
}

/// The carried headers of an input with S3's usual fields; refuses what cannot be done.
macro_rules! taken {
    ($input:expr) => {{
        let wishes = $crate::attributes::Wishes {
            acl: $input.acl.as_ref().map(|acl| acl.as_str()),
            grants: $input.grant_full_control.is_some()
                || $input.grant_read.is_some()
                || $input.grant_read_acp.is_some()
                || $input.grant_write_acp.is_some(),
            lock: $input.object_lock_legal_hold_status.is_some()
                || $input.object_lock_mode.is_some()
                || $input.object_lock_retain_until_date.is_some(),
            encryption: $input.server_side_encryption.as_ref().map(|sse| sse.as_str()),
            customer_key: $input.sse_customer_algorithm.is_some()
                || $input.sse_customer_key.is_some()
                || $input.sse_customer_key_md5.is_some(),
            kms: $input.ssekms_key_id.is_some() || $input.ssekms_encryption_context.is_some(),
            storage_class: $input.storage_class.as_ref().map(|class| class.as_str()),
        };
        wishes.check().map(|()| $crate::attributes::Taken {
            cache_control: $input.cache_control.take(),
            content_disposition: $input.content_disposition.take(),
            content_encoding: $input.content_encoding.take(),
            content_language: $input.content_language.take(),
            content_type: $input.content_type.take(),
            expires: $input.expires.take(),
            redirect: $input.website_redirect_location.take(),
            metadata: $input.metadata.take(),
            encryption: $input.server_side_encryption.take().map(|sse| sse.as_str().to_owned()),
            tagging: $input.tagging.take(),
        })
    }};
}
pub(crate) use taken;

/// Stored attributes, as answers show them.
#[derive(Default)]
pub(crate) struct Shown {
    /// The headers.
    pub(crate) headers: Taken,
    /// Checksums and their type.
    pub(crate) checksum: Checksum,
}

/// Sorts stored attributes into what answers show.
pub(crate) fn show(attributes: &[(String, String)]) -> Shown {
    let mut shown = Shown::default();
    let mut metadata = Metadata::new();
    for (name, value) in attributes {
        let value = value.clone();
        let headers = &mut shown.headers;
        match name.as_str() {
            "cache-control" => headers.cache_control = Some(value),
            "content-disposition" => headers.content_disposition = Some(value),
            "content-encoding" => headers.content_encoding = Some(value),
            "content-language" => headers.content_language = Some(value),
            "content-type" => headers.content_type = Some(value),
            "expires" => headers.expires = Timestamp::parse(TimestampFormat::HttpDate, &value).ok(),
            "x-amz-website-redirect-location" => headers.redirect = Some(value),
            SSE => headers.encryption = Some(value),
            other => {
                if let Some(name) = other.strip_prefix(USER) {
                    metadata.insert(name.to_owned(), value);
                }
            }
        }
    }
    shown.headers.metadata = (!metadata.is_empty()).then_some(metadata);
    shown.checksum = checksum(attributes);
    shown
}

/// The checksum among stored attributes, as answers show it.
pub(crate) fn checksum(attributes: &[(String, String)]) -> Checksum {
    let stored =
        |name: &str| attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let checksum = Checksum {
        checksum_crc32: stored(Algorithm::Crc32.header()),
        checksum_crc32c: stored(Algorithm::Crc32c.header()),
        checksum_crc64nvme: stored(Algorithm::Crc64Nvme.header()),
        checksum_sha1: stored(Algorithm::Sha1.header()),
        checksum_sha256: stored(Algorithm::Sha256.header()),
        checksum_type: None,
    };
    let any = Algorithm::ALL.iter().any(|algorithm| stored(algorithm.header()).is_some());
    // An object that was written in one piece stores no type: its checksum is of all of it.
    let kind = stored(TYPE).unwrap_or_else(|| crate::checksum::FULL_OBJECT.to_owned());
    Checksum { checksum_type: any.then(|| ChecksumType::from(kind)), ..checksum }
}

/// The algorithm among stored attributes.
pub(crate) fn algorithm(attributes: &[(String, String)]) -> Option<Algorithm> {
    Algorithm::ALL.into_iter().find(|algorithm| attributes.iter().any(|(name, _)| name == algorithm.header()))
}

/// Whether an attribute is about the bytes, not about how they are served: a copy keeps it whatever else it replaces.
pub(crate) fn is_about_bytes(name: &str) -> bool {
    name.starts_with("x-amz-checksum-")
}

/// The encryption that answers name, whoever wrote the object and whatever was asked: everything is encrypted, and S3 has one
/// name for that.
pub(crate) fn encryption() -> Option<ServerSideEncryption> {
    Some(ServerSideEncryption::from_static(ServerSideEncryption::AES256))
}

/// A time as answers show it.
pub(crate) fn time(at_ms: WallMs) -> Timestamp {
    Timestamp::from(UNIX_EPOCH + Duration::from_millis(at_ms))
}

/// A size or count as `s3s` carries it; ours are below 2^63.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Fills the five checksum fields of an output.
macro_rules! show_checksum {
    ($output:expr, $checksum:expr) => {{
        let checksum = $checksum;
        $output.checksum_crc32 = checksum.checksum_crc32;
        $output.checksum_crc32c = checksum.checksum_crc32c;
        $output.checksum_crc64nvme = checksum.checksum_crc64nvme;
        $output.checksum_sha1 = checksum.checksum_sha1;
        $output.checksum_sha256 = checksum.checksum_sha256;
    }};
}
pub(crate) use show_checksum;

/// Fills an object's headers and metadata in a GET's or HEAD's output.
macro_rules! shown {
    ($output:expr, $shown:expr) => {{
        let headers = $shown.headers;
        $output.cache_control = headers.cache_control;
        $output.content_disposition = headers.content_disposition;
        $output.content_encoding = headers.content_encoding;
        $output.content_language = headers.content_language;
        $output.content_type = headers.content_type.or_else(|| Some("binary/octet-stream".to_owned()));
        $output.expires = headers.expires;
        $output.website_redirect_location = headers.redirect;
        $output.metadata = headers.metadata;
        $output.server_side_encryption = $crate::attributes::encryption();
    }};
}
pub(crate) use shown;

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T>(result: S3Result<T>) -> String {
        result.map_or_else(|error| error.code().as_str().to_owned(), |_| "ok".to_owned())
    }

    #[test]
    fn headers_come_back_as_they_were_taken() {
        let metadata = Metadata::from([("b".to_owned(), "ü".to_owned()), ("a".to_owned(), "1".to_owned())]);
        let taken = Taken {
            cache_control: Some("no-cache".into()),
            content_encoding: Some("gzip, aws-chunked".into()),
            content_type: Some("text/plain".into()),
            expires: Some(time(1_600_000_000_000)),
            metadata: Some(metadata.clone()),
            ..Taken::default()
        };
        let attributes = taken.attributes().expect("small enough");
        assert!(attributes.is_sorted());
        let shown = show(&attributes).headers;
        assert_eq!(shown.content_encoding.as_deref(), Some("gzip"));
        assert_eq!(shown.content_type.as_deref(), Some("text/plain"));
        assert_eq!(shown.expires, Some(time(1_600_000_000_000)));
        assert_eq!(shown.metadata, Some(metadata));
        assert!(show(&attributes).checksum.checksum_type.is_none());
    }

    #[test]
    fn aws_chunked_is_no_content_encoding() {
        for (encoding, expected) in [
            ("aws-chunked", None),
            ("", None),
            ("gzip", Some("gzip")),
            ("aws-chunked,gzip , br", Some("gzip, br")),
        ] {
            assert_eq!(without_aws_chunked(encoding).as_deref(), expected, "{encoding}");
        }
    }

    #[test]
    fn user_metadata_is_bounded_and_printable() {
        let with = |name: &str, value: String| {
            let metadata = Some(Metadata::from([(name.to_owned(), value)]));
            code(Taken { metadata, ..Taken::default() }.attributes())
        };
        assert_eq!(with("k", "v".repeat(2047)), "ok");
        assert_eq!(with("k", "v".repeat(2048)), "MetadataTooLarge");
        assert_eq!(with("k", "a\r\nb".into()), "InvalidArgument");
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let cases = [
            (Wishes::default(), "ok"),
            (Wishes { acl: Some("private"), ..Wishes::default() }, "ok"),
            (Wishes { acl: Some("public-read"), ..Wishes::default() }, "AccessControlListNotSupported"),
            (Wishes { grants: true, ..Wishes::default() }, "AccessControlListNotSupported"),
            (Wishes { lock: true, ..Wishes::default() }, "NotImplemented"),
            (Wishes { encryption: Some("AES256"), ..Wishes::default() }, "ok"),
            (Wishes { encryption: Some("aws:kms"), ..Wishes::default() }, "NotImplemented"),
            (Wishes { customer_key: true, ..Wishes::default() }, "NotImplemented"),
            (Wishes { kms: true, ..Wishes::default() }, "NotImplemented"),
            (Wishes { storage_class: Some("STANDARD"), ..Wishes::default() }, "ok"),
            (Wishes { storage_class: Some("GLACIER"), ..Wishes::default() }, "InvalidStorageClass"),
        ];
        for (wishes, expected) in cases {
            assert_eq!(code(wishes.check()), expected);
        }
    }

    #[test]
    fn a_checksum_says_what_it_is_of() {
        let stored = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            let shown = checksum(&pairs);
            (
                shown.checksum_crc32,
                shown.checksum_type.map(|kind| kind.as_str().to_owned()),
                algorithm(&pairs),
            )
        };
        let crc32 = Some("AAAAAA==".to_owned());
        assert_eq!(
            stored(&[("x-amz-checksum-crc32", "AAAAAA==")]),
            (crc32.clone(), Some("FULL_OBJECT".into()), Some(Algorithm::Crc32))
        );
        assert_eq!(
            stored(&[("x-amz-checksum-crc32", "AAAAAA=="), (TYPE, "COMPOSITE")]),
            (crc32, Some("COMPOSITE".into()), Some(Algorithm::Crc32))
        );
        assert_eq!(stored(&[(TYPE, "COMPOSITE")]), (None, None, None));
    }
}
