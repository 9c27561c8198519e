//! The health of drives: what is made of what probes find, and when the data of a drive that is out is made whole elsewhere.
//!
//! ```text
//! Well ──finding──▶ Suspect ──again──▶ Out(cause) ──well, twice──▶ Well
//!   └────gone or another drive: at once ────┘
//! ```
//! Repair is a policy and not a threshold: a drive that is broken for good is written off after a moment in which others may
//! follow (one change instead of many); one that is merely away gets a grace period, unless so much is away that the next
//! loss would hurt.

use crate::layout::{Layout, Role, Slot};
use crate::place::place;
use crate::seam::MonoUs;

/// Findings in a row that put a drive out, or back.
const STRIKES: u8 = 2;
/// How long a drive may be away before its data is made whole elsewhere.
pub const GRACE_US: u64 = 15 * 60 * 1_000_000;
/// How long a broken drive waits for others that broke with it.
pub const BATCH_US: u64 = 60 * 1_000_000;

/// What a probe found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finding {
    /// All is well.
    Well,
    /// It is not there: unplugged, unmounted, renamed.
    Gone,
    /// Another drive is in its place.
    Other,
    /// It does not answer in time.
    Silent,
    /// The medium is read-only.
    ReadOnly,
    /// It fails to read or write.
    Failing,
}

/// Why a drive is out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Cause {
    /// See [`Finding::Gone`].
    Gone,
    /// See [`Finding::Other`].
    Other,
    /// See [`Finding::Silent`].
    Silent,
    /// See [`Finding::ReadOnly`].
    ReadOnly,
    /// See [`Finding::Failing`].
    Failing,
}

impl Cause {
    /// Whether it will not be back by itself.
    pub fn is_permanent(self) -> bool {
        matches!(self, Self::ReadOnly | Self::Failing)
    }
}

impl Finding {
    fn cause(self) -> Option<Cause> {
        match self {
            Self::Well => None,
            Self::Gone => Some(Cause::Gone),
            Self::Other => Some(Cause::Other),
            Self::Silent => Some(Cause::Silent),
            Self::ReadOnly => Some(Cause::ReadOnly),
            Self::Failing => Some(Cause::Failing),
        }
    }

    /// Whether there is nothing to doubt.
    fn is_certain(self) -> bool {
        matches!(self, Self::Gone | Self::Other | Self::ReadOnly)
    }
}

/// One drive's health.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Health {
    out: Option<(Cause, MonoUs)>,
    /// Findings in a row that speak against what is believed.
    strikes: u8,
}

impl Health {
    /// A drive that is out from the start.
    pub fn out_since(cause: Cause, now: MonoUs) -> Self {
        Self { out: Some((cause, now)), strikes: 0 }
    }

    /// Why it is out and since when; `None`: it works.
    pub fn out(&self) -> Option<(Cause, MonoUs)> {
        self.out
    }

    /// Whether it is out, and the last finding spoke against that: it may be back.
    pub fn may_be_back(&self) -> bool {
        self.out.is_some() && self.strikes > 0
    }

    /// Takes a finding in; `true`: what is believed has changed.
    pub fn see(&mut self, finding: Finding, now: MonoUs) -> bool {
        match (self.out, finding.cause()) {
            (None, None) => self.strikes = 0,
            (None, Some(cause)) => {
                self.strikes += 1;
                if finding.is_certain() || self.strikes >= STRIKES {
                    *self = Self::out_since(cause, now);
                    return true;
                }
            }
            (Some((old, since)), Some(cause)) => {
                self.strikes = 0;
                self.out = Some((cause, since));
                return old != cause;
            }
            (Some(_), None) => {
                self.strikes += 1;
                if self.strikes >= STRIKES {
                    *self = Self::default();
                    return true;
                }
            }
        }
        false
    }
}

/// What the repair policy wants.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verdict {
    /// Drives whose data is to be made whole elsewhere now.
    pub write_off: Vec<Slot>,
    /// When to ask again, if nothing happens before.
    pub look_again: Option<MonoUs>,
    /// Drives that would be written off if there were other drives to take their place.
    pub no_room: Vec<Slot>,
}

