//! Commands and their outcomes: everything that can change the metadata.

use super::row::{
    AccessKeyRow, BlobBody, BucketKeyRow, BucketRow, Content, ETag, Extent, LeaseRow, PartRow, TodoRow,
    UploadRow, Versioning,
};
use crate::chunk::Code;
use crate::id::{BlobId, BucketId, ChunkId, LeaseId, RequestId, UploadId, VersionId};
use crate::seam::WallMs;

/// A command with the id under which its outcome is kept, and the wall time at which it was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// A retry carries the same id and gets the same outcome.
    pub id: RequestId,
    /// When it was asked; the only clock that `apply` sees.
    pub now_ms: WallMs,
    /// What to do.
    pub command: Command,
}

/// A condition on a key's head, checked in the command that would change it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Condition {
    /// The key must exist with this entity tag (`None` inside: any).
    pub if_match: Option<Option<ETag>>,
    /// The key must not exist (`None` inside), or not with this entity tag.
    pub if_none_match: Option<Option<ETag>>,
}

/// A blob that a command brings into being, with one reference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewBlob {
    /// Drawn by the writer.
    pub id: BlobId,
    /// Plaintext bytes.
    pub len: u64,
    /// What it is made of. For a composite, the parts' references pass to it.
    pub body: BlobBody,
    /// The blob that holds a spilled manifest or list, if there is one: it comes into being with this one.
    pub spill: Option<(BlobId, u64, BlobBody)>,
    /// Its stripes that are acknowledged but not whole.
    pub todos: Vec<(ChunkId, TodoRow)>,
    /// The oldest layout epoch that it was placed at; the commit fails if writers of that epoch are fenced.
    pub layout_epoch: u32,
}

/// A version that a command brings into being.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewVersion {
    /// Drawn by the writer.
    pub id: VersionId,
    /// Plaintext bytes.
    pub size: u64,
    /// The entity tag.
    pub etag: ETag,
    /// Where the bytes are. Names `blob` when one is brought along; otherwise (a copy) an existing blob, which gains a reference.
    pub content: Content,
    /// Headers and user metadata, sorted by name.
    pub attributes: Vec<(String, String)>,
    /// See [`super::VersionRow::part_sizes`].
    pub part_sizes: Vec<(u64, u32)>,
}

/// A pack that a command brings into being.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewPack {
    /// Its blob; the length is that of the payload.
    pub blob: NewBlob,
    /// The code that was asked for.
    pub code: Code,
    /// Where its data must stay; empty: anywhere.
    pub region_pin: String,
}

/// One object of a pack: a put of its own, with its own condition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PackedPut {
    /// The bucket.
    pub bucket: BucketId,
    /// The object key.
    pub key: Vec<u8>,
    /// Checked against the head.
    pub condition: Condition,
    /// The version; its content is an item of the pack.
    pub version: NewVersion,
}

/// An item that was copied from one pack to another, byte for byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PackedMove {
    /// Where it was.
    pub from: Extent,
    /// Where it starts in the new pack.
    pub to: u64,
}

/// Which version of a key is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VersionSelector {
    /// The head.
    Current,
    /// The one that clients call `null`.
    Null,
    /// This one.
    Id(VersionId),
}

/// One part as a client lists it when completing, resolved to the blob that its row names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartRef {
    /// 1 to 10,000.
    pub number: u16,
    /// The blob of that part's row (`None`: an empty part); the commit fails if the part was replaced meanwhile.
    pub blob: Option<BlobId>,
}

