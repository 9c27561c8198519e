//! The data path at its door: real machines and real sealing over stores and metadata in memory.
//!
//! One test binary; `rig` builds a cluster of drives on one node, each room tests one subject.

mod layouts;
mod objects;
mod packs;
mod recode;
mod repair;
mod rig;
mod uploads;
mod versions;
