//! How slow a peer may be: the time it was waited for, less what its bytes are worth.
//!
//! Used by `inlet` for bodies that come and by `connection` for answers that go. What a peer is behind never falls below
//! nothing: a burst of bytes pays for what was owed before it and buys no later rest. (Else a gigabyte that came quickly, or
//! megabytes that fitted into the kernel's buffers, would pay for hours of silence.)

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// How slow a peer may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Waiting that is free.
    pub(crate) grace: Duration,
    /// Bytes per second that pay for the rest; 0 counts as 1.
    pub(crate) rate_min: u64,
}

impl Pace {
    /// The waiting that so many bytes pay for.
    fn worth(self, bytes: usize) -> Duration {
        let us = (bytes as u64).saturating_mul(1_000_000) / self.rate_min.max(1);
        Duration::from_micros(us)
    }
}

/// What a peer is behind.
pub(crate) struct Debt {
    pace: Pace,
    behind: Duration,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Debt {
    /// Of a peer that owes nothing yet.
    pub(crate) fn new(pace: Pace) -> Self {
        Self { pace, behind: Duration::ZERO, waiting: None }
    }

    /// The peer moved so many bytes: nobody waits for it any more.
    pub(crate) fn pay(&mut self, bytes: usize) {
        if let Some((since, _)) = self.waiting.take() {
            self.behind += since.elapsed();
        }
        self.behind = self.behind.saturating_sub(self.pace.worth(bytes));
    }

    /// The peer is waited for, now and until it pays. Ready when it has become too slow, or after `still` without a byte.
    pub(crate) fn poll_too_slow(&mut self, cx: &mut Context<'_>, still: Duration) -> Poll<()> {
        let left = self.pace.grace.saturating_sub(self.behind).min(still);
        let (_, timer) = self.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(tokio::time::sleep_until(now + left)))
        });
        timer.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// A peer that moves `bytes` after each of `waits` (in ms); when it was found too slow.
    async fn ends_after(waits: &[(u64, usize)], still_ms: u64) -> Option<u64> {
        let mut debt = Debt::new(Pace { grace: Duration::from_secs(10), rate_min: 1000 });
        let start = Instant::now();
        for (wait, bytes) in waits {
            let slow = poll_fn(|cx| debt.poll_too_slow(cx, Duration::from_millis(still_ms)));
            if tokio::time::timeout(Duration::from_millis(*wait), slow).await.is_ok() {
                return Some(start.elapsed().as_millis() as u64);
            }
            debt.pay(*bytes);
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_pay_for_waiting_that_was_and_never_for_waiting_to_come() {
        let long = 1_000_000;
        // The story, what is waited for and then moved, the longest silence, and when it ends.
        type Case = (&'static str, Vec<(u64, usize)>, u64, Option<u64>);
        let cases: [Case; 6] = [
            ("at its rate it may go on for ever", vec![(9_000, 9_000); 100], long, None),
            ("slower, its grace is used up", vec![(2_000, 1_000); 100], long, Some(18_000)),
            ("a burst buys no rest", vec![(0, 1 << 30), (20_000, 1)], long, Some(10_000)),
            ("a burst pays what was owed", vec![(9_000, 1 << 30), (9_000, 1)], long, None),
            ("silence ends by itself", vec![(0, 1 << 30), (20_000, 1)], 3_000, Some(3_000)),
            ("nothing moved pays nothing", vec![(4_000, 0); 4], long, Some(10_000)),
        ];
        for (case, waits, still_ms, expected) in cases {
            let ended = ends_after(&waits, still_ms).await;
            // Timers have a resolution of a millisecond. The grace is used up within a wait, before that is paid for.
            let close = match (ended, expected) {
                (Some(ended), Some(expected)) => ended.abs_diff(expected) <= 10,
                (ended, expected) => ended == expected,
            };
            assert!(close, "{case}: {ended:?} instead of {expected:?}");
        }
    }
}
