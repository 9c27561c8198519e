//! What operators can ask of a running node: one trait, plain types, whatever carries them.
//!
//! `admin` carries it over HTTP today; a remote protocol can carry it later. The types are the JSON that operators' scripts
//! read, so fields are added and never renamed. Every list is bounded by what it lists.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

/// A boxed answer.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, ControlError>> + Send + 'a>>;

/// A node under control.
pub trait Control: Send + Sync {
    /// Everything worth knowing.
    fn status(&self) -> Reply<'_, Status>;
    /// Asks for a scrub that begins after now (behind a running one); answers with the number of its pass.
    fn scrub(&self) -> Reply<'_, Pass>;
    /// What became of a pass.
    fn pass(&self, pass: u64) -> Reply<'_, PassReport>;
    /// Makes a new master key, or seals the ring under another protector, and rewraps what hangs on it.
    fn rotate_keys(&self, rotation: Rotation) -> Reply<'_, Rotated>;
    /// The key ring sealed by a passphrase: the bytes of a backup.
    fn back_up_keys(&self, passphrase: String) -> Reply<'_, KeyBackup>;
    /// Takes a snapshot of the metadata for a backup.
    fn back_up_meta(&self) -> Reply<'_, MetaBackup>;
    /// Some bytes of that snapshot; asked for until all are there.
    fn read_meta_backup(&self, wanted: MetaBackupPart) -> Reply<'_, MetaBackupBytes>;
    /// Makes an access key. Its secret is told now and never again.
    fn create_access_key(&self, wanted: NewAccessKey) -> Reply<'_, CreatedAccessKey>;
    /// All access keys, without their secrets.
    fn access_keys(&self) -> Reply<'_, Vec<AccessKeyInfo>>;
    /// Takes an access key away, from the next request on.
    fn revoke_access_key(&self, id: String) -> Reply<'_, ()>;
    /// What a change of the layout would do; does it if the wish says so.
    fn change_layout(&self, wish: LayoutWish) -> Reply<'_, LayoutPlan>;
    /// Gives a bucket another code and writes what it holds anew; without a code, tells how far that is.
    fn recode(&self, wish: RecodeWish) -> Reply<'_, Recoding>;
    /// Makes a token that lets nodes join the cluster.
    fn make_join_token(&self, wish: TokenWish) -> Reply<'_, MadeToken>;
    /// Takes a node without drives out of the cluster.
    fn remove_node(&self, node: String) -> Reply<'_, ()>;
    /// Has this node neither hear nor reach these nodes until it is told otherwise, or restarts: for trying out what a broken
    /// network does. An empty list heals it.
    fn cut_off(&self, nodes: Vec<String>) -> Reply<'_, ()>;
    /// Pauses, slows down or wakes a background worker.
    fn set_worker(&self, wish: WorkerWish) -> Reply<'_, WorkerStatus>;
}

/// A token that an operator wants.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TokenWish {
    /// How long it lets nodes in.
    pub hours: u32,
}

/// A token. Whoever has it can join until it expires.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeToken {
    /// The text for `--join`.
    pub token: String,
    /// Until when, ms since 1970.
    pub expires_ms: u64,
}

impl fmt::Debug for MadeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MadeToken").field("expires_ms", &self.expires_ms).finish_non_exhaustive()
    }
}

/// A change of the layout that an operator wants.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LayoutWish {
    /// All at once, in this order.
    pub changes: Vec<WishedChange>,
    /// Makes it so; otherwise it is only planned.
    pub apply: bool,
    /// Also if it survives less than now, or may not fit.
    pub force: bool,
    /// The epoch that was planned on; another one refuses the change.
    pub epoch: Option<u32>,
}

/// One change. Drives are named by slot, id or directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum WishedChange {
    /// An empty directory becomes a drive.
    Add {
        /// Its absolute path.
        dir: String,
    },
    /// A drive is emptied and leaves.
    Drain {
        /// Which.
        drive: String,
    },
    /// A drive that is being drained stays.
    Restore {
        /// Which.
        drive: String,
    },
    /// An empty directory takes over the place of a drive.
    Replace {
        /// Which drive.
        drive: String,
        /// The directory's absolute path.
        dir: String,
    },
    /// A drive's share.
    Weight {
        /// Which.
        drive: String,
        /// GiB.
        gib: u32,
    },
    /// The code of new data in buckets that name none.
    Code {
        /// `K+M`.
        code: String,
    },
}

