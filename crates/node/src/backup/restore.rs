//! Bringing metadata back onto the drives of a stopped server.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pangea_core::seam::{Clock as _, Disk};
use pangea_meta::backup::{BackupHead, BadHead, CheckedSnapshot, HEAD_BYTES, Survey, survey};
use pangea_meta::{EmbeddedMeta, MetaError};

use super::{BackupError, Inside};
use crate::assemble::{log_keys, meta_options};
use crate::clock::SystemClock;
use crate::config::Unseal;
use crate::drives::{Directory, Found, META_DIRECTORY, has_meta, look, make_damaged};
use crate::entropy::SystemEntropy;
use crate::error::StartError;
use crate::ground::KEY_COPIES_MIN;
use crate::keyfile::{Ring, Unlock, read_copies};
use crate::recover::{Depth, Report, finish, known_generation, log_drives};

/// Bytes that are hashed at a time.
const HASH_BYTES: usize = 1 << 20;
/// What a snapshot that was taken from a drive begins with.
const SNAPSHOT_MAGIC: &[u8; 8] = b"PANGSNP1";

/// What to bring back, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// The backup, or a snapshot as it lies on a drive.
    pub file: PathBuf,
    /// All directories of the stopped server.
    pub directories: Vec<PathBuf>,
    /// What unseals the master key.
    pub unseal: Unseal,
    /// Also if the drives know more than the backup.
    pub force: bool,
    /// How to compare afterwards.
    pub depth: Depth,
}

/// What was brought back.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Restored {
    /// The last request of the backup.
    pub seq: u64,
    /// The generation that wrote it.
    pub generation: u64,
    /// Requests that the drives had behind it, as far as they could be read.
    pub requests_given_up: u64,
    /// Drives that have it.
    pub copies: usize,
    /// Where the files went that were there before.
    pub moved: Vec<PathBuf>,
    /// The comparison with the drives.
    pub report: Report,
}

/// Brings metadata back; the module above says in which order.
pub fn restore(wanted: &Wanted, progress: &mut dyn FnMut(u64)) -> Result<Restored, BackupError> {
    let (inside, head) = open(&wanted.file)?;
    let unlock = Unlock::read(&wanted.unseal).map_err(StartError::Key)?;
    let directories = look(&wanted.directories).map_err(StartError::Drive)?;
    for directory in &directories {
        // Also says why, if it is not there or cannot be used.
        directory.disk().map_err(StartError::Drive)?;
    }
    let paths: Vec<PathBuf> = directories.iter().map(|directory| directory.path.clone()).collect();
    let ring = read_copies(&paths, &unlock).map_err(StartError::Key)?.ring;
    let snapshot = check(inside, &wanted.file, head.as_ref(), &ring)?;
    let known = newest(&directories, &ring);
    let is_newer = (known.survey.seq(), known.generation) > (snapshot.seq(), snapshot.generation())
        || known.generation > snapshot.generation();
    if (is_newer || known.unreadable) && !wanted.force {
        return Err(BackupError::Older {
            backup: (snapshot.seq(), snapshot.generation()),
            drives: (known.survey.seq(), known.generation),
        });
    }
    let targets = targets(&directories);
    if targets.is_empty() {
        let why = "none of the directories is a drive that can hold the metadata".to_owned();
        return Err(StartError::Meta(MetaError::Unavailable { why }).into());
    }
    let moved = move_aside(&directories)?;
    let meta = install(&snapshot, &directories, &targets, &ring, &known)?;
    let to = Survey { generation: snapshot.generation(), log_seq: 0, snapshot_seq: snapshot.seq() };
    let report = finish(&meta, &directories, &ring, &wanted.depth, Some(to), progress);
    meta.close();
    Ok(Restored {
        seq: snapshot.seq(),
        generation: snapshot.generation(),
        requests_given_up: known.survey.seq().saturating_sub(snapshot.seq()),
        copies: targets.len(),
        moved,
        report: report?,
    })
}

/// Opens a backup and checks its bytes against its own head; a bare snapshot has none.
fn open(path: &Path) -> Result<(Inside, Option<BackupHead>), BackupError> {
    let failed = |source| BackupError::Io { doing: "read", path: path.to_owned(), source };
    let damaged = |what: &str| BackupError::Damaged { path: path.to_owned(), what: what.to_owned() };
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    if size < HEAD_BYTES as u64 {
        return Err(damaged("it is too short for a backup of the metadata"));
    }
    let mut bytes = [0; HEAD_BYTES];
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    if bytes.starts_with(SNAPSHOT_MAGIC) {
        return Ok((Inside { file, from: 0, bytes: size }, None));
    }
    let head = BackupHead::decode(&bytes).map_err(|bad| match bad {
        BadHead::Foreign => damaged("it is no backup of the metadata"),
        BadHead::Broken => damaged("its head is damaged"),
        BadHead::Newer(version) => BackupError::Newer { path: path.to_owned(), version },
    })?;
    if size - HEAD_BYTES as u64 != head.bytes {
        let (has, wanted) = (size - HEAD_BYTES as u64, head.bytes);
        return Err(damaged(&format!(
            "it holds {has} bytes of {wanted}: it was cut, or something was added"
        )));
    }
    let mut reader = io::BufReader::with_capacity(HASH_BYTES, &file);
    io::Seek::seek(&mut reader, io::SeekFrom::Start(HEAD_BYTES as u64)).map_err(failed)?;
    let (mut hasher, mut block) = (blake3::Hasher::new(), vec![0; HASH_BYTES]);
    loop {
        let len = reader.read(&mut block).map_err(failed)?;
        if len == 0 {
            break;
        }
        hasher.update(&block[..len]);
    }
    if hasher.finalize() != blake3::Hash::from_bytes(head.hash) {
        return Err(damaged("its checksum does not fit"));
    }
    Ok((Inside { file, from: HEAD_BYTES as u64, bytes: head.bytes }, Some(head)))
}

