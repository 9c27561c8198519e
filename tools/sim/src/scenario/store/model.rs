//! What each shard may be: the reference that the store is compared with.
//!
//! A shard is *possibly* in one of several states while an operation on it is unanswered, or after one that ended in an
//! error. An acknowledgement leaves exactly one. So does a state that was served after a restart, for presence: whoever
//! has read it may rely on it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use pangea_core::chunk::ShardHeader;
use pangea_core::id::ShardId;
use pangea_store::port::StoreError;

use crate::dice::Dice;
use crate::report::Violation;
use crate::shards::{shard, shard_id};

/// A number that no sealing has.
const NO_SEALING: u32 = u32::MAX;

/// Every shard.
#[derive(Default)]
pub(super) struct Model {
    /// Operations that were acknowledged.
    pub(super) acknowledged: u64,
    /// Whether the medium was ever damaged: then shards may be missing, or back, but never wrong.
    pub(super) damaged: bool,
    entries: BTreeMap<u32, Entry>,
}

#[derive(Clone, Default)]
struct Entry {
    possible: BTreeSet<State>,
    /// Every sealing that was ever offered.
    sealings: u32,
    busy: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum State {
    Absent,
    Present(u32),
}

/// An operation on one shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    Put {
        sealing: u32,
    },
    /// A put of another sealing where one is already: must be refused.
    Conflict {
        sealing: u32,
    },
    Read,
    Delete,
    Quarantine,
    Compact,
}

impl Op {
    /// A number for the trace.
    pub(super) fn code(self) -> u64 {
        match self {
            Self::Put { .. } => 1,
            Self::Conflict { .. } => 2,
            Self::Read => 3,
            Self::Delete => 4,
            Self::Quarantine => 5,
            Self::Compact => 6,
        }
    }
}

/// Which sealing of shard `n` this is; [`NO_SEALING`] if nobody ever wrote these bytes.
pub(super) fn sealing_of(n: u32, header: &ShardHeader, bytes: &Bytes) -> u32 {
    let sealings = 0..1000;
    let same = |sealing: &u32| {
        let (expected, data) = shard(n, *sealing);
        expected.chunk_hash == header.chunk_hash && expected == *header && data == *bytes
    };
    sealings.into_iter().take(64).find(same).unwrap_or(NO_SEALING)
}

impl Model {
    /// Chooses an operation on a shard that nobody works on.
    pub(super) fn begin(&mut self, n: u32, dice: &mut Dice) -> Option<Op> {
        let entry = self.entries.entry(n).or_insert_with(Entry::absent);
        if entry.busy {
            return None;
        }
        let op = entry.choose(dice);
        match op {
            Op::Put { sealing } => {
                entry.possible.insert(State::Present(sealing));
            }
            Op::Delete => {
                entry.possible.insert(State::Absent);
            }
            Op::Conflict { .. } | Op::Read | Op::Quarantine | Op::Compact => {}
        }
        entry.busy = true;
        Some(op)
    }

    /// Judges how an operation ended.
    pub(super) fn end(
        &mut self,
        n: u32,
        op: &Op,
        result: Result<Option<u32>, StoreError>,
    ) -> Result<(), Violation> {
        let damaged = self.damaged;
        let entry = self.entries.get_mut(&n).expect("it was begun");
        entry.busy = false;
        self.acknowledged += u64::from(result.is_ok());
        let unexplained = |error: &dyn std::fmt::Display| {
            Err(Violation::Unexplained { what: format!("{op:?} of shard {n}: {error}") })
        };
        match (op, result) {
            (Op::Read, result) => self.check(n, false, result),
            (Op::Put { sealing }, Ok(_)) => {
                entry.possible = BTreeSet::from([State::Present(*sealing)]);
                Ok(())
            }
            (Op::Delete, Ok(_)) => {
                entry.possible = BTreeSet::from([State::Absent]);
                Ok(())
            }
            (Op::Conflict { .. }, Err(StoreError::Conflict(_))) => Ok(()),
            (Op::Conflict { sealing }, Ok(_)) if damaged => {
                entry.possible = BTreeSet::from([State::Present(*sealing)]);
                Ok(())
            }
            (Op::Conflict { sealing }, Ok(_)) => {
                let what = format!("shard {n} was there, and another sealing ({sealing}) was accepted");
                Err(Violation::Inconsistent { what })
            }
            (Op::Conflict { sealing }, Err(_)) if damaged => {
                entry.possible.insert(State::Present(*sealing));
                Ok(())
            }
            (Op::Quarantine, Ok(Some(_))) if !damaged => {
                Err(Violation::Lost { what: format!("a healthy shard {n} was taken for damaged") })
            }
            (Op::Quarantine | Op::Compact, Ok(_)) => Ok(()),
            (Op::Quarantine, Err(StoreError::Missing(_))) if damaged || entry.may_be(State::Absent) => Ok(()),
            (_, Err(StoreError::Conflict(_))) if damaged => Ok(()),
            // Faults of the weather; the drive may stop for good until the next life.
            (
                _,
                Err(StoreError::Io(_) | StoreError::Failed(_) | StoreError::Full { .. } | StoreError::Closed),
            ) => Ok(()),
            (_, Err(error)) => unexplained(&error),
        }
    }

