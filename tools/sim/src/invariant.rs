//! The invariants that the runs check, by name, and how often each was checked.
//!
//! A check that never happens cannot fail: the counts stand in every report beside the faults.

/// What must always hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(usize)]
pub enum Invariant {
    /// What was acknowledged is there, byte-exact, until it is overwritten or deleted.
    I1,
    /// A read gives one state whole, or an error: nothing mixed, nothing wrong.
    I2,
    /// Some order of one key's requests, conditional ones among them, explains all answers; a listing says the same.
    I3,
    /// No two shards of a chunk on one drive, no shard on two drives.
    I4,
    /// Faults have stopped: all shards are there again after a bounded number of passes.
    I5,
    /// What is being drained ends holding nothing and leaves the layout.
    I6,
    /// Nothing referenced is freed; drives hold what is referenced and bounded garbage.
    I7,
    /// Queues, tasks and memory keep to their bounds.
    I9,
    /// An error has a type that a fault explains; nothing panics.
    I12,
}

/// How many there are.
pub const INVARIANTS: usize = Invariant::I12 as usize + 1;

const NAMES: [&str; INVARIANTS] = [
    "I1 acknowledged is there",
    "I2 no wrong bytes",
    "I3 one order explains all",
    "I4 one drive a shard",
    "I5 whole again",
    "I6 drained is empty",
    "I7 garbage is bounded",
    "I9 bounds",
    "I12 errors are explained",
];

/// How often each was checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checks([u64; INVARIANTS]);

impl Default for Checks {
    fn default() -> Self {
        Self([0; INVARIANTS])
    }
}

impl Checks {
    /// Counts some.
    pub fn add(&mut self, invariant: Invariant, times: u64) {
        self.0[invariant as usize] += times;
    }

    /// Adds another run's.
    pub fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, more)| *sum += more);
    }

    /// How often this one was checked.
    pub fn count(&self, invariant: Invariant) -> u64 {
        self.0[invariant as usize]
    }

    /// Every one by name, with its count.
    pub fn by_name(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        NAMES.into_iter().zip(self.0.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_counts_belong_together() {
        let mut checks = Checks::default();
        checks.add(Invariant::I1, 2);
        checks.add(Invariant::I12, 1);
        let named: Vec<_> = checks.by_name().filter(|(_, count)| *count > 0).collect();
        assert_eq!(named, [("I1 acknowledged is there", 2), ("I12 errors are explained", 1)]);
    }
}
