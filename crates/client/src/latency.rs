//! How long reads usually take: when to hedge.
//!
//! Mean and mean deviation as in TCP's retransmission timer (Jacobson 1988; RFC 6298): mean + 4 deviations lies near the
//! 95th percentile or beyond it for the latencies of drives and links.

use std::sync::Mutex;

const HEDGE_US_MIN: u64 = 10_000;
const HEDGE_US_MAX: u64 = 2_000_000;
const HEDGE_US_AT_FIRST: u64 = 250_000;

/// See the module.
#[derive(Default)]
pub(crate) struct Latency {
    /// Mean × 8 and deviation × 4, in µs.
    scaled: Mutex<Option<(u64, u64)>>,
}

impl Latency {
    /// Takes a measurement in.
    pub(crate) fn record(&self, us: u64) {
        let us = us.min(HEDGE_US_MAX * 4);
        let mut scaled = self.scaled.lock().expect("arithmetic does not panic");
        *scaled = Some(match *scaled {
            None => (us * 8, us * 2),
            Some((mean, deviation)) => {
                let off = us.abs_diff(mean / 8);
                (mean - mean / 8 + us, deviation - deviation / 4 + off)
            }
        });
    }

    /// The mean of reads, in µs; 0 before the first.
    pub(crate) fn usual_us(&self) -> u32 {
        let scaled = *self.scaled.lock().expect("arithmetic does not panic");
        scaled.map_or(0, |(mean, _)| u32::try_from(mean / 8).unwrap_or(u32::MAX))
    }

    /// After how long a read counts as slow.
    pub(crate) fn hedge_us(&self) -> u64 {
        let scaled = *self.scaled.lock().expect("arithmetic does not panic");
        let usual = scaled.map_or(HEDGE_US_AT_FIRST, |(mean, deviation)| mean / 8 + deviation);
        usual.clamp(HEDGE_US_MIN, HEDGE_US_MAX)
    }
}
