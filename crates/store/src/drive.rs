//! A drive's identity on the medium: initialise it, recognise it, refuse what is not ours, heal one bad copy.
//!
//! Owns the file `superblock`. Nothing here reads shards, except that [`probe`] looks into extents for the identity that
//! their records name when both copies are gone.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;

use pangea_core::seam::{Disk, DiskFile, WallMs};

use crate::extent::files::{extent_name, list_extents};
use crate::format::BLOCK_BYTES;
use crate::format::checkpoint::CHECKPOINT_NEW_FILE;
use crate::format::record::decode_head;
use crate::format::superblock::{
    COPY_OFFSETS, Copy, Identity, SUPERBLOCK_FILE, SUPERBLOCK_FILE_BYTES, Superblock,
};
use crate::port::{Fault, IoOp, StoreError};

/// The file that marks a directory as in use; made by `FileDisk`, means nothing to the format.
pub const LOCK_FILE: &str = "lock";
const SUPERBLOCK_NEW_FILE: &str = "superblock.new";
/// What the node and the metadata keep on a drive beside us: no obstacle to a new drive.
pub const NEIGHBOUR_FILES: [&str; 7] =
    ["keys", "keys.new", "keys.old", "admin.token", "admin.token.new", "node", "node.new"];
/// The same, below these directories; damaged files are moved aside into the last ones.
pub const NEIGHBOUR_PREFIXES: [&str; 2] = ["meta/", "damaged-"];
/// Foreign file names that an error shows.
const NAMES_SHOWN: usize = 3;
/// Blocks of each extent that are searched for a record that names the drive.
const PROBE_BLOCKS: u32 = 64;

/// What lies in a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Probe {
    /// Nothing: [`format`] may have it.
    Empty,
    /// One of ours, readable.
    Formatted(Superblock),
    /// One of ours without a readable superblock; `named` is whose drive its records say it is (see [`adopt`]).
    Damaged {
        /// The identity that a whole record names, if one was found.
        named: Option<Identity>,
    },
    /// Other people's files (the first few names): left alone.
    Foreign {
        /// Some of the names.
        names: Vec<String>,
    },
    /// Written by a later program.
    Newer {
        /// Its format version.
        version: u16,
    },
}

/// Why a drive could not be opened, initialised or adopted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// Nothing there yet: format it.
    NotFormatted,
    /// It has a superblock already: open it, or choose another directory.
    AlreadyFormatted(Identity),
    /// Other people's files are there.
    Foreign {
        /// Some of their names.
        names: Vec<String>,
    },
    /// Another drive than the expected one: a swapped cable, a wrong mount, an old copy.
    WrongDrive {
        /// Who should be here.
        expected: Identity,
        /// Who is.
        found: Identity,
    },
    /// Written by a later program: upgrade this one.
    Newer {
        /// Its format version.
        version: u16,
    },
    /// Both superblock copies are gone; `named` is what the records say. `adopt` rebuilds it, if that is who it should be.
    Damaged {
        /// The identity that a whole record names, if one was found.
        named: Option<Identity>,
    },
    /// Another process has this directory open.
    InUse {
        /// Which directory.
        path: String,
    },
    /// The directory is not there, or is not a directory.
    NotADirectory {
        /// Which path.
        path: String,
    },
    /// We may not read and write here: check owner and mode.
    Denied {
        /// Which directory.
        path: String,
    },
    /// The file system is mounted read-only.
    ReadOnly {
        /// Which directory.
        path: String,
    },
    /// The system said something else.
    Io(Fault),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = |i: &Identity| format!("drive {} (slot {}) of cluster {}", i.drive, i.slot, i.cluster);
        match self {
            Self::NotFormatted => write!(f, "the directory is empty: not a drive yet"),
            Self::AlreadyFormatted(identity) => write!(f, "this is already {}", who(identity)),
            Self::Foreign { names } => write!(f, "other files are here ({}): not a drive", names.join(", ")),
            Self::WrongDrive { expected, found } => {
                write!(f, "wrong drive: expected {}, found {}", who(expected), who(found))
            }
            Self::Newer { version } => write!(f, "format version {version} is newer than this program"),
            Self::Damaged { named: Some(named) } => {
                write!(f, "both superblock copies are damaged; the records say {}", who(named))
            }
            Self::Damaged { named: None } => {
                write!(f, "both superblock copies are damaged; no record is readable")
            }
            Self::InUse { path } => write!(f, "{path} is in use by another process"),
            Self::NotADirectory { path } => write!(f, "{path} is not a directory"),
            Self::Denied { path } => write!(f, "no permission to read and write in {path}"),
            Self::ReadOnly { path } => write!(f, "{path} is on a read-only file system"),
            Self::Io(fault) => write!(f, "i/o error: {fault}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl OpenError {
    /// The error that the system's answer to `op` means for people.
    pub(crate) fn new(op: IoOp, error: &io::Error, path: &str) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied { path },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path },
            io::ErrorKind::NotADirectory => Self::NotADirectory { path },
            io::ErrorKind::NotFound if op == IoOp::Lock => Self::NotADirectory { path },
            _ => Self::Io(Fault::new(op, error)),
        }
    }

    fn on(disk: &dyn Disk, op: IoOp) -> impl Fn(io::Error) -> Self + '_ {
        move |error| Self::new(op, &error, &disk.describe())
    }
}

