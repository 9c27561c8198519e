//! A budget in bytes: whoever wants memory for chunks in flight waits here, in order, until there is some.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::Range;
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
    /// Whether somebody has more than there is.
    overdrawn: bool,
}

/// Bytes that were granted; dropped, they go back.
pub(crate) struct Grant {
    budget: Arc<Budget>,
    bytes: usize,
    /// Whether it may have more than there is.
    overdraws: bool,
}

impl Budget {
    pub(crate) fn new(total: usize) -> Arc<Self> {
        let state = State { free: total, next_ticket: 0, queue: VecDeque::new(), overdrawn: false };
        Arc::new(Self { total, state: Mutex::new(state) })
    }

    /// Waits for `bytes`, at most the whole budget (a larger wish is granted as all of it). First come, first served.
    pub(crate) async fn take(self: &Arc<Self>, bytes: usize) -> Grant {
        let bytes = bytes.min(self.total);
        self.acquire(bytes, false).await;
        Grant { budget: self.clone(), bytes, overdraws: false }
    }

    /// A grant of nothing, to grow.
    pub(crate) fn nothing(self: &Arc<Self>) -> Grant {
        Grant { budget: self.clone(), bytes: 0, overdraws: false }
    }

    /// Waits for a place at the front and then for `bytes`. With `may_overdraw` it does not wait for bytes if nobody
    /// overdraws yet; then nothing is taken and `false` is the answer.
    async fn acquire(&self, bytes: usize, may_overdraw: bool) -> bool {
        let mut place = Place { budget: self, ticket: None };
        poll_fn(|cx| {
            let mut state = self.lock();
            let first = match place.ticket {
                None => state.queue.is_empty(),
                Some(ticket) => state.queue.front().is_some_and(|(t, _)| *t == ticket),
            };
            if first && state.free >= bytes {
                state.free -= bytes;
                return Poll::Ready(true);
            }
            if first && may_overdraw && !state.overdrawn {
                state.overdrawn = true;
                return Poll::Ready(false);
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
        .await
    }

    /// The numbers of those who wait, from the first to the next that will be given; empty: nobody waits. Whoever had a
    /// number some time ago and is not served yet has waited for so long.
    pub(crate) fn line(&self) -> Range<u64> {
        let state = self.lock();
        state.queue.front().map_or(state.next_ticket, |(ticket, _)| *ticket)..state.next_ticket
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

impl Grant {
    /// Waits until it is of at least `bytes`, which its owner knows a bound for.
    ///
    /// Many who hold a part and want more could wait for each other for ever. So when nothing is left, whoever waits first
    /// has as much as it wants until its grant is dropped: one at a time.
    pub(crate) async fn grow_to(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 || self.overdraws {
            return;
        }
        if self.budget.acquire(more, true).await {
            self.bytes += more;
        } else {
            self.overdraws = true;
        }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        state.free += self.bytes;
        state.overdrawn &= !self.overdraws;
        drop(state);
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
        assert_eq!(budget.line(), 0..0);
        assert!(ready(&mut (b.as_mut() as _), &mut cx).is_none());
        assert_eq!(budget.line(), 0..1);
        assert!(ready(&mut (c.as_mut() as _), &mut cx).is_none(), "the small one does not overtake");
        assert_eq!(budget.line(), 0..2);
        drop(first);
        let second = ready(&mut (b.as_mut() as _), &mut cx).expect("its turn");
        let third = ready(&mut (c.as_mut() as _), &mut cx).expect("there is room for both");
        drop((second, third));
        assert_eq!(budget.lock().free, 10);
        assert_eq!(budget.line(), 2..2);
    }

    #[test]
    fn of_many_who_hold_a_part_and_want_more_one_can_always_go_on() {
        let budget = Budget::new(10);
        let mut cx = Context::from_waker(Waker::noop());
        let mut grants: Vec<Grant> = (0..4).map(|_| budget.nothing()).collect();
        let mut grown = |grant: &mut Grant, to| pin!(grant.grow_to(to)).poll(&mut cx).is_ready();
        for (grant, to) in grants.iter_mut().zip([4, 4, 2, 0]) {
            assert!(grown(grant, to));
        }
        assert!(grown(&mut grants[2], 4), "nothing is left: the first may overdraw");
        assert!(grown(&mut grants[2], 400), "as much as it wants");
        assert!(!grown(&mut grants[0], 5), "but only one");
        assert!(!grown(&mut grants[3], 1));
        drop(grants.swap_remove(2));
        assert!(grown(&mut grants[0], 6), "its part came back");
        assert!(grown(&mut grants[1], 5), "and somebody else may overdraw");
        drop(grants);
        let state = budget.lock();
        assert_eq!((state.free, state.overdrawn, state.queue.len()), (10, false, 0));
    }
}
