//! The composition point: the only crate that knows every other, and, with the command line, the only one that reads files,
//! flags and the environment. It composes and routes; what is decided is decided below.
//!
//! | room | owns |
//! |---|---|
//! | [`config`] | flags, environment and file, into plain options |
//! | [`keyfile`] | the sealed ring of master keys and its copies on the drives; `vault` keeps it while a node runs |
//! | `drives` | which directory is which drive, and what to do with the one that is not what it should be |
//! | `ground` `assemble` | directories and keys; then metadata, layout, stores, transport, data path |
//! | `node` `status` `workers` `pace` | the running node: control, what is shown, background work and how fast it goes |
//! | `recoder` | buckets whose data is written anew under another code |
//! | `cluster` | the other nodes: members, joining, pulses, metadata that one keeps for all |
//! | `database` | metadata in PostgreSQL: whether the directories agree, opening it, waiting for it |
//! | `roster` `checkup` `reshape` | the drives that are mounted; whether they are well; how they come, move and leave |
//! | [`server`] | a server's life: listeners, signals, orderly end |
//! | [`control`] `admin` [`remote`] | what operators may ask; the HTTP that carries it; the other end of that |
//! | [`doctor`] [`recover`] [`backup`] [`restore`] | the capability probe; metadata from the log, and from a backup; keys from a backup |
//! | `tls` `journal` | certificates; the log of requests |
//! | `clock` `entropy` `pool` `handler` `credentials` | what the node lends to the crates below |

mod admin;
mod assemble;
pub mod backup;
mod checkup;
mod clock;
mod cluster;
pub mod config;
pub mod control;
mod credentials;
mod database;
pub mod doctor;
mod drives;
mod engine;
mod entropy;
mod error;
mod ground;
mod handler;
mod journal;
pub mod keyfile;
mod node;
mod pace;
mod pool;
mod recoder;
pub mod recover;
pub mod remote;
mod reshape;
pub mod restore;
mod roster;
#[cfg(test)]
mod scratch;
pub mod server;
mod status;
pub mod tls;
mod vault;
mod workers;

pub use database::DatabaseError;
pub use drives::DriveError;
pub use error::StartError;
