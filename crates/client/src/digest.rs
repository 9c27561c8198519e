//! MD5 of bodies, for entity tags: the streams that have bytes at the same time are hashed together.
//!
//! One stream is bound by its own chain of steps; sixteen in the lanes of one register cost little more than two. So there is
//! one *runner* on the CPU pool for up to sixteen streams. It takes them a slice at a time: who comes while it runs joins
//! with the next slice, who is done is answered at once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes};
use futures_channel::oneshot;
use pangea_core::md5::{Md5, advance};

use crate::client::Client;
use crate::door::ClientError;

/// Streams of one runner: the lanes of the widest register.
const STREAMS_MAX: usize = 16;
/// Bytes of each stream between two looks at who else is there.
const SLICE_BYTES: usize = 64 << 10;

/// The streams that have bytes just now.
#[derive(Default)]
pub(crate) struct Digests {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Feed>,
    /// Waiting or with a runner.
    streams: usize,
    runners: usize,
}

struct Feed {
    md5: Md5,
    bytes: Bytes,
    done: oneshot::Sender<Md5>,
}

impl Digests {
    /// Whether whoever added this has to start a runner.
    fn push(&self, feed: Feed) -> bool {
        let mut state = self.state.lock().expect("no code panics while it holds the streams");
        state.waiting.push_back(feed);
        state.streams += 1;
        let wanted = state.runners * STREAMS_MAX < state.streams;
        state.runners += usize::from(wanted);
        wanted
    }

    /// Fills up a runner's streams, after `ended` of them ended; `false`: there are none, and it is a runner no more.
    fn refill(&self, streams: &mut Vec<Feed>, ended: usize) -> bool {
        let mut state = self.state.lock().expect("no code panics while it holds the streams");
        state.streams -= ended;
        let room = (STREAMS_MAX - streams.len()).min(state.waiting.len());
        streams.extend(state.waiting.drain(..room));
        state.runners -= usize::from(streams.is_empty());
        !streams.is_empty()
    }

    fn run(&self) {
        let (mut streams, mut ended) = (Vec::with_capacity(STREAMS_MAX), 0);
        while self.refill(&mut streams, ended) {
            let mut slices: Vec<(&mut Md5, &[u8])> = streams
                .iter_mut()
                .map(|feed| (&mut feed.md5, &feed.bytes[..feed.bytes.len().min(SLICE_BYTES)]))
                .collect();
            advance(&mut slices);
            ended = 0;
            for mut feed in std::mem::take(&mut streams) {
                feed.bytes.advance(feed.bytes.len().min(SLICE_BYTES));
                if feed.bytes.has_remaining() {
                    streams.push(feed);
                } else {
                    ended += 1;
                    // Whoever asked may have gone.
                    let _ = feed.done.send(feed.md5);
                }
            }
        }
    }
}

/// The MD5 of one body, fed in order.
pub(crate) struct Digesting {
    pending: Option<oneshot::Receiver<Md5>>,
    idle: Md5,
}

impl Digesting {
    pub(crate) fn start() -> Self {
        Self { pending: None, idle: Md5::new() }
    }

    /// Hashes the next bytes, beside whatever the caller does next.
    pub(crate) async fn feed(&mut self, client: &Client, bytes: Bytes) -> Result<(), ClientError> {
        let md5 = self.state().await?;
        let (done, pending) = oneshot::channel();
        self.pending = Some(pending);
        let inner = client.inner.clone();
        if inner.digests.push(Feed { md5, bytes, done }) {
            let digests: Arc<Digests> = inner.digests.clone();
            inner.parts.runtime.cpu(Box::new(move || digests.run()));
        }
        Ok(())
    }

    /// The hash of everything that was fed.
    pub(crate) async fn finish(mut self) -> Result<[u8; 16], ClientError> {
        Ok(self.state().await?.finish())
    }

    async fn state(&mut self) -> Result<Md5, ClientError> {
        match self.pending.take() {
            None => Ok(std::mem::take(&mut self.idle)),
            Some(pending) => {
                pending.await.map_err(|_| ClientError::Unavailable { why: "this node is stopping".into() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_all_lengths_share_runners_and_each_gets_its_own_hash() {
        let digests = Digests::default();
        let body = |n: usize| Bytes::from(vec![n as u8; n * 7_001]);
        let mut runners = 0;
        let pending: Vec<_> = (0..40)
            .map(|n| {
                let (done, pending) = oneshot::channel();
                runners += usize::from(digests.push(Feed { md5: Md5::new(), bytes: body(n), done }));
                pending
            })
            .collect();
        assert_eq!(runners, 3, "one for sixteen streams");
        (0..runners).for_each(|_| digests.run());
        for (n, mut pending) in pending.into_iter().enumerate() {
            let md5 = pending.try_recv().expect("not dropped").expect("finished");
            assert_eq!(md5.finish(), Md5::hash(&body(n)), "{n}");
        }
        let state = digests.state.lock().expect("plain data");
        assert_eq!((state.streams, state.runners, state.waiting.len()), (0, 0, 0));
    }
}
