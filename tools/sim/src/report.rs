//! What a run reports.

use std::fmt;

use crate::executor::{Sim, Stuck};
use crate::fault::Faults;
use crate::invariant::Checks;

/// Which world is simulated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scenario {
    /// One drive's shard store under crashes and damage.
    Store,
    /// Machines: client, transport, stores and metadata.
    Cluster,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Store, Self::Cluster];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Cluster => "cluster",
        }
    }

    /// The one of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name)
    }
}

/// A promise that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Violation {
    /// An acknowledged write is gone.
    Lost {
        /// What, and what was found instead.
        what: String,
    },
    /// Bytes that nobody wrote were returned as good.
    WrongBytes {
        /// What.
        what: String,
    },
    /// Something deleted came back, or a listing differs from what was acknowledged.
    Inconsistent {
        /// What.
        what: String,
    },
    /// An error that nothing explains.
    Unexplained {
        /// Which.
        what: String,
    },
    /// Two contents under one nonce.
    NonceReused {
        /// Where.
        what: String,
    },
    /// Two shards lie where only one may.
    Crowded {
        /// Which.
        what: String,
    },
    /// Something grew past its bound.
    Unbounded {
        /// What.
        what: String,
    },
    /// Faults stopped, and it did not become whole again.
    NotHealed {
        /// What is missing.
        what: String,
    },
    /// The run came to no end.
    Stuck(Stuck),
    /// The product panicked.
    Panicked {
        /// What it said.
        what: String,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { what } => write!(f, "acknowledged data lost: {what}"),
            Self::WrongBytes { what } => write!(f, "wrong bytes: {what}"),
            Self::Inconsistent { what } => write!(f, "inconsistent: {what}"),
            Self::Unexplained { what } => write!(f, "an error that no fault explains: {what}"),
            Self::NonceReused { what } => write!(f, "a nonce was used twice: {what}"),
            Self::Crowded { what } => write!(f, "two shards in one place: {what}"),
            Self::Unbounded { what } => write!(f, "past its bound: {what}"),
            Self::NotHealed { what } => write!(f, "not healed: {what}"),
            Self::Stuck(stuck) => write!(f, "no end: {stuck:?}"),
            Self::Panicked { what } => write!(f, "panicked: {what}"),
        }
    }
}

impl std::error::Error for Violation {}

impl From<Stuck> for Violation {
    fn from(stuck: Stuck) -> Self {
        Self::Stuck(stuck)
    }
}

/// What one run did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Its world.
    pub scenario: Scenario,
    /// Operations that were acknowledged.
    pub acknowledged: u64,
    /// Virtual microseconds.
    pub simulated_us: u64,
    /// Faults by kind.
    pub faults: Faults,
    /// Checks that held, by invariant.
    pub checks: Checks,
    /// Events in the trace.
    pub events: u64,
    /// The hash of the trace.
    pub trace_hash: u64,
    /// What went wrong, if anything did.
    pub violation: Option<Violation>,
}

impl Report {
    /// The report of a world that has ended.
    pub fn new(sim: &Sim, scenario: Scenario, acknowledged: u64, ended: Result<(), Violation>) -> Self {
        use pangea_core::seam::Clock;
        let (trace_hash, events) = sim.trace_hash();
        Self {
            seed: sim.seed(),
            scenario,
            acknowledged,
            simulated_us: sim.mono_us(),
            faults: sim.faults(),
            checks: sim.checks(),
            events,
            trace_hash,
            violation: ended.err(),
        }
    }
}
