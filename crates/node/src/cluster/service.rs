//! What this node answers other nodes: for its drives, for the metadata if it keeps it, and for itself.

use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use pangea_core::cluster::{NodeAnswer, NodeQuestion};
use pangea_core::id::NodeId;
use pangea_core::wire::{StoreRequest, StoreResponse};
use pangea_meta::Meta;
use pangea_meta::remote::answer;
use pangea_transport::Handler;
use pangea_transport::port::BoxFuture;

use super::{SERVICE_META, SERVICE_NODE};
use crate::handler::Drives;
use crate::node::Node;

/// See the module.
pub(crate) struct Services {
    drives: Drives,
    /// The metadata, once it is open, if it is kept here.
    pub(crate) meta: OnceLock<Arc<dyn Meta>>,
    /// The node, once it runs.
    pub(crate) node: OnceLock<Weak<Node>>,
}

impl Services {
    /// Answers for the drives; for the rest once that is there.
    pub(crate) fn new(drives: Drives) -> Self {
        Self { drives, meta: OnceLock::new(), node: OnceLock::new() }
    }

    async fn ask_node(&self, question: &[u8]) -> Option<Bytes> {
        let node = self.node.get()?.upgrade()?;
        let told = match NodeQuestion::decode(question) {
            Ok(question) => node.answer(question).await,
            Err(error) => NodeAnswer::Failed(format!("{error}: is its version older?")),
        };
        Some(told.encode().into())
    }
}

impl Handler for Services {
    fn handle(
        &self,
        peer: NodeId,
        request: StoreRequest,
        body: Bytes,
    ) -> BoxFuture<'_, (StoreResponse, Bytes)> {
        self.drives.handle(peer, request, body)
    }

    fn serve(&self, _: NodeId, service: u8, question: Bytes) -> BoxFuture<'_, Option<Bytes>> {
        Box::pin(async move {
            match service {
                SERVICE_META => Some(answer(&**self.meta.get()?, &question).await.into()),
                SERVICE_NODE => self.ask_node(&question).await,
                _ => None,
            }
        })
    }
}
