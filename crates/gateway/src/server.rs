//! The listener: connections in, bounded in number; shutdown that lets running requests finish.

use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::connection::{Phase, Timeouts, Watched};
use crate::crowd::Crowds;
use crate::front::Front;
use crate::metrics::Metrics;
use crate::options::{HEAD_BYTES_MAX, Options, Parts};
use crate::pace::Pace;

/// After a failed accept (no descriptors left, usually).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// From this share of the connection limit on, idle connections are closed early.
const CROWDED_PERCENT: usize = 75;
/// How long they may then be idle.
const CROWDED_IDLE: Duration = Duration::from_secs(1);
/// How long, and for how many bytes, a peer that sends on after the last answer is listened to.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 8 << 20;
const LINGER_BUFFER_BYTES: usize = 16 << 10;
/// What a connection over the limit is told, where http is spoken.
const TURNED_AWAY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nServer: Pangea\r\nRetry-After: 1\r\n\
    Connection: close\r\nContent-Length: 0\r\n\r\n";
/// And where https is: a fatal alert of TLS 1.2's record layer, `internal_error` (RFC 8446 section 6.2), which every client
/// understands before any key is agreed on. A handshake for an answer in words would be work for whoever overloads us.
const TURNED_AWAY_TLS: &[u8] = &[21, 3, 3, 0, 2, 2, 80];

/// An S3 server, ready to be given a listener.
pub struct Gateway {
    front: Arc<Front>,
    options: Options,
    metrics: Arc<Metrics>,
    tls: Option<watch::Receiver<Arc<rustls::ServerConfig>>>,
    crowds: Crowds,
}

impl Gateway {
    /// Puts a gateway together; nothing runs yet.
    pub fn new(parts: Parts) -> Self {
        let metrics = Arc::new(Metrics::default());
        let (options, tls) = (parts.options.clone(), parts.tls.clone());
        let crowds = Crowds::new(options.connections_per_address_max);
        Self { front: Arc::new(Front::new(parts, Arc::clone(&metrics))), options, metrics, tls, crowds }
    }

    /// Its counters.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Serves until `shutdown` is ready, then lets running requests finish, for a bounded time.
    ///
    /// # Errors
    /// When the listener itself is broken; connections that fail end alone.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        listener.local_addr()?;
        let places = Arc::new(Semaphore::new(self.options.connections_max.min(Semaphore::MAX_PERMITS)));
        let (stop, stopping) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => match accepted {
                    Ok((socket, peer)) => self.welcome(socket, peer.ip(), &places, &stopping, &mut connections),
                    Err(error) => {
                        tracing::warn!(target: "pangea::s3", %error, "accept failed");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(ended) = connections.join_next() => note_panic(ended),
            }
        }
        drop(listener);
        // Nobody listening means that no connection is left.
        let _nobody_left = stop.send(true);
        let drained = timeout(self.options.drain_timeout, async {
            while let Some(ended) = connections.join_next().await {
                note_panic(ended);
            }
        });
        if drained.await.is_err() {
            tracing::warn!(target: "pangea::s3", left = connections.len(), "requests did not finish in time");
            connections.shutdown().await;
        }
        Ok(())
    }

    /// Serves one connection over any byte stream, until it ends. For those who have no socket; the limits on the number of
    /// connections do not count here, and the stream may be dropped at any time.
    pub async fn serve_stream<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (_never, stopping) = watch::channel(false);
        let timeouts = self.timeouts(self.options.idle_timeout);
        converse(stream, Arc::clone(&self.front), timeouts, stopping).await;
    }

    fn timeouts(&self, idle: Duration) -> Timeouts {
        let answer = Pace { grace: self.options.answer_grace, rate_min: self.options.answer_rate_min };
        Timeouts { head: self.options.head_timeout, idle, answer }
    }

    fn welcome(
        &self,
        socket: TcpStream,
        peer: IpAddr,
        places: &Arc<Semaphore>,
        stopping: &watch::Receiver<bool>,
        connections: &mut JoinSet<()>,
    ) {
        let crowd = self.crowds.enter(peer);
        let (Ok(place), Some(crowd)) = (Arc::clone(places).try_acquire_owned(), crowd) else {
            self.metrics.turn_away();
            // Best effort: if it cannot be said at once, closing says it too.
            let _said = socket.try_write(if self.tls.is_some() { TURNED_AWAY_TLS } else { TURNED_AWAY });
            return;
        };
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(target: "pangea::s3", %error, "TCP_NODELAY");
        }
        let free = places.available_permits();
        let crowded = free * 100 < self.options.connections_max * (100 - CROWDED_PERCENT);
        let idle =
            if crowded { CROWDED_IDLE.min(self.options.idle_timeout) } else { self.options.idle_timeout };
        let timeouts = self.timeouts(idle);
        let (front, metrics, stopping) =
            (Arc::clone(&self.front), Arc::clone(&self.metrics), stopping.clone());
        let tls = self.tls.as_ref().map(|tls| TlsAcceptor::from(Arc::clone(&tls.borrow())));
        connections.spawn(async move {
            let _open = (Open::new(metrics, place), crowd);
            if !wait_for_bytes(&socket, timeouts, stopping.clone()).await {
                return;
            }
            // Boxed: until the first byte a connection costs the wait alone, and there may be many thousands of them.
            Box::pin(talk(tls, socket, front, timeouts, stopping)).await;
        });
    }
}

