//! Grants: what an access key was given. Written by operators as text, kept as bytes with the key, asked by `access`.
//!
//! A grant reads `RIGHTS:BUCKET[/PREFIX]`:
//!
//! | part | is |
//! |---|---|
//! | RIGHTS | `read`, `write`, `list`, `delete`, `manage`, several with commas, or `all` |
//! | BUCKET | a bucket's name, the start of names and `*`, `*` for every bucket, `@own` for those that the key made |
//! | PREFIX | how keys begin; `manage` is about whole buckets and goes with none |
//!
//! Kept as a version byte, 1, and the grants' texts with line feeds between.

use std::fmt;

/// Of one key.
pub const GRANTS_MAX: usize = 100;
const VERSION: u8 = 1;
const PREFIX_BYTES_MAX: usize = 1024;
const BUCKET_CHARS_MAX: usize = 63;
const OWN: &str = "@own";

/// One kind of thing that a grant allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    /// Reading objects, their metadata and tags.
    Read,
    /// Writing objects, parts and tags; giving up unfinished uploads.
    Write,
    /// Seeing keys, versions, uploads and parts.
    List,
    /// Deleting objects and versions.
    Delete,
    /// Making, configuring and removing buckets.
    Manage,
}

impl Right {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Read, "read"),
        (Self::Write, "write"),
        (Self::List, "list"),
        (Self::Delete, "delete"),
        (Self::Manage, "manage"),
    ];
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Buckets {
    /// Those that the key made.
    Own,
    /// The one of that name.
    Named(String),
    /// Those whose names begin so.
    Starting(String),
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Grant {
    rights: Vec<Right>,
    buckets: Buckets,
    prefix: String,
}

/// What a key may do. Without any grant, that is nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grants(Vec<Grant>);

/// A grant that makes no sense.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GrantError {
    /// The grant as it was given.
    pub text: String,
    /// What is wrong with it, and what would be right.
    pub why: &'static str,
}

impl fmt::Display for GrantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the grant `{}`: {}", self.text, self.why)
    }
}

impl std::error::Error for GrantError {}

impl Grants {
    /// Reads grants as operators write them.
    ///
    /// # Errors
    /// Names the first that is not understood.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self, GrantError> {
        if texts.len() > GRANTS_MAX {
            let text = format!("{} grants", texts.len());
            return Err(GrantError { text, why: "a key has at most 100" });
        }
        texts.iter().map(|text| Grant::parse(text.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// As operators write them.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(Grant::to_string).collect()
    }

    /// As they are kept.
    pub fn encode(&self) -> Vec<u8> {
        [&[VERSION][..], self.texts().join("\n").as_bytes()].concat()
    }

    /// Out of what is kept; `None`: it cannot be read, and denies.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, text) = match bytes.split_first() {
            None => return Some(Self::default()),
            Some((version, text)) => (*version, std::str::from_utf8(text).ok()?),
        };
        let texts: Vec<&str> = text.split('\n').filter(|line| !line.is_empty()).collect();
        if version == VERSION { Self::parse(&texts).ok() } else { None }
    }

    /// Whether nothing is granted.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it matters who made a bucket.
    pub(crate) fn ask_owner(&self) -> bool {
        self.0.iter().any(|grant| grant.buckets == Buckets::Own)
    }

    /// Whether a grant of that right covers this key (or start of keys) of this bucket.
    pub(crate) fn cover(&self, right: Right, bucket: &str, own: bool, key: &str) -> bool {
        let covers = |grant: &Grant| grant.covers(bucket, own) && key.starts_with(&grant.prefix);
        self.0.iter().any(|grant| grant.rights.contains(&right) && covers(grant))
    }

    /// Whether any grant is about this bucket.
    pub(crate) fn mention(&self, bucket: &str, own: bool) -> bool {
        self.0.iter().any(|grant| grant.covers(bucket, own))
    }
}

