//! Questions between nodes about metadata: what a node asks of the one that keeps it, and the answers.
//!
//! Owns their tags and bytes: the version byte ([`QUESTION_VERSION`]), a tag, the fields as `field` writes them. A question is a
//! query of the metadata port or a whole [`Request`]; a page of rows says whether it was cut short of what was asked for,
//! so that an answer always fits into one message.

use super::command::{Outcome, Request, VersionSelector};
use super::field::{Field, record, tagged};
use super::query::{HeadPage, KeyRange, VersionPage};
use super::read::VersionWithBlob;
use super::row::{
    AccessKeyRow, BlobRow, BucketKeyRow, BucketRow, LeaseRow, PackEntry, PackRow, PartRow, TodoRow,
    UploadRow, UsageRow, VersionRow,
};
use crate::codec::{Malformed, Put, Reader};
use crate::id::{BlobId, BucketId, ChunkId, UploadId};

/// The version byte that every question and answer starts with.
pub const QUESTION_VERSION: u8 = 1;

/// What is asked. Limits count rows; an answer may hold fewer and say that it was cut.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "each is the query of the same name of the metadata port")]
pub enum Question {
    Apply(Request),
    Bucket { name: String },
    Buckets { after: Option<String> },
    BucketKey { bucket: BucketId, generation: u32 },
    BucketKeys { after: Option<(BucketId, u32)>, limit: u32 },
    Usage { bucket: BucketId },
    Head { bucket: BucketId, key: Vec<u8> },
    Version { bucket: BucketId, key: Vec<u8>, selector: VersionSelector },
    HeadWithBlob { bucket: BucketId, key: Vec<u8>, selector: VersionSelector },
    Heads { bucket: BucketId, range: KeyRange, limit: u32 },
    Versions { bucket: BucketId, range: KeyRange, after_seq: Option<u64>, limit: u32 },
    Blob { blob: BlobId },
    Blobs { after: Option<BlobId>, limit: u32 },
    Packs { after: Option<BlobId>, limit: u32 },
    PackEntries { pack: BlobId, after: Option<PackEntry>, limit: u32 },
    Condemned { after: Option<(u64, BlobId)>, limit: u32 },
    Upload { bucket: BucketId, key: Vec<u8>, upload: UploadId },
    Uploads { bucket: BucketId, after: Option<(Vec<u8>, UploadId)>, prefix: Vec<u8>, limit: u32 },
    Parts { upload: UploadId, after: u16, limit: u32 },
    Todo { chunk: ChunkId },
    Todos { after: Option<ChunkId>, limit: u32 },
    Lease { name: String },
    AccessKey { id: String },
    AccessKeys { after: Option<String> },
    Setting { name: String },
    Status,
    Snapshot,
}

/// What is answered. The `bool` of a page says that it was cut short of what was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "each answers the question of the same name")]
pub enum Answer {
    Failed(Failure),
    Outcome(Outcome),
    Bucket(Option<BucketRow>),
    Buckets(Vec<BucketRow>, bool),
    BucketKey(Option<BucketKeyRow>),
    BucketKeys(Vec<(BucketId, u32, BucketKeyRow)>, bool),
    Usage(Option<UsageRow>),
    Head(Option<VersionRow>),
    Version(Option<(VersionRow, bool)>),
    HeadWithBlob(Option<VersionWithBlob>),
    Heads(HeadPage, bool),
    Versions(VersionPage, bool),
    Blob(Option<BlobRow>),
    Blobs(Vec<(BlobId, BlobRow)>, bool),
    Packs(Vec<(BlobId, PackRow)>, bool),
    PackEntries(Vec<(PackEntry, u64)>, bool),
    Condemned(Vec<(u64, BlobId)>, bool),
    Upload(Option<UploadRow>),
    Uploads(Vec<(UploadId, UploadRow)>, bool),
    Parts(Vec<(u16, PartRow)>, bool),
    Todo(Option<TodoRow>),
    Todos(Vec<(ChunkId, TodoRow)>, bool),
    Lease(Option<LeaseRow>),
    AccessKey(Option<AccessKeyRow>),
    AccessKeys(Vec<(String, AccessKeyRow)>, bool),
    Setting(Option<(u64, Vec<u8>)>),
    Status(EngineStatus),
    Snapshot(u64),
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// Not now; nothing of a command was made durable. Why, for people.
    Unavailable(String),
    /// Whether the command was made durable is not known.
    Unknown,
    /// The command is larger than the log takes: its bytes, and the most.
    TooLarge(u64, u64),
    /// The question makes no sense to whoever was asked (another version, or damage on the way).
    NotUnderstood,
}

