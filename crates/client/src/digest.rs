//! MD5 of bodies, for entity tags: the streams that have bytes at the same time are hashed together.
//!
//! One stream is bound by its own chain of steps; sixteen in the lanes of one register cost little more than two. So there is
//! one *runner* on the CPU pool for up to sixteen streams. It takes them a slice at a time: who comes while it runs joins
//! with the next slice, who is done is answered at once. A runner starts when every body that is being received has bytes
//! waiting, when one of them needs its hash to go on, or a moment after the first came.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Buf, Bytes};
use futures_channel::oneshot;
use pangea_core::md5::{Md5, advance};

use crate::client::Client;
use crate::door::ClientError;

/// Streams of one runner: the lanes of the widest register.
const STREAMS_MAX: usize = 16;
/// Bytes of each stream between two looks at who else is there.
const SLICE_BYTES: usize = 64 << 10;

/// How long bytes wait for those of other bodies.
const GATHER_US: u64 = 5_000;

/// The bodies that are being received, and those that have bytes just now.
#[derive(Default)]
pub(crate) struct Digests {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Bodies that are being received.
    bodies: usize,
    waiting: VecDeque<Feed>,
    /// With a runner.
    running: usize,
    runners: usize,
    /// Whether a timer will look after those who wait.
    timed: bool,
}

struct Feed {
    md5: Md5,
    bytes: Bytes,
    done: oneshot::Sender<Md5>,
}

/// What whoever changed something has to start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Start {
    Runner,
    Timer,
    Nothing,
}

impl State {
    /// One runner more, if those there are cannot take all that wait.
    fn runner(&mut self) -> bool {
        let wanted =
            !self.waiting.is_empty() && self.runners * STREAMS_MAX < self.running + self.waiting.len();
        self.runners += usize::from(wanted);
        wanted
    }
}

impl Digests {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the streams")
    }

    fn push(&self, feed: Feed) -> Start {
        let mut state = self.lock();
        state.waiting.push_back(feed);
        let all_wait = state.running + state.waiting.len() >= state.bodies.min(STREAMS_MAX);
        if all_wait || state.runners > 0 {
            return if state.runner() { Start::Runner } else { Start::Nothing };
        }
        if std::mem::replace(&mut state.timed, true) { Start::Nothing } else { Start::Timer }
    }

    /// Somebody cannot go on without its hash: whether a runner must be started.
    fn demand(&self) -> bool {
        self.lock().runner()
    }

    /// The timer rang: likewise.
    fn rang(&self) -> bool {
        let mut state = self.lock();
        state.timed = false;
        state.runner()
    }
}

/// A runner: hashes until nobody waits. However it ends (a panic, a pool that stops before it ran), it is counted no more, and
/// where nobody else would serve them, those who wait are told so.
struct Runner {
    digests: Arc<Digests>,
    streams: Vec<Feed>,
    /// Of `running`, those that are this runner's.
    counted: usize,
    /// Nobody waited any more, and it is not counted as a runner.
    ended: bool,
}

impl Runner {
    /// One that [`State::runner`] counted.
    fn new(digests: Arc<Digests>) -> Self {
        Self { digests, streams: Vec::with_capacity(STREAMS_MAX), counted: 0, ended: false }
    }

    /// Takes further streams; `false`: there are none to hash.
    fn refill(&mut self) -> bool {
        let mut state = self.digests.lock();
        let room = (STREAMS_MAX - self.streams.len()).min(state.waiting.len());
        self.streams.extend(state.waiting.drain(..room));
        state.running = state.running + self.streams.len() - self.counted;
        self.counted = self.streams.len();
        if self.streams.is_empty() {
            // In the same moment: whoever comes next must find no runner that will not look again.
            state.runners -= 1;
            self.ended = true;
        }
        !self.streams.is_empty()
    }

    fn run(mut self) {
        while self.refill() {
            let mut slices: Vec<(&mut Md5, &[u8])> = self
                .streams
                .iter_mut()
                .map(|feed| (&mut feed.md5, &feed.bytes[..feed.bytes.len().min(SLICE_BYTES)]))
                .collect();
            advance(&mut slices);
            for mut feed in std::mem::take(&mut self.streams) {
                feed.bytes.advance(feed.bytes.len().min(SLICE_BYTES));
                if feed.bytes.has_remaining() {
                    self.streams.push(feed);
                } else {
                    // Whoever asked may have gone.
                    let _ = feed.done.send(feed.md5);
                }
            }
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut state = self.digests.lock();
        state.running -= self.counted;
        state.runners -= 1;
        if state.runners == 0 {
            // Dropped, they answer that there is no hash.
            state.waiting.clear();
        }
    }
}

/// The MD5 of one body, fed in order.
pub(crate) struct Digesting {
    client: Client,
    pending: Option<oneshot::Receiver<Md5>>,
    idle: Md5,
}

impl Digesting {
    pub(crate) fn start(client: &Client) -> Self {
        client.inner.digests.lock().bodies += 1;
        Self { client: client.clone(), pending: None, idle: Md5::new() }
    }

