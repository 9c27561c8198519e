//! A mailbox: a queue of messages bounded in bytes, many senders, one receiver.
//!
//! A question is taken in while the queue holds less than its bound, so one message may exceed it but never two. Answers
//! never wait (see [`Message::answer`]).

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use pangea_core::id::NodeId;

use crate::port::{Message, TransportError};

/// See the module.
pub struct Mailbox {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(NodeId, Message)>,
    bytes: usize,
    closed: bool,
    receiver: Option<Waker>,
    senders: Vec<Waker>,
}

impl Mailbox {
    /// An empty mailbox that takes questions while it holds less than `bytes_max`.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default() }
    }

    /// Puts a message in, waiting for room.
    pub async fn put(&self, from: NodeId, message: Message) -> Result<(), TransportError> {
        let mut message = Some(message);
        poll_fn(|cx| self.poll_put(cx, from, &mut message)).await
    }

    /// Takes the next message out, waiting for one.
    pub async fn take(&self) -> Result<(NodeId, Message), TransportError> {
        poll_fn(|cx| self.poll_take(cx)).await
    }

    /// Refuses what comes from now on; what is queued is dropped.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.queue.clear();
        state.bytes = 0;
        wake_all(state);
    }

    fn poll_put(
        &self,
        cx: &mut Context<'_>,
        from: NodeId,
        message: &mut Option<Message>,
    ) -> Poll<Result<(), TransportError>> {
        let mut state = self.lock();
        if state.closed {
            return Poll::Ready(Err(TransportError::Closed));
        }
        let waits = message.as_ref().is_some_and(|message| !message.answer);
        if waits && state.bytes >= self.bytes_max {
            state.senders.push(cx.waker().clone());
            return Poll::Pending;
        }
        let message = message.take().expect("polled once after it was ready");
        state.bytes += message.bytes();
        state.queue.push_back((from, message));
        if let Some(receiver) = state.receiver.take() {
            drop(state);
            receiver.wake();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Result<(NodeId, Message), TransportError>> {
        let mut state = self.lock();
        if let Some((from, message)) = state.queue.pop_front() {
            state.bytes -= message.bytes();
            let senders = std::mem::take(&mut state.senders);
            drop(state);
            senders.into_iter().for_each(Waker::wake);
            return Poll::Ready(Ok((from, message)));
        }
        if state.closed {
            return Poll::Ready(Err(TransportError::Closed));
        }
        state.receiver = Some(cx.waker().clone());
        Poll::Pending
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds a mailbox")
    }
}

fn wake_all(mut state: std::sync::MutexGuard<'_, State>) {
    let receiver = state.receiver.take();
    let senders = std::mem::take(&mut state.senders);
    drop(state);
    receiver.into_iter().chain(senders).for_each(Waker::wake);
}
