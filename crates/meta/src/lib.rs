//! Pangea's metadata port and its engines.
//!
//! | room | owns |
//! |---|---|
//! | [`port`] | the trait [`Meta`]: every command and every query |
//! | [`error`] | the one error of the port |
//! | `queries` | the queries, written once for all engines |
//! | [`memory`] | the memory engine: the reference |
//! | [`engine`] | the embedded engine without threads: log, then view, then answer; its recovery |
//! | [`embedded`] | the embedded engine as a port: its writing thread and its readers |
//! | [`remote`] | metadata that another node keeps: asking and answering |
//! | [`conformance`] | the exam of every engine, and the comparison of two |
//! | [`backup`] | a snapshot as a file of its own; bringing one back; what drives know without being opened |
//! | `sealed`, `log`, `snapshot` | the files on the log drives |
//! | [`sqlite`] | the SQLite view |

pub mod backup;
pub mod conformance;
pub mod embedded;
pub mod engine;
pub mod error;
mod log;
pub mod memory;
pub mod port;
mod queries;
pub mod remote;
mod sealed;
mod snapshot;
pub mod sqlite;
#[cfg(test)]
mod tests;

pub use embedded::{EmbeddedMeta, InlineMeta, SeatedMeta};
pub use engine::{Engine, Options};
pub use error::MetaError;
pub use log::writer::WriteOptions;
pub use memory::MemoryMeta;
pub use port::{Answer, LogDriveStatus, Meta, MetaStatus, PAGE_ROWS_MAX, VersionWithBlob};
pub use remote::RemoteMeta;
pub use sealed::{LogKey, LogKeys, Position};
pub use sqlite::ViewPlace;
