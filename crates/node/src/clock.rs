//! The system's clocks: the only place that asks them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pangea_core::seam::{Clock, MonoUs, WallMs};

/// See the module.
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// How long from now until a monotonic time; zero if it has passed.
    pub fn until(&self, at: MonoUs) -> Duration {
        Duration::from_micros(at.saturating_sub(self.mono_us()))
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn mono_us(&self) -> MonoUs {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn wall_ms(&self) -> WallMs {
        // Before 1970 is nobody's real time; zero is the honest nearest value.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}