    /// Hashes the next bytes, beside whatever the caller does next.
    pub(crate) async fn feed(&mut self, bytes: Bytes) -> Result<(), ClientError> {
        let md5 = self.state().await?;
        let (done, pending) = oneshot::channel();
        self.pending = Some(pending);
        match self.client.inner.digests.push(Feed { md5, bytes, done }) {
            Start::Runner => start_runner(&self.client),
            Start::Timer => {
                let client = self.client.clone();
                let wait = async move {
                    let inner = &client.inner;
                    inner.parts.runtime.sleep_until(inner.parts.clock.mono_us() + GATHER_US).await;
                    if inner.digests.rang() {
                        start_runner(&client);
                    }
                };
                self.client.inner.parts.runtime.spawn("digest timer", Box::pin(wait));
            }
            Start::Nothing => {}
        }
        Ok(())
    }

    /// The hash of everything that was fed.
    pub(crate) async fn finish(mut self) -> Result<[u8; 16], ClientError> {
        Ok(self.state().await?.finish())
    }

    async fn state(&mut self) -> Result<Md5, ClientError> {
        let Some(mut pending) = self.pending.take() else { return Ok(std::mem::take(&mut self.idle)) };
        if let Ok(Some(md5)) = pending.try_recv() {
            return Ok(md5);
        }
        if self.client.inner.digests.demand() {
            start_runner(&self.client);
        }
        pending.await.map_err(|_| ClientError::Unavailable { why: "the hashing of a body broke off".into() })
    }
}

impl Drop for Digesting {
    fn drop(&mut self) {
        self.client.inner.digests.lock().bodies -= 1;
    }
}

fn start_runner(client: &Client) {
    let runner = Runner::new(client.inner.digests.clone());
    client.inner.parts.runtime.cpu(Box::new(move || runner.run()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(digests: &Digests, bytes: Bytes) -> (Start, oneshot::Receiver<Md5>) {
        let (done, pending) = oneshot::channel();
        (digests.push(Feed { md5: Md5::new(), bytes, done }), pending)
    }

    #[test]
    fn streams_of_all_lengths_share_runners_and_each_gets_its_own_hash() {
        let digests = Arc::new(Digests::default());
        digests.lock().bodies = 40;
        let body = |n: usize| Bytes::from(vec![n as u8; n * 7_001]);
        let (starts, pending): (Vec<_>, Vec<_>) = (0..40).map(|n| feed(&digests, body(n))).unzip();
        let runners = starts.iter().filter(|start| **start == Start::Runner).count();
        assert_eq!((starts[0], runners), (Start::Timer, 3), "one for sixteen streams");
        (0..runners).for_each(|_| Runner::new(digests.clone()).run());
        for (n, mut pending) in pending.into_iter().enumerate() {
            let md5 = pending.try_recv().expect("not dropped").expect("finished");
            assert_eq!(md5.finish(), Md5::hash(&body(n)), "{n}");
        }
        let state = digests.lock();
        assert_eq!((state.running, state.runners, state.waiting.len()), (0, 0, 0));
    }

    #[test]
    fn a_lone_body_waits_for_nobody_and_others_for_each_other_until_one_needs_its_hash() {
        let digests = Arc::new(Digests::default());
        digests.lock().bodies = 1;
        let (start, _alone) = feed(&digests, Bytes::from_static(b"alone"));
        assert_eq!(start, Start::Runner);
        Runner::new(digests.clone()).run();
        digests.lock().bodies = 3;
        let (first, mut a) = feed(&digests, Bytes::from_static(b"a"));
        let (second, _b) = feed(&digests, Bytes::from_static(b"b"));
        assert_eq!((first, second), (Start::Timer, Start::Nothing));
        assert!(digests.demand() && !digests.demand(), "one runner takes both");
        Runner::new(digests.clone()).run();
        assert_eq!(a.try_recv().expect("kept").expect("hashed").finish(), Md5::hash(b"a"));
        assert!(!digests.rang(), "nobody waits any more");
    }

    /// A runner that panicked stayed counted: later bodies waited for it for ever.
    #[test]
    fn a_runner_that_never_ran_or_broke_is_counted_no_more_and_nobody_waits_for_it() {
        let digests = Arc::new(Digests::default());
        digests.lock().bodies = 2;
        let counts = || {
            let state = digests.lock();
            (state.running, state.runners, state.waiting.len())
        };
        let (_, mut held) = feed(&digests, Bytes::from_static(b"held"));
        assert!(digests.demand());
        let mut broken = Runner::new(digests.clone());
        assert!(broken.refill());
        let (_, mut waits) = feed(&digests, Bytes::from_static(b"waits"));
        assert_eq!(counts(), (1, 1, 1));
        let panicked = std::thread::spawn(move || {
            let _taken_along = broken;
            panic!("as a broken kernel would");
        });
        assert!(panicked.join().is_err());
        assert_eq!(counts(), (0, 0, 0));
        assert!(held.try_recv().is_err() && waits.try_recv().is_err(), "both are told");

        digests.lock().bodies = 1;
        assert_eq!(feed(&digests, Bytes::from_static(b"next")).0, Start::Runner);
        drop(Runner::new(digests.clone()));
        assert_eq!(counts(), (0, 0, 0), "a pool that stopped");
        let (start, mut hashed) = feed(&digests, Bytes::from_static(b"works"));
        assert_eq!(start, Start::Runner);
        Runner::new(digests.clone()).run();
        assert_eq!(hashed.try_recv().expect("kept").expect("hashed").finish(), Md5::hash(b"works"));
    }
}
