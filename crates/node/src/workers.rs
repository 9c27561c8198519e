//! Background workers: named, listed, woken and stopped; one future each, never two passes of one at a time.
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
use pangea_core::seam::{Clock as _, MonoUs};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::clock::SystemClock;
use crate::control::{PassReport, WorkerStatus};

/// The shortest pause after a pass that failed; it doubles with every further failure.
const RETRY_MIN: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(600);
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
    next_at: Option<MonoUs>,
    failures: u32,
    last_report: Option<String>,
    last_error: Option<String>,
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
        Arc::new(Self { name, about, clock, state: Mutex::default(), wake: Notify::new() })
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
        (state.done, state.total) = (done, total);
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
        let phase = match state.phase {
            Phase::Waiting if state.next_at.is_none() => "off",
            Phase::Waiting => "waiting",
            Phase::Running => "running",
            Phase::Stopped => "stopped",
        };
        let next_seconds = state.next_at.filter(|_| state.phase == Phase::Waiting);
        WorkerStatus {
            name,
            about,
            state: phase.to_owned(),
            passes: state.passes,
            done: state.done,
            total: state.total,
            next_seconds: next_seconds.map(|at| self.clock.until(at).as_secs()),
            last_report: state.last_report.clone(),
            last_error: state.last_error.clone(),
        }
    }

    async fn live(self: Arc<Self>, first: Duration, job: Job, mut stop: watch::Receiver<bool>) {
        let mut pause = first;
        loop {
            self.wait_for(pause);
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                () = tokio::time::sleep(pause) => {}
                () = self.wake.notified() => {}
            }
            {
                let mut state = self.lock();
                state.started += 1;
                (state.phase, state.done, state.total) = (Phase::Running, 0, None);
            }
            let pass = AssertUnwindSafe(job(self.clone())).catch_unwind();
            let ended = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
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
    async fn stopping_does_not_wait_for_a_pass_that_hangs() {
        let worker = Worker::new("w", "hangs", Arc::new(SystemClock::new()));
        let mut workers = Workers::new();
        workers.add(worker, Duration::ZERO, Box::new(|_| Box::pin(std::future::pending())));
        tokio::task::yield_now().await;
        tokio::time::timeout(Duration::from_secs(5), workers.stop()).await.expect("it stops");
    }
}
