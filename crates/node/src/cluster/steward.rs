//! The steward: the one member that does what only one may do, where the metadata lies in a database.
//!
//! It is whoever holds a lease in the metadata. The holder prolongs it long before it runs out, and gives up its turn by its
//! own clock, counted from before it asked, while the lease still runs: nobody else has the turn then. Others take a lease
//! over that ran out; they must have watched it unchanged for as long as it lasts, so that a clock that is ahead takes nothing
//! away. What the one before knew and did not finish is in the metadata, except which drives may lack shards unnoticed:
//! whoever takes over from a steward that did not let go looks for that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use pangea_core::id::{LeaseId, NodeId, RequestId};
use pangea_core::meta::{Command, LeaseRow, Outcome, Refusal, Request};
use pangea_core::seam::{Clock as _, random};
use pangea_meta::MetaError;
use tokio::sync::watch::{Receiver, Sender};
use tokio::time::Instant;

use super::Cluster;
use crate::entropy::SystemEntropy;
use crate::node::Node;

/// The lease's name.
const LEASE: &str = "steward";
/// How long a lease lasts unless it is prolonged.
const LASTS: Duration = Duration::from_secs(15);
/// So long before that its holder's turn is over: its work has stopped when the lease runs out.
const MARGIN: Duration = Duration::from_secs(3);
/// Between two looks, and two prolongings.
const EVERY: Duration = Duration::from_secs(5);

/// What is known of the lease.
pub(super) struct Stewardship {
    state: Mutex<State>,
    turn: Sender<bool>,
}

#[derive(Default)]
struct State {
    /// Until when it is this node's turn.
    until: Option<Instant>,
    /// Whose it was at the last look.
    known: Option<NodeId>,
    /// The lease of somebody else as it was first seen like this, and when.
    watched: Option<(LeaseRow, Instant)>,
    /// The node is stopping.
    leaving: bool,
}

impl Default for Stewardship {
    fn default() -> Self {
        Self { state: Mutex::default(), turn: Sender::new(false) }
    }
}

impl Stewardship {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is this node's turn.
    pub(super) fn is_ours(&self) -> bool {
        self.lock().until.is_some_and(|until| Instant::now() < until)
    }

    /// Whose turn it was at the last look.
    pub(super) fn known(&self) -> Option<NodeId> {
        self.lock().known
    }

    /// Says when it becomes this node's turn, and when that ends.
    pub(super) fn turns(&self) -> Receiver<bool> {
        self.turn.subscribe()
    }

    fn begin(&self, until: Instant, me: NodeId) {
        {
            let mut state = self.lock();
            if state.leaving {
                return;
            }
            (state.until, state.known, state.watched) = (Some(until), Some(me), None);
        }
        self.turn.send_replace(true);
    }

    fn end(&self) {
        self.lock().until = None;
        self.turn.send_replace(false);
    }

    /// Notes somebody else's lease; says whether it was seen unchanged for as long as a lease lasts.
    fn watch(&self, lease: LeaseRow, holder: Option<NodeId>, now: Instant) -> bool {
        let mut state = self.lock();
        state.known = holder;
        let since = match &state.watched {
            Some((seen, since)) if *seen == lease => *since,
            _ => now,
        };
        state.watched = Some((lease, since));
        now >= since + LASTS
    }
}

/// A node as the holder of a lease.
fn holder(node: NodeId) -> LeaseId {
    let mut id = [0; 16];
    id.copy_from_slice(&node.0[..16]);
    LeaseId(id)
}

/// Takes part until the node is gone.
pub(crate) async fn hold(node: Weak<Node>) {
    loop {
        let began = Instant::now();
        {
            let Some(node) = node.upgrade() else { return };
            let Some(cluster) = node.in_cluster.clone() else { return };
            if let Err(error) = round(&node, &cluster).await {
                tracing::debug!(%error, "the steward's lease could not be looked at");
            }
            // Others may not reach this node and change the layout all the same.
            with_turn(&cluster, node.reread_members()).await;
            with_turn(&cluster, node.reread_layouts()).await;
            in_turn(&cluster);
        }
        tokio::time::sleep_until(began + EVERY).await;
    }
}

/// Ends a turn that is over.
fn in_turn(cluster: &Cluster) {
    let stewardship = &cluster.stewardship;
    if *stewardship.turn.borrow() && !stewardship.is_ours() {
        stewardship.end();
        tracing::warn!("the steward's lease could not be prolonged: another node may do the shared work now");
    }
}

