//! The pulse of one connection: when to ping, and when the other side counts as dead. Time comes in, decisions go out.
//!
//! Whoever was sent something must be heard of within `dead_us`. Nobody need answer at once: a side that received messages
//! and has sent nothing for `sign_us` pings, so a question that takes long, or a body that fills a slow way, is no reason
//! for an alarm. A connection on which nothing happens is pinged each `idle_us`.

/// Waits, in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Waits {
    /// A side that received something gives a sign after so long.
    pub(crate) sign_us: u64,
    /// A quiet connection is pinged after so long.
    pub(crate) idle_us: u64,
    /// Silence, after something was sent, that means death.
    pub(crate) dead_us: u64,
}

/// A timer that fires later than this was not served: this process was stopped or starved, and the peer may have spoken.
const LATE_US: u64 = 500_000;

/// What to do now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Beat {
    /// Send a ping.
    Ping,
    /// The other side is dead.
    Dead,
    /// Look again then, unless told earlier.
    Until(u64),
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pulse {
    waits: Waits,
    heard_us: u64,
    sent_us: u64,
    /// Since when a sign of life is awaited.
    waiting_since_us: Option<u64>,
    /// Messages came, and nothing was sent since.
    owes_sign: bool,
    /// A ping waits to be written.
    ping_due: bool,
    /// Nothing is read just now, by our choice.
    paused: bool,
    /// When the timer fires.
    armed_us: u64,
    /// When the last bytes of a message came.
    message_us: u64,
}

impl Pulse {
    pub(crate) fn new(waits: Waits, now_us: u64) -> Self {
        Self {
            waits,
            heard_us: now_us,
            sent_us: now_us,
            waiting_since_us: None,
            owes_sign: false,
            ping_due: false,
            paused: false,
            armed_us: 0,
            message_us: now_us,
        }
    }

    /// Bytes came; `message`: of a message. Says whether the timer must be set anew.
    pub(crate) fn heard(&mut self, now_us: u64, message: bool) -> bool {
        self.heard_us = now_us;
        self.waiting_since_us = None;
        if message {
            self.message_us = now_us;
            self.owes_sign = true;
        }
        self.owes_sign && self.sent_us + self.waits.sign_us < self.armed_us
    }

    /// Bytes went out; `asks`: of a message or a ping, which the other side gives a sign for. Says whether the timer must be
    /// set anew.
    pub(crate) fn sent(&mut self, now_us: u64, asks: bool) -> bool {
        self.sent_us = now_us;
        self.owes_sign = false;
        if !asks {
            return false;
        }
        let since = *self.waiting_since_us.get_or_insert(now_us);
        since + self.waits.dead_us < self.armed_us
    }

    /// The ping was taken to be written.
    pub(crate) fn ping_taken(&mut self) {
        self.ping_due = false;
    }

    /// Reading stops (its messages find no room), or goes on. Says whether the timer must be set anew.
    pub(crate) fn pause(&mut self, now_us: u64, paused: bool) -> bool {
        self.paused = paused;
        self.waiting_since_us = None;
        self.heard_us = now_us;
        paused && now_us + self.waits.sign_us < self.armed_us
    }

    /// How long no message has come.
    pub(crate) fn unused_us(&self, now_us: u64) -> u64 {
        now_us.saturating_sub(self.message_us)
    }

