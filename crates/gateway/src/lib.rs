//! The S3 face: HTTP in, the one data path out.
//!
//! A request passes the rooms in this order; nothing reaches a verb without a [`Principal`].
//!
//! | room | owns |
//! |---|---|
//! | [`server`] | listener, connections, shutdown |
//! | `connection` | the socket's time limits |
//! | `front` | one request: id, admission, budget, the answer's last touch, log and counters |
//! | `screen`, `signed` | what is refused before any cryptography |
//! | `inlet`, `chunked` | the request body: size, aws-chunked framing |
//! | `pace` | how slow a peer may be, in both directions |
//! | `turnstile` | places, and the line before them |
//! | `jam` | slow bodies that give way |
//! | `window` | memory for what is read ahead of clients |
//! | `auth`, `access` | who asks, and the table that says what they may do |
//! | `adapter`, `verb` | S3's operations, one file each |
//! | `error` | every refusal's code, status and advice |
//! | [`metrics`] | counters |
//!
//! Wire types, SigV4 and XML come from `s3s`; everything it leaves to its user (see `docs/decisions`) is decided here.

mod access;
mod acl;
mod adapter;
mod attributes;
mod auth;
mod checksum;
mod chunked;
mod condition;
mod connection;
mod copy_source;
mod cors;
mod crowd;
mod error;
mod form;
mod front;
pub mod grants;
mod host;
mod inlet;
mod jam;
mod listing;
pub mod metrics;
mod names;
mod options;
mod outlet;
mod pace;
mod range;
mod rate;
mod reading;
mod scope;
mod screen;
pub mod server;
mod signed;
mod tags;
mod token;
mod turnstile;
mod verb;
mod window;

pub use auth::{Credentials, Lookup, Principal, Scope, Secret};
pub use grants::Grants;
pub use metrics::Metrics;
pub use options::{Options, Parts};
pub use outlet::Journal;
pub use server::Gateway;
