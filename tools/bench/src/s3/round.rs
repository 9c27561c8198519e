//! Rounds: one server, one kind of work, a bounded time; what came out.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use hyper::Method;
use tokio::task::JoinSet;

use super::target::Target;
use super::work::{Op, Work};
use crate::connection::{Connection, Failure};
use crate::payload::Payloads;
use crate::process::Watched;
use crate::stats::percentile;

/// A round ends after so many requests, whatever its time.
const REQUESTS_MAX: usize = 1_000_000;
/// More failed requests than this end the run: the numbers would mean nothing.
const ERRORS_MAX: u64 = 100;

/// When a round ends, if its work does not end before. Requests under way are finished and counted.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// No request starts later.
    pub time: Duration,
    /// Payload bytes, so that a fast server does not fill the drive.
    pub bytes: u64,
}

/// What one round found.
#[derive(Default, Debug)]
pub struct Round {
    /// Requests that succeeded.
    pub requests: u64,
    /// Keys that were listed.
    pub keys: u64,
    /// Payload bytes that travelled.
    pub bytes: u64,
    /// From the first request's start to the last one's end.
    pub wall: Duration,
    /// Nanoseconds.
    pub p50: u64,
    /// Nanoseconds.
    pub p99: u64,
    /// Requests that failed.
    pub errors: u64,
    /// CPU time of the server's process.
    pub cpu: Option<Duration>,
    /// Bytes that the server's process caused to be written to drives.
    pub written: Option<u64>,
    /// CPU time of this process: near `wall`, and the client was the limit.
    pub client_cpu: Duration,
    /// Resident memory of the server before and after.
    pub rss: Option<(u64, u64)>,
}

/// What all connections of a round write to.
#[derive(Default)]
pub struct Tally {
    latencies: Vec<u64>,
    requests: u64,
    keys: u64,
    bytes: u64,
    errors: u64,
    first_error: Option<String>,
}

impl Tally {
    /// A request succeeded.
    pub fn count(&mut self, latency: Duration, bytes: u64, keys: u64) {
        self.latencies.push(latency.as_nanos() as u64);
        self.requests += 1;
        self.bytes += bytes;
        self.keys += keys;
    }

    /// A request failed. Wrong bytes, or too many failures, end the round.
    pub fn fail(&mut self, failure: Failure) -> Result<()> {
        if matches!(failure, Failure::WrongBytes { .. }) {
            return Err(failure.into());
        }
        self.errors += 1;
        let first = self.first_error.get_or_insert_with(|| failure.to_string());
        if self.errors > ERRORS_MAX {
            bail!("more than {ERRORS_MAX} failed requests, the first: {first}");
        }
        Ok(())
    }

    fn full(&self, limits: &Limits) -> bool {
        self.requests as usize >= REQUESTS_MAX || self.bytes >= limits.bytes
    }
}

/// Meters of a server and of ourselves, read before and after.
struct Meters {
    server: Option<Watched>,
    begun: Instant,
    cpu: Option<Duration>,
    written: Option<u64>,
    client_cpu: Duration,
    rss: Option<u64>,
}

impl Meters {
    fn start(server: Option<Watched>) -> Result<Self> {
        Ok(Self {
            server,
            cpu: server.map(Watched::cpu).transpose()?,
            written: server.and_then(Watched::written_bytes),
            rss: server.map(Watched::rss_bytes).transpose()?,
            client_cpu: Watched::own().cpu()?,
            begun: Instant::now(),
        })
    }

    fn stop(self, tally: Tally) -> Result<Round> {
        let wall = self.begun.elapsed();
        let cpu = self.server.map(Watched::cpu).transpose()?;
        let rss = self.server.map(Watched::rss_bytes).transpose()?;
        let mut latencies = tally.latencies;
        latencies.sort_unstable();
        Ok(Round {
            requests: tally.requests,
            keys: tally.keys,
            bytes: tally.bytes,
            wall,
            p50: percentile(&latencies, 0.5).unwrap_or_default(),
            p99: percentile(&latencies, 0.99).unwrap_or_default(),
            errors: tally.errors,
            cpu: cpu.zip(self.cpu).map(|(after, before)| after.saturating_sub(before)),
            written: (self.server.and_then(Watched::written_bytes).zip(self.written))
                .map(|(after, before)| after.saturating_sub(before)),
            client_cpu: Watched::own().cpu()?.saturating_sub(self.client_cpu),
            rss: self.rss.zip(rss),
        })
    }
}

/// Does the work over `concurrency` connections, which are open before the clock starts.
pub async fn run(
    target: &Target,
    payloads: &Rc<Payloads>,
    work: &Rc<RefCell<impl Work + 'static>>,
    concurrency: usize,
    limits: Limits,
) -> Result<Round> {
    timed(target, concurrency, |connection, tally, begun| {
        let (work, payloads, bucket) = (work.clone(), payloads.clone(), target.bucket.clone());
        async move { draw(connection, &bucket, &payloads, &work, &tally, begun, limits).await }
    })
    .await
}

/// Runs one task per connection between two readings of the meters.
pub async fn timed<F, T>(target: &Target, concurrency: usize, task: F) -> Result<Round>
where
    F: Fn(Connection, Rc<RefCell<Tally>>, Instant) -> T,
    T: Future<Output = Result<()>> + 'static,
{
    let mut connections = Vec::with_capacity(concurrency);
    for _ in 0..concurrency {
        connections.push(Connection::open(&target.endpoint).await.context("connecting")?);
    }
    let tally = Rc::new(RefCell::new(Tally::default()));
    let mut tasks = JoinSet::new();
    let meters = Meters::start(target.watched)?;
    for connection in connections {
        tasks.spawn_local(task(connection, tally.clone(), meters.begun));
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("a connection's task")??;
    }
    let mut tally = tally.take();
    if let Some(first) = tally.first_error.take() {
        eprintln!("  {}: {} requests failed, the first: {first}", target.name, tally.errors);
    }
    meters.stop(tally)
}

/// One connection: draws requests until there is no more work, or no more time.
async fn draw(
    mut connection: Connection,
    bucket: &str,
    payloads: &Payloads,
    work: &RefCell<impl Work>,
    tally: &RefCell<Tally>,
    begun: Instant,
    limits: Limits,
) -> Result<()> {
    while begun.elapsed() < limits.time && !tally.borrow().full(&limits) {
        let Some(op) = work.borrow_mut().next() else { break };
        let start = Instant::now();
        match perform(&mut connection, bucket, payloads, &op).await {
            Ok(()) => {
                work.borrow_mut().done(&op);
                tally.borrow_mut().count(start.elapsed(), op.bytes(), 0);
            }
            Err(failure) => tally.borrow_mut().fail(failure)?,
        }
    }
    Ok(())
}

async fn perform(
    connection: &mut Connection,
    bucket: &str,
    payloads: &Payloads,
    op: &Op,
) -> Result<(), Failure> {
    match op {
        Op::Put(key) => {
            let body = payloads.object(key.number, key.size);
            connection.order(Method::PUT, &format!("/{bucket}/{key}"), body).await
        }
        Op::Get(key) => {
            let expected = payloads.object(key.number, key.size);
            connection.get(&format!("/{bucket}/{key}"), &expected).await
        }
        Op::Head(key) => connection.order(Method::HEAD, &format!("/{bucket}/{key}"), Bytes::new()).await,
        Op::Delete(key) => connection.order(Method::DELETE, &format!("/{bucket}/{key}"), Bytes::new()).await,
    }
}
