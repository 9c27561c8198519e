//! The queue to the writer: bounded in requests and bytes, waited on without a runtime.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use futures_channel::oneshot;
use pangea_core::meta::{Outcome, Request};

use crate::error::MetaError;
use crate::snapshot::Written;

/// The most requests that wait.
pub(super) const QUEUED_MAX: usize = 4096;
/// The most bytes of encoded requests that wait; a single larger one is taken when the queue is empty.
pub(super) const QUEUED_BYTES_MAX: usize = 32 << 20;
/// The most requests that are taken as one group.
const GROUP_REQUESTS_MAX: usize = 1024;
/// The most bytes that are taken as one group, but for its last request.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// A request with its bytes, encoded on the caller's thread.
pub(super) struct Encoded {
    pub request: Request,
    pub bytes: Vec<u8>,
}

/// What the writer does.
pub(super) enum Job {
    /// Carry a request out.
    Apply(Encoded, oneshot::Sender<Result<Outcome, MetaError>>),
    /// Take a snapshot.
    Snapshot(oneshot::Sender<Result<u64, MetaError>>),
    /// A snapshot was written.
    Written(Result<Written, MetaError>),
}

impl Job {
    fn bytes(&self) -> usize {
        if let Self::Apply(encoded, _) = self { encoded.bytes.len() } else { 0 }
    }
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// Callers that found it full; woken whenever the writer takes something.
    waiting: Vec<Waker>,
    closed: bool,
}

/// The queue.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements, so a panic elsewhere did not break it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job, once there is room.
    pub async fn push(&self, job: Job) -> Result<(), MetaError> {
        let mut job = Some(job);
        poll_fn(|context| {
            let mut state = self.lock();
            if state.closed {
                return Poll::Ready(Err(MetaError::Closed));
            }
            let bytes = job.as_ref().map_or(0, Job::bytes);
            let full = state.jobs.len() >= QUEUED_MAX || state.bytes + bytes > QUEUED_BYTES_MAX;
            if full && !state.jobs.is_empty() {
                state.waiting.push(context.waker().clone());
                return Poll::Pending;
            }
            state.bytes += bytes;
            state.jobs.extend(job.take());
            drop(state);
            self.filled.notify_one();
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Queues a job of the engine's own, full or closed or not.
    pub fn push_internal(&self, job: Job) {
        self.lock().jobs.push_back(job);
        self.filled.notify_one();
    }

    /// Waits for jobs and takes a group of them; `None`: closed and empty.
    pub fn take(&self) -> Option<Vec<Job>> {
        let mut state = self.lock();
        while state.jobs.is_empty() {
            if state.closed {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let (mut group, mut bytes) = (Vec::new(), 0);
        while group.len() < GROUP_REQUESTS_MAX && bytes < GROUP_BYTES_MAX {
            let Some(job) = state.jobs.pop_front() else { break };
            bytes += job.bytes();
            group.push(job);
        }
        state.bytes -= bytes;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        Some(group)
    }

    /// Waits for one job, closed or not.
    pub fn take_internal(&self) -> Job {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return job;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes everything, without waiting.
    pub fn drain(&self) -> Vec<Job> {
        let mut state = self.lock();
        state.bytes = 0;
        state.jobs.drain(..).collect()
    }

    /// Nothing more is taken in; what is queued is still done.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        self.filled.notify_all();
    }
}

/// Closes the queue and drops what is in it, so that those who wait learn that nobody will answer.
pub(super) struct CloseOnDrop(pub Arc<Queue>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
        drop(self.0.drain());
    }
}
