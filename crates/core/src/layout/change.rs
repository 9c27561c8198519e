//! Changes: from a layout and what an operator (or the repair policy) wants, the next layout; and what it moves.
//!
//! Nothing here asks whether a change is wise: `Layout::survival` of the result says what it is worth.

use std::collections::BTreeMap;
use std::fmt;

use super::{DRIVES_MAX, Domain, Layout, LayoutDrive, Role, Slot, TABLE_ENTRIES_MAX, assign};
use crate::chunk::Code;
use crate::id::{DriveId, NodeId};
use crate::place::place;

/// A drive that shall take data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewDrive {
    /// Drawn by whoever formatted it.
    pub drive: DriveId,
    /// The node that it hangs on.
    pub node: NodeId,
    /// GiB of capacity.
    pub weight: u32,
    /// Where it stands.
    pub domain: Domain,
    /// Where its node finds it.
    pub path: String,
}

/// A wish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// One more drive, in a slot of its own.
    Add(NewDrive),
    /// Its data goes elsewhere, and no new data comes.
    Drain(Slot),
    /// A draining drive takes data again.
    Restore(Slot),
    /// A new drive takes over exactly what another one holds, which drains.
    Replace {
        /// Whose place it takes.
        old: Slot,
        /// The new one.
        new: NewDrive,
    },
    /// A drained drive leaves for good.
    Remove(Slot),
    /// A drive's share, in GiB.
    Reweigh(Slot, u32),
    /// The code of buckets that name none.
    Code(Code),
}

/// Why a change cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeError {
    /// The layout has no such drive, or it left.
    NoSuchSlot(Slot),
    /// Only an active drive can be drained, replaced or reweighed.
    NotActive(Slot),
    /// Only a draining drive can be restored or removed.
    NotDraining(Slot),
    /// Nothing would take data any more.
    NoDriveLeft,
    /// Every slot number was used.
    NoSlotLeft,
    /// The drive is in the layout already.
    Known(Slot),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchSlot(slot) => write!(f, "there is no drive in slot {}", slot.0),
            Self::NotActive(slot) => write!(f, "the drive in slot {} is being drained already", slot.0),
            Self::NotDraining(slot) => write!(f, "the drive in slot {} is not being drained", slot.0),
            Self::NoDriveLeft => write!(f, "no drive would be left that takes data"),
            Self::NoSlotLeft => write!(f, "a cluster has at most {DRIVES_MAX} drives in its life"),
            Self::Known(slot) => write!(f, "that drive is in the layout already, in slot {}", slot.0),
        }
    }
}

impl std::error::Error for ChangeError {}

/// Shards of partitions that a change moves: (from, to) → how many of a table's entries. Entries whose old drive is gone
/// are rebuilt instead of read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Moves {
    /// Entries by pair of slots.
    pub entries: BTreeMap<(Slot, Slot), u64>,
    /// Entries that each slot held before.
    pub held: BTreeMap<Slot, u64>,
}

impl Layout {
    /// The layout after some changes, under the next epoch, with a table for each of these numbers of shards (beside that
    /// of its default code). Fewest possible shards move.
    pub fn changed(&self, changes: &[Change], widths: &[u8]) -> Result<Self, ChangeError> {
        let mut next = Self { epoch: self.epoch + 1, tables: vec![], ..self.clone() };
        let mut heirs = BTreeMap::new();
        for change in changes {
            next.make(change, &mut heirs)?;
        }
        if next.active().next().is_none() {
            return Err(ChangeError::NoDriveLeft);
        }
        next.tabulate(Some(self), &heirs, widths);
        Ok(next)
    }

    /// Makes the tables of a layout whose drives are settled, moving as little as possible from `before`.
    pub fn tabulate(&mut self, before: Option<&Self>, heirs: &BTreeMap<Slot, Slot>, widths: &[u8]) {
        let mut widths: Vec<u8> = widths.iter().copied().chain([self.code.n()]).filter(|n| *n > 0).collect();
        widths.extend(before.into_iter().flat_map(|layout| &layout.tables).map(|table| table.shards()));
        widths.sort_unstable();
        widths.dedup();
        let mut entries = 0;
        self.tables.clear();
        for shards in widths {
            entries += usize::from(shards) << self.partitions_log2;
            if entries > TABLE_ENTRIES_MAX {
                // Codes beyond the bound are dealt: correct, only less even.
                break;
            }
            let was = |partition| {
                let placement = place(before.unwrap_or(self), shards, partition);
                let slots = placement.map(|placement| placement.shards().to_vec()).unwrap_or_default();
                slots.into_iter().map(|slot| heirs.get(&slot).copied().unwrap_or(slot)).collect()
            };
            let table = assign(self, shards, was);
            self.tables.push(table);
        }
    }

    fn make(&mut self, change: &Change, heirs: &mut BTreeMap<Slot, Slot>) -> Result<(), ChangeError> {
        match change {
            Change::Add(new) => {
                self.add(new)?;
            }
            Change::Drain(slot) => self.active_at(*slot)?.role = Role::Draining,
            Change::Restore(slot) => self.draining_at(*slot)?.role = Role::Active,
            Change::Remove(slot) => self.draining_at(*slot)?.role = Role::Gone,
            Change::Reweigh(slot, weight) => self.active_at(*slot)?.weight = (*weight).max(1),
            Change::Code(code) => self.code = *code,
            Change::Replace { old, new } => {
                self.active_at(*old)?.role = Role::Draining;
                let slot = self.add(new)?;
                heirs.insert(*old, slot);
            }
        }
        Ok(())
    }

