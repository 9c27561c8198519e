//! An answer's body on its way out: counted; when it has gone, or broken off, the request is over.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use hyper::Method;
use hyper::body::{Body, Frame, SizeHint};
use s3s::dto::{Timestamp, TimestampFormat};
use tokio::sync::OwnedSemaphorePermit;

use crate::connection::Phase;
use crate::metrics::Metrics;
use crate::scope::Scope;

/// What ends with a request: written to the log and to the counters when dropped.
pub(crate) struct Ending {
    /// The request.
    pub(crate) scope: Arc<Scope>,
    /// Its method.
    pub(crate) method: Method,
    /// The answer's status, once there is one.
    pub(crate) status: u16,
    /// Why it was refused, as the client was told.
    pub(crate) code: Option<String>,
    /// The gateway's counters.
    pub(crate) metrics: Arc<Metrics>,
    /// The operator's log of requests, if there is one.
    pub(crate) journal: Option<Arc<dyn Journal>>,
    /// The connection, which may wait for its next request.
    pub(crate) phase: Phase,
    /// The request's place among those being served.
    pub(crate) slot: Option<OwnedSemaphorePermit>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        drop(self.slot.take());
        self.phase.rest();
        self.metrics.leave();
        let took = self.scope.started.elapsed();
        let (bytes_in, bytes_out) = self.scope.bytes();
        let operation = self.scope.operation();
        self.metrics.record(operation, self.status, took, (bytes_in, bytes_out));
        let (bucket, key) = match self.scope.target() {
            Some((bucket, key)) => (bucket.as_str(), key.as_deref().map(key_hash)),
            None => ("", None),
        };
        let (id, method, status) = (self.scope.id.as_str(), &self.method, self.status);
        let (operation, key) = (operation.name(), key.unwrap_or_default());
        let (code, ms) = (self.code.as_deref().unwrap_or_default(), took.as_secs_f64() * 1e3);
        if let Some(journal) = &self.journal {
            let entry = Entry {
                time: now(),
                request: id,
                operation,
                access_key: self.scope.verified().map_or("", |principal| principal.access_key.as_str()),
                bucket,
                key: &key,
                status,
                code,
                bytes_in,
                bytes_out,
                ms: (ms * 1e3).round() / 1e3,
            };
            journal.write(&entry.line());
        }
        match self.scope.cause() {
            Some(cause) => tracing::warn!(
                target: "pangea::s3", request = %id, %method, operation, bucket, key, status, code, bytes_in, bytes_out, ms, %cause
            ),
            None => tracing::info!(
                target: "pangea::s3", request = %id, %method, operation, bucket, key, status, code, bytes_in, bytes_out, ms
            ),
        }
    }
}

/// Where the operator's log of requests goes: one line a request, JSON, without its line end. Must not wait.
pub trait Journal: Send + Sync {
    /// Takes a line.
    fn write(&self, line: &str);
}

/// A line of that log. Names what happened; holds no secret, no signature, no query and no name of a key.
#[derive(serde::Serialize)]
struct Entry<'a> {
    time: String,
    request: &'a str,
    operation: &'a str,
    access_key: &'a str,
    bucket: &'a str,
    key: &'a str,
    status: u16,
    code: &'a str,
    bytes_in: u64,
    bytes_out: u64,
    ms: f64,
}

impl Entry<'_> {
    fn line(&self) -> String {
        serde_json::to_string(self).expect("texts and finite numbers are always JSON")
    }
}

fn now() -> String {
    let mut text = Vec::new();
    let formatted = Timestamp::from(SystemTime::now()).format(TimestampFormat::DateTime, &mut text).is_ok();
    if formatted { String::from_utf8(text).unwrap_or_default() } else { String::new() }
}

/// Keys may be private: the log names them by the first eight bytes of their BLAKE3, which whoever knows a key can
/// compute.
fn key_hash(key: &str) -> String {
    blake3::hash(key.as_bytes()).to_hex()[..16].to_owned()
}

/// See the module.
pub(crate) struct Outlet {
    body: s3s::Body,
    ending: Ending,
}

impl Outlet {
    /// Lets an answer out.
    pub(crate) fn new(body: s3s::Body, ending: Ending) -> Self {
        Self { body, ending }
    }
}

impl Body for Outlet {
    type Data = Bytes;
    type Error = s3s::StdError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.ending.scope.count_out(frame.data_ref().map_or(0, Bytes::len))
            }
            Poll::Ready(Some(Err(error))) => {
                // The head is out: all that is left is to break off, so that nobody takes this for the whole.
                this.ending.scope.note(format!("broke off: {error}"));
                this.ending.metrics.break_off();
            }
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
