//! Background workers: named, listed, woken, paused, slowed down and stopped; one future each, never two passes of one at
//! a time.
//!
//! Owns when a pass runs and what is shown of it. What a pass does is in `jobs`, which calls the data path and nothing
//! else. Stopping drops the pass where it stands: every one of them survives a crash, so it survives that.

pub(crate) mod jobs;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::FutureExt as _;
use pangea_client::Task;
use pangea_client::worker::Overseer;
use pangea_core::seam::{Clock as _, MonoUs};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::clock::SystemClock;
use crate::control::{PassReport, WorkerStatus};
use crate::pace::{Limits, Pace};

/// The shortest pause after a pass that failed; it doubles with every further failure.
const RETRY_MIN: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(600);
/// A rate is shown once a pass took so long.
const RATE_AFTER_MS: u64 = 1000;
/// Moving data because the layout changed: 10 GB an hour, read and written once each.
const REBALANCE_BYTES_PER_SECOND: u64 = 2 * 10_000_000_000 / 3600;
/// A pause that is as good as for ever.
pub(crate) const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// What a pass did.
pub(crate) struct Done {
    /// In words; `None`: there was nothing to do, and nothing is shown.
    pub report: Option<String>,
    /// When to look again.
    pub next: Duration,
}

/// One pass.
pub(crate) type Pass = Pin<Box<dyn Future<Output = Result<Done, String>> + Send>>;
/// Starts a pass that reports to the worker.
pub(crate) type Job = Box<dyn Fn(Arc<Worker>) -> Pass + Send + Sync>;

/// One worker, as it is shown and woken.
pub(crate) struct Worker {
    name: &'static str,
    about: &'static str,
    clock: Arc<SystemClock>,
    state: Mutex<State>,
    wake: Notify,
    pace: Arc<Pace>,
}

#[derive(Default)]
struct State {
    phase: Phase,
    started: u64,
    /// The number of the last pass that ended, well or not.
    ended: u64,
    passes: u64,
    /// A pass with this number was asked for.
    wanted: u64,
    done: u64,
    total: Option<u64>,
    /// When the running pass began.
    begun_at: Option<MonoUs>,
    next_at: Option<MonoUs>,
    failures: u32,
    last_report: Option<String>,
    last_error: Option<String>,
    /// When it may work, if not always.
    turn: Option<watch::Receiver<bool>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Waiting,
    Running,
    Stopped,
}

impl Worker {
    /// A worker that does nothing yet.
    pub(crate) fn new(name: &'static str, about: &'static str, clock: Arc<SystemClock>) -> Arc<Self> {
        let pace = Pace::new(Limits { paused: false, bytes_per_second: default_rate(name) });
        Arc::new(Self { name, about, clock, state: Mutex::default(), wake: Notify::new(), pace })
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// How fast it may go.
    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds a worker's state")
    }

    /// Asks for a pass that begins after now; answers with its number.
    pub(crate) fn request(&self) -> u64 {
        let wanted = {
            let mut state = self.lock();
            state.wanted = state.started + 1;
            state.wanted
        };
        self.wake.notify_one();
        wanted
    }

    /// Hears from the running pass.
    pub(crate) fn progress(&self, done: u64, total: Option<u64>) {
        let mut state = self.lock();
        state.done = done;
        state.total = total.or(state.total);
    }

    /// How much the running pass will have to do, as far as can be told.
    pub(crate) fn expect(&self, total: u64) {
        self.lock().total = Some(total);
    }

    /// What became of a pass; `None`: it was never asked for.
    pub(crate) fn report(&self, pass: u64) -> Option<PassReport> {
        let state = self.lock();
        if pass == 0 || pass > state.started.max(state.wanted) {
            return None;
        }
        let finished = pass <= state.ended;
        Some(PassReport {
            pass,
            finished,
            done: if pass >= state.started { state.done } else { 0 },
            total: state.total,
            report: state.last_report.clone().filter(|_| finished),
            error: state.last_error.clone().filter(|_| finished),
        })
    }

    /// What is shown.
    pub(crate) fn status(&self) -> WorkerStatus {
        let state = self.lock();
        let (name, about) = (self.name.to_owned(), self.about.to_owned());
        let limits = self.pace.limits();
        let phase = match state.phase {
            Phase::Waiting | Phase::Running if limits.paused => "paused",
            Phase::Waiting if state.turn.as_ref().is_some_and(|turn| !*turn.borrow()) => "elsewhere",
            Phase::Waiting if state.next_at.is_none() => "off",
            Phase::Waiting => "waiting",
            Phase::Running => "running",
            Phase::Stopped => "stopped",
        };
        let rate = state.rate(self.clock.mono_us());
        let left = state.total.map(|total| total.saturating_sub(state.done));
        let next_seconds = state.next_at.filter(|_| state.phase == Phase::Waiting);
        WorkerStatus {
            name,
            about,
            state: phase.to_owned(),
            passes: state.passes,
            done: state.done,
            total: state.total,
            per_second: rate,
            left_seconds: rate.zip(left).filter(|(rate, _)| *rate > 0).map(|(rate, left)| left / rate),
            limit_bytes_per_second: limits.bytes_per_second,
            next_seconds: next_seconds.map(|at| self.clock.until(at).as_secs()),
            last_report: state.last_report.clone(),
            last_error: state.last_error.clone(),
        }
    }

