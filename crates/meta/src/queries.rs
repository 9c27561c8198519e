//! Queries: the reading half of the port, written once for every engine that can show its tables.
//!
//! Owns the clamp on page sizes. An engine implements [`Reads`] and calls `answer_queries!` in its `impl Meta`.

use crate::error::MetaError;
use crate::port::PAGE_ROWS_MAX;

/// Rows per page, within bounds.
pub(crate) fn clamp(limit: usize) -> usize {
    limit.clamp(1, PAGE_ROWS_MAX)
}

/// Reads everything that a paged query has, page by page.
pub(crate) fn all_pages<R>(
    mut page: impl FnMut(Option<&R>) -> Result<Vec<R>, MetaError>,
) -> Result<Vec<R>, MetaError> {
    let mut all: Vec<R> = Vec::new();
    loop {
        let rows = page(all.last())?;
        let more = rows.len() == PAGE_ROWS_MAX;
        all.extend(rows);
        if !more {
            return Ok(all);
        }
    }
}

/// The queries of `Meta`, for a type with `fn read(&self, f: impl FnOnce(&Tables) -> Result<R, E>) -> Result<R, MetaError>`.
macro_rules! answer_queries {
    () => {
        fn bucket<'a>(&'a self, name: &'a str) -> Answer<'a, Option<BucketRow>> {
            ready(self.read(|t| read::bucket(t, name)))
        }
        fn buckets(&self) -> Answer<'_, Vec<BucketRow>> {
            ready(all_pages(|last: Option<&BucketRow>| {
                self.read(|t| read::buckets(t, last.map(|row| row.name.as_str()), PAGE_ROWS_MAX))
            }))
        }
        fn bucket_key(&self, bucket: BucketId, generation: u32) -> Answer<'_, Option<BucketKeyRow>> {
            ready(self.read(|t| read::bucket_key(t, bucket, generation)))
        }
        fn bucket_keys(
            &self,
            after: Option<(BucketId, u32)>,
            limit: usize,
        ) -> Answer<'_, Vec<(BucketId, u32, BucketKeyRow)>> {
            ready(self.read(|t| read::bucket_keys(t, after, clamp(limit))))
        }
        fn usage(&self, bucket: BucketId) -> Answer<'_, Option<UsageRow>> {
            ready(self.read(|t| read::usage(t, bucket)))
        }
        fn head<'a>(&'a self, bucket: BucketId, key: &'a [u8]) -> Answer<'a, Option<VersionRow>> {
            let head = self.read(|t| read::version(t, bucket, key, VersionSelector::Current));
            ready(head.map(|found| found.map(|(row, _)| row)))
        }
        fn version<'a>(
            &'a self,
            bucket: BucketId,
            key: &'a [u8],
            selector: VersionSelector,
        ) -> Answer<'a, Option<(VersionRow, bool)>> {
            ready(self.read(|t| read::version(t, bucket, key, selector)))
        }
        fn head_with_blob<'a>(
            &'a self,
            bucket: BucketId,
            key: &'a [u8],
            selector: VersionSelector,
        ) -> Answer<'a, Option<VersionWithBlob>> {
            ready(self.read(|t| read::version_with_blob(t, bucket, key, selector)))
        }
        fn heads(&self, bucket: BucketId, range: KeyRange, limit: usize) -> Answer<'_, HeadPage> {
            ready(self.read(|t| read::heads(t, bucket, &range, clamp(limit))))
        }
        fn versions(
            &self,
            bucket: BucketId,
            range: KeyRange,
            after_seq: Option<u64>,
            limit: usize,
        ) -> Answer<'_, VersionPage> {
            ready(self.read(|t| read::versions(t, bucket, &range, after_seq, clamp(limit))))
        }
        fn blob(&self, blob: BlobId) -> Answer<'_, Option<BlobRow>> {
            ready(self.read(|t| read::blob(t, blob)))
        }
        fn blobs(&self, after: Option<BlobId>, limit: usize) -> Answer<'_, Vec<(BlobId, BlobRow)>> {
            ready(self.read(|t| read::blobs(t, after, clamp(limit))))
        }
        fn packs(&self, after: Option<BlobId>, limit: usize) -> Answer<'_, Vec<(BlobId, PackRow)>> {
            ready(self.read(|t| read::packs(t, after, clamp(limit))))
        }
        fn pack_entries(
            &self,
            pack: BlobId,
            after: Option<PackEntry>,
            limit: usize,
        ) -> Answer<'_, Vec<(PackEntry, u64)>> {
            ready(self.read(|t| read::pack_entries(t, pack, after, clamp(limit))))
        }
        fn condemned(&self, after: Option<(u64, BlobId)>, limit: usize) -> Answer<'_, Vec<(u64, BlobId)>> {
            ready(self.read(|t| read::condemned(t, after, clamp(limit))))
        }
        fn upload<'a>(
            &'a self,
            bucket: BucketId,
            key: &'a [u8],
            upload: UploadId,
        ) -> Answer<'a, Option<UploadRow>> {
            ready(self.read(|t| read::upload(t, bucket, key, upload)))
        }
        fn uploads<'a>(
            &'a self,
            bucket: BucketId,
            after: Option<(Vec<u8>, UploadId)>,
            prefix: &'a [u8],
            limit: usize,
        ) -> Answer<'a, Vec<(UploadId, UploadRow)>> {
            ready(self.read(|t| read::uploads(t, bucket, after, prefix, clamp(limit))))
        }
        fn parts(&self, upload: UploadId, after: u16, limit: usize) -> Answer<'_, Vec<(u16, PartRow)>> {
            ready(self.read(|t| read::parts(t, upload, after, clamp(limit))))
        }
        fn todo(&self, chunk: ChunkId) -> Answer<'_, Option<TodoRow>> {
            ready(self.read(|t| read::todo(t, chunk)))
        }
        fn todos(&self, after: Option<ChunkId>, limit: usize) -> Answer<'_, Vec<(ChunkId, TodoRow)>> {
            ready(self.read(|t| read::todos(t, after, clamp(limit))))
        }
        fn lease<'a>(&'a self, name: &'a str) -> Answer<'a, Option<LeaseRow>> {
            ready(self.read(|t| read::lease(t, name)))
        }
        fn access_key<'a>(&'a self, id: &'a str) -> Answer<'a, Option<AccessKeyRow>> {
            ready(self.read(|t| read::access_key(t, id)))
        }
        fn access_keys(&self) -> Answer<'_, Vec<(String, AccessKeyRow)>> {
            ready(all_pages(|last: Option<&(String, AccessKeyRow)>| {
                self.read(|t| read::access_keys(t, last.map(|(id, _)| id.as_str()), PAGE_ROWS_MAX))
            }))
        }
        fn setting<'a>(&'a self, name: &'a str) -> Answer<'a, Option<(u64, Vec<u8>)>> {
            ready(self.read(|t| read::setting(t, name)))
        }
    };
}

/// What `answer_queries!` names.
macro_rules! query_words {
    () => {
        use pangea_core::id::{BlobId, BucketId, ChunkId, UploadId};
        use pangea_core::meta::read;
        use pangea_core::meta::{
            AccessKeyRow, BlobRow, BucketKeyRow, BucketRow, HeadPage, KeyRange, LeaseRow, PackEntry, PackRow,
            PartRow, TodoRow, UploadRow, UsageRow, VersionPage, VersionRow, VersionSelector,
        };
        use $crate::port::{Answer, PAGE_ROWS_MAX, VersionWithBlob};
        use $crate::queries::{all_pages, clamp, ready};
    };
}

pub(crate) use {answer_queries, query_words};

/// An answer that is there already.
pub(crate) fn ready<'a, T: Send + 'a>(answer: Result<T, MetaError>) -> crate::port::Answer<'a, T> {
    Box::pin(std::future::ready(answer))
}