impl Grant {
    fn parse(text: &str) -> Result<Self, GrantError> {
        let wrong = |why| GrantError { text: text.to_owned(), why };
        let (rights, place) = text
            .split_once(':')
            .ok_or_else(|| wrong("write RIGHTS:BUCKET[/PREFIX], like read,list:photos/2024/"))?;
        let mut known = Vec::new();
        for word in rights.split(',') {
            match Right::ALL.iter().find(|(_, name)| *name == word) {
                Some((right, _)) if !known.contains(right) => known.push(*right),
                Some(_) => {}
                None if word == "all" => known = Right::ALL.map(|(right, _)| right).to_vec(),
                None => return Err(wrong("rights are read, write, list, delete, manage, or all")),
            }
        }
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let buckets = Buckets::parse(bucket)
            .ok_or_else(|| wrong("a bucket is a name, the start of names and *, * alone, or @own"))?;
        if prefix.len() > PREFIX_BYTES_MAX || prefix.chars().any(char::is_control) {
            return Err(wrong("a prefix has at most 1024 bytes and no control characters"));
        }
        if !prefix.is_empty() && known.contains(&Right::Manage) {
            if rights.split(',').any(|word| word == "manage") {
                return Err(wrong("manage is about whole buckets and goes with no prefix"));
            }
            known.retain(|right| *right != Right::Manage);
        }
        // One order, whatever was written: the same grant is the same text.
        let rights = Right::ALL.map(|(right, _)| right).into_iter().filter(|right| known.contains(right));
        Ok(Self { rights: rights.collect(), buckets, prefix: prefix.to_owned() })
    }

    fn covers(&self, bucket: &str, own: bool) -> bool {
        match &self.buckets {
            Buckets::Own => own,
            Buckets::Named(name) => name == bucket,
            Buckets::Starting(start) => bucket.starts_with(start.as_str()),
        }
    }
}

impl Buckets {
    fn parse(text: &str) -> Option<Self> {
        if text == OWN {
            return Some(Self::Own);
        }
        let plain = |name: &str| {
            name.len() <= BUCKET_CHARS_MAX
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-'))
        };
        match text.strip_suffix('*') {
            Some(start) if plain(start) => Some(Self::Starting(start.to_owned())),
            None if plain(text) && !text.is_empty() => Some(Self::Named(text.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Right::ALL
            .iter()
            .filter(|(right, _)| self.rights.contains(right))
            .map(|(_, name)| *name)
            .collect();
        f.write_str(&if names.len() == Right::ALL.len() { "all".to_owned() } else { names.join(",") })?;
        match &self.buckets {
            Buckets::Own => write!(f, ":{OWN}")?,
            Buckets::Named(name) => write!(f, ":{name}")?,
            Buckets::Starting(start) => write!(f, ":{start}*")?,
        }
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_read_and_written_alike() {
        for (given, told) in [
            ("read:photos", "read:photos"),
            ("list,read:photos/2024/", "read,list:photos/2024/"),
            ("all:*", "all:*"),
            ("all:@own", "all:@own"),
            ("read,read:logs-*", "read:logs-*"),
            ("all:photos/a", "read,write,list,delete:photos/a"),
            ("manage:x", "manage:x"),
            ("write:b/a:b c/", "write:b/a:b c/"),
        ] {
            let grants = Grants::parse(&[given]).expect(given);
            assert_eq!(grants.texts(), [told], "{given}");
            assert_eq!(Grants::decode(&grants.encode()), Some(grants));
        }
        let long = format!("read:b/{}", "p".repeat(1025));
        for bad in [
            "",
            "read",
            "read:",
            ":b",
            "reed:b",
            "read,:b",
            "read:B",
            "read:a b",
            "read:@mine",
            "read:a*b",
            "read:b/\n",
            "manage:b/p",
            "read:**",
            &long,
        ] {
            assert!(Grants::parse(&[bad]).is_err(), "{bad}");
        }
        assert!(Grants::parse(&vec!["read:b"; 101]).is_err());
    }

    #[test]
    fn what_cannot_be_read_is_no_grant() {
        assert_eq!(Grants::decode(&[]), Some(Grants::default()));
        for bad in [&[2, b'x'][..], &[1, 0xff], b"\x01nonsense", b"read:b"] {
            assert_eq!(Grants::decode(bad), None, "{bad:?}");
        }
    }
}
