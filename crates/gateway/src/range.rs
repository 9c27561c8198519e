//! Which bytes of an object a read wants.

use std::ops::Range;

use hyper::StatusCode;
use s3s::{S3Result, dto, s3_error};

use crate::error::{custom, invalid_range};

/// The bytes to serve.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Slice {
    /// Within the object.
    pub(crate) bytes: Range<u64>,
    /// `Content-Range`, if the answer is partial (206).
    pub(crate) content_range: Option<String>,
    /// How many parts the object was uploaded in, if the client asked for one.
    pub(crate) parts: Option<i32>,
}

impl Slice {
    /// Whether all of the object is served as such (only then do its checksums describe the answer).
    pub(crate) fn is_whole(&self) -> bool {
        self.content_range.is_none()
    }
}

/// Resolves `Range` or `partNumber` against an object of `size` bytes; `part_sizes` is run-length coded.
pub(crate) fn resolve(
    range: Option<dto::Range>,
    part_number: Option<i32>,
    size: u64,
    part_sizes: &[(u64, u32)],
) -> S3Result<Slice> {
    let partial = |bytes: Range<u64>, parts| {
        // An empty part of an empty object has no bytes that a Content-Range could name.
        let content_range =
            (bytes.start < bytes.end).then(|| format!("bytes {}-{}/{size}", bytes.start, bytes.end - 1));
        Slice { bytes, content_range, parts }
    };
    match (range, part_number) {
        (None, None) => Ok(Slice { bytes: 0..size, content_range: None, parts: None }),
        (Some(_), Some(_)) => Err(s3_error!(InvalidRequest, "Use either a Range or a partNumber, not both.")),
        (Some(range), None) => Ok(partial(range.check(size).map_err(|_| invalid_range(size))?, None)),
        (None, Some(number)) => {
            let number = crate::names::part_number(number)?;
            let (bytes, count) = part(number, size, part_sizes).ok_or_else(|| {
                custom("InvalidPartNumber", StatusCode::RANGE_NOT_SATISFIABLE, "The object has no such part.")
            })?;
            Ok(partial(bytes, count))
        }
    }
}

/// A part's bytes, and how many parts there are (`None` for an object that was not uploaded in parts: part 1 is all).
fn part(number: u16, size: u64, part_sizes: &[(u64, u32)]) -> Option<(Range<u64>, Option<i32>)> {
    if part_sizes.is_empty() {
        return (number == 1).then_some((0..size, None));
    }
    let count: u64 = part_sizes.iter().map(|(_, run)| u64::from(*run)).sum();
    let mut left = u64::from(number) - 1;
    let mut start = 0u64;
    for (bytes, run) in part_sizes {
        let run = u64::from(*run);
        if left < run {
            start = start.checked_add(bytes.checked_mul(left)?)?;
            let end = start.checked_add(*bytes)?;
            return (end <= size).then_some((start..end, i32::try_from(count).ok()));
        }
        start = start.checked_add(bytes.checked_mul(run)?)?;
        left -= run;
    }
    None
}

/// The range of a part that is copied: both ends given, inside the source.
pub(crate) fn of_copy(header: Option<&str>, size: u64) -> S3Result<Range<u64>> {
    let Some(header) = header else { return Ok(0..size) };
    let malformed = || s3_error!(InvalidArgument, "x-amz-copy-source-range has the form bytes=FIRST-LAST.");
    match dto::Range::parse(header).map_err(|_| malformed())? {
        dto::Range::Int { first, last: Some(last) } if last < size => Ok(first..last + 1),
        dto::Range::Int { first: _, last: Some(_) } => Err(invalid_range(size)),
        dto::Range::Int { first: _, last: None } | dto::Range::Suffix { length: _ } => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(range: Option<&str>, part: Option<i32>, size: u64, parts: &[(u64, u32)]) -> String {
        let range = range.map(|text| dto::Range::parse(text).expect("s3s refuses it before"));
        match resolve(range, part, size, parts) {
            Ok(slice) => {
                let shown = slice.content_range.unwrap_or_else(|| "whole".into());
                let count = slice.parts.map(|count| format!(" of {count} parts")).unwrap_or_default();
                format!("{:?} {shown}{count}", slice.bytes)
            }
            Err(error) => error.code().as_str().to_owned(),
        }
    }

    #[test]
    fn ranges_resolve_as_http_says() {
        let cases = [
            (None, 10, "0..10 whole"),
            (Some("bytes=0-0"), 10, "0..1 bytes 0-0/10"),
            (Some("bytes=0-"), 10, "0..10 bytes 0-9/10"),
            (Some("bytes=3-100"), 10, "3..10 bytes 3-9/10"),
            (Some("bytes=-4"), 10, "6..10 bytes 6-9/10"),
            (Some("bytes=-100"), 10, "0..10 bytes 0-9/10"),
            (Some("bytes=9-9"), 10, "9..10 bytes 9-9/10"),
            (Some("bytes=10-"), 10, "InvalidRange"),
            (Some("bytes=-0"), 10, "InvalidRange"),
            (Some("bytes=0-"), 0, "InvalidRange"),
            (None, 0, "0..0 whole"),
        ];
        for (range, size, expected) in cases {
            assert_eq!(told(range, None, size, &[]), expected, "{range:?}");
        }
    }

    #[test]
    fn parts_are_found_in_the_run_lengths() {
        let parts = [(5, 2), (3, 1)];
        let cases = [
            (1, "0..5 bytes 0-4/13 of 3 parts"),
            (2, "5..10 bytes 5-9/13 of 3 parts"),
            (3, "10..13 bytes 10-12/13 of 3 parts"),
            (4, "InvalidPartNumber"),
            (0, "InvalidArgument"),
            (10_001, "InvalidArgument"),
        ];
        for (part, expected) in cases {
            assert_eq!(told(None, Some(part), 13, &parts), expected);
        }
        assert_eq!(told(None, Some(1), 13, &[]), "0..13 bytes 0-12/13");
        assert_eq!(told(None, Some(2), 13, &[]), "InvalidPartNumber");
        assert_eq!(told(None, Some(2), 13, &[(u64::MAX, 2)]), "InvalidPartNumber");
        assert_eq!(told(Some("bytes=0-1"), Some(1), 13, &parts), "InvalidRequest");
    }

    #[test]
    fn a_copied_range_must_lie_inside_its_source() {
        let cases = [
            (None, Ok(0..10)),
            (Some("bytes=0-9"), Ok(0..10)),
            (Some("bytes=3-3"), Ok(3..4)),
            (Some("bytes=0-10"), Err("InvalidRange")),
            (Some("bytes=0-"), Err("InvalidArgument")),
            (Some("bytes=-3"), Err("InvalidArgument")),
            (Some("0-3"), Err("InvalidArgument")),
            (Some("bytes=5-2"), Err("InvalidArgument")),
        ];
        for (header, expected) in cases {
            let got = of_copy(header, 10).map_err(|error| error.code().as_str().to_owned());
            assert_eq!(got, expected.map_err(str::to_owned), "{header:?}");
        }
    }
}
