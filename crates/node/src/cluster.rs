//! The cluster, as this node sees it: who its members are, which of them answer, and what they said of themselves last.
//!
//! Owns the transport between nodes. One member, the *steward*, does the work that only one may do (mending, moving, freeing,
//! repair policy): whoever keeps the metadata, or, where that lies in a database, whoever has the lease. Every member serves
//! S3 and looks after its own drives.
//!
//! | room | owns |
//! |---|---|
//! | `card` | the sealed file by which a node knows itself and its cluster again |
//! | `joining` | tokens, and both ends of a newcomer's question |
//! | `stand` | where a node belongs, at its start |
//! | `service` | what other nodes are answered |
//! | `way` | questions about metadata, to the node that keeps it |
//! | `steward` | the lease by which one member does the work that only one may do |
//! | `watch` | pulses: how every member is, every second |

mod card;
mod joining;
mod service;
mod stand;
mod steward;
mod watch;
mod way;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pangea_client::{Gateways, InFlightElsewhere};
use pangea_core::cluster::{DrivePulse, Member, Members, NodeAnswer, NodeQuestion, Pulse};
use pangea_core::id::{DriveId, NodeId};
use pangea_core::keys::derive;
use pangea_core::layout::Domain;
use pangea_net::{LinkFigures, NodeIdentity, Peer, Tcp, TcpConfig};
use pangea_transport::port::BoxFuture;
use pangea_transport::{Endpoint, Transport};
use tokio::sync::watch::Receiver;

use crate::error::StartError;
use crate::keyfile::Ring;

pub(crate) use card::{Card, CardError};
pub use joining::JoinError;
pub(crate) use joining::{Door, change_members, forget_tokens, join, make_token};
pub(crate) use service::Services;
pub(crate) use stand::{Stood, stand};
pub(crate) use steward::{hold, let_go};
pub(crate) use watch::{round, watch};
pub(crate) use way::KeeperWay;

use steward::Stewardship;

/// The service that answers for metadata.
pub(crate) const SERVICE_META: u8 = 1;
/// The service that answers for the node itself.
pub(crate) const SERVICE_NODE: u8 = 2;
/// The setting that holds the members.
pub(crate) const MEMBERS_SETTING: &str = "cluster/members";
const PURPOSE_SECRET: &str = "pangea 2026-11 v1 cluster secret";
/// How long a member may take to answer for itself.
const ASK_PATIENCE: Duration = Duration::from_secs(3);
/// Between two pulses of a member in a small cluster.
const PULSE_EVERY: Duration = Duration::from_secs(1);
/// Members above which they are more rare, so that their number a second stays what it was.
const OFTEN_UP_TO: u32 = 16;

/// After a start others are waited for so long before they count as away.
const AWAITED: Duration = Duration::from_secs(60);
/// A gateway that was not heard of for so long reads nothing any more: its streams need the shards of nodes that do not hear
/// of it either, or have run into their deadlines.
const READS_OVER_AFTER: Duration = Duration::from_secs(60);

/// A member, as it was last heard of.
struct Seen {
    pulse: Pulse,
    at: Instant,
    /// Whether its last pulse was answered.
    answers: bool,
}

/// Which member this node is, and how it listens.
pub(crate) struct Standing {
    pub(crate) card: Card,
    pub(crate) identity: NodeIdentity,
    /// What other nodes are told of it.
    pub(crate) member: Member,
}

/// See the module.
pub(crate) struct Cluster {
    me: NodeId,
    tcp: Arc<Tcp>,
    pub(crate) endpoint: Arc<Endpoint>,
    /// With the revision of the setting that they were read from.
    members: RwLock<(u64, Members)>,
    seen: RwLock<BTreeMap<NodeId, Seen>>,
    card: Mutex<Card>,
    pub(crate) member: Member,
    opened: Instant,
    /// Members that an operator cut off, to see what happens.
    cut: Mutex<Vec<NodeId>>,
    stewardship: Stewardship,
}

impl Standing {
    /// Who the card says that this node is. `labels` and `addresses` are what it tells of itself from now on.
    pub(crate) fn new(
        card: Card,
        addresses: Vec<String>,
        labels: &Domain,
        now_ms: u64,
    ) -> Result<Self, StartError> {
        let identity = NodeIdentity::from_seed(*card.seed).map_err(StartError::Net)?;
        let node = identity.node_id();
        let member = Member { node, addresses, domain: domain_of(labels, node), joined_ms: now_ms };
        Ok(Self { card, identity, member })
    }
}

/// Where a node's drives stand: as it was told; without a host's name each node is a host.
pub(crate) fn domain_of(labels: &Domain, node: NodeId) -> Domain {
    let mut domain = labels.clone();
    if domain.host.is_empty() {
        domain.host = node.to_string();
    }
    domain
}

/// The value that all members know and nobody else.
pub(crate) fn secret_of(ring: &Ring) -> [u8; 32] {
    let first = ring.generations().first().expect("a ring is never empty");
    *derive(PURPOSE_SECRET, &first.key).expose()
}

