//! What is in flight on this gateway: blobs being written, which have no row yet, and blobs being read, which must not be freed.
//!
//! The garbage collector asks before it frees anything. A blob leaves the writing set only after its commit was answered,
//! so "not in flight" and then "no row" together mean that nobody will ever refer to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use pangea_core::id::BlobId;

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
