//! The answering half: a question's bytes, asked of an engine, become the answer's bytes.
//!
//! Rows are read at most [`ROWS_MAX`] at a time and cut where they would not fit into one message; whoever asked goes on behind
//! the last one.

use pangea_core::meta::question::{Answer, EngineStatus, Failure, Question};
use pangea_core::meta::{HeadPage, VersionPage};
use pangea_core::wire::BODY_BYTES_MAX;

use crate::error::MetaError;
use crate::port::{Meta, MetaStatus};

/// Rows of one answer. The largest row (a version of 10,000 parts) has some 100 KiB.
const ROWS_MAX: usize = 1000;
/// Bytes of rows in one answer, before the last one: a message takes 16 MiB.
const BYTES_MAX: usize = 8 << 20;

/// Answers a question that came from another node.
pub async fn answer(meta: &dyn Meta, question: &[u8]) -> Vec<u8> {
    answer_in_pages(meta, question, ROWS_MAX).await
}

/// Like [`answer`], with at most so many rows in one answer.
pub(crate) async fn answer_in_pages(meta: &dyn Meta, question: &[u8], rows_max: usize) -> Vec<u8> {
    let Ok(question) = Question::decode(question) else {
        return Answer::Failed(Failure::NotUnderstood).encode();
    };
    let answer = match row(meta, question).await {
        Ok(Found::Row(answer)) => Ok(answer),
        Ok(Found::Paged(question)) => page(meta, question, &Pages { rows_max }).await,
        Err(error) => Err(error),
    };
    let bytes = answer.unwrap_or_else(|error| Answer::Failed(failure(&error))).encode();
    if bytes.len() <= BODY_BYTES_MAX {
        return bytes;
    }
    let why = format!("the answer has {} bytes, more than a message takes", bytes.len());
    Answer::Failed(Failure::Unavailable(why)).encode()
}

fn failure(error: &MetaError) -> Failure {
    match error {
        MetaError::Unavailable { why } => Failure::Unavailable(why.clone()),
        MetaError::Unknown => Failure::Unknown,
        MetaError::TooLarge { bytes, bytes_max } => Failure::TooLarge(*bytes as u64, *bytes_max as u64),
        // Whether a command that met one of these is durable only a retry tells.
        MetaError::Io { .. } | MetaError::View { .. } | MetaError::Closed => Failure::Unknown,
        other => Failure::Unavailable(other.to_string()),
    }
}

enum Found {
    Row(Answer),
    /// A question for many rows, not answered yet.
    Paged(Question),
}

/// Answers what has one row, or none.
async fn row(meta: &dyn Meta, question: Question) -> Result<Found, MetaError> {
    Ok(Found::Row(match question {
        Question::Apply(request) => Answer::Outcome(meta.apply(request).await?),
        Question::Bucket { name } => Answer::Bucket(meta.bucket(&name).await?),
        Question::BucketKey { bucket, generation } => {
            Answer::BucketKey(meta.bucket_key(bucket, generation).await?)
        }
        Question::Usage { bucket } => Answer::Usage(meta.usage(bucket).await?),
        Question::Head { bucket, key } => Answer::Head(meta.head(bucket, &key).await?),
        Question::Version { bucket, key, selector } => {
            Answer::Version(meta.version(bucket, &key, selector).await?)
        }
        Question::HeadWithBlob { bucket, key, selector } => {
            Answer::HeadWithBlob(meta.head_with_blob(bucket, &key, selector).await?)
        }
        Question::Blob { blob } => Answer::Blob(meta.blob(blob).await?),
        Question::Upload { bucket, key, upload } => Answer::Upload(meta.upload(bucket, &key, upload).await?),
        Question::Todo { chunk } => Answer::Todo(meta.todo(chunk).await?),
        Question::Lease { name } => Answer::Lease(meta.lease(&name).await?),
        Question::AccessKey { id } => Answer::AccessKey(meta.access_key(&id).await?),
        Question::Setting { name } => Answer::Setting(meta.setting(&name).await?),
        Question::Snapshot => Answer::Snapshot(meta.snapshot().await?),
        Question::Status => Answer::Status(status(meta.status().await?)),
        paged => return Ok(Found::Paged(paged)),
    }))
}

fn status(status: MetaStatus) -> EngineStatus {
    let drives = status.log_drives.into_iter();
    EngineStatus {
        engine: status.engine.to_owned(),
        generation: status.generation,
        applied_seq: status.applied_seq,
        snapshot_seq: status.snapshot_seq,
        log_bytes: status.log_bytes,
        log_drives: drives.map(|drive| (drive.name, drive.ok, drive.last_error)).collect(),
    }
}

