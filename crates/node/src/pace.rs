//! The pace of background work: a pause, and a limit in bytes a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pangea_client::Task;
use tokio::sync::watch;
use tokio::time::Instant;

/// Work that was not done is made up for by so much at once.
const BURST: Duration = Duration::from_secs(1);

/// What an operator set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Limits {
    /// Nothing goes on.
    pub paused: bool,
    /// Bytes read and written a second; `None`: as fast as it goes.
    pub bytes_per_second: Option<u64>,
}

/// See the module.
pub(crate) struct Pace {
    limits: watch::Sender<Limits>,
    /// When the bytes that were granted so far are through.
    free_at: Mutex<Option<Instant>>,
}

impl Limits {
    /// The bytes of a setting.
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.paused)];
        bytes.extend_from_slice(&self.bytes_per_second.unwrap_or(0).to_le_bytes());
        bytes
    }

    /// Reads a setting; `None`: it is not one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (paused, rate) = bytes.split_first()?;
        let rate = u64::from_le_bytes(rate.try_into().ok()?);
        Some(Self { paused: *paused == 1, bytes_per_second: (rate > 0).then_some(rate) })
    }
}

impl Pace {
    /// A pace within these limits.
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits: watch::Sender::new(limits), free_at: Mutex::new(None) })
    }

    /// The limits now.
    pub(crate) fn limits(&self) -> Limits {
        *self.limits.borrow()
    }

    /// Changes the limits; whoever waits hears of it.
    pub(crate) fn set(&self, limits: Limits) {
        *self.free_at.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.limits.send_replace(limits);
    }

    /// Ready when nothing is paused.
    pub(crate) async fn unpaused(&self) {
        let mut limits = self.limits.subscribe();
        // The sender lives as long as `self`.
        let _ = limits.wait_for(|limits| !limits.paused).await;
    }

    /// Ready when so many bytes may go.
    pub(crate) fn spend(self: Arc<Self>, bytes: u64) -> Task {
        Box::pin(async move {
            self.unpaused().await;
            let mut limits = self.limits.subscribe();
            limits.borrow_and_update();
            let Some(start) = self.reserve(bytes) else { return };
            // A new limit ends the wait for the old one.
            tokio::select! {
                () = tokio::time::sleep_until(start) => {}
                _ = limits.changed() => self.unpaused().await,
            }
        })
    }

    /// When the bytes may go; `None`: now.
    fn reserve(&self, bytes: u64) -> Option<Instant> {
        let rate = self.limits().bytes_per_second?;
        let takes = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let now = Instant::now();
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let start = free_at.unwrap_or(now).max(now.checked_sub(BURST).unwrap_or(now));
        *free_at = Some(start + takes);
        (start > now).then_some(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_go_at_the_rate_that_was_set_and_a_pause_holds_them() {
        let pace = Pace::new(Limits { paused: false, bytes_per_second: Some(1000) });
        let begun = Instant::now();
        for _ in 0..10 {
            pace.clone().spend(500).await;
        }
        let took = begun.elapsed().as_secs_f64();
        assert!((4.0..=5.0).contains(&took), "5000 bytes at 1000 a second took {took} s");
        pace.set(Limits { paused: true, bytes_per_second: None });
        let held = tokio::time::timeout(Duration::from_secs(60), pace.clone().spend(1)).await;
        assert!(held.is_err(), "paused");
        pace.set(Limits::default());
        pace.clone().spend(u64::MAX).await;
    }

    #[test]
    fn limits_round_trip_and_other_bytes_are_none() {
        for limits in [
            Limits::default(),
            Limits { paused: true, bytes_per_second: Some(7) },
            Limits { paused: false, bytes_per_second: Some(u64::MAX) },
        ] {
            assert_eq!(Limits::decode(&limits.encode()), Some(limits));
        }
        assert_eq!((Limits::decode(&[]), Limits::decode(&[0; 8])), (None, None));
    }
}
