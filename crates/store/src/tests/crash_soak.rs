//! The long form of the crash states: random histories, every operation of the disk, every different thing that a power cut
//! may leave there, and again for every operation of the recovery. `cargo xtask soak crash`.

use std::time::Instant;

use super::crash::{Fate, History, check, fresh_history, open};
use super::crash_disk::{CrashDisk, Cut, cuts};

/// What the soak has to reach; states that differ from others at the same operation count.
const STATES: u64 = 1_000_000;
const PROGRESS_EVERY: u64 = 100_000;
const SHARDS: u64 = 16;

/// A dice of its own, so that a seed means the same for ever: xorshift64*.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
}

/// What was tried.
#[derive(Default)]
struct Tally {
    histories: u64,
    operations: u64,
    boundaries: u64,
    first: u64,
    second: u64,
    present: u64,
    absent: u64,
    by_cut: [u64; 6],
}

const KINDS: [&str; 6] = ["everything (prefix)", "dropped", "names dropped", "reordered", "torn", "holed"];

impl Tally {
    fn states(&self) -> u64 {
        self.first + self.second
    }

    fn add(&mut self, cut: Cut, fates: &std::collections::BTreeMap<u32, Fate>) {
        let kind = match cut {
            Cut::Keep => 0,
            Cut::Drop => 1,
            Cut::DropDir => 2,
            Cut::Reorder(_) => 3,
            Cut::Tear(_) => 4,
            Cut::Hole(_) => 5,
        };
        self.by_cut[kind] += 1;
        self.present += fates.values().filter(|fate| **fate == Fate::Present).count() as u64;
        self.absent += fates.values().filter(|fate| **fate == Fate::Absent).count() as u64;
    }

    fn print(&self, started: Instant) {
        let seconds = started.elapsed().as_secs_f64();
        let kinds: Vec<String> =
            KINDS.iter().zip(self.by_cut).map(|(kind, n)| format!("{kind} {n}")).collect();
        println!(
            "{} histories, {} operations acknowledged, {} write and flush boundaries: {} states, {} of them after a second cut \
             in recovery; {:.0} s, {:.0} states per second",
            self.histories,
            self.operations,
            self.boundaries,
            self.states(),
            self.second,
            seconds,
            self.states() as f64 / seconds.max(1e-9)
        );
        println!("  by what was not synced: {}", kinds.join(", "));
        println!(
            "  {} acknowledged shards read back exact, {} deleted ones absent; 0 lost, 0 wrong",
            self.present, self.absent
        );
    }
}

/// A short life of a drive: batches, deletes, puts again, checkpoints, compaction, restarts, in an order drawn by the seed.
fn drawn(seed: u64, tally: &mut Tally) -> History {
    let mut dice = Dice::new(seed);
    let mut h = fresh_history();
    let mut store = open(&h.disk);
    for _ in 0..6 + dice.below(8) {
        let mut shards: Vec<u32> = (0..1 + dice.below(4)).map(|_| dice.below(SHARDS) as u32).collect();
        shards.sort_unstable();
        shards.dedup();
        let is_there = |h: &History, n: &u32| h.fates.get(n) == Some(&Fate::Present);
        tally.operations += 1;
        match dice.below(10) {
            0..5 => {
                shards.retain(|n| !is_there(&h, n));
                h.put(&mut store, &shards);
            }
            5..7 => {
                shards.retain(|n| is_there(&h, n));
                h.delete(&mut store, &shards);
            }
            7 => store.checkpoint().expect("this disk does not fail"),
            8 => while !store.compact_step(24 << 10).expect("this disk does not fail").done {},
            _ => {
                store.shutdown().expect("this disk does not fail");
                drop(store);
                store = open(&h.disk);
            }
        }
    }
    h
}

/// Everything a cut may leave at an operation, without what is the same as another.
fn different(disk: &CrashDisk, ops: usize) -> Vec<Cut> {
    let mut seen = Vec::new();
    let is_new = |cut: &Cut| {
        let outcome = disk.outcome(ops, *cut);
        let new = !seen.contains(&outcome);
        if new {
            seen.push(outcome);
        }
        new
    };
    cuts().into_iter().filter(is_new).collect()
}

fn try_history(seed: u64, tally: &mut Tally) {
    let h = drawn(seed, tally);
    tally.histories += 1;
    for ops in 0..=h.disk.ops() {
        tally.boundaries += 1;
        for cut in different(&h.disk, ops) {
            let disk = h.disk.after_cut(ops, cut);
            let mut store = open(&disk);
            let first = || format!("seed {seed}, power cut after {ops} operations, {cut:?}");
            check(&mut store, h.at(ops), &first);
            tally.first += 1;
            tally.add(cut, h.at(ops));
            let recovery_ops = disk.ops();
            drop(store);
            for again in 0..=recovery_ops {
                for cut_again in different(&disk, again) {
                    let disk = disk.after_cut(again, cut_again);
                    let second = || format!("{}, again after {again}, {cut_again:?}", first());
                    check(&mut open(&disk), h.at(ops), &second);
                    tally.second += 1;
                    tally.add(cut_again, h.at(ops));
                }
            }
        }
    }
}

#[test]
fn a_drawn_history_keeps_its_promises_in_every_state() {
    let mut tally = Tally::default();
    try_history(1, &mut tally);
    assert!(tally.second > tally.first && tally.by_cut.iter().all(|n| *n > 0), "{:?}", tally.by_cut);
}

#[test]
#[ignore = "takes many minutes: cargo xtask soak crash"]
fn a_million_crash_states() {
    let (mut tally, started) = (Tally::default(), Instant::now());
    let mut printed = 0;
    for seed in 0.. {
        if tally.states() >= STATES {
            break;
        }
        try_history(seed, &mut tally);
        if tally.states() / PROGRESS_EVERY > printed {
            printed = tally.states() / PROGRESS_EVERY;
            println!("{} states, up to seed {seed} …", tally.states());
        }
    }
    tally.print(started);
}
