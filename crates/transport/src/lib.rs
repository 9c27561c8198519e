//! The message port: messages of at most 16 MiB to and from nodes, with backpressure; what they mean is not known here.
//!
//! | room | owns |
//! |---|---|
//! | [`port`] | [`Transport`], [`Message`], errors |
//! | [`mailbox`] | a bounded queue in bytes: the receiving end of the in-process engines |
//! | [`loopback`] | a node talks to itself |
//! | [`endpoint`] | questions and answers over any engine: request ids, cancellation, bounded work |
//! | [`conformance`] | the exam that every engine passes |

pub mod conformance;
pub mod endpoint;
pub mod loopback;
pub mod mailbox;
pub mod port;

pub use endpoint::{Endpoint, Handler};
pub use loopback::Loopback;
pub use port::{BoxFuture, LossListener, Message, Transport, TransportError};
