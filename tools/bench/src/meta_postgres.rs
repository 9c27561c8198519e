//! `meta-postgres`: metadata in PostgreSQL, beside raw `pgbench` on the same server in the same run.
//!
//! The server is one of its own in the temporary directory (`TMPDIR`), durable as in production. *Commits* are puts of new
//! objects with 1 KiB inline, one a caller at a time; pgbench inserts one row of the same size a transaction. *Lookups* are
//! GETs (head and blob) of random keys; pgbench selects one row by its key. Rounds alternate; values are medians over them.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use pangea_core::id::{BlobId, BucketId, ClusterId, RequestId, VersionId};
use pangea_core::keys::{KeyRef, WrappedKey};
use pangea_core::meta::{
    BlobBody, BucketKeyRow, BucketRow, Command, Condition, Content, ETag, Extent, NewBlob, NewVersion,
    Outcome, Request, VersionSelector, Versioning,
};
use pangea_core::seam::Entropy;
use pangea_meta::Meta;
use pangea_postgres::scratch::{Disk, Server, as_postgres};
use pangea_postgres::{Options, PostgresMeta};

use crate::report::{Report, Row};
use crate::stats::{median, percentile};

const CLUSTER: ClusterId = ClusterId([1; 16]);
const BUCKET: BucketId = BucketId([1; 16]);
const INLINE_BYTES: usize = 1024;
const CALLERS: [usize; 3] = [1, 16, 64];
const INSERT: &str = "INSERT INTO bench_rows (k, v) VALUES (decode(md5(random()::text), 'hex'), decode(repeat('00', 1024), 'hex'));\n";
const LOOKUP: &str = "\\set n random(1, 20000)\nSELECT v FROM bench_read WHERE k = :n;\n";
const LOOKUP_ROWS: u64 = 20_000;

/// What to measure.
#[derive(Args)]
pub struct Arguments {
    /// Rounds of each case.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each round.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Nodes that share the database; callers are divided among them.
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// Connections that write, of each node.
    #[arg(long, default_value_t = Options::WRITERS)]
    writers: usize,
    /// JSON rows instead of a table.
    #[arg(long)]
    json: bool,
}

/// Figures of one round.
struct Round {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

struct System;

impl Entropy for System {
    fn fill(&self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).expect("the system has randomness");
    }
}

/// The subcommand.
pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.rounds == 0 || arguments.seconds == 0 || arguments.nodes == 0 {
        bail!("rounds, seconds and nodes are at least 1");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let server = Server::start(Disk::Durable);
    let url = server.database("pangea");
    let opened = (0..arguments.nodes)
        .map(|_| PostgresMeta::open(options(&url, arguments.writers)?).map_err(|error| anyhow!("{error}")));
    let nodes: Vec<Arc<PostgresMeta>> = opened.map(|node| node.map(Arc::new)).collect::<Result<_>>()?;
    runtime.block_on(create_bucket(&*nodes[0]))?;
    let mut report = Report::new(arguments.json);
    report.add(prepare(&server, &runtime, &nodes)?);
    let length = Duration::from_secs(arguments.seconds);
    let next = Arc::new(AtomicU64::new(1 << 40));
    for callers in CALLERS {
        let commit = || measure(&runtime, &nodes, callers, length, Work::Commit(next.clone()));
        let lookup = || measure(&runtime, &nodes, callers, length, Work::Lookup);
        for (case, peer, ours) in [
            ("COMMIT", INSERT, &commit as &dyn Fn() -> Result<Round>),
            ("LOOKUP", LOOKUP, &lookup as &dyn Fn() -> Result<Round>),
        ] {
            let (mut pangea, mut pgbench) = (Vec::new(), Vec::new());
            for _ in 0..arguments.rounds {
                pangea.push(ours()?);
                pgbench.push(run_pgbench(&server, peer, callers, arguments.seconds)?);
            }
            report.add(rows(&format!("{case}-{callers}"), &pangea, &pgbench));
        }
    }
    report.print();
    Ok(())
}

fn options(url: &str, writers: usize) -> Result<Options> {
    Ok(Options {
        place: url.parse()?,
        roots: None,
        cluster: CLUSTER,
        known_generation: 0,
        now_ms: 1,
        entropy: Arc::new(System),
        writers,
        readers: Options::READERS,
        patience: Options::PATIENCE,
    })
}

