//! What is in flight on this gateway: blobs being written, which have no row yet, and blobs being read, which must not be freed.
//!
//! The garbage collector asks before it frees anything. A blob leaves the writing set only after its commit was answered,
//! so "not in flight" and then "no row" together mean that nobody will ever refer to it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use futures_channel::oneshot;
use pangea_core::id::BlobId;
use pangea_core::meta::{Command, Outcome};
use pangea_meta::MetaError;

use crate::client::Client;
use crate::door::ClientError;
use crate::runtime::Runtime;

/// Who is there: all, and those of them that write.
#[derive(Clone, Copy, Default)]
struct Count {
    all: u32,
    writers: u32,
}

type Counts = Arc<Mutex<BTreeMap<BlobId, Count>>>;

/// See the module.
#[derive(Default)]
pub(crate) struct Flight {
    counts: Counts,
}

/// A blob in flight, until dropped.
pub(crate) struct InFlight {
    counts: Counts,
    blob: BlobId,
    writing: bool,
}

impl Flight {
    /// Marks a blob that is read.
    pub(crate) fn enter(&self, blob: BlobId) -> InFlight {
        self.mark(blob, false)
    }

    /// Marks a blob that is being written.
    pub(crate) fn enter_writing(&self, blob: BlobId) -> InFlight {
        self.mark(blob, true)
    }

    fn mark(&self, blob: BlobId, writing: bool) -> InFlight {
        let mut counts = self.counts.lock().expect("counting does not panic");
        let count = counts.entry(blob).or_default();
        count.all += 1;
        count.writers += u32::from(writing);
        InFlight { counts: self.counts.clone(), blob, writing }
    }

    /// Everything that is being written now.
    pub(crate) fn written(&self) -> Vec<BlobId> {
        let counts = self.counts.lock().expect("counting does not panic");
        counts.iter().filter(|(_, count)| count.writers > 0).map(|(blob, _)| *blob).collect()
    }

    /// Everything that is being written or read now.
    pub(crate) fn all(&self) -> Vec<BlobId> {
        self.counts.lock().expect("counting does not panic").keys().copied().collect()
    }

    /// Whether somebody writes or reads it now.
    pub(crate) fn has(&self, blob: BlobId) -> bool {
        self.counts.lock().expect("counting does not panic").contains_key(&blob)
    }
}

/// Blobs whose commit is under way. If it is never known how that ended (a lost answer, a node that stops), they
/// stay in flight for as long as the process lives: the commit may still come to pass, and the garbage collector must not
/// take them for orphans before. The next start knows.
pub(crate) struct Undecided(Vec<InFlight>);

impl Undecided {
    /// Just before the command is sent.
    pub(crate) fn new(flights: Vec<InFlight>) -> Self {
        Self(flights)
    }

    /// The command was answered.
    pub(crate) fn settle<T>(mut self, answer: &Result<T, ClientError>) {
        if !matches!(answer, Err(ClientError::Meta(MetaError::Unknown))) {
            self.0.clear();
        }
    }
}

impl Drop for Undecided {
    fn drop(&mut self) {
        // Counted in a table of their own, their end changes nothing in the real one.
        self.0.iter_mut().for_each(|flight| flight.counts = Counts::default());
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().expect("counting does not panic");
        if let Some(count) = counts.get_mut(&self.blob) {
            count.all -= 1;
            count.writers -= u32::from(self.writing);
            if count.all == 0 {
                counts.remove(&self.blob);
            }
        }
    }
}

impl Client {
    /// Runs the command that brings blobs into being.
    pub(crate) async fn commit(
        &self,
        command: Command,
        flights: Vec<InFlight>,
    ) -> Result<Outcome, ClientError> {
        if flights.is_empty() {
            return self.inner.command(command).await;
        }
        let inner = self.inner.clone();
        let command = async move { inner.command(command).await };
        decided(&*self.inner.parts.runtime, command, flights).await
    }
}

