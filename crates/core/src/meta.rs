//! Metadata: the commands, the rows they touch, and the pure state machine that decides every outcome.
//!
//! A [`Command`] is deterministic: ids, time and randomness come in as fields. `apply` runs it against any
//! [`Tables`]; the memory tables here are the reference of every engine. The commit of a command is the linearization
//! point of whatever it does.

mod apply;
mod command;
mod memory;
mod query;
mod row;
mod row_codec;
mod command_codec;
mod tables;
#[cfg(test)]
mod tests;

pub use apply::apply;
pub use command::{
    Command, Condition, Deleted, NewBlob, NewVersion, Outcome, PartRef, Refusal, Request, VersionSelector,
};
pub use memory::MemoryTables;
pub use query::{HeadPage, KeyRange, VersionPage};
pub use row::{
    AccessKeyRow, BlobBody, BlobRow, BucketKeyRow, BucketRow, Content, ETag, Extent, LeaseRow, PartRow, TodoRow,
    UploadRow, UsageRow, VersionRow, Versioning,
};
pub use tables::Tables;
