//! The way to the metadata: a question goes to the node that keeps it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pangea_meta::remote::{Lost, Way};

use super::{Cluster, SERVICE_META};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE_MS: u32 = 30_000;

/// See the module.
pub(crate) struct KeeperWay {
    cluster: Arc<Cluster>,
}

impl KeeperWay {
    /// To whoever the members say keeps the metadata.
    pub(crate) fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster }
    }

    async fn carry(&self, question: Bytes) -> Result<Bytes, Lost> {
        let not_sent = |why: String| Lost { sent: false, why };
        let Some(keeper) = self.cluster.keeper() else {
            return Err(not_sent("no node is known to keep the metadata".into()));
        };
        // What was never sent was never carried out: then nobody has to find out.
        if self.cluster.is_cut_off_from(keeper) {
            return Err(not_sent(format!("node {keeper}, which keeps the metadata, cannot be reached")));
        }
        let lost = |why: String| Lost { sent: true, why };
        let asked = self.cluster.endpoint.ask(keeper, SERVICE_META, question, PATIENCE_MS);
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(Some(answer))) => Ok(answer),
            Ok(Ok(None)) => {
                Err(not_sent(format!("node {keeper} does not keep the metadata now: is it starting?")))
            }
            Ok(Err(error)) => Err(lost(error.to_string())),
            Err(_) => Err(lost(format!("node {keeper} did not answer in {} s", PATIENCE.as_secs()))),
        }
    }
}

impl Way for KeeperWay {
    fn ask(&self, question: Bytes) -> Pin<Box<dyn Future<Output = Result<Bytes, Lost>> + Send + '_>> {
        Box::pin(self.carry(question))
    }
}
