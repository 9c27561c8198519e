//! The service: a wire question, asked of a store, becomes a wire answer.
//!
//! Knows the wire's words and this crate's port, nothing of transports; the node's and the simulator's handlers find the
//! drive and call [`answer`].

use bytes::Bytes;
use pangea_core::wire::{Fault, SHARDS_PER_MESSAGE_MAX, StoreRequest, StoreResponse};

use crate::port::{IoOp, ShardStore, StoreError};

/// Answers a question about this store's drive. The second part is the body of a [`StoreResponse::Data`].
pub async fn answer(store: &dyn ShardStore, request: StoreRequest, body: Bytes) -> (StoreResponse, Bytes) {
    let answered = match request {
        StoreRequest::Put { header, .. } => store.put(*header, body).await.map(|()| StoreResponse::Done),
        StoreRequest::Read { shard, first, pieces, .. } => {
            let Some(end) = first.checked_add(pieces) else {
                return (StoreResponse::Failed(Fault::Malformed), Bytes::new());
            };
            match store.read(shard, first..end).await {
                Ok(data) => return (StoreResponse::Data, data),
                Err(error) => Err(error),
            }
        }
        StoreRequest::Header { shard, .. } => {
            store.header(shard).await.map(|header| StoreResponse::Header(Box::new(header)))
        }
        StoreRequest::Verify { shard, .. } => store.verify(shard).await.map(|()| StoreResponse::Done),
        StoreRequest::Condemn { shard, .. } => store.quarantine(shard).await.map(|_| StoreResponse::Done),
        StoreRequest::Delete { shards, .. } => store.delete(shards).await.map(|()| StoreResponse::Done),
        StoreRequest::List { after, limit, .. } => {
            let limit = usize::from(limit).min(SHARDS_PER_MESSAGE_MAX);
            let listed = store.list(after, limit).await;
            listed.map(|shards| StoreResponse::Shards(shards.into_iter().map(|shard| shard.id).collect()))
        }
    };
    (answered.unwrap_or_else(|error| StoreResponse::Failed(fault(&error))), Bytes::new())
}

/// What a store's error means to a caller on another node.
pub fn fault(error: &StoreError) -> Fault {
    match error {
        StoreError::Missing(_) => Fault::Missing,
        StoreError::Corrupt { .. } => Fault::Corrupt,
        StoreError::Conflict(_) => Fault::Conflict,
        StoreError::Full { .. } => Fault::Full,
        StoreError::ReadOnly => Fault::ReadOnly,
        StoreError::Rejected { .. } => Fault::Malformed,
        // A shard that the medium cannot give back is as good as a corrupt one: drop it, rebuild it elsewhere on the drive.
        StoreError::Io(fault) if fault.op == IoOp::Read => Fault::Corrupt,
        StoreError::Failed(_) | StoreError::Io(_) | StoreError::Closed => Fault::Drive,
    }
}
