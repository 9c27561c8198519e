//! The node's own drives behind the transport: a question names a drive, its store answers, and what went wrong is counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use pangea_core::id::{DriveId, NodeId};
use pangea_core::wire::{Fault, StoreRequest, StoreResponse};
use pangea_store::service::answer;
use pangea_transport::Handler;
use pangea_transport::port::BoxFuture;

use crate::roster::Roster;

/// See the module.
pub(crate) struct Drives {
    roster: Arc<Roster>,
}

impl Drives {
    /// The stores of the drives that are mounted.
    pub(crate) fn new(roster: Arc<Roster>) -> Self {
        Self { roster }
    }
}

impl Handler for Drives {
    fn handle(&self, _: NodeId, request: StoreRequest, body: Bytes) -> BoxFuture<'_, (StoreResponse, Bytes)> {
        Box::pin(async move {
            let Some(served) = self.roster.drive(drive_of(&request)) else {
                return (StoreResponse::Failed(Fault::NoSuchDrive), Bytes::new());
            };
            if served.is_silent.load(Ordering::Relaxed) {
                return (StoreResponse::Failed(Fault::Unreachable), Bytes::new());
            }
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
