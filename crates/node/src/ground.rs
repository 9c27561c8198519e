//! The ground that a node stands on: its directories, the cluster they belong to, and the unsealed master keys.
//!
//! Decides between a first start and a later one: without a key file anywhere, only directories in which nothing was ever
//! stored make a new cluster; everything else is a lost key, and an error.

use std::path::{Path, PathBuf};

use pangea_core::chunk::Code;
use pangea_core::id::{ClusterId, DriveId, NodeId};
use pangea_core::layout::{Layout, Role};
use pangea_core::seam::{Clock as _, random};

use crate::clock::SystemClock;
use crate::config::Options;
use crate::drives::{self, Action, Directory, DriveError, Found, Plan, absolute, is_untouched, look, plan};
use crate::entropy::SystemEntropy;
use crate::error::StartError;
use crate::keyfile::{Copies, CopyState, KeyError, Protector, Ring, Unlock, read_copies, write_copies};

/// Copies of the key on a machine with few drives.
pub(crate) const KEY_COPIES_MIN: usize = 3;

/// See the module.
pub(crate) struct Ground {
    pub directories: Vec<Directory>,
    pub ring: Ring,
    pub unlock: Unlock,
    pub protector: Protector,
    /// The node, if it has a key of its own.
    pub node: Option<NodeId>,
    /// Whether this start made the cluster.
    pub first: bool,
    /// What was put right, in words.
    pub notes: Vec<String>,
}

/// What the directories are, before it is known of which cluster.
pub(crate) enum First {
    /// Drives of a cluster whose keys they hold.
    Known(Box<Ground>),
    /// Nothing was ever stored there.
    Untouched(Vec<Directory>, Unlock),
}

/// Looks at the directories and unseals the keys, if there are any.
pub(crate) fn look_first(options: &Options) -> Result<First, StartError> {
    let unlock = Unlock::read(&options.unseal).map_err(StartError::Key)?;
    let directories = look(&options.drives).map_err(StartError::Drive)?;
    let usable: Vec<PathBuf> =
        directories.iter().filter(|d| d.disk.is_some()).map(|d| d.path.clone()).collect();
    match read_copies(&usable, &unlock) {
        Ok(copies) => Ok(First::Known(Box::new(known(directories, copies, unlock)))),
        Err(KeyError::NoCopy { found }) if found.is_empty() => {
            if let Some(unusable) = directories.iter().find(|d| matches!(d.found, Found::Unusable(_))) {
                return Err(StartError::Drive(unusable.disk().map(drop).expect_err("it has none")));
            }
            if !directories.iter().all(is_untouched) {
                return Err(StartError::Key(KeyError::NoCopy { found }));
            }
            Ok(First::Untouched(directories, unlock))
        }
        Err(error) => Err(StartError::Key(error)),
    }
}

fn known(directories: Vec<Directory>, copies: Copies, unlock: Unlock) -> Ground {
    let mut notes = Vec::new();
    if copies.head.protector == Protector::None && unlock != Unlock::Nothing {
        let given = unlock.protector().name();
        notes.push(format!(
            "a {given} was given, but the master key is not sealed by it: see `pangea keys rotate`"
        ));
    }
    let (ring, protector) = (copies.ring, copies.head.protector);
    Ground { directories, ring, unlock, protector, node: None, first: false, notes }
}

/// Directories that take part in a cluster that exists: its keys are kept on them before anything else is.
pub(crate) fn admit(
    mut directories: Vec<Directory>,
    unlock: Unlock,
    ring: Ring,
) -> Result<Ground, StartError> {
    for directory in &mut directories {
        directory.ensure().map_err(StartError::Drive)?;
    }
    let bytes = ring.seal(&unlock, &SystemEntropy).map_err(StartError::Key)?;
    let keepers = directories.iter().take(KEY_COPIES_MIN).map(|directory| directory.path.as_path());
    write_copies(keepers, &bytes).map_err(StartError::Key)?;
    let (protector, notes) = (unlock.protector(), Vec::new());
    Ok(Ground { directories, ring, unlock, protector, node: None, first: false, notes })
}

