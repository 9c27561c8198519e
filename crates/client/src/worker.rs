//! Background work: completing and repairing stripes, scrubbing, following the layout, recoding, repacking small
//! objects, collecting garbage.
//!
//! Every pass is a plain future that the node schedules, names, shows, slows down and stops (by dropping it); each reports
//! to its [`Overseer`]. All of them drive core's repair machine, and nothing else deletes shards.

mod garbage;
mod inventory;
mod mend;
mod mending;
mod rebalance;
mod recode;
mod repack;
mod scrub;

pub(crate) use mending::Mending;

use crate::runtime::Task;

pub use garbage::GarbageReport;
pub use mend::MendReport;
pub use rebalance::{Emptied, RebalanceReport};
pub use recode::RecodeReport;
pub use repack::RepackReport;
pub use scrub::ScrubReport;

/// Whom a pass reports to.
pub type Progress<'a> = &'a dyn Overseer;

/// Who watches over a pass: shows how far it is, and says how fast it may go.
pub trait Overseer: Send + Sync {
    /// Things done so far, and things in all if that is known.
    fn at(&self, done: u64, total: Option<u64>);

    /// The pass is about to read and write so many bytes in the background; ready when it may.
    fn spend(&self, bytes: u64) -> Task;
}

/// A plain listener sets no pace.
impl<F: Fn(u64, Option<u64>) + Send + Sync> Overseer for F {
    fn at(&self, done: u64, total: Option<u64>) {
        self(done, total);
    }

    fn spend(&self, _bytes: u64) -> Task {
        Box::pin(std::future::ready(()))
    }
}
