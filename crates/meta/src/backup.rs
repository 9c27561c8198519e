//! Backups of the metadata: a snapshot as one file of its own, and the way back from it. Also: what the drives of a stopped
//! server know, without an engine being opened.
//!
//! Owns the head of a backup file. The snapshot behind it is byte for byte the file that lies on the log drives, so it is
//! sealed under the cluster's meta key, and no key is in it.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `PANGMBK1` |
//! | 8 | 2 | format version, 1 |
//! | 10 | 6 | zero |
//! | 16 | 16 | cluster id |
//! | 32 | 8 | meta generation that wrote the snapshot |
//! | 40 | 8 | sequence of the last request that it shows |
//! | 48 | 8 | when it was made, ms since 1970 |
//! | 56 | 8 | bytes of the snapshot |
//! | 64 | 32 | BLAKE3 of the snapshot |
//! | 96 | 32 | BLAKE3 of bytes 0..96 |
//! | 128 | 384 | zero |
//! | 512 | … | the snapshot |

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use pangea_core::codec::{Put, Reader};
use pangea_core::id::ClusterId;
use pangea_core::seam::{Disk, DiskFile, Entropy, random};

use crate::error::MetaError;
use crate::log::inventory::{FoundSnapshot, Inventory};
use crate::log::walk::{self, WalkError, create};
use crate::log::writer::LogDrive;
use crate::log::{TEMPORARY, log_name, snapshot_name};
use crate::sealed::{BadHeader, HEADER_BYTES, Header, Kind, LogKeys, Position};
use crate::snapshot;
use crate::sqlite::{Found, SqliteTables, ViewPlace};

/// Where the snapshot begins.
pub const HEAD_BYTES: usize = 512;
const MAGIC: &[u8; 8] = b"PANGMBK1";
const FORMAT_VERSION: u16 = 1;
/// What of the head has something in it.
const HASHED_BYTES: usize = 96;

/// What a backup says of itself, in the clear.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackupHead {
    /// Whose metadata it is.
    pub cluster: ClusterId,
    /// The meta generation that wrote the snapshot.
    pub generation: u64,
    /// The last request that it shows.
    pub seq: u64,
    /// When it was made: ms since 1970.
    pub created_ms: u64,
    /// Bytes of the snapshot.
    pub bytes: u64,
    /// BLAKE3 of the snapshot.
    pub hash: [u8; 32],
}

/// Why bytes are no backup's head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadHead {
    /// Another kind of file.
    Foreign,
    /// Its hash does not fit.
    Broken,
    /// Of a newer format.
    Newer(u16),
}

impl BackupHead {
    /// The head's bytes.
    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut out = Vec::with_capacity(HEAD_BYTES);
        out.put_raw(MAGIC);
        out.put_u16(FORMAT_VERSION);
        out.put_raw(&[0; 6]);
        out.put_raw(&self.cluster.0);
        [self.generation, self.seq, self.created_ms, self.bytes].into_iter().for_each(|n| out.put_u64(n));
        out.put_raw(&self.hash);
        let hash = blake3::hash(&out);
        out.put_raw(hash.as_bytes());
        let mut head = [0; HEAD_BYTES];
        head[..out.len()].copy_from_slice(&out);
        head
    }

    /// Reads a head.
    pub fn decode(bytes: &[u8; HEAD_BYTES]) -> Result<Self, BadHead> {
        let mut r = Reader::new(bytes, "metadata backup");
        let broken = |_| BadHead::Broken;
        if r.take(8).map_err(broken)? != MAGIC {
            return Err(BadHead::Foreign);
        }
        let version = r.u16().map_err(broken)?;
        let hash = blake3::hash(&bytes[..HASHED_BYTES]);
        if hash.as_bytes() != &bytes[HASHED_BYTES..HASHED_BYTES + 32] {
            return Err(BadHead::Broken);
        }
        if version != FORMAT_VERSION {
            return Err(BadHead::Newer(version));
        }
        r.take(6).map_err(broken)?;
        Ok(Self {
            cluster: ClusterId(r.array().map_err(broken)?),
            generation: r.u64().map_err(broken)?,
            seq: r.u64().map_err(broken)?,
            created_ms: r.u64().map_err(broken)?,
            bytes: r.u64().map_err(broken)?,
            hash: r.array().map_err(broken)?,
        })
    }
}