    /// Looks at the clock.
    pub(crate) fn beat(&mut self, now_us: u64) -> Beat {
        if self.armed_us > 0 && now_us > self.armed_us + LATE_US {
            self.waiting_since_us = self.waiting_since_us.map(|_| now_us);
        }
        let Waits { sign_us, idle_us, dead_us } = self.waits;
        let dead_at = self.waiting_since_us.filter(|_| !self.paused).map(|since| since + dead_us);
        if dead_at.is_some_and(|at| at <= now_us) {
            return Beat::Dead;
        }
        let quiet = self.heard_us.max(self.sent_us) + idle_us;
        let ping_at = if self.owes_sign || self.paused { quiet.min(self.sent_us + sign_us) } else { quiet };
        if ping_at <= now_us && !self.ping_due {
            self.ping_due = true;
            self.waiting_since_us.get_or_insert(now_us);
            self.armed_us = now_us;
            return Beat::Ping;
        }
        // A ping that cannot be written is due already; then only death remains to be awaited.
        let next = if self.ping_due { now_us + sign_us } else { ping_at };
        let next = dead_at.map_or(next, |at| at.min(next));
        self.armed_us = next.max(now_us + 1);
        Beat::Until(self.armed_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;
    const WAITS: Waits = Waits { sign_us: S, idle_us: 10 * S, dead_us: 4 * S };

    #[test]
    fn a_quiet_connection_is_pinged_and_dies_unanswered() {
        let mut pulse = Pulse::new(WAITS, 0);
        assert_eq!(pulse.beat(0), Beat::Until(10 * S));
        assert_eq!(pulse.beat(10 * S), Beat::Ping);
        pulse.ping_taken();
        pulse.sent(10 * S, true);
        assert_eq!(pulse.beat(10 * S), Beat::Until(14 * S));
        assert_eq!(pulse.beat(14 * S), Beat::Dead);
    }

    #[test]
    fn an_answered_ping_begins_the_quiet_anew() {
        let mut pulse = Pulse::new(WAITS, 0);
        assert_eq!(pulse.beat(10 * S), Beat::Ping);
        pulse.ping_taken();
        pulse.sent(10 * S, true);
        assert!(!pulse.heard(11 * S, false), "a pong asks for nothing");
        assert_eq!(pulse.beat(11 * S), Beat::Until(21 * S));
    }

    #[test]
    fn a_message_to_an_idle_peer_sets_the_timer_and_death_comes_in_time() {
        let mut pulse = Pulse::new(WAITS, 0);
        assert_eq!(pulse.beat(0), Beat::Until(10 * S));
        assert!(pulse.sent(2 * S, true), "sooner than the idle ping");
        assert_eq!(pulse.beat(2 * S), Beat::Until(6 * S));
        assert!(!pulse.sent(3 * S, true), "still waiting since then");
        assert_eq!(pulse.beat(6 * S), Beat::Dead);
    }

    #[test]
    fn a_side_that_works_on_a_question_gives_signs() {
        let mut pulse = Pulse::new(WAITS, 0);
        assert_eq!(pulse.beat(0), Beat::Until(10 * S));
        assert!(pulse.heard(5 * S, true));
        assert_eq!(pulse.beat(5 * S), Beat::Ping, "it has sent nothing for five seconds");
        pulse.ping_taken();
        pulse.sent(5 * S, true);
        pulse.heard(5 * S, true);
        assert_eq!(pulse.beat(5 * S), Beat::Until(6 * S));
    }

    #[test]
    fn a_pong_is_not_waited_upon() {
        let mut pulse = Pulse::new(WAITS, 0);
        pulse.sent(S, true);
        pulse.heard(2 * S, false);
        assert!(!pulse.sent(2 * S, false), "the pong to the ping just heard");
        assert_eq!(pulse.beat(2 * S), Beat::Until(12 * S));
    }

    #[test]
    fn a_ping_that_cannot_be_written_is_not_repeated_but_death_comes() {
        let mut pulse = Pulse::new(WAITS, 0);
        assert_eq!(pulse.beat(10 * S), Beat::Ping);
        assert_eq!(pulse.beat(10 * S), Beat::Until(11 * S));
        assert_eq!(pulse.beat(11 * S), Beat::Until(12 * S));
        assert_eq!(pulse.beat(12 * S), Beat::Until(13 * S));
        assert_eq!(pulse.beat(13 * S), Beat::Until(14 * S));
        assert_eq!(pulse.beat(14 * S), Beat::Dead);
    }

    #[test]
    fn a_process_that_was_stopped_listens_before_it_judges() {
        let mut pulse = Pulse::new(WAITS, 0);
        pulse.sent(S, true);
        assert_eq!(pulse.beat(S), Beat::Until(5 * S));
        assert!(matches!(pulse.beat(60 * S), Beat::Until(_) | Beat::Ping), "stopped for 55 seconds");
        pulse.heard(60 * S, true);
        assert!(!matches!(pulse.beat(61 * S), Beat::Dead));
    }

    #[test]
    fn who_does_not_read_does_not_judge_but_gives_signs() {
        let mut pulse = Pulse::new(WAITS, 0);
        pulse.beat(0);
        pulse.sent(S, true);
        assert!(pulse.pause(2 * S, true));
        assert_eq!(pulse.beat(3 * S), Beat::Ping);
        pulse.ping_taken();
        pulse.sent(3 * S, true);
        assert_eq!(pulse.beat(3 * S), Beat::Until(4 * S));
        for second in 4..30 {
            assert_eq!(pulse.beat(second * S), Beat::Ping);
            pulse.ping_taken();
            pulse.sent(second * S, true);
            pulse.beat(second * S);
        }
        pulse.pause(30 * S, false);
        assert!(!matches!(pulse.beat(31 * S), Beat::Dead));
    }
}
