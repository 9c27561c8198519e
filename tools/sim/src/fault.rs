//! The kinds of faults, and how often each was injected.

/// Everything bad that the simulator does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(usize)]
pub enum Fault {
    /// A process died without losing the power of its machine.
    Killed,
    /// A machine lost its power.
    PowerCut,
    /// It did so while it was recovering from the last time.
    CutInRecovery,
    /// A write that was not synced vanished with the power.
    UnsyncedLost,
    /// A write that was not synced survived in part.
    Torn,
    /// Unsynced writes reached the medium in another order.
    Reordered,
    /// A creation, removal or renaming that was not synced vanished with the power.
    NameLost,
    /// A sync failed once; what it should have made durable may be gone, and the next one succeeds.
    SyncFailed,
    /// A write failed.
    WriteFailed,
    /// A write found no space, half-way.
    NoSpace,
    /// A read came back short.
    ShortRead,
    /// A sync succeeded and a write is not there.
    LostWrite,
    /// A write went somewhere else.
    MisdirectedWrite,
    /// A read came from somewhere else.
    MisdirectedRead,
    /// Bits changed at rest.
    BitRot,
    /// A sector can no longer be read until it is written again.
    LatentError,
    /// One superblock copy was overwritten.
    SuperblockCopy,
    /// A drive answers 10 to 1000 times more slowly.
    Slow,
    /// A drive answers nothing for seconds.
    Stall,
    /// A drive is gone with all it held.
    DriveLost,
    /// A drive came back as it was some time ago.
    Rollback,
    /// Two drives came back in each other's place.
    Swapped,
    /// A message was lost.
    MessageLost,
    /// A message overtook others.
    MessageLate,
    /// Two nodes could not reach each other for a while.
    Partition,
    /// A metadata command was carried out and its answer lost.
    AnswerLost,
    /// A metadata command was lost before it was carried out, and nobody knew.
    CommandLost,
    /// The wall clock jumped.
    ClockJump,
    /// A drive was added, drained or restored while others worked.
    Reshaped,
}

/// How many kinds there are.
pub const KINDS: usize = Fault::Reshaped as usize + 1;

const NAMES: [&str; KINDS] = [
    "killed",
    "power-cut",
    "cut-in-recovery",
    "unsynced-lost",
    "torn",
    "reordered",
    "name-lost",
    "sync-failed",
    "write-failed",
    "no-space",
    "short-read",
    "lost-write",
    "misdirected-write",
    "misdirected-read",
    "bit-rot",
    "latent-error",
    "superblock-copy",
    "slow",
    "stall",
    "drive-lost",
    "rollback",
    "swapped",
    "message-lost",
    "message-late",
    "partition",
    "answer-lost",
    "command-lost",
    "clock-jump",
    "reshaped",
];

/// How often each kind was injected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Faults([u64; KINDS]);

impl Default for Faults {
    fn default() -> Self {
        Self([0; KINDS])
    }
}

impl Faults {
    /// Counts one.
    pub fn add(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    /// Adds another run's.
    pub fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, more)| *sum += more);
    }

    /// How often this kind was injected.
    pub fn count(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    /// Every kind by name, with its count.
    pub fn by_name(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        NAMES.into_iter().zip(self.0.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_counts_belong_together() {
        let mut faults = Faults::default();
        faults.add(Fault::Rollback);
        faults.add(Fault::ClockJump);
        let named: Vec<_> = faults.by_name().filter(|(_, count)| *count > 0).collect();
        assert_eq!(named, [("rollback", 1), ("clock-jump", 1)]);
    }
}