/// Opens every frame of the snapshot, and compares it with the head.
fn check(
    inside: Inside,
    path: &Path,
    head: Option<&BackupHead>,
    ring: &Ring,
) -> Result<CheckedSnapshot, BackupError> {
    let other = |found: pangea_core::id::ClusterId| BackupError::OtherCluster {
        path: path.to_owned(),
        found: found.to_string(),
        expected: ring.cluster.to_string(),
    };
    if let Some(head) = head.filter(|head| head.cluster != ring.cluster) {
        return Err(other(head.cluster));
    }
    let name = path.display().to_string();
    let read = CheckedSnapshot::read(Box::new(inside), &name, ring.cluster, &log_keys(ring));
    let damaged = |what: String| BackupError::Damaged { path: path.to_owned(), what };
    let snapshot = read.map_err(|error| match error {
        MetaError::OtherCluster { found, .. } => other(found),
        MetaError::NewerFormat { version, .. } => BackupError::Newer { path: path.to_owned(), version },
        MetaError::WrongKey { .. } => damaged("the master key of these drives does not open it".to_owned()),
        error => damaged(error.to_string()),
    })?;
    let says = head.map_or((snapshot.seq(), snapshot.generation()), |head| (head.seq, head.generation));
    if says != (snapshot.seq(), snapshot.generation()) {
        return Err(damaged("its head and its snapshot contradict each other".to_owned()));
    }
    Ok(snapshot)
}

/// What the drives know.
struct Known {
    survey: Survey,
    /// The newest generation, superblocks included.
    generation: u64,
    /// Whether there is metadata that could not be looked into.
    unreadable: bool,
}

fn newest(directories: &[Directory], ring: &Ring) -> Known {
    let disks: Vec<Arc<dyn Disk>> = log_drives(directories).into_iter().map(|(_, disk)| disk).collect();
    let survey = survey(&disks, ring.cluster, &log_keys(ring));
    let unreadable = survey.is_err();
    let survey = survey.unwrap_or_default();
    Known { generation: survey.generation.max(known_generation(directories)), survey, unreadable }
}

/// The directories that the metadata goes to: those that had it, and so many that the next start has enough.
fn targets(directories: &[Directory]) -> Vec<usize> {
    let is_drive = |directory: &Directory| matches!(directory.found, Found::Formatted(_));
    let all = 0..directories.len();
    let (had, others): (Vec<usize>, Vec<usize>) =
        all.filter(|at| is_drive(&directories[*at])).partition(|at| has_meta(&directories[*at].path));
    let missing = KEY_COPIES_MIN.saturating_sub(had.len());
    had.into_iter().chain(others.into_iter().take(missing)).collect()
}

/// Moves all metadata into `damaged-<unixtime>/meta` on the same drive.
fn move_aside(directories: &[Directory]) -> Result<Vec<PathBuf>, BackupError> {
    let mut moved = Vec::new();
    for directory in directories.iter().filter(|directory| has_meta(&directory.path)) {
        let from = directory.path.join(META_DIRECTORY);
        let failed = |source| BackupError::Io { doing: "move aside", path: from.clone(), source };
        let now_ms = SystemClock::new().wall_ms();
        let target = make_damaged(&directory.path, now_ms).map_err(StartError::Drive)?.join(META_DIRECTORY);
        fs::rename(&from, &target).map_err(failed)?;
        File::open(&directory.path).and_then(|directory| directory.sync_all()).map_err(failed)?;
        moved.push(target);
    }
    Ok(moved)
}

fn install(
    snapshot: &CheckedSnapshot,
    directories: &[Directory],
    targets: &[usize],
    ring: &Ring,
    known: &Known,
) -> Result<EmbeddedMeta, StartError> {
    let mut drives: Vec<(PathBuf, Arc<dyn Disk>)> = Vec::new();
    for at in targets {
        let directory = &directories[*at];
        let disk = directory.disk().map_err(StartError::Drive)?.clone();
        drives.push((directory.path.clone(), disk as Arc<dyn Disk>));
    }
    let disks: Vec<Arc<dyn Disk>> = drives.iter().map(|(_, disk)| disk.clone()).collect();
    let newest = known.generation.max(snapshot.generation());
    snapshot.install(&disks, &log_keys(ring), newest + 1, &SystemEntropy).map_err(StartError::Meta)?;
    EmbeddedMeta::open(meta_options(&drives, ring, newest)?).map_err(StartError::Meta)
}