async fn create_bucket(meta: &dyn Meta) -> Result<()> {
    let bucket = BucketRow {
        id: BUCKET,
        name: "bench".to_owned(),
        created_ms: 1,
        owner: "root".to_owned(),
        code: None,
        region_pin: String::new(),
        versioning: Versioning::Off,
        key_generation: 1,
        documents: Vec::new(),
    };
    let key = BucketKeyRow { master_generation: 1, wrapped: WrappedKey { nonce: [0; 12], sealed: [0; 48] } };
    let request =
        Request { id: RequestId([0xff; 16]), now_ms: 1, command: Command::CreateBucket { bucket, key } };
    match meta.apply(request).await? {
        Outcome::Done => Ok(()),
        other => bail!("the bucket was not made: {other:?}"),
    }
}

/// Ids as a writer draws them: all over the range.
fn id(number: u64) -> [u8; 16] {
    let hash = blake3::hash(&number.to_le_bytes());
    hash.as_bytes()[..16].try_into().expect("a hash is longer")
}

fn key(number: u64) -> Vec<u8> {
    format!("photos/2026/{number:012}.jpg").into_bytes()
}

fn put(number: u64) -> Request {
    let blob = BlobId(id(number));
    let body =
        BlobBody::Inline { key: KeyRef { bucket: BUCKET, generation: 1 }, sealed: vec![7; INLINE_BYTES] };
    let len = INLINE_BYTES as u64;
    let new = NewBlob { id: blob, len, body, spill: None, todos: Vec::new(), layout_epoch: 1 };
    let version = NewVersion {
        id: VersionId(id(number)),
        size: len,
        etag: ETag { md5: [7; 16], parts: 0 },
        content: Content::Blob(Extent { blob, offset: 0, len }),
        attributes: vec![("content-type".to_owned(), "image/jpeg".to_owned())],
        part_sizes: Vec::new(),
    };
    let command = Command::PutVersion {
        bucket: BUCKET,
        key: key(number),
        condition: Condition::default(),
        version,
        blob: Some(new),
    };
    Request { id: RequestId(id(number)), now_ms: number, command }
}

/// The rows that are looked up, in both kinds of tables; then statistics of them. What an object of ours took of disk and
/// of the server's log.
fn prepare(
    server: &Server,
    runtime: &tokio::runtime::Runtime,
    nodes: &[Arc<PostgresMeta>],
) -> Result<Vec<Row>> {
    let logged_before = number(server, "SELECT pg_current_wal_lsn() - '0/0'")?;
    let next = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let (meta, next) = (nodes[0].clone(), next.clone());
            runtime.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= LOOKUP_ROWS {
                        return Ok::<_, anyhow::Error>(());
                    }
                    committed(meta.apply(put(number)).await?)?;
                }
            })
        })
        .collect();
    for task in tasks {
        runtime.block_on(task)??;
    }
    let logged = number(server, "SELECT pg_current_wal_lsn() - '0/0'")? - logged_before;
    let size = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'pangea%'";
    let stored: f64 = server.sql_in("pangea", size).parse().context("the tables' size")?;
    server.sql("CREATE TABLE bench_rows (k BYTEA PRIMARY KEY, v BYTEA NOT NULL)");
    server.sql(
        "CREATE TABLE bench_read AS SELECT n::INT8 AS k, decode(repeat('00', 1024), 'hex') AS v \
         FROM generate_series(1, 20000) AS n",
    );
    server.sql("ALTER TABLE bench_read ADD PRIMARY KEY (k)");
    server.sql("VACUUM ANALYZE");
    server.sql_in("pangea", "VACUUM ANALYZE");
    let row = |case: &str, bytes: f64| Row {
        case: case.to_owned(),
        subject: "pangea".to_owned(),
        peer: None,
        value: bytes / 1000.0 / LOOKUP_ROWS as f64,
        unit: "KB/op",
        ratio: None,
        n: 1,
    };
    Ok(vec![row("OBJECT/stored", stored), row("OBJECT/logged", logged)])
}

fn number(server: &Server, statement: &str) -> Result<f64> {
    server.sql(statement).parse().with_context(|| format!("{statement} is no number"))
}

fn committed(outcome: Outcome) -> Result<()> {
    match outcome {
        Outcome::Committed { .. } => Ok(()),
        other => bail!("a put was answered {other:?}"),
    }
}

#[derive(Clone)]
enum Work {
    Commit(Arc<AtomicU64>),
    Lookup,
}