/// Answers what has many rows.
async fn page(meta: &dyn Meta, question: Question, pages: &Pages) -> Result<Answer, MetaError> {
    Ok(match question {
        Question::Buckets { after } => {
            let all = meta.buckets().await?.into_iter();
            let rows = all.filter(|row| after.as_ref().is_none_or(|after| row.name > *after)).collect();
            pages.of(Answer::Buckets, rows, u32::MAX, |row| row.encode().len())
        }
        Question::AccessKeys { after } => {
            let all = meta.access_keys().await?.into_iter();
            let rows = all.filter(|(id, _)| after.as_ref().is_none_or(|after| id > after)).collect();
            pages.of(Answer::AccessKeys, rows, u32::MAX, |(_, row)| row.encode().len())
        }
        Question::BucketKeys { after, limit } => {
            let rows = meta.bucket_keys(after, pages.rows(limit)).await?;
            pages.of(Answer::BucketKeys, rows, limit, |(_, _, row)| row.encode().len())
        }
        Question::Heads { bucket, range, limit } => {
            let HeadPage { heads, more } = meta.heads(bucket, range, pages.rows(limit)).await?;
            let (heads, cut) = pages.cut(heads, |(key, row)| key.len() + row.encode().len());
            // What the engine says to be more is cut only if more was asked for.
            let cut = cut || (more && heads.len() < rows_wanted(limit));
            Answer::Heads(HeadPage { heads, more: more || cut }, cut)
        }
        Question::Versions { bucket, range, after_seq, limit } => {
            let found = meta.versions(bucket, range, after_seq, pages.rows(limit)).await?;
            let (versions, cut) = pages.cut(found.versions, |(key, row, _)| key.len() + row.encode().len());
            let cut = cut || (found.more && versions.len() < rows_wanted(limit));
            Answer::Versions(VersionPage { versions, more: found.more || cut }, cut)
        }
        Question::Blobs { after, limit } => {
            let rows = meta.blobs(after, pages.rows(limit)).await?;
            pages.of(Answer::Blobs, rows, limit, |(_, row)| row.encode().len())
        }
        Question::Packs { after, limit } => {
            let rows = meta.packs(after, pages.rows(limit)).await?;
            pages.of(Answer::Packs, rows, limit, |(_, row)| row.encode().len())
        }
        Question::PackEntries { pack, after, limit } => {
            let rows = meta.pack_entries(pack, after, pages.rows(limit)).await?;
            pages.of(Answer::PackEntries, rows, limit, |(entry, _)| entry.key.len())
        }
        Question::Condemned { after, limit } => {
            pages.of(Answer::Condemned, meta.condemned(after, pages.rows(limit)).await?, limit, |_| 24)
        }
        Question::Uploads { bucket, after, prefix, limit } => {
            let rows = meta.uploads(bucket, after, &prefix, pages.rows(limit)).await?;
            pages.of(Answer::Uploads, rows, limit, |(_, row)| row.encode().len())
        }
        Question::Parts { upload, after, limit } => {
            let rows = meta.parts(upload, after, pages.rows(limit)).await?;
            pages.of(Answer::Parts, rows, limit, |(_, row)| row.encode().len())
        }
        Question::Todos { after, limit } => {
            let rows = meta.todos(after, pages.rows(limit)).await?;
            pages.of(Answer::Todos, rows, limit, |(_, row)| row.encode().len())
        }
        _ => Answer::Failed(Failure::NotUnderstood),
    })
}

/// How many rows an answer holds.
struct Pages {
    rows_max: usize,
}

fn rows_wanted(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

impl Pages {
    /// The rows to read.
    fn rows(&self, limit: u32) -> usize {
        rows_wanted(limit).min(self.rows_max)
    }

    /// As many rows as fit, and whether some were left off.
    fn cut<R>(&self, mut rows: Vec<R>, bytes: impl Fn(&R) -> usize) -> (Vec<R>, bool) {
        let mut sum = 0;
        let fits = rows.iter().take(self.rows_max).take_while(|row| {
            let before = sum;
            sum += bytes(row);
            before < BYTES_MAX
        });
        let fits = fits.count();
        let cut = fits < rows.len();
        rows.truncate(fits);
        (rows, cut)
    }

    /// The page of rows that an engine gave; a full one may be followed by more.
    fn of<R>(
        &self,
        answer: impl Fn(Vec<R>, bool) -> Answer,
        rows: Vec<R>,
        limit: u32,
        bytes: impl Fn(&R) -> usize,
    ) -> Answer {
        let full = rows.len() >= self.rows_max && self.rows_max < rows_wanted(limit);
        let (rows, cut) = self.cut(rows, bytes);
        answer(rows, cut || full)
    }
}
