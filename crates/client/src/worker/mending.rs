//! One mender a stripe: completion, scrub and rebalancing must not work on the same one at the same time.
//!
//! Each decides where shards belong by the layout that it saw. Two that saw different ones could each take away the copy
//! that the other one keeps. (On several gateways a lease will stand here.)

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use pangea_core::id::ChunkId;

type Stripes = BTreeMap<ChunkId, Vec<Waker>>;

/// See the module.
#[derive(Default)]
pub(crate) struct Mending {
    stripes: Arc<Mutex<Stripes>>,
}

/// A stripe that nobody else mends, until dropped.
pub(crate) struct Mender {
    stripes: Arc<Mutex<Stripes>>,
    chunk: ChunkId,
}

impl Mending {
    /// Waits until nobody else works on a stripe.
    pub(crate) async fn begin(&self, chunk: ChunkId) -> Mender {
        poll_fn(|context| {
            let mut stripes = lock(&self.stripes);
            match stripes.get_mut(&chunk) {
                Some(waiting) => {
                    waiting.push(context.waker().clone());
                    Poll::Pending
                }
                None => {
                    stripes.insert(chunk, vec![]);
                    Poll::Ready(())
                }
            }
        })
        .await;
        Mender { stripes: self.stripes.clone(), chunk }
    }
}

impl Drop for Mender {
    fn drop(&mut self) {
        let waiting = lock(&self.stripes).remove(&self.chunk).unwrap_or_default();
        waiting.into_iter().for_each(Waker::wake);
    }
}

fn lock(stripes: &Mutex<Stripes>) -> MutexGuard<'_, Stripes> {
    // Every change is one statement, so a panic elsewhere broke nothing.
    stripes.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use pangea_core::id::BlobId;

    use super::*;

    #[test]
    fn the_second_mender_of_a_stripe_waits_for_the_first_and_others_do_not() {
        let mending = Mending::default();
        let chunk = |n| ChunkId { blob: BlobId([1; 16]), chunk: n };
        let first = mending.begin(chunk(0)).now_or_never().expect("nobody is there");
        let mut second = std::pin::pin!(mending.begin(chunk(0)));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(mending.begin(chunk(1)).now_or_never().is_some());
        drop(first);
        assert!(second.now_or_never().is_some());
    }
}
