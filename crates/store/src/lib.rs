//! Where shards meet a drive: one port, one on-disk format, several engines.
//!
//! [`port`] is the trait that the rest of Pangea sees. [`extent`] is the engine room: it keeps the format and runs the same
//! over a real directory ([`file_disk`]) and over the simulator's disk. [`memory`], [`inline`] and [`threads`] are the
//! engines, [`faulty`] is the wrapper that breaks them, [`conformance`] the exam that all of them pass.

pub mod port;
