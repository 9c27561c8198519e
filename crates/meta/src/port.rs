//! The metadata port: one door for every command and every query, whatever engine stands behind it.
//!
//! Owns the trait [`Meta`] and its answer types; every engine implements it and passes `conformance`. A command that was
//! answered with `Ok` is durable and seen by every later query (read-your-writes). A command answered with
//! [`MetaError::Unknown`] may or may not be durable: retry it with the same request id to learn which.
//!
//! Keys are ordered bytewise. A `limit` is clamped to 1..=[`PAGE_ROWS_MAX`]; a page that holds `limit` rows may be
//! followed by another one.

use std::future::Future;
use std::pin::Pin;

use pangea_core::id::{BlobId, BucketId, ChunkId, UploadId};
use pangea_core::meta::{
    AccessKeyRow, BlobRow, BucketKeyRow, BucketRow, HeadPage, KeyRange, LeaseRow, Outcome, PackEntry,
    PackRow, PartRow, Request, TodoRow, UploadRow, UsageRow, VersionPage, VersionRow, VersionSelector,
};

use crate::error::MetaError;

/// The most rows that one page of any query holds.
pub const PAGE_ROWS_MAX: usize = 10_000;

/// A boxed answer, so that the port is object-safe and needs no runtime.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, MetaError>> + Send + 'a>>;

pub use pangea_core::meta::read::VersionWithBlob;

/// The metadata of one cluster.
pub trait Meta: Send + Sync {
    /// Carries a command out and makes it durable. A refusal is an `Ok` outcome: it is kept and repeated like any other.
    fn apply(&self, request: Request) -> Answer<'_, Outcome>;

    /// The bucket of that name.
    fn bucket<'a>(&'a self, name: &'a str) -> Answer<'a, Option<BucketRow>>;
    /// All buckets, by name.
    fn buckets(&self) -> Answer<'_, Vec<BucketRow>>;
    /// One generation of a bucket's key; kept after the bucket is gone.
    fn bucket_key(&self, bucket: BucketId, generation: u32) -> Answer<'_, Option<BucketKeyRow>>;
    /// All bucket keys after that one, in order (for rewrapping).
    fn bucket_keys(
        &self,
        after: Option<(BucketId, u32)>,
        limit: usize,
    ) -> Answer<'_, Vec<(BucketId, u32, BucketKeyRow)>>;
    /// What a bucket holds; `None` if there is no such bucket.
    fn usage(&self, bucket: BucketId) -> Answer<'_, Option<UsageRow>>;

    /// The current version of a key; it may be a delete marker.
    fn head<'a>(&'a self, bucket: BucketId, key: &'a [u8]) -> Answer<'a, Option<VersionRow>>;
    /// A version of a key, and whether it is the head.
    fn version<'a>(
        &'a self,
        bucket: BucketId,
        key: &'a [u8],
        selector: VersionSelector,
    ) -> Answer<'a, Option<(VersionRow, bool)>>;
    /// A version of a key with the blob that its content lies in, read in one call (a GET of a small object).
    fn head_with_blob<'a>(
        &'a self,
        bucket: BucketId,
        key: &'a [u8],
        selector: VersionSelector,
    ) -> Answer<'a, Option<VersionWithBlob>>;
    /// A page of heads, delete markers included.
    fn heads(&self, bucket: BucketId, range: KeyRange, limit: usize) -> Answer<'_, HeadPage>;
    /// A page of versions: per key the head, then older ones, newest first. With `after_seq` the page starts within the
    /// key `range.after`, behind its version of that sequence number.
    fn versions(
        &self,
        bucket: BucketId,
        range: KeyRange,
        after_seq: Option<u64>,
        limit: usize,
    ) -> Answer<'_, VersionPage>;

    /// A blob, condemned or not.
    fn blob(&self, blob: BlobId) -> Answer<'_, Option<BlobRow>>;
    /// All blobs after that one, by id.
    fn blobs(&self, after: Option<BlobId>, limit: usize) -> Answer<'_, Vec<(BlobId, BlobRow)>>;
    /// Packs that hold something, after that one, by id.
    fn packs(&self, after: Option<BlobId>, limit: usize) -> Answer<'_, Vec<(BlobId, PackRow)>>;
    /// The versions whose content lies in a pack, after that one, with the bytes of their items; by where the items start.
    fn pack_entries(
        &self,
        pack: BlobId,
        after: Option<PackEntry>,
        limit: usize,
    ) -> Answer<'_, Vec<(PackEntry, u64)>>;
    /// Condemned blobs after that one, with the generation that condemned each, by generation and id.
    fn condemned(&self, after: Option<(u64, BlobId)>, limit: usize) -> Answer<'_, Vec<(u64, BlobId)>>;

    /// An upload in progress.
    fn upload<'a>(
        &'a self,
        bucket: BucketId,
        key: &'a [u8],
        upload: UploadId,
    ) -> Answer<'a, Option<UploadRow>>;
    /// Uploads of a bucket whose keys have that prefix, by key and id.
    fn uploads<'a>(
        &'a self,
        bucket: BucketId,
        after: Option<(Vec<u8>, UploadId)>,
        prefix: &'a [u8],
        limit: usize,
    ) -> Answer<'a, Vec<(UploadId, UploadRow)>>;
    /// Parts of an upload with numbers above `after` (0: from the first).
    fn parts(&self, upload: UploadId, after: u16, limit: usize) -> Answer<'_, Vec<(u16, PartRow)>>;

    /// What is not whole in a stripe.
    fn todo(&self, chunk: ChunkId) -> Answer<'_, Option<TodoRow>>;
    /// Stripes that are not whole, after that one.
    fn todos(&self, after: Option<ChunkId>, limit: usize) -> Answer<'_, Vec<(ChunkId, TodoRow)>>;

    /// A lease, expired or not.
    fn lease<'a>(&'a self, name: &'a str) -> Answer<'a, Option<LeaseRow>>;
    /// An access key.
    fn access_key<'a>(&'a self, id: &'a str) -> Answer<'a, Option<AccessKeyRow>>;
    /// All access keys, by id.
    fn access_keys(&self) -> Answer<'_, Vec<(String, AccessKeyRow)>>;
    /// A setting: its revision and bytes.
    fn setting<'a>(&'a self, name: &'a str) -> Answer<'a, Option<(u64, Vec<u8>)>>;

    /// How the engine does.
    fn status(&self) -> Answer<'_, MetaStatus>;
    /// Writes a snapshot now; answers with the sequence number that it holds.
    fn snapshot(&self) -> Answer<'_, u64>;
}

/// How an engine does.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MetaStatus {
    /// `memory`, `embedded` …
    pub engine: &'static str,
    /// The meta generation: what superblocks keep as the newest they know.
    pub generation: u64,
    /// Requests applied since the cluster was made.
    pub applied_seq: u64,
    /// The drives that the log is kept on; none for an engine without a log.
    pub log_drives: Vec<LogDriveStatus>,
    /// The request that the newest snapshot ends with; 0 without one.
    pub snapshot_seq: u64,
    /// Bytes of log that a recovery would replay.
    pub log_bytes: u64,
    /// What the last open found and put right, in words for people.
    pub recovery_notes: Vec<String>,
}

/// One drive of the meta log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogDriveStatus {
    /// Where it is, for people.
    pub name: String,
    /// Whether acknowledged commands are on it.
    pub ok: bool,
    /// What went wrong with it last.
    pub last_error: Option<String>,
}
