//! What is known of a link: figures for placement, hedging and `status`.

use std::time::Instant;

use pangea_core::id::NodeId;

use crate::error::NetError;

/// Messages smaller than this say nothing about throughput.
pub(crate) const MEASURED_BYTES_MIN: usize = 256 << 10;

/// A picture of one link.
#[derive(Clone, Debug)]
pub struct LinkFigures {
    /// The peer.
    pub node: NodeId,
    /// Whether a connection is up. Links are made when first needed: no connection and no error means that none was needed.
    pub connected: bool,
    /// Since when that is so.
    pub since: Instant,
    /// Smoothed round-trip time between the two engines, in microseconds; 0: not measured yet.
    pub rtt_us: u64,
    /// Smoothed deviation from it, in microseconds.
    pub jitter_us: u64,
    /// How often the link broke, without being closed in good order.
    pub losses: u64,
    /// How often of these the peer fell silent.
    pub timeouts: u64,
    /// Answers that were dropped because the peer did not take those before.
    pub answers_dropped: u64,
    /// Bytes of frames received.
    pub bytes_in: u64,
    /// Bytes of frames sent.
    pub bytes_out: u64,
    /// Smoothed rate at which the socket took large messages, in bytes a second; 0: none was sent yet. An upper bound where
    /// the kernel's buffers are larger than the messages.
    pub throughput: u64,
    /// Why the link is down, or was down last.
    pub last_error: Option<NetError>,
}

impl LinkFigures {
    pub(crate) fn new(node: NodeId) -> Self {
        Self {
            node,
            connected: false,
            since: Instant::now(),
            rtt_us: 0,
            jitter_us: 0,
            losses: 0,
            timeouts: 0,
            answers_dropped: 0,
            bytes_in: 0,
            bytes_out: 0,
            throughput: 0,
            last_error: None,
        }
    }

    /// A ping came back: smoothed as TCP does it (RFC 6298).
    pub(crate) fn measured_rtt(&mut self, us: u64) {
        if self.rtt_us == 0 {
            (self.rtt_us, self.jitter_us) = (us.max(1), us / 2);
            return;
        }
        self.jitter_us = (3 * self.jitter_us + self.rtt_us.abs_diff(us)) / 4;
        self.rtt_us = ((7 * self.rtt_us + us) / 8).max(1);
    }

    /// The socket took so many bytes of messages in so many microseconds.
    pub(crate) fn measured_way(&mut self, bytes: usize, us: u64) {
        if bytes < MEASURED_BYTES_MIN {
            return;
        }
        let rate = (bytes as u64).saturating_mul(1_000_000) / us.max(1);
        self.throughput = if self.throughput == 0 { rate } else { (7 * self.throughput + rate) / 8 };
    }

    pub(crate) fn set_connected(&mut self, connected: bool) {
        if self.connected != connected {
            self.connected = connected;
            self.since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_follow_what_is_measured() {
        let mut figures = LinkFigures::new(NodeId([1; 32]));
        figures.measured_rtt(1000);
        assert_eq!((figures.rtt_us, figures.jitter_us), (1000, 500));
        for _ in 0..100 {
            figures.measured_rtt(200);
        }
        assert!((200..220).contains(&figures.rtt_us) && figures.jitter_us < 30, "{figures:?}");
        figures.measured_way(1000, 1);
        assert_eq!(figures.throughput, 0, "too small to tell");
        figures.measured_way(1 << 20, 1000);
        assert_eq!(figures.throughput, (1 << 20) * 1000);
    }
}