/// Looks at the lease once; prolongs it or takes it, if that may be.
async fn round(node: &Arc<Node>, cluster: &Cluster) -> Result<(), MetaError> {
    let stewardship = &cluster.stewardship;
    let looked = with_turn(cluster, node.client.meta().lease(LEASE)).await?;
    let me = holder(cluster.me());
    let is_left = looked.is_some();
    if let Some(lease) = looked.filter(|lease| lease.holder != me) {
        let members = cluster.members();
        let whose = members.all().iter().map(|member| member.node).find(|n| holder(*n) == lease.holder);
        if *stewardship.turn.borrow() {
            stewardship.end();
        }
        let over = lease.expires_ms <= node.clock.wall_ms();
        if !stewardship.watch(lease, whose, Instant::now()) || !over {
            return Ok(());
        }
    }
    if stewardship.lock().leaving || !cluster.is_member() || !cluster.hears_most() {
        // Who was taken out of the cluster, or is cut off from it, lets its turn run out.
        return Ok(());
    }
    let asked = Instant::now();
    let duration_ms = u64::try_from(LASTS.as_millis()).unwrap_or(u64::MAX);
    let command = Command::AcquireLease { name: LEASE.to_owned(), holder: me, duration_ms };
    let id = RequestId(random(&SystemEntropy));
    let request = Request { id, now_ms: node.clock.wall_ms(), command };
    match with_turn(cluster, node.client.meta().apply(request)).await? {
        Outcome::Leased(_) => {
            let new = !*stewardship.turn.borrow();
            stewardship.begin(asked + LASTS - MARGIN, cluster.me());
            if new {
                tracing::info!("this node is the steward now: it does the work that only one node may do");
            }
            // The one before did not let go of it: nobody knows what it had not looked at.
            if new && is_left {
                node.wake_for_census();
            }
        }
        Outcome::Refused(Refusal::LeaseHeld(_)) => {} // somebody else was faster
        other => tracing::warn!(?other, "an answer about the steward's lease that does not fit"),
    }
    Ok(())
}

/// Waits for an answer; if this node's turn is over before it comes, that is said at once.
async fn with_turn<T>(cluster: &Cluster, answer: impl Future<Output = T>) -> T {
    let mut answer = std::pin::pin!(answer);
    let until = cluster.stewardship.lock().until;
    if let Some(until) = until {
        match tokio::time::timeout_at(until, &mut answer).await {
            Ok(answer) => return answer,
            Err(_) => in_turn(cluster),
        }
    }
    answer.await
}

/// Gives the lease back, so that another node need not wait for its end. Only once nothing is done under it any more.
pub(crate) async fn let_go(node: &Node) {
    let Some(cluster) = node.in_cluster.as_ref().filter(|cluster| cluster.is_in_database()) else { return };
    let was_ours = cluster.stewardship.is_ours();
    cluster.stewardship.lock().leaving = true;
    cluster.stewardship.end();
    // What only this node remembers, another one looks for when the lease runs out.
    if !was_ours || node.reshaper.take_census() {
        return;
    }
    let command = Command::ReleaseLease { name: LEASE.to_owned(), holder: holder(cluster.me()) };
    match tokio::time::timeout(EVERY, node.client.command(command)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "the steward's lease was not given back: it runs out by itself")
        }
        Err(_) => tracing::warn!("the steward's lease was not given back in time: it runs out by itself"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(token: u64, expires_ms: u64) -> LeaseRow {
        LeaseRow { holder: LeaseId([9; 16]), token, expires_ms }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_taken_over_only_after_it_was_seen_unchanged_for_as_long_as_it_lasts() {
        let stewardship = Stewardship::default();
        let other = Some(NodeId([9; 32]));
        let second = Duration::from_secs(1);
        // Prolonged all the time, whatever its expiry says on this node's clock: never.
        for n in 0..60 {
            assert!(!stewardship.watch(lease(1, n), other, Instant::now()), "{n}");
            tokio::time::advance(second).await;
        }
        for n in 0..15 {
            assert!(!stewardship.watch(lease(1, 99), other, Instant::now()), "{n}");
            tokio::time::advance(second).await;
        }
        assert!(stewardship.watch(lease(1, 99), other, Instant::now()));
        assert!(!stewardship.watch(lease(2, 99), other, Instant::now()), "somebody was faster");
        assert_eq!(stewardship.known(), other);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_ends_before_its_lease_does_and_never_begins_again_in_a_node_that_stops() {
        let (stewardship, me) = (Stewardship::default(), NodeId([1; 32]));
        let turns = stewardship.turns();
        assert!(!stewardship.is_ours() && !*turns.borrow());
        stewardship.begin(Instant::now() + LASTS - MARGIN, me);
        assert!(stewardship.is_ours() && *turns.borrow());
        tokio::time::advance(LASTS - MARGIN).await;
        assert!(!stewardship.is_ours(), "whatever was heard meanwhile");
        stewardship.end();
        stewardship.lock().leaving = true;
        stewardship.begin(Instant::now() + LASTS, me);
        assert!(!stewardship.is_ours() && !*turns.borrow());
    }
}