    /// Judges what was read of a shard. What is there after a restart stays there; before one, a delete that failed half-way
    /// may still take effect.
    pub(super) fn check(
        &mut self,
        n: u32,
        after_restart: bool,
        result: Result<Option<u32>, StoreError>,
    ) -> Result<(), Violation> {
        let damaged = self.damaged;
        let entry = self.entries.entry(n).or_insert_with(Entry::absent);
        match result {
            Ok(Some(sealing)) if entry.may_be(State::Present(sealing)) => {
                if after_restart {
                    entry.possible = BTreeSet::from([State::Present(sealing)]);
                }
                Ok(())
            }
            Ok(Some(sealing)) if sealing >= entry.sealings => {
                Err(Violation::WrongBytes { what: format!("shard {n} has bytes that nobody wrote") })
            }
            Ok(_) if damaged => Ok(()),
            Ok(found) => {
                let what = format!("shard {n} is {found:?}, which may only be {:?}", entry.possible);
                Err(Violation::Inconsistent { what })
            }
            Err(StoreError::Missing(_)) if damaged || entry.may_be(State::Absent) => Ok(()),
            Err(StoreError::Missing(_) | StoreError::Corrupt { .. } | StoreError::Io(_)) if damaged => Ok(()),
            Err(error) => {
                Err(Violation::Lost { what: format!("shard {n}, which is {:?}: {error}", entry.possible) })
            }
        }
    }

    /// Judges a listing taken while nobody works.
    pub(super) fn check_list(&self, shards: u32, listed: &[ShardId]) -> Result<(), Violation> {
        if !listed.is_sorted() || listed.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Violation::Inconsistent { what: "a listing is not in order".to_owned() });
        }
        for n in 0..shards {
            let is_listed = listed.binary_search(&shard_id(n)).is_ok();
            let possible =
                self.entries.get(&n).map_or_else(|| Entry::absent().possible, |e| e.possible.clone());
            let may_be = possible.iter().any(|state| (*state != State::Absent) == is_listed);
            if !may_be && !self.damaged {
                let what = format!("shard {n}: listed {is_listed}, which may only be {possible:?}");
                return Err(Violation::Inconsistent { what });
            }
        }
        Ok(())
    }

    /// Whatever was unanswered stays possible either way.
    pub(super) fn process_died(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.busy = false);
    }
}

impl Entry {
    /// Never put.
    fn absent() -> Self {
        Self { possible: BTreeSet::from([State::Absent]), ..Self::default() }
    }

    fn may_be(&self, state: State) -> bool {
        self.possible.contains(&state)
    }

    fn choose(&mut self, dice: &mut Dice) -> Op {
        let present = self.possible.iter().find_map(|state| match state {
            State::Present(sealing) => Some(*sealing),
            State::Absent => None,
        });
        let certain = self.possible.len() == 1;
        let roll = dice.below(100);
        match (present, certain) {
            (_, _) if roll >= 97 => Op::Compact,
            (None, _) if roll < 70 => {
                self.sealings += 1;
                Op::Put { sealing: self.sealings - 1 }
            }
            // Nobody knows whether it is there: putting the same again must work either way.
            (Some(sealing), false) if roll < 40 => Op::Put { sealing },
            (Some(sealing), true) if roll < 10 => Op::Put { sealing },
            (Some(_), true) if roll < 14 => {
                self.sealings += 1;
                Op::Conflict { sealing: self.sealings - 1 }
            }
            (_, _) if roll < 70 => Op::Read,
            (_, _) if roll < 73 => Op::Quarantine,
            (_, _) => Op::Delete,
        }
    }
}
