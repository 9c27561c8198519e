//! One connection that is up: what its two ends have granted each other, and the one task that reads, writes and keeps watch.
//!
//! Reading never waits for room for questions (the peer sends only within the window it was granted), so an answer never
//! stands behind a question that nobody takes. Reading does wait for room for answers: their receiver always takes them.

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use pangea_core::wire::{BODY_BYTES_MAX, HEAD_BYTES_MAX};
use pangea_transport::Message;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_rustls::TlsStream;

use super::batch::Batch;
use super::figures::MEASURED_BYTES_MIN;
use super::inbox::{Hold, Inbox};
use super::link::Link;
use super::pulse::{Beat, Pulse, Waits};
use crate::error::{Awaited, NetError, Refusal};
use crate::frame::{CONTROL_BYTES_MAX, Control, FrameError, HEADER_BYTES, Header, Kind};

/// Bytes of answers from one connection that were not taken yet; further ones wait in the kernel and at the peer.
pub const ANSWERS_IN_BYTES_MAX: usize = 64 << 20;
/// A connection beside a better one is closed when no message came for so long.
const SPARE_US: u64 = 10_000_000;
/// Parts that are handed to TLS at once.
const SLICES_MAX: usize = 64;
/// How long a farewell may take.
const BYE_MAX: Duration = Duration::from_secs(1);
/// A kernel socket buffer's worth of plaintext that TLS may hold encrypted, ready to be written.
const TLS_BUFFER_BYTES: usize = 256 << 10;

/// What is shared between a connection's task and those who use it.
pub(crate) struct Connection {
    /// Whether this side dialled.
    pub(crate) dialled: bool,
    /// Which start of the peer is at the other end.
    pub(crate) instance: u64,
    /// Bytes of questions that may still be sent; the last question may exceed it.
    pub(crate) credit: AtomicI64,
    /// Bytes of questions that the peer may send at once.
    window: i64,
    /// Bytes of questions that the peer has sent, and not got back as credit.
    outstanding: AtomicI64,
    /// Of these, those that were taken.
    owed: AtomicI64,
    born: Instant,
    controls: Mutex<Controls>,
    pulse: Mutex<Pulse>,
    /// Nothing before the connection's task runs, and after it ended.
    outlet: Mutex<Option<Outlet>>,
    work: Notify,
    timer: Notify,
    over: Notify,
    answer_room: Arc<Semaphore>,
}

/// Frames that wait to be written; one of each kind at most.
#[derive(Default)]
struct Controls {
    ping: bool,
    pong: Option<u64>,
    over: Option<Refusal>,
}

impl Connection {
    pub(crate) fn new(dialled: bool, instance: u64, credit: u32, window: u32, waits: Waits) -> Arc<Self> {
        Arc::new(Self {
            dialled,
            instance,
            credit: AtomicI64::new(i64::from(credit)),
            window: i64::from(window),
            outstanding: AtomicI64::new(0),
            owed: AtomicI64::new(0),
            born: Instant::now(),
            controls: Mutex::default(),
            pulse: Mutex::new(Pulse::new(waits, 0)),
            outlet: Mutex::new(None),
            work: Notify::new(),
            timer: Notify::new(),
            over: Notify::new(),
            answer_room: Arc::new(Semaphore::new(ANSWERS_IN_BYTES_MAX)),
        })
    }

    /// There is something to write.
    pub(crate) fn wake(&self) {
        self.work.notify_one();
    }

    /// There is a small message to write: at once, if nobody writes just now, else by who does.
    pub(crate) fn write_now(&self, link: &Link) {
        // The task must be the one that is told when a full socket has room again.
        let mut cx = Context::from_waker(Waker::noop());
        let done = match self.outlet.try_lock() {
            Ok(mut outlet) => match outlet.as_mut() {
                Some(outlet) if !outlet.busy() => outlet.poll_write(&mut cx, self, link),
                _ => Poll::Pending,
            },
            Err(_) => Poll::Pending,
        };
        // A failure is for the task to find, too.
        if !matches!(done, Poll::Ready(Ok(()))) {
            self.wake();
        }
    }

