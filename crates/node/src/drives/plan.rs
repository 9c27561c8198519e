//! Which directory takes which slot: a pure decision from what was found and what the layout says.
//!
//! A drive is known by its id, wherever it hangs. What is empty fills the slots whose drives are nowhere to be found, those
//! of the same path first, and then makes new slots. A directory that does not exist is made only where no slot of
//! that path is known: a missing mount must not be mistaken for a new drive. Drives of other nodes are theirs to find.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pangea_core::chunk::Code;
use pangea_core::id::{ClusterId, DriveId, NodeId};
use pangea_core::layout::{Domain, Layout, LayoutDrive, PARTITIONS_LOG2_DEFAULT, Role, Slot};
use pangea_core::place::place;
use pangea_store::format::superblock::Identity;

use super::{DriveError, Found, identity};

/// What is done with a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// It is the drive that it should be.
    Open(Identity),
    /// Its superblock is rebuilt; its records stay.
    Adopt(Identity),
    /// It becomes a new drive; whatever is in the way is moved aside.
    Format(Identity),
}

impl Action {
    /// The drive that it is afterwards.
    pub fn identity(&self) -> Identity {
        match self {
            Self::Open(identity) | Self::Adopt(identity) | Self::Format(identity) => *identity,
        }
    }
}

/// A directory with its slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seat {
    /// Which of the directories that were named.
    pub directory: usize,
    /// What is done with it.
    pub action: Action,
    /// The drive that held the slot before, if this one takes its place.
    pub replaces: Option<DriveId>,
}

impl Seat {
    /// Its slot.
    pub fn slot(&self) -> Slot {
        Slot(self.action.identity().slot)
    }
}

/// A slot without its drive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Absent {
    /// The slot.
    pub slot: Slot,
    /// The drive that holds it.
    pub drive: DriveId,
    /// Where it was.
    pub path: String,
    /// Why it is not here.
    pub why: String,
}

/// What becomes of every directory and every slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// By slot, rising.
    pub seats: Vec<Seat>,
    /// By slot, rising.
    pub absent: Vec<Absent>,
    /// Directories whose drives left the layout: they are not touched.
    pub left: Vec<usize>,
}

/// Decides. `layout` is the current one, if there is one; `draw` gives fresh drive ids.
///
/// `codes` are those that data lies under.
pub fn plan(
    cluster: ClusterId,
    node: NodeId,
    layout: Option<&Layout>,
    codes: &[Code],
    found: &[(&Path, &Found)],
    draw: &mut dyn FnMut() -> DriveId,
) -> Result<Plan, DriveError> {
    let mut seating = Seating {
        cluster,
        node,
        layout,
        codes,
        found,
        seats: BTreeMap::new(),
        free: Vec::new(),
        left: Vec::new(),
        why: BTreeMap::new(),
    };
    for directory in 0..found.len() {
        seating.seat_known(directory)?;
    }
    seating.seat_others(draw)?;
    let absent = seating.absent();
    let left = std::mem::take(&mut seating.left);
    let seats: Vec<Seat> = seating.seats.into_values().collect();
    let plan = Plan { seats, absent, left };
    if let Some(layout) = layout {
        check_reachable(layout, node, codes, &plan)?;
    }
    Ok(plan)
}

struct Seating<'a> {
    cluster: ClusterId,
    /// The node whose drives are seated.
    node: NodeId,
    layout: Option<&'a Layout>,
    codes: &'a [Code],
    found: &'a [(&'a Path, &'a Found)],
    seats: BTreeMap<Slot, Seat>,
    /// Directories without a drive yet.
    free: Vec<usize>,
    /// Directories whose drives left the layout.
    left: Vec<usize>,
    /// Why the drive of a slot cannot be used although its directory is there.
    why: BTreeMap<Slot, String>,
}

