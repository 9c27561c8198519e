//! Slow bodies give way: each holds memory for the chunk that its bytes shall fill, and many would keep everybody else from
//! writing for as long as they like, at the least rate that is allowed.
//!
//! A write that has no memory for its next chunk waits in line. Where somebody stands in it for a while, bodies that are slower
//! than [`PACE`] are told to come back later, all of them: in the line there may be as many again.

use std::future::Future as _;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use crate::pace::{Debt, Pace};

/// How fast a body must be while others wait in vain.
const PACE: Pace = Pace { grace: Duration::from_secs(2), rate_min: 16 << 10 };
/// Between two looks at the line.
const LOOK: Duration = Duration::from_secs(1);
/// Looks that find somebody who stood there at the one before them: they wait in vain.
const LOOKS: u32 = 3;

/// Tells the numbers of those who wait for memory, in order, up to the next that will be given.
pub(crate) type Line = Box<dyn Fn() -> Range<u64> + Send + Sync>;

/// One body's view of the line.
pub(crate) struct Jam {
    line: Line,
    debt: Debt,
    /// The end of the line at the first look, and the looks since.
    seen: Option<(u64, u32)>,
    look: Option<Pin<Box<Sleep>>>,
}

impl Jam {
    /// With a look at that line.
    pub(crate) fn new(line: Line) -> Self {
        Self { line, debt: Debt::new(PACE), seen: None, look: None }
    }

    /// So many bytes came.
    pub(crate) fn pay(&mut self, bytes: usize) {
        self.debt.pay(bytes);
    }

    /// The body is waited for: whether it is slow and others wait in vain.
    pub(crate) fn is_in_the_way(&mut self, cx: &mut Context<'_>) -> bool {
        if self.debt.poll_too_slow(cx, Duration::MAX).is_pending() {
            (self.seen, self.look) = (None, None);
            return false;
        }
        loop {
            let look = self.look.get_or_insert_with(|| Box::pin(sleep(LOOK)));
            if look.as_mut().poll(cx) == Poll::Pending {
                return false;
            }
            self.look = None;
            let line = (self.line)();
            self.seen = match self.seen {
                Some((end, looks)) if line.start < end => Some((end, looks + 1)),
                Some(_) | None => Some((line.end, 0)),
            };
            if self.seen.is_some_and(|(_, looks)| looks >= LOOKS) {
                return true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A body that brings `bytes` every second, and the line after so many seconds; when it has to give way.
    async fn gives_way(bytes: usize, line: fn(u64) -> Range<u64>) -> Option<u64> {
        let second = Arc::new(AtomicU64::new(0));
        let seen = second.clone();
        let mut jam = Jam::new(Box::new(move || line(seen.load(Ordering::Relaxed))));
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
        for (case, bytes, line, expected) in cases() {
            let gave_way = gives_way(bytes, line).await;
            let right = match (gave_way, &expected) {
                (Some(second), Some(seconds)) => seconds.contains(&second),
                (gave_way, seconds) => gave_way.is_none() && seconds.is_none(),
            };
            assert!(right, "{case}: {gave_way:?} instead of {expected:?}");
        }
    }

    /// The story, bytes a second, the line, and between which seconds the body has to go.
    type Case = (&'static str, usize, fn(u64) -> Range<u64>, Option<std::ops::RangeInclusive<u64>>);

    fn cases() -> [Case; 6] {
        [
            ("nobody gets on", 0, |_| 7..9, Some(5..=7)),
            ("one gets on a second, and a hundred wait", 0, |second| second..second + 100, Some(5..=7)),
            ("nobody waits", 0, |_| 9..9, None),
            ("everybody is served soon", 0, |second| second * 10..second * 10 + 15, None),
            ("it is not slow", 32 << 10, |_| 7..9, None),
            ("it becomes full later", 0, |second| if second > 20 { 7..9 } else { 7..7 }, Some(23..=26)),
        ]
    }
}
