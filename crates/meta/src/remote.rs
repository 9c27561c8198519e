//! Metadata that another node keeps: [`RemoteMeta`] asks, [`answer`] answers, and a [`Way`] carries the bytes between them.
//!
//! A command whose answer was lost may have been carried out: that is [`MetaError::Unknown`], and the caller asks again under
//! the same request id. Pages are cut by the answerer so that each fits into one message, and put together again here.

mod answer;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use pangea_core::id::{BlobId, BucketId, ChunkId, UploadId};
use pangea_core::meta::question::{Answer as Answered, EngineStatus, Failure, Question};
use pangea_core::meta::{
    AccessKeyRow, BlobRow, BucketKeyRow, BucketRow, HeadPage, KeyRange, LeaseRow, Outcome, PackEntry,
    PackRow, PartRow, Request, TodoRow, UploadRow, UsageRow, VersionPage, VersionRow, VersionSelector,
};

use crate::error::MetaError;
use crate::port::{Answer, LogDriveStatus, Meta, MetaStatus, VersionWithBlob};
use crate::queries::clamp;

pub use answer::answer;
#[cfg(test)]
pub(crate) use answer::answer_in_pages;

/// Carries a question to whoever keeps the metadata, and its answer back.
pub trait Way: Send + Sync {
    /// `Err`: no answer came, in words for people. Whether the question arrived is not known then, unless `Lost::sent` is false.
    fn ask(&self, question: Bytes) -> Pin<Box<dyn Future<Output = Result<Bytes, Lost>> + Send + '_>>;
}

/// A question without an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lost {
    /// Whether the question may have arrived.
    pub sent: bool,
    /// What happened, for people.
    pub why: String,
}

/// See the module.
pub struct RemoteMeta {
    way: Arc<dyn Way>,
}

impl RemoteMeta {
    /// Asks by that way.
    pub fn new(way: Arc<dyn Way>) -> Self {
        Self { way }
    }

    async fn ask(&self, question: Question) -> Result<Answered, MetaError> {
        let is_command = matches!(question, Question::Apply(_));
        let told = self.way.ask(question.encode().into()).await;
        let told = told.map_err(|lost| match lost {
            Lost { sent: true, .. } if is_command => MetaError::Unknown,
            Lost { why, .. } => MetaError::Unavailable { why },
        })?;
        match Answered::decode(&told) {
            Ok(Answered::Failed(failure)) => Err(failed(failure)),
            Ok(answered) => Ok(answered),
            // Whoever asked for a command cannot tell what became of it.
            Err(_) if is_command => Err(MetaError::Unknown),
            Err(_) => Err(strange()),
        }
    }

    /// Asks page by page until `limit` rows are there or there are no more. `next` makes the question for the rows after the last.
    async fn pages<R>(
        &self,
        limit: usize,
        next: impl Fn(Option<&R>, u32) -> Question + Send,
        rows: impl Fn(Answered) -> Option<(Vec<R>, bool)> + Send,
    ) -> Result<Vec<R>, MetaError>
    where
        R: Send + Sync,
    {
        let mut all: Vec<R> = Vec::new();
        loop {
            let wanted = limit - all.len();
            let question = next(all.last(), u32::try_from(wanted).unwrap_or(u32::MAX));
            let (page, cut) = rows(self.ask(question).await?).ok_or_else(strange)?;
            let is_empty = page.is_empty();
            all.extend(page);
            if !cut || is_empty || all.len() >= limit {
                return Ok(all);
            }
        }
    }
}

fn failed(failure: Failure) -> MetaError {
    match failure {
        Failure::Unavailable(why) => MetaError::Unavailable { why },
        Failure::Unknown => MetaError::Unknown,
        Failure::TooLarge(bytes, bytes_max) => MetaError::TooLarge {
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
        },
        Failure::NotUnderstood => MetaError::Unavailable {
            why: "the node that keeps the metadata does not understand the question: is its version older?"
                .into(),
        },
    }
}

fn strange() -> MetaError {
    MetaError::Unavailable { why: "the node that keeps the metadata gave an answer that does not fit".into() }
}

/// One question, one row: `one!(self, question, variant)`.
macro_rules! one {
    ($self:ident, $question:expr, $variant:ident) => {{
        let question = $question;
        Box::pin(async move {
            match $self.ask(question).await? {
                Answered::$variant(found) => Ok(found),
                _ => Err(strange()),
            }
        })
    }};
}

/// A paged question: `paged!(self, limit, |last, limit| question, variant)`.
macro_rules! paged {
    ($self:ident, $limit:expr, $next:expr, $variant:ident) => {{
        let (limit, next) = ($limit, $next);
        Box::pin(async move {
            let rows = |answered| match answered {
                Answered::$variant(rows, cut) => Some((rows, cut)),
                _ => None,
            };
            $self.pages(limit, next, rows).await
        })
    }};
}

