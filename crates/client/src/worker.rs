//! Background work: completing and repairing stripes, scrubbing, repacking small objects, collecting garbage.
//!
//! Every pass is a plain future that the node schedules, names, shows and stops (by dropping it); each reports through a
//! [`Progress`]. All of them drive core's repair machine, and nothing else deletes shards.

mod garbage;
mod mend;
mod repack;
mod scrub;

pub use garbage::GarbageReport;
pub use mend::MendReport;
pub use repack::RepackReport;
pub use scrub::ScrubReport;

/// Hears how far a pass is: things done so far, and things in all if that is known.
pub type Progress<'a> = &'a (dyn Fn(u64, Option<u64>) + Send + Sync);