    async fn live(self: Arc<Self>, first: Duration, job: Job, mut stop: watch::Receiver<bool>) {
        let mut pause = first;
        let mut turn = self.lock().turn.clone();
        loop {
            self.wait_for(pause);
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                () = tokio::time::sleep(pause) => {}
                () = self.wake.notified() => {}
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                () = async { self.pace.unpaused().await; turns(&mut turn, true).await } => {}
            }
            {
                let mut state = self.lock();
                state.started += 1;
                (state.phase, state.done, state.total) = (Phase::Running, 0, None);
                state.begun_at = Some(self.clock.mono_us());
            }
            let pass = AssertUnwindSafe(job(self.clone())).catch_unwind();
            let ended = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                () = turns(&mut turn, false) => Ok(Done { report: None, next: Duration::ZERO }),
                ended = pass => ended.unwrap_or_else(|_| Err("it panicked; this is a bug".into())),
            };
            pause = self.end(ended);
        }
        self.lock().phase = Phase::Stopped;
    }

    fn wait_for(&self, pause: Duration) {
        let at = self.clock.mono_us().saturating_add(u64::try_from(pause.as_micros()).unwrap_or(u64::MAX));
        let mut state = self.lock();
        state.phase = Phase::Waiting;
        state.next_at = (pause < NEVER).then_some(at);
    }

    /// Notes how a pass ended; says how long to wait for the next.
    fn end(&self, ended: Result<Done, String>) -> Duration {
        let mut state = self.lock();
        state.ended = state.started;
        match ended {
            Ok(Done { report, next }) => {
                if let Some(report) = report {
                    tracing::info!(worker = self.name, "{report}");
                    state.last_report = Some(report);
                    state.passes += 1;
                }
                (state.last_error, state.failures) = (None, 0);
                next
            }
            Err(error) => {
                tracing::warn!(worker = self.name, %error, "a pass failed");
                state.last_error = Some(error);
                state.failures += 1;
                (RETRY_MIN * 2_u32.saturating_pow(state.failures.min(16) - 1)).min(RETRY_MAX)
            }
        }
    }
}

/// Waits until a worker's turn begins or ends; without one it always has it.
async fn turns(turn: &mut Option<watch::Receiver<bool>>, wanted: bool) {
    let comes = match turn {
        None => wanted,
        Some(turn) => turn.wait_for(|is| *is == wanted).await.is_ok(),
    };
    if !comes {
        std::future::pending().await
    }
}

impl Overseer for Worker {
    fn at(&self, done: u64, total: Option<u64>) {
        self.progress(done, total);
    }

    fn spend(&self, bytes: u64) -> Task {
        self.pace.clone().spend(bytes)
    }
}

impl State {
    /// Things a second of the running pass.
    fn rate(&self, now: MonoUs) -> Option<u64> {
        let begun = self.begun_at.filter(|_| self.phase == Phase::Running)?;
        let took_ms = now.saturating_sub(begun) / 1000;
        (took_ms >= RATE_AFTER_MS).then(|| self.done * 1000 / took_ms)
    }
}

/// The pace that a worker has before anybody sets another one.
fn default_rate(name: &str) -> Option<u64> {
    (name == "rebalance").then_some(REBALANCE_BYTES_PER_SECOND)
}

/// All workers of a node.
pub(crate) struct Workers {
    all: Vec<Arc<Worker>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    stop: watch::Sender<bool>,
}