impl Meta for RemoteMeta {
    fn apply(&self, request: Request) -> Answer<'_, Outcome> {
        one!(self, Question::Apply(request), Outcome)
    }

    fn bucket<'a>(&'a self, name: &'a str) -> Answer<'a, Option<BucketRow>> {
        one!(self, Question::Bucket { name: name.to_owned() }, Bucket)
    }

    fn buckets(&self) -> Answer<'_, Vec<BucketRow>> {
        let next =
            |last: Option<&BucketRow>, _| Question::Buckets { after: last.map(|row| row.name.clone()) };
        paged!(self, usize::MAX, next, Buckets)
    }

    fn bucket_key(&self, bucket: BucketId, generation: u32) -> Answer<'_, Option<BucketKeyRow>> {
        one!(self, Question::BucketKey { bucket, generation }, BucketKey)
    }

    fn bucket_keys(
        &self,
        after: Option<(BucketId, u32)>,
        limit: usize,
    ) -> Answer<'_, Vec<(BucketId, u32, BucketKeyRow)>> {
        let next = move |last: Option<&(BucketId, u32, BucketKeyRow)>, limit| Question::BucketKeys {
            after: last.map(|(bucket, generation, _)| (*bucket, *generation)).or(after),
            limit,
        };
        paged!(self, clamp(limit), next, BucketKeys)
    }

    fn usage(&self, bucket: BucketId) -> Answer<'_, Option<UsageRow>> {
        one!(self, Question::Usage { bucket }, Usage)
    }

    fn head<'a>(&'a self, bucket: BucketId, key: &'a [u8]) -> Answer<'a, Option<VersionRow>> {
        one!(self, Question::Head { bucket, key: key.to_vec() }, Head)
    }

    fn version<'a>(
        &'a self,
        bucket: BucketId,
        key: &'a [u8],
        selector: VersionSelector,
    ) -> Answer<'a, Option<(VersionRow, bool)>> {
        one!(self, Question::Version { bucket, key: key.to_vec(), selector }, Version)
    }

    fn head_with_blob<'a>(
        &'a self,
        bucket: BucketId,
        key: &'a [u8],
        selector: VersionSelector,
    ) -> Answer<'a, Option<VersionWithBlob>> {
        one!(self, Question::HeadWithBlob { bucket, key: key.to_vec(), selector }, HeadWithBlob)
    }

    fn heads(&self, bucket: BucketId, range: KeyRange, limit: usize) -> Answer<'_, HeadPage> {
        Box::pin(async move {
            let (limit, mut range, mut heads) = (clamp(limit), range, Vec::new());
            loop {
                let wanted = u32::try_from(limit - heads.len()).unwrap_or(u32::MAX);
                let question = Question::Heads { bucket, range: range.clone(), limit: wanted };
                let Answered::Heads(page, cut) = self.ask(question).await? else { return Err(strange()) };
                let (is_empty, more) = (page.heads.is_empty(), page.more);
                heads.extend(page.heads);
                if !cut || is_empty || heads.len() >= limit {
                    return Ok(HeadPage { heads, more });
                }
                range.after = heads.last().map(|(key, _)| key.clone());
            }
        })
    }

    fn versions(
        &self,
        bucket: BucketId,
        range: KeyRange,
        after_seq: Option<u64>,
        limit: usize,
    ) -> Answer<'_, VersionPage> {
        Box::pin(async move {
            let (limit, mut range, mut after_seq, mut versions) =
                (clamp(limit), range, after_seq, Vec::new());
            loop {
                let wanted = u32::try_from(limit - versions.len()).unwrap_or(u32::MAX);
                let question = Question::Versions { bucket, range: range.clone(), after_seq, limit: wanted };
                let Answered::Versions(page, cut) = self.ask(question).await? else { return Err(strange()) };
                let (is_empty, more) = (page.versions.is_empty(), page.more);
                versions.extend(page.versions);
                if !cut || is_empty || versions.len() >= limit {
                    return Ok(VersionPage { versions, more });
                }
                if let Some((key, row, _)) = versions.last() {
                    (range.after, after_seq) = (Some(key.clone()), Some(row.seq));
                }
            }
        })
    }

    fn blob(&self, blob: BlobId) -> Answer<'_, Option<BlobRow>> {
        one!(self, Question::Blob { blob }, Blob)
    }

    fn blobs(&self, after: Option<BlobId>, limit: usize) -> Answer<'_, Vec<(BlobId, BlobRow)>> {
        let next = move |last: Option<&(BlobId, BlobRow)>, limit| Question::Blobs {
            after: last.map(|(blob, _)| *blob).or(after),
            limit,
        };
        paged!(self, clamp(limit), next, Blobs)
    }

    fn packs(&self, after: Option<BlobId>, limit: usize) -> Answer<'_, Vec<(BlobId, PackRow)>> {
        let next = move |last: Option<&(BlobId, PackRow)>, limit| Question::Packs {
            after: last.map(|(blob, _)| *blob).or(after),
            limit,
        };
        paged!(self, clamp(limit), next, Packs)
    }

    fn pack_entries(
        &self,
        pack: BlobId,
        after: Option<PackEntry>,
        limit: usize,
    ) -> Answer<'_, Vec<(PackEntry, u64)>> {
        let next = move |last: Option<&(PackEntry, u64)>, limit| Question::PackEntries {
            pack,
            after: last.map(|(entry, _)| entry.clone()).or_else(|| after.clone()),
            limit,
        };
        paged!(self, clamp(limit), next, PackEntries)
    }

    fn condemned(&self, after: Option<(u64, BlobId)>, limit: usize) -> Answer<'_, Vec<(u64, BlobId)>> {
        let next = move |last: Option<&(u64, BlobId)>, limit| Question::Condemned {
            after: last.copied().or(after),
            limit,
        };
        paged!(self, clamp(limit), next, Condemned)
    }

    fn upload<'a>(
        &'a self,
        bucket: BucketId,
        key: &'a [u8],
        upload: UploadId,
    ) -> Answer<'a, Option<UploadRow>> {
        one!(self, Question::Upload { bucket, key: key.to_vec(), upload }, Upload)
    }

    fn uploads<'a>(
        &'a self,
        bucket: BucketId,
        after: Option<(Vec<u8>, UploadId)>,
        prefix: &'a [u8],
        limit: usize,
    ) -> Answer<'a, Vec<(UploadId, UploadRow)>> {
        let next = move |last: Option<&(UploadId, UploadRow)>, limit| Question::Uploads {
            bucket,
            after: last.map(|(upload, row)| (row.key.clone(), *upload)).or_else(|| after.clone()),
            prefix: prefix.to_vec(),
            limit,
        };
        paged!(self, clamp(limit), next, Uploads)
    }

    fn parts(&self, upload: UploadId, after: u16, limit: usize) -> Answer<'_, Vec<(u16, PartRow)>> {
        let next = move |last: Option<&(u16, PartRow)>, limit| Question::Parts {
            upload,
            after: last.map_or(after, |(number, _)| *number),
            limit,
        };
        paged!(self, clamp(limit), next, Parts)
    }

    fn todo(&self, chunk: ChunkId) -> Answer<'_, Option<TodoRow>> {
        one!(self, Question::Todo { chunk }, Todo)
    }

    fn todos(&self, after: Option<ChunkId>, limit: usize) -> Answer<'_, Vec<(ChunkId, TodoRow)>> {
        let next = move |last: Option<&(ChunkId, TodoRow)>, limit| Question::Todos {
            after: last.map(|(chunk, _)| *chunk).or(after),
            limit,
        };
        paged!(self, clamp(limit), next, Todos)
    }

    fn lease<'a>(&'a self, name: &'a str) -> Answer<'a, Option<LeaseRow>> {
        one!(self, Question::Lease { name: name.to_owned() }, Lease)
    }

    fn access_key<'a>(&'a self, id: &'a str) -> Answer<'a, Option<AccessKeyRow>> {
        one!(self, Question::AccessKey { id: id.to_owned() }, AccessKey)
    }

    fn access_keys(&self) -> Answer<'_, Vec<(String, AccessKeyRow)>> {
        let next = |last: Option<&(String, AccessKeyRow)>, _| Question::AccessKeys {
            after: last.map(|(id, _)| id.clone()),
        };
        paged!(self, usize::MAX, next, AccessKeys)
    }

    fn setting<'a>(&'a self, name: &'a str) -> Answer<'a, Option<(u64, Vec<u8>)>> {
        one!(self, Question::Setting { name: name.to_owned() }, Setting)
    }

    fn status(&self) -> Answer<'_, MetaStatus> {
        Box::pin(async move {
            let Answered::Status(status) = self.ask(Question::Status).await? else { return Err(strange()) };
            let EngineStatus { generation, applied_seq, snapshot_seq, log_bytes, log_drives, .. } = status;
            let drive = |(name, ok, last_error)| LogDriveStatus { name, ok, last_error };
            Ok(MetaStatus {
                engine: "remote",
                generation,
                applied_seq,
                log_drives: log_drives.into_iter().map(drive).collect(),
                snapshot_seq,
                log_bytes,
                recovery_notes: vec![],
            })
        })
    }

    fn snapshot(&self) -> Answer<'_, u64> {
        one!(self, Question::Snapshot, Snapshot)
    }
}
