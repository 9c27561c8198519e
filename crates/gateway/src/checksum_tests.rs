//! Checksums against known values, and every way to state them wrongly.

// A table of cases spells its type out.
#![allow(clippy::type_complexity)]

use futures_util::StreamExt as _;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use pangea_client::Received;
use pangea_core::meta::PartRow;
use s3s::dto::StreamingBlob;

use super::{
    Algorithm, COMPOSITE, Digests, DocumentCheck, FULL_OBJECT, Sum, checked, of_parts, stated_in_trailer,
};
use crate::error::Refused;

const HELLO_CRC32: &str = "NhCmhg==";
const HELLO_MD5: &str = "XUFAKrxLKna5cZ2REBfFkg==";

fn sum(algorithm: Algorithm, bytes: &[u8]) -> String {
    let mut sum = Sum::new(algorithm);
    sum.update(bytes);
    sum.finish()
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::try_from(*name).expect("a name"), HeaderValue::try_from(*value).expect("a value"))
    };
    pairs.iter().map(pair).collect()
}

#[test]
fn known_values() {
    let cases = [
        (Algorithm::Crc32, HELLO_CRC32),
        (Algorithm::Crc32c, "mnG7TA=="),
        (Algorithm::Sha1, "qvTGHdzF6KLavt4PO0gs2a6pQ00="),
        (Algorithm::Sha256, "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="),
    ];
    for (algorithm, expected) in cases {
        assert_eq!(sum(algorithm, b"hello"), expected, "{algorithm:?}");
    }
    // The check value of CRC-64/NVME: ae8b14860a799888 for "123456789".
    assert_eq!(sum(Algorithm::Crc64Nvme, b"123456789"), "rosUhgp5mIg=");
}

#[test]
fn stated_checksums_are_parsed_strictly() {
    let cases: [(&[(&str, &str)], Result<Option<Algorithm>, &str>); 13] = [
        (&[], Ok(None)),
        (&[("content-md5", HELLO_MD5)], Ok(None)),
        (&[("content-md5", "!")], Err("InvalidDigest")),
        (&[("content-md5", "AAAA")], Err("InvalidDigest")),
        (&[("x-amz-checksum-crc32", HELLO_CRC32)], Ok(Some(Algorithm::Crc32))),
        (&[("x-amz-checksum-crc32", "AAAAAAAAAAA=")], Err("InvalidRequest")),
        (&[("x-amz-checksum-md5", HELLO_MD5)], Err("InvalidRequest")),
        (
            &[("x-amz-checksum-crc32", HELLO_CRC32), ("x-amz-checksum-crc32c", "mnG7TA==")],
            Err("InvalidRequest"),
        ),
        (&[("x-amz-trailer", "x-amz-checksum-sha256")], Ok(Some(Algorithm::Sha256))),
        (&[("x-amz-trailer", "x-amz-checksum-sha256,x-amz-checksum-sha1")], Err("InvalidRequest")),
        (&[("x-amz-trailer", "x-other")], Err("InvalidRequest")),
        (&[("x-amz-sdk-checksum-algorithm", "crc64nvme")], Ok(Some(Algorithm::Crc64Nvme))),
        (&[("x-amz-checksum-mode", "ENABLED"), ("x-amz-checksum-type", "COMPOSITE")], Ok(None)),
    ];
    for (pairs, expected) in cases {
        let got = Digests::of_headers(&headers(pairs))
            .map(|digests| digests.algorithm())
            .map_err(|error| error.code().as_str().to_owned());
        assert_eq!(got, expected.map_err(str::to_owned), "{pairs:?}");
    }
}

#[tokio::test]
async fn a_body_is_accepted_only_as_it_was_announced() {
    let right = Received {
        len: 5,
        md5: [0x5d, 0x41, 0x40, 0x2a, 0xbc, 0x4b, 0x2a, 0x76, 0xb9, 0x71, 0x9d, 0x91, 0x10, 0x17, 0xc5, 0x92],
    };
    let cases: [(&[(&str, &str)], &str); 6] = [
        (&[], "[]"),
        (&[("content-md5", HELLO_MD5)], "[]"),
        (&[("content-md5", "XUFAKrxLKna5cZ2REBfFkw==")], "BadDigest"),
        (&[("x-amz-checksum-crc32", HELLO_CRC32)], "[(\"x-amz-checksum-crc32\", \"NhCmhg==\")]"),
        (&[("x-amz-checksum-crc32", "NhCmhw==")], "BadDigest"),
        (&[("x-amz-sdk-checksum-algorithm", "CRC32")], "[(\"x-amz-checksum-crc32\", \"NhCmhg==\")]"),
    ];
    for (pairs, expected) in cases {
        let digests = Digests::of_headers(&headers(pairs)).expect("well formed");
        let blob = StreamingBlob::from(s3s::Body::from("hello".to_owned()));
        let (mut body, accept) = checked(Some(blob), digests, None);
        while let Some(piece) = body.next().await {
            piece.expect("bytes in memory");
        }
        let told = match accept(&right) {
            Ok(attributes) => format!("{attributes:?}"),
            Err(error) => error
                .downcast_ref::<Refused>()
                .map_or_else(String::new, |error| error.0.code().as_str().to_owned()),
        };
        assert_eq!(told, expected, "{pairs:?}");
    }
}

