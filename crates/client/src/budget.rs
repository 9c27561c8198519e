//! A budget in bytes: whoever wants memory for chunks in flight waits here, in order, until there is some.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

/// See the module.
pub(crate) struct Budget {
    total: usize,
    state: Mutex<State>,
}

struct State {
    free: usize,
    next_ticket: u64,
    queue: VecDeque<(u64, Option<Waker>)>,
}

/// Bytes that were granted; dropped, they go back.
pub(crate) struct Grant {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(total: usize) -> Arc<Self> {
        let state = State { free: total, next_ticket: 0, queue: VecDeque::new() };
        Arc::new(Self { total, state: Mutex::new(state) })
    }

    /// Waits for `bytes`, at most the whole budget (a larger wish is granted as all of it). First come, first served.
    pub(crate) async fn take(self: &Arc<Self>, bytes: usize) -> Grant {
        let bytes = bytes.min(self.total);
        let mut place = Place { budget: self, ticket: None };
        poll_fn(|cx| {
            let mut state = self.lock();
            let first = match place.ticket {
                None => state.queue.is_empty(),
                Some(ticket) => state.queue.front().is_some_and(|(t, _)| *t == ticket),
            };
            if first && state.free >= bytes {
                state.free -= bytes;
                return Poll::Ready(());
            }
            let waker = Some(cx.waker().clone());
            match place.ticket {
                Some(ticket) => {
                    if let Some(entry) = state.queue.iter_mut().find(|(t, _)| *t == ticket) {
                        entry.1 = waker;
                    }
                }
                None => {
                    let ticket = state.next_ticket;
                    state.next_ticket += 1;
                    state.queue.push_back((ticket, waker));
                    place.ticket = Some(ticket);
                }
            }
            Poll::Pending
        })
        .await;
        drop(place);
        Grant { budget: self.clone(), bytes }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds a budget")
    }

    fn wake_first(&self) {
        let waker = self.lock().queue.front_mut().and_then(|(_, waker)| waker.take());
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.budget.lock().free += self.bytes;
        self.budget.wake_first();
    }
}

/// A place in the queue; given up when its owner is served or goes away.
struct Place<'a> {
    budget: &'a Budget,
    ticket: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.budget.lock().queue.retain(|(t, _)| *t != ticket);
            self.budget.wake_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::Context;

    #[test]
    fn those_who_wait_are_served_in_order_and_nothing_leaks() {
        let budget = Budget::new(10);
        let mut cx = Context::from_waker(Waker::noop());
        let ready =
            |future: &mut std::pin::Pin<&mut dyn Future<Output = Grant>>, cx: &mut Context<'_>| match future
                .as_mut()
                .poll(cx)
            {
                Poll::Ready(grant) => Some(grant),
                Poll::Pending => None,
            };
        let (mut a, mut b, mut c) = (pin!(budget.take(8)), pin!(budget.take(5)), pin!(budget.take(1)));
        let first = ready(&mut (a.as_mut() as _), &mut cx).expect("there is room");
        assert!(ready(&mut (b.as_mut() as _), &mut cx).is_none());
        assert!(ready(&mut (c.as_mut() as _), &mut cx).is_none(), "the small one does not overtake");
        drop(first);
        let second = ready(&mut (b.as_mut() as _), &mut cx).expect("its turn");
        let third = ready(&mut (c.as_mut() as _), &mut cx).expect("there is room for both");
        drop((second, third));
        assert_eq!(budget.lock().free, 10);
        assert_eq!(budget.lock().queue.len(), 0);
    }
}
