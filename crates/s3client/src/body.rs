//! Bodies that say how far they are: bytes leave in pieces, and each piece is reported.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// What a body gives to the connection at once.
const PIECE_BYTES: usize = 128 << 10;

/// Told of bytes that moved; a negative number takes back what has to be moved again.
#[derive(Clone)]
pub struct Meter(Option<Arc<dyn Fn(i64) + Send + Sync>>);

impl Meter {
    /// Tells `report`.
    pub fn new(report: impl Fn(i64) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(report)))
    }

    /// Tells nobody.
    pub fn silent() -> Self {
        Self(None)
    }

    /// Reports bytes that moved.
    pub fn moved(&self, bytes: usize) {
        if let Some(report) = &self.0 {
            report(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    /// Takes bytes back.
    pub fn back(&self, bytes: u64) {
        if let Some(report) = &self.0 {
            report(-i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }
}

/// A body of known bytes.
pub(crate) struct Metered {
    rest: Bytes,
    meter: Meter,
    /// What has left so far; read by whoever must take it back.
    sent: Arc<AtomicU64>,
}

impl Metered {
    pub(crate) fn new(bytes: Bytes, meter: Meter, sent: Arc<AtomicU64>) -> Self {
        Self { rest: bytes, meter, sent }
    }
}

impl Body for Metered {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(length);
        self.sent.fetch_add(length as u64, Ordering::Relaxed);
        self.meter.moved(length);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