impl Cluster {
    /// Opens the port for other nodes. Must run inside tokio.
    pub(crate) fn open(standing: Standing, ring: &Ring) -> Result<Arc<Self>, StartError> {
        let Standing { card, identity, member } = standing;
        let me = member.node;
        let config = TcpConfig::new(identity, ring.cluster, secret_of(ring), card.listen);
        let tcp = Tcp::start(config).map_err(StartError::Net)?;
        let endpoint = Endpoint::new(tcp.clone() as Arc<dyn Transport>);
        let mut members = card.members.clone();
        // Its own entry may be of another address.
        members.put(member.clone()).map_err(|error| StartError::Cluster { why: error.to_string() })?;
        let cluster = Self {
            me,
            tcp,
            endpoint,
            members: RwLock::new((0, members)),
            seen: RwLock::default(),
            card: Mutex::new(card),
            member,
            opened: Instant::now(),
            cut: Mutex::default(),
            stewardship: Stewardship::default(),
        };
        cluster.list_peers();
        Ok(Arc::new(cluster))
    }

    fn list_peers(&self) {
        let members = self.members();
        let cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let there = members.all().iter().filter(|member| !cut.contains(&member.node));
        let peers = there.map(|m| Peer { node: m.node, addresses: m.addresses.clone() });
        self.tcp.set_peers(peers.collect());
    }

    /// Neither hears nor reaches these members from now on.
    pub(crate) fn cut_off(&self, nodes: Vec<NodeId>) {
        *self.cut.lock().unwrap_or_else(PoisonError::into_inner) = nodes;
        self.list_peers();
    }

    /// This node.
    pub(crate) fn me(&self) -> NodeId {
        self.me
    }

    /// The transport.
    pub(crate) fn tcp(&self) -> &Arc<Tcp> {
        &self.tcp
    }

    /// Who belongs to it.
    pub(crate) fn members(&self) -> Members {
        self.members.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// The revision of the list of members.
    pub(crate) fn members_revision(&self) -> u64 {
        self.members.read().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Takes over a list of members that was read from the metadata; gives whether it is news.
    pub(crate) fn set_members(&self, revision: u64, members: Members) -> bool {
        {
            let mut known = self.members.write().unwrap_or_else(PoisonError::into_inner);
            if revision <= known.0 {
                return false;
            }
            *known = (revision, members);
        }
        self.list_peers();
        let members = self.members();
        self.seen().retain(|node, _| members.get(*node).is_some());
        true
    }

    /// Writes the card with the members that are known now.
    pub(crate) fn write_card(&self, drives: &[PathBuf], ring: &Ring) -> Result<(), CardError> {
        let mut card = self.card.lock().unwrap_or_else(PoisonError::into_inner);
        card.members = self.members();
        card.sequence += 1;
        card.write(drives, ring)
    }

    /// The node that keeps the metadata.
    pub(crate) fn keeper(&self) -> Option<NodeId> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).1.keeper
    }

    /// Whether this node keeps the metadata, and does what only one may do.
    pub(crate) fn is_keeper(&self) -> bool {
        self.keeper() == Some(self.me)
    }

    /// Whether the metadata lies in a database, which all members open.
    pub(crate) fn is_in_database(&self) -> bool {
        self.keeper().is_none()
    }

    /// The member that does what only one may do, as far as is known.
    pub(crate) fn steward(&self) -> Option<NodeId> {
        self.keeper().or_else(|| self.stewardship.known())
    }

    /// Whether this node does what only one may do.
    pub(crate) fn is_steward(&self) -> bool {
        if self.is_in_database() { self.stewardship.is_ours() } else { self.is_keeper() }
    }

    /// Says when this node's turn begins and ends; `None`: it never does.
    pub(crate) fn turns(&self) -> Option<Receiver<bool>> {
        self.is_in_database().then(|| self.stewardship.turns())
    }

    /// The other members.
    pub(crate) fn others(&self) -> Vec<NodeId> {
        self.members().all().iter().map(|member| member.node).filter(|node| *node != self.me).collect()
    }

    /// The links to other nodes.
    pub(crate) fn links(&self) -> Vec<LinkFigures> {
        self.tcp.links()
    }

    /// Whether the way to a node is known to be broken now.
    pub(crate) fn is_cut_off_from(&self, node: NodeId) -> bool {
        let link = self.tcp.links().into_iter().find(|link| link.node == node);
        link.is_some_and(|link| !link.connected && link.last_error.is_some())
    }

