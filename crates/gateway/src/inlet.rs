//! A request's body on its way in: counted, bounded, not endlessly slow, framed as announced.
//!
//! What is wrong with a body is recorded in the request's scope, because `s3s` hands errors on as text only.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::CONTENT_LENGTH;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::checksum::DocumentCheck;
use crate::chunked::Framing;
use crate::jam::Jam;
use crate::pace::{Debt, Pace};
use crate::scope::Scope;
use crate::screen::Plan;

/// The bytes that a body announces, without framing.
pub(crate) fn body_length(headers: &HeaderMap) -> Option<u64> {
    let header = headers.get("x-amz-decoded-content-length").or_else(|| headers.get(CONTENT_LENGTH))?;
    header.to_str().ok()?.parse().ok()
}

/// What is wrong with a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BodyFault {
    /// Shorter or longer than announced.
    Length {
        /// Announced bytes.
        expected: u64,
        /// Bytes that came, at least.
        received: u64,
    },
    /// Slower than the minimum rate.
    Slow,
    /// More bytes than any such body may have.
    TooLarge {
        /// The most.
        bytes_max: u64,
    },
    /// A signed chunk that is too large to be held.
    ChunkTooLarge {
        /// The most.
        bytes_max: u64,
    },
    /// Malformed aws-chunked framing.
    Framing,
    /// A malformed or missing trailer.
    Trailer,
    /// The end before the last chunk.
    Truncated,
    /// Another MD5 or checksum than stated.
    Digest,
    /// A document with a declaration.
    Document,
    /// No memory for a large signed chunk now.
    Busy,
}

impl std::fmt::Display for BodyFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "bad body: {self:?}")
    }
}

impl std::error::Error for BodyFault {}

/// Body bytes that the gateway may hold, and this request's share.
pub(crate) struct Share {
    /// All of it, in KiB.
    pub(crate) all: Arc<Semaphore>,
    /// This request's.
    pub(crate) held: OwnedSemaphorePermit,
    /// What a body has as a rule.
    pub(crate) window: usize,
}

impl Share {
    /// Takes more if one signed chunk needs more than the usual window.
    fn grow(&mut self, chunk_bytes: u64) -> bool {
        let needed = usize::try_from(chunk_bytes).unwrap_or(usize::MAX).saturating_add(self.window) >> 10;
        let more = needed.saturating_sub(self.held.num_permits().max(self.window >> 10));
        let Ok(more) = u32::try_from(more) else { return false };
        match Arc::clone(&self.all).try_acquire_many_owned(more) {
            Ok(permit) => {
                self.held.merge(permit);
                true
            }
            Err(_) => false,
        }
    }
}

/// See the module.
pub(crate) struct Inlet<B = Incoming> {
    body: B,
    scope: Arc<Scope>,
    debt: Debt,
    jam: Option<Jam>,
    share: Share,
    bytes_max: u64,
    received: u64,
    framing: Option<Framing>,
    ready: VecDeque<Bytes>,
    document: Option<(DocumentCheck, DeclarationScan)>,
    ended: bool,
}

impl<B> Inlet<B> {
    /// Lets a body in as planned.
    pub(crate) fn new(body: B, plan: Plan, scope: Arc<Scope>, pace: Pace, share: Share) -> Self {
        Self {
            body,
            scope,
            debt: Debt::new(pace),
            jam: None,
            share,
            bytes_max: plan.bytes_max,
            received: 0,
            framing: plan.chunked.map(Framing::new),
            ready: VecDeque::new(),
            document: plan.document.map(|digests| (DocumentCheck::new(digests), DeclarationScan::default())),
            ended: false,
        }
    }

    /// Gives way: where nobody gets on for want of memory, a slow body ends early.
    pub(crate) fn giving_way(self, jam: Jam) -> Self {
        Self { jam: Some(jam), ..self }
    }

    fn fail(&mut self, fault: BodyFault) -> Poll<Option<Result<Frame<Bytes>, s3s::StdError>>> {
        self.scope.set_fault(fault);
        self.ended = true;
        Poll::Ready(Some(Err(Box::new(fault))))
    }

    fn take(&mut self, bytes: Bytes) -> Result<(), BodyFault> {
        self.received += bytes.len() as u64;
        self.scope.count_in(bytes.len());
        if self.received > self.bytes_max {
            return Err(BodyFault::TooLarge { bytes_max: self.bytes_max });
        }
        if let Some((check, scan)) = &mut self.document {
            check.update(&bytes);
            if scan.finds(&bytes) {
                return Err(BodyFault::Document);
            }
        }
        match &mut self.framing {
            Some(framing) => {
                framing.push(bytes, &mut self.ready, &mut |chunk_bytes| self.share.grow(chunk_bytes))
            }
            None => {
                self.ready.push_back(bytes);
                Ok(())
            }
        }
    }

    fn finish(&mut self) -> Result<(), BodyFault> {
        if let Some(framing) = &self.framing {
            framing.finish()?;
        }
        let right = self.document.take().is_none_or(|(check, _)| check.holds());
        if right { Ok(()) } else { Err(BodyFault::Digest) }
    }
}

impl<B> Body for Inlet<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<s3s::StdError>,
{
    type Data = Bytes;
    type Error = s3s::StdError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        loop {
            if let Some(bytes) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if this.ended {
                return Poll::Ready(None);
            }
            this.scope.set_body_asked();
            let polled = Pin::new(&mut this.body).poll_frame(cx);
            if let Poll::Ready(frame) = &polled {
                let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
                let bytes = data.map_or(0, Bytes::len);
                this.debt.pay(bytes);
                if let Some(jam) = &mut this.jam {
                    jam.pay(bytes);
                }
                this.scope.set_body_left(!this.body.is_end_stream());
            }
            match polled {
                Poll::Pending if this.debt.poll_too_slow(cx, Duration::MAX).is_ready() => {
                    return this.fail(BodyFault::Slow);
                }
                Poll::Pending if this.jam.as_mut().is_some_and(|jam| jam.is_in_the_way(cx)) => {
                    return this.fail(BodyFault::Busy);
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => {
                    // HTTP trailers carry nothing that S3 knows: its trailers are inside aws-chunked bodies.
                    let Ok(bytes) = frame.into_data() else { continue };
                    if let Err(fault) = this.take(bytes) {
                        return this.fail(fault);
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    this.scope.set_fault(BodyFault::Truncated);
                    this.ended = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
                Poll::Ready(None) => {
                    this.ended = true;
                    if let Err(fault) = this.finish() {
                        return this.fail(fault);
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let checks_left = self.framing.is_some() || self.document.is_some();
        self.ready.is_empty() && (self.ended || (!checks_left && self.body.is_end_stream()))
    }

    fn size_hint(&self) -> SizeHint {
        if self.framing.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}

/// Finds `<!D` and `<!E` (DTD, entity, element): `s3s` skips declarations, S3 refuses them.
#[derive(Default)]
struct DeclarationScan {
    tail: [u8; 2],
}

impl DeclarationScan {
    fn finds(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().any(|byte| {
            let found = self.tail == *b"<!" && matches!(byte, b'D' | b'E');
            self.tail = [self.tail[1], *byte];
            found
        })
    }
}

#[cfg(test)]
#[path = "inlet_tests.rs"]
mod tests;
