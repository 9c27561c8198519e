//! Tests of the whole crate: crash states, faults of the medium, damaged directories, and every engine's exam.

mod crash;
mod crash_disk;
mod engines;
pub mod samples;
