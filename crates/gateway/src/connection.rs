//! One connection's socket: how long it may be silent, and what its heads look like on the wire.
//!
//! hyper has one timer for a head and for the rest between two requests, and drops a Content-Length beside a
//! Transfer-Encoding without a word. So time and shape are watched here, below it.
//!
//! ```text
//! Resting --first byte--> Head --the request is handed over--> Serving --its answer has gone--> Resting
//! ```

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

use crate::pace::{Debt, Pace};

const RESTING: u8 = 0;
const HEAD: u8 = 1;
const SERVING: u8 = 2;

/// Where a connection is between requests; shared by its socket and its requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Phase(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    phase: AtomicU8,
    malformed: AtomicBool,
    /// The memory that the connection may keep between requests.
    kept: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Phase {
    /// A request was handed over.
    pub(crate) fn serve(&self) {
        self.0.phase.store(SERVING, Ordering::Relaxed);
    }

    /// Its answer has gone.
    pub(crate) fn rest(&self) {
        self.0.phase.store(RESTING, Ordering::Relaxed);
    }

    /// Whether the head was one that a proxy might have read otherwise than hyper did; asks once.
    pub(crate) fn take_malformed(&self) -> bool {
        self.0.malformed.swap(false, Ordering::Relaxed)
    }

    /// Whether the connection may be kept with buffers of so many KiB until its next request. What it was granted once it has
    /// until it ends.
    pub(crate) fn keep(&self, all: &Arc<Semaphore>, kib: u32) -> bool {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let has = kept.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = (kib as usize).saturating_sub(has);
        match Arc::clone(all).try_acquire_many_owned(u32::try_from(more).unwrap_or(u32::MAX)) {
            Ok(permit) => {
                match kept.as_mut() {
                    Some(kept) => kept.merge(permit),
                    None => *kept = Some(permit),
                }
                true
            }
            Err(_) => false,
        }
    }

    fn get(&self) -> u8 {
        self.0.phase.load(Ordering::Relaxed)
    }
}

/// Time limits of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// From a request's first byte to its hand-over.
    pub(crate) head: Duration,
    /// Between requests, and for a peer that takes nothing of what we write.
    pub(crate) idle: Duration,
    /// How slowly the peer may take what we write.
    pub(crate) answer: Pace,
}

/// A socket with its limits.
pub(crate) struct Watched<S> {
    socket: S,
    phase: Phase,
    timeouts: Timeouts,
    reading: Option<(u8, Pin<Box<Sleep>>)>,
    writing: Debt,
    scan: HeadScan,
}

impl<S> Watched<S> {
    /// Watches a socket.
    pub(crate) fn new(socket: S, phase: Phase, timeouts: Timeouts) -> Self {
        let writing = Debt::new(timeouts.answer);
        Self { socket, phase, timeouts, reading: None, writing, scan: HeadScan::default() }
    }

    fn reading_is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let phase = self.phase.get();
        let limit = match phase {
            SERVING => {
                self.reading = None;
                return false;
            }
            HEAD => self.timeouts.head,
            _ => self.timeouts.idle,
        };
        if self.reading.as_ref().is_none_or(|(armed, _)| *armed != phase) {
            self.reading = Some((phase, Box::pin(tokio::time::sleep_until(Instant::now() + limit))));
        }
        self.reading.as_mut().is_some_and(|(_, timer)| timer.as_mut().poll(cx).is_ready())
    }

    fn look_at(&mut self, bytes: &[u8]) {
        if self.phase.get() == SERVING {
            return;
        }
        if self.phase.get() == RESTING {
            self.phase.0.phase.store(HEAD, Ordering::Relaxed);
            self.scan = HeadScan::default();
        }
        if self.scan.push(bytes) {
            self.phase.0.malformed.store(true, Ordering::Relaxed);
        }
    }
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the peer was silent or too slow for too long")
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        match Pin::new(&mut this.socket).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                let new = buf.filled().get(before..).unwrap_or_default();
                if !new.is_empty() {
                    this.look_at(new);
                }
                // The head's own timer runs on: a byte now and then does not prolong it.
                if this.phase.get() == HEAD && this.reading_is_over(cx) {
                    return Poll::Ready(Err(timed_out()));
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending if this.reading_is_over(cx) => Poll::Ready(Err(timed_out())),
            other => other,
        }
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    /// Gives up on a peer that takes what we write too slowly, or nothing at all. `taken`: how many bytes that were.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
        taken: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        match &polled {
            Poll::Ready(written) => {
                self.writing.pay(written.as_ref().map_or(0, taken));
                polled
            }
            Poll::Pending => self.writing.poll_too_slow(cx, self.timeouts.idle).map(|()| Err(timed_out())),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.socket).poll_write(cx, buf);
        this.watch(cx, polled, |written| *written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.socket).poll_write_vectored(cx, bufs);
        this.watch(cx, polled, |written| *written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.socket).poll_flush(cx);
        this.watch(cx, polled, |()| 0)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.socket).poll_shutdown(cx);
        this.watch(cx, polled, |()| 0)
    }
}

/// Looks at a head's raw lines for what two parsers may read differently: Content-Length beside Transfer-Encoding, and
/// lines that end in a bare LF. Pipelined heads that arrive behind a request are not seen; S3 clients send none.
#[derive(Default)]
struct HeadScan {
    line: Vec<u8>,
    lengths: bool,
    encodings: bool,
    ended: bool,
}

/// The longest header name that is of interest, with its colon and a line end.
const LINE_START_MAX: usize = 24;

