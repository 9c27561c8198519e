//! Tests of the whole crate: crash states, faults of the medium, damaged directories, and every engine's exam.

mod bad_disk;
mod crash;
mod crash_disk;
mod crash_soak;
mod damage;
mod engines;
mod faults;
mod model;
pub mod samples;
#[cfg(all(target_os = "linux", feature = "uring"))]
mod uring;
