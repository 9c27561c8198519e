//! Checksums: what proves that bytes are the same, in S3's spellings (base64 of big-endian values).

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use base64_simd::STANDARD;
use crc_fast::CrcAlgorithm;
use md5::{Digest as _, Md5};

use crate::sign::hex;

/// A way to sum bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// What S3 prefers, and what is sent with every upload.
    Crc64Nvme,
    /// Castagnoli's.
    Crc32c,
    /// zip's.
    Crc32,
    /// Of old objects.
    Sha1,
    /// Cryptographic.
    Sha256,
    /// The entity tag of an object that was stored in one request, in hexadecimal.
    Md5,
    /// The entity tag of an object that was uploaded in parts of this many bytes: the MD5 of their MD5s and their number.
    Md5OfParts(u64),
}

impl Algorithm {
    /// Those that have a header, the cheapest first.
    pub(crate) const WITH_HEADER: [Self; 5] =
        [Self::Crc64Nvme, Self::Crc32c, Self::Crc32, Self::Sha256, Self::Sha1];

    /// Whether a header's value can be one of this algorithm at all: base64 of as many bytes as it has.
    pub(crate) fn can_be(self, value: &str) -> bool {
        let bytes = match self {
            Self::Crc64Nvme => 8,
            Self::Crc32c | Self::Crc32 => 4,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Md5 | Self::Md5OfParts(_) => return false,
        };
        STANDARD.decode_to_vec(value).is_ok_and(|value| value.len() == bytes)
    }

    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc64Nvme => "crc64nvme",
            Self::Crc32c => "crc32c",
            Self::Crc32 => "crc32",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Md5 => "md5",
            Self::Md5OfParts(_) => "md5 of parts",
        }
    }
}

/// What an endpoint says of an object's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// How it was made.
    pub algorithm: Algorithm,
    /// Base64; of MD5, hexadecimal.
    pub value: String,
}

/// A sum under way.
pub struct Sum(State);

enum State {
    Crc(Algorithm, crc_fast::Digest),
    Sha(Context),
    Md5(Box<Md5>),
    Parts(Box<Parts>),
}

/// The MD5 of MD5s under way.
struct Parts {
    part_bytes: u64,
    /// Bytes of the part under way.
    filled: u64,
    part: Md5,
    whole: Md5,
    count: u64,
}

impl Parts {
    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(self.part_bytes - self.filled).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.part.update(now);
            self.filled += now.len() as u64;
            if self.filled == self.part_bytes {
                self.end_part();
            }
            bytes = later;
        }
    }

    fn end_part(&mut self) {
        self.whole.update(std::mem::take(&mut self.part).finalize());
        self.count += 1;
        self.filled = 0;
    }

    fn finish(mut self) -> String {
        if self.filled > 0 {
            self.end_part();
        }
        format!("{}-{}", hex(&self.whole.finalize()), self.count)
    }
}

impl Sum {
    /// Of no bytes yet.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Crc64Nvme => State::Crc(algorithm, crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme)),
            Algorithm::Crc32c => State::Crc(algorithm, crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi)),
            Algorithm::Crc32 => State::Crc(algorithm, crc_fast::Digest::new(CrcAlgorithm::Crc32IsoHdlc)),
            Algorithm::Sha1 => State::Sha(Context::new(&SHA1_FOR_LEGACY_USE_ONLY)),
            Algorithm::Sha256 => State::Sha(Context::new(&SHA256)),
            Algorithm::Md5 => State::Md5(Box::default()),
            Algorithm::Md5OfParts(part_bytes) => State::Parts(Box::new(Parts {
                part_bytes: part_bytes.max(1),
                filled: 0,
                part: Md5::new(),
                whole: Md5::new(),
                count: 0,
            })),
        })
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Crc(_, digest) => digest.update(bytes),
            State::Sha(context) => context.update(bytes),
            State::Md5(digest) => digest.update(bytes),
            State::Parts(parts) => parts.update(bytes),
        }
    }

    /// The value as S3 spells it.
    pub fn finish(self) -> String {
        match self.0 {
            State::Crc(Algorithm::Crc64Nvme, digest) => {
                STANDARD.encode_to_string(digest.finalize().to_be_bytes())
            }
            // The upper half of a 32-bit sum is empty.
            State::Crc(_, digest) => STANDARD.encode_to_string(&digest.finalize().to_be_bytes()[4..]),
            State::Sha(context) => STANDARD.encode_to_string(context.finish().as_ref()),
            State::Md5(digest) => hex(&digest.finalize()),
            State::Parts(parts) => parts.finish(),
        }
    }

    /// The value of these bytes.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> String {
        let mut sum = Self::new(algorithm);
        sum.update(bytes);
        sum.finish()
    }
}

