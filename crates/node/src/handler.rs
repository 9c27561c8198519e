//! The node's own drives behind the transport: a question names a drive, its store answers, and what went wrong is counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use pangea_core::id::{DriveId, NodeId};
use pangea_core::wire::{Fault, StoreRequest, StoreResponse};
use pangea_store::port::ShardStore;
use pangea_store::service::answer;
use pangea_transport::Handler;
use pangea_transport::port::BoxFuture;

/// A store, and how often it had to say that a shard is corrupt or that the medium failed.
#[derive(Clone)]
pub(crate) struct Served {
    pub store: Arc<dyn ShardStore>,
    pub errors: Arc<AtomicU64>,
}

/// See the module.
pub(crate) struct Drives {
    stores: BTreeMap<DriveId, Served>,
}

impl Drives {
    /// The stores of this node by their drives.
    pub(crate) fn new(stores: BTreeMap<DriveId, Served>) -> Self {
        Self { stores }
    }
}

impl Handler for Drives {
    fn handle(&self, _: NodeId, request: StoreRequest, body: Bytes) -> BoxFuture<'_, (StoreResponse, Bytes)> {
        Box::pin(async move {
            let Some(served) = self.stores.get(&drive_of(&request)) else {
                return (StoreResponse::Failed(Fault::NoSuchDrive), Bytes::new());
            };
            // Bytes that arrive corrupt are not this drive's fault.
            let putting = matches!(request, StoreRequest::Put { .. });
            let answered = answer(served.store.as_ref(), request, body).await;
            match answered.0 {
                StoreResponse::Failed(Fault::Corrupt) if putting => {}
                StoreResponse::Failed(Fault::Corrupt | Fault::Drive) => {
                    served.errors.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            }
            answered
        })
    }
}

fn drive_of(request: &StoreRequest) -> DriveId {
    match request {
        StoreRequest::Put { drive, .. }
        | StoreRequest::Read { drive, .. }
        | StoreRequest::Header { drive, .. }
        | StoreRequest::Verify { drive, .. }
        | StoreRequest::Condemn { drive, .. }
        | StoreRequest::Delete { drive, .. }
        | StoreRequest::List { drive, .. } => *drive,
    }
}
