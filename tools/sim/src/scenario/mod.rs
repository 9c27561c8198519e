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