impl Seating<'_> {
    /// Seats a directory that says which drive it is.
    fn seat_known(&mut self, directory: usize) -> Result<(), DriveError> {
        let (path, found) = self.found[directory];
        let action = match found {
            Found::Formatted(identity) => Action::Open(*identity),
            Found::Damaged(Some(identity)) => Action::Adopt(*identity),
            Found::Unusable(error) => {
                let slot = self
                    .slot_at(path)
                    .ok_or_else(|| DriveError::Open { path: path.into(), error: error.clone() })?;
                self.why.insert(slot, error.to_string());
                return Ok(());
            }
            Found::NoDirectory if self.slot_at(path).is_some() => return Ok(()),
            Found::NoDirectory | Found::Empty | Found::Leftover | Found::Damaged(None) => {
                self.free.push(directory);
                return Ok(());
            }
        };
        let named = action.identity();
        if named.cluster != self.cluster {
            let (found, expected) = (named.cluster, self.cluster);
            return Err(DriveError::OtherCluster { path: path.into(), found, expected });
        }
        if self.has_left(named.drive) {
            self.left.push(directory);
            return Ok(());
        }
        let slot = match self.layout {
            None => Slot(named.slot),
            Some(layout) => layout.slot_of(named.drive).ok_or_else(|| self.not_in_layout(path, named))?,
        };
        let action = match action {
            Action::Adopt(named) => Action::Adopt(Identity { slot: slot.0, ..named }),
            other => other,
        };
        match self.seats.insert(slot, Seat { directory, action, replaces: None }) {
            None => Ok(()),
            Some(other) => Err(DriveError::Twice {
                one: self.found[other.directory].0.into(),
                other: path.into(),
                drive: named.drive,
            }),
        }
    }

    /// Whether a drive was drained and taken out of the layout.
    fn has_left(&self, drive: DriveId) -> bool {
        let mut drives = self.layout.into_iter().flat_map(|layout| &layout.drives);
        drives.any(|known| known.drive == drive && known.role == Role::Gone)
    }

    fn not_in_layout(&self, path: &Path, named: Identity) -> DriveError {
        let holder = self.layout.and_then(|layout| layout.drive(Slot(named.slot)));
        let holder = holder.map(|holder| (holder.drive, holder.path.clone()));
        DriveError::NotInLayout { path: path.into(), drive: named.drive, slot: named.slot, holder }
    }

    /// Seats the directories that hold no known drive: in the slots that miss theirs, then in new ones.
    fn seat_others(&mut self, draw: &mut dyn FnMut() -> DriveId) -> Result<(), DriveError> {
        let free = std::mem::take(&mut self.free);
        // Those whose path the layout knows have the first choice.
        let (known, unknown): (Vec<usize>, Vec<usize>) =
            free.into_iter().partition(|directory| self.vacant_at(self.found[*directory].0).is_some());
        for directory in known.into_iter().chain(unknown) {
            let path = self.found[directory].0;
            let vacant = self.vacant_at(path).or_else(|| self.vacant().next());
            match vacant {
                Some((slot, drive)) => self.seat_vacant(directory, slot, drive, draw),
                None => self.seat_new(directory, draw),
            }
        }
        Ok(())
    }

    fn seat_vacant(
        &mut self,
        directory: usize,
        slot: Slot,
        drive: DriveId,
        draw: &mut dyn FnMut() -> DriveId,
    ) {
        // What a damaged drive still holds, or the little that one without extents can miss, counts only if the others
        // cannot do without it.
        let enough = self.layout.is_none_or(|layout| {
            unreachable_without(layout, self.codes, |other| {
                other != slot && (self.seats.contains_key(&other) || !is_of(layout, other, self.node))
            })
            .is_none()
        });
        let same = identity(self.cluster, drive, slot);
        let (action, replaces) = match self.found[directory].1 {
            Found::Damaged(None) if !enough => (Action::Adopt(same), None),
            Found::Leftover if !enough => (Action::Format(same), None),
            _ => (Action::Format(identity(self.cluster, draw(), slot)), Some(drive)),
        };
        self.seats.insert(slot, Seat { directory, action, replaces });
    }

    fn seat_new(&mut self, directory: usize, draw: &mut dyn FnMut() -> DriveId) {
        let used = self.layout.into_iter().flat_map(|layout| &layout.drives).map(|drive| drive.slot.0);
        let last = used.chain(self.seats.keys().map(|slot| slot.0)).max();
        let slot = Slot(last.map_or(0, |last| last + 1));
        let action = Action::Format(identity(self.cluster, draw(), slot));
        self.seats.insert(slot, Seat { directory, action, replaces: None });
    }

    /// Slots of the layout whose drive has not been found and whose directory is not merely unusable.
    fn vacant(&self) -> impl Iterator<Item = (Slot, DriveId)> + '_ {
        let drives = self.own_drives();
        // An empty directory in the place of a drive that is being emptied is a new drive, not its successor.
        drives
            .filter(|drive| drive.role == Role::Active)
            .filter(|drive| !self.seats.contains_key(&drive.slot) && !self.why.contains_key(&drive.slot))
            .map(|drive| (drive.slot, drive.drive))
    }

    fn vacant_at(&self, path: &Path) -> Option<(Slot, DriveId)> {
        let slot = self.slot_at(path)?;
        self.vacant().find(|(vacant, _)| *vacant == slot)
    }

    /// The slot whose drive was last seen at a path.
    fn slot_at(&self, path: &Path) -> Option<Slot> {
        let path = absolute(path);
        let mut drives = self.own_drives().filter(|drive| drive.role != Role::Gone);
        drives.find(|drive| Path::new(&drive.path) == path).map(|drive| drive.slot)
    }

    /// The drives of the layout that hang on this node.
    fn own_drives(&self) -> impl Iterator<Item = &LayoutDrive> + '_ {
        let drives = self.layout.into_iter().flat_map(|layout| &layout.drives);
        drives.filter(|drive| drive.node == self.node)
    }

    fn absent(&self) -> Vec<Absent> {
        let drives = self.own_drives();
        let gone = drives.filter(|drive| drive.role != Role::Gone && !self.seats.contains_key(&drive.slot));
        gone.map(|drive| {
            let named = self.found.iter().any(|(path, _)| absolute(path) == Path::new(&drive.path));
            let why = match self.why.get(&drive.slot) {
                Some(why) => why.clone(),
                None if named => "its directory does not exist; make it, empty, to have it refilled".into(),
                None => "none of the directories that were named holds it".into(),
            };
            Absent { slot: drive.slot, drive: drive.drive, path: drive.path.clone(), why }
        })
        .collect()
    }
}

