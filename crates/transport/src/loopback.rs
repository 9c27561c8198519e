//! Loopback: a node talks to itself, so that one node and a thousand run the same code.

use pangea_core::id::NodeId;
use pangea_core::wire::{BODY_BYTES_MAX, HEAD_BYTES_MAX};

use crate::mailbox::Mailbox;
use crate::port::{BoxFuture, Message, Transport, TransportError};

/// Bytes that may wait in the loopback.
pub const LOOPBACK_BYTES_MAX: usize = 32 << 20;

/// See the module.
pub struct Loopback {
    local: NodeId,
    mailbox: Mailbox,
}

impl Loopback {
    /// The loopback of this node.
    pub fn new(local: NodeId) -> Self {
        Self { local, mailbox: Mailbox::new(LOOPBACK_BYTES_MAX) }
    }
}

impl Transport for Loopback {
    fn local(&self) -> NodeId {
        self.local
    }

    fn send(&self, peer: NodeId, message: Message) -> BoxFuture<'_, Result<(), TransportError>> {
        Box::pin(async move {
            if peer != self.local {
                return Err(TransportError::Unreachable(peer));
            }
            if message.head.len() > HEAD_BYTES_MAX || message.body.len() > BODY_BYTES_MAX {
                return Err(TransportError::TooLarge { bytes: message.bytes() });
            }
            self.mailbox.put(self.local, message).await
        })
    }

    fn recv(&self) -> BoxFuture<'_, Result<(NodeId, Message), TransportError>> {
        Box::pin(self.mailbox.take())
    }

    fn close(&self) {
        self.mailbox.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_passes_the_exam() {
        crate::conformance::conformance(|| {
            let node: std::sync::Arc<dyn Transport> = std::sync::Arc::new(Loopback::new(NodeId([1; 32])));
            (node.clone(), node)
        });
    }
}
