//! Pangea's metadata port and its engines.
//!
//! | room | owns |
//! |---|---|
//! | [`port`] | the trait [`Meta`]: every command and every query |
//! | [`error`] | the one error of the port |

pub mod error;
pub mod memory;
pub mod port;

pub use error::MetaError;
pub use memory::MemoryMeta;
pub use port::{Answer, LogDriveStatus, Meta, MetaStatus, PAGE_ROWS_MAX, VersionWithBlob};
