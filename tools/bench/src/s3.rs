//! `s3`: loads S3 servers in turn, in one run, and compares them.
//!
//! Owns the order of a run: for every case, rounds A B A B … over all servers, so that whatever else the machine does hits
//! all of them alike; medians over the rounds. The first server is the subject, the others are its peers.

mod case;
mod listing;
mod round;
mod summary;
mod target;
mod work;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use self::case::{Case, Verb};
use self::round::{Limits, Round};
use self::target::{Amount, Target};
use crate::connection::Endpoint;
use crate::drive;
use crate::payload::Payloads;
use crate::process::Watched;
use crate::report::Report;
use crate::served::{Credentials, Served};
use crate::sigv4::Signer;

const ROUNDS_MAX: usize = 100;
const SECONDS_MAX: u64 = 600;
const OBJECTS_MAX: u64 = 1_000_000;
/// Between two rounds: what the last one left in flight may end.
const PAUSE: Duration = Duration::from_millis(300);
/// A server that has just started is idle after this.
const IDLE: Duration = Duration::from_secs(2);

/// Whom to load, with what, and for how long.
#[derive(Args)]
pub struct Arguments {
    /// The subject: a running server, `http://HOST:PORT`.
    #[arg(long)]
    endpoint: Option<String>,
    /// What the report calls it.
    #[arg(long, default_value = "pangea")]
    name: String,
    /// Of the subject, and of peers that have none of their own.
    #[arg(long, env = "PANGEA_BENCH_ACCESS_KEY", default_value = "")]
    access_key: String,
    /// The same; better given in the environment.
    #[arg(long, env = "PANGEA_BENCH_SECRET_KEY", default_value = "", hide_env_values = true)]
    secret_key: String,
    /// The subject's.
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// The subject's process: its CPU time and memory are reported.
    #[arg(long)]
    pid: Option<u32>,
    /// A running server to compare with; may be repeated, and then so must the other `--peer-*`, in the same order.
    #[arg(long)]
    peer_endpoint: Vec<String>,
    /// What the report calls it.
    #[arg(long)]
    peer_name: Vec<String>,
    /// The peer's.
    #[arg(long)]
    peer_access_key: Vec<String>,
    /// The peer's.
    #[arg(long)]
    peer_secret_key: Vec<String>,
    /// The peer's; Garage's is `garage` unless it is told otherwise.
    #[arg(long)]
    peer_region: Vec<String>,
    /// The peer's.
    #[arg(long)]
    peer_pid: Vec<u32>,
    /// Start this pangea binary as the subject.
    #[arg(long, requires = "dir", conflicts_with = "endpoint")]
    serve_pangea: Option<PathBuf>,
    /// Start this Garage binary as a peer: one node, metadata and data synced.
    #[arg(long, requires = "dir")]
    serve_garage: Option<PathBuf>,
    /// Garage's metadata engine; each one given is a peer of its own. (SQLite there syncs less: it may lose commits.)
    #[arg(long, value_enum, default_values_t = [GarageEngine::Lmdb], value_delimiter = ',')]
    garage_engine: Vec<GarageEngine>,
    /// Also load a bare hyper server: the upper bound.
    #[arg(long)]
    bare: bool,
    /// Where started servers keep their data: a new directory in here, removed at the end. Also measures its drive.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Leave objects, data and logs where they are.
    #[arg(long)]
    keep: bool,
    /// Which cases, for example `PUT-4KiB-1,GET`; all of them unless named.
    #[arg(long, value_delimiter = ',')]
    case: Vec<String>,
    /// Rounds per case and server.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds per round.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Payload bytes a round may move, in MiB.
    #[arg(long, default_value_t = 4096)]
    round_mib: u64,
    /// How many objects CREATE makes in all its rounds, and LIST finds.
    #[arg(long, default_value_t = 100_000)]
    objects: u64,
    /// No case begins after so many minutes.
    #[arg(long, default_value_t = 90)]
    minutes: u64,
    /// Seconds of rest before memory is read a last time.
    #[arg(long, default_value_t = 30)]
    settle: u64,
    /// Must be ours alone; made if missing.
    #[arg(long, default_value = "pangea-bench")]
    bucket: String,
    /// Hash and sign the bodies of PUTs, as SDKs do over plain HTTP.
    #[arg(long)]
    sign_bodies: bool,
    /// Of the payloads; the clock's unless given.
    #[arg(long)]
    seed: Option<u64>,
    /// JSON rows instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GarageEngine {
    Lmdb,
    Sqlite,
}

/// The servers of a run. Dropping it stops those that we started.
struct Field {
    targets: Vec<Target>,
    served: Vec<Served>,
}

