//! The port: what the rest of Pangea may ask of one drive's worth of shards, whichever engine keeps them.
//!
//! Owns [`ShardStore`], its errors and its status. One store is one drive. Every engine passes
//! [`conformance`](crate::conformance); wrappers (`faulty`) are stores themselves.

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;

use bytes::Bytes;
use pangea_core::chunk::ShardHeader;
use pangea_core::id::{DriveId, ShardId};

/// The most entries that one [`ShardStore::list`] returns.
pub const LIST_MAX: usize = 10_000;

/// What every method of the port returns: polled by any executor, tied to none.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// One drive's shards.
///
/// Dropping a returned future abandons the answer, not the work: a put may still become durable.
pub trait ShardStore: Send + Sync {
    /// Stores a shard; resolves to `Ok` only when it survives a power cut.
    ///
    /// Every piece is checked against the header before the acknowledgement ([`StoreError::Corrupt`]). A shard that is
    /// already here with the same chunk hash is acknowledged again; with another, [`StoreError::Conflict`].
    fn put(&self, header: ShardHeader, data: Bytes) -> StoreFuture<'_, ()>;

    /// The bytes of some pieces, one after the other, as the medium returns them: *not* hashed, the reader's AEAD does it.
    fn read(&self, id: ShardId, pieces: Range<u8>) -> StoreFuture<'_, Bytes>;

    /// The header as it was put, read from the medium and checked.
    fn header(&self, id: ShardId) -> StoreFuture<'_, ShardHeader>;

    /// Re-reads the whole shard from the medium and checks every piece; [`StoreError::Corrupt`] names the first bad one.
    fn verify(&self, id: ShardId) -> StoreFuture<'_, ()>;

    /// Forgets shards, durably; those that are not here are no error.
    fn delete(&self, ids: Vec<ShardId>) -> StoreFuture<'_, ()>;

    /// Up to `limit` (at most [`LIST_MAX`]) shards after `after` in the order of their ids (blob, chunk, index): the census.
    fn list(&self, after: Option<ShardId>, limit: usize) -> StoreFuture<'_, Vec<ListedShard>>;

    /// Verifies a shard once more and, if it is damaged, forgets it durably so that repair may put it again.
    ///
    /// `true`: it was damaged and is gone. `false`: it is healthy (somebody else repaired it) and stays.
    fn quarantine(&self, id: ShardId) -> StoreFuture<'_, bool>;

    /// What the drive holds and how it is.
    fn status(&self) -> StoreFuture<'_, StoreStatus>;

    /// Writes both numbers into the superblock, durably.
    fn set_generation(&self, meta_generation: u64, layout_epoch: u32) -> StoreFuture<'_, ()>;

    /// Does at most about `budget_bytes` of copying to give garbage back to the drive; call again while not `done`.
    fn compact(&self, budget_bytes: u64) -> StoreFuture<'_, Compacted>;

    /// Finishes what was accepted, checkpoints and closes: everything later is [`StoreError::Closed`]. Twice is no error.
    fn shutdown(&self) -> StoreFuture<'_, ()>;
}

/// One line of a listing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListedShard {
    /// Which shard.
    pub id: ShardId,
    /// The first 8 bytes of its chunk hash: tells two sealings of one chunk apart without a read.
    pub tag: ChunkTag,
    /// Bytes of its data.
    pub shard_bytes: u32,
}

/// The first 8 bytes of a chunk hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChunkTag(pub [u8; 8]);

impl ChunkTag {
    /// The tag of a full chunk hash.
    pub fn of(chunk_hash: &[u8; 32]) -> Self {
        let mut tag = [0; 8];
        tag.copy_from_slice(&chunk_hash[..8]);
        Self(tag)
    }
}

/// What one call of [`ShardStore::compact`] did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Compacted {
    /// Bytes of live records that were copied.
    pub moved_bytes: u64,
    /// Bytes of extents given back to the drive.
    pub freed_bytes: u64,
    /// Live shards found damaged: not copied, still where they are, their extent kept until someone quarantines them.
    pub corrupt: Vec<ShardId>,
    /// Nothing is left that is worth compacting.
    pub done: bool,
}

/// What a drive holds and how it is. Bytes count whole records with their headers and padding.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoreStatus {
    /// Which drive.
    pub drive: DriveId,
    /// The place in the node that it was formatted for.
    pub slot: u16,
    /// The layout epoch in the superblock.
    pub layout_epoch: u32,
    /// The metadata generation in the superblock.
    pub meta_generation: u64,
    /// Bytes of records that can be read.
    pub live_bytes: u64,
    /// Bytes of deleted, replaced, torn and tombstone records that compaction can give back.
    pub garbage_bytes: u64,
    /// Bytes of the file system.
    pub capacity_bytes: u64,
    /// Bytes that puts can still take, the reserve excluded.
    pub available_bytes: u64,
    /// Shards that can be read.
    pub shards: u64,
    /// Extent files.
    pub extents: u64,
    /// Damaged records that recovery or compaction came across since the store was opened.
    pub damaged_records: u64,
    /// The last I/O error since the store was opened, healed or not.
    pub last_fault: Option<Fault>,
    /// Why the drive takes no writes any more, if so; reads go on.
    pub stopped: Option<Stopped>,
}

impl StoreStatus {
    /// Whether puts are refused whatever their size.
    pub fn read_only(&self) -> bool {
        self.stopped.is_some()
    }
}

