//! Lanes: each carries out one batch at a time, on a connection of its own, until it is committed or time is up.
//!
//! ```text
//! attempt ─ committed ───────────────────────────────────────▶ answer
//!    │ ─ conflict ─▶ wait a little, again; from the second time on one request at a time
//!    │ ─ a new row was there ─▶ look for kept outcomes, again; from the second time on carefully
//!    │ ─ lost while committing ─▶ new connection, look for kept outcomes, again
//!    │ ─ lost before ─▶ new connection, again
//!    └ ─ refused ─▶ one request at a time; alone: answer the error
//! ```
//!
//! Trying again is safe at any time: the outcome is inserted in the transaction under the request's id, so that of two
//! attempts one at most commits, also if the first is still under way at a server that we no longer hear.

use std::sync::Arc;
use std::time::Duration;

use pangea_core::meta::{Outcome, Request};
use pangea_core::seam::{Entropy, random};
use pangea_meta::MetaError;
use tokio::time::Instant;

use crate::commit::{Attempt, kept, settle};
use crate::error::Trouble;
use crate::known::Hints;
use crate::names::RowKey;
use crate::queue::{Job, Queue};
use crate::session::{Connector, Session};

/// Parts of every counter. Two lanes of the cluster that share one may meet, then one of them takes another.
const SLOTS: u64 = 256;
/// The wait before another attempt doubles from this …
const WAIT_MIN: Duration = Duration::from_millis(1);
/// … to this.
const WAIT_MAX: Duration = Duration::from_millis(200);

/// What all lanes of an engine share.
pub(crate) struct Shared {
    pub(crate) connector: Arc<Connector>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) hints: Arc<Hints>,
    pub(crate) entropy: Arc<dyn Entropy>,
    /// For how long a command is tried.
    pub(crate) patience: Duration,
}

/// One lane.
pub(crate) struct Lane {
    shared: Arc<Shared>,
    session: Option<Session>,
    slot: i64,
}

/// Frees a batch's claims, also when carrying it out panicked.
struct Claimed {
    queue: Arc<Queue>,
    keys: Vec<RowKey>,
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.queue.done(&self.keys);
    }
}

impl Lane {
    /// A lane without a connection yet.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let slot = draw_slot(&*shared.entropy);
        Self { shared, session: None, slot }
    }

    /// Works until the queue is closed and empty.
    pub(crate) async fn run(mut self) {
        let queue = self.shared.queue.clone();
        while let Some(batch) = queue.take().await {
            let _claimed = Claimed { queue: queue.clone(), keys: batch.claimed().to_vec() };
            let until = Instant::now() + self.shared.patience;
            let left = self.work(batch.jobs, until, 2).await;
            for job in left {
                self.work(vec![job], until, usize::MAX).await;
            }
        }
    }

    /// Tries jobs together, at most `attempts` times; gives back those that should go on one by one.
    async fn work(&mut self, mut jobs: Vec<Job>, until: Instant, attempts: usize) -> Vec<Job> {
        let (mut tried, mut taken) = (0, 0);
        let single = attempts == usize::MAX;
        loop {
            let requests: Vec<Arc<Request>> = jobs.iter().map(|job| job.request.clone()).collect();
            let trouble = match self.attempt(&requests, taken > 1, &mut jobs).await {
                Ok(outcomes) => {
                    answer(jobs, outcomes);
                    return Vec::new();
                }
                Err(trouble) => trouble,
            };
            tried += 1;
            let wants_look = matches!(trouble, Trouble::Taken) || jobs.iter().any(|job| job.unknown);
            taken += usize::from(matches!(trouble, Trouble::Taken));
            if wants_look {
                jobs = self.answer_kept(jobs).await;
                if jobs.is_empty() {
                    return Vec::new();
                }
            }
            let hopeless = matches!(trouble, Trouble::Refused { .. } | Trouble::Malformed(..));
            if !single && jobs.len() > 1 && (hopeless || tried >= attempts) {
                return jobs;
            }
            if hopeless || Instant::now() >= until {
                give_up(jobs, &trouble);
                return Vec::new();
            }
            if trouble == Trouble::Conflict {
                self.slot = draw_slot(&*self.shared.entropy);
            }
            self.wait(tried).await;
        }
    }

    async fn attempt(
        &mut self,
        requests: &[Arc<Request>],
        careful: bool,
        jobs: &mut [Job],
    ) -> Result<Vec<Outcome>, Trouble> {
        let shared = self.shared.clone();
        let slot = self.slot;
        let session = self.session().await?;
        let attempt = Attempt { session, hints: &shared.hints, requests, careful, slot };
        let result = attempt.run().await;
        result.map_err(|failed| {
            for job in jobs {
                job.unknown |= failed.unknown;
            }
            failed.trouble
        })
    }

    /// Answers those whose outcome is kept already; gives back the others.
    async fn answer_kept(&mut self, jobs: Vec<Job>) -> Vec<Job> {
        let requests: Vec<Arc<Request>> = jobs.iter().map(|job| job.request.clone()).collect();
        let slot = self.slot;
        let looked = async {
            let session = self.session().await?;
            let kept = kept(session, &requests).await?;
            if !kept.is_empty() {
                settle(session, slot).await?;
            }
            Ok::<_, Trouble>(kept)
        };
        let Ok(kept) = looked.await else { return jobs }; // the next attempt finds out
        let mut left = Vec::new();
        for job in jobs {
            match kept.iter().find(|(id, _)| *id == job.request.id.0) {
                Some((_, outcome)) => answer(vec![job], vec![outcome.clone()]),
                None => left.push(job),
            }
        }
        left
    }

    async fn session(&mut self) -> Result<&mut Session, Trouble> {
        if self.session.as_ref().is_none_or(Session::is_broken) {
            self.session = None;
            self.session = Some(self.shared.connector.connect().await?);
        }
        self.session.as_mut().ok_or_else(|| Trouble::Lost("there is no connection".to_owned()))
    }

    /// Between half and all of a time that doubles.
    async fn wait(&self, tried: usize) {
        let doubled = WAIT_MIN * (1 << tried.min(10));
        let most = u64::try_from(doubled.min(WAIT_MAX).as_micros()).unwrap_or(u64::MAX);
        let drawn = u64::from_le_bytes(random(&*self.shared.entropy)) % (most / 2 + 1);
        tokio::time::sleep(Duration::from_micros(most / 2 + drawn)).await;
    }
}

fn draw_slot(entropy: &dyn Entropy) -> i64 {
    (u64::from_le_bytes(random(entropy)) % SLOTS) as i64
}

fn answer(jobs: Vec<Job>, outcomes: Vec<Outcome>) {
    for (job, outcome) in jobs.into_iter().zip(outcomes) {
        let _ = job.reply.send(Ok(outcome)); // who stopped waiting does not want to know
    }
}

fn give_up(jobs: Vec<Job>, trouble: &Trouble) {
    for job in jobs {
        let error = if job.unknown { MetaError::Unknown } else { trouble.clone().into_meta() };
        let _ = job.reply.send(Err(error)); // as above
    }
}