/// Weighs the drives that are out: slot, why and since when.
pub fn judge(layout: &Layout, out: &[(Slot, Cause, MonoUs)], now: MonoUs) -> Verdict {
    let mut verdict = Verdict::default();
    let active = |slot: Slot| layout.drive(slot).is_some_and(|drive| drive.role == Role::Active);
    let out: Vec<_> = out.iter().copied().filter(|(slot, ..)| active(*slot)).collect();
    if out.is_empty() {
        return verdict;
    }
    let code = layout.code;
    let urgent = worst_stripe(layout, &out) < u32::from(code.k()) + u32::from(code.m()).div_ceil(2);
    let due = |cause: Cause, since: MonoUs| {
        since + if cause.is_permanent() || urgent { BATCH_US } else { GRACE_US }
    };
    let ripe: Vec<Slot> =
        out.iter().filter(|(_, cause, since)| due(*cause, *since) <= now).map(|(slot, ..)| *slot).collect();
    verdict.look_again = out.iter().map(|(_, cause, since)| due(*cause, *since)).filter(|at| *at > now).min();
    // Shards must not double up on the drives that are left: that would survive less, not more.
    let working = layout.active().filter(|d| out.iter().all(|(slot, ..)| *slot != d.slot)).count();
    if working >= usize::from(code.n()) {
        verdict.write_off = ripe;
    } else {
        verdict.no_room = ripe;
    }
    verdict
}

/// Shards that the worst stripe has on drives that work.
fn worst_stripe(layout: &Layout, out: &[(Slot, Cause, MonoUs)]) -> u32 {
    let working = |slot: &&Slot| out.iter().all(|(gone, ..)| gone != *slot);
    let left = |partition| {
        place(layout, layout.code.n(), partition).map_or(0, |p| p.shards().iter().filter(working).count())
    };
    (0..layout.partitions()).map(left).min().unwrap_or(0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Code;
    use crate::layout::tests::layout;

    const S: u64 = 1_000_000;

    #[test]
    fn one_strange_answer_is_no_illness_and_an_empty_mount_is() {
        let mut health = Health::default();
        assert!(!health.see(Finding::Silent, S));
        assert!(!health.see(Finding::Well, 2 * S));
        assert!(!health.see(Finding::Failing, 3 * S));
        assert!(health.see(Finding::Failing, 4 * S));
        assert_eq!(health.out(), Some((Cause::Failing, 4 * S)));
        assert!(!health.see(Finding::Well, 5 * S));
        assert!(health.see(Finding::Well, 6 * S));
        assert_eq!(health.out(), None);
        assert!(health.see(Finding::Gone, 7 * S), "what is not there is not there");
        assert!(health.see(Finding::Other, 8 * S));
        assert_eq!(health.out(), Some((Cause::Other, 7 * S)), "out since it left");
    }

    #[test]
    fn absence_has_its_grace_and_a_broken_drive_has_not() {
        let mut layout = layout(16, 1, 100);
        layout.code = Code::new(10, 4).expect("valid");
        let away = |cause| judge(&layout, &[(Slot(3), cause, 0)], BATCH_US);
        assert_eq!(away(Cause::Failing).write_off, vec![Slot(3)]);
        assert_eq!((away(Cause::Gone).write_off, away(Cause::Gone).look_again), (vec![], Some(GRACE_US)));
        assert_eq!(judge(&layout, &[(Slot(3), Cause::Gone, 0)], GRACE_US).write_off, vec![Slot(3)]);
    }

    #[test]
    fn with_fewer_than_k_and_half_of_m_there_is_no_grace() {
        let mut layout = layout(20, 1, 100);
        layout.code = Code::new(10, 4).expect("valid");
        let gone = |n: u16| (0..n).map(|slot| (Slot(slot), Cause::Gone, 0)).collect::<Vec<_>>();
        // Among 20 drives some stripe has its shards on any two or three of them.
        assert_eq!(judge(&layout, &gone(2), BATCH_US).write_off, vec![]);
        assert_eq!(judge(&layout, &gone(3), BATCH_US).write_off, vec![Slot(0), Slot(1), Slot(2)]);
    }

    #[test]
    fn nobody_is_written_off_where_shards_would_double_up() {
        let layout = layout(4, 1, 100);
        let verdict = judge(&layout, &[(Slot(1), Cause::Failing, 0)], GRACE_US);
        assert_eq!((verdict.write_off, verdict.no_room), (vec![], vec![Slot(1)]));
        let mut leaving = layout.clone();
        leaving.drives[1].role = Role::Draining;
        assert_eq!(judge(&leaving, &[(Slot(1), Cause::Failing, 0)], GRACE_US), Verdict::default());
    }
}