    fn seen(&self) -> RwLockWriteGuard<'_, BTreeMap<NodeId, Seen>> {
        self.seen.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_seen<T>(&self, node: NodeId, of: impl FnOnce(&Seen) -> T) -> Option<T> {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).get(&node).map(of)
    }

    /// How long to wait between two rounds of pulses.
    pub(crate) fn pulse_pause(&self) -> Duration {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner).1.all().len();
        PULSE_EVERY * (u32::try_from(members).unwrap_or(u32::MAX) / OFTEN_UP_TO).max(1)
    }

    /// Whether a node answers; this one does.
    pub(crate) fn is_up(&self, node: NodeId) -> bool {
        // A round takes as long as its slowest answer may, and the next one begins a pause later.
        let age_max = ASK_PATIENCE + 2 * self.pulse_pause();
        let up = |seen: &Seen| seen.answers && seen.at.elapsed() < age_max;
        node == self.me || self.read_seen(node, up).unwrap_or(false)
    }

    /// Whether a node was never heard of, and this one has not been there long enough to wonder: all may have been started
    /// at once.
    pub(crate) fn is_awaited(&self, node: NodeId) -> bool {
        node != self.me && self.opened.elapsed() < AWAITED && self.pulse(node).is_none()
    }

    /// Whether this node hears more than half of all members, itself among them; of two, either one is enough.
    pub(crate) fn hears_most(&self) -> bool {
        let members = self.members();
        let heard = members.all().iter().filter(|member| self.is_up(member.node)).count();
        2 * heard > members.all().len() || members.all().len() == 2
    }

    /// Whether it is on the list of members that it knows.
    pub(crate) fn is_member(&self) -> bool {
        let members = self.members();
        members.all().is_empty() || members.get(self.me).is_some()
    }

    /// What a node said of itself last, and how long ago.
    pub(crate) fn pulse(&self, node: NodeId) -> Option<(Pulse, Duration)> {
        self.read_seen(node, |seen| (seen.pulse.clone(), seen.at.elapsed()))
    }

    /// What a node said of one of its drives last.
    pub(crate) fn drive_pulse(&self, node: NodeId, drive: DriveId) -> Option<DrivePulse> {
        self.read_seen(node, |seen| seen.pulse.drives.iter().find(|d| d.drive == drive).cloned()).flatten()
    }

    /// Whether a drive of another node is given new shards.
    pub(crate) fn takes_part(&self, node: NodeId, drive: DriveId) -> bool {
        self.is_up(node) && self.drive_pulse(node, drive).is_some_and(|drive| drive.takes_part)
    }

    /// Keeps what a node said; gives whether it did not answer before.
    fn heard(&self, node: NodeId, pulse: Pulse) -> bool {
        let seen = Seen { pulse, at: Instant::now(), answers: true };
        let before = self.seen().insert(node, seen);
        before.is_none_or(|before| !before.answers)
    }

    /// A node did not answer; gives whether it did before.
    fn missed(&self, node: NodeId) -> bool {
        self.seen().get_mut(&node).is_some_and(|seen| std::mem::take(&mut seen.answers))
    }

    /// Whether all members that answer know a layout, or a newer one. Who does not answer commits nothing and reads nothing: both
    /// need the metadata, and whoever keeps it answers.
    pub(crate) fn all_know(&self, epoch: u32) -> bool {
        let knows = |node: NodeId| self.pulse(node).is_some_and(|(pulse, _)| pulse.layout_epoch >= epoch);
        self.others().into_iter().all(|node| !self.is_up(node) || knows(node))
    }

    /// Whether a node was not heard of for so long that what it read is over.
    fn is_long_gone(&self, node: NodeId) -> bool {
        let age = self.pulse(node).map_or(self.opened.elapsed(), |(_, age)| age);
        age > READS_OVER_AFTER
    }

    /// Asks a member something about itself.
    pub(crate) async fn ask(&self, node: NodeId, question: &NodeQuestion) -> Result<NodeAnswer, String> {
        let patience_ms = u32::try_from(ASK_PATIENCE.as_millis()).unwrap_or(u32::MAX);
        let asked = self.endpoint.ask(node, SERVICE_NODE, Bytes::from(question.encode()), patience_ms);
        match tokio::time::timeout(ASK_PATIENCE, asked).await {
            Ok(Ok(Some(answer))) => NodeAnswer::decode(&answer).map_err(|error| error.to_string()),
            Ok(Ok(None)) => Err(format!("node {node} is starting or stopping")),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("node {node} did not answer in {} s", ASK_PATIENCE.as_secs())),
        }
    }

    /// Asks all other members at once.
    pub(crate) async fn ask_all(&self, question: &NodeQuestion) -> Vec<(NodeId, Result<NodeAnswer, String>)> {
        let asked =
            self.others().into_iter().map(|node| async move { (node, self.ask(node, question).await) });
        futures_util::future::join_all(asked).await
    }
}

impl Gateways for Cluster {
    fn in_flight(&self) -> BoxFuture<'_, Option<InFlightElsewhere>> {
        Box::pin(async move {
            let mut elsewhere = InFlightElsewhere::default();
            for (node, answer) in self.ask_all(&NodeQuestion::InFlight).await {
                match answer {
                    Ok(NodeAnswer::InFlight { written, all }) => {
                        elsewhere.written.extend(written);
                        elsewhere.all.extend(all);
                    }
                    Err(_) if self.is_long_gone(node) => {
                        elsewhere.is_partial = true;
                    }
                    other => {
                        tracing::debug!(%node, ?other, "a node does not say what it has in flight");
                        return None;
                    }
                }
            }
            Some(elsewhere)
        })
    }
}
