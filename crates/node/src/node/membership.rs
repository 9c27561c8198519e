//! The node among others: its entry in the list of members, tokens for newcomers, nodes that leave, and what it wakes when
//! others tell it something.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pangea_core::cluster::{Member, MemberError, NodeAnswer, NodeQuestion};
use pangea_core::id::NodeId;
use pangea_core::layout::{LayoutDrive, Role};
use pangea_core::seam::Clock as _;

use super::Node;
use crate::cluster::{Cluster, Door, change_members, forget_tokens, hold, make_token, round, watch};
use crate::control::{ControlError, MadeToken, TokenWish};
use crate::error::StartError;

/// The longest life of a token for joining: 30 days.
const TOKEN_HOURS_MAX: u32 = 720;
/// Characters of a node's id that are enough to name it.
const NAME_CHARS_MIN: usize = 4;

impl Node {
    /// Takes its place among the other nodes: its entry in the list of members, and answers from now on.
    pub(crate) async fn meet(self: &Arc<Self>) -> Result<(), StartError> {
        let Some(cluster) = &self.in_cluster else { return Ok(()) };
        let (me, is_keeper) = (cluster.me(), cluster.is_keeper());
        let changed = change_members(&self.client, |members| {
            if is_keeper {
                members.keeper = Some(me);
            } else if members.keeper.is_none() && members.all().is_empty() {
                // The first of a cluster whose metadata lies in a database.
            } else if members.get(me).is_none() {
                return Err(MemberError::Unknown(me));
            }
            members.put(cluster.member.clone())
        });
        let (revision, members) =
            changed.await.map_err(|error| StartError::Cluster { why: error.to_string() })?;
        cluster.set_members(revision, members);
        self.keep_card().await;
        // Both are set once: there is one start.
        let _ = self.services.node.set(Arc::downgrade(self));
        cluster.tcp().set_join_door(Arc::new(Door::new(Arc::downgrade(self))));
        // What is said of the cluster from now on is what it is.
        round(self, cluster).await;
        tokio::spawn(watch(Arc::downgrade(self)));
        if cluster.is_in_database() {
            tokio::spawn(hold(Arc::downgrade(self)));
        }
        Ok(())
    }

    /// How long it has been running.
    pub(crate) fn uptime(&self) -> Duration {
        Duration::from_micros(self.clock.mono_us().saturating_sub(self.started_us))
    }

    /// Another node answers again: stripes that waited for its drives may be completed.
    pub(crate) fn wake_for_return(&self) {
        self.completion.request();
        self.rebalance.request();
    }

    /// The layout changed: there may be data to move.
    pub(crate) fn wake_for_layout(&self) {
        self.rebalance.request();
    }

    /// Somebody's drives may lack shards.
    pub(crate) fn wake_for_census(&self) {
        self.reshaper.ask_for_census();
        self.rebalance.request();
    }

    /// Tells whoever mends that this node's drives may lack shards, until that was heard.
    pub(crate) async fn tell_what_is_lacking(&self) {
        let Some(cluster) = &self.in_cluster else { return };
        if cluster.is_steward() {
            if self.lacking.swap(false, Ordering::AcqRel) {
                self.wake_for_census();
            }
            return;
        }
        let came_back = self.reshaper.take_census();
        if !self.lacking.swap(false, Ordering::AcqRel) && !came_back {
            return;
        }
        let told = match cluster.steward().filter(|steward| *steward != cluster.me()) {
            Some(steward) => {
                matches!(cluster.ask(steward, &NodeQuestion::Census).await, Ok(NodeAnswer::Done))
            }
            None => false,
        };
        if !told {
            self.lacking.store(true, Ordering::Release);
        }
    }

    pub(super) async fn make_token(&self, wish: TokenWish) -> Result<MadeToken, ControlError> {
        let Some(cluster) = &self.in_cluster else {
            return Err(refused(
                "this server is on its own: start it with --node-listen HOST:PORT, where other nodes reach it",
            ));
        };
        if wish.hours == 0 || wish.hours > TOKEN_HOURS_MAX {
            return Err(refused(format!("a token lasts 1 to {TOKEN_HOURS_MAX} hours")));
        }
        let lasts = Duration::from_secs(u64::from(wish.hours) * 3600);
        let expires_ms = self.clock.wall_ms() + u64::from(wish.hours) * 3_600_000;
        let token = make_token(self, &cluster.member, lasts).await;
        let token = token.map_err(|error| ControlError::Failed { why: error.to_string() })?;
        Ok(MadeToken { token: token.text(), expires_ms })
    }

