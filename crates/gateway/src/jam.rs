//! Slow bodies give way: each holds a request's place, a window of body bytes and memory for the chunk that they shall fill,
//! and many would keep everybody else out for as long as they like, at the least rate that is allowed.
//!
//! Whoever finds none of these waits in a line. Where somebody stands in one for a while, bodies that are slower than
//! [`PACE`] are told to come back later, until nobody stands there any more.

use std::future::Future as _;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
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

/// What bodies hold and others wait for: a request's place, a window, memory for a chunk.
pub(crate) const LINES: usize = 3;

/// The numbers of those who wait in each line, in order, up to the next that will be given.
pub(crate) type Lines = Arc<dyn Fn() -> [Range<u64>; LINES] + Send + Sync>;

/// One body's view of the lines.
pub(crate) struct Jam {
    lines: Lines,
    debt: Debt,
    /// The end of each line at the first look, and the looks since.
    seen: [Option<(u64, u32)>; LINES],
    look: Option<Pin<Box<Sleep>>>,
}

impl Jam {
    /// With a look at these lines.
    pub(crate) fn new(lines: Lines) -> Self {
        Self { lines, debt: Debt::new(PACE), seen: [None; LINES], look: None }
    }

    /// So many bytes came.
    pub(crate) fn pay(&mut self, bytes: usize) {
        self.debt.pay(bytes);
    }

    /// The body is waited for: whether it is slow and others wait in vain.
    pub(crate) fn is_in_the_way(&mut self, cx: &mut Context<'_>) -> bool {
        if self.debt.poll_too_slow(cx, Duration::MAX).is_pending() {
            (self.seen, self.look) = ([None; LINES], None);
            return false;
        }
        loop {
            let look = self.look.get_or_insert_with(|| Box::pin(sleep(LOOK)));
            if look.as_mut().poll(cx) == Poll::Pending {
                return false;
            }
            self.look = None;
            let mut in_vain = false;
            for (seen, line) in self.seen.iter_mut().zip((self.lines)()) {
                let looked = match *seen {
                    Some((end, looks)) if line.start < end => (end, looks + 1),
                    Some(_) | None => (line.end, 0),
                };
                in_vain |= looked.1 >= LOOKS;
                *seen = Some(looked);
            }
            if in_vain {
                return true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A body that brings `bytes` every second, and the line after so many seconds; when it has to give way.
    async fn gives_way(bytes: usize, which: usize, line: fn(u64) -> Range<u64>) -> Option<u64> {
        let second = Arc::new(AtomicU64::new(0));
        let seen = second.clone();
        let lines = move || {
            let mut lines = [const { 5..5 }; LINES];
            lines[which] = line(seen.load(Ordering::Relaxed));
            lines
        };
        let mut jam = Jam::new(Arc::new(lines));
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
            for which in 0..LINES {
                let gave_way = gives_way(bytes, which, line).await;
                let right = match (gave_way, &expected) {
                    (Some(second), Some(seconds)) => seconds.contains(&second),
                    (gave_way, seconds) => gave_way.is_none() && seconds.is_none(),
                };
                assert!(right, "{case}, line {which}: {gave_way:?} instead of {expected:?}");
            }
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