/// The sum of these bytes, for [`combine_crc64nvme`].
pub fn crc64nvme(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

/// The sum of bytes followed by `length` others, of which `other` is the sum.
pub fn combine_crc64nvme(one: u64, other: u64, length: u64) -> u64 {
    crc_fast::checksum_combine(CrcAlgorithm::Crc64Nvme, one, other, length)
}

/// A CRC64NVME as S3 spells it.
pub fn crc64nvme_text(value: u64) -> String {
    STANDARD.encode_to_string(value.to_be_bytes())
}

/// The entity tag that S3 gives to an object of parts with these tags; `None` when one of them is no MD5.
pub(crate) fn tag_of_parts<'a>(tags: impl ExactSizeIterator<Item = &'a str>) -> Option<String> {
    let count = tags.len();
    let mut digest = Md5::new();
    for tag in tags {
        digest.update(unhex(tag)?);
    }
    Some(format!("{}-{count}", hex(&digest.finalize())))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

/// The number of parts in an entity tag that can be the MD5 of MD5s.
pub(crate) fn parts_of_tag(tag: &str) -> Option<u64> {
    let (sum, count) = tag.split_once('-')?;
    is_md5(sum).then_some(())?;
    count.parse().ok()
}

/// Whether an entity tag can be the MD5 of the bytes.
pub(crate) fn is_md5(tag: &str) -> bool {
    unhex(tag).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_sums_of_123456789_come_out() {
        for (algorithm, value) in [
            (Algorithm::Crc64Nvme, "rosUhgp5mIg="),
            (Algorithm::Crc32c, "4waSgw=="),
            (Algorithm::Crc32, "y/Q5Jg=="),
            (Algorithm::Sha1, "98O8HYCOBHMq32eZZczDTKeuNEE="),
            (Algorithm::Sha256, "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
            (Algorithm::Md5, "25f9e794323b453885f5181f1b624d0b"),
        ] {
            assert_eq!(Sum::of(algorithm, b"123456789"), value, "{}", algorithm.name());
            assert_eq!(algorithm.can_be(value), algorithm != Algorithm::Md5);
            assert!(
                !algorithm.can_be("AAAA")
                    && !algorithm.can_be(&format!("{value}-2"))
                    && !algorithm.can_be("?")
            );
        }
    }

    #[test]
    fn sums_of_parts_make_the_sum_of_the_whole() {
        let whole = combine_crc64nvme(crc64nvme(b"1234"), crc64nvme(b"56789"), 5);
        assert_eq!(whole, crc64nvme(b"123456789"));
        assert_eq!(crc64nvme_text(whole), Sum::of(Algorithm::Crc64Nvme, b"123456789"));
        assert_eq!(combine_crc64nvme(0, crc64nvme(b"x"), 1), crc64nvme(b"x"));
    }

    #[test]
    fn the_tag_of_parts_is_the_md5_of_their_md5s() {
        let tag = Sum::of(Algorithm::Md5, b"a");
        let expected = format!("{}-1", Sum::of(Algorithm::Md5, &unhex(&tag).expect("hexadecimal")));
        assert_eq!(tag_of_parts([tag.as_str()].into_iter()), Some(expected));
        assert_eq!(tag_of_parts(["opaque"].into_iter()), None);
        let tags: Vec<String> =
            ["1234", "5678", "9"].map(|part| Sum::of(Algorithm::Md5, part.as_bytes())).into();
        let whole = tag_of_parts(tags.iter().map(String::as_str)).expect("MD5s");
        let mut sum = Sum::new(Algorithm::Md5OfParts(4));
        ["12", "345678", "9"].iter().for_each(|bytes| sum.update(bytes.as_bytes()));
        assert_eq!(sum.finish(), whole);
        assert_eq!((parts_of_tag(&whole), parts_of_tag(&tag), parts_of_tag("x-3")), (Some(3), None, None));
        assert!(is_md5(&tag) && !is_md5("abc-2"));
    }
}