async fn one(meta: &dyn Meta, work: &Work, random: &mut u64) -> Result<()> {
    match work {
        Work::Commit(next) => committed(meta.apply(put(next.fetch_add(1, Ordering::Relaxed))).await?),
        Work::Lookup => {
            *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let wanted = key((*random >> 33) % LOOKUP_ROWS);
            match meta.head_with_blob(BUCKET, &wanted, VersionSelector::Current).await? {
                Some((_, true, Some(_))) => Ok(()),
                other => bail!("a key that is there was answered {other:?}"),
            }
        }
    }
}

fn measure(
    runtime: &tokio::runtime::Runtime,
    nodes: &[Arc<PostgresMeta>],
    callers: usize,
    length: Duration,
    work: Work,
) -> Result<Round> {
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (meta, work, stop) = (nodes[caller % nodes.len()].clone(), work.clone(), stop.clone());
            runtime.spawn(async move {
                let (mut taken, mut random) = (Vec::new(), caller as u64 + 1);
                while !stop.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    one(&*meta, &work, &mut random).await?;
                    taken.push(u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX));
                }
                Ok::<_, anyhow::Error>(taken)
            })
        })
        .collect();
    std::thread::sleep(length);
    stop.store(true, Ordering::Relaxed);
    let mut all = Vec::new();
    for task in tasks {
        all.extend(runtime.block_on(task)??);
    }
    Ok(round(all, begun.elapsed()))
}

fn round(mut taken_ns: Vec<u64>, took: Duration) -> Round {
    taken_ns.sort_unstable();
    let ms = |share| percentile(&taken_ns, share).unwrap_or(0) as f64 / 1e6;
    Round { per_second: taken_ns.len() as f64 / took.as_secs_f64(), p50_ms: ms(0.5), p99_ms: ms(0.99) }
}

/// pgbench with a log of every transaction.
fn run_pgbench(server: &Server, script: &str, clients: usize, seconds: u64) -> Result<Round> {
    let dir = std::env::temp_dir().join(format!("pangea-pgbench-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let (script_path, log) = (dir.join("script.sql"), dir.join("log"));
    fs::write(&script_path, script)?;
    open_to_all(&dir)?;
    let (port, clients, seconds_text) = (server.port().to_string(), clients.to_string(), seconds.to_string());
    let mut command = as_postgres("pgbench");
    command.args(["-n", "-M", "prepared", "-h", "127.0.0.1", "-U", "postgres", "-p", &port]);
    command.args(["-c", &clients, "-j", "1", "-T", &seconds_text, "-f"]).arg(&script_path);
    command.arg("-l").arg("--log-prefix").arg(&log).arg("postgres");
    let output = command.output().context("starting pgbench")?;
    if !output.status.success() {
        bail!("pgbench: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut taken = Vec::new();
    for entry in fs::read_dir(&dir)? {
        let path: PathBuf = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log")) {
            // client, transaction, microseconds, …
            let text = fs::read_to_string(&path)?;
            taken.extend(
                text.lines().filter_map(|line| Some(line.split(' ').nth(2)?.parse::<u64>().ok()? * 1000)),
            );
        }
    }
    fs::remove_dir_all(&dir)?;
    if taken.is_empty() {
        bail!("pgbench logged nothing");
    }
    Ok(round(taken, Duration::from_secs(seconds)))
}

/// pgbench runs as another user and writes its log there.
fn open_to_all(dir: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).context("opening the log's directory")
}

/// One figure of a round.
type Figure = fn(&Round) -> f64;

fn rows(case: &str, pangea: &[Round], pgbench: &[Round]) -> Vec<Row> {
    let middle = |rounds: &[Round], figure: Figure| {
        median(&rounds.iter().map(figure).collect::<Vec<_>>()).unwrap_or(0.0)
    };
    let figures: [(&str, &'static str, Figure); 3] = [
        ("rate", "ops/s", |round| round.per_second),
        ("p50", "ms", |round| round.p50_ms),
        ("p99", "ms", |round| round.p99_ms),
    ];
    let mut rows = Vec::new();
    for (name, unit, figure) in figures {
        let (ours, theirs) = (middle(pangea, figure), middle(pgbench, figure));
        let row = |subject: &str, value, peer: Option<&str>| Row {
            case: format!("{case}/{name}"),
            subject: subject.to_owned(),
            peer: peer.map(str::to_owned),
            value,
            unit,
            ratio: peer.map(|_| ours / theirs),
            n: pangea.len(),
        };
        rows.push(row("pangea", ours, Some("pgbench")));
        rows.push(row("pgbench", theirs, None));
    }
    rows
}