/// Everything that can change the metadata.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Makes a bucket with its first key.
    CreateBucket {
        /// The row; its name must be free.
        bucket: BucketRow,
        /// Generation 1 of its key.
        key: BucketKeyRow,
    },
    /// Removes an empty bucket (no heads, versions or uploads).
    DeleteBucket {
        /// Its name.
        name: String,
    },
    /// Switches versioning.
    SetVersioning {
        /// The bucket's name.
        name: String,
        /// Never back to `Off` once it was on.
        versioning: Versioning,
    },
    /// Sets or removes a named document of a bucket.
    SetDocument {
        /// The bucket's name.
        name: String,
        /// The document's name.
        document: String,
        /// Its bytes, or nothing to remove it.
        value: Option<Vec<u8>>,
    },
    /// Sets the code of a bucket's new data.
    SetCode {
        /// The bucket's name.
        name: String,
        /// The code; `None`: the cluster's.
        code: Option<Code>,
    },
    /// Adds or replaces (rewraps) a bucket key; the newest generation seals new data.
    PutBucketKey {
        /// The bucket.
        bucket: BucketId,
        /// 1, 2, …
        generation: u32,
        /// The wrapped key.
        key: BucketKeyRow,
    },
    /// Commits a version of an object: PUT and COPY.
    PutVersion {
        /// The bucket.
        bucket: BucketId,
        /// The object key.
        key: Vec<u8>,
        /// Checked against the head.
        condition: Condition,
        /// The version.
        version: NewVersion,
        /// The blob it brings along, unless it is empty or a copy.
        blob: Option<NewBlob>,
    },
    /// Deletes a version, or hides the key behind a delete marker: DELETE.
    DeleteVersion {
        /// The bucket.
        bucket: BucketId,
        /// The object key.
        key: Vec<u8>,
        /// Checked against the head.
        condition: Condition,
        /// Which one.
        version: VersionSelector,
        /// The id of the delete marker, should one be made.
        marker: VersionId,
    },
    /// Commits many small objects that share a pack; each is taken or refused for itself.
    PutPack {
        /// The pack. If no object is taken, it is condemned at once.
        pack: NewPack,
        /// The objects.
        items: Vec<PackedPut>,
    },
    /// Lets the versions of items refer to copies of them in a new pack; versions that are gone are passed over.
    MovePacked {
        /// The new pack. If no version moves, it is condemned at once.
        pack: NewPack,
        /// The items.
        moves: Vec<PackedMove>,
    },
    /// Sets or removes one attribute of a version that is there, in place: no version comes or goes.
    SetAttribute {
        /// The bucket.
        bucket: BucketId,
        /// The object key.
        key: Vec<u8>,
        /// Which version; a delete marker has no attributes and counts as none.
        version: VersionSelector,
        /// The attribute's name.
        name: String,
        /// Its value, or nothing to remove it.
        value: Option<String>,
    },
    /// Lets a version's content lie in another blob: the same bytes, written anew (under another code). Refused with
    /// [`Refusal::NoSuchKey`] if the version is gone or its content is not `seen` any more.
    ReplaceContent {
        /// The bucket.
        bucket: BucketId,
        /// The object key.
        key: Vec<u8>,
        /// The version's id.
        version: VersionId,
        /// The slice that was read; it must be of a blob in chunks, a composite, or inline.
        seen: Extent,
        /// The blob that holds its bytes now, all of them.
        blob: NewBlob,
    },
    /// Starts a multipart upload.
    CreateUpload {
        /// Drawn by the writer.
        upload: UploadId,
        /// The row.
        row: UploadRow,
    },
    /// Commits one part; an earlier part of that number is released.
    PutPart {
        /// The bucket.
        bucket: BucketId,
        /// The object key.
        key: Vec<u8>,
        /// The upload.
        upload: UploadId,
        /// 1 to 10,000.
        number: u16,
        /// The row.
        part: PartRow,
        /// The blob it brings along; `None` for an empty part or a part copied by reference.
        blob: Option<NewBlob>,
    },
    /// Turns an upload into a version; parts that are not listed are released.
    CompleteUpload {
        /// The bucket.
        bucket: BucketId,
        /// The object key.
        key: Vec<u8>,
        /// The upload.
        upload: UploadId,
        /// Checked against the head.
        condition: Condition,
        /// The parts, rising.
        parts: Vec<PartRef>,
        /// The version.
        version: NewVersion,
        /// The composite, unless a single part's blob (or nothing) is the content.
        blob: Option<NewBlob>,
    },
    /// Gives an upload up; its parts are released.
    AbortUpload {
        /// The bucket.
        bucket: BucketId,
        /// The object key.
        key: Vec<u8>,
        /// The upload.
        upload: UploadId,
    },
    /// Records a stripe that is not whole; merged with what is known of it.
    AddTodo {
        /// The stripe.
        chunk: ChunkId,
        /// What is missing.
        todo: TodoRow,
    },
    /// Replaces a stripe's entry: what is still missing, or nothing when it is whole.
    FinishTodo {
        /// The stripe.
        chunk: ChunkId,
        /// The entry that was worked on; if another stands there now, nothing changes.
        seen: TodoRow,
        /// What is left.
        left: Option<TodoRow>,
    },
    /// Forgets condemned blobs whose shards are gone from every drive; a composite's parts are released.
    Purge {
        /// Each with the slices of its spilled list, if it is a spilled composite.
        blobs: Vec<(BlobId, Vec<BlobId>)>,
    },
    /// Takes a lease if it is free, expired, or already the holder's (then it is prolonged and keeps its token).
    AcquireLease {
        /// What is leased.
        name: String,
        /// Who asks.
        holder: LeaseId,
        /// For how long from `now_ms`.
        duration_ms: u64,
    },
    /// Gives a lease back; only its holder can.
    ReleaseLease {
        /// What is leased.
        name: String,
        /// Who gives it back.
        holder: LeaseId,
    },
    /// Makes or replaces an access key.
    PutAccessKey {
        /// Its id.
        id: String,
        /// The row.
        row: AccessKeyRow,
    },
    /// Replaces an access key that is still what was seen: one that was revoked meanwhile does not come back.
    ReplaceAccessKey {
        /// Its id.
        id: String,
        /// The row that was seen.
        seen: AccessKeyRow,
        /// The new row.
        row: AccessKeyRow,
    },
    /// Removes an access key.
    DeleteAccessKey {
        /// Its id.
        id: String,
    },
    /// Sets a setting if its revision is what the caller saw (0: it does not exist).
    SetSetting {
        /// Its name, e.g. `layout/7`.
        name: String,
        /// The revision that was seen.
        expected: u64,
        /// The new bytes.
        value: Vec<u8>,
    },
    /// Sets several settings, if the revision of each is what the caller saw; else none of them.
    SetSettings {
        /// Each with the revision that was seen (0: it does not exist) and the new bytes.
        settings: Vec<(String, u64, Vec<u8>)>,
    },
    /// Starts a new meta generation (a server start, a change of log drives). The generation must rise.
    StartGeneration {
        /// The new generation.
        generation: u64,
    },
    /// Forgets kept outcomes older than a day and leases that expired a day ago.
    Expire,
}