/// Whether the drive at a slot hangs on a node.
pub(crate) fn is_of(layout: &Layout, slot: Slot, node: NodeId) -> bool {
    layout.drive(slot).is_some_and(|drive| drive.node == node)
}

/// A path as the layout keeps it.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.into())
}

/// With only the drives of these slots: a code and how many shards its worst stripe has left, if too few to read.
pub fn unreachable_without(
    layout: &Layout,
    codes: &[Code],
    present: impl Fn(Slot) -> bool,
) -> Option<(Code, u8)> {
    if layout.drives.iter().all(|drive| drive.role == Role::Gone || present(drive.slot)) {
        return None;
    }
    codes.iter().find_map(|code| {
        let left = |partition| {
            let placement = place(layout, code.n(), partition)?;
            Some(placement.shards().iter().filter(|slot| present(**slot)).count() as u8)
        };
        let worst = (0..layout.partitions()).filter_map(left).min()?;
        (worst < code.k()).then_some((*code, worst))
    })
}

/// Everything must stay readable with the drives that keep their data.
fn check_reachable(layout: &Layout, node: NodeId, codes: &[Code], plan: &Plan) -> Result<(), DriveError> {
    let seated = |slot| plan.seats.iter().any(|seat| seat.slot() == slot && seat.replaces.is_none());
    let keeps = |slot| seated(slot) || !is_of(layout, slot, node);
    let Some((code, left)) = unreachable_without(layout, codes, keeps) else { return Ok(()) };
    let absent = plan.absent.iter().map(|a| format!("slot {} ({}): {}", a.slot.0, a.path, a.why));
    let emptied = plan.seats.iter().filter(|seat| seat.replaces.is_some()).map(|seat| {
        let path = layout.drive(seat.slot()).map_or("", |drive| drive.path.as_str());
        format!("slot {} ({path}): it is empty", seat.slot().0)
    });
    Err(DriveError::TooFew { needed: code.k(), left, missing: absent.chain(emptied).collect() })
}

/// The layout after a plan: the same if nothing changed, otherwise under the next epoch.
///
/// `stands`: the node, and where its new drives stand. `chosen` is the code that was asked for. Without one, the code follows the number of drives as long as it always did.
pub fn next_layout(
    layout: Option<&Layout>,
    plan: &Plan,
    found: &[(&Path, u32)],
    stands: (NodeId, &Domain),
    chosen: Option<Code>,
) -> Layout {
    let mut drives: BTreeMap<Slot, LayoutDrive> = layout
        .into_iter()
        .flat_map(|layout| &layout.drives)
        .map(|drive| (drive.slot, drive.clone()))
        .collect();
    for seat in &plan.seats {
        let (path, weight) = found[seat.directory];
        let path = absolute(path).display().to_string();
        let fresh = LayoutDrive {
            slot: seat.slot(),
            drive: seat.action.identity().drive,
            node: stands.0,
            weight,
            role: Role::Active,
            domain: stands.1.clone(),
            path: path.clone(),
        };
        // A replaced drive keeps its predecessor's weight: placement stays where it was, and refilling it is repair.
        let drive = drives.entry(seat.slot()).or_insert(fresh);
        (drive.drive, drive.path) = (seat.action.identity().drive, path);
    }
    let count =
        |drives: &mut dyn Iterator<Item = &LayoutDrive>| drives.filter(|d| d.role == Role::Active).count();
    let by_count = Code::default_for(count(&mut drives.values()));
    let code = chosen.unwrap_or_else(|| match layout {
        Some(layout) if layout.code != Code::default_for(count(&mut layout.drives.iter())) => layout.code,
        _ => by_count,
    });
    let mut next = Layout {
        epoch: layout.map_or(1, |layout| layout.epoch),
        partitions_log2: layout.map_or(PARTITIONS_LOG2_DEFAULT, |layout| layout.partitions_log2),
        code,
        drives: drives.into_values().collect(),
        tables: layout.map_or_else(Vec::new, |layout| layout.tables.clone()),
    };
    let Some(layout) = layout else {
        next.tabulate(None, &BTreeMap::new(), &[]);
        return next;
    };
    if *layout == next {
        return next;
    }
    next.epoch += 1;
    // Another drive in the same slot moves nothing.
    let places = |layout: &Layout| -> Vec<Slot> { layout.active().map(|drive| drive.slot).collect() };
    if layout.code != next.code || places(layout) != places(&next) {
        next.tabulate(Some(layout), &BTreeMap::new(), &[]);
    }
    next
}