#[test]
fn a_trailer_brings_what_was_announced_and_nothing_else() {
    let crc32 = Some(Algorithm::Crc32);
    let cases: [(Option<Algorithm>, &[(&str, &str)], bool); 7] = [
        (None, &[], true),
        (None, &[("x-amz-checksum-crc32", HELLO_CRC32)], false),
        (crc32, &[("x-amz-checksum-crc32", HELLO_CRC32)], true),
        (crc32, &[], false),
        (crc32, &[("x-amz-checksum-crc32", "AA==")], false),
        (crc32, &[("x-amz-checksum-crc32", HELLO_CRC32), ("x-amz-checksum-sha1", "x")], false),
        (crc32, &[("x-amz-checksum-crc32", HELLO_CRC32), ("x-amz-checksum-crc32", HELLO_CRC32)], false),
    ];
    for (announced, arrived, good) in cases {
        assert_eq!(stated_in_trailer(announced, &headers(arrived)).is_ok(), good, "{arrived:?}");
    }
}

#[test]
fn documents_are_checked_as_they_pass() {
    let cases: [(&[(&str, &str)], bool); 5] = [
        (&[], true),
        (&[("content-md5", HELLO_MD5)], true),
        (&[("content-md5", "XUFAKrxLKna5cZ2REBfFkw==")], false),
        (&[("x-amz-checksum-crc32", HELLO_CRC32)], true),
        (&[("x-amz-checksum-crc32", "NhCmhw==")], false),
    ];
    for (pairs, good) in cases {
        let mut check = DocumentCheck::new(Digests::of_headers(&headers(pairs)).expect("well formed"));
        check.update(b"hel");
        check.update(b"lo");
        assert_eq!(check.holds(), good, "{pairs:?}");
    }
}

fn part(algorithm: Algorithm, bytes: &[u8]) -> PartRow {
    let attributes = vec![(algorithm.header().to_owned(), sum(algorithm, bytes))];
    PartRow { content: None, size: bytes.len() as u64, md5: [0; 16], created_ms: 0, attributes }
}

#[test]
fn parts_make_a_whole() {
    let pieces: [&[u8]; 3] = [b"hello ", b"", b"world"];
    for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
        let parts: Vec<_> = (1..).zip(pieces.map(|piece| part(algorithm, piece))).collect();
        let whole = of_parts(algorithm, FULL_OBJECT, &parts);
        assert_eq!(whole, Some(sum(algorithm, b"hello world")), "{algorithm:?}");
    }
    for algorithm in Algorithm::ALL {
        let parts: Vec<_> = (1..).zip(pieces.map(|piece| part(algorithm, piece))).collect();
        let composite = of_parts(algorithm, COMPOSITE, &parts).expect("all parts have one");
        let raw: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| base64_simd::STANDARD.decode_to_vec(sum(algorithm, piece)).expect("ours"))
            .collect();
        assert_eq!(composite, format!("{}-3", sum(algorithm, &raw)));
    }
    let mut lacking = vec![(1, part(Algorithm::Crc32, b"x")), (2, part(Algorithm::Sha1, b"y"))];
    assert_eq!(of_parts(Algorithm::Crc32, COMPOSITE, &lacking), None);
    assert_eq!(of_parts(Algorithm::Crc32, FULL_OBJECT, &lacking), None);
    lacking.truncate(1);
    assert_eq!(of_parts(Algorithm::Sha256, FULL_OBJECT, &lacking), None);
}

#[test]
fn types_fit_their_algorithms() {
    let cases = [
        (Algorithm::Crc32, None, Some(COMPOSITE)),
        (Algorithm::Crc32, Some(FULL_OBJECT), Some(FULL_OBJECT)),
        (Algorithm::Crc64Nvme, None, Some(FULL_OBJECT)),
        (Algorithm::Crc64Nvme, Some(COMPOSITE), None),
        (Algorithm::Sha256, None, Some(COMPOSITE)),
        (Algorithm::Sha256, Some(FULL_OBJECT), None),
        (Algorithm::Crc32c, Some("OTHER"), None),
    ];
    for (algorithm, wanted, expected) in cases {
        assert_eq!(algorithm.kind(wanted).ok(), expected, "{algorithm:?} {wanted:?}");
    }
}