/// What a delete did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deleted {
    /// The version that is gone, or the delete marker that was made; `None`: there was nothing.
    pub version: Option<VersionId>,
    /// Whether clients know that version as `null`.
    pub null: bool,
    /// Whether `version` is a delete marker (made by, or removed by, this command).
    pub marker: bool,
}

/// What became of a command. A refusal changed nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Done; nothing to tell.
    Done,
    /// A version was committed, or an attribute of it was set.
    Committed {
        /// Its id.
        version: VersionId,
        /// Whether clients know it as `null`.
        null: bool,
        /// Whether the bucket ever had versioning on (then clients are told the id).
        versioned: bool,
    },
    /// A delete was carried out.
    Deleted(Deleted),
    /// A lease is held.
    Leased(LeaseRow),
    /// A setting was written.
    Setting {
        /// Its revision now.
        revision: u64,
    },
    /// What became of each object of a pack, in the order of the command.
    Items(Vec<ItemOutcome>),
    /// Not done, and why.
    Refused(Refusal),
}

/// What became of one object of a pack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ItemOutcome {
    /// As [`Outcome::Committed`].
    Committed {
        /// Its id.
        version: VersionId,
        /// Whether clients know it as `null`.
        null: bool,
        /// Whether the bucket ever had versioning on.
        versioned: bool,
    },
    /// Not done, and why.
    Refused(Refusal),
}

/// Why a command changed nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// No such bucket (or it was deleted meanwhile).
    NoSuchBucket,
    /// The name is taken, by a bucket of this owner.
    BucketExists {
        /// The owner.
        owner: String,
    },
    /// The bucket still holds something.
    BucketNotEmpty,
    /// `If-Match` on a key that does not exist, or an attribute of a version that does not exist.
    NoSuchKey,
    /// No such upload.
    NoSuchUpload,
    /// A listed part is missing or was replaced.
    InvalidPart {
        /// Its number.
        number: u16,
    },
    /// The parts are not in rising order, or there are none.
    InvalidPartOrder,
    /// A condition on the head does not hold, or an access key is not what was seen.
    PreconditionFailed,
    /// A copied blob is gone.
    NoSuchBlob,
    /// The blob was placed at an epoch whose writers are fenced; place it anew.
    StaleEpoch {
        /// The oldest epoch that may still be written.
        oldest: u32,
    },
    /// Somebody else holds the lease.
    LeaseHeld(LeaseRow),
    /// The setting has another revision.
    SettingChanged {
        /// Its revision.
        revision: u64,
    },
    /// The generation does not rise.
    StaleGeneration {
        /// The current one.
        current: u64,
    },
    /// The command contradicts itself (a bug of the caller); it says what.
    Invalid(&'static str),
}