/// Why a drive takes no writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// The medium is read-only.
    ReadOnly,
    /// Two extents in a row failed: this was the second failure.
    Failed(Fault),
}

impl From<Stopped> for StoreError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::ReadOnly => Self::ReadOnly,
            Stopped::Failed(fault) => Self::Failed(fault),
        }
    }
}

/// An operation on the medium.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum IoOp {
    /// Reading a file.
    Read,
    /// Writing to a file.
    Write,
    /// Making a file durable.
    Sync,
    /// Making the directory durable.
    SyncDir,
    /// Opening an existing file.
    Open,
    /// Creating and reserving a file.
    Create,
    /// Cutting a file.
    SetSize,
    /// Listing a directory.
    List,
    /// Removing a file.
    Remove,
    /// Renaming a file.
    Rename,
    /// Asking for free space.
    Space,
    /// Taking the lock of the directory.
    Lock,
}

/// An I/O error, as a value: what was tried and what the system said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What was tried.
    pub op: IoOp,
    /// The kind of error.
    pub kind: io::ErrorKind,
    /// The operating system's number, if it came from there.
    pub os: Option<i32>,
}

impl Fault {
    /// The fault that `error` is, when `op` was tried.
    pub fn new(op: IoOp, error: &io::Error) -> Self {
        Self { op, kind: error.kind(), os: error.raw_os_error() }
    }

    /// Whether the drive is full rather than broken.
    pub fn is_full(&self) -> bool {
        matches!(self.kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether the medium refuses writes by itself.
    pub fn is_read_only(&self) -> bool {
        self.kind == io::ErrorKind::ReadOnlyFilesystem
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.op, self.kind)?;
        match self.os {
            Some(os) => write!(f, " (os error {os})"),
            None => Ok(()),
        }
    }
}

/// Why a store could not do what it was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreError {
    /// Not here: never put, deleted, or quarantined. Read another shard of the stripe.
    Missing(ShardId),
    /// Bytes that are not what the header says: those offered (put) or those on the medium. Quarantine and repair.
    Corrupt {
        /// Which shard.
        shard: ShardId,
        /// The first bad piece; `None` if the record's header itself is damaged.
        piece: Option<u8>,
    },
    /// The id is taken by a shard of another sealing. The caller's bug or an attack: ids are drawn afresh.
    Conflict(ShardId),
    /// The request contradicts itself: a length, count or range that cannot be. The caller's bug.
    Rejected {
        /// Which shard.
        shard: ShardId,
        /// What is wrong.
        what: &'static str,
    },
    /// No room. Reads and deletes go on; place the shard elsewhere.
    Full {
        /// Bytes that were needed.
        needed: u64,
        /// Bytes that puts can still take.
        available: u64,
    },
    /// The medium is read-only. Reads go on.
    ReadOnly,
    /// The drive stopped taking writes after repeated errors, of which this was the last. Reads go on; replace it.
    Failed(Fault),
    /// This operation failed; another one may succeed. A put with this answer is not acknowledged.
    Io(Fault),
    /// The store was shut down.
    Closed,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(shard) => write!(f, "shard {shard} is not here"),
            Self::Corrupt { shard, piece: Some(piece) } => {
                write!(f, "shard {shard}: piece {piece} is damaged")
            }
            Self::Corrupt { shard, piece: None } => write!(f, "shard {shard}: its header is damaged"),
            Self::Conflict(shard) => write!(f, "shard {shard} is here with other content"),
            Self::Rejected { shard, what } => write!(f, "shard {shard}: {what}"),
            Self::Full { needed, available } => {
                write!(f, "the drive is full: {needed} bytes needed, {available} available")
            }
            Self::ReadOnly => write!(f, "the drive is read-only"),
            Self::Failed(fault) => write!(f, "the drive takes no writes after an error: {fault}"),
            Self::Io(fault) => write!(f, "i/o error: {fault}"),
            Self::Closed => write!(f, "the store is closed"),
        }
    }
}

impl std::error::Error for StoreError {}

/// Checks a put before anything is written: the header against itself, the length, then every piece.
pub(crate) fn check_put(header: &ShardHeader, data: &[u8]) -> Result<(), StoreError> {
    let shard = header.id;
    let rejected = |what| Err(StoreError::Rejected { shard, what });
    if !header.shape.is_valid() || header.shape.piece_log2 > pangea_core::chunk::PIECE_LOG2_MAX {
        return rejected("its shape is out of range");
    }
    if shard.index >= header.shape.code.n() {
        return rejected("its index is outside the code");
    }
    if header.values.len() != usize::from(header.shape.pieces) {
        return rejected("it has not one value a piece");
    }
    if header.audit.len() > pangea_core::chunk::AUDIT_BYTES_MAX {
        return rejected("its audit record is too long");
    }
    if data.len() != header.shape.shard_bytes() {
        return rejected("its length is not what its shape says");
    }
    match header.first_bad_piece(0, data) {
        Some(piece) => Err(StoreError::Corrupt { shard, piece: Some(piece) }),
        None => Ok(()),
    }
}

/// Checks a range of pieces against the number that a shard has.
pub(crate) fn check_range(shard: ShardId, pieces: &Range<u8>, count: u8) -> Result<(), StoreError> {
    if pieces.start < pieces.end && pieces.end <= count {
        Ok(())
    } else {
        Err(StoreError::Rejected { shard, what: "the range of pieces is empty or past its end" })
    }
}