/// A new cluster, or the rest of one whose first start was cut short: superblocks, then keys.
pub(crate) fn make(
    mut directories: Vec<Directory>,
    unlock: Unlock,
    chosen: Option<Code>,
    clock: &SystemClock,
) -> Result<Ground, StartError> {
    let begun = directories.iter().find_map(|directory| match &directory.found {
        Found::Formatted(identity) => Some(identity.cluster),
        _ => None,
    });
    let cluster = begun.unwrap_or_else(|| ClusterId(random(&SystemEntropy)));
    for directory in &mut directories {
        directory.ensure().map_err(StartError::Drive)?;
    }
    let plan = seat(cluster, only_node(cluster), None, &[], &directories).map_err(StartError::Drive)?;
    for seat in &plan.seats {
        let directory = &mut directories[seat.directory];
        directory.settle(&seat.action, clock.wall_ms()).map_err(StartError::Drive)?;
    }
    let ring = Ring::draw(cluster, clock.wall_ms(), &SystemEntropy);
    let bytes = ring.seal(&unlock, &SystemEntropy).map_err(StartError::Key)?;
    let code = chosen.unwrap_or_else(|| Code::default_for(directories.len()));
    let keepers: Vec<PathBuf> = key_drives(&directories, &plan, code);
    write_copies(keepers.iter().map(PathBuf::as_path), &bytes).map_err(StartError::Key)?;
    let protector = unlock.protector();
    Ok(Ground { directories, ring, unlock, protector, node: None, first: true, notes: Vec::new() })
}

/// Decides which directory takes which slot.
pub(crate) fn seat(
    cluster: ClusterId,
    node: NodeId,
    layout: Option<&Layout>,
    codes: &[Code],
    directories: &[Directory],
) -> Result<Plan, DriveError> {
    let found: Vec<(&Path, &Found)> = directories.iter().map(|d| (d.path.as_path(), &d.found)).collect();
    plan(cluster, node, layout, codes, &found, &mut || DriveId(random(&SystemEntropy)))
}

/// The drives that keep the key: m+1 of them, at least three if there are as many, and whoever has a copy already, so
/// that none stays behind under an old protector.
pub(crate) fn key_drives(directories: &[Directory], plan: &Plan, code: Code) -> Vec<PathBuf> {
    let wanted = KEY_COPIES_MIN.max(usize::from(code.m()) + 1);
    let paths = plan.seats.iter().map(|seat| &directories[seat.directory].path).enumerate();
    let has_copy = |path: &Path| path.join(crate::keyfile::KEY_FILE_NAME).exists();
    paths.filter(|(at, path)| *at < wanted || has_copy(path)).map(|(_, path)| path.clone()).collect()
}

/// The node of a cluster that has no other, and has no key of its own yet.
pub(crate) fn only_node(cluster: ClusterId) -> NodeId {
    NodeId(blake3::derive_key("pangea 2026-11 v1 only node of a cluster", &cluster.0))
}

impl Ground {
    /// Writes the key to every drive that should keep it and does not. What fails is a note: the other copies are there.
    pub(crate) fn heal_keys(&mut self, keepers: &[PathBuf]) -> Result<(), StartError> {
        let copies = read_copies(keepers, &self.unlock);
        let (bytes, bad) = match copies {
            Ok(copies) if copies.ring.sequence == self.ring.sequence => {
                let state = |(path, state): &(PathBuf, CopyState)| match state {
                    CopyState::Current => None,
                    CopyState::Missing => Some((path.clone(), "it had none".to_owned())),
                    CopyState::Stale => Some((path.clone(), "it had an older one".to_owned())),
                    CopyState::Bad(why) => Some((path.clone(), why.clone())),
                };
                let bad: Vec<_> = copies.states.iter().filter_map(state).collect();
                (copies.bytes, bad)
            }
            // The copies that were read lie on drives that keep none any more, or were moved aside as damaged.
            _ => {
                let bytes = self.ring.seal(&self.sealing(), &SystemEntropy).map_err(StartError::Key)?;
                (bytes, keepers.iter().map(|path| (path.clone(), "it had none".to_owned())).collect())
            }
        };
        let mut written = keepers.len() - bad.len();
        for (path, why) in bad {
            match write_copies([path.as_path()].into_iter(), &bytes) {
                Ok(()) => {
                    written += 1;
                    self.notes.push(format!("the key was copied to {} again: {why}", path.display()));
                }
                Err(error) if written > 0 => self.notes.push(format!("no copy of the key: {error}")),
                Err(error) => return Err(StartError::Key(error)),
            }
        }
        Ok(())
    }