/// Says what lies in a directory, changing nothing.
pub fn probe(disk: &dyn Disk) -> Result<Probe, OpenError> {
    let names = disk.list("").map_err(OpenError::on(disk, IoOp::List))?;
    let extents = list_extents(disk).map_err(OpenError::on(disk, IoOp::List))?;
    if names.iter().any(|name| name == SUPERBLOCK_FILE) {
        return match read_copies(disk)?.best() {
            Best::Good(superblock) => Ok(Probe::Formatted(superblock)),
            Best::Newer(version) => Ok(Probe::Newer { version }),
            Best::None => Ok(Probe::Damaged { named: identity_in_extents(disk, &extents) }),
        };
    }
    if !extents.is_empty() {
        return Ok(Probe::Damaged { named: identity_in_extents(disk, &extents) });
    }
    let ours = |name: &str| [LOCK_FILE, SUPERBLOCK_NEW_FILE, CHECKPOINT_NEW_FILE].contains(&name);
    let foreign = names.into_iter().filter(|name| !ours(name) && !is_neighbour(name));
    let foreign: Vec<String> = foreign.take(NAMES_SHOWN).collect();
    Ok(if foreign.is_empty() { Probe::Empty } else { Probe::Foreign { names: foreign } })
}

/// Whether a file, as the drive lists it, belongs to those that share the drive with us.
pub fn is_neighbour(name: &str) -> bool {
    let below = |prefix: &&str| name.starts_with(*prefix) && name.contains('/');
    NEIGHBOUR_FILES.contains(&name) || NEIGHBOUR_PREFIXES.iter().any(below)
}

/// Makes an empty directory a drive. A crash leaves it either empty or formatted.
pub fn format(disk: &dyn Disk, identity: Identity, created_ms: WallMs) -> Result<Superblock, OpenError> {
    match probe(disk)? {
        Probe::Empty => write_fresh(disk, identity, created_ms),
        Probe::Formatted(superblock) => Err(OpenError::AlreadyFormatted(superblock.identity)),
        Probe::Damaged { named } => Err(OpenError::Damaged { named }),
        Probe::Foreign { names } => Err(OpenError::Foreign { names }),
        Probe::Newer { version } => Err(OpenError::Newer { version }),
    }
}

/// Rebuilds the superblock of a [`Probe::Damaged`] drive whose records name `identity` (or name nobody any more).
///
/// Layout epoch and metadata generation start again from zero, which is the cautious side for both.
pub fn adopt(disk: &dyn Disk, identity: Identity, created_ms: WallMs) -> Result<Superblock, OpenError> {
    match probe(disk)? {
        Probe::Damaged { named: Some(found) } if found != identity => {
            Err(OpenError::WrongDrive { expected: identity, found })
        }
        Probe::Damaged { .. } => write_fresh(disk, identity, created_ms),
        Probe::Empty => Err(OpenError::NotFormatted),
        Probe::Formatted(superblock) => Err(OpenError::AlreadyFormatted(superblock.identity)),
        Probe::Foreign { names } => Err(OpenError::Foreign { names }),
        Probe::Newer { version } => Err(OpenError::Newer { version }),
    }
}

fn write_fresh(disk: &dyn Disk, identity: Identity, created_ms: WallMs) -> Result<Superblock, OpenError> {
    let superblock = Superblock { identity, sequence: 1, layout_epoch: 0, meta_generation: 0, created_ms };
    match disk.remove(SUPERBLOCK_NEW_FILE) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(OpenError::on(disk, IoOp::Remove)(error));
        }
        _ => {}
    }
    let file = disk
        .open(SUPERBLOCK_NEW_FILE, Some(SUPERBLOCK_FILE_BYTES))
        .map_err(OpenError::on(disk, IoOp::Create))?;
    let copy = superblock.encode();
    for offset in COPY_OFFSETS {
        file.write_at(&[IoSlice::new(&copy)], offset).map_err(OpenError::on(disk, IoOp::Write))?;
    }
    file.sync().map_err(OpenError::on(disk, IoOp::Sync))?;
    disk.rename(SUPERBLOCK_NEW_FILE, SUPERBLOCK_FILE).map_err(OpenError::on(disk, IoOp::Rename))?;
    disk.sync_dir().map_err(OpenError::on(disk, IoOp::SyncDir))?;
    Ok(superblock)
}

/// The superblock of an open drive: the last good copy and the file for the next.
pub struct SuperblockFile {
    file: Box<dyn DiskFile>,
    current: Superblock,
    /// The copy that holds `current`; the other one is written next.
    copy: usize,
}