    fn add(&mut self, new: &NewDrive) -> Result<Slot, ChangeError> {
        if let Some(slot) = self.slot_of(new.drive) {
            return Err(ChangeError::Known(slot));
        }
        let slot = self.drives.last().map_or(0, |last| last.slot.0 + 1);
        if usize::from(slot) >= DRIVES_MAX {
            return Err(ChangeError::NoSlotLeft);
        }
        let NewDrive { drive, node, weight, domain, path } = new.clone();
        let (slot, weight) = (Slot(slot), weight.max(1));
        self.drives.push(LayoutDrive { slot, drive, node, weight, role: Role::Active, domain, path });
        Ok(slot)
    }

    fn at(&mut self, slot: Slot) -> Result<&mut LayoutDrive, ChangeError> {
        let found = self.drives.iter_mut().find(|drive| drive.slot == slot && drive.role != Role::Gone);
        found.ok_or(ChangeError::NoSuchSlot(slot))
    }

    fn active_at(&mut self, slot: Slot) -> Result<&mut LayoutDrive, ChangeError> {
        let drive = self.at(slot)?;
        if drive.role == Role::Active { Ok(drive) } else { Err(ChangeError::NotActive(slot)) }
    }

    fn draining_at(&mut self, slot: Slot) -> Result<&mut LayoutDrive, ChangeError> {
        let drive = self.at(slot)?;
        if drive.role == Role::Draining { Ok(drive) } else { Err(ChangeError::NotDraining(slot)) }
    }

    /// What moves when this layout becomes `next`, for codes of so many shards.
    pub fn moves(&self, next: &Self, shards: u8) -> Moves {
        let mut moves = Moves::default();
        for partition in 0..self.partitions() {
            let (Some(from), Some(to)) = (place(self, shards, partition), place(next, shards, partition))
            else {
                continue;
            };
            for (from, to) in from.shards().iter().zip(to.shards()) {
                *moves.held.entry(*from).or_default() += 1;
                if from != to {
                    *moves.entries.entry((*from, *to)).or_default() += 1;
                }
            }
        }
        moves
    }
}

impl Moves {
    /// Bytes that leave a slot which holds so many.
    pub fn bytes_from(&self, slot: Slot, live_bytes: u64) -> u64 {
        let held = self.held.get(&slot).copied().unwrap_or(0);
        let leaving: u64 = self.entries.iter().filter(|((from, _), _)| *from == slot).map(|(_, n)| n).sum();
        if held == 0 { 0 } else { (u128::from(live_bytes) * u128::from(leaving) / u128::from(held)) as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::tests::layout;

    fn new_drive(number: u8) -> NewDrive {
        NewDrive {
            drive: DriveId([number; 16]),
            node: NodeId::default(),
            weight: 100,
            domain: Domain { host: format!("h{number}"), site: "s0".into(), ..Domain::default() },
            path: format!("d{number}"),
        }
    }

    #[test]
    fn a_drive_that_replaces_another_takes_over_exactly_its_place() {
        let first = layout(6, 1, 100).changed(&[], &[]).expect("nothing to refuse");
        let next =
            first.changed(&[Change::Replace { old: Slot(2), new: new_drive(77) }], &[]).expect("possible");
        let moves = first.moves(&next, 6);
        assert_eq!(moves.entries, BTreeMap::from([((Slot(2), Slot(6)), 256)]));
        assert_eq!(moves.bytes_from(Slot(2), 1000), 1000);
        assert_eq!(next.drive(Slot(2)).map(|drive| drive.role), Some(Role::Draining));
        let left = next.changed(&[Change::Remove(Slot(2))], &[]).expect("drained");
        assert_eq!(next.moves(&left, 6).entries.len(), 0, "leaving moves nothing");
        assert_eq!((first.epoch, next.epoch, left.epoch), (2, 3, 4));
    }

    #[test]
    fn other_codes_get_tables_of_their_own_and_keep_them() {
        let first = layout(8, 1, 100).changed(&[], &[3, 5]).expect("possible");
        assert_eq!(first.tables.iter().map(|t| t.shards()).collect::<Vec<_>>(), [3, 5, first.code.n()]);
        let next = first.changed(&[Change::Drain(Slot(0))], &[]).expect("possible");
        assert_eq!(next.table(3).map(|table| table.shards()), Some(3));
        let short = place(&next, 4, 9).expect("drives");
        assert_eq!(
            short.shards(),
            &next.table(5).expect("there").row(9).expect("a row")[..4],
            "the first of five"
        );
        assert!(next.tables.iter().all(|table| table.rows().flatten().all(|slot| *slot != Slot(0))));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_reason() {
        let one = layout(1, 1, 1);
        let drain = [Change::Drain(Slot(0))];
        assert_eq!(one.changed(&drain, &[]), Err(ChangeError::NoDriveLeft));
        let two = layout(2, 1, 1);
        let drained = two.changed(&drain, &[]).expect("one is left");
        let cases = [
            (Change::Drain(Slot(0)), ChangeError::NotActive(Slot(0))),
            (Change::Drain(Slot(9)), ChangeError::NoSuchSlot(Slot(9))),
            (Change::Remove(Slot(1)), ChangeError::NotDraining(Slot(1))),
            (Change::Restore(Slot(1)), ChangeError::NotDraining(Slot(1))),
            (Change::Reweigh(Slot(0), 3), ChangeError::NotActive(Slot(0))),
        ];
        for (change, error) in cases {
            assert_eq!(drained.changed(&[change], &[]), Err(error));
        }
        let known = NewDrive { drive: two.drives[1].drive, ..new_drive(1) };
        assert_eq!(two.changed(&[Change::Add(known)], &[]), Err(ChangeError::Known(Slot(1))));
    }
}
