//! A link: this node's way to one peer. What waits to go out, the connections that are up, and which of them carries it.
//!
//! ```text
//!            first send                     greeting done
//!   quiet ──────────────▶ dialling ─────────────────────────▶ up ◀─┐
//!                           │   ▲                              │   │ the peer dialled, or the next try
//!                    failed ▼   │ after a pause, which doubles │   │
//!                         resting ◀────────── broke ───────────┘ ──┘
//! ```
//!
//! quiet, and the first dialling: messages are queued. resting, and later dialling: sends fail at once, so that nobody waits
//! for a peer that is known to be away. Both sides may dial at once; then two connections are up, and the one that the lower
//! node id dialled carries the messages of both sides. Whenever a connection breaks, what is queued is dropped and the loss
//! is reported: whoever waits for an answer of that peer must ask again.
//!
//! **Bounds.** Questions wait in `send` while [`WAY_BYTES_MAX`] bytes of them are queued, and go out only within the window
//! that the peer granted. Answers never wait. While more than [`ANSWER_BYTES_SOFT`] of them are queued, the peer gets no
//! new window, so its questions and the answers to them run dry; beyond [`ANSWER_BYTES_MAX`], which a peer reaches only if it
//! keeps asking and takes nothing, an answer with a body is dropped, and its asker times out. An answer without a body is as
//! small as its question was.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pangea_core::id::NodeId;
use pangea_transport::{Message, TransportError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::batch::Batch;
use super::connection::Connection;
use super::figures::LinkFigures;
use crate::error::{NetError, Refusal};
use crate::frame::{Header, Kind};

/// Bytes of questions that wait to go to one peer.
pub const WAY_BYTES_MAX: usize = 8 << 20;
/// Bytes of answers that wait to go to one peer while it may still ask more.
pub const ANSWER_BYTES_SOFT: usize = 32 << 20;
/// Bytes of answers that may wait to go to one peer.
pub const ANSWER_BYTES_MAX: usize = 256 << 20;
/// A message of so many bytes is written by its sender.
const SMALL_BYTES_MAX: usize = 16 << 10;
/// A peer that failed is dialled again after this, at first.
const REST_MIN: Duration = Duration::from_millis(50);
/// And after this, at last.
const REST_MAX: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Link {
    pub(crate) node: NodeId,
    /// Whether this node's id is the lower one: then what it dials carries the messages.
    lower: bool,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    state: Mutex<State>,
    figures: Mutex<LinkFigures>,
}

struct State {
    addresses: Vec<String>,
    answers: VecDeque<Message>,
    answer_bytes: usize,
    questions: VecDeque<Queued>,
    room: Arc<Semaphore>,
    /// At most one that was dialled and one that was accepted.
    connections: Vec<Arc<Connection>>,
    dialling: bool,
    failures: u32,
    /// Not listed any more, or the engine is closed.
    gone: bool,
}

struct Queued {
    message: Message,
    permit: OwnedSemaphorePermit,
}

/// What a sender found.
pub(crate) struct Entry {
    room: Arc<Semaphore>,
    /// The caller has to start dialling.
    pub(crate) dial: bool,
}

impl Link {
    pub(crate) fn new(local: NodeId, node: NodeId, addresses: Vec<String>) -> Arc<Self> {
        Arc::new(Self {
            node,
            lower: local < node,
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            state: Mutex::new(State {
                addresses,
                answers: VecDeque::new(),
                answer_bytes: 0,
                questions: VecDeque::new(),
                room: Arc::new(Semaphore::new(WAY_BYTES_MAX)),
                connections: Vec::new(),
                dialling: false,
                failures: 0,
                gone: false,
            }),
            figures: Mutex::new(LinkFigures::new(node)),
        })
    }

    /// Looks whether the peer can be reached; a send begins here.
    pub(crate) fn enter(&self) -> Result<Entry, TransportError> {
        let mut state = self.lock();
        if !state.reachable() {
            return Err(TransportError::Unreachable(self.node));
        }
        let dial = state.connections.is_empty() && !state.dialling;
        state.dialling |= dial;
        Ok(Entry { room: state.room.clone(), dial })
    }

    /// Queues a message; a question waits for room. A small one is written at once if nothing stands before it; a large one
    /// is encrypted by the connection's task, beside whatever the sender does next.
    pub(crate) async fn queue(&self, entry: Entry, message: Message) -> Result<(), TransportError> {
        let small = message.bytes() <= SMALL_BYTES_MAX;
        let unreachable = TransportError::Unreachable(self.node);
        let permit = if message.answer {
            None
        } else {
            let bytes = message.bytes().clamp(1, WAY_BYTES_MAX) as u32;
            let permit = entry.room.clone().acquire_many_owned(bytes).await;
            Some(permit.map_err(|_| unreachable)?)
        };
        let mut state = self.lock();
        if !Arc::ptr_eq(&state.room, &entry.room) {
            return Err(unreachable);
        }
        match permit {
            Some(permit) => state.questions.push_back(Queued { message, permit }),
            None if !message.body.is_empty() && state.answer_bytes >= ANSWER_BYTES_MAX => {
                drop(state);
                self.figures().answers_dropped += 1;
                return Err(unreachable);
            }
            None => {
                state.answer_bytes += message.bytes();
                state.answers.push_back(message);
            }
        }
        let active = state.active(self.lower).cloned();
        drop(state);
        match active {
            Some(connection) if small => connection.write_now(self),
            Some(connection) => connection.wake(),
            None => {}
        }
        Ok(())
    }

    /// Takes a connection in whose greeting is done. `Ok(true)`: it took the place of one, whose messages are lost.
    pub(crate) fn attach(&self, connection: &Arc<Connection>) -> Result<bool, Refusal> {
        let mut state = self.lock();
        state.dialling &= !connection.dialled;
        if state.gone {
            return Err(Refusal::NotListed);
        }
        // A peer has one life, and dials once at a time: what contradicts that is over.
        let (over, kept) = std::mem::take(&mut state.connections)
            .into_iter()
            .partition(|old| old.instance != connection.instance || old.dialled == connection.dialled);
        state.connections = kept;
        state.connections.push(connection.clone());
        state.failures = 0;
        let over: Vec<Arc<Connection>> = over;
        if !over.is_empty() {
            state.purge();
        }
        let now_up = state.connections.clone();
        self.figures().set_connected(true);
        drop(state);
        over.iter().for_each(|old| old.end(Refusal::Replaced));
        now_up.iter().for_each(|connection| connection.wake());
        Ok(!over.is_empty())
    }

    /// A connection ended. Says whether messages may be lost, and whether the caller has to start dialling.
    pub(crate) fn detach(&self, connection: &Arc<Connection>, why: &NetError) -> (bool, bool) {
        let mut state = self.lock();
        let before = state.connections.len();
        state.connections.retain(|other| !Arc::ptr_eq(other, connection));
        if state.connections.len() == before {
            // It was replaced, and that was reported then.
            return (false, false);
        }
        let last = state.connections.is_empty();
        let spare = matches!(why, NetError::Refused(Refusal::Spare) | NetError::Refusing(Refusal::Spare));
        let lost = last || !spare;
        if lost {
            state.purge();
        }
        let mut figures = self.figures();
        figures.set_connected(!last);
        figures.losses += u64::from(lost);
        figures.timeouts += u64::from(matches!(why, NetError::TimedOut { .. }));
        if lost {
            figures.last_error = Some(why.clone());
        }
        drop(figures);
        let dial = last && !state.dialling && !state.gone;
        if last {
            state.failures = state.failures.max(1);
            state.dialling |= dial;
        }
        (lost, dial)
    }

    /// Dialling failed. Gives the pause before the next try; `None`: there is none.
    pub(crate) fn dial_failed(&self, why: &NetError) -> Option<Duration> {
        let mut state = self.lock();
        let mut figures = self.figures();
        figures.last_error = Some(why.clone());
        drop(figures);
        if state.gone || !state.connections.is_empty() {
            state.dialling = false;
            return None;
        }
        state.failures = state.failures.saturating_add(1);
        state.purge();
        Some(state.rest(self.lower))
    }

    /// The pause before the next try.
    pub(crate) fn rest(&self) -> Duration {
        self.lock().rest(self.lower)
    }

    /// Where the peer may be; `None`: there is no need to dial any more.
    pub(crate) fn dial_where(&self) -> Option<Vec<String>> {
        let mut state = self.lock();
        if state.gone || !state.connections.is_empty() {
            state.dialling = false;
            return None;
        }
        Some(state.addresses.clone())
    }

    pub(crate) fn set_addresses(&self, addresses: Vec<String>) {
        self.lock().addresses = addresses;
    }

    /// The link is over. Says whether anything was up or queued.
    pub(crate) fn end(&self, why: Refusal) -> bool {
        let mut state = self.lock();
        state.gone = true;
        let connections = std::mem::take(&mut state.connections);
        state.purge();
        self.figures().set_connected(false);
        drop(state);
        connections.iter().for_each(|connection| connection.end(why));
        !connections.is_empty()
    }

    /// Fills a batch with what this connection has to write now. `false`: nothing.
    pub(crate) fn next_batch(&self, connection: &Connection, batch: &mut Batch) -> bool {
        let mut state = self.lock();
        let returns_window = state.answer_bytes < ANSWER_BYTES_SOFT;
        connection.write_controls(batch, returns_window);
        if !state.active(self.lower).is_some_and(|active| std::ptr::eq(Arc::as_ptr(active), connection)) {
            return !batch.is_empty();
        }
        while !batch.is_full() {
            let Some(message) = state.answers.pop_front() else { break };
            state.answer_bytes -= message.bytes();
            batch.message(message, None);
        }
        while !batch.is_full() && connection.credit.load(Ordering::Relaxed) > 0 {
            let Some(Queued { message, permit }) = state.questions.pop_front() else { break };
            connection.credit.fetch_sub(message.bytes() as i64, Ordering::Relaxed);
            batch.message(message, Some(permit));
        }
        !batch.is_empty()
    }

    /// Whether this connection is up beside a better one.
    pub(crate) fn is_spare(&self, connection: &Connection) -> bool {
        let state = self.lock();
        state.connections.len() > 1
            && !state.active(self.lower).is_some_and(|active| std::ptr::eq(Arc::as_ptr(active), connection))
    }

    /// A picture of the link.
    pub(crate) fn picture(&self) -> LinkFigures {
        let mut figures = self.figures().clone();
        figures.bytes_in = self.bytes_in.load(Ordering::Relaxed);
        figures.bytes_out = self.bytes_out.load(Ordering::Relaxed);
        figures
    }

    pub(crate) fn figures(&self) -> MutexGuard<'_, LinkFigures> {
        self.figures.lock().expect("no code panics while it holds figures")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds a link")
    }
}