/// What a change does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LayoutPlan {
    /// The epoch that it starts from.
    pub epoch: u32,
    /// Whether it was made so.
    pub applied: bool,
    /// The drives that take data or give it up, by slot.
    pub drives: Vec<PlannedDrive>,
    /// Bytes that move, as far as can be told now.
    pub bytes: u64,
    /// How long that takes at the pace of the rebalancing.
    pub seconds: Option<u64>,
    /// The code before and after.
    pub code: (String, String),
    /// What may be lost at once before and after, with everything still readable.
    pub survives: (Survived, Survived),
    /// What an operator should know before.
    pub warnings: Vec<String>,
}

/// What may be lost at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Survived {
    /// Drives, everything staying readable.
    pub drives: u16,
    /// Hosts.
    pub hosts: u16,
    /// Racks.
    pub racks: u16,
    /// Sites.
    pub sites: u16,
    /// Drives, writes still being acknowledged.
    pub writing_drives: u16,
}

/// One drive of a plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlannedDrive {
    /// Its slot.
    pub slot: u16,
    /// Its directory.
    pub dir: String,
    /// `stays`, `new`, `drains` or `leaves`.
    pub what: String,
    /// Shards of all partitions that it holds before and after.
    pub partitions: (u64, u64),
    /// Bytes that leave it.
    pub bytes_out: u64,
    /// Bytes that come to it.
    pub bytes_in: u64,
    /// Bytes that it can take; `None`: it is not here.
    pub available_bytes: Option<u64>,
}

/// What an operator wants a bucket's code to be.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RecodeWish {
    /// The bucket.
    pub bucket: String,
    /// `K+M`; `None`: only asks.
    pub code: Option<String>,
    /// Also if it survives less than now.
    pub force: bool,
}

/// How far a recoding is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recoding {
    /// The bucket.
    pub bucket: String,
    /// Its code.
    pub code: String,
    /// Whether everything in it lies under that code, as far as the last pass could do it.
    pub done: bool,
    /// Drives that may be lost at once with data of that code still readable.
    pub survives_drives: u16,
}

/// What an operator wants of a background worker.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct WorkerWish {
    /// Which.
    pub name: String,
    /// Pauses or goes on.
    pub paused: Option<bool>,
    /// Bytes a second that it may read and write, 0 for no limit.
    pub bytes_per_second: Option<u64>,
    /// Begins a pass now.
    pub run: bool,
}

/// An access key to be made.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct NewAccessKey {
    /// For people.
    pub description: String,
    /// What it may do: `RIGHTS:BUCKET[/PREFIX]` each.
    pub grants: Vec<String>,
}

/// An access key that was made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedAccessKey {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// What it may do.
    pub grants: Vec<String>,
}

impl fmt::Debug for CreatedAccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, secret: _, grants } = self;
        f.debug_struct("CreatedAccessKey").field("id", id).field("grants", grants).finish_non_exhaustive()
    }
}

/// An access key as it is shown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccessKeyInfo {
    /// Its id.
    pub id: String,
    /// For people.
    pub description: String,
    /// When it was made, ms since 1970.
    pub created_ms: u64,
    /// Whether it may do everything.
    pub root: bool,
    /// What it may do otherwise.
    pub grants: Vec<String>,
}

/// Why a node did not do what an operator asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ControlError {
    /// The request cannot be carried out as it is.
    Refused {
        /// Why.
        why: String,
    },
    /// It was tried and failed; asking again is safe.
    Failed {
        /// Why.
        why: String,
    },
    /// Nobody answers, or not in our language (made by the caller's side).
    Unreachable {
        /// Why.
        why: String,
    },
    /// The node wants to know who asks (made by the caller's side).
    Unauthorized {
        /// Why.
        why: String,
    },
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { why }
            | Self::Failed { why }
            | Self::Unreachable { why }
            | Self::Unauthorized { why } => f.write_str(why),
        }
    }
}

