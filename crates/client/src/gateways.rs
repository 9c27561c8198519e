//! The other gateways of a cluster: what they have in flight, asked before anything is freed that they may still need.

use std::collections::BTreeSet;
use std::sync::Arc;

use pangea_core::id::BlobId;
use pangea_transport::BoxFuture;

use crate::client::Client;

/// What other gateways write and read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InFlightElsewhere {
    /// Blobs being written: they have no row yet.
    pub written: BTreeSet<BlobId>,
    /// Blobs being written or read.
    pub all: BTreeSet<BlobId>,
    /// Not all gateways said it: one has not been heard of for so long that its reads are over, but a write of it may
    /// still be committed.
    pub is_partial: bool,
}

/// Asks the other gateways.
pub trait Gateways: Send + Sync {
    /// What they have in flight; `None`: one of them cannot tell now, and nothing may be freed.
    fn in_flight(&self) -> BoxFuture<'_, Option<InFlightElsewhere>>;
}

/// There are none: this process is the only gateway.
pub struct NoOthers;

impl Gateways for NoOthers {
    fn in_flight(&self) -> BoxFuture<'_, Option<InFlightElsewhere>> {
        Box::pin(std::future::ready(Some(InFlightElsewhere::default())))
    }
}

impl Client {
    /// What is in flight here: blobs being written, and all.
    pub fn in_flight(&self) -> (Vec<BlobId>, Vec<BlobId>) {
        (self.inner.flight.written(), self.inner.flight.all())
    }

    pub(crate) async fn in_flight_elsewhere(&self) -> Option<InFlightElsewhere> {
        let gateways: &Arc<dyn Gateways> = &self.inner.parts.gateways;
        gateways.in_flight().await
    }
}