impl State {
    fn reachable(&self) -> bool {
        !self.gone && (!self.connections.is_empty() || self.failures == 0)
    }

    /// The connection that carries messages.
    fn active(&self, lower: bool) -> Option<&Arc<Connection>> {
        let canonical = self.connections.iter().find(|connection| connection.dialled == lower);
        canonical.or(self.connections.first())
    }

    /// Drops what is queued; who waits for room learns that the peer cannot be reached.
    fn purge(&mut self) {
        self.answers.clear();
        self.answer_bytes = 0;
        self.room.close();
        self.room = Arc::new(Semaphore::new(WAY_BYTES_MAX));
        self.questions.clear();
    }

    /// Doubles with each failure. The node with the higher id waits a little longer: both would dial else.
    fn rest(&self, lower: bool) -> Duration {
        let doubled = REST_MIN.saturating_mul(1 << self.failures.saturating_sub(1).min(10));
        let rest = doubled.min(REST_MAX);
        let rest = if lower { rest } else { rest + REST_MIN * 2 };
        // Up to a quarter more or less, so that those who lost one peer do not return in step.
        rest * (75 + u32::from(jitter())) / 100
    }
}

/// 0..=50.
fn jitter() -> u8 {
    let mut byte = [0; 1];
    // Without randomness they return in step, and that is all.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    byte[0] % 51
}

/// The first bytes of a message's frame.
pub(crate) fn message_header(message: &Message, scratch: &mut BytesMut) -> Bytes {
    let kind = if message.answer { Kind::Answer } else { Kind::Question };
    let header = Header { kind, head_bytes: message.head.len(), body_bytes: message.body.len() };
    scratch.extend_from_slice(&header.encode());
    scratch.split().freeze()
}
