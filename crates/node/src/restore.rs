//! Bringing a key ring back onto drives from a backup, with no server running.

use std::path::{Path, PathBuf};

use pangea_core::keys::MasterKey;

use crate::config::{Secret, Unseal};
use crate::drives::{DriveError, Found, look};
use crate::entropy::SystemEntropy;
use crate::error::StartError;
use crate::keyfile::{
    FILE_BYTES_MAX, Head, KEY_FILE_NAME, KeyError, Ring, Unlock, read_bounded, read_copies, write_copies,
};

/// What was restored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restored {
    /// The cluster.
    pub cluster: String,
    /// The generation that seals.
    pub generation: u32,
    /// What protects the copies now.
    pub protector: &'static str,
    /// Drives that have it.
    pub copies: usize,
}

/// Writes the ring of a backup to every directory. What is there already is replaced only if the backup knows all its keys,
/// or if nobody can open it.
pub fn restore_keys(
    backup: &Path,
    passphrase: &Secret,
    directories: &[PathBuf],
    unseal: &Unseal,
) -> Result<Restored, StartError> {
    let failed = |source| KeyError::Io { doing: "read", path: backup.to_owned(), source };
    let bytes = read_bounded(backup, FILE_BYTES_MAX).map_err(failed).map_err(StartError::Key)?;
    let mut ring = Ring::open(&bytes, &Unlock::Passphrase(passphrase.clone())).map_err(StartError::Key)?;
    let looked = look(directories).map_err(StartError::Drive)?;
    for directory in &looked {
        // Also says why, if it is not there or cannot be used.
        directory.disk().map_err(StartError::Drive)?;
        match &directory.found {
            Found::Formatted(found) | Found::Damaged(Some(found)) if found.cluster != ring.cluster => {
                let (path, found, expected) = (directory.path.clone(), found.cluster, ring.cluster);
                return Err(StartError::Drive(DriveError::OtherCluster { path, found, expected }));
            }
            _ => {}
        }
    }
    let unlock = Unlock::read(unseal).map_err(StartError::Key)?;
    match read_copies(directories, &unlock) {
        Ok(copies) if !knows_all(&ring, &copies.ring) => return Err(StartError::Key(KeyError::OldBackup)),
        Ok(_) | Err(KeyError::NoCopy { .. } | KeyError::Locked { .. }) => {}
        Err(error) => return Err(StartError::Key(error)),
    }
    let highest = directories.iter().filter_map(|directory| {
        let bytes = read_bounded(&directory.join(KEY_FILE_NAME), FILE_BYTES_MAX).ok()?;
        Head::of(&bytes).ok().map(|head| head.sequence)
    });
    ring.sequence = highest.max().unwrap_or(0).max(ring.sequence) + 1;
    let sealed = ring.seal(&unlock, &SystemEntropy).map_err(StartError::Key)?;
    write_copies(directories.iter().map(PathBuf::as_path), &sealed).map_err(StartError::Key)?;
    Ok(Restored {
        cluster: ring.cluster.to_string(),
        generation: ring.current().number,
        protector: unlock.protector().name(),
        copies: directories.len(),
    })
}

fn knows_all(backup: &Ring, here: &Ring) -> bool {
    let known = |number: u32, key: &MasterKey| backup.key(number) == Some(key);
    here.generations().iter().all(|generation| known(generation.number, &generation.key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use pangea_core::id::ClusterId;

    fn backup(scratch: &Scratch, name: &str, ring: &Ring) -> PathBuf {
        let path = scratch.path().join(name);
        let unlock = Unlock::Passphrase(Secret::new("long enough"));
        std::fs::write(&path, ring.seal(&unlock, &SystemEntropy).expect("sealed")).expect("written");
        path
    }

    #[test]
    fn a_backup_comes_back_and_an_older_one_does_not_replace_newer_keys() {
        let scratch = Scratch::new("restore");
        let drives: Vec<PathBuf> = (0..2).map(|i| scratch.path().join(format!("d{i}"))).collect();
        drives.iter().for_each(|drive| std::fs::create_dir(drive).expect("made"));
        let old = Ring::draw(ClusterId([1; 16]), 0, &SystemEntropy);
        let new = old.rotated(1, &SystemEntropy).expect("room");
        let (old_file, new_file) = (backup(&scratch, "old", &old), backup(&scratch, "new", &new));
        let passphrase = Secret::new("long enough");
        let restored = restore_keys(&new_file, &passphrase, &drives, &Unseal::Nothing).expect("restored");
        assert_eq!((restored.generation, restored.copies, restored.protector), (2, 2, "none"));
        let error = restore_keys(&old_file, &passphrase, &drives, &Unseal::Nothing).expect_err("older");
        assert!(matches!(error, StartError::Key(KeyError::OldBackup)), "{error}");
        let sealed = Unseal::Passphrase(Secret::new("another one"));
        restore_keys(&new_file, &passphrase, &drives, &sealed).expect("restored under a passphrase");
        let copies = read_copies(&drives, &Unlock::read(&sealed).expect("read")).expect("opens");
        assert_eq!(copies.ring.generations(), new.generations());
        let wrong = Secret::new("wrong");
        let error = restore_keys(&new_file, &wrong, &drives, &sealed).expect_err("wrong");
        assert!(matches!(error, StartError::Key(KeyError::Locked { .. })), "{error}");
    }
}