    /// What seals the ring now: nothing, if the file is in the clear whatever was given.
    fn sealing(&self) -> Unlock {
        if self.protector == Protector::None { Unlock::Nothing } else { self.unlock.clone() }
    }

    /// The node's id.
    pub(crate) fn node_id(&self) -> NodeId {
        self.node.unwrap_or_else(|| only_node(self.ring.cluster))
    }

    /// The newest meta generation that any superblock knows.
    pub(crate) fn known_generation(&self) -> u64 {
        self.directories.iter().map(|directory| directory.meta_generation).max().unwrap_or(0)
    }

    /// Makes every seat the drive that it shall be.
    pub(crate) fn settle(&mut self, plan: &Plan, now_ms: u64) -> Result<(), StartError> {
        for left in &plan.left {
            let path = self.directories[*left].path.display();
            self.notes.push(format!("{path}: this drive was drained and left the cluster; it is not used"));
        }
        for seat in &plan.seats {
            let directory = &mut self.directories[seat.directory];
            let path = directory.path.display().to_string();
            let moved = directory.settle(&seat.action, now_ms).map_err(StartError::Drive)?;
            let slot = seat.slot().0;
            match (&seat.action, seat.replaces) {
                (Action::Open(_), _) => {}
                (Action::Adopt(_), _) => {
                    self.notes
                        .push(format!("{path}: its superblock was damaged and was rebuilt (slot {slot})"));
                }
                (Action::Format(new), Some(old)) => self.notes.push(format!(
                    "{path}: drive {} replaces drive {old} in slot {slot} and is being refilled",
                    new.drive
                )),
                (Action::Format(new), None) if !self.first => {
                    self.notes.push(format!("{path}: new drive {} in slot {slot}", new.drive));
                }
                (Action::Format(_), None) => {}
            }
            if let Some(moved) = moved {
                self.notes.push(format!("{path}: damaged files were moved to {}", moved.display()));
            }
        }
        Ok(())
    }

    /// The directories that a plan seats, with their weights.
    pub(crate) fn weights(&self) -> Vec<(&Path, u32)> {
        self.directories.iter().map(|d| (d.path.as_path(), d.weight())).collect()
    }

    /// Takes in the directories of drives that were added while the server ran, as far as they are in the layout still.
    pub(crate) fn look_at_added(&mut self, added: &[PathBuf], layout: Option<&Layout>) {
        for path in added {
            let named = self.directories.iter().any(|known| absolute(&known.path) == absolute(path));
            let known = layout.into_iter().flat_map(|layout| &layout.drives);
            let holds =
                known.filter(|drive| drive.role != Role::Gone).any(|drive| Path::new(&drive.path) == path);
            if named || !holds {
                continue;
            }
            match look(std::slice::from_ref(path)) {
                Ok(found) => self.directories.extend(found),
                // The drive is absent then, and the start goes on if the others are enough.
                Err(error) => self.notes.push(format!("{}: {error}", path.display())),
            }
        }
    }

    /// The directories that the metadata log is kept on: those that have it, filled up to `wanted`.
    pub(crate) fn meta_drives(&self, wanted: usize) -> Vec<usize> {
        let formatted = |at: &usize| matches!(self.directories[*at].found, Found::Formatted(_));
        let has = |at: &usize| {
            self.directories[*at].disk.is_some() && drives::has_meta(&self.directories[*at].path)
        };
        let all = 0..self.directories.len();
        let mut chosen: Vec<usize> = all.clone().filter(has).collect();
        let missing = wanted.saturating_sub(chosen.len());
        let fillers: Vec<usize> =
            all.filter(|at| !chosen.contains(at)).filter(formatted).take(missing).collect();
        chosen.extend(fillers);
        chosen.sort_unstable();
        chosen
    }
}