impl SuperblockFile {
    /// Opens the superblock of the drive that `expected` names and heals a bad copy from the good one.
    ///
    /// Also says whether there was something to heal, and the fault if healing was not possible (the drive still opens).
    pub fn open(disk: &Arc<dyn Disk>, expected: Identity) -> Result<(Self, bool, Option<Fault>), OpenError> {
        match probe(disk.as_ref())? {
            Probe::Empty => return Err(OpenError::NotFormatted),
            Probe::Damaged { named } => return Err(OpenError::Damaged { named }),
            Probe::Foreign { names } => return Err(OpenError::Foreign { names }),
            Probe::Newer { version } => return Err(OpenError::Newer { version }),
            Probe::Formatted(found) if found.identity != expected => {
                return Err(OpenError::WrongDrive { expected, found: found.identity });
            }
            Probe::Formatted(_) => {}
        }
        let copies = read_copies(disk.as_ref())?;
        let Best::Good(current) = copies.best() else {
            return Err(OpenError::Damaged { named: None });
        };
        let copy = usize::from(copies.0[0] != Copy::Good(current));
        let file = disk.open(SUPERBLOCK_FILE, None).map_err(OpenError::on(disk.as_ref(), IoOp::Open))?;
        let mut this = Self { file, current, copy };
        let healed = copies.0[1 - copy] == Copy::Bad;
        let fault = if healed { this.write(current).err() } else { None };
        Ok((this, healed, fault))
    }

    /// What the drive was last told.
    pub fn current(&self) -> &Superblock {
        &self.current
    }

    /// Makes new numbers durable in the copy that is not the current one.
    pub fn set_generation(&mut self, meta_generation: u64, layout_epoch: u32) -> Result<(), StoreError> {
        self.write(Superblock { meta_generation, layout_epoch, ..self.current }).map_err(StoreError::Io)
    }

    fn write(&mut self, mut next: Superblock) -> Result<(), Fault> {
        next.sequence = self.current.sequence + 1;
        let copy = 1 - self.copy;
        self.file
            .write_at(&[IoSlice::new(&next.encode())], COPY_OFFSETS[copy])
            .map_err(|e| Fault::new(IoOp::Write, &e))?;
        self.file.sync().map_err(|e| Fault::new(IoOp::Sync, &e))?;
        (self.current, self.copy) = (next, copy);
        Ok(())
    }
}

struct Copies([Copy; 2]);

enum Best {
    Good(Superblock),
    Newer(u16),
    None,
}

impl Copies {
    fn best(&self) -> Best {
        let newer = self.0.iter().filter_map(|c| if let Copy::Newer(v) = c { Some(*v) } else { None }).max();
        if let Some(version) = newer {
            return Best::Newer(version);
        }
        let good = self.0.iter().filter_map(|c| if let Copy::Good(s) = c { Some(*s) } else { None });
        good.max_by_key(|s| s.sequence).map_or(Best::None, Best::Good)
    }
}

fn read_copies(disk: &dyn Disk) -> Result<Copies, OpenError> {
    let file = disk.open(SUPERBLOCK_FILE, None).map_err(OpenError::on(disk, IoOp::Open))?;
    let read = |offset| {
        let mut block = vec![0; BLOCK_BYTES];
        // A copy that cannot be read is a bad copy: the other one decides.
        file.read_at(&mut block, offset).map_or(Copy::Bad, |()| Superblock::decode(&block))
    };
    let copies = COPY_OFFSETS.map(read);
    Ok(Copies(agreeing(copies)))
}

/// Two good copies of two drives (a misdirected write): only the newer one may count, the other is bad.
fn agreeing(mut copies: [Copy; 2]) -> [Copy; 2] {
    if let [Copy::Good(a), Copy::Good(b)] = copies
        && a.identity != b.identity
    {
        copies[usize::from(a.sequence >= b.sequence)] = Copy::Bad;
    }
    copies
}

fn identity_in_extents(disk: &dyn Disk, extents: &[u32]) -> Option<Identity> {
    let first_in = |number: &u32| {
        let file = disk.open(&extent_name(*number), None).ok()?;
        (0..PROBE_BLOCKS).find_map(|block| {
            let mut bytes = vec![0; BLOCK_BYTES];
            file.read_at(&mut bytes, crate::format::block_offset(block)).ok()?;
            let head = decode_head(&bytes).ok()?;
            let here = head.stamp.at.extent == *number && head.stamp.at.block == block;
            here.then_some(head.stamp.identity)
        })
    };
    extents.iter().find_map(first_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_is_named_for_people() {
        let path = "/drive".to_owned();
        let cases = [
            (io::ErrorKind::PermissionDenied, OpenError::Denied { path: path.clone() }),
            (io::ErrorKind::ReadOnlyFilesystem, OpenError::ReadOnly { path: path.clone() }),
            (io::ErrorKind::NotADirectory, OpenError::NotADirectory { path: path.clone() }),
            (io::ErrorKind::NotFound, OpenError::NotADirectory { path: path.clone() }),
        ];
        for (kind, expected) in cases {
            assert_eq!(OpenError::new(IoOp::Lock, &kind.into(), &path), expected);
        }
        let other = OpenError::new(IoOp::Open, &io::ErrorKind::NotFound.into(), &path);
        assert!(matches!(other, OpenError::Io(Fault { op: IoOp::Open, .. })), "{other:?}");
    }
}
