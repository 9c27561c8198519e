//! The client's door: requests, answers, errors.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;
use pangea_core::id::{UploadId, VersionId};
use pangea_core::meta::{BlobRow, BucketRow, Condition, ETag, PartRow, VersionRow};

/// What went wrong with a body that a caller supplies: its own error, handed back as it is.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A stream of bytes, in or out.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// What was received of a body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// Plaintext bytes.
    pub len: u64,
    /// Their MD5.
    pub md5: [u8; 16],
}

/// Asked once the whole body is there and before anything becomes visible: refuses it, or adds attributes (checksums).
pub type Accept = Box<dyn FnOnce(&Received) -> Result<Vec<(String, String)>, BodyError> + Send>;

/// An object to write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PutObject {
    /// The bucket's name.
    pub bucket: String,
    /// The key, opaque bytes.
    pub key: Vec<u8>,
    /// On the head, checked in the commit (and once before the body is read, to fail early).
    pub condition: Condition,
    /// Headers and user metadata, as the gateway names them.
    pub attributes: Vec<(String, String)>,
    /// The body's length, if it was announced; a body of another length is refused.
    pub len: Option<u64>,
}

/// A written object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PutDone {
    /// Its entity tag.
    pub etag: ETag,
    /// Its version id, if the bucket ever had versioning on: (id, is the `null` version).
    pub version: Option<(VersionId, bool)>,
    /// When it was written.
    pub created_ms: u64,
    /// Plaintext bytes.
    pub size: u64,
    /// All its attributes.
    pub attributes: Vec<(String, String)>,
}

/// An object as it was found: enough to answer a HEAD, and to read it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    /// Its bucket.
    pub bucket: BucketRow,
    /// Its key.
    pub key: Vec<u8>,
    /// The version that was selected.
    pub version: VersionRow,
    /// Whether that is the current one.
    pub current: bool,
    /// The blob behind it, unless it is empty.
    pub blob: Option<BlobRow>,
}

/// A part to write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UploadPart {
    /// The bucket's name.
    pub bucket: String,
    /// The key.
    pub key: Vec<u8>,
    /// The upload.
    pub upload: UploadId,
    /// 1 to 10,000.
    pub number: u16,
    /// The body's length, if it was announced.
    pub len: Option<u64>,
}

/// A written part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartDone {
    /// Its row.
    pub part: PartRow,
}

/// One part as a client lists it when completing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompletePart {
    /// 1 to 10,000.
    pub number: u16,
    /// The MD5 that it was told.
    pub md5: [u8; 16],
    /// Checksums that the client states, by attribute name; each must equal the part's.
    pub checksums: Vec<(String, String)>,
}

/// A listing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct List {
    /// Only keys with this prefix.
    pub prefix: Vec<u8>,
    /// Keys that hold this after the prefix are rolled up; empty: none.
    pub delimiter: Vec<u8>,
    /// Only keys (and rolled-up prefixes) after this.
    pub after: Option<Vec<u8>>,
    /// The most entries of a page.
    pub limit: usize,
}

/// One line of a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListEntry {
    /// A key and its current version.
    Object(Vec<u8>, VersionRow),
    /// A rolled-up prefix, delimiter included.
    Prefix(Vec<u8>),
}

/// A page of a listing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListPage {
    /// Rising.
    pub entries: Vec<ListEntry>,
    /// Continue after this key or prefix; `None`: that was all.
    pub next: Option<Vec<u8>>,
}

/// What the caller can do about it.
#[derive(Debug)]
pub enum ClientError {
    /// No bucket of that name.
    NoSuchBucket,
    /// The name is taken.
    BucketExists {
        /// By whom.
        owner: String,
    },
    /// The bucket still holds something.
    BucketNotEmpty,
    /// No such key; `marker`: a delete marker hides it.
    NoSuchKey {
        /// The delete marker's version id, if that is why.
        marker: Option<VersionId>,
    },
    /// The key has no such version.
    NoSuchVersion,
    /// No such upload for that bucket and key.
    NoSuchUpload,
    /// A listed part does not exist, or has another entity tag or checksum.
    InvalidPart {
        /// Its number.
        number: u16,
    },
    /// The parts are not in rising order, or there are none.
    InvalidPartOrder,
    /// A part other than the last is smaller than 5 MiB.
    PartTooSmall {
        /// Its number.
        number: u16,
        /// Its bytes.
        size: u64,
    },
    /// A condition on the head does not hold.
    PreconditionFailed,
    /// A range lies outside the object.
    InvalidRange {
        /// The object's bytes.
        size: u64,
    },
    /// The body ended early or went on too long.
    WrongLength {
        /// Announced.
        expected: u64,
        /// Received, at least.
        received: u64,
    },
    /// The body failed, or the caller refused it: its own error.
    Body(BodyError),
    /// Too much is going on: try again in a moment.
    SlowDown,
    /// Fewer drives took the write than its quorum needs; nothing was committed.
    Unavailable {
        /// What is missing, for the log.
        why: String,
    },
    /// The drives are full.
    Full,
    /// Fewer good shards than the code needs: the bytes cannot be had now. Never wrong bytes instead.
    Unreadable {
        /// The stripe.
        chunk: pangea_core::id::ChunkId,
        /// Good shards found.
        found: u8,
        /// Needed.
        needed: u8,
    },
    /// The metadata engine failed.
    Meta(pangea_meta::MetaError),
    /// What was stored does not decode, open or add up; it says what.
    Damaged {
        /// What, for the log.
        what: String,
    },
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSuchBucket => write!(f, "no such bucket"),
            Self::BucketExists { owner } => write!(f, "the bucket exists and belongs to {owner}"),
            Self::BucketNotEmpty => write!(f, "the bucket is not empty"),
            Self::NoSuchKey { .. } => write!(f, "no such key"),
            Self::NoSuchVersion => write!(f, "no such version"),
            Self::NoSuchUpload => write!(f, "no such upload"),
            Self::InvalidPart { number } => write!(f, "part {number} is missing or differs"),
            Self::InvalidPartOrder => write!(f, "the parts are not in rising order"),
            Self::PartTooSmall { number, size } => write!(f, "part {number} has only {size} bytes"),
            Self::PreconditionFailed => write!(f, "a condition does not hold"),
            Self::InvalidRange { size } => write!(f, "the range lies outside the object's {size} bytes"),
            Self::WrongLength { expected, received } => {
                write!(f, "the body has {received} bytes where {expected} were announced")
            }
            Self::Body(error) => write!(f, "the body failed: {error}"),
            Self::SlowDown => write!(f, "too much is going on"),
            Self::Unavailable { why } => write!(f, "not enough drives: {why}"),
            Self::Full => write!(f, "the drives are full"),
            Self::Unreadable { chunk, found, needed } => {
                write!(f, "chunk {chunk} has {found} good shards of the {needed} it needs")
            }
            Self::Meta(error) => write!(f, "metadata: {error}"),
            Self::Damaged { what } => write!(f, "damaged: {what}"),
        }
    }
}

impl std::error::Error for ClientError {}
