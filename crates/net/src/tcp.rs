//! The engine `tcp`: messages over TLS over TCP, one connection to a peer, made when it is first needed.
//!
//! Owns the socket that listens and the links to all listed peers. Only listed peers of the same cluster may hold a
//! connection; `join` has a protocol of its own on the same port.
//!
//! | room | owns |
//! |---|---|
//! | `meet` | dialling, handshake, greeting |
//! | `inner` | what all tasks share; the tasks that dial and listen |
//! | `link` | one peer: what waits to go out, which connection carries it |
//! | `connection` `batch` `pulse` | one connection: reading, writing, signs of life |
//! | `inbox` | what came in |
//! | `crowd` | limits on strangers |
//! | `figures` | what is known of a link |

mod batch;
mod connection;
mod crowd;
mod figures;
#[cfg(test)]
mod hostile_tests;
mod inbox;
mod inner;
mod link;
pub(crate) mod meet;
mod pulse;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pangea_core::id::{ClusterId, NodeId};
use pangea_core::wire::{BODY_BYTES_MAX, HEAD_BYTES_MAX};
use pangea_transport::{BoxFuture, LossListener, Message, Transport, TransportError};
use tokio::sync::watch;

pub use connection::ANSWERS_IN_BYTES_MAX;
pub use crowd::CrowdLimits;
pub use figures::LinkFigures;
pub use link::{ANSWER_BYTES_MAX, ANSWER_BYTES_SOFT, WAY_BYTES_MAX};
pub use meet::HANDSHAKE_MAX;

use crate::error::NetError;
use crate::identity::NodeIdentity;
use crate::join::JoinDoor;
use inner::Inner;

/// How the engine is started.
pub struct TcpConfig {
    /// Who this node is.
    pub identity: NodeIdentity,
    /// The cluster.
    pub cluster: ClusterId,
    /// What all members of the cluster know, and nobody else.
    pub secret: [u8; 32],
    /// Where to listen; port 0: any that is free.
    pub listen: SocketAddr,
    /// A peer that was sent something and is silent for so long is dead.
    pub dead_after: Duration,
    /// A connection on which nothing happens is pinged after so long; with many links less often ([`IDLE_PER_LINK`]).
    pub idle_ping: Duration,
    /// Bytes of questions from all peers together that may wait to be taken; each peer gets its part of it, between
    /// [`WINDOW_BYTES_MIN`] and [`WINDOW_BYTES_MAX`], when it connects.
    pub questions_bytes_max: usize,
    /// Limits on strangers.
    pub crowd: CrowdLimits,
}

/// A quiet link is pinged at most once in so long for each link that this node has: a node in a large cluster must not spend
/// its time on pings. Who is sent something is watched closely all the same.
pub const IDLE_PER_LINK: Duration = Duration::from_millis(100);
/// Each peer may have at least so many bytes of questions on their way.
pub const WINDOW_BYTES_MIN: usize = 1 << 20;
/// And at most so many.
pub const WINDOW_BYTES_MAX: usize = 8 << 20;
/// Peers that may be listed.
pub const PEERS_MAX: usize = 4096;

impl TcpConfig {
    /// The usual: death is noticed within five seconds.
    pub fn new(identity: NodeIdentity, cluster: ClusterId, secret: [u8; 32], listen: SocketAddr) -> Self {
        Self {
            identity,
            cluster,
            secret,
            listen,
            dead_after: Duration::from_millis(3500),
            idle_ping: Duration::from_millis(1200),
            questions_bytes_max: 128 << 20,
            crowd: CrowdLimits::default(),
        }
    }
}

/// A peer, and where it may be found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Who.
    pub node: NodeId,
    /// `host:port` each; tried in turn.
    pub addresses: Vec<String>,
}

/// The engine. Dropping it closes it.
pub struct Tcp(Arc<Inner>);

impl Tcp {
    /// Starts listening. Must be called inside a tokio runtime, which carries the connections.
    pub fn start(config: TcpConfig) -> Result<Arc<Self>, NetError> {
        Ok(Arc::new(Self(Inner::start(config)?)))
    }

    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.0.local_address
    }

    /// Replaces the list of peers: those who are not on it any more are disconnected. At most [`PEERS_MAX`]; this node
    /// itself may be among them.
    pub fn set_peers(&self, peers: Vec<Peer>) {
        self.0.set_peers(peers);
    }

    /// Who answers nodes that are no members yet. Without it they are refused.
    pub fn set_join_door(&self, door: Arc<dyn JoinDoor>) {
        self.0.set_join_door(door);
    }

    /// All links, by node.
    pub fn links(&self) -> Vec<LinkFigures> {
        self.0.links()
    }

    /// Changes whenever a link came up, broke, or could not be made.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

impl Transport for Tcp {
    fn local(&self) -> NodeId {
        self.0.local()
    }

    fn send(&self, peer: NodeId, message: Message) -> BoxFuture<'_, Result<(), TransportError>> {
        Box::pin(async move {
            if message.head.len() > HEAD_BYTES_MAX || message.body.len() > BODY_BYTES_MAX {
                return Err(TransportError::TooLarge { bytes: message.bytes() });
            }
            self.0.send(peer, message).await
        })
    }

    fn recv(&self) -> BoxFuture<'_, Result<(NodeId, Message), TransportError>> {
        Box::pin(self.0.recv())
    }

    fn instance(&self) -> u64 {
        self.0.instance
    }

    fn on_loss(&self, listener: LossListener) {
        self.0.on_loss(listener);
    }

    fn close(&self) {
        self.0.close();
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        self.0.close();
    }
}
