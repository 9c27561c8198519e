//! Repair: one stripe back to whole.
//!
//! ```text
//! Census --every shard accounted for--> Plan --k good read--> Rebuild --> Store at home --> Clear stand-ins --> done
//! ```
//!
//! The census asks every home (and known or possible stand-in) to verify its shard. What is good at home stays. What is
//! good elsewhere is copied home, what is nowhere good is rebuilt from any k good ones; a bad shard is condemned first.
//! Copies away from home are deleted only after their home is durable. A stripe with fewer than k good shards is
//! reported and left alone: nothing is deleted.

use crate::chunk::Code;
use crate::layout::Slot;
use crate::wire::Fault;

/// What the census found of one shard at one place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sighting {
    /// Shard index.
    pub index: u8,
    /// Where it was looked for.
    pub slot: Slot,
    /// Good, or what was wrong.
    pub found: Result<(), Fault>,
}

/// What a stripe needs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Bad shards, to be dropped where they lie.
    pub condemn: Vec<(u8, Slot)>,
    /// Good shards to read: all there is to copy from or decode from.
    pub read: Vec<(u8, Slot)>,
    /// Indices to decode from the k first of `read`.
    pub rebuild: Vec<u8>,
    /// Where shards must be written: copies and rebuilt ones.
    pub write: Vec<(u8, Slot)>,
    /// Good copies away from home, to be deleted once their home is durable.
    pub clear: Vec<(u8, Slot)>,
    /// Indices whose home cannot be reached or written now: they stay in the queue.
    pub postponed: Vec<u8>,
}

/// What the census says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Every shard is good at home and nothing lies elsewhere.
    Whole,
    /// Something is to be done, or must wait.
    Mend(Plan),
    /// Fewer than k good shards could be found.
    Lost {
        /// Good ones.
        found: u8,
        /// Those that did not answer: they may come back.
        unreachable: u8,
    },
}

/// Weighs a census. `homes` are the slots of the shards by index; `writable` says whether a slot takes writes now.
pub fn weigh(code: Code, homes: &[Slot], sightings: &[Sighting], writable: impl Fn(Slot) -> bool) -> Verdict {
    assert!(homes.len() >= usize::from(code.n()), "every shard has a home");
    let good =
        |index: u8| sightings.iter().filter(move |s| s.index == index && s.found.is_ok()).map(|s| s.slot);
    let found = (0..code.n()).filter(|index| good(*index).next().is_some()).count() as u8;
    if found < code.k() {
        let lost = |i: u8| {
            let mut seen = sightings.iter().filter(|s| s.index == i);
            seen.any(|s| matches!(s.found, Err(Fault::Unreachable | Fault::Drive | Fault::NoSuchDrive)))
        };
        let unreachable = (0..code.n()).filter(|i| good(*i).next().is_none() && lost(*i)).count() as u8;
        return Verdict::Lost { found, unreachable };
    }
    let mut plan = Plan::default();
    plan.condemn.extend(
        sightings
            .iter()
            .filter(|s| matches!(s.found, Err(Fault::Corrupt | Fault::Conflict)))
            .map(|s| (s.index, s.slot)),
    );
    for index in 0..code.n() {
        let home = homes[usize::from(index)];
        let away = good(index).filter(|slot| *slot != home);
        if good(index).any(|slot| slot == home) {
            plan.clear.extend(away.map(|slot| (index, slot)));
        } else if writable(home) {
            plan.clear.extend(away.map(|slot| (index, slot)));
            plan.write.push((index, home));
            if good(index).next().is_none() {
                plan.rebuild.push(index);
            }
        } else {
            plan.postponed.push(index);
        }
    }
    if plan == Plan::default() {
        return Verdict::Whole;
    }
    plan.read = reads(code, &plan, |index| good(index).next());
    Verdict::Mend(plan)
}

/// The shards to copy, then as many more as decoding needs.
fn reads(code: Code, plan: &Plan, good: impl Fn(u8) -> Option<Slot>) -> Vec<(u8, Slot)> {
    let copied = |index: &u8| plan.write.iter().any(|(i, _)| i == index);
    let mut order: Vec<u8> = (0..code.n()).collect();
    order.sort_by_key(|index| !copied(index));
    let needed = if plan.rebuild.is_empty() { 0 } else { usize::from(code.k()) };
    let mut reads = vec![];
    for index in order {
        let Some(slot) = good(index) else { continue };
        if copied(&index) || reads.len() < needed {
            reads.push((index, slot));
        }
    }
    reads
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census(states: &[(u8, u16, Result<(), Fault>)]) -> Verdict {
        let code = Code::new(2, 2).expect("valid");
        let homes: Vec<Slot> = (0..4).map(Slot).collect();
        let sightings: Vec<Sighting> = states
            .iter()
            .map(|(index, slot, found)| Sighting { index: *index, slot: Slot(*slot), found: *found })
            .collect();
        weigh(code, &homes, &sightings, |slot| slot != Slot(3))
    }

    #[test]
    fn a_whole_stripe_is_left_alone() {
        let all = [(0, 0, Ok(())), (1, 1, Ok(())), (2, 2, Ok(())), (3, 3, Ok(()))];
        assert_eq!(census(&all), Verdict::Whole);
    }

    #[test]
    fn missing_shards_are_rebuilt_bad_ones_condemned_and_absent_homes_postponed() {
        let Verdict::Mend(plan) = census(&[
            (0, 0, Ok(())),
            (1, 1, Err(Fault::Corrupt)),
            (2, 2, Ok(())),
            (3, 3, Err(Fault::Unreachable)),
        ]) else {
            panic!("there is something to mend")
        };
        assert_eq!(plan.condemn, vec![(1, Slot(1))]);
        assert_eq!((plan.rebuild, plan.write), (vec![1], vec![(1, Slot(1))]));
        assert_eq!(plan.read, vec![(0, Slot(0)), (2, Slot(2))]);
        assert_eq!((plan.clear, plan.postponed), (vec![], vec![3]));
    }

    #[test]
    fn a_stand_in_is_copied_home_without_decoding_and_cleared_after() {
        let Verdict::Mend(plan) = census(&[
            (0, 0, Ok(())),
            (1, 1, Err(Fault::Missing)),
            (1, 9, Ok(())),
            (2, 2, Ok(())),
            (3, 3, Ok(())),
        ]) else {
            panic!("there is something to mend")
        };
        assert!(plan.rebuild.is_empty());
        assert_eq!(plan.read, vec![(1, Slot(9))]);
        assert_eq!((plan.write, plan.clear), (vec![(1, Slot(1))], vec![(1, Slot(9))]));
    }

    #[test]
    fn fewer_than_k_good_shards_are_reported_and_nothing_is_deleted() {
        let verdict = census(&[
            (0, 0, Ok(())),
            (1, 1, Err(Fault::Corrupt)),
            (2, 2, Err(Fault::Unreachable)),
            (3, 3, Err(Fault::Missing)),
        ]);
        assert_eq!(verdict, Verdict::Lost { found: 1, unreachable: 1 });
    }
}