/// The name, below a drive, of the snapshot that ends with this request.
pub fn snapshot_file(seq: u64) -> String {
    snapshot_name(seq)
}

/// A snapshot that was read to its end: every frame opened, in order, and all rows there.
pub struct CheckedSnapshot {
    file: Box<dyn DiskFile>,
    header: Header,
    /// Rows in it.
    pub rows: u64,
}

impl CheckedSnapshot {
    /// Reads and checks all of a snapshot; `name` is for people.
    pub fn read(
        file: Box<dyn DiskFile>,
        name: &str,
        cluster: ClusterId,
        keys: &LogKeys,
    ) -> Result<Self, MetaError> {
        let io = |source| MetaError::Io { doing: "reading a metadata snapshot", source };
        let damaged = |seq, what| MetaError::Damaged { file: name.to_owned(), seq, what };
        let size = file.size().map_err(io)?;
        if size < HEADER_BYTES as u64 {
            return Err(damaged(0, "it is too short for a snapshot"));
        }
        let mut bytes = [0; HEADER_BYTES];
        file.read_at(&mut bytes, 0).map_err(io)?;
        let decoded = Header::decode(&bytes, Kind::Snapshot, cluster, keys);
        let (header, sealer) = decoded.map_err(|bad: BadHeader| {
            bad.fatal(name).unwrap_or_else(|| damaged(0, "its header is broken, or it is no snapshot"))
        })?;
        let found = FoundSnapshot { header, sealer, copies: vec![(0, file)] };
        let read = snapshot::read(&found, |_| Ok(()));
        let (rows, end) = read.map_err(|error| match error {
            MetaError::Damaged { seq, .. } => damaged(seq, "a frame is missing or broken"),
            other => other,
        })?;
        if end != size {
            return Err(damaged(found.header.seq, "something lies behind its end"));
        }
        let FoundSnapshot { header, mut copies, .. } = found;
        let file = copies.pop().map(|(_, file)| file).ok_or_else(|| damaged(header.seq, "it is gone"))?;
        Ok(Self { file, header, rows })
    }

    /// The last request that it shows.
    pub fn seq(&self) -> u64 {
        self.header.seq
    }

    /// The meta generation that wrote it.
    pub fn generation(&self) -> u64 {
        self.header.generation
    }

    /// Makes it all the metadata that `drives` have; their metadata directories must be empty. Behind it begins the log of
    /// `generation`, which must be above all that any drive knows, so that nothing from before counts any more.
    pub fn install(
        &self,
        drives: &[Arc<dyn Disk>],
        keys: &LogKeys,
        generation: u64,
        entropy: &dyn Entropy,
    ) -> Result<(), MetaError> {
        let io = |source| MetaError::Io { doing: "writing a metadata snapshot", source };
        for drive in drives {
            snapshot::copy(&*self.file, &snapshot_name(self.seq()), &**drive).map_err(io)?;
        }
        let end = Position { seq: self.header.seq, chain: self.header.chain };
        begin_log(drives, self.header.cluster, keys, generation, end, entropy)
    }
}

/// What drives know of the metadata, by looking only.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Survey {
    /// The newest meta generation that left a trace in log or snapshots.
    pub generation: u64,
    /// The last request of the log; 0 without one.
    pub log_seq: u64,
    /// The last request of the newest snapshot; 0 without one.
    pub snapshot_seq: u64,
}

impl Survey {
    /// The last request that anything shows.
    pub fn seq(&self) -> u64 {
        self.log_seq.max(self.snapshot_seq)
    }
}