    fn outlet(&self) -> MutexGuard<'_, Option<Outlet>> {
        self.outlet.lock().expect("no code panics while it writes")
    }

    /// Asks the task to hang up.
    pub(crate) fn end(&self, why: Refusal) {
        self.controls().over.get_or_insert(why);
        self.over.notify_one();
    }

    /// Questions of so many bytes were taken: the peer may send as many again.
    pub(crate) fn taken(&self, bytes: usize) {
        let owed = self.owed.fetch_add(bytes as i64, Ordering::Relaxed) + bytes as i64;
        if owed >= self.window / 2 {
            self.wake();
        }
    }

    /// Writes what is no message; window is returned in halves, so that a stream of small questions costs few frames.
    pub(crate) fn write_controls(&self, batch: &mut Batch, returns_window: bool) {
        let mut controls = self.controls();
        if let Some(stamp) = controls.pong.take() {
            batch.control(Control::Pong(stamp));
        }
        if std::mem::take(&mut controls.ping) {
            self.pulse().ping_taken();
            batch.control(Control::Ping(self.now_us()));
        }
        drop(controls);
        if returns_window && self.owed.load(Ordering::Relaxed) >= (self.window / 2).max(1) {
            let owed = self.owed.swap(0, Ordering::Relaxed);
            self.outstanding.fetch_sub(owed, Ordering::Relaxed);
            batch.control(Control::Credit(u32::try_from(owed).unwrap_or(u32::MAX)));
        }
    }

    /// Microseconds since the connection was made.
    fn now_us(&self) -> u64 {
        self.born.elapsed().as_micros() as u64
    }

    fn heard(&self, message: bool) {
        let rearm = self.pulse().heard(self.now_us(), message);
        self.rearm(rearm);
    }

    fn sent(&self, asks: bool) {
        let rearm = self.pulse().sent(self.now_us(), asks);
        self.rearm(rearm);
    }

    fn pause(&self, paused: bool) {
        let rearm = self.pulse().pause(self.now_us(), paused);
        self.rearm(rearm);
    }

    fn rearm(&self, rearm: bool) {
        if rearm {
            self.timer.notify_one();
        }
    }

    /// Counts a question against the window that the peer was granted.
    fn received_question(&self, bytes: usize) -> Result<(), FrameError> {
        // The last one may exceed it.
        let outstanding = self.outstanding.fetch_add(bytes as i64, Ordering::Relaxed);
        if outstanding > self.window + (HEAD_BYTES_MAX + BODY_BYTES_MAX) as i64 {
            return Err(FrameError::Flood);
        }
        Ok(())
    }

    fn controls(&self) -> MutexGuard<'_, Controls> {
        self.controls.lock().expect("no code panics while it holds the controls")
    }

    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().expect("no code panics while it holds the pulse")
    }
}

/// Runs a connection to its end, and says why it ended.
pub(crate) async fn run(
    connection: &Arc<Connection>,
    link: &Link,
    inbox: &Inbox,
    mut stream: TlsStream<TcpStream>,
) -> NetError {
    let buffer = Some(TLS_BUFFER_BYTES);
    match &mut stream {
        TlsStream::Client(stream) => stream.get_mut().1.set_buffer_limit(buffer),
        TlsStream::Server(stream) => stream.get_mut().1.set_buffer_limit(buffer),
    }
    let (reader, writer) = tokio::io::split(stream);
    let mut inlet = Inlet { reader, connection, link, inbox };
    *connection.outlet() = Some(Outlet::new(writer));
    let why = tokio::select! {
        why = inlet.run() => why,
        why = write(connection, link) => why,
        why = watch(connection, link) => why,
        why = over(connection) => why,
    };
    match why {
        NetError::Refusing(reason) => farewell(connection, reason).await,
        NetError::Frame(_) => farewell(connection, Refusal::Protocol).await,
        _ => drop(connection.outlet().take()),
    }
    why
}