/// Runs a commit to its end although its caller may go away (a client that hangs up drops its request): else nobody would
/// hear the answer, and the blobs would stay undecided until the next start.
async fn decided<C>(runtime: &dyn Runtime, command: C, flights: Vec<InFlight>) -> Result<Outcome, ClientError>
where
    C: Future<Output = Result<Outcome, ClientError>> + Send + 'static,
{
    let (answer, answered) = oneshot::channel();
    let undecided = Undecided::new(flights);
    let run = async move {
        let outcome = command.await;
        undecided.settle(&outcome);
        // Whoever asked may have gone.
        let _ = answer.send(outcome);
    };
    runtime.spawn("commit", Box::pin(run));
    // No answer: the node stops. Whether the command was carried out shows at the next start.
    answered.await.unwrap_or(Err(ClientError::Meta(MetaError::Unknown)))
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use pangea_core::seam::MonoUs;

    use super::*;
    use crate::runtime::{CpuJob, Task};

    /// Found by the simulator (cluster seed 1312): the log's sync failed, the orphan collector took the shards of a version
    /// that the next start found in the log.
    #[test]
    fn a_blob_stays_in_flight_until_it_is_known_how_its_commit_ended() {
        let blob = BlobId([7; 16]);
        let in_flight_after = |end: &dyn Fn(Undecided)| {
            let flight = Flight::default();
            end(Undecided::new(vec![flight.enter(blob)]));
            flight.has(blob)
        };
        assert!(!in_flight_after(&|u| u.settle(&Ok(()))));
        assert!(!in_flight_after(&|u| u.settle::<()>(&Err(ClientError::PreconditionFailed))));
        assert!(in_flight_after(&|u| u.settle::<()>(&Err(ClientError::Meta(MetaError::Unknown)))));
        assert!(in_flight_after(&drop), "the caller went away");
    }

    /// Keeps what it is asked to run; a test polls it.
    #[derive(Default)]
    struct Kept(Mutex<Vec<Task>>);

    impl Runtime for Kept {
        fn spawn(&self, _: &'static str, task: Task) {
            self.0.lock().expect("plain data").push(task);
        }
        fn sleep_until(&self, _: MonoUs) -> Task {
            unreachable!("nothing waits for time")
        }
        fn cpu(&self, _: CpuJob) {
            unreachable!("nothing is computed")
        }
    }

    /// A client that hung up while its large object was committed kept the blob in flight, and so from the garbage collector,
    /// until the next start.
    #[test]
    fn a_commit_is_heard_out_although_its_caller_went_away() {
        let (flight, runtime, blob) = (Flight::default(), Kept::default(), BlobId([7; 16]));
        let mut cx = Context::from_waker(Waker::noop());
        let (answer, asked) = oneshot::channel();
        let command = async move { asked.await.expect("the metadata answers") };
        let mut caller = Box::pin(decided(&runtime, command, vec![flight.enter(blob)]));
        assert!(caller.as_mut().poll(&mut cx).is_pending());
        let mut task = runtime.0.lock().expect("plain data").pop().expect("it runs beside its caller");
        assert!(task.as_mut().poll(&mut cx).is_pending());
        drop(caller);
        assert!(flight.has(blob), "it is not known yet");
        answer.send(Ok(Outcome::Done)).expect("somebody listens");
        assert!(task.as_mut().poll(&mut cx).is_ready());
        assert!(!flight.has(blob));

        let mut stopped = Box::pin(decided(&runtime, std::future::pending(), vec![flight.enter(blob)]));
        assert!(stopped.as_mut().poll(&mut cx).is_pending());
        runtime.0.lock().expect("plain data").clear();
        let unknown = |polled| matches!(polled, Poll::Ready(Err(ClientError::Meta(MetaError::Unknown))));
        assert!(unknown(stopped.as_mut().poll(&mut cx)), "the node stops");
        assert!(flight.has(blob), "the next start knows");
    }
}
