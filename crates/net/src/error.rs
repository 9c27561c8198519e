//! Why something did not work between two nodes: the errors of this crate's door.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use pangea_core::id::NodeId;

use crate::certificate::CertificateError;

/// Why a node was turned away; said by one side to the other before it hangs up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Refusal {
    /// The node is stopping.
    Closing = 1,
    /// The two have another, better connection.
    Spare = 2,
    /// The node that hangs up has no such member.
    NotListed = 3,
    /// They belong to different clusters.
    OtherCluster = 4,
    /// The cluster's id is right and the secret is not.
    WrongSecret = 5,
    /// Too many come at once from there; later is better.
    TooMany = 6,
    /// What was said is against the rules of the protocol.
    Protocol = 7,
    /// The node takes no newcomers.
    NoDoor = 8,
    /// The node was started anew, or dialled anew: the older connection is over.
    Replaced = 9,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::Closing,
        Self::Spare,
        Self::NotListed,
        Self::OtherCluster,
        Self::WrongSecret,
        Self::TooMany,
        Self::Protocol,
        Self::NoDoor,
        Self::Replaced,
    ];

    /// The reason with this number.
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == number)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closing => "it is stopping",
            Self::Spare => "there is a better connection",
            Self::NotListed => {
                "it does not list this node as a member: add the node, or wait for its news to spread"
            }
            Self::OtherCluster => "it belongs to another cluster: check the address",
            Self::WrongSecret => "the cluster secrets differ: give both nodes the same one",
            Self::TooMany => "too many connections come from this address: try again later",
            Self::Protocol => "the protocol was violated: are the versions compatible?",
            Self::NoDoor => "it takes no new nodes: ask a member that does",
            Self::Replaced => "a newer connection took its place",
        })
    }
}

/// Why a connection could not be made, or ended. Cheap to clone: it is shown in the figures of a link.
#[derive(Clone, Debug)]
pub enum NetError {
    /// The socket to listen on cannot be had.
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: Arc<io::Error>,
    },
    /// No tokio runtime runs here.
    NoRuntime,
    /// A key or certificate could not be made.
    Key {
        /// What the cipher library said.
        why: String,
    },
    /// An address is not `host:port`, or its name is not known.
    Address {
        /// The address.
        address: String,
        /// Why.
        source: Arc<io::Error>,
    },
    /// A peer without addresses.
    NoAddress,
    /// The network said no.
    Io {
        /// Why.
        source: Arc<io::Error>,
    },
    /// The TLS library said no.
    Tls {
        /// Why.
        source: rustls::Error,
    },
    /// The certificate cannot be believed.
    Certificate(CertificateError),
    /// Another node answers at that address.
    OtherNode {
        /// Who was meant.
        expected: NodeId,
        /// Who answered.
        found: NodeId,
    },
    /// The other side speaks TLS, but none of our protocols.
    OtherProtocol,
    /// The other side hung up, and why.
    Refused(Refusal),
    /// This side hung up, and why.
    Refusing(Refusal),
    /// It took too long.
    TimedOut {
        /// What was waited for.
        awaited: Awaited,
    },
    /// Bytes that are no frame of ours, or one that is too large.
    Frame(crate::frame::FrameError),
    /// A question or answer to join is larger than allowed.
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The other side hung up without a word.
    HungUp,
}

/// What was waited for in vain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Awaited {
    /// A TCP connection.
    Connection,
    /// The handshake and the greeting.
    Handshake,
    /// Any sign of life.
    Life,
    /// An answer to a question about joining.
    Answer,
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, source } => write!(f, "cannot listen on {address}: {source}"),
            Self::NoRuntime => write!(f, "the engine must be started inside a tokio runtime"),
            Self::Key { why } => write!(f, "the node's key cannot be used: {why}"),
            Self::Address { address, source } => write!(f, "the address {address:?} leads nowhere: {source}"),
            Self::NoAddress => write!(f, "no address of the node is known"),
            Self::Io { source } => write!(f, "the network: {source}"),
            Self::Tls { source } => write!(f, "TLS: {source}"),
            Self::Certificate(error) => write!(f, "the node's certificate: {error}"),
            Self::OtherNode { expected, found } => {
                write!(f, "node {found} answers where {expected} was expected: check the address")
            }
            Self::OtherProtocol => write!(f, "the other side speaks none of our protocols"),
            Self::Refused(reason) => write!(f, "the other node hung up: {reason}"),
            Self::Refusing(reason) => write!(f, "this node hung up: {reason}"),
            Self::TimedOut { awaited } => write!(f, "no {awaited} in time"),
            Self::Frame(error) => write!(f, "the other side sent nonsense: {error}"),
            Self::TooLarge { bytes, bytes_max } => {
                write!(f, "{bytes} bytes are more than the {bytes_max} allowed to join")
            }
            Self::HungUp => write!(f, "the other side hung up"),
        }
    }
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection => "connection",
            Self::Handshake => "handshake",
            Self::Life => "sign of life",
            Self::Answer => "answer",
        })
    }
}

impl std::error::Error for NetError {}

impl NetError {
    /// Sorts what reading from or writing to a TLS stream gave: our own verdicts travel inside errors of TLS, and those
    /// inside errors of input and output.
    pub(crate) fn of_stream(error: io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match (inner, error.kind()) {
            (Some(tls), _) => Self::of_tls(tls.clone()),
            (
                None,
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe,
            ) => Self::HungUp,
            (None, _) => Self::Io { source: Arc::new(error) },
        }
    }

    fn of_tls(error: rustls::Error) -> Self {
        if let rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) = &error
            && let Some(verdict) = other.0.downcast_ref::<CertificateError>()
        {
            return match *verdict {
                CertificateError::OtherNode { expected, found } => Self::OtherNode { expected, found },
                verdict => Self::Certificate(verdict),
            };
        }
        match error {
            rustls::Error::NoApplicationProtocol
            | rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol) => {
                Self::OtherProtocol
            }
            source => Self::Tls { source },
        }
    }

    /// Whether two errors tell an operator the same (so that the second need not be logged).
    pub(crate) fn same_story(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}