async fn over(connection: &Connection) -> NetError {
    loop {
        if let Some(why) = connection.controls().over {
            return NetError::Refusing(why);
        }
        connection.over.notified().await;
    }
}

/// Pings when it is time; ends when the other side is dead, or the connection of no use.
async fn watch(connection: &Connection, link: &Link) -> NetError {
    loop {
        let now_us = connection.now_us();
        let beat = connection.pulse().beat(now_us);
        match beat {
            Beat::Dead => return NetError::TimedOut { awaited: Awaited::Life },
            Beat::Ping => {
                connection.controls().ping = true;
                connection.wake();
            }
            Beat::Until(at_us) => {
                let unused_us = connection.pulse().unused_us(now_us);
                if connection.dialled && unused_us >= SPARE_US && link.is_spare(connection) {
                    return NetError::Refusing(Refusal::Spare);
                }
                let at = connection.born + Duration::from_micros(at_us);
                tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = connection.timer.notified() => {}
                }
            }
        }
    }
}

/// The reading side.
struct Inlet<'a> {
    reader: ReadHalf<TlsStream<TcpStream>>,
    connection: &'a Arc<Connection>,
    link: &'a Link,
    inbox: &'a Inbox,
}

impl Inlet<'_> {
    async fn run(&mut self) -> NetError {
        loop {
            match self.frame().await {
                Ok(None) => {}
                Ok(Some(reason)) => return NetError::Refused(reason),
                Err(error) => return error,
            }
        }
    }

    /// Reads one frame and acts on it. `Some`: the other side said bye.
    async fn frame(&mut self) -> Result<Option<Refusal>, NetError> {
        let mut header = [0; HEADER_BYTES];
        self.fill(&mut header, false).await?;
        let header = Header::decode(header).map_err(NetError::Frame)?;
        if matches!(header.kind, Kind::Question | Kind::Answer) {
            self.message(header).await?;
            return Ok(None);
        }
        let mut head = [0; CONTROL_BYTES_MAX];
        let head = &mut head[..header.head_bytes];
        self.fill(head, false).await?;
        match Control::decode(header.kind, head).map_err(NetError::Frame)? {
            Control::Bye(reason) => return Ok(Some(reason)),
            Control::Ping(stamp) => {
                // Of several pings only the last is answered: a sign of life is all they ask for.
                self.connection.controls().pong = Some(stamp);
                self.connection.wake();
            }
            Control::Pong(stamp) => {
                if let Some(us) = self.connection.now_us().checked_sub(stamp) {
                    self.link.figures().measured_rtt(us);
                }
            }
            Control::Credit(bytes) => {
                self.connection.credit.fetch_add(i64::from(bytes), Ordering::Relaxed);
                self.connection.wake();
            }
        }
        Ok(None)
    }

    async fn message(&mut self, header: Header) -> Result<(), NetError> {
        let head = self.bytes(header.head_bytes).await?;
        let body = self.bytes(header.body_bytes).await?;
        let answer = header.kind == Kind::Answer;
        let message = Message { head, body, answer };
        let bytes = message.bytes();
        let hold = if answer {
            self.answer_room(bytes).await
        } else {
            self.connection.received_question(bytes).map_err(NetError::Frame)?;
            Hold::Window { connection: self.connection.clone(), bytes }
        };
        self.inbox.put(self.link.node, message, hold);
        Ok(())
    }

    async fn answer_room(&self, bytes: usize) -> Hold {
        let bytes = bytes.min(ANSWERS_IN_BYTES_MAX) as u32;
        let room = &self.connection.answer_room;
        if let Ok(permit) = room.clone().try_acquire_many_owned(bytes) {
            return Hold::Room { _permit: permit };
        }
        self.connection.pause(true);
        let permit = room.clone().acquire_many_owned(bytes).await;
        self.connection.pause(false);
        permit.map_or(Hold::Free, |permit| Hold::Room { _permit: permit })
    }

    /// Reads so many bytes straight to where they stay.
    async fn bytes(&mut self, count: usize) -> Result<Bytes, NetError> {
        let mut bytes = BytesMut::with_capacity(count);
        while bytes.len() < count {
            let missing = count - bytes.len();
            let read = self.reader.read_buf(&mut (&mut bytes).limit(missing)).await;
            self.noted(read, true)?;
        }
        Ok(bytes.freeze())
    }

    async fn fill(&mut self, mut bytes: &mut [u8], message: bool) -> Result<(), NetError> {
        while !bytes.is_empty() {
            let read = self.reader.read(bytes).await;
            let read = self.noted(read, message)?;
            bytes = &mut bytes[read..];
        }
        Ok(())
    }

    fn noted(&self, read: std::io::Result<usize>, message: bool) -> Result<usize, NetError> {
        let read = read.map_err(NetError::of_stream)?;
        if read == 0 {
            return Err(NetError::HungUp);
        }
        self.connection.heard(message);
        self.link.bytes_in.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// The writing side. Whoever holds it writes: the connection's task, or for a small message its sender, which saves a change
/// of tasks.
pub(crate) struct Outlet {
    writer: WriteHalf<TlsStream<TcpStream>>,
    batch: Batch,
    /// Everything was handed to TLS, not yet to the socket.
    flushing: bool,
    began: Instant,
    batch_bytes: usize,
}

impl Outlet {
    fn new(writer: WriteHalf<TlsStream<TcpStream>>) -> Self {
        Self { writer, batch: Batch::default(), flushing: false, began: Instant::now(), batch_bytes: 0 }
    }

    /// Whether it is in the middle of something.
    fn busy(&self) -> bool {
        self.flushing || !self.batch.is_empty()
    }

    /// Writes until there is nothing to write (`Ready`), or the socket is full.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        connection: &Connection,
        link: &Link,
    ) -> Poll<std::io::Result<()>> {
        loop {
            while self.batch.has_remaining() {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let count = self.batch.chunks_vectored(&mut slices);
                let write = Pin::new(&mut self.writer).poll_write_vectored(cx, &slices[..count]);
                let wrote = ready!(write)?;
                if wrote == 0 {
                    return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
                }
                self.batch.advance(wrote);
                self.flushing = true;
                connection.sent(self.batch.asks());
                link.bytes_out.fetch_add(wrote as u64, Ordering::Relaxed);
            }
            if self.flushing {
                ready!(Pin::new(&mut self.writer).poll_flush(cx))?;
                self.flushing = false;
                self.batch.done();
                if self.batch_bytes >= MEASURED_BYTES_MIN {
                    let took_us = self.began.elapsed().as_micros() as u64;
                    link.figures().measured_way(self.batch_bytes, took_us);
                }
            }
            if !link.next_batch(connection, &mut self.batch) {
                return Poll::Ready(Ok(()));
            }
            (self.began, self.batch_bytes) = (Instant::now(), self.batch.remaining());
        }
    }

    /// Says why this side hangs up, unless it stopped in the middle of something.
    fn poll_bye(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while self.batch.has_remaining() {
            let write = Pin::new(&mut self.writer).poll_write(cx, self.batch.chunk());
            let wrote = ready!(write)?;
            self.batch.advance(wrote);
        }
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}

/// Writes what waits to be written, for ever.
async fn write(connection: &Connection, link: &Link) -> NetError {
    loop {
        let work = connection.work.notified();
        let written = poll_fn(|cx| match connection.outlet().as_mut() {
            Some(outlet) => outlet.poll_write(cx, connection, link),
            None => Poll::Ready(Ok(())),
        });
        if let Err(error) = written.await {
            return NetError::of_stream(error);
        }
        work.await;
    }
}

/// Hangs up, with a word if that can still be said.
async fn farewell(connection: &Connection, reason: Refusal) {
    let Some(mut outlet) = connection.outlet().take() else { return };
    if !outlet.busy() {
        outlet.batch.control(Control::Bye(reason));
    } else {
        return;
    }
    // Best effort: the other side learns why, or finds the connection closed.
    let _ = tokio::time::timeout(BYE_MAX, poll_fn(|cx| outlet.poll_bye(cx))).await;
}