/// How the engine does that was asked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EngineStatus {
    /// Its name.
    pub engine: String,
    /// The meta generation.
    pub generation: u64,
    /// Requests applied since the cluster was made.
    pub applied_seq: u64,
    /// The request that the newest snapshot ends with.
    pub snapshot_seq: u64,
    /// Bytes of log that a recovery would replay.
    pub log_bytes: u64,
    /// The log's drives: where each is, whether acknowledged commands are on it, what went wrong last.
    pub log_drives: Vec<(String, bool, Option<String>)>,
}

record!(KeyRange { prefix, after, from });
record!(HeadPage { heads, more });
record!(VersionPage { versions, more });
record!(PackEntry { pack, offset, bucket, version, key });
record!(EngineStatus { engine, generation, applied_seq, snapshot_seq, log_bytes, log_drives });

tagged!(Failure {
    1 => Unavailable(why),
    2 => Unknown,
    3 => TooLarge(bytes, bytes_max),
    4 => NotUnderstood,
});

tagged!(Question {
    1 => Apply(request),
    2 => Bucket { name },
    3 => Buckets { after },
    4 => BucketKey { bucket, generation },
    5 => BucketKeys { after, limit },
    6 => Usage { bucket },
    7 => Head { bucket, key },
    8 => Version { bucket, key, selector },
    9 => HeadWithBlob { bucket, key, selector },
    10 => Heads { bucket, range, limit },
    11 => Versions { bucket, range, after_seq, limit },
    12 => Blob { blob },
    13 => Blobs { after, limit },
    14 => Packs { after, limit },
    15 => PackEntries { pack, after, limit },
    16 => Condemned { after, limit },
    17 => Upload { bucket, key, upload },
    18 => Uploads { bucket, after, prefix, limit },
    19 => Parts { upload, after, limit },
    20 => Todo { chunk },
    21 => Todos { after, limit },
    22 => Lease { name },
    23 => AccessKey { id },
    24 => AccessKeys { after },
    25 => Setting { name },
    26 => Status,
    27 => Snapshot,
});

tagged!(Answer {
    0 => Failed(failure),
    1 => Outcome(outcome),
    2 => Bucket(row),
    3 => Buckets(rows, cut),
    4 => BucketKey(row),
    5 => BucketKeys(rows, cut),
    6 => Usage(row),
    7 => Head(row),
    8 => Version(found),
    9 => HeadWithBlob(found),
    10 => Heads(page, cut),
    11 => Versions(page, cut),
    12 => Blob(row),
    13 => Blobs(rows, cut),
    14 => Packs(rows, cut),
    15 => PackEntries(rows, cut),
    16 => Condemned(rows, cut),
    17 => Upload(row),
    18 => Uploads(rows, cut),
    19 => Parts(rows, cut),
    20 => Todo(row),
    21 => Todos(rows, cut),
    22 => Lease(row),
    23 => AccessKey(row),
    24 => AccessKeys(rows, cut),
    25 => Setting(found),
    26 => Status(status),
    27 => Snapshot(seq),
});

macro_rules! message {
    ($type:ident, $what:literal) => {
        impl $type {
            /// Its bytes.
            pub fn encode(&self) -> Vec<u8> {
                let mut out = vec![QUESTION_VERSION];
                self.put(&mut out);
                out
            }

            /// Reads what `encode` wrote; anything else is an error.
            pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
                let mut r = Reader::new(bytes, $what);
                if r.u8()? != QUESTION_VERSION {
                    return Err(r.malformed());
                }
                let message = Self::take(&mut r)?;
                r.finish()?;
                Ok(message)
            }
        }
    };
}

message!(Question, "metadata question");
message!(Answer, "metadata answer");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_round_trip_and_every_cut_is_refused() {
        let bucket = BucketId([4; 16]);
        let questions = [
            Question::Buckets { after: Some("a".into()) },
            Question::HeadWithBlob { bucket, key: b"k".to_vec(), selector: VersionSelector::Null },
            Question::Versions {
                bucket,
                range: KeyRange { prefix: b"p".to_vec(), after: Some(vec![]), from: None },
                after_seq: Some(9),
                limit: 7,
            },
            Question::Status,
        ];
        for question in questions {
            let bytes = question.encode();
            assert_eq!(Question::decode(&bytes), Ok(question));
            assert!((0..bytes.len()).all(|cut| Question::decode(&bytes[..cut]).is_err()));
        }
        let log_drives =
            vec![("one".to_owned(), true, None), ("two".to_owned(), false, Some("EIO".to_owned()))];
        let answers = [
            Answer::Failed(Failure::TooLarge(9, 8)),
            Answer::Condemned(vec![(1, BlobId([1; 16]))], true),
            Answer::Setting(Some((3, b"value".to_vec()))),
            Answer::Status(EngineStatus { engine: "embedded".into(), log_drives, ..EngineStatus::default() }),
        ];
        for answer in answers {
            let bytes = answer.encode();
            assert_eq!(Answer::decode(&bytes), Ok(answer));
            assert!((0..bytes.len()).all(|cut| Answer::decode(&bytes[..cut]).is_err()));
        }
    }
}
