//! Sockets between nodes: who a node is, how it proves that, and the engines that carry messages from one to another.
//!
//! This is the only crate with sockets between nodes. What the messages mean is not known here.
//!
//! | room | owns |
//! |---|---|
//! | [`identity`] | a node's key: signing, checking |
//! | [`certificate`] | the certificate that a node shows (libp2p's TLS scheme), and what is believed of one |
//! | `der` | a bounded reader of DER |
//! | `tls` | ciphers, both verifiers, protocol names, channel binding |
//! | [`proof`] | the greeting: both sides prove that they belong to one cluster |
//! | [`frame`] | the bytes between nodes |
//! | [`tcp`] | the engine `tcp`: TLS over TCP |
//! | [`join`] | one question and one answer for a node that is no member yet |
//! | [`error`] | why something did not work |

pub mod certificate;
mod der;
pub mod error;
pub mod frame;
pub mod identity;
pub mod join;
pub mod proof;
pub mod tcp;
mod tls;

pub use error::{NetError, Refusal};
pub use identity::NodeIdentity;
pub use tcp::{LinkFigures, Peer, Tcp, TcpConfig};