/// A connection that is counted.
struct Open {
    metrics: Arc<Metrics>,
    _place: OwnedSemaphorePermit,
}

impl Open {
    fn new(metrics: Arc<Metrics>, place: OwnedSemaphorePermit) -> Self {
        metrics.connect();
        Self { metrics, _place: place }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.disconnect();
    }
}

/// A connection that says nothing costs no buffer. (Its bytes are looked at, not only waited for: a fresh socket calls itself
/// readable before anything has come.)
async fn wait_for_bytes(socket: &TcpStream, timeouts: Timeouts, mut stopping: watch::Receiver<bool>) -> bool {
    let mut first = [0];
    tokio::select! {
        ready = timeout(timeouts.idle, socket.peek(&mut first)) => matches!(ready, Ok(Ok(1..))),
        () = stopped(&mut stopping) => false,
    }
}

/// Speaks with a peer that has something to say.
async fn talk(
    tls: Option<TlsAcceptor>,
    socket: TcpStream,
    front: Arc<Front>,
    timeouts: Timeouts,
    stopping: watch::Receiver<bool>,
) {
    match tls {
        None => converse(socket, front, timeouts, stopping).await,
        Some(tls) => {
            if let Some(socket) = handshake(tls, socket, timeouts).await {
                converse(socket, front, timeouts, stopping).await;
            }
        }
    }
}

/// Agrees on keys, within the time that a head has.
async fn handshake(tls: TlsAcceptor, socket: TcpStream, timeouts: Timeouts) -> Option<TlsStream<TcpStream>> {
    match timeout(timeouts.head, tls.accept(socket)).await {
        Ok(Ok(socket)) => Some(socket),
        Ok(Err(error)) => {
            tracing::debug!(target: "pangea::s3", %error, "the TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

/// Ready when the server stops, or is gone.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _stopped_or_gone = stopping.wait_for(|stop| *stop).await.is_ok();
}

/// Serves a connection's requests, one after the other, over any byte stream (TLS comes in here).
async fn converse<S>(socket: S, front: Arc<Front>, timeouts: Timeouts, mut stopping: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let phase = Phase::default();
    let socket = Watched::new(socket, phase.clone(), timeouts);
    let mut builder = http1::Builder::new();
    // The socket itself keeps the time: hyper cannot tell a slow head from a quiet connection.
    builder.timer(TokioTimer::new()).header_read_timeout(None);
    builder.max_header_size(HEAD_BYTES_MAX + (HEAD_BYTES_MAX >> 2)).max_buf_size(front.read_buffer_bytes());
    let service = service_fn(move |request| Box::pin(Arc::clone(&front).serve(request, phase.clone())));
    let mut connection = builder.serve_connection(TokioIo::new(socket), service);
    let ended = tokio::select! {
        outcome = poll_fn(|cx| connection.poll_without_shutdown(cx)) => Some(outcome),
        () = stopped(&mut stopping) => None,
    };
    let outcome = match ended {
        Some(outcome) => outcome,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            poll_fn(|cx| connection.poll_without_shutdown(cx)).await
        }
    };
    match outcome {
        Ok(()) => linger(connection.into_parts().io.into_inner()).await,
        Err(error) => tracing::debug!(target: "pangea::s3", %error, "connection ended"),
    }
}

/// Closes without taking the answer back: a peer that is still sending the body of a request that was answered early would
/// be reset, and might never read the answer. What it sends is thrown away, for a moment (RFC 9112 section 9.6).
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S) {
    let discard = async {
        socket.shutdown().await?;
        let mut scrap = vec![0; LINGER_BUFFER_BYTES];
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            match socket.read(&mut scrap).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        io::Result::Ok(())
    };
    // However it ends, the connection is over.
    let _over = timeout(LINGER_TIME, discard).await;
}

fn note_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(target: "pangea::s3", %error, "a connection's task panicked; its connection was dropped");
    }
}
