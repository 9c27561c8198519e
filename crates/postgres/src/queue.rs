//! The queue: commands that wait for a lane.
//!
//! Owns the bound on what waits (bytes; callers wait for room) and the claims of the batches that are under way: a command
//! whose claim is taken stays where it is, and those behind it go first.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use pangea_core::meta::{Outcome, Request};
use pangea_meta::MetaError;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::names::{Claims, RowKey, claims};

/// What all waiting commands may take, in KiB.
const QUEUE_KIB_MAX: usize = 64 << 10;
/// The most requests in a batch.
const BATCH_REQUESTS_MAX: usize = 128;
/// The most bytes in a batch; one command alone may be larger.
const BATCH_BYTES_MAX: usize = 2 << 20;
/// How far down the queue a lane looks for commands whose claims are free.
const LOOK_MAX: usize = 1024;

/// Where an answer goes.
pub(crate) type Reply = oneshot::Sender<Result<Outcome, MetaError>>;

/// A command that waits.
pub(crate) struct Job {
    pub(crate) request: Arc<Request>,
    pub(crate) reply: Reply,
    /// Whether a commit of it was sent and not answered.
    pub(crate) unknown: bool,
    bytes: usize,
    claims: Claims,
    _room: OwnedSemaphorePermit,
}

/// Jobs that one lane carries out together; [`Queue::done`] frees their claims.
pub(crate) struct Batch {
    pub(crate) jobs: Vec<Job>,
    claimed: Vec<RowKey>,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    claimed: BTreeSet<RowKey>,
    closed: bool,
}

/// The queue.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    room: Arc<Semaphore>,
    news: Notify,
}

impl Queue {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self { waiting: Mutex::default(), room: Arc::new(Semaphore::new(QUEUE_KIB_MAX)), news: Notify::new() }
    }

    /// Queues a request of that many encoded bytes, when there is room.
    pub(crate) async fn push(&self, request: Request, bytes: usize, reply: Reply) -> Result<(), MetaError> {
        let kib = u32::try_from(bytes.div_ceil(1024).max(1)).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(kib).await.map_err(|_| MetaError::Closed)?;
        let claims = claims(&request);
        let job = Job { request: Arc::new(request), reply, unknown: false, bytes, claims, _room: room };
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.closed {
                return Err(MetaError::Closed);
            }
            waiting.jobs.push_back(job);
        }
        self.news.notify_one();
        Ok(())
    }

    /// The next batch; none when the queue is closed and empty.
    pub(crate) async fn take(&self) -> Option<Batch> {
        loop {
            let news = self.news.notified();
            {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(batch) = waiting.batch() {
                    if !waiting.jobs.is_empty() {
                        self.news.notify_one();
                    }
                    return Some(batch);
                }
                if waiting.closed && waiting.jobs.is_empty() {
                    self.news.notify_one(); // the other lanes end too
                    return None;
                }
            }
            news.await;
        }
    }

    /// A batch was carried out or given up.
    pub(crate) fn done(&self, claimed: &[RowKey]) {
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            for key in claimed {
                waiting.claimed.remove(key);
            }
        }
        self.news.notify_one();
    }

    /// Takes no more; what waits is still carried out.
    pub(crate) fn close(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.room.close();
        self.news.notify_one();
    }
}

impl Waiting {
    fn batch(&mut self) -> Option<Batch> {
        let (mut jobs, mut bytes, mut at): (Vec<Job>, usize, usize) = (Vec::new(), 0, 0);
        let mut claimed: BTreeSet<RowKey> = BTreeSet::new();
        while at < self.jobs.len().min(LOOK_MAX) && jobs.len() < BATCH_REQUESTS_MAX {
            let job = &self.jobs[at];
            let free = job.claims.keys.iter().all(|key| !self.claimed.contains(key));
            let fits = jobs.is_empty() || (!job.claims.alone && bytes + job.bytes <= BATCH_BYTES_MAX);
            if !free || !fits {
                at += 1;
                continue;
            }
            let Some(job) = self.jobs.remove(at) else { break };
            bytes += job.bytes;
            claimed.extend(job.claims.keys.iter().cloned());
            let alone = job.claims.alone;
            jobs.push(job);
            if alone {
                break;
            }
        }
        if jobs.is_empty() {
            return None;
        }
        self.claimed.extend(claimed.iter().cloned());
        Some(Batch { jobs, claimed: claimed.into_iter().collect() })
    }
}

impl Batch {
    /// What it claimed.
    pub(crate) fn claimed(&self) -> &[RowKey] {
        &self.claimed
    }
}
