//! Rows: what the metadata tables hold. Encoded by `row_codec`; every row starts with a version byte.
//!
//! | table | key | row |
//! |---|---|---|
//! | bucket | name | [`BucketRow`] |
//! | bucket_key | bucket id, generation | [`BucketKeyRow`] (kept after the bucket: copies elsewhere may need it) |
//! | usage | bucket id | [`UsageRow`] |
//! | head | bucket id, key | [`VersionRow`]: the current version (or delete marker), the target of every condition |
//! | version | bucket id, key, newest first | [`VersionRow`]: the versions that are no longer current |
//! | blob | blob id | [`BlobRow`] |
//! | pack | blob id | [`PackRow`]: the packs that hold something |
//! | pack_entry | [`PackEntry`] | bytes of the item: which versions an item of a pack is the content of |
//! | condemned | generation, blob id | nothing: the blobs to be freed |
//! | upload | bucket id, key, upload id | [`UploadRow`] |
//! | part | upload id, part number | [`PartRow`] |
//! | todo | blob id, chunk | [`TodoRow`]: stripes that are not whole |
//! | lease | name | [`LeaseRow`] |
//! | access_key | access key id | [`AccessKeyRow`] |
//! | setting | name | revision and bytes: layouts by epoch, cluster settings |
//! | outcome | request id | what the request was answered, kept 24 h |
//!
//! Beside them stand small indexes and counters that only `apply` knows: bucket id → name, version id → sequence, outcomes
//! by age, and one state row ([`StateRow`]).

use crate::chunk::Code;
use crate::id::{BlobId, BucketId, DriveId, LeaseId, VersionId};
use crate::keys::{KeyRef, WrappedKey};
use crate::seam::WallMs;

/// Whether a bucket keeps old versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Versioning {
    /// Never switched on: every write replaces the null version.
    #[default]
    Off = 0,
    /// Every write makes a version.
    Enabled = 1,
    /// Writes replace the null version; older versions stay.
    Suspended = 2,
}

/// A bucket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BucketRow {
    /// Its id: what heads, versions and audit records name.
    pub id: BucketId,
    /// Its S3 name.
    pub name: String,
    /// When it was created.
    pub created_ms: WallMs,
    /// The access key id that created it.
    pub owner: String,
    /// The code of new chunks, or the cluster's default.
    pub code: Option<Code>,
    /// Where its data must stay; empty: anywhere.
    pub region_pin: String,
    /// Whether old versions are kept.
    pub versioning: Versioning,
    /// The generation of the bucket key that seals new data.
    pub key_generation: u32,
    /// Named documents (CORS, tags, policy …), sorted by name; opaque here.
    pub documents: Vec<(String, Vec<u8>)>,
}

/// A bucket key, wrapped by a master key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BucketKeyRow {
    /// The master key generation that wraps it.
    pub master_generation: u32,
    /// The wrapped key.
    pub wrapped: WrappedKey,
}

/// What a bucket holds; counted in the commands, never by walking.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UsageRow {
    /// Versions, current and older; delete markers not counted.
    pub versions: u64,
    /// Plaintext bytes of those versions.
    pub bytes: u64,
    /// Keys with a head, delete markers included.
    pub heads: u64,
    /// Uploads in progress.
    pub uploads: u64,
    /// The last sequence number given to a version in this bucket: rises with every commit, so that a key that was
    /// deleted and made again still gets a higher one.
    pub last_seq: u64,
}

/// An entity tag: the MD5 of the content, or of the parts' MD5s with their number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ETag {
    /// 16 bytes of MD5.
    pub md5: [u8; 16],
    /// 0 for a plain object; else the number of parts (printed as `-N`).
    pub parts: u16,
}

impl std::fmt::Display for ETag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.md5.iter().try_for_each(|b| write!(f, "{b:02x}"))?;
        if self.parts > 0 { write!(f, "-{}", self.parts) } else { Ok(()) }
    }
}

/// A slice of a blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// The blob.
    pub blob: BlobId,
    /// Where the slice starts, in plaintext bytes.
    pub offset: u64,
    /// Its length.
    pub len: u64,
}

/// Where a version's bytes are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// No bytes: an empty object or a delete marker.
    Empty,
    /// A slice of a blob (nearly always all of it).
    Blob(Extent),
    /// One item of a pack.
    Packed(PackedItem),
}

/// One item of a pack: a blob whose chunk holds many small objects, each sealed under its own key (`ces::item`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PackedItem {
    /// The item's own id.
    pub id: BlobId,
    /// The pack, and where in its payload the sealed item lies.
    pub at: Extent,
    /// The bucket key that wraps the item's key.
    pub key: KeyRef,
    /// The item's data key.
    pub wrapped: WrappedKey,
}

/// A pack that some version refers to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PackRow {
    /// Bytes of its items that some version refers to; never 0.
    pub live: u64,
    /// Bytes of its payload.
    pub len: u64,
    /// The code that its writers asked for; a small pack uses fewer data shards.
    pub code: Code,
    /// Where its data must stay; empty: anywhere.
    pub region_pin: String,
}