impl std::error::Error for ControlError {}

/// The number of a scrub pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pass {
    /// Counts up from 1 since the server started.
    pub pass: u64,
}

/// What became of a pass.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PassReport {
    /// Which one.
    pub pass: u64,
    /// Whether it is over.
    pub finished: bool,
    /// What was looked at so far, in the worker's unit.
    pub done: u64,
    /// How much there is, if known.
    pub total: Option<u64>,
    /// What it found, in words, when it is over.
    pub report: Option<String>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// How keys are rotated.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Rotation {
    /// Makes a new generation (otherwise only the protector changes).
    pub new_key: bool,
    /// The new protector; `None`: the present one stays.
    pub protector: Option<NewProtector>,
}

/// What shall protect the ring from now on.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NewProtector {
    /// Nothing but the file's mode.
    None,
    /// This passphrase.
    Passphrase(String),
    /// The bytes of a key file, in hex.
    KeyFile(String),
}

impl fmt::Debug for NewProtector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Passphrase(_) => "Passphrase(..)",
            Self::KeyFile(_) => "KeyFile(..)",
        })
    }
}

/// What a rotation did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rotated {
    /// The generation that seals now.
    pub generation: u32,
    /// What protects the ring now.
    pub protector: String,
    /// Bucket keys that were wrapped anew.
    pub bucket_keys: u64,
    /// Access keys whose secrets were sealed anew.
    pub access_keys: u64,
    /// Drives that have the new ring.
    pub copies: u64,
}

/// A sealed key ring.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyBackup {
    /// The bytes of the file, in hex.
    pub hex: String,
}

/// A snapshot of the metadata that can be fetched, part by part.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MetaBackup {
    /// The cluster's id, in hex.
    pub cluster: String,
    /// The meta generation that wrote it.
    pub generation: u64,
    /// The last request that it shows.
    pub seq: u64,
    /// Rows in it.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Their BLAKE3, in hex.
    pub hash: String,
}

/// Which bytes of a snapshot are wanted: some from there on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MetaBackupPart {
    /// The snapshot's last request.
    pub seq: u64,
    /// Where to begin.
    pub offset: u64,
}

/// Some bytes of a snapshot, at least one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MetaBackupBytes {
    /// The bytes, in hex.
    pub hex: String,
}

/// Everything worth knowing of a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// The cluster's id.
    pub cluster: String,
    /// The node's id.
    pub node: String,
    /// Where S3 is served.
    pub endpoint: String,
    /// The region that signatures name.
    pub region: String,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// Whether requests are served.
    pub ready: bool,
    /// Whether every stripe has all its shards on drives that are here.
    pub whole: bool,
    /// Why not, in words.
    pub not_whole_because: Vec<String>,
    /// What an acknowledged write survives.
    pub durability: String,
    /// Where data goes.
    pub layout: LayoutStatus,
    /// What may be lost now, in a sentence.
    pub survives: String,
    /// More drives that may go with everything still readable.
    pub survives_drives: u16,
    /// The nodes of the cluster; none for a server on its own.
    #[serde(default)]
    pub nodes: Vec<NodeStatus>,
    /// The drives of the layout.
    pub drives: Vec<DriveStatus>,
    /// Stripes that are not whole.
    pub stripes: StripeStatus,
    /// The metadata.
    pub metadata: MetadataStatus,
    /// The master key.
    pub keys: KeyStatus,
    /// Background work.
    pub workers: Vec<WorkerStatus>,
    /// What the start and later work found and put right.
    pub notes: Vec<String>,
}

/// Where data goes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LayoutStatus {
    /// The layout epoch.
    pub epoch: u32,
    /// The code of new data, K+M.
    pub code: String,
    /// Shards that an acknowledged write has at least.
    pub write_quorum: u8,
    /// Partitions.
    pub partitions: u32,
}

