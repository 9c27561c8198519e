//! Newcomers: what is found in a directory that shall become a drive, and whether it may.

use std::path::PathBuf;

use pangea_core::id::DriveId;
use pangea_core::layout::{Layout, NewDrive, Role};
use pangea_core::seam::random;
use pangea_store::drive::LOCK_FILE;

use super::{Reshaper, refused};
use crate::control::ControlError;
use crate::drives::{Directory, Found, absolute, is_untouched, look};
use crate::entropy::SystemEntropy;

/// A directory that becomes a drive: its id is drawn when it is looked at.
pub(super) struct Newcomer {
    pub(super) directory: Directory,
    pub(super) drive: DriveId,
    /// Whether the directory was made to be looked at.
    pub(super) made: bool,
}

impl Drop for Newcomer {
    /// Nothing came of it: a directory that was made goes again.
    fn drop(&mut self) {
        if self.made {
            self.directory.disk = None;
            // An empty directory that stays behind does no harm.
            let _ = std::fs::remove_file(self.directory.path.join(LOCK_FILE));
            let _ = std::fs::remove_dir(&self.directory.path);
        }
    }
}

impl Reshaper {
    /// Looks at a directory that shall become a drive; nothing is written yet.
    pub(super) fn newcomer(
        &self,
        layout: &Layout,
        dir: &str,
        newcomers: &mut Vec<Newcomer>,
    ) -> Result<NewDrive, ControlError> {
        let path = PathBuf::from(dir);
        if !path.is_absolute() {
            return Err(refused(format!("`{dir}`: name the directory by its absolute path")));
        }
        let named = |known: &Newcomer| absolute(&known.directory.path) == absolute(&path);
        let here = self.parts.roster.mounted().iter().any(|drive| absolute(&drive.path) == absolute(&path));
        if here || newcomers.iter().any(named) {
            return Err(refused(format!("{dir} is a drive of this server already")));
        }
        let mut found = look(std::slice::from_ref(&path)).map_err(refused)?;
        let mut directory = found.remove(0);
        let made = directory.found == Found::NoDirectory;
        directory.ensure().map_err(refused)?;
        let newcomer = Newcomer { directory, drive: DriveId(random(&SystemEntropy)), made };
        self.check_free(layout, &newcomer.directory)?;
        let drive = newcomer.drive;
        let new = NewDrive {
            drive,
            node: self.parts.node,
            weight: newcomer.directory.weight(),
            domain: self.parts.stands.clone(),
            path: absolute(&path).display().to_string(),
        };
        newcomers.push(newcomer);
        Ok(new)
    }

    /// Whether a directory may become a drive.
    fn check_free(&self, layout: &Layout, directory: &Directory) -> Result<(), ControlError> {
        let path = directory.path.display();
        match &directory.found {
            Found::Empty | Found::Leftover => Ok(()),
            Found::Formatted(identity) if identity.cluster != self.parts.cluster => {
                Err(refused(format!("{path} is a drive of another cluster; empty it first if that is gone")))
            }
            Found::Formatted(identity) => match layout.drives.iter().find(|d| d.drive == identity.drive) {
                None if is_untouched(directory) => Err(refused(format!(
                    "{path} was made a drive by a change that did not end; empty it and add it again"
                ))),
                Some(known) if known.role == Role::Gone => Err(refused(format!(
                    "{path} was a drive of this cluster and left it; empty the directory to use it again"
                ))),
                Some(known) => Err(refused(format!(
                    "{path} holds the drive of slot {}: it is taken back by itself when it is well",
                    known.slot.0
                ))),
                None => Err(refused(format!("{path} holds shards of a drive that the layout does not know"))),
            },
            Found::Damaged(_) => {
                Err(refused(format!("{path} holds a drive without a readable superblock; empty it first")))
            }
            Found::NoDirectory => Err(refused(format!("{path} does not exist"))),
            Found::Unusable(error) => Err(refused(format!("{path}: {error}"))),
        }
    }
}
