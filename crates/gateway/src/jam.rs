//! Slow bodies give way: each holds memory for the chunk that its bytes shall fill, and a few dozen would keep everybody else
//! from writing for as long as they like, at the least rate that is allowed.
//!
//! A write that has no memory for its next chunk waits in line. Where the first in line stays the same for a while, nobody gets
//! on, and bodies that are slower than [`PACE`] are told to come back later.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use crate::pace::{Debt, Pace};

/// How fast a body must be while others wait in vain.
const PACE: Pace = Pace { grace: Duration::from_secs(2), rate_min: 16 << 10 };
/// Between two looks at the line.
const LOOK: Duration = Duration::from_secs(1);

/// Tells who is first in line for memory.
pub(crate) type Line = Box<dyn Fn() -> Option<u64> + Send + Sync>;

/// One body's view of the line.
pub(crate) struct Jam {
    line: Line,
    debt: Debt,
    first: Option<u64>,
    look: Option<Pin<Box<Sleep>>>,
}

impl Jam {
    /// With a look at that line.
    pub(crate) fn new(line: Line) -> Self {
        Self { line, debt: Debt::new(PACE), first: None, look: None }
    }

    /// So many bytes came.
    pub(crate) fn pay(&mut self, bytes: usize) {
        self.debt.pay(bytes);
    }

    /// The body is waited for: whether it is slow and others wait in vain.
    pub(crate) fn is_in_the_way(&mut self, cx: &mut Context<'_>) -> bool {
        if self.debt.poll_too_slow(cx, Duration::MAX).is_pending() {
            (self.first, self.look) = (None, None);
            return false;
        }
        loop {
            let look = self.look.get_or_insert_with(|| Box::pin(sleep(LOOK)));
            if look.as_mut().poll(cx) == Poll::Pending {
                return false;
            }
            self.look = None;
            let first = (self.line)();
            if first.is_some() && first == self.first {
                return true;
            }
            self.first = first;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A body that brings `bytes` every second, and the line's first after so many seconds; when it has to give way.
    async fn gives_way(bytes: usize, first: fn(u64) -> Option<u64>) -> Option<u64> {
        let second = Arc::new(AtomicU64::new(0));
        let seen = second.clone();
        let mut jam = Jam::new(Box::new(move || first(seen.load(Ordering::Relaxed))));
        for now in 0..60 {
            second.store(now, Ordering::Relaxed);
            let waiting = poll_fn(|cx| if jam.is_in_the_way(cx) { Poll::Ready(()) } else { Poll::Pending });
            if tokio::time::timeout(Duration::from_secs(1), waiting).await.is_ok() {
                return Some(now);
            }
            if bytes > 0 {
                jam.pay(bytes);
            }
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_gives_way_only_to_those_who_do_not_get_on() {
        let stuck = gives_way(0, |_| Some(7)).await;
        assert!(stuck.is_some_and(|second| (3..=5).contains(&second)), "{stuck:?}");
        assert_eq!(gives_way(0, |_| None).await, None, "nobody waits");
        assert_eq!(gives_way(0, Some).await, None, "the line moves");
        assert_eq!(gives_way(32 << 10, |_| Some(7)).await, None, "it is not slow");
        let late = gives_way(0, |second| (second > 20).then_some(7)).await;
        assert!(late.is_some_and(|second| (21..=24).contains(&second)), "{late:?}");
    }
}
