//! Copies of the key file on drives: read all, choose the newest, heal the others, write all or say which failed.
//!
//! A copy is replaced by writing `keys.new`, making it durable, keeping the old one as `keys.old`, and renaming. The old
//! ones are removed only when every copy is durable, so a crash or a full drive half-way leaves the old ring somewhere.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{FILE_BYTES_MAX, Head, KeyError, Ring, SECRET_FILE_BYTES_MAX, SECRET_FILE_BYTES_MIN, Unlock};

/// The file's name on a drive.
pub const KEY_FILE_NAME: &str = "keys";
const NEW_NAME: &str = "keys.new";
const OLD_NAME: &str = "keys.old";
/// Only the owner reads keys.
const MODE: u32 = 0o600;

/// What one drive's copy is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CopyState {
    /// The newest ring.
    Current,
    /// There is none.
    Missing,
    /// Older than the newest.
    Stale,
    /// Unreadable or damaged, in words.
    Bad(String),
}

/// All copies, compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copies {
    /// The newest ring.
    pub ring: Ring,
    /// What protects it.
    pub head: Head,
    /// Its bytes as they are on the drives that have it.
    pub bytes: Vec<u8>,
    /// Every drive asked, with what its copy is.
    pub states: Vec<(PathBuf, CopyState)>,
}

impl Copies {
    /// The drives whose copy should be written again.
    pub fn to_heal(&self) -> impl Iterator<Item = &Path> + Clone {
        self.states.iter().filter(|(_, state)| *state != CopyState::Current).map(|(path, _)| path.as_path())
    }
}

/// A whole key file: where it lies, what it says in the clear, its bytes.
type Found = (PathBuf, Head, Vec<u8>);

/// Reads the copies on `drives` and opens the newest. A copy that lost its name in a crash counts too.
pub fn read_copies(drives: &[PathBuf], unlock: &Unlock) -> Result<Copies, KeyError> {
    let mut states: Vec<(PathBuf, CopyState)> = Vec::with_capacity(drives.len());
    let mut found: Vec<Found> = Vec::new();
    for drive in drives {
        let state = read_drive(drive, &mut found)?;
        states.push((drive.clone(), state));
    }
    let (path, head, bytes) = newest(&found, &states)?;
    let ring = Ring::open(bytes, unlock)?;
    check_forks(&found, path, head, &ring, unlock)?;
    let (head, bytes) = (*head, bytes.clone());
    for (drive, state) in &mut states {
        let here = drive.join(KEY_FILE_NAME);
        match found.iter().find(|(path, ..)| *path == here) {
            Some((_, found, _)) if found.sequence == head.sequence => *state = CopyState::Current,
            Some(_) => *state = CopyState::Stale,
            None => {}
        }
    }
    Ok(Copies { ring, head, bytes, states })
}

/// Adds a drive's whole copies to `found`; says what is wrong with the named one.
fn read_drive(drive: &Path, found: &mut Vec<Found>) -> Result<CopyState, KeyError> {
    let mut state = CopyState::Missing;
    for name in [KEY_FILE_NAME, NEW_NAME, OLD_NAME] {
        let path = drive.join(name);
        let why = match read_bounded(&path, FILE_BYTES_MAX) {
            Ok(bytes) => match Head::of(&bytes) {
                Ok(head) => {
                    found.push((path, head, bytes));
                    continue;
                }
                Err(KeyError::Newer { version }) => return Err(KeyError::Newer { version }),
                Err(why) => why.to_string(),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => error.to_string(),
        };
        // A leftover that is not whole was never the only copy.
        if name == KEY_FILE_NAME {
            state = CopyState::Bad(why);
        }
    }
    Ok(state)
}

fn newest<'a>(found: &'a [Found], states: &[(PathBuf, CopyState)]) -> Result<&'a Found, KeyError> {
    let bad = states.iter().filter_map(|(drive, state)| match state {
        CopyState::Bad(why) => Some(format!("{}: {why}", drive.display())),
        _ => None,
    });
    // Of equal ones the first: a drive's named copy stands before its leftovers.
    let newest = found.iter().rev().max_by_key(|(_, head, _)| head.sequence);
    let newest = newest.ok_or_else(|| KeyError::NoCopy { found: bad.collect() })?;
    match found.iter().find(|(_, head, _)| head.cluster != newest.1.cluster) {
        Some(other) => Err(KeyError::TwoClusters { one: newest.0.clone(), other: other.0.clone() }),
        None => Ok(newest),
    }
}

/// Copies of the newest sequence must hold the same keys.
fn check_forks(
    found: &[Found],
    path: &Path,
    head: &Head,
    ring: &Ring,
    unlock: &Unlock,
) -> Result<(), KeyError> {
    for (other, other_head, bytes) in found {
        // Copies written together are equal to the salt; only others cost an unlocking.
        let differs = other_head != head && other_head.sequence == head.sequence;
        if differs && Ring::open(bytes, unlock)? != *ring {
            return Err(KeyError::Fork { one: path.to_owned(), other: other.clone() });
        }
    }
    Ok(())
}

/// Writes one key file to every drive, durably. The first failure ends it; drives before it have the new copy.
pub fn write_copies<'a>(
    drives: impl Iterator<Item = &'a Path> + Clone,
    bytes: &[u8],
) -> Result<(), KeyError> {
    for drive in drives.clone() {
        write_copy(drive, bytes)?;
    }
    for drive in drives {
        let old = drive.join(OLD_NAME);
        match fs::remove_file(&old) {
            Ok(()) => sync_directory(drive)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(KeyError::Io { doing: "remove", path: old, source }),
        }
    }
    Ok(())
}

fn write_copy(drive: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let (new, old, name) = (drive.join(NEW_NAME), drive.join(OLD_NAME), drive.join(KEY_FILE_NAME));
    let removed = fs::remove_file(&new).or_else(forgive_missing);
    removed.map_err(|source| KeyError::Io { doing: "remove", path: new.clone(), source })?;
    write_new_file(&new, bytes)?;
    let kept = fs::remove_file(&old).or_else(forgive_missing).and_then(|()| fs::hard_link(&name, &old));
    kept.or_else(forgive_missing).map_err(|source| KeyError::Io { doing: "keep", path: old, source })?;
    fs::rename(&new, &name).map_err(|source| KeyError::Io { doing: "rename", path: new, source })?;
    sync_directory(drive)
}

/// Writes a file that must not exist yet, readable by its owner only, durably.
pub fn write_new_file(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let failed = |source| KeyError::Io { doing: "write", path: path.to_owned(), source };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync_directory(parent.unwrap_or(Path::new(".")))
}

fn sync_directory(directory: &Path) -> Result<(), KeyError> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(|source| KeyError::Io {
        doing: "sync",
        path: directory.to_owned(),
        source,
    })
}

fn forgive_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Reads a file of at most `bytes_max` bytes.
pub(crate) fn read_bounded(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// Reads the file behind a key-file protector.
pub(super) fn read_secret_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let read = read_bounded(path, SECRET_FILE_BYTES_MAX).map(Zeroizing::new);
    let bytes =
        read.map_err(|source| KeyError::Io { doing: "read the key file", path: path.to_owned(), source })?;
    if bytes.len() < SECRET_FILE_BYTES_MIN {
        return Err(KeyError::SecretTooShort { path: path.to_owned() });
    }
    Ok(bytes)
}
