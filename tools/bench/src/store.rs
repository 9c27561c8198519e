//! `store`: one drive through the engines of the store, beside `fio` on the same file system.
//!
//! Owns the order of a run: rounds alternate between the subjects, values are medians over the rounds. Every round writes
//! a new directory (or file) and removes it outside of the clock. CPU is user and system time of the whole process, the
//! bench's own few callers among it.

mod engines;
mod fio;
mod mapped;
mod reading;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use rustix::time::{ClockId, clock_gettime};

use crate::process::load;
use crate::report::{Report, Row};
use crate::stats::median;

const ROUNDS_MAX: usize = 100;
const LARGE_BYTES_MAX: u64 = 64 << 30;

/// What to measure, and where.
#[derive(Args)]
pub struct Arguments {
    /// All of them unless named.
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// A directory on the drive to measure; some GiB free.
    #[arg(long)]
    dir: PathBuf,
    /// Rounds per case.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// MiB of large shards in a round.
    #[arg(long, default_value_t = 2048)]
    mib: u64,
    /// Small shards in a round.
    #[arg(long, default_value_t = 4000)]
    small: u32,
    /// The peer's program (Debian, Ubuntu: `apt install fio`; Fedora: `dnf install fio`).
    #[arg(long, default_value = "fio")]
    fio: PathBuf,
    /// JSON rows instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// 4 MiB shards, at depths 1 and 4, beside fio.
    Large,
    /// 4 KiB shards, each durable, at depths 1 and 16.
    Small,
    /// Ways to read: page cache, direct, ring, mmap; warm and cold.
    Reads,
}

/// One round of one subject.
#[derive(Clone, Default, Debug)]
pub struct Round {
    /// Bytes of payload.
    bytes: u64,
    /// Requests.
    requests: u64,
    took: Duration,
    cpu: Duration,
    /// Median latency of a request, if it was measured.
    p50: Option<Duration>,
}

/// The subcommand.
pub fn run(arguments: &Arguments) -> Result<()> {
    ensure!((1..=ROUNDS_MAX).contains(&arguments.rounds), "--rounds takes a number from 1 to {ROUNDS_MAX}");
    let bytes = arguments.mib << 20;
    ensure!((64 << 20..=LARGE_BYTES_MAX).contains(&bytes), "--mib takes a number from 64 to 65536");
    fs::create_dir_all(&arguments.dir).with_context(|| format!("making {}", arguments.dir.display()))?;
    let mut report = Report::new(arguments.json);
    report.add([Row {
        case: "MACHINE/load-before".into(),
        subject: "machine".into(),
        peer: None,
        value: load()?,
        unit: "tasks",
        ratio: None,
        n: 1,
    }]);
    let wanted = |part| arguments.parts.is_empty() || arguments.parts.contains(&part);
    if wanted(Part::Large) {
        fio::check(&arguments.fio)?;
        for depth in [1, 4] {
            large(arguments, bytes, depth, &mut report)?;
        }
    }
    if wanted(Part::Small) {
        for depth in [1, 16] {
            let case = format!("PUT-4KiB-{depth}");
            let subject = |engine| move |dir: &Path| engines::small(engine, dir, arguments.small, depth);
            let subjects: Subjects<'_> = vec![
                ("uring", Box::new(subject(engines::Engine::Uring))),
                ("threads", Box::new(subject(engines::Engine::Threads))),
                ("uring, large only", Box::new(subject(engines::Engine::UringLargeOnly))),
            ];
            compare(arguments, &case, &subjects, &mut report)?;
        }
    }
    if wanted(Part::Reads) {
        reading::measure(arguments, &mut report)?;
    }
    report.print();
    Ok(())
}

fn large(arguments: &Arguments, bytes: u64, depth: u32, report: &mut Report) -> Result<()> {
    let engine = |engine| move |dir: &Path| engines::large(engine, dir, bytes, depth);
    let subjects: Subjects<'_> = vec![
        ("uring", Box::new(engine(engines::Engine::Uring))),
        ("threads", Box::new(engine(engines::Engine::Threads))),
        ("fio", Box::new(move |dir: &Path| fio::write(&arguments.fio, dir, bytes, depth))),
    ];
    compare(arguments, &format!("PUT-4MiB-{depth}"), &subjects, report)
}

type Subjects<'a> = Vec<(&'static str, Box<dyn Fn(&Path) -> Result<Round> + 'a>)>;

/// Runs the subjects in turn, and compares the first with each other one.
fn compare(arguments: &Arguments, case: &str, subjects: &Subjects<'_>, report: &mut Report) -> Result<()> {
    let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); subjects.len()];
    for number in 0..arguments.rounds {
        // Forward and backward, so that nobody always comes after the same neighbour.
        let mut order: Vec<usize> = (0..subjects.len()).collect();
        if number % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let dir = arguments.dir.join(format!("pangea-bench-store-{}", std::process::id()));
            fs::create_dir(&dir).with_context(|| format!("making {}", dir.display()))?;
            let round = (subjects[at].1)(&dir).with_context(|| format!("{case}, {}", subjects[at].0));
            fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
            rounds[at].push(round?);
        }
    }
    report.add(rows(case, subjects, &rounds));
    Ok(())
}

type Figure = (&'static str, &'static str, fn(&Round) -> Option<f64>);

const FIGURES: [Figure; 5] = [
    ("throughput", "MB/s", |round| Some(round.bytes as f64 / 1e6 / round.took.as_secs_f64())),
    ("rate", "ops/s", |round| Some(round.requests as f64 / round.took.as_secs_f64())),
    ("per-cpu-second", "MB/s", |round| Some(round.bytes as f64 / 1e6 / round.cpu.as_secs_f64())),
    ("cpu", "us/op", |round| Some(round.cpu.as_secs_f64() * 1e6 / round.requests as f64)),
    ("p50", "ms", |round| round.p50.map(|p50| p50.as_secs_f64() * 1e3)),
];

fn rows(case: &str, subjects: &Subjects<'_>, rounds: &[Vec<Round>]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, unit, figure) in FIGURES {
        let values: Vec<Option<f64>> = rounds
            .iter()
            .map(|of_one| median(&of_one.iter().filter_map(figure).collect::<Vec<_>>()))
            .collect();
        let row = |at: usize, peer: Option<usize>| {
            let value = values[at]?;
            Some(Row {
                case: format!("{case}/{name}"),
                subject: subjects[at].0.into(),
                peer: peer.map(|peer| subjects[peer].0.into()),
                value,
                unit,
                ratio: peer.map(|peer| value / values[peer].unwrap_or(f64::NAN)),
                n: rounds[at].len(),
            })
        };
        rows.extend((1..subjects.len()).filter_map(|peer| row(0, Some(peer))));
        rows.extend((1..subjects.len()).filter_map(|peer| row(peer, None)));
    }
    rows
}

/// User and system time of this process, all threads and the kernel's workers for it.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
