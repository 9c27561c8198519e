//! Queries: the pages that listings read. Every one is a single ordered scan.

use super::row::VersionRow;

/// A slice of a bucket's keys, in byte order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyRange {
    /// Only keys with this prefix.
    pub prefix: Vec<u8>,
    /// Only keys after this one (for versions: after this key, or within it after `after_seq`).
    pub after: Option<Vec<u8>>,
    /// Only keys at or after this one.
    pub from: Option<Vec<u8>>,
}

/// A page of heads.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HeadPage {
    /// Keys and their current versions (delete markers included), rising.
    pub heads: Vec<(Vec<u8>, VersionRow)>,
    /// Whether more may follow.
    pub more: bool,
}

/// A page of versions: per key the head first, then older ones, newest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VersionPage {
    /// Key, version, whether it is the head.
    pub versions: Vec<(Vec<u8>, VersionRow, bool)>,
    /// Whether more may follow.
    pub more: bool,
}
