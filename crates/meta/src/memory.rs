//! The memory engine: core's reference state machine over maps behind a lock. Nothing survives the process.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pangea_core::id::{BlobId, BucketId, ChunkId, UploadId};
use pangea_core::meta::{
    AccessKeyRow, BlobRow, BucketKeyRow, BucketRow, HeadPage, KeyRange, LeaseRow, MemoryTables, Outcome, PartRow,
    Request, TodoRow, UploadRow, UsageRow, VersionPage, VersionRow, VersionSelector, apply, read,
};

use crate::port::{Answer, Meta, MetaStatus, PAGE_ROWS_MAX, VersionWithBlob};

/// See the module.
#[derive(Default)]
pub struct MemoryMeta {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tables: MemoryTables,
    applied_seq: u64,
}

impl MemoryMeta {
    /// Empty tables.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tables as they are now, for comparison.
    pub fn tables(&self) -> MemoryTables {
        self.lock().tables.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // `apply` stages what it changes and writes it last, so a panic leaves whole tables.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T: Send>(&self, query: impl FnOnce(&MemoryTables) -> Result<T, Infallible>) -> Answer<'_, T>
    where
        T: 'static,
    {
        let Ok(found) = query(&self.lock().tables);
        Box::pin(std::future::ready(Ok(found)))
    }
}

fn page(limit: usize) -> usize {
    limit.clamp(1, PAGE_ROWS_MAX)
}

impl Meta for MemoryMeta {
    fn apply(&self, request: Request) -> Answer<'_, Outcome> {
        let mut state = self.lock();
        let Ok(outcome) = apply(&mut state.tables, &request);
        state.applied_seq += 1;
        Box::pin(std::future::ready(Ok(outcome)))
    }

    fn bucket<'a>(&'a self, name: &'a str) -> Answer<'a, Option<BucketRow>> {
        self.read(|t| read::bucket(t, name))
    }

    fn buckets(&self) -> Answer<'_, Vec<BucketRow>> {
        self.read(|t| read::buckets(t, None, usize::MAX))
    }

    fn bucket_key(&self, bucket: BucketId, generation: u32) -> Answer<'_, Option<BucketKeyRow>> {
        self.read(|t| read::bucket_key(t, bucket, generation))
    }

    fn bucket_keys(
        &self,
        after: Option<(BucketId, u32)>,
        limit: usize,
    ) -> Answer<'_, Vec<(BucketId, u32, BucketKeyRow)>> {
        self.read(|t| read::bucket_keys(t, after, page(limit)))
    }

    fn usage(&self, bucket: BucketId) -> Answer<'_, Option<UsageRow>> {
        self.read(|t| read::usage(t, bucket))
    }

    fn head<'a>(&'a self, bucket: BucketId, key: &'a [u8]) -> Answer<'a, Option<VersionRow>> {
        self.read(|t| Ok(read::version(t, bucket, key, VersionSelector::Current)?.map(|(row, _)| row)))
    }

    fn version<'a>(
        &'a self,
        bucket: BucketId,
        key: &'a [u8],
        selector: VersionSelector,
    ) -> Answer<'a, Option<(VersionRow, bool)>> {
        self.read(|t| read::version(t, bucket, key, selector))
    }

    fn head_with_blob<'a>(
        &'a self,
        bucket: BucketId,
        key: &'a [u8],
        selector: VersionSelector,
    ) -> Answer<'a, Option<VersionWithBlob>> {
        self.read(|t| read::version_with_blob(t, bucket, key, selector))
    }

    fn heads(&self, bucket: BucketId, range: KeyRange, limit: usize) -> Answer<'_, HeadPage> {
        self.read(|t| read::heads(t, bucket, &range, page(limit)))
    }

    fn versions(
        &self,
        bucket: BucketId,
        range: KeyRange,
        after_seq: Option<u64>,
        limit: usize,
    ) -> Answer<'_, VersionPage> {
        self.read(|t| read::versions(t, bucket, &range, after_seq, page(limit)))
    }

    fn blob(&self, blob: BlobId) -> Answer<'_, Option<BlobRow>> {
        self.read(|t| read::blob(t, blob))
    }

    fn blobs(&self, after: Option<BlobId>, limit: usize) -> Answer<'_, Vec<(BlobId, BlobRow)>> {
        self.read(|t| read::blobs(t, after, page(limit)))
    }

    fn condemned(&self, upto_generation: u64, limit: usize) -> Answer<'_, Vec<(u64, BlobId)>> {
        self.read(|t| read::condemned(t, upto_generation, page(limit)))
    }

    fn upload<'a>(&'a self, bucket: BucketId, key: &'a [u8], upload: UploadId) -> Answer<'a, Option<UploadRow>> {
        self.read(|t| read::upload(t, bucket, key, upload))
    }

    fn uploads<'a>(
        &'a self,
        bucket: BucketId,
        after: Option<(Vec<u8>, UploadId)>,
        prefix: &'a [u8],
        limit: usize,
    ) -> Answer<'a, Vec<(UploadId, UploadRow)>> {
        self.read(|t| read::uploads(t, bucket, after, prefix, page(limit)))
    }

    fn parts(&self, upload: UploadId, after: u16, limit: usize) -> Answer<'_, Vec<(u16, PartRow)>> {
        self.read(|t| read::parts(t, upload, after, page(limit)))
    }

    fn todo(&self, chunk: ChunkId) -> Answer<'_, Option<TodoRow>> {
        self.read(|t| read::todo(t, chunk))
    }

    fn todos(&self, after: Option<ChunkId>, limit: usize) -> Answer<'_, Vec<(ChunkId, TodoRow)>> {
        self.read(|t| read::todos(t, after, page(limit)))
    }

    fn lease<'a>(&'a self, name: &'a str) -> Answer<'a, Option<LeaseRow>> {
        self.read(|t| read::lease(t, name))
    }

    fn access_key<'a>(&'a self, id: &'a str) -> Answer<'a, Option<AccessKeyRow>> {
        self.read(|t| read::access_key(t, id))
    }

    fn access_keys(&self) -> Answer<'_, Vec<(String, AccessKeyRow)>> {
        self.read(|t| read::access_keys(t, None, usize::MAX))
    }

    fn setting<'a>(&'a self, name: &'a str) -> Answer<'a, Option<(u64, Vec<u8>)>> {
        self.read(|t| read::setting(t, name))
    }

    fn status(&self) -> Answer<'_, MetaStatus> {
        let state = self.lock();
        let Ok(generation) = read::generation(&state.tables);
        let status =
            MetaStatus { engine: "memory", generation, applied_seq: state.applied_seq, ..MetaStatus::default() };
        Box::pin(std::future::ready(Ok(status)))
    }

    fn snapshot(&self) -> Answer<'_, u64> {
        let applied_seq = self.lock().applied_seq;
        Box::pin(std::future::ready(Ok(applied_seq)))
    }
}
