//! The one data path. Gateway, CLI, Python, the background workers and the simulator all read and write through it.
//!
//! It drives core's machines over the ports `meta` and `transport`, and knows no runtime: time, tasks and CPU work come
//! through [`Runtime`], so the simulator runs the same code on one thread.
//!
//! | room | owns |
//! |---|---|
//! | [`door`] | the requests, answers and errors that callers see |
//! | `client` | [`Client`]: what it holds; metadata commands and their retry |
//! | `bucket` `object` `list` `upload` `versions` | the verbs |
//! | `blob_put` `blob_get` | a body to sealed stripes, and back |
//! | `item` `packer` | small objects: sealed one by one, stored and committed together |
//! | `digest` | MD5 of many bodies at once |
//! | `stripe` `shards` | one stripe, one shard, over the transport |
//! | `gateways` | what other gateways have in flight |
//! | `layouts` `codes` `keyring` `budget` `patience` `buffers` `tuning` `flight` `latency` | what the verbs stand on |
//! | [`worker`] | background passes: mending, scrubbing, repacking, collecting garbage |

mod blob_get;
mod blob_put;
mod bucket;
mod budget;
mod buffers;
mod client;
mod codes;
mod digest;
pub mod door;
mod extents;
mod flight;
mod gateways;
mod item;
mod keyring;
mod latency;
mod layouts;
mod list;
mod object;
mod packer;
mod patience;
mod runtime;
mod shards;
mod stripe;
mod tuning;
mod upload;
mod versions;
pub mod worker;

pub use client::{Client, Options, Parts};
pub use codes::{OLDER_CODES_SETTING, codes_used};
pub use door::{
    Accept, Body, BodyError, ClientError, CompletePart, List, ListEntry, ListPage, Object, PartDone, PutDone,
    PutObject, Received, UploadPart,
};
pub use gateways::{Gateways, InFlightElsewhere, NoOthers};
pub use keyring::KeyRing;
pub use layouts::{CURRENT_EPOCH_SETTING, layout_setting};
pub use runtime::{CpuJob, Runtime, Task};
pub use upload::{AcceptParts, PART_BYTES_MIN, PARTS_MAX};
pub use versions::{ListVersions, VersionEntry, VersionListPage};
