//! The CPU pool and the runtime seam over tokio.
//!
//! Coding, sealing and hashing run here, on as many threads as there are cores, never on tokio's. Threads start when there
//! is work and end after some seconds without it, so an idle server has none. The queue has no bound of its own: every job
//! belongs to a chunk in flight, and those are bounded by the data path's memory budget.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use pangea_client::{CpuJob, Runtime, Task};
use pangea_core::seam::MonoUs;

use crate::clock::SystemClock;

/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);
/// Stack of a pool thread: the codec's buffers are on the heap.
const STACK_BYTES: usize = 512 << 10;

/// A bounded set of threads for CPU work.
pub struct CpuPool {
    shared: Arc<Shared>,
    threads_max: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<CpuJob>,
    threads: usize,
    idle: usize,
    /// Set when the pool goes: threads finish the queue and end.
    closed: bool,
}

impl CpuPool {
    /// A pool of at most `threads_max` threads; none runs yet.
    pub fn new(threads_max: usize) -> Self {
        Self { shared: Arc::default(), threads_max: threads_max.max(1) }
    }

    /// Runs `job` when a thread is free.
    pub fn run(&self, job: CpuJob) {
        let mut state = self.shared.lock();
        state.queue.push_back(job);
        if state.idle < state.queue.len() && state.threads < self.threads_max {
            let shared = self.shared.clone();
            let thread = thread::Builder::new().name("pangea-cpu".into()).stack_size(STACK_BYTES);
            match thread.spawn(move || shared.work()) {
                Ok(_) => state.threads += 1,
                // The threads that run will come to it.
                Err(error) if state.threads > 0 => tracing::warn!(%error, "no further CPU thread"),
                Err(error) => {
                    tracing::error!(%error, "no CPU thread: working on the caller's");
                    let job = state.queue.pop_back();
                    drop(state);
                    job.into_iter().for_each(run_guarded);
                    return;
                }
            }
        }
        drop(state);
        self.shared.work.notify_one();
    }
}

impl Drop for CpuPool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the queue")
    }

    /// A thread's life.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                run_guarded(job);
                state = self.lock();
                continue;
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            let (woken, timeout) =
                self.work.wait_timeout(state, IDLE).expect("no code panics while it holds the queue");
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }
}

/// A job that panics is a bug of ours; its caller sees that no result comes, and the pool goes on.
fn run_guarded(job: CpuJob) {
    if catch_unwind(AssertUnwindSafe(job)).is_err() {
        tracing::error!("a CPU job panicked; its request fails");
    }
}

/// The runtime seam over tokio.
pub struct TokioRuntime {
    handle: tokio::runtime::Handle,
    clock: Arc<SystemClock>,
    pool: CpuPool,
}

impl TokioRuntime {
    /// The seam over a running tokio.
    pub fn new(handle: tokio::runtime::Handle, clock: Arc<SystemClock>, pool: CpuPool) -> Self {
        Self { handle, clock, pool }
    }
}

impl Runtime for TokioRuntime {
    fn spawn(&self, name: &'static str, task: Task) {
        let running = self.handle.spawn(task);
        self.handle.spawn(async move {
            if let Err(error) = running.await
                && error.is_panic()
            {
                tracing::error!(task = name, "a task panicked");
            }
        });
    }

    fn sleep_until(&self, at: MonoUs) -> Task {
        let clock = self.clock.clone();
        Box::pin(async move { tokio::time::sleep(clock.until(at)).await })
    }

    fn cpu(&self, job: CpuJob) {
        self.pool.run(job);
    }

    fn cpu_threads(&self) -> usize {
        self.pool.threads_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn every_job_runs_although_some_panic_and_threads_stay_few() {
        let pool = CpuPool::new(2);
        let (sender, receiver) = sync_channel(1000);
        for i in 0..1000 {
            let sender = sender.clone();
            pool.run(Box::new(move || {
                assert!(i % 100 != 0, "every hundredth job panics");
                sender.send(i).expect("there is room");
            }));
        }
        drop(sender);
        let mut done: Vec<i32> = receiver.iter().collect();
        done.sort_unstable();
        assert_eq!(done, (0..1000).filter(|i| i % 100 != 0).collect::<Vec<_>>());
        assert!(pool.shared.lock().threads <= 2);
    }
}