/// A node of the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its id, short.
    pub node: String,
    /// Its public key, which is its whole id, in hexadecimal.
    pub key: String,
    /// Whether it is the one that tells this.
    pub is_this: bool,
    /// Whether it keeps the metadata for the others.
    pub keeps_metadata: bool,
    /// Whether it does what only one node may do.
    #[serde(default)]
    pub is_steward: bool,
    /// `up` or `down`.
    pub state: String,
    /// Why it is down, as far as that is known.
    pub reason: Option<String>,
    /// Where other nodes reach it.
    pub addresses: Vec<String>,
    /// Where it stands: `level=name` each.
    pub labels: Vec<String>,
    /// Its version.
    pub version: String,
    /// Where it serves S3.
    pub endpoint: String,
    /// Smoothed round-trip time to it, in microseconds; 0: not measured.
    pub rtt_us: u64,
    /// Its drives in the layout.
    pub drives: u64,
}

/// One drive of the layout.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DriveStatus {
    /// Its place in the layout.
    pub slot: u16,
    /// Its id.
    pub drive: String,
    /// The node that it hangs on.
    #[serde(default)]
    pub node: String,
    /// Its directory, as it was named.
    pub dir: String,
    /// The engine that writes it, `uring` or `threads`; empty while it is not mounted.
    #[serde(default)]
    pub engine: String,
    /// `ok`, `draining`, `read-only`, `failed`, `silent`, `full` or `missing`.
    pub state: String,
    /// Why it is not `ok`.
    pub reason: Option<String>,
    /// The drive that it replaced at this start, if it did.
    pub replaced: Option<String>,
    /// Bytes of the file system.
    pub capacity_bytes: u64,
    /// Bytes that it can still take.
    pub available_bytes: u64,
    /// Bytes of shards with their headers.
    pub live_bytes: u64,
    /// Bytes that compaction can give back.
    pub garbage_bytes: u64,
    /// Shards.
    pub shards: u64,
    /// Since the start: damaged records at opening and compaction, shards found corrupt, failed reads and writes.
    pub errors: u64,
}

/// Stripes that are not whole.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StripeStatus {
    /// How many are known; `more` says if that is only the first page.
    pub not_whole: u64,
    /// Whether there are more.
    pub more: bool,
    /// How many stripes miss how many shards: (missing, stripes).
    pub by_missing: Vec<(u8, u64)>,
    /// Shards that lie on another drive than the layout says.
    pub stand_ins: u64,
    /// The most of one stripe.
    pub most_stand_ins: u8,
}

/// The metadata.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MetadataStatus {
    /// The engine.
    pub engine: String,
    /// The meta generation.
    pub generation: u64,
    /// Requests applied since the cluster was made.
    pub applied: u64,
    /// The request that the newest snapshot ends with.
    pub snapshot: u64,
    /// Bytes of log that a recovery would replay.
    pub log_bytes: u64,
    /// The drives that the log is kept on; none where it lies in a database.
    pub log_drives: Vec<LogDrive>,
    /// Where it lies in a database: what an operator should know of that.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A drive of the metadata log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogDrive {
    /// Where.
    pub name: String,
    /// Whether acknowledged commands are on it.
    pub ok: bool,
    /// What went wrong with it last.
    pub last_error: Option<String>,
}

/// The master key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyStatus {
    /// `none`, `passphrase` or `key file`.
    pub protector: String,
    /// The generation that seals.
    pub generation: u32,
    /// Drives with a copy.
    pub copies: u64,
    /// What to know about it, in a sentence.
    pub text: String,
}

/// One background worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its name.
    pub name: String,
    /// What it does, in a few words.
    pub about: String,
    /// `waiting`, `running`, `paused`, `off` or `stopped`.
    pub state: String,
    /// Passes that ended well since the start.
    pub passes: u64,
    /// What the running pass has looked at.
    pub done: u64,
    /// How much there is, if known.
    pub total: Option<u64>,
    /// The same a second, while a pass runs.
    pub per_second: Option<u64>,
    /// Seconds that the running pass will take at that rate.
    pub left_seconds: Option<u64>,
    /// Bytes a second that it may read and write; `None`: as fast as it goes.
    pub limit_bytes_per_second: Option<u64>,
    /// Seconds until the next pass, while waiting for it.
    pub next_seconds: Option<u64>,
    /// What the last pass did, in words.
    pub last_report: Option<String>,
    /// Why the last pass failed, if it did.
    pub last_error: Option<String>,
}
