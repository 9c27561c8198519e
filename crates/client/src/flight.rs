//! What is in flight on this gateway: blobs being written, which have no row yet, and blobs being read, which must not be freed.
//!
//! The garbage collector asks before it frees anything. A blob leaves the writing set only after its commit was answered,
//! so "not in flight" and then "no row" together mean that nobody will ever refer to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use pangea_core::id::BlobId;
use pangea_meta::MetaError;

use crate::door::ClientError;

type Counts = Arc<Mutex<BTreeMap<BlobId, u32>>>;

/// See the module.
#[derive(Default)]
pub(crate) struct Flight {
    counts: Counts,
}

/// A blob in flight, until dropped.
pub(crate) struct InFlight {
    counts: Counts,
    blob: BlobId,
}

impl Flight {
    /// Marks a blob.
    pub(crate) fn enter(&self, blob: BlobId) -> InFlight {
        *self.counts.lock().expect("counting does not panic").entry(blob).or_default() += 1;
        InFlight { counts: self.counts.clone(), blob }
    }

    /// Whether somebody writes or reads it now.
    pub(crate) fn has(&self, blob: BlobId) -> bool {
        self.counts.lock().expect("counting does not panic").contains_key(&blob)
    }
}

/// Blobs whose commit is under way. If it is never known how that ended (a lost answer, a caller that went away), they
/// stay in flight for as long as the process lives: the commit may still come to pass, and the garbage collector must not
/// take them for orphans before. The next start knows.
pub(crate) struct Undecided(Vec<InFlight>);

impl Undecided {
    /// Just before the command is sent.
    pub(crate) fn new(flights: Vec<InFlight>) -> Self {
        Self(flights)
    }

    /// The command was answered.
    pub(crate) fn settle<T>(mut self, answer: &Result<T, ClientError>) {
        if !matches!(answer, Err(ClientError::Meta(MetaError::Unknown))) {
            self.0.clear();
        }
    }
}

impl Drop for Undecided {
    fn drop(&mut self) {
        // Counted in a table of their own, their end changes nothing in the real one.
        self.0.iter_mut().for_each(|flight| flight.counts = Counts::default());
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().expect("counting does not panic");
        if let Some(count) = counts.get_mut(&self.blob) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.blob);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by the simulator (cluster seed 1312): the log's sync failed, the orphan collector took the shards of a version
    /// that the next start found in the log.
    #[test]
    fn a_blob_stays_in_flight_until_it_is_known_how_its_commit_ended() {
        let blob = BlobId([7; 16]);
        let in_flight_after = |end: &dyn Fn(Undecided)| {
            let flight = Flight::default();
            end(Undecided::new(vec![flight.enter(blob)]));
            flight.has(blob)
        };
        assert!(!in_flight_after(&|u| u.settle(&Ok(()))));
        assert!(!in_flight_after(&|u| u.settle::<()>(&Err(ClientError::PreconditionFailed))));
        assert!(in_flight_after(&|u| u.settle::<()>(&Err(ClientError::Meta(MetaError::Unknown)))));
        assert!(in_flight_after(&drop), "the caller went away");
    }
}
