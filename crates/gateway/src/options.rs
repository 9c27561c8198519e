//! What a gateway is made of, and its limits.

use std::sync::Arc;
use std::time::Duration;

use pangea_client::Client;

use tokio::sync::watch;

use crate::auth::Credentials;
use crate::outlet::Journal;

/// What a gateway is made of.
pub struct Parts {
    /// The data path.
    pub client: Client,
    /// Who may knock.
    pub credentials: Arc<dyn Credentials>,
    /// Authenticates continuation tokens; random, the same on every gateway of a cluster.
    pub token_key: [u8; 32],
    /// The region that signatures must name.
    pub region: String,
    /// Limits.
    pub options: Options,
    /// The operator's log of requests, if there is one.
    pub journal: Option<Arc<dyn Journal>>,
    /// How https is spoken; the newest value counts for new connections. `None`: http.
    pub tls: Option<watch::Receiver<Arc<rustls::ServerConfig>>>,
}

/// Limits. Every one has a test at its edge or a reason here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Base domains of virtual-host style requests (`bucket.DOMAIN`); empty: path style only.
    pub domains: Vec<String>,
    /// Open connections; more are answered 503 and closed.
    pub connections_max: usize,
    /// Open connections of one address; more are turned away likewise. 0: no limit.
    pub connections_per_address_max: usize,
    /// Requests being served at once; more wait `queue_wait`, then get 503 SlowDown.
    pub requests_max: usize,
    /// Bytes of request bodies held by the gateway at once, over all requests; and as many may be kept in the buffers of
    /// connections between their requests, beyond which answered connections are closed.
    pub body_bytes_max: usize,
    /// Requests a second of one access key, in the long run; more get 503 SlowDown. 0: no limit.
    pub key_requests_per_second: u32,
    /// How long a request may wait for its turn.
    pub queue_wait: Duration,
    /// From a request's first byte to the end of its head; and for the fields of a form.
    pub head_timeout: Duration,
    /// Between two requests of a connection, and for a client that takes none of its answer.
    pub idle_timeout: Duration,
    /// How long a body may be as slow as it likes; counted while the gateway waits for the client only.
    pub body_grace: Duration,
    /// Bytes per second that a body must bring after that.
    pub body_rate_min: u64,
    /// How long a client may take its answer as slowly as it likes; counted while the gateway waits for it only.
    pub answer_grace: Duration,
    /// Bytes per second that it must take after that.
    pub answer_rate_min: u64,
    /// Bytes of answers that are fetched ahead of their clients at once, over all requests.
    pub answer_bytes_max: usize,
    /// Browser forms being read whose signature is not known yet; more wait `queue_wait`, then get 503 SlowDown. Each has
    /// `head_timeout` for its fields.
    pub forms_max: usize,
    /// Bytes of one PUT or part (5 GiB, as S3).
    pub put_bytes_max: u64,
    /// How long running requests may go on after shutdown began.
    pub drain_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            connections_max: 16_384,
            connections_per_address_max: 0,
            requests_max: 512,
            body_bytes_max: 256 << 20,
            key_requests_per_second: 0,
            queue_wait: Duration::from_secs(5),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_grace: Duration::from_secs(30),
            body_rate_min: 1024,
            answer_grace: Duration::from_secs(30),
            answer_rate_min: 1024,
            answer_bytes_max: 1 << 30,
            forms_max: 32,
            put_bytes_max: 5 << 30,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// Request line and headers.
pub(crate) const HEAD_BYTES_MAX: usize = 16 << 10;
/// Header lines.
pub(crate) const HEADERS_MAX: usize = 100;
/// An XML document: 10,000 parts with checksums fit.
pub(crate) const DOCUMENT_BYTES_MAX: u64 = 2 << 20;
/// One signed aws-chunked chunk; it must be held whole until its signature is checked.
pub(crate) const SIGNED_CHUNK_BYTES_MAX: u64 = 16 << 20;
/// hyper's buffer of a connection, grown only by bodies that fill it: quick ones are received in few steps.
const READ_BUFFER_BYTES_MAX: usize = 512 << 10;
/// Where memory is short it is smaller, so that as many bodies as this can come at a time and slow ones shut nobody out.
const READ_BUFFER_BYTES_MIN: usize = 64 << 10;
const BODIES_AT_ONCE: usize = 512;
/// What a connection keeps between two requests: hyper's first buffers and its task.
const KEPT_BYTES: usize = 32 << 10;

impl Options {
    /// hyper's buffer of a connection, at most.
    pub(crate) fn read_buffer_bytes(&self) -> usize {
        (self.body_bytes_max / BODIES_AT_ONCE).clamp(READ_BUFFER_BYTES_MIN, READ_BUFFER_BYTES_MAX)
    }

    /// What a connection keeps between two requests, in KiB, after a body of so many bytes.
    pub(crate) fn kept_kib(&self, received: u64) -> u32 {
        // hyper's buffer grows with what comes, and never shrinks.
        let grown = usize::try_from(received).unwrap_or(usize::MAX).min(self.read_buffer_bytes());
        u32::try_from((KEPT_BYTES + grown) >> 10).unwrap_or(u32::MAX)
    }

    /// What a body is assumed to hold in the gateway: that buffer and a frame on its way.
    pub(crate) fn body_window_bytes(&self) -> usize {
        2 * self.read_buffer_bytes()
    }
}

/// Bytes of user metadata, names and values.
pub(crate) const METADATA_BYTES_MAX: usize = 2 << 10;
/// Entries of a page of any listing.
pub(crate) const PAGE_MAX: usize = 1000;
/// Keys of one DeleteObjects.
pub(crate) const DELETE_KEYS_MAX: usize = 1000;
/// The highest part number.
pub(crate) const PART_NUMBER_MAX: u16 = 10_000;
