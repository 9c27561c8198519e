//! How fast a key may ask: a bucket of tokens for each, filled at a steady rate; an empty one is 503 SlowDown.
//!
//! Keys are counted once their signature was found right, so nobody can use up another's tokens.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

use s3s::S3Result;

use crate::error::slow_down;

/// Keys remembered at once; one that is forgotten starts with a full bucket.
const KEYS_MAX: usize = 4096;
/// Seconds' worth of requests that a bucket holds.
const BURST_S: f64 = 2.0;

/// The token buckets of all keys.
pub(crate) struct KeyRates {
    /// Requests a second; 0: as fast as they like.
    per_second: f64,
    keys: Mutex<HashMap<String, Level>>,
}

#[derive(Clone, Copy)]
struct Level {
    tokens: f64,
    at: Instant,
}

impl KeyRates {
    /// Each key may ask `per_second` times a second, in the long run; 0: no limit.
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second), keys: Mutex::default() }
    }

    /// Takes a token of that key.
    pub(crate) fn take(&self, access_key: &str) -> S3Result<()> {
        if self.take_at(access_key, Instant::now()) {
            return Ok(());
        }
        Err(slow_down("This access key asks too often: wait a second and go slower."))
    }

    fn take_at(&self, access_key: &str, now: Instant) -> bool {
        if self.per_second <= 0.0 {
            return true;
        }
        let full = (self.per_second * BURST_S).max(1.0);
        let mut keys = self.keys.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if keys.len() >= KEYS_MAX && !keys.contains_key(access_key) {
            // Whoever asked last longest ago has a full bucket, or nearly.
            if let Some(oldest) = keys.iter().min_by_key(|(_, level)| level.at).map(|(key, _)| key.clone()) {
                keys.remove(&oldest);
            }
        }
        let level = keys.entry(access_key.to_owned()).or_insert(Level { tokens: full, at: now });
        let passed = now.saturating_duration_since(level.at).as_secs_f64();
        *level = Level { tokens: (level.tokens + passed * self.per_second).min(full), at: now };
        let has = level.tokens >= 1.0;
        if has {
            level.tokens -= 1.0;
        }
        has
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_key_gets_its_burst_and_then_its_rate_and_others_do_not_suffer() {
        let rates = KeyRates::new(10);
        let start = Instant::now();
        let granted = |at, tries| (0..tries).filter(|_| rates.take_at("a", at)).count();
        assert_eq!(granted(start, 100), 20);
        assert_eq!(granted(start + Duration::from_secs(1), 100), 10);
        assert_eq!(granted(start + Duration::from_millis(1100), 100), 1);
        assert_eq!(granted(start + Duration::from_secs(1000), 100), 20);
        assert!(rates.take_at("b", start));
    }

    #[test]
    fn nothing_is_limited_unless_asked_for_and_memory_is_bounded() {
        let rates = KeyRates::new(0);
        assert!((0..1000).all(|_| rates.take("a").is_ok()));
        let rates = KeyRates::new(1);
        let now = Instant::now();
        assert!((0..KEYS_MAX + 10).all(|n| rates.take_at(&n.to_string(), now)));
        assert_eq!(rates.keys.lock().expect("nobody panicked").len(), KEYS_MAX);
    }
}
