//! A budget of bytes that futures wait for, in order.
//!
//! Owns the backpressure of the threads engine. A permit gives its bytes back when it is dropped, wherever that happens.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_channel::oneshot;

/// See the module.
pub struct Budget {
    total: usize,
    state: Mutex<State>,
}

struct State {
    free: usize,
    waiting: VecDeque<(usize, oneshot::Sender<Permit>)>,
}

/// Some bytes of a budget.
pub struct Permit {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// A budget of `total` bytes.
    pub fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { total, state: Mutex::new(State { free: total, waiting: VecDeque::new() }) })
    }

    /// Waits for `bytes`; more than the whole budget counts as all of it. First come, first served.
    pub async fn acquire(self: &Arc<Self>, bytes: usize) -> Permit {
        let bytes = bytes.min(self.total);
        let granted = {
            let mut state = self.lock();
            if state.waiting.is_empty() && state.free >= bytes {
                state.free -= bytes;
                return Permit { budget: self.clone(), bytes };
            }
            let (sender, granted) = oneshot::channel();
            state.waiting.push_back((bytes, sender));
            granted
        };
        granted.await.expect("the budget outlives those who wait for it")
    }

    fn release(self: &Arc<Self>, bytes: usize) {
        let mut grants = Vec::new();
        {
            let mut state = self.lock();
            state.free += bytes;
            while state.waiting.front().is_some_and(|(wanted, _)| *wanted <= state.free) {
                if let Some((wanted, sender)) = state.waiting.pop_front() {
                    state.free -= wanted;
                    grants.push((Permit { budget: self.clone(), bytes: wanted }, sender));
                }
            }
        }
        // Outside the lock: a permit that nobody waits for any more is dropped here and comes back through `release`.
        for (permit, sender) in grants {
            drop(sender.send(permit));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn poll<T>(future: &mut std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn bytes_are_granted_in_order_and_come_back_even_from_those_who_left() {
        let budget = Budget::new(10);
        let first = poll(&mut pin!(budget.acquire(8))).expect("free");
        let mut second = pin!(budget.acquire(99));
        assert!(poll(&mut second).is_none());
        {
            let mut left = pin!(budget.acquire(1));
            assert!(poll(&mut left).is_none(), "nobody overtakes");
        }
        drop(first);
        let second = poll(&mut second).expect("all of it");
        let mut third = pin!(budget.acquire(10));
        assert!(poll(&mut third).is_none());
        drop(second);
        assert!(poll(&mut third).is_some(), "what was granted to the one who left came back");
    }
}
