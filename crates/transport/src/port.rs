//! The port: what every engine offers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use pangea_core::id::NodeId;

/// A future without a runtime.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Told of a peer that went away. Called where the engine notices it: it must be quick, and must not send.
pub type LossListener = Arc<dyn Fn(NodeId) + Send + Sync>;

/// A message: a small head and a shared body, delivered whole or not at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// At most `wire::HEAD_BYTES_MAX`.
    pub head: Bytes,
    /// At most `wire::BODY_BYTES_MAX`.
    pub body: Bytes,
    /// Whether it answers an earlier message. Answers are bounded by the questions that asked for them, so an engine never
    /// makes one wait behind questions: two full queues of questions could otherwise wait for each other for ever.
    pub answer: bool,
}

impl Message {
    /// What it counts against a byte budget.
    pub fn bytes(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

/// Why a message did not go out or come in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransportError {
    /// The peer is not known or cannot be reached now.
    Unreachable(NodeId),
    /// Larger than the wire allows.
    TooLarge {
        /// Its bytes.
        bytes: usize,
    },
    /// This end was closed.
    Closed,
}

impl std::fmt::Display for TransportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(peer) => write!(f, "node {peer} cannot be reached"),
            Self::TooLarge { bytes } => {
                write!(f, "a message of {bytes} bytes is larger than the wire allows")
            }
            Self::Closed => write!(f, "the transport is closed"),
        }
    }
}

impl std::error::Error for TransportError {}

/// Carries messages between nodes. May lose, delay and reorder them; never alters, duplicates or invents one.
pub trait Transport: Send + Sync {
    /// This node.
    fn local(&self) -> NodeId;
    /// Hands a message over; waits while the way is full. `Ok` does not mean that it arrived.
    fn send(&self, peer: NodeId, message: Message) -> BoxFuture<'_, Result<(), TransportError>>;
    /// The next message to this node. One receiver at a time.
    fn recv(&self) -> BoxFuture<'_, Result<(NodeId, Message), TransportError>>;
    /// Where request ids begin: differs from one start of this node to the next, so that an answer to a question of an earlier
    /// life is never taken for the answer to one of this life.
    fn instance(&self) -> u64 {
        0
    }
    /// Has `listener` told each time messages to or from a peer may have been lost because the way to it broke: who waits
    /// for that peer's answer waits in vain. An engine whose ways never break need not do anything.
    fn on_loss(&self, _listener: LossListener) {}
    /// No more messages in or out; whoever waits gets [`TransportError::Closed`].
    fn close(&self);
}
