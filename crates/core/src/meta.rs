//! Metadata: the commands, the rows they touch, and the pure state machine that decides every outcome.
//!
//! A [`Command`] is deterministic: ids, time and randomness come in as fields. [`apply()`] runs it against any
//! [`Tables`]; the memory tables here are the reference of every engine. The commit of a command is the linearization
//! point of whatever it does.
//!
//! | room | owns |
//! |---|---|
//! | `command`, `row`, `query` | the vocabulary |
//! | `field`, `row_codec`, `command_codec`, `table_key` | the bytes of it all |
//! | `tables`, `staged`, `memory` | what an engine must be; one command's changes; the reference engine |
//! | [`question`] | what nodes ask each other about metadata |
//! | `apply` | what every command does |
//! | [`read`] | every query, on any engine's tables |
//! | [`history`] | random but reproducible requests, to hold engines against each other |
//! | [`reason`] | what a command can contradict itself in |

mod apply;
mod command;
mod command_codec;
mod field;
pub mod history;
mod memory;
mod query;
pub mod question;
pub mod read;
pub mod reason;
mod row;
mod row_codec;
mod staged;
mod table_key;
mod tables;
#[cfg(test)]
mod tests;

pub use apply::{EXPIRE_ROWS_MAX, KEEP_MS, PART_NUMBER_MAX, WRITE_FLOOR, apply};
pub use command::{
    Command, Condition, Deleted, ItemOutcome, NewBlob, NewPack, NewVersion, Outcome, PackedMove, PackedPut,
    PartRef, Refusal, Request, VersionSelector,
};
pub use command_codec::REQUEST_VERSION;
pub use memory::MemoryTables;
pub use query::{HeadPage, KeyRange, VersionPage};
pub use row::{
    AccessKeyRow, BlobBody, BlobRow, BucketKeyRow, BucketRow, Content, ETag, Extent, LeaseRow, OutcomeRow,
    PackEntry, PackRow, PackedItem, PartRow, SettingRow, StateRow, TodoRow, UploadRow, UsageRow, VersionRow,
    Versioning,
};
pub use row_codec::ROW_VERSION;
pub use tables::{RawRow, TableId, Tables};