    pub(super) async fn remove(&self, named: String) -> Result<(), ControlError> {
        let Some(cluster) = &self.in_cluster else { return Err(refused("this server is on its own")) };
        let node = find(cluster, &named)?;
        let layout = self.client.layout();
        let holds = |drive: &&LayoutDrive| drive.node == node && drive.role != Role::Gone;
        let left: Vec<String> =
            layout.drives.iter().filter(holds).map(|drive| drive.slot.0.to_string()).collect();
        if !left.is_empty() {
            let slots = left.join(", ");
            return Err(refused(format!(
                "its drives are in the layout, slots {slots}: `pangea drive drain SLOT` first"
            )));
        }
        let changed = change_members(&self.client, |members| members.remove(node)).await;
        let (revision, members) = changed.map_err(|error| refused(error.to_string()))?;
        cluster.set_members(revision, members);
        self.keep_card().await;
        cluster.ask_all(&NodeQuestion::Reread).await;
        // It knows the tokens that there are.
        let forgotten = forget_tokens(&self.client).await;
        forgotten.map_err(|error| ControlError::Failed { why: error.to_string() })?;
        tracing::warn!(%node, "the node was taken out of the cluster");
        Ok(())
    }

    pub(super) fn cut(&self, nodes: &[String]) -> Result<(), ControlError> {
        let Some(cluster) = &self.in_cluster else { return Err(refused("this server is on its own")) };
        let cut: Vec<NodeId> = nodes.iter().map(|named| find(cluster, named)).collect::<Result<_, _>>()?;
        tracing::warn!(nodes = ?cut, "cut off from these nodes, because an operator wished it");
        cluster.cut_off(cut);
        Ok(())
    }

    /// What the other nodes of a cluster would have to hear of, and cannot yet.
    pub(super) fn refuse_in_cluster(&self, what: &str) -> Result<(), ControlError> {
        let others = self.in_cluster.as_ref().map_or(0, |cluster| cluster.others().len());
        if others == 0 {
            return Ok(());
        }
        Err(refused(format!("{what} is not there yet in a cluster of several nodes")))
    }

    /// Only the steward can do this.
    pub(super) fn refuse_elsewhere(&self, what: &str) -> Result<(), ControlError> {
        let Some(cluster) = self.in_cluster.as_ref().filter(|cluster| !cluster.is_steward()) else {
            return Ok(());
        };
        let why = "which does what only one node may do";
        Err(refused(match cluster.steward().filter(|steward| *steward != cluster.me()) {
            Some(steward) => format!("ask node {steward}, {why}, for {what}"),
            None => format!("no node is the steward now, {why}: ask again for {what} in a few seconds"),
        }))
    }

    /// A database is backed up with its own tools.
    pub(super) fn refuse_in_database(&self) -> Result<(), ControlError> {
        if self.options.meta.is_none() {
            return Ok(());
        }
        Err(refused(
            "the metadata lies in PostgreSQL: back it up with its own tools (pg_basebackup with the log archived, or pg_dump)",
        ))
    }
}

/// The member that an operator means: by the start of its id, or by an address.
fn find(cluster: &Cluster, named: &str) -> Result<NodeId, ControlError> {
    let members = cluster.members();
    let fits = |member: &&Member| {
        let key: String = member.node.0.iter().map(|byte| format!("{byte:02x}")).collect();
        (named.len() >= NAME_CHARS_MIN && key.starts_with(named))
            || member.addresses.iter().any(|address| address == named)
    };
    let mut found = members.all().iter().filter(fits);
    let only = found.next().filter(|_| found.next().is_none()).map(|member| member.node);
    only.ok_or_else(|| refused(format!("there is no one node `{named}`: see `pangea node list`")))
}

fn refused(why: impl ToString) -> ControlError {
    ControlError::Refused { why: why.to_string() }
}
