//! A turnstile: places of which there are only so many, and who waits for one.
//!
//! The places are a semaphore's, first come, first served. Beside it stands the line, so that whoever holds a place can see
//! that others wait in vain (see `jam`).

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// See the module.
pub(crate) struct Turnstile {
    places: Arc<Semaphore>,
    line: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    numbers: BTreeSet<u64>,
}

impl Turnstile {
    /// With so many places.
    pub(crate) fn new(places: usize) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { places, line: Mutex::default() })
    }

    /// The places themselves, for those who want more without waiting.
    pub(crate) fn places(&self) -> &Arc<Semaphore> {
        &self.places
    }

    /// Waits for so many places, at most so long; `None`: there were none.
    pub(crate) async fn pass(&self, count: u32, patience: Duration) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_many_owned(count) {
            return Some(permit);
        }
        let _stands = Stands::behind(self);
        let waiting = Arc::clone(&self.places).acquire_many_owned(count);
        timeout(patience, waiting).await.ok()?.ok()
    }

    /// The numbers of those who wait, from the first to the next that will be given; empty: nobody waits.
    pub(crate) fn line(&self) -> Range<u64> {
        let line = self.lock();
        line.numbers.first().copied().unwrap_or(line.next)..line.next
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Numbers are whole at every moment, whatever panicked beside them.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the line, left when its owner is served or goes away.
struct Stands<'a> {
    turnstile: &'a Turnstile,
    number: u64,
}

impl<'a> Stands<'a> {
    fn behind(turnstile: &'a Turnstile) -> Self {
        let mut line = turnstile.lock();
        let number = line.next;
        line.next += 1;
        line.numbers.insert(number);
        Self { turnstile, number }
    }
}

impl Drop for Stands<'_> {
    fn drop(&mut self) {
        self.turnstile.lock().numbers.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_line_shows_who_waits_and_nobody_stays_in_it() {
        let turnstile = Turnstile::new(2);
        let second = Duration::from_secs(1);
        let held = turnstile.pass(2, second).await.expect("all are free");
        assert_eq!(turnstile.line(), 0..0, "whoever passes at once never stood there");
        assert!(turnstile.pass(1, second).await.is_none(), "its time is over");
        assert_eq!(turnstile.line(), 1..1);
        let (first, late, seen) = tokio::join!(turnstile.pass(1, second), turnstile.pass(2, second), async {
            tokio::task::yield_now().await;
            let seen = turnstile.line();
            drop(held);
            seen
        });
        assert_eq!(seen, 1..3);
        assert!(first.is_some() && late.is_none(), "the second wants both places, and one is held");
        assert_eq!(turnstile.line(), 3..3);
        drop(first);
        assert!(turnstile.pass(2, second).await.is_some(), "every place came back");
    }
}
