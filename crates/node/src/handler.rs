//! The node's own drives behind the transport: a question names a drive, its store answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use pangea_core::id::{DriveId, NodeId};
use pangea_core::wire::{Fault, StoreRequest, StoreResponse};
use pangea_store::port::ShardStore;
use pangea_store::service::answer;
use pangea_transport::Handler;
use pangea_transport::port::BoxFuture;

/// See the module.
pub(crate) struct Drives {
    stores: BTreeMap<DriveId, Arc<dyn ShardStore>>,
}

impl Drives {
    /// The stores of this node by their drives.
    pub(crate) fn new(stores: BTreeMap<DriveId, Arc<dyn ShardStore>>) -> Self {
        Self { stores }
    }
}

impl Handler for Drives {
    fn handle(&self, _: NodeId, request: StoreRequest, body: Bytes) -> BoxFuture<'_, (StoreResponse, Bytes)> {
        Box::pin(async move {
            match self.stores.get(&drive_of(&request)) {
                Some(store) => answer(store.as_ref(), request, body).await,
                None => (StoreResponse::Failed(Fault::NoSuchDrive), Bytes::new()),
            }
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