/// A version whose content lies in a pack, by where it lies.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PackEntry {
    /// The pack.
    pub pack: BlobId,
    /// Where the item starts.
    pub offset: u64,
    /// The version's bucket.
    pub bucket: BucketId,
    /// Its id.
    pub version: VersionId,
    /// Its object key.
    pub key: Vec<u8>,
}

/// One version of an object, or a delete marker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VersionRow {
    /// Its id.
    pub id: VersionId,
    /// Whether clients know it as `null` (written while versioning was off or suspended).
    pub null: bool,
    /// When it was committed, counted per key: higher is newer.
    pub seq: u64,
    /// Whether it hides the key instead of holding data.
    pub delete_marker: bool,
    /// When it was written.
    pub created_ms: WallMs,
    /// Plaintext bytes.
    pub size: u64,
    /// The entity tag.
    pub etag: ETag,
    /// Where the bytes are.
    pub content: Content,
    /// Headers and user metadata as the gateway names them, sorted by name.
    pub attributes: Vec<(String, String)>,
    /// Plaintext bytes of each part, when it was uploaded in parts (run-length: part bytes, how many).
    pub part_sizes: Vec<(u64, u32)>,
}

/// What a blob is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BlobBody {
    /// At most 4 KiB, sealed by the bucket key (nonce, ciphertext, tag), AAD the blob id.
    Inline {
        /// The bucket key.
        key: KeyRef,
        /// The sealed bytes.
        sealed: Vec<u8>,
    },
    /// Chunks: an encoded manifest of at most 16 KiB.
    Chunked {
        /// See `manifest`.
        manifest: Vec<u8>,
    },
    /// Chunks, with the encoded manifest stored as the content of another blob.
    ChunkedSpilled {
        /// The blob that holds the manifest.
        manifest: BlobId,
        /// The manifest's bytes.
        manifest_len: u32,
    },
    /// Other blobs, one after the other (a completed multipart upload).
    Composite {
        /// The slices, in order; at most 16 KiB of them when encoded.
        parts: Vec<Extent>,
    },
    /// Other blobs, with the encoded list stored as the content of another blob.
    CompositeSpilled {
        /// The blob that holds the list.
        list: BlobId,
        /// The list's encoded bytes.
        list_len: u32,
        /// How many slices.
        parts: u32,
    },
}

/// An immutable byte string.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlobRow {
    /// Versions, parts and composites that refer to it; 0 once it is condemned.
    pub refs: u32,
    /// The meta generation that condemned it; 0 while it is referenced.
    pub condemned_generation: u64,
    /// When it was condemned.
    pub condemned_ms: WallMs,
    /// Plaintext bytes.
    pub len: u64,
    /// When it was committed.
    pub created_ms: WallMs,
    /// What it is made of.
    pub body: BlobBody,
}

/// A multipart upload in progress.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UploadRow {
    /// The bucket.
    pub bucket: BucketId,
    /// The object key.
    pub key: Vec<u8>,
    /// When it was started.
    pub created_ms: WallMs,
    /// What the finished version will carry.
    pub attributes: Vec<(String, String)>,
    /// The access key id that started it.
    pub owner: String,
}

/// One uploaded part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartRow {
    /// Its bytes; `None` for an empty part.
    pub content: Option<Extent>,
    /// Plaintext bytes.
    pub size: u64,
    /// The MD5 of its bytes.
    pub md5: [u8; 16],
    /// When it was uploaded.
    pub created_ms: WallMs,
    /// Checksums as the gateway names them.
    pub attributes: Vec<(String, String)>,
}

/// A stripe that is not whole: the durable completion and repair queue.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TodoRow {
    /// The shard indices that are missing from their drives.
    pub missing: Vec<u8>,
    /// Shards that lie on another drive than the layout says, standing in for an absent one.
    pub stand_ins: Vec<(u8, DriveId)>,
    /// When it was found.
    pub since_ms: WallMs,
}

/// A lease: who may do a thing, until when, and the fencing token that proves the order of holders.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseRow {
    /// The holder's id for it.
    pub holder: LeaseId,
    /// Rises with every new holder; never reused.
    pub token: u64,
    /// When it ends.
    pub expires_ms: WallMs,
}

/// An access key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessKeyRow {
    /// The secret, sealed under a key derived from the master key (nonce, ciphertext, tag).
    pub sealed_secret: Vec<u8>,
    /// The master key generation that sealed it.
    pub master_generation: u32,
    /// When it was made.
    pub created_ms: WallMs,
    /// For people.
    pub description: String,
    /// The root key may do everything.
    pub root: bool,
    /// What it may do; opaque here (issue: access keys).
    pub grants: Vec<u8>,
}

/// Counters of the whole cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StateRow {
    /// The meta generation that began last; 0 before the first.
    pub generation: u64,
    /// The last fencing token that was given out.
    pub lease_token: u64,
}

/// A kept outcome.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutcomeRow {
    /// When its request was asked.
    pub at_ms: WallMs,
    /// What it was answered.
    pub outcome: super::command::Outcome,
}

/// A setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettingRow {
    /// Rises by one with every change, from 1.
    pub revision: u64,
    /// Its bytes; opaque here but for `layout/write_floor`.
    pub value: Vec<u8>,
}