impl HeadScan {
    fn push(&mut self, bytes: &[u8]) -> bool {
        let (mut malformed, mut left) = (false, bytes);
        while !self.ended && !left.is_empty() {
            let end = left.iter().position(|byte| *byte == b'\n');
            let (line, behind) = left.split_at(end.unwrap_or(left.len()));
            self.add(line);
            left = behind.get(1..).unwrap_or_default();
            if end.is_some() {
                malformed |= self.line.last() != Some(&b'\r');
                self.ended = self.line == b"\r" || self.line.is_empty();
                malformed |= self.end_line();
            }
        }
        malformed
    }

    /// Of a long line only the start and the last byte matter.
    fn add(&mut self, more: &[u8]) {
        let Some((last, before)) = more.split_last() else { return };
        self.line.truncate(LINE_START_MAX);
        let room = LINE_START_MAX - self.line.len();
        self.line.extend_from_slice(&before[..before.len().min(room)]);
        self.line.push(*last);
    }

    fn end_line(&mut self) -> bool {
        let starts = |name: &[u8]| self.line.get(..name.len()).is_some_and(|s| s.eq_ignore_ascii_case(name));
        self.lengths |= starts(b"content-length:");
        self.encodings |= starts(b"transfer-encoding:");
        self.line.clear();
        self.lengths && self.encodings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::ReadBuf;

    #[test]
    fn heads_that_two_parsers_may_read_differently() {
        let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(500));
        let cases = [
            ("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n", false),
            ("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("PUT / HTTP/1.1\r\ncontent-length: 5\r\nTRANSFER-ENCODING: chunked\r\n\r\n", true),
            ("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", true),
            ("PUT / HTTP/1.1\r\nX-Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("PUT / HTTP/1.1\nHost: h\r\n\r\n", true),
            ("PUT / HTTP/1.1\r\nHost: h\n\r\n", true),
            ("PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\nTransfer-Encoding: x\n", false),
            (&long, false),
        ];
        for (head, expected) in cases {
            for step in [1, 5, head.len()] {
                let mut scan = HeadScan::default();
                let malformed =
                    head.as_bytes().chunks(step).fold(false, |found, piece| scan.push(piece) | found);
                assert_eq!(malformed, expected, "{head:?} by {step}");
            }
        }
    }

    async fn read(socket: &mut Watched<tokio::io::DuplexStream>) -> io::Result<usize> {
        let mut bytes = [0; 64];
        std::future::poll_fn(|cx| {
            let mut buf = ReadBuf::new(&mut bytes);
            Pin::new(&mut *socket).poll_read(cx, &mut buf).map_ok(|()| buf.filled().len())
        })
        .await
    }

    async fn write(socket: &mut tokio::io::DuplexStream, bytes: &[u8]) {
        let written = std::future::poll_fn(|cx| Pin::new(&mut *socket).poll_write(cx, bytes)).await;
        assert_eq!(written.expect("the pipe has room"), bytes.len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_and_a_slow_head_end() {
        let timeouts = timeouts();
        let phase = Phase::default();
        let (mut peer, socket) = tokio::io::duplex(64);
        let mut socket = Watched::new(socket, phase.clone(), timeouts);
        let start = Instant::now();
        let error = read(&mut socket).await.expect_err("nothing comes");
        assert_eq!((error.kind(), start.elapsed().as_secs()), (io::ErrorKind::TimedOut, 60));

        let mut socket = Watched::new(peer_of(&mut peer), phase.clone(), timeouts);
        let start = Instant::now();
        let dripping = async {
            loop {
                write(&mut peer, b"x").await;
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
        };
        let reading = async { while read(&mut socket).await.is_ok() {} };
        tokio::select! { () = reading => {}, () = dripping => {} }
        assert!((10..=12).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());

        phase.serve();
        let mut socket = Watched::new(peer_of(&mut peer), phase.clone(), timeouts);
        let served = tokio::time::timeout(Duration::from_secs(3600), read(&mut socket)).await;
        assert!(served.is_err(), "a request that is being served has no read timeout");
    }

    fn timeouts() -> Timeouts {
        let answer = Pace { grace: Duration::from_secs(30), rate_min: 1024 };
        Timeouts { head: Duration::from_secs(10), idle: Duration::from_secs(60), answer }
    }

    /// A peer that takes a little now and then was never silent for long, and could hold a request's place for days.
    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_its_answer_too_slowly_ends_and_one_at_the_least_rate_does_not() {
        for (bytes, every_s, ends_s) in
            [(100, 10, Some(30..=40)), (30 << 10, 29, None), (1, 1000, Some(30..=31))]
        {
            let (mut peer, socket) = tokio::io::duplex(64);
            let mut socket = Watched::new(socket, Phase::default(), timeouts());
            let start = Instant::now();
            let taking = async {
                loop {
                    tokio::time::sleep(Duration::from_secs(every_s)).await;
                    let mut scrap = vec![0; bytes];
                    tokio::io::AsyncReadExt::read_exact(&mut peer, &mut scrap).await.expect("more comes");
                }
            };
            let writing = async {
                let error = loop {
                    let wrote = tokio::io::AsyncWriteExt::write(&mut socket, &[0; 64]).await;
                    if let Err(error) = wrote {
                        break error;
                    }
                };
                assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            };
            tokio::select! {
                () = writing => {}
                () = taking => {}
                () = tokio::time::sleep(Duration::from_secs(3600)) => {}
            }
            let took = start.elapsed().as_secs();
            assert!(
                ends_s.map_or(took >= 3600, |range| range.contains(&took)),
                "{bytes} every {every_s} s: {took}"
            );
        }
    }

    /// Replaces the peer by the other end of a new pipe.
    fn peer_of(peer: &mut tokio::io::DuplexStream) -> tokio::io::DuplexStream {
        let (new_peer, socket) = tokio::io::duplex(64);
        *peer = new_peer;
        socket
    }
}
