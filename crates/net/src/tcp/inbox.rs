//! What came in and was not taken yet: answers and questions, from all peers and from this node itself.
//!
//! Bounded by those who put in: a question from a peer lies within the window that it was granted, one from this node within
//! the loopback's room, an answer within the room of its connection. What bounds it is held in [`Hold`] and given back when
//! the message is taken.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use pangea_core::id::NodeId;
use pangea_transport::{Message, TransportError};
use tokio::sync::OwnedSemaphorePermit;

use super::connection::Connection;

/// What is given back when a message is taken.
pub(crate) enum Hold {
    /// Room for others.
    Room { _permit: OwnedSemaphorePermit },
    /// Room that the peer may fill again.
    Window { connection: Arc<Connection>, bytes: usize },
    /// Nothing.
    Free,
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Self::Window { connection, bytes } = self {
            connection.taken(*bytes);
        }
    }
}

struct Arrived {
    peer: NodeId,
    message: Message,
    _hold: Hold,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Inbox(Mutex<State>);

#[derive(Default)]
struct State {
    answers: VecDeque<Arrived>,
    questions: VecDeque<Arrived>,
    closed: bool,
    receiver: Option<Waker>,
}

impl Inbox {
    /// Puts a message in.
    pub(crate) fn put(&self, peer: NodeId, message: Message, hold: Hold) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let arrived = Arrived { peer, message, _hold: hold };
        if arrived.message.answer {
            state.answers.push_back(arrived);
        } else {
            state.questions.push_back(arrived);
        }
        let receiver = state.receiver.take();
        drop(state);
        receiver.into_iter().for_each(Waker::wake);
    }

    /// The next message: answers first, they end what somebody waits for.
    pub(crate) async fn take(&self) -> Result<(NodeId, Message), TransportError> {
        poll_fn(|cx| {
            let mut state = self.lock();
            if state.closed {
                return Poll::Ready(Err(TransportError::Closed));
            }
            let next = state.answers.pop_front().or_else(|| state.questions.pop_front());
            if next.is_none() {
                state.receiver = Some(cx.waker().clone());
            }
            drop(state);
            next.map_or(Poll::Pending, |arrived| Poll::Ready(Ok((arrived.peer, arrived.message))))
        })
        .await
    }

    /// Drops what is there and refuses what comes.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let dropped = (std::mem::take(&mut state.answers), std::mem::take(&mut state.questions));
        let receiver = state.receiver.take();
        drop(state);
        drop(dropped);
        receiver.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no code panics while it holds the inbox")
    }
}
