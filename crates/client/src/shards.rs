//! Single shards over the transport: one question to one drive, with its deadline.

use std::ops::Range;

use bytes::Bytes;
use futures_util::future::{Either, select};
use pangea_core::chunk::ShardHeader;
use pangea_core::id::ShardId;
use pangea_core::layout::Slot;
use pangea_core::wire::{Fault, StoreRequest, StoreResponse};

use crate::client::Client;

impl Client {
    /// Stores a shard; `Ok` means durable.
    pub(crate) async fn store_shard(
        &self,
        slot: Slot,
        header: ShardHeader,
        data: Bytes,
    ) -> Result<(), Fault> {
        let ask = |drive| StoreRequest::Put { drive, header: Box::new(header) };
        done(self.ask(slot, ask, data).await)
    }

    /// Reads pieces of a shard.
    pub(crate) async fn read_shard(
        &self,
        slot: Slot,
        shard: ShardId,
        pieces: Range<u8>,
    ) -> Result<Bytes, Fault> {
        let asked_us = self.inner.parts.clock.mono_us();
        let (first, pieces) = (pieces.start, pieces.end - pieces.start);
        let ask = |drive| StoreRequest::Read { drive, shard, first, pieces };
        match self.ask(slot, ask, Bytes::new()).await {
            (StoreResponse::Data, body) => {
                self.inner.read_latency.record(self.inner.parts.clock.mono_us().saturating_sub(asked_us));
                Ok(body)
            }
            (StoreResponse::Failed(fault), _) => Err(fault),
            _ => Err(Fault::Malformed),
        }
    }

    /// A shard's header.
    pub(crate) async fn shard_header(&self, slot: Slot, shard: ShardId) -> Result<ShardHeader, Fault> {
        match self.ask(slot, |drive| StoreRequest::Header { drive, shard }, Bytes::new()).await {
            (StoreResponse::Header(header), _) if header.id == shard => Ok(*header),
            (StoreResponse::Failed(fault), _) => Err(fault),
            _ => Err(Fault::Malformed),
        }
    }

    /// Has a drive read a shard from the medium and check it.
    pub(crate) async fn verify_shard(&self, slot: Slot, shard: ShardId) -> Result<(), Fault> {
        done(self.ask(slot, |drive| StoreRequest::Verify { drive, shard }, Bytes::new()).await)
    }

    /// Has a drive drop a bad shard.
    pub(crate) async fn condemn_shard(&self, slot: Slot, shard: ShardId) -> Result<(), Fault> {
        done(self.ask(slot, |drive| StoreRequest::Condemn { drive, shard }, Bytes::new()).await)
    }

    /// Has a drive forget shards.
    pub(crate) async fn delete_shards(&self, slot: Slot, shards: Vec<ShardId>) -> Result<(), Fault> {
        done(self.ask(slot, |drive| StoreRequest::Delete { drive, shards }, Bytes::new()).await)
    }

    /// A drive's shards after one, in order; fewer than `limit`: that was all.
    pub(crate) async fn list_shards(
        &self,
        slot: Slot,
        after: Option<ShardId>,
        limit: u16,
    ) -> Result<Vec<ShardId>, Fault> {
        match self.ask(slot, |drive| StoreRequest::List { drive, after, limit }, Bytes::new()).await {
            (StoreResponse::Shards(shards), _) => Ok(shards),
            (StoreResponse::Failed(fault), _) => Err(fault),
            _ => Err(Fault::Malformed),
        }
    }

    async fn ask(
        &self,
        slot: Slot,
        request: impl FnOnce(pangea_core::id::DriveId) -> StoreRequest,
        body: Bytes,
    ) -> (StoreResponse, Bytes) {
        let inner = &self.inner;
        let Some((node, drive)) = inner.layouts.drive(slot) else {
            return (StoreResponse::Failed(Fault::NoSuchDrive), Bytes::new());
        };
        let patience_ms = inner.options.drive_timeout_ms;
        let deadline = inner.parts.clock.mono_us() + u64::from(patience_ms) * 1000;
        let call = inner.parts.endpoint.call(node, request(drive), body, patience_ms);
        let call = std::pin::pin!(call);
        match select(call, inner.parts.runtime.sleep_until(deadline)).await {
            Either::Left((Ok(answer), _)) => answer,
            Either::Left((Err(_), _)) | Either::Right(_) => {
                (StoreResponse::Failed(Fault::Unreachable), Bytes::new())
            }
        }
    }
}

fn done(answer: (StoreResponse, Bytes)) -> Result<(), Fault> {
    match answer.0 {
        StoreResponse::Done => Ok(()),
        StoreResponse::Failed(fault) => Err(fault),
        StoreResponse::Data | StoreResponse::Header(_) | StoreResponse::Shards(_) => Err(Fault::Malformed),
    }
}
