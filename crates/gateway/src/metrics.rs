//! Counters: requests by operation and status, bytes, latencies. Rendered as Prometheus text by whoever serves it.
//!
//! Plain atomics in fixed tables: no label comes from outside, so the tables cannot grow.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The operations that are counted by name; every other one is the last.
const OPERATIONS: [&str; 64] = [
    "AbortMultipartUpload",
    "CompleteMultipartUpload",
    "CopyObject",
    "CreateBucket",
    "CreateMultipartUpload",
    "DeleteBucket",
    "DeleteBucketCors",
    "DeleteBucketEncryption",
    "DeleteBucketLifecycle",
    "DeleteBucketPolicy",
    "DeleteBucketReplication",
    "DeleteBucketTagging",
    "DeleteBucketWebsite",
    "DeleteObject",
    "DeleteObjectTagging",
    "DeleteObjects",
    "GetBucketAccelerateConfiguration",
    "GetBucketAcl",
    "GetBucketCors",
    "GetBucketEncryption",
    "GetBucketLifecycleConfiguration",
    "GetBucketLocation",
    "GetBucketLogging",
    "GetBucketNotificationConfiguration",
    "GetBucketOwnershipControls",
    "GetBucketPolicy",
    "GetBucketPolicyStatus",
    "GetBucketReplication",
    "GetBucketRequestPayment",
    "GetBucketTagging",
    "GetBucketVersioning",
    "GetBucketWebsite",
    "GetObject",
    "GetObjectAcl",
    "GetObjectAttributes",
    "GetObjectLegalHold",
    "GetObjectLockConfiguration",
    "GetObjectRetention",
    "GetObjectTagging",
    "GetPublicAccessBlock",
    "HeadBucket",
    "HeadObject",
    "ListBuckets",
    "ListMultipartUploads",
    "ListObjectVersions",
    "ListObjects",
    "ListObjectsV2",
    "ListParts",
    "OptionsObject",
    "PostObject",
    "PutBucketAcl",
    "PutBucketCors",
    "PutBucketEncryption",
    "PutBucketOwnershipControls",
    "PutBucketRequestPayment",
    "PutBucketTagging",
    "PutBucketVersioning",
    "PutObject",
    "PutObjectAcl",
    "PutObjectTagging",
    "PutPublicAccessBlock",
    "UploadPart",
    "UploadPartCopy",
    "Other",
];

/// The statuses that are counted one by one; every other one is the last.
const STATUSES: [u16; 18] =
    [200, 204, 206, 304, 400, 403, 404, 405, 408, 409, 411, 412, 416, 431, 500, 501, 503, 0];

/// Upper edges of the latency histogram, in microseconds; one more bucket is open.
const EDGES_US: [u64; 15] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000, 60_000_000,
];

/// An operation's place in the tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Operation(usize);

impl Operation {
    /// Anything that is not counted by name, and requests that were refused before they were understood.
    pub(crate) const UNKNOWN: Self = Self(OPERATIONS.len() - 1);

    /// The operation of that S3 name.
    pub(crate) fn named(name: &str) -> Self {
        OPERATIONS.iter().position(|known| *known == name).map_or(Self::UNKNOWN, Self)
    }

    /// Its S3 name.
    pub(crate) fn name(self) -> &'static str {
        OPERATIONS[self.0]
    }
}

#[derive(Default)]
struct PerOperation {
    statuses: [AtomicU64; STATUSES.len()],
    latency: [AtomicU64; EDGES_US.len() + 1],
    latency_sum_us: AtomicU64,
}

/// A gateway's counters since it started.
pub struct Metrics {
    operations: [PerOperation; OPERATIONS.len()],
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    in_flight: AtomicU64,
    connections: AtomicU64,
    refused_connections: AtomicU64,
    broken_answers: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            operations: std::array::from_fn(|_| PerOperation::default()),
            bytes_in: AtomicU64::default(),
            bytes_out: AtomicU64::default(),
            in_flight: AtomicU64::default(),
            connections: AtomicU64::default(),
            refused_connections: AtomicU64::default(),
            broken_answers: AtomicU64::default(),
        }
    }
}