/// Looks at logs and snapshots; nothing is changed.
pub fn survey(drives: &[Arc<dyn Disk>], cluster: ClusterId, keys: &LogKeys) -> Result<Survey, MetaError> {
    let (inventory, _) = take(drives, cluster, keys)?;
    Ok(Survey {
        generation: inventory.newest_generation(),
        log_seq: walk::end_of(&inventory).map_or(0, |end| end.seq),
        snapshot_seq: inventory.snapshots.last_key_value().map_or(0, |(seq, _)| *seq),
    })
}

/// The last request that a view shows; `None` if it cannot be read or is another cluster's.
pub fn view_seq(path: &Path, cluster: ClusterId) -> Option<u64> {
    match SqliteTables::find(&ViewPlace::Path(path.to_owned()), cluster) {
        Ok(Found::Usable(_, mark)) => Some(mark.position.seq),
        Ok(Found::Rebuild(_)) | Err(_) => None,
    }
}

/// Lets the log go on in `generation` although a newer one than the log's is known: what that one held is given up.
pub fn give_up_to(
    drives: &[Arc<dyn Disk>],
    cluster: ClusterId,
    keys: &LogKeys,
    generation: u64,
    entropy: &dyn Entropy,
) -> Result<(), MetaError> {
    let (inventory, live) = take(drives, cluster, keys)?;
    let newest = inventory.snapshots.values().next_back();
    let start = newest.map(|found| Position { seq: found.header.seq, chain: found.header.chain });
    let end = match walk::walk(&inventory, start.unwrap_or_default(), |_, _, _| Ok(())) {
        Ok(walked) => walked.end,
        // A snapshot whose log is gone: it is all there is.
        Err(WalkError::Gap(MetaError::Gap { next_seq: None, .. })) => start.unwrap_or_default(),
        Err(WalkError::Gap(error) | WalkError::Failed(error)) => return Err(error),
        Err(WalkError::Behind(end)) => end,
        Err(WalkError::NotOurs) => {
            let what = "it is not a point of the log's history";
            let seq = start.unwrap_or_default().seq;
            return Err(MetaError::Damaged { file: snapshot_name(seq), seq, what });
        }
    };
    begin_log(&live, cluster, keys, generation, end, entropy)
}

type Live = Vec<Arc<dyn Disk>>;

fn take(
    drives: &[Arc<dyn Disk>],
    cluster: ClusterId,
    keys: &LogKeys,
) -> Result<(Inventory, Live), MetaError> {
    let mut looked: Vec<LogDrive> = drives.iter().map(|disk| LogDrive::new(disk.clone())).collect();
    let inventory = Inventory::take(&mut looked, cluster, keys)?;
    let live = looked.into_iter().filter(|drive| drive.live).map(|drive| drive.disk).collect();
    Ok((inventory, live))
}

/// Begins the log of a generation on every drive, with nothing in it yet.
fn begin_log(
    drives: &[Arc<dyn Disk>],
    cluster: ClusterId,
    keys: &LogKeys,
    generation: u64,
    end: Position,
    entropy: &dyn Entropy,
) -> Result<(), MetaError> {
    let header = Header {
        kind: Kind::Log,
        key_generation: keys.current.generation,
        cluster,
        generation,
        number: 0,
        seq: end.seq + 1,
        chain: end.chain,
        salt: random(entropy),
    };
    let (bytes, _) = header.encode(keys);
    let name = log_name(generation, 0);
    let temporary = format!("{name}{TEMPORARY}");
    let write = |drive: &dyn Disk| -> io::Result<()> {
        let file = create(drive, &temporary, HEADER_BYTES as u64)?;
        file.write_at(&[IoSlice::new(&bytes)], 0)?;
        file.sync()?;
        drive.rename(&temporary, &name)?;
        drive.sync_dir()
    };
    let failed = |source| MetaError::Io { doing: "beginning the metadata log", source };
    drives.iter().try_for_each(|drive| write(&**drive)).map_err(failed)
}