impl Workers {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { all: Vec::new(), tasks: Mutex::default(), stop: watch::Sender::new(false) }
    }

    /// Adds a worker and starts its life: the first pass after `first`.
    pub(crate) fn add(&mut self, worker: Arc<Worker>, first: Duration, job: Job) {
        let task = tokio::spawn(worker.clone().live(first, job, self.stop.subscribe()));
        self.tasks.lock().expect("no code panics while it holds the tasks").push(task);
        self.all.push(worker);
    }

    /// The same with one that works only while `turn` says so: else another node does it.
    pub(crate) fn add_in_turn(
        &mut self,
        worker: Arc<Worker>,
        first: Duration,
        job: Job,
        turn: watch::Receiver<bool>,
    ) {
        worker.lock().turn = Some(turn);
        self.add(worker, first, job);
    }

    /// The one of that name.
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Worker>> {
        self.all.iter().find(|worker| worker.name == name)
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[Arc<Worker>] {
        &self.all
    }

    /// What is shown of all.
    pub(crate) fn status(&self) -> Vec<WorkerStatus> {
        self.all.iter().map(|worker| worker.status()).collect()
    }

    /// Stops all and waits until none runs.
    pub(crate) async fn stop(&self) {
        self.stop.send_replace(true);
        let tasks = std::mem::take(&mut *self.tasks.lock().expect("no code panics while it holds the tasks"));
        for task in tasks {
            // A worker's panic was noted where it happened.
            let _ = task.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn counting(runs: Arc<AtomicU32>, outcome: fn(u32) -> Result<Done, String>) -> Job {
        Box::new(move |worker| {
            let runs = runs.clone();
            Box::pin(async move {
                let run = runs.fetch_add(1, Ordering::Relaxed) + 1;
                worker.progress(u64::from(run), Some(9));
                outcome(run)
            })
        })
    }

    async fn until(worker: &Worker, pass: u64) -> PassReport {
        for _ in 0..1000 {
            match worker.report(pass) {
                Some(report) if report.finished => return report,
                _ => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
        panic!("pass {pass} did not end");
    }

    #[tokio::test]
    async fn a_requested_pass_runs_once_and_is_reported_under_its_number() {
        let clock = Arc::new(SystemClock::new());
        let worker = Worker::new("w", "counts", clock);
        let runs = Arc::new(AtomicU32::new(0));
        let mut workers = Workers::new();
        let job = |run| Ok(Done { report: Some(format!("run {run}")), next: NEVER });
        workers.add(worker.clone(), NEVER, counting(runs.clone(), job));
        assert_eq!(worker.report(1), None);
        let first = worker.request();
        assert_eq!(until(&worker, first).await.report, Some("run 1".into()));
        let second = worker.request();
        let report = until(&worker, second).await;
        assert_eq!((report.done, report.total, report.report), (2, Some(9), Some("run 2".into())));
        assert_eq!(runs.load(Ordering::Relaxed), 2);
        assert_eq!(worker.status().state, "off");
        workers.stop().await;
        assert_eq!(worker.status().state, "stopped");
    }

    #[tokio::test]
    async fn a_failing_and_a_panicking_pass_leave_the_worker_alive() {
        let worker = Worker::new("w", "fails", Arc::new(SystemClock::new()));
        let mut workers = Workers::new();
        let job = |run| match run {
            1 => Err("no luck".into()),
            2 => panic!("the test's own panic"),
            _ => Ok(Done { report: None, next: NEVER }),
        };
        workers.add(worker.clone(), NEVER, counting(Arc::default(), job));
        let pass = worker.request();
        assert_eq!(until(&worker, pass).await.error, Some("no luck".into()));
        let pass = worker.request();
        assert_eq!(until(&worker, pass).await.error, Some("it panicked; this is a bug".into()));
        let pass = worker.request();
        assert_eq!(until(&worker, pass).await.error, None);
        workers.stop().await;
    }

    #[tokio::test]
    async fn what_is_done_in_turn_stops_when_the_turn_ends_and_goes_on_when_it_is_back() {
        let worker = Worker::new("w", "takes turns", Arc::new(SystemClock::new()));
        let (runs, turn) = (Arc::new(AtomicU32::new(0)), watch::Sender::new(false));
        let counted = runs.clone();
        let job: Job = Box::new(move |_| {
            let run = counted.fetch_add(1, Ordering::AcqRel) + 1;
            Box::pin(async move {
                // The first pass goes on for ever.
                if run == 1 {
                    std::future::pending::<()>().await;
                }
                Ok(Done { report: Some("done".into()), next: NEVER })
            })
        });
        let mut workers = Workers::new();
        workers.add_in_turn(worker.clone(), Duration::ZERO, job, turn.subscribe());
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!((runs.load(Ordering::Acquire), worker.status().state.as_str()), (0, "elsewhere"));
        turn.send_replace(true);
        while worker.status().state != "running" {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        turn.send_replace(false);
        while worker.status().state != "elsewhere" {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        turn.send_replace(true);
        let pass = until(&worker, 2).await;
        assert_eq!(
            (pass.report, worker.report(1).map(|pass| pass.finished)),
            (Some("done".into()), Some(true))
        );
        workers.stop().await;
    }

    #[tokio::test]
    async fn stopping_does_not_wait_for_a_pass_that_hangs() {
        let worker = Worker::new("w", "hangs", Arc::new(SystemClock::new()));
        let mut workers = Workers::new();
        workers.add(worker, Duration::ZERO, Box::new(|_| Box::pin(std::future::pending())));
        tokio::task::yield_now().await;
        tokio::time::timeout(Duration::from_secs(5), workers.stop()).await.expect("it stops");
    }
}
