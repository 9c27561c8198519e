//! Scenarios: worlds with a workload, a model that knows what must hold, and a plan of faults.

pub mod cluster;
pub mod store;

use crate::executor::Sim;
use crate::report::{Report, Scenario};

/// Runs one seed of a scenario; with `story`, tells it line by line.
pub fn run(scenario: Scenario, seed: u64, story: bool) -> (Report, Vec<String>) {
    let sim = Sim::new(seed);
    if story {
        sim.record_story();
    }
    let report = match scenario {
        Scenario::Store => store::run(&sim),
        Scenario::Cluster => cluster::run(&sim),
    };
    sim.end();
    (report, sim.story())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_run_every_time_and_keeps_every_promise() {
        for scenario in Scenario::ALL {
            for seed in 0..3 {
                let (first, _) = run(scenario, seed, false);
                let (again, story) = run(scenario, seed, true);
                assert_eq!(first.violation, None, "{} seed {seed}", scenario.name());
                assert_eq!(first, again, "{} seed {seed}", scenario.name());
                assert!(first.acknowledged > 0 && !story.is_empty());
            }
        }
    }

    #[test]
    fn every_invariant_is_checked_by_some_seed() {
        let mut checks = crate::invariant::Checks::default();
        for scenario in Scenario::ALL {
            for seed in 0..3 {
                checks.merge(&run(scenario, seed, false).0.checks);
            }
        }
        let never: Vec<&str> = checks.by_name().filter(|(_, n)| *n == 0).map(|(name, _)| name).collect();
        assert!(never.is_empty(), "never checked: {never:?}");
    }

    #[test]
    fn every_kind_of_fault_is_injected_by_some_seed() {
        let mut faults = crate::fault::Faults::default();
        for seed in 0..60 {
            let scenario = Scenario::ALL[(seed % 3).min(1) as usize];
            faults.merge(&run(scenario, seed, false).0.faults);
        }
        let never: Vec<&str> = faults.by_name().filter(|(_, n)| *n == 0).map(|(name, _)| name).collect();
        assert!(never.is_empty(), "never injected: {never:?}");
    }
}