impl Metrics {
    /// Counts a finished request.
    pub(crate) fn record(&self, operation: Operation, status: u16, took: Duration, bytes: (u64, u64)) {
        let row = &self.operations[operation.0];
        let column = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len() - 1);
        row.statuses[column].fetch_add(1, Ordering::Relaxed);
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = EDGES_US.iter().position(|edge| took_us <= *edge).unwrap_or(EDGES_US.len());
        row.latency[bucket].fetch_add(1, Ordering::Relaxed);
        row.latency_sum_us.fetch_add(took_us, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes.0, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes.1, Ordering::Relaxed);
    }

    /// Counts requests being served.
    pub(crate) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// The other end of [`Self::enter`].
    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts open connections.
    pub(crate) fn connect(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// The other end of [`Self::connect`].
    pub(crate) fn disconnect(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts connections that were turned away.
    pub(crate) fn turn_away(&self) {
        self.refused_connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts answers that broke off after their head had gone out.
    pub(crate) fn break_off(&self) {
        self.broken_answers.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests being served now.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Requests finished since the start, all operations and statuses.
    pub fn requests(&self) -> u64 {
        let rows = self.operations.iter().flat_map(|row| &row.statuses);
        rows.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Appends everything in Prometheus' text format.
    pub fn render(&self, out: &mut String) {
        let gauges = [
            ("pangea_s3_in_flight_requests", "gauge", &self.in_flight),
            ("pangea_s3_open_connections", "gauge", &self.connections),
            ("pangea_s3_refused_connections_total", "counter", &self.refused_connections),
            ("pangea_s3_broken_answers_total", "counter", &self.broken_answers),
            ("pangea_s3_received_bytes_total", "counter", &self.bytes_in),
            ("pangea_s3_sent_bytes_total", "counter", &self.bytes_out),
        ];
        for (name, kind, value) in gauges {
            line(out, format_args!("# TYPE {name} {kind}\n{name} {}", value.load(Ordering::Relaxed)));
        }
        line(out, format_args!("# TYPE pangea_s3_requests_total counter"));
        for (row, operation) in self.operations.iter().zip(OPERATIONS) {
            for (count, status) in row.statuses.iter().zip(STATUSES) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let labels = format_args!("operation=\"{operation}\",status=\"{status}\"");
                    line(out, format_args!("pangea_s3_requests_total{{{labels}}} {count}"));
                }
            }
        }
        line(out, format_args!("# TYPE pangea_s3_request_seconds histogram"));
        for (row, operation) in self.operations.iter().zip(OPERATIONS) {
            render_latency(out, row, operation);
        }
    }
}

fn render_latency(out: &mut String, row: &PerOperation, operation: &str) {
    let counts: Vec<u64> = row.latency.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return;
    }
    let mut below = 0;
    for (count, edge) in counts.iter().zip(EDGES_US) {
        below += count;
        let seconds = edge as f64 / 1e6;
        let labels = format_args!("operation=\"{operation}\",le=\"{seconds}\"");
        line(out, format_args!("pangea_s3_request_seconds_bucket{{{labels}}} {below}"));
    }
    let labels = format_args!("operation=\"{operation}\",le=\"+Inf\"");
    line(out, format_args!("pangea_s3_request_seconds_bucket{{{labels}}} {total}"));
    let sum = row.latency_sum_us.load(Ordering::Relaxed) as f64 / 1e6;
    line(out, format_args!("pangea_s3_request_seconds_sum{{operation=\"{operation}\"}} {sum}"));
    line(out, format_args!("pangea_s3_request_seconds_count{{operation=\"{operation}\"}} {total}"));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_shows_up_once_in_every_table() {
        let metrics = Metrics::default();
        metrics.record(Operation::named("GetObject"), 206, Duration::from_micros(300), (0, 512));
        metrics.record(Operation::named("NoSuchVerb"), 418, Duration::from_secs(100), (7, 0));
        let mut text = String::new();
        metrics.render(&mut text);
        for expected in [
            "pangea_s3_requests_total{operation=\"GetObject\",status=\"206\"} 1\n",
            "pangea_s3_requests_total{operation=\"Other\",status=\"0\"} 1\n",
            "pangea_s3_request_seconds_bucket{operation=\"GetObject\",le=\"0.00025\"} 0\n",
            "pangea_s3_request_seconds_bucket{operation=\"GetObject\",le=\"0.0005\"} 1\n",
            "pangea_s3_request_seconds_bucket{operation=\"Other\",le=\"60\"} 0\n",
            "pangea_s3_request_seconds_bucket{operation=\"Other\",le=\"+Inf\"} 1\n",
            "pangea_s3_received_bytes_total 7\n",
            "pangea_s3_sent_bytes_total 512\n",
        ] {
            assert!(text.contains(expected), "{expected} is missing in\n{text}");
        }
        assert_eq!(metrics.requests(), 2);
    }

    #[test]
    fn every_named_operation_finds_itself() {
        for name in OPERATIONS {
            assert_eq!(Operation::named(name).name(), name);
        }
    }
}
