//! What a recovery found, as programs read it: fields are added and never renamed. Lists hold the first few; all are counted.

use std::path::PathBuf;

use serde::Serialize;

/// What a recovery found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Report {
    /// The cluster.
    pub cluster: String,
    /// Requests in the rebuilt view.
    pub requests: u64,
    /// The meta generation.
    pub generation: u64,
    /// The backup or older state that this metadata goes back to, if it was ever restored.
    pub restored: Option<Restored>,
    /// What the metadata's recovery put right.
    pub notes: Vec<String>,
    /// Whether every shard was read and checked, or only looked up.
    pub deep: bool,
    /// Buckets.
    pub buckets: u64,
    /// Blobs that something refers to.
    pub blobs: u64,
    /// Blobs that wait to be freed.
    pub condemned_blobs: u64,
    /// Stripes of the blobs that something refers to.
    pub stripes: u64,
    /// Stripes with all shards on the drives that were named.
    pub whole_stripes: u64,
    /// Stripes that lack shards and can be rebuilt.
    pub short_stripes: u64,
    /// Stripes with fewer shards than reading needs.
    pub lost_stripes: u64,
    /// Some of them.
    pub lost: Vec<LostStripe>,
    /// Blobs whose manifest is itself stored as shards.
    pub spilled_blobs: u64,
    /// Blobs whose manifest cannot be read.
    pub unreadable_blobs: u64,
    /// Versions of objects that refer to something that is lost.
    pub lost_objects: u64,
    /// Some of them.
    pub lost_names: Vec<LostObject>,
    /// Whether so much is lost that not every object of it was looked for.
    pub lost_untold: bool,
    /// Shards that were read and are wrong (with `deep`).
    pub bad_shards: u64,
    /// Shards of known blobs that their manifests have no place for.
    pub stray_shards: u64,
    /// Drives that were read: directory and shards.
    pub drives: Vec<(PathBuf, u64)>,
    /// Directories that could not be read, and why.
    pub unread: Vec<(PathBuf, String)>,
    /// Drives of the layout that were not named: their shards count as missing.
    pub missing_drives: Vec<String>,
    /// Blobs with shards on the drives that the metadata does not know: of writes that were never acknowledged, or of
    /// metadata that is gone.
    pub unknown_blobs: u64,
    /// Their shards.
    pub unknown_shards: u64,
    /// Objects, parts and items in them, by their audit records.
    pub unknown_objects: u64,
    /// Those of them that are all there: they may have been acknowledged.
    pub unknown_complete: u64,
    /// Those of them that the metadata has, elsewhere: what a move left behind.
    pub unknown_superseded: u64,
    /// Some of them, those that are all there first.
    pub unknown: Vec<Unknown>,
    /// Whether there are so many that only the first were looked into.
    pub unknown_untold: bool,
}

/// A state that was restored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Restored {
    /// Its last request.
    pub seq: u64,
    /// Its generation.
    pub generation: u64,
    /// When that was done: ms since 1970.
    pub at_ms: u64,
}

/// A stripe with too few shards.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LostStripe {
    /// Its blob.
    pub blob: String,
    /// Its chunk.
    pub chunk: u32,
    /// Shards that are there.
    pub shards: u8,
    /// Shards that reading needs.
    pub needed: u8,
}

/// A version of an object that cannot be read in full.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LostObject {
    /// The bucket's name.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// The version.
    pub version: String,
    /// Its bytes.
    pub bytes: u64,
}

/// Something on the drives that the metadata does not know, as its audit record says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Unknown {
    /// The blob that it lies in.
    pub blob: String,
    /// `object`, `part`, `item`, `pack`, or `unreadable`: then nothing but the blob is known.
    pub kind: &'static str,
    /// The bucket's name, or its id if there is no such bucket.
    pub bucket: String,
    /// The object's key, if the metadata or the list of names knows one with that hash.
    pub key: Option<String>,
    /// The first half of BLAKE3 of the key, in hex.
    pub name_hash: String,
    /// The version or upload.
    pub owner: String,
    /// Its bytes, if they were known when it was begun.
    pub bytes: Option<u64>,
    /// When it was begun: ms since 1970.
    pub begun_ms: u64,
    /// Whether all of it is there.
    pub complete: bool,
}

impl Report {
    /// Whether everything that was ever acknowledged is there, as far as can be told.
    pub fn is_complete(&self) -> bool {
        self.lost_stripes == 0 && self.unreadable_blobs == 0 && self.missing_objects() == 0
    }

    /// Objects that may have been acknowledged and that the metadata does not have. Metadata that was never set back has
    /// every acknowledged write, so what it does not know never was one.
    pub fn missing_objects(&self) -> u64 {
        if self.restored.is_some() { self.unknown_complete } else { 0 }
    }
}
