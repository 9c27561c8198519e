//! `pangea-sim`: runs seeds, prints what they did, and the command that reproduces the first failure.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use pangea_sim::fault::Faults;
use pangea_sim::invariant::Checks;
use pangea_sim::report::{Report, Scenario, Violation};
use pangea_sim::scenario;

const SEEDS_DEFAULT: u64 = 100;
const SEEDS_SOAK: u64 = 20_000;
/// Every so many seeds one is run again and must leave the same trace.
const REPEAT_EVERY: u64 = 25;
/// Failures after which a run gives up: the first ones tell enough.
const FAILURES_MAX: usize = 10;
const PROGRESS_EVERY: u64 = 1000;
const USAGE: &str = "\
usage: pangea-sim [--seeds N] [--seed S] [--soak] [--scenario store|cluster] [--verbose]
  --seeds N     run N seeds of every scenario (default 100)
  --seed S      the first seed (default 0); alone: only this one
  --soak        20,000 seeds
  --scenario X  only this scenario
  --verbose     a line for every seed
  --story       every happening in words, for one seed";

struct Arguments {
    first: u64,
    seeds: u64,
    scenarios: Vec<Scenario>,
    verbose: bool,
    story: bool,
}

fn parse(args: impl Iterator<Item = String>) -> Option<Arguments> {
    let (mut first, mut seeds, mut scenarios) = (None, None, Scenario::ALL.to_vec());
    let (mut verbose, mut story) = (false, false);
    let mut args = args;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seeds" => seeds = Some(args.next()?.parse().ok()?),
            "--seed" => first = Some(args.next()?.parse().ok()?),
            "--soak" => seeds = Some(SEEDS_SOAK),
            "--scenario" => scenarios = vec![Scenario::parse(&args.next()?)?],
            "--verbose" => verbose = true,
            "--story" => story = true,
            _ => return None,
        }
    }
    let seeds = seeds.unwrap_or(if first.is_some() { 1 } else { SEEDS_DEFAULT });
    Some(Arguments { first: first.unwrap_or(0), seeds, scenarios, verbose, story })
}

fn main() -> ExitCode {
    let Some(arguments) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut good = true;
    for scenario in &arguments.scenarios {
        good &= run_all(*scenario, &arguments);
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a scenario's seeds and prints the sum; `true` if no promise was broken.
fn run_all(scenario: Scenario, arguments: &Arguments) -> bool {
    let started = Spent::now();
    let mut sum = Sum::default();
    for seed in arguments.first..arguments.first.saturating_add(arguments.seeds) {
        let report = run(scenario, seed, arguments.story);
        if arguments.verbose {
            print_line(&report);
        }
        sum.add(&report);
        if seed % REPEAT_EVERY == 0 && report.violation.is_none() {
            sum.repeated += 1;
            let again = run(scenario, seed, false);
            if again != report {
                sum.failures += 1;
                println!(
                    "NOT DETERMINISTIC: seed {seed} of {}: {report:?} and then {again:?}",
                    scenario.name()
                );
            }
        }
        if sum.failures >= FAILURES_MAX {
            println!("giving up after {FAILURES_MAX} failures");
            break;
        }
        if sum.seeds % PROGRESS_EVERY == 0 {
            println!("{}: {} seeds, {} failures …", scenario.name(), sum.seeds, sum.failures);
        }
    }
    sum.print(scenario, started.elapsed());
    sum.failures == 0
}

/// Time spent: this thread's CPU time where the system tells it (Linux), else the wall's.
struct Spent {
    cpu_s: Option<f64>,
    wall: Instant,
}

impl Spent {
    fn now() -> Self {
        Self { cpu_s: cpu_seconds(), wall: Instant::now() }
    }

    /// Seconds since, and of which clock.
    fn elapsed(&self) -> (f64, &'static str) {
        match (self.cpu_s, cpu_seconds()) {
            (Some(from), Some(to)) => (to - from, "CPU second"),
            _ => (self.wall.elapsed().as_secs_f64(), "second"),
        }
    }
}

/// The simulator has one thread: its first number is nanoseconds on a CPU.
fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    let nanoseconds: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds as f64 / 1e9)
}

/// One run; a panic of the product is a violation like any other.
fn run(scenario: Scenario, seed: u64, story: bool) -> Report {
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let (report, lines) = scenario::run(scenario, seed, story);
        lines.iter().for_each(|line| println!("{line}"));
        report
    }));
    ran.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let what = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Report {
            seed,
            scenario,
            acknowledged: 0,
            simulated_us: 0,
            faults: Faults::default(),
            checks: Checks::default(),
            events: 0,
            trace_hash: 0,
            violation: Some(Violation::Panicked { what: what.unwrap_or_default() }),
        }
    })
}

fn print_line(report: &Report) {
    println!(
        "{} seed {}: {} acknowledged, {} events, {:.1} s simulated, trace {:016x}",
        report.scenario.name(),
        report.seed,
        report.acknowledged,
        report.events,
        report.simulated_us as f64 / 1e6,
        report.trace_hash
    );
}

#[derive(Default)]
struct Sum {
    seeds: u64,
    repeated: u64,
    acknowledged: u64,
    simulated_us: u64,
    events: u64,
    faults: Faults,
    checks: Checks,
    last_hash: u64,
    failures: usize,
}

impl Sum {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.acknowledged += report.acknowledged;
        self.simulated_us += report.simulated_us;
        self.events += report.events;
        self.faults.merge(&report.faults);
        self.checks.merge(&report.checks);
        self.last_hash = report.trace_hash;
        if let Some(violation) = &report.violation {
            self.failures += 1;
            let (name, seed) = (report.scenario.name(), report.seed);
            println!("FAILED: {name} seed {seed}: {violation}");
            println!("  reproduce: cargo xtask sim --scenario {name} --seed {seed}");
        }
    }

    fn print(&self, scenario: Scenario, (seconds, clock): (f64, &str)) {
        let events_per_second = self.events as f64 / seconds.max(1e-9);
        println!(
            "{}: {} seeds ({} of them twice), {} acknowledged operations, {:.0} s simulated, {} failures",
            scenario.name(),
            self.seeds,
            self.repeated,
            self.acknowledged,
            self.simulated_us as f64 / 1e6,
            self.failures
        );
        let faults: Vec<String> =
            self.faults.by_name().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name} {n}")).collect();
        println!("  faults: {}", faults.join(", "));
        let checks: Vec<String> =
            self.checks.by_name().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name} {n}")).collect();
        println!("  invariants, times checked: {}", checks.join(", "));
        println!(
            "  {} events in {seconds:.1} {clock}s: {events_per_second:.0} events per {clock}; trace of the last seed {:016x}",
            self.events, self.last_hash
        );
    }
}
