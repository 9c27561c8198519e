//! Power cuts at every operation: what was acknowledged is there, in order, and nothing that was never asked.

use super::crash_disk::{CUTS, Image, Recorder};
use super::{kept_by, open, requests, run};
use crate::Engine;
use crate::sqlite::DumpedRow;

/// The states that a run went through, with the number of operations done when each was acknowledged.
struct Run {
    recorder: Recorder,
    states: Vec<(usize, Vec<DumpedRow>)>,
}

fn record(drives: usize, seed: u64) -> Run {
    let recorder = Recorder::new(vec![Image::default(); drives]);
    let mut states = vec![(0, Vec::new())];
    let asked = requests(seed, 36);
    for (life, third) in asked.chunks(12).enumerate() {
        let mut engine = open(&recorder.drives()).expect("opens");
        for (step, group) in third.chunks(2).enumerate() {
            run(&mut engine, group, 2);
            states.push((recorder.ops(), kept_by(&engine)));
            if life == 1 && step == 2 {
                engine.snapshot().expect("written");
            }
        }
    }
    Run { recorder, states }
}

impl Run {
    /// The engine shows the last acknowledged state before the cut, or the one that was being written.
    fn check(&self, engine: &Engine, ops: usize, what: &str) {
        let acknowledged = self.states.iter().rposition(|(at, _)| *at <= ops).expect("the first is at 0");
        let shown = kept_by(engine);
        let fits = self.states[acknowledged..].iter().take(2).any(|(_, state)| *state == shown);
        assert!(fits, "{what}: the state is neither that of group {acknowledged} nor the next");
    }
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_acknowledged() {
    for (drives, seed) in [(1, 41), (2, 42)] {
        let run = record(drives, seed);
        for ops in 0..=run.recorder.ops() {
            for cut in CUTS {
                let what = format!("{drives} drives, cut {cut:?} behind operation {ops}");
                let after = Recorder::new(run.recorder.cut(ops, cut));
                let engine = open(&after.drives()).unwrap_or_else(|error| panic!("{what}: {error}"));
                run.check(&engine, ops, &what);
            }
        }
    }
}

#[test]
fn after_a_power_cut_either_drive_alone_has_everything_acknowledged() {
    let run = record(2, 43);
    for ops in (0..=run.recorder.ops()).step_by(3) {
        for cut in CUTS {
            for drive in 0..2 {
                let what = format!("drive {drive} alone, cut {cut:?} behind operation {ops}");
                let after = Recorder::new(vec![run.recorder.cut(ops, cut).remove(drive)]);
                let engine = open(&after.drives()).unwrap_or_else(|error| panic!("{what}: {error}"));
                run.check(&engine, ops, &what);
            }
        }
    }
}

#[test]
fn a_second_power_cut_during_recovery_changes_nothing() {
    let run = record(2, 44);
    for ops in (0..=run.recorder.ops()).step_by(13) {
        for cut in CUTS {
            let once = Recorder::new(run.recorder.cut(ops, cut));
            let base = once.images();
            let first = kept_by(&open(&once.drives()).expect("opens"));
            for again in (0..=once.ops()).step_by(2) {
                for second in CUTS {
                    let twice = Recorder::new(once.cut_from(&base, again, second));
                    let what = format!("cut {cut:?} behind {ops}, then {second:?} behind {again}");
                    let engine = open(&twice.drives()).unwrap_or_else(|error| panic!("{what}: {error}"));
                    assert_eq!(kept_by(&engine), first, "{what}");
                }
            }
        }
    }
}