/// The subcommand.
pub fn run(arguments: Arguments) -> Result<()> {
    let cases = case::chosen(&arguments.case)?;
    check(&arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let scratch = arguments.dir.as_deref().map(Scratch::new).transpose()?;
    let outcome = LocalSet::new().block_on(&runtime, async {
        let mut terminated = signal(SignalKind::terminate())?;
        tokio::select! {
            outcome = bench(&arguments, &cases, scratch.as_ref()) => outcome,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminated.recv() => bail!("terminated"),
        }
    });
    let kept = scratch.map(|scratch| scratch.end(arguments.keep)).transpose();
    let (report, errors) = outcome?;
    kept?;
    report.print();
    ensure!(errors == 0, "{errors} requests failed");
    Ok(())
}

fn check(arguments: &Arguments) -> Result<()> {
    ensure!((1..=ROUNDS_MAX).contains(&arguments.rounds), "--rounds is 1 to {ROUNDS_MAX}");
    ensure!((1..=SECONDS_MAX).contains(&arguments.seconds), "--seconds is 1 to {SECONDS_MAX}");
    ensure!((1..=OBJECTS_MAX).contains(&arguments.objects), "--objects is 1 to {OBJECTS_MAX}");
    ensure!(arguments.settle <= SECONDS_MAX, "--settle is at most {SECONDS_MAX}");
    ensure!(arguments.round_mib >= 1, "--round-mib is at least 1");
    let peers = arguments.peer_endpoint.len();
    for (flag, given) in [
        ("--peer-name", arguments.peer_name.len()),
        ("--peer-access-key", arguments.peer_access_key.len()),
        ("--peer-secret-key", arguments.peer_secret_key.len()),
        ("--peer-region", arguments.peer_region.len()),
        ("--peer-pid", arguments.peer_pid.len()),
    ] {
        ensure!(given == 0 || given == peers, "{flag} is given {given} times for {peers} --peer-endpoint");
    }
    Ok(())
}

async fn bench(arguments: &Arguments, cases: &[Case], scratch: Option<&Scratch>) -> Result<(Report, u64)> {
    let clock = || Ok::<_, anyhow::Error>(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64);
    let seed = arguments.seed.map_or_else(clock, Ok)?;
    let payloads = Rc::new(Payloads::new(seed));
    let mut report = Report::new(arguments.json);
    report.add([summary::machine()?]);
    let drive = scratch.map(|scratch| drive::measure(&scratch.0)).transpose()?;
    report.add(drive.iter().flat_map(drive::Drive::rows));

    let mut field = field(arguments, scratch, seed).await?;
    ensure!(
        !field.targets.is_empty(),
        "no server: give --endpoint, --serve-pangea, --serve-garage or --bare"
    );
    tokio::time::sleep(IDLE).await;
    report.add(summary::memory("IDLE", &field.targets)?);

    let (begun, mut errors) = (Instant::now(), 0);
    for (index, case) in cases.iter().enumerate() {
        if begun.elapsed() > Duration::from_secs(60 * arguments.minutes) {
            eprintln!("out of time: {} cases were left out, from {case} on", cases.len() - index);
            break;
        }
        let probed = scratch.filter(|_| summary::wants_appends(*case));
        let (rounds, appends) = match one_case(arguments, *case, &mut field.targets, &payloads, probed).await
        {
            Ok(found) => found,
            Err(error) => {
                field.served.iter().for_each(|served| eprintln!("{}: {}", served.url, served.last_words()));
                return Err(error);
            }
        };
        errors += rounds.iter().flatten().map(|round| round.errors).sum::<u64>();
        let rows = summary::rows(*case, &field.targets, &rounds, &appends);
        eprintln!("{:5.0} s {case}: {}", begun.elapsed().as_secs_f64(), summary::progress(&rows));
        report.add(rows);
    }
    if arguments.settle > 0 && field.targets.iter().any(|target| target.watched.is_some()) {
        tokio::time::sleep(Duration::from_secs(arguments.settle)).await;
        report.add(summary::memory("SETTLED", &field.targets)?);
    }
    if !arguments.keep && field.served.len() < field.targets.len() {
        eprintln!("removing the objects");
        for target in &mut field.targets {
            target.clear(&payloads).await.with_context(|| target.name.clone())?;
        }
    }
    Ok((report, errors))
}

/// All rounds of a case: for every target its rounds (none when it does not know the verb), and the drive's appends.
async fn one_case(
    arguments: &Arguments,
    case: Case,
    targets: &mut [Target],
    payloads: &Rc<Payloads>,
    probed: Option<&Scratch>,
) -> Result<(Vec<Vec<Round>>, Vec<f64>)> {
    let amount = Amount {
        limits: Limits {
            time: Duration::from_secs(arguments.seconds),
            bytes: arguments.round_mib.saturating_mul(1 << 20),
        },
        creates: match case.verb {
            Verb::Create => arguments.objects.div_ceil(arguments.rounds as u64),
            _ => arguments.objects,
        },
    };
    let mut rounds: Vec<Vec<Round>> = targets.iter().map(|_| Vec::new()).collect();
    let mut appends = Vec::new();
    for _ in 0..arguments.rounds {
        if let Some(scratch) = probed {
            appends.push(drive::probe(&scratch.0, payloads)?);
        }
        for (target, rounds) in targets.iter_mut().zip(&mut rounds) {
            if case.verb == Verb::List && !target.lists {
                continue;
            }
            rounds.push(target.round(case, payloads, amount).await?);
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok((rounds, appends))
}

/// Starts what is to be started and connects to everything; the subject comes first.
async fn field(arguments: &Arguments, scratch: Option<&Scratch>, seed: u64) -> Result<Field> {
    let mut field = Field { targets: Vec::new(), served: Vec::new() };
    if let Some(url) = &arguments.endpoint {
        let signer = Signer::new(&arguments.access_key, &arguments.secret_key, &arguments.region);
        let endpoint = Endpoint::new(url, signer, arguments.sign_bodies)?;
        let watched = arguments.pid.map(Watched);
        field.targets.push(Target::open(&arguments.name, endpoint, &arguments.bucket, watched).await?);
    }
    if let Some(scratch) = scratch {
        start(arguments, &scratch.0, &mut field).await?;
    }
    for (index, url) in arguments.peer_endpoint.iter().enumerate() {
        let own = |list: &[String], default: &str| list.get(index).map_or(default, |own| own).to_string();
        let signer = Signer::new(
            &own(&arguments.peer_access_key, &arguments.access_key),
            &own(&arguments.peer_secret_key, &arguments.secret_key),
            &own(&arguments.peer_region, "garage"),
        );
        let endpoint = Endpoint::new(url, signer, arguments.sign_bodies)?;
        let watched = arguments.peer_pid.get(index).copied().map(Watched);
        let name = own(&arguments.peer_name, &format!("peer{}", index + 1));
        field.targets.push(Target::open(&name, endpoint, &arguments.bucket, watched).await?);
    }
    if arguments.bare {
        let served = Served::bare(seed)?;
        let endpoint = Endpoint::new(&served.url, Signer::new("", "", ""), arguments.sign_bodies)?;
        let mut target = Target::open("bare", endpoint, &arguments.bucket, Some(served.watched())).await?;
        target.lists = false;
        field.targets.push(target);
        field.served.push(served);
    }
    Ok(field)
}

async fn start(arguments: &Arguments, dir: &Path, field: &mut Field) -> Result<()> {
    let credentials = Credentials::new()?;
    let mut started = Vec::new();
    if let Some(binary) = &arguments.serve_pangea {
        let served = Served::pangea(binary, dir, &credentials)?;
        started.push((arguments.name.as_str(), arguments.region.as_str(), served));
    }
    for engine in arguments.serve_garage.iter().flat_map(|_| &arguments.garage_engine) {
        let (name, engine) = match engine {
            GarageEngine::Lmdb => ("garage", "lmdb"),
            GarageEngine::Sqlite => ("garage-sqlite", "sqlite"),
        };
        let binary = arguments.serve_garage.as_deref().context("there is an engine only for a binary")?;
        let served = Served::garage(binary, dir, &credentials, &arguments.bucket, engine)?;
        started.push((name, crate::served::GARAGE_REGION, served));
    }
    for (name, region, served) in started {
        let signer = Signer::new(&credentials.access_key, &credentials.secret_key, region);
        let endpoint = Endpoint::new(&served.url, signer, arguments.sign_bodies)?;
        let opened = Target::open(name, endpoint, &arguments.bucket, Some(served.watched())).await;
        field.targets.push(opened.with_context(|| served.last_words())?);
        field.served.push(served);
    }
    Ok(())
}

/// The directory of one run, inside the one that was named.
struct Scratch(PathBuf);

impl Scratch {
    fn new(dir: &Path) -> Result<Self> {
        let path = dir.join(format!("pangea-bench-{}", std::process::id()));
        std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        std::fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self(path))
    }

    fn end(self, keep: bool) -> Result<()> {
        if keep {
            eprintln!("data and logs are kept in {}", self.0.display());
            return Ok(());
        }
        std::fs::remove_dir_all(&self.0).with_context(|| format!("removing {}", self.0.display()))
    }
}
