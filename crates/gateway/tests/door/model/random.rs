//! Random choices that repeat with their seed, and what they choose from.

use std::sync::Arc;

use super::bucket::Content;

/// Names that parsers, signatures and listings stumble over.
pub const KEYS: [&str; 20] = [
    "a", "a/b", "a/b/c", "foo", "foo/bar", "foo/bar/", "d//e", "ü/ß", "x y", "p+q", "%41", "z/", ".", "..",
    "a&b=c", "<k>", "k1", "k2", "k3", "日本",
];

/// See the module.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 11) as usize % bound.max(1)
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub fn key(&mut self) -> &'static str {
        KEYS[self.below(KEYS.len())]
    }

    /// Sizes around every way of keeping an object: none, in the row, in a pack, in chunks.
    pub fn body(&mut self) -> Arc<Vec<u8>> {
        let len = match self.below(40) {
            0 | 1 => 0,
            2..=25 => self.below(200),
            26..=33 => self.below(4200),
            34..=37 => self.below(40_000),
            38 => 120_000 + self.below(20_000),
            _ => self.below(300_000),
        };
        Arc::new(self.bytes(len))
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(len).collect()
    }

    /// A fresh object.
    pub fn content(&mut self) -> Content {
        let body = self.body();
        let etag = md5(&body);
        let tags = if self.one_in(4) { vec![("t".to_owned(), self.below(9).to_string())] } else { vec![] };
        let kind = format!("text/x{}", self.below(3));
        Content { body, etag, kind, note: format!("n{}", self.below(100)), tags, parts: vec![] }
    }
}

/// MD5 in hex.
pub fn md5(bytes: &[u8]) -> String {
    let digest = <s3s::crypto::Md5 as s3s::crypto::Checksum>::checksum(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Percent-encodes a name for a path, or with `slashes` for a query.
pub fn encode(text: &str, slashes: bool) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b) || b == b'/' && !slashes;
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Undoes it.
pub fn decode(text: &str) -> String {
    let mut bytes = vec![];
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'%' => {
                let digits = std::str::from_utf8(&tail[..2]).expect("two digits");
                bytes.push(u8::from_str_radix(digits, 16).expect("hex"));
                rest = &tail[2..];
            }
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).expect("names are UTF-8")
}
