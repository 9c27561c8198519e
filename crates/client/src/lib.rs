//! The one data path. Gateway, CLI, Python, the background workers and the simulator all read and write through it.
//!
//! It drives core's machines over the ports `meta` and `transport`, and knows no runtime: time, tasks and CPU work come
//! through [`Runtime`], so the simulator runs the same code on one thread.
//!
//! | room | owns |
//! |---|---|
//! | [`door`] | the requests, answers and errors that callers see |
//! | `client` | [`Client`]: what it holds, how it starts |

pub mod door;
mod client;
mod runtime;

pub use client::{Client, Options, Parts};
pub use door::{
    Accept, Body, BodyError, ClientError, CompletePart, List, ListEntry, ListPage, Object, PartDone, PutDone, PutObject,
    Received, UploadPart,
};
pub use runtime::{CpuJob, Runtime};
