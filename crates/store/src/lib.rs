//! Where shards meet a drive: one port, one on-disk format, several engines.
//!
//! [`port`] is the trait that the rest of Pangea sees. [`format`] is the bytes, [`drive`] the identity, [`extent`] the engine
//! room: it keeps the format and runs the same over a real directory ([`file_disk`]) and over the simulator's disk.
//! [`memory`], [`inline`] and [`threads`] are the engines, [`faulty`] is the wrapper that breaks them, [`conformance`] the
//! exam that all of them pass.

mod budget;
pub mod conformance;
#[cfg(unix)]
mod direct;
pub mod drive;
pub mod extent;
pub mod faulty;
#[cfg(unix)]
pub mod file_disk;
pub mod format;
pub mod inline;
pub mod memory;
pub mod port;
pub mod service;
pub mod threads;
#[cfg(all(target_os = "linux", feature = "uring"))]
pub mod uring;

#[cfg(test)]
mod tests;
