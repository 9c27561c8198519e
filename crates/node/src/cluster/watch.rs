//! Pulses: every member asks every other one how it is, and follows what it hears: a newer layout, a newer list of members,
//! a node that came or went.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use pangea_core::cluster::{DrivePulse, NodeAnswer, NodeQuestion, Pulse};

use super::Cluster;
use super::joining::read_members;
use crate::control::DriveStatus;
use crate::node::Node;
use crate::roster::Mounted;
use crate::status::of_mounted;

/// How long a drive may take to say how it is: much less than the asker waits for its node.
const DRIVE_PATIENCE: Duration = Duration::from_millis(500);
/// How long reading what changed may take within a round.
const REREAD_PATIENCE: Duration = Duration::from_secs(1);

/// Asks until the node is gone.
pub(crate) async fn watch(node: Weak<Node>) {
    loop {
        let pause = {
            let Some(node) = node.upgrade() else { return };
            let Some(cluster) = node.in_cluster.clone() else { return };
            round(&node, &cluster).await;
            cluster.pulse_pause()
        };
        tokio::time::sleep(pause).await;
    }
}

/// Asks everyone once.
pub(crate) async fn round(node: &Arc<Node>, cluster: &Arc<Cluster>) {
    let (mut epoch, mut revision, mut came) = (0, 0, false);
    let others = cluster.others().into_iter();
    let ask = |peer| async move { (peer, cluster.ask(peer, &NodeQuestion::Pulse).await) };
    let mut answers: FuturesUnordered<_> = others.map(ask).collect();
    // Each counts from when it comes: one that hangs makes no other old.
    while let Some((peer, answer)) = answers.next().await {
        match answer {
            Ok(NodeAnswer::Pulse(pulse)) => {
                epoch = epoch.max(pulse.layout_epoch);
                revision = revision.max(pulse.members_revision);
                if cluster.heard(peer, pulse) {
                    tracing::info!(node = %peer, "the node answers");
                    came = true;
                }
            }
            Ok(other) => tracing::warn!(node = %peer, ?other, "a node does not say how it is"),
            Err(why) => {
                if cluster.missed(peer) {
                    tracing::warn!(node = %peer, why, "the node does not answer any more");
                }
            }
        }
    }
    // Slow metadata must not make everybody's pulses old.
    if revision > cluster.members_revision() {
        let _ = tokio::time::timeout(REREAD_PATIENCE, node.reread_members()).await;
    }
    // Layouts are retired without a newer one.
    if epoch > node.client.layout().epoch || !node.client.older_layouts().is_empty() {
        let _ = tokio::time::timeout(REREAD_PATIENCE, node.reread_layouts()).await;
    }
    if came {
        node.wake_for_return();
    }
    node.tell_what_is_lacking().await;
}

impl Node {
    /// Answers a question of another member.
    pub(crate) async fn answer(&self, question: NodeQuestion) -> NodeAnswer {
        match question {
            NodeQuestion::Pulse => NodeAnswer::Pulse(self.pulse().await),
            NodeQuestion::InFlight => self.tell_in_flight(),
            NodeQuestion::ForgetKeys => {
                self.access_keys.forget();
                NodeAnswer::Done
            }
            NodeQuestion::Reread => {
                self.reread_members().await;
                self.reread_layouts().await;
                NodeAnswer::Pulse(self.pulse().await)
            }
            NodeQuestion::Census => {
                self.wake_for_census();
                NodeAnswer::Done
            }
        }
    }

    async fn pulse(&self) -> Pulse {
        let mounted = self.roster.mounted();
        let drives = futures_util::future::join_all(mounted.iter().map(|drive| drive_pulse(drive))).await;
        Pulse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            endpoint: format!("http://{}", self.options.listen),
            ready: self.ready.load(Ordering::Acquire),
            layout_epoch: self.client.layout().epoch,
            members_revision: self.in_cluster.as_ref().map_or(0, |cluster| cluster.members_revision()),
            ring_sequence: self.vault.ring().await.sequence,
            drives,
        }
    }

    fn tell_in_flight(&self) -> NodeAnswer {
        // A commit that an earlier process sent may still be on its way.
        if self.uptime() < FRESH {
            return NodeAnswer::Failed("the node was started just now".into());
        }
        let (written, all) = self.client.in_flight();
        if all.len() > pangea_core::cluster::FLIGHT_MAX {
            return NodeAnswer::Failed("there is too much in flight to tell".into());
        }
        NodeAnswer::InFlight { written, all }
    }

    /// Reads the members again, if they changed.
    pub(crate) async fn reread_members(&self) {
        let Some(cluster) = &self.in_cluster else { return };
        match read_members(&self.client).await {
            Ok((revision, members)) => {
                if cluster.set_members(revision, members) {
                    self.keep_card().await;
                }
            }
            Err(error) => tracing::warn!(%error, "the members could not be read"),
        }
    }

    /// Reads the layouts again.
    pub(crate) async fn reread_layouts(&self) {
        let before = self.client.layout().epoch;
        match self.client.refresh_layouts().await {
            Ok(()) if self.client.layout().epoch > before => self.wake_for_layout(),
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "the layouts could not be read"),
        }
    }

    /// Writes the node's card to all its drives.
    pub(crate) async fn keep_card(&self) {
        let Some(cluster) = self.in_cluster.clone() else { return };
        let drives: Vec<_> = self.roster.mounted().iter().map(|drive| drive.path.clone()).collect();
        let ring = self.vault.ring().await;
        let written = tokio::task::spawn_blocking(move || cluster.write_card(&drives, &ring)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the file that says which node this is was not kept"),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// Until a node has run for so long, it does not say what it has in flight.
const FRESH: Duration = Duration::from_secs(60);

/// A drive that takes long to answer must not make its whole node late.
async fn drive_pulse(drive: &Mounted) -> DrivePulse {
    let late = || DriveStatus { state: "ok".to_owned(), ..DriveStatus::default() };
    let mut status = tokio::time::timeout(DRIVE_PATIENCE, of_mounted(drive)).await.unwrap_or_else(|_| late());
    if drive.is_silent.load(Ordering::Relaxed) {
        (status.state, status.reason) = ("silent".to_owned(), drive.trouble());
    }
    DrivePulse {
        drive: drive.drive,
        takes_part: drive.takes_part.load(Ordering::Relaxed),
        state: status.state,
        reason: status.reason,
        capacity_bytes: status.capacity_bytes,
        available_bytes: status.available_bytes,
        live_bytes: status.live_bytes,
        garbage_bytes: status.garbage_bytes,
        shards: status.shards,
        errors: status.errors,
    }
}
