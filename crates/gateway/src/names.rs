//! Names that come from outside: buckets, versions, uploads, part numbers.

use std::net::Ipv4Addr;

use pangea_core::id::{UploadId, VersionId};
use pangea_core::meta::{VersionRow, VersionSelector, Versioning};
use s3s::validation::NameValidation;
use s3s::{S3Result, s3_error};

use crate::options::PART_NUMBER_MAX;

const PREFIXES_RESERVED: [&str; 4] = ["xn--", "sthree-", "amzn-s3-demo-", "pangea--"];
const SUFFIXES_RESERVED: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

/// S3's rules for general purpose buckets
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>).
pub(crate) fn is_bucket_name(name: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-'))
        && edge(bytes.first())
        && edge(bytes.last())
        && !["..", ".-", "-."].iter().any(|pair| name.contains(pair))
        && name.parse::<Ipv4Addr>().is_err()
        && !PREFIXES_RESERVED.iter().any(|prefix| name.starts_with(prefix))
        && !SUFFIXES_RESERVED.iter().any(|suffix| name.ends_with(suffix))
}

/// The same rules for every bucket in a path.
pub(crate) struct BucketNames;

impl NameValidation for BucketNames {
    fn validate_bucket_name(&self, name: &str) -> bool {
        is_bucket_name(name)
    }
}

/// The version that a client names.
pub(crate) fn version(text: Option<&str>) -> S3Result<VersionSelector> {
    match text {
        None => Ok(VersionSelector::Current),
        Some("null") => Ok(VersionSelector::Null),
        // The zero id is never drawn: inside, it stands for the null version, which clients must call by that name.
        Some(text) => {
            VersionId::parse(text).filter(|id| *id != VersionId::ZERO).map(VersionSelector::Id).ok_or_else(
                || s3_error!(InvalidArgument, "Invalid version id specified: use one from a listing."),
            )
        }
    }
}

/// How clients know a version.
pub(crate) fn version_text(id: VersionId, null: bool) -> String {
    if null { "null".to_owned() } else { id.to_string() }
}

/// The version id to tell: none in a bucket that never had versioning (clients would ask for it again).
pub(crate) fn told_version(versioning: Versioning, row: &VersionRow) -> Option<String> {
    (versioning != Versioning::Off).then(|| version_text(row.id, row.null))
}

/// The upload that a client names; anything we never gave out does not exist.
pub(crate) fn upload(text: &str) -> S3Result<UploadId> {
    UploadId::parse(text).ok_or_else(|| {
        s3_error!(
            NoSuchUpload,
            "No such upload for that bucket and key: it may have been completed or aborted."
        )
    })
}

/// A part number, 1 to 10,000.
pub(crate) fn part_number(number: i32) -> S3Result<u16> {
    let in_range = u16::try_from(number).ok().filter(|number| (1..=PART_NUMBER_MAX).contains(number));
    in_range.ok_or_else(|| s3_error!(InvalidArgument, "Part numbers go from 1 to {PART_NUMBER_MAX}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_follow_the_rules() {
        let long = "a".repeat(63);
        for good in ["abc", "a-b.c", "1bucket", "my.example.bucket", "a.b-c", &long, "1.2.3", "1.2.3.4.5"] {
            assert!(is_bucket_name(good), "{good}");
        }
        let longer = "a".repeat(64);
        for bad in [
            "",
            "a",
            "ab",
            &longer,
            "A_b",
            "Abc",
            "1.2.3.4",
            "a..b",
            "a-.b",
            "a.-b",
            "-ab",
            "ab-",
            ".ab",
            "ab.",
            "xn--x",
            "x-s3alias",
            "x--ol-s3",
            "sthree-x",
            "büro",
            "a b",
            "a/b",
            "a\0b",
        ] {
            assert!(!is_bucket_name(bad), "{bad}");
        }
    }

    #[test]
    fn versions_uploads_and_parts_are_parsed_strictly() {
        let id = VersionId([7; 16]);
        assert_eq!(version(None).ok(), Some(VersionSelector::Current));
        assert_eq!(version(Some("null")).ok(), Some(VersionSelector::Null));
        assert_eq!(version(Some(&id.to_string())).ok(), Some(VersionSelector::Id(id)));
        let zero = VersionId::ZERO.to_string();
        assert!(version(Some(&zero)).is_err());
        for bad in ["", "NULL", "0", "zz", "../x"] {
            assert_eq!(
                version(Some(bad)).map_err(|e| e.code().as_str().to_owned()),
                Err("InvalidArgument".into())
            );
            assert_eq!(upload(bad).map_err(|e| e.code().as_str().to_owned()), Err("NoSuchUpload".into()));
        }
        for (number, expected) in
            [(0, None), (1, Some(1)), (10_000, Some(10_000)), (10_001, None), (-1, None)]
        {
            assert_eq!(part_number(number).ok(), expected);
        }
    }
}
