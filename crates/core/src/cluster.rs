//! The cluster's own words: its members, what nodes tell each other of themselves, and how a newcomer asks to join.
//!
//! Owns the bytes of all three. Everything is bounded: a list that is longer than its constant is refused before anything
//! is allocated. Who may say what is decided where it is heard.

mod join;
mod pulse;

use std::collections::BTreeSet;
use std::fmt;

use crate::codec::{Malformed, Put, Reader};
use crate::id::NodeId;
use crate::layout::Domain;

pub use join::{JoinAnswer, JoinQuestion, JoinToken, Welcome, join_proof};
pub use pulse::{DrivePulse, FLIGHT_MAX, NodeAnswer, NodeQuestion, Pulse};

/// The most members of one cluster.
pub const MEMBERS_MAX: usize = 4096;
/// The most addresses of one member.
pub const ADDRESSES_MAX: usize = 8;
/// The longest address (`HOST:PORT`), name or label.
pub const TEXT_BYTES_MAX: usize = 255;
const MEMBERS_VERSION: u8 = 1;

/// One node of the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its public key.
    pub node: NodeId,
    /// Where other nodes reach it, `HOST:PORT`, the best first.
    pub addresses: Vec<String>,
    /// Where it stands: the labels of its drives.
    pub domain: Domain,
    /// When it joined, ms since 1970; for people.
    pub joined_ms: u64,
}

/// The members, by node id, rising.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Members {
    /// The node that keeps the metadata for the others; `None`: the metadata does not lie with any node.
    pub keeper: Option<NodeId>,
    members: Vec<Member>,
}

/// Why a list of members cannot be changed like that.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MemberError {
    /// There are [`MEMBERS_MAX`] already.
    Full,
    /// There is no such member.
    Unknown(NodeId),
    /// The node that keeps the metadata cannot leave.
    Keeper(NodeId),
    /// A text is empty, too long, or has control characters.
    Text {
        /// Which.
        what: &'static str,
    },
    /// Another member is reached under that address.
    AddressTaken {
        /// The address.
        address: String,
        /// The member.
        by: NodeId,
    },
}

impl fmt::Display for MemberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "a cluster has at most {MEMBERS_MAX} nodes"),
            Self::Unknown(node) => write!(f, "node {node} is no member of the cluster"),
            Self::Keeper(node) => {
                write!(f, "node {node} keeps the metadata of the cluster: nothing could be found without it")
            }
            Self::Text { what } => {
                write!(f, "{what} must have 1 to {TEXT_BYTES_MAX} bytes and no control characters")
            }
            Self::AddressTaken { address, by } => write!(f, "node {by} is reached under {address} already"),
        }
    }
}

impl std::error::Error for MemberError {}

impl Members {
    /// All of them.
    pub fn all(&self) -> &[Member] {
        &self.members
    }

    /// One of them.
    pub fn get(&self, node: NodeId) -> Option<&Member> {
        let at = self.members.binary_search_by_key(&node, |member| member.node).ok()?;
        self.members.get(at)
    }

    /// Takes a node in, or takes its new addresses and labels; it keeps the time at which it joined.
    pub fn put(&mut self, member: Member) -> Result<(), MemberError> {
        member.check()?;
        for address in &member.addresses {
            let taken = self.members.iter().find(|m| m.node != member.node && m.addresses.contains(address));
            if let Some(by) = taken {
                return Err(MemberError::AddressTaken { address: address.clone(), by: by.node });
            }
        }
        match self.members.binary_search_by_key(&member.node, |known| known.node) {
            Ok(at) => {
                let joined_ms = self.members[at].joined_ms;
                self.members[at] = Member { joined_ms, ..member };
            }
            Err(_) if self.members.len() >= MEMBERS_MAX => return Err(MemberError::Full),
            Err(at) => self.members.insert(at, member),
        }
        Ok(())
    }

    /// Takes a node out.
    pub fn remove(&mut self, node: NodeId) -> Result<(), MemberError> {
        if self.keeper == Some(node) {
            return Err(MemberError::Keeper(node));
        }
        let at = self.members.binary_search_by_key(&node, |member| member.node);
        self.members.remove(at.map_err(|_| MemberError::Unknown(node))?);
        Ok(())
    }

    /// Appends the list.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(MEMBERS_VERSION);
        out.put_u8(u8::from(self.keeper.is_some()));
        self.keeper.iter().for_each(|node| out.put_raw(&node.0));
        out.put_u32(self.members.len() as u32);
        self.members.iter().for_each(|member| member.encode(out));
    }

    /// Reads what `encode` wrote.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        if r.u8()? != MEMBERS_VERSION {
            return Err(r.malformed());
        }
        let keeper = if r.bool()? { Some(NodeId(r.array()?)) } else { None };
        let count = r.count(32)?;
        if count > MEMBERS_MAX {
            return Err(r.malformed());
        }
        let members: Vec<Member> = (0..count).map(|_| Member::decode(r)).collect::<Result<_, _>>()?;
        let distinct: BTreeSet<NodeId> = members.iter().map(|member| member.node).collect();
        if distinct.len() != members.len() || !members.is_sorted_by_key(|member| member.node) {
            return Err(r.malformed());
        }
        Ok(Self { keeper, members })
    }
}

impl Member {
    fn check(&self) -> Result<(), MemberError> {
        let text = |text: &str, what, may_be_empty: bool| {
            let fits = (may_be_empty || !text.is_empty()) && text.len() <= TEXT_BYTES_MAX;
            (fits && !text.chars().any(char::is_control)).then_some(()).ok_or(MemberError::Text { what })
        };
        if self.addresses.is_empty() || self.addresses.len() > ADDRESSES_MAX {
            return Err(MemberError::Text { what: "an address of a node" });
        }
        self.addresses.iter().try_for_each(|address| text(address, "an address of a node", false))?;
        let Domain { region, site, rack, host } = &self.domain;
        [region, site, rack, host].into_iter().try_for_each(|label| text(label, "a label", true))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_raw(&self.node.0);
        out.put_u8(self.addresses.len() as u8);
        self.addresses.iter().for_each(|address| out.put_bytes(address.as_bytes()));
        put_domain(out, &self.domain);
        out.put_u64(self.joined_ms);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let node = NodeId(r.array()?);
        let count = r.u8()?;
        let addresses = (0..count).map(|_| r.str().map(str::to_owned)).collect::<Result<_, _>>()?;
        let member = Self { node, addresses, domain: take_domain(r)?, joined_ms: r.u64()? };
        member.check().map_err(|_| r.malformed())?;
        Ok(member)
    }
}

fn put_domain(out: &mut Vec<u8>, domain: &Domain) {
    for text in [&domain.region, &domain.site, &domain.rack, &domain.host] {
        out.put_bytes(text.as_bytes());
    }
}

fn take_domain(r: &mut Reader<'_>) -> Result<Domain, Malformed> {
    let mut text = || r.str().map(str::to_owned);
    Ok(Domain { region: text()?, site: text()?, rack: text()?, host: text()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: u8, address: &str) -> Member {
        let domain = Domain { host: format!("h{node}"), ..Domain::default() };
        Member {
            node: NodeId([node; 32]),
            addresses: vec![address.to_owned()],
            domain,
            joined_ms: u64::from(node),
        }
    }

    #[test]
    fn members_come_move_and_leave() {
        let mut members = Members { keeper: Some(NodeId([2; 32])), members: vec![] };
        for node in [3, 1, 2] {
            members.put(member(node, &format!("10.0.0.{node}:9002"))).expect("there is room");
        }
        assert!(members.all().is_sorted_by_key(|member| member.node));
        let mut moved = member(3, "10.0.0.9:9002");
        moved.joined_ms = 77;
        members.put(moved).expect("it may move");
        assert_eq!(
            members.get(NodeId([3; 32])).map(|m| (m.addresses[0].as_str(), m.joined_ms)),
            Some(("10.0.0.9:9002", 3))
        );
        let taken = members.put(member(4, "10.0.0.1:9002"));
        assert_eq!(
            taken,
            Err(MemberError::AddressTaken { address: "10.0.0.1:9002".into(), by: NodeId([1; 32]) })
        );
        assert_eq!(members.remove(NodeId([2; 32])), Err(MemberError::Keeper(NodeId([2; 32]))));
        assert_eq!(members.remove(NodeId([8; 32])), Err(MemberError::Unknown(NodeId([8; 32]))));
        assert_eq!(members.remove(NodeId([1; 32])), Ok(()));
        for wrong in ["", "a\nb:1", &"x".repeat(256)] {
            assert!(matches!(members.put(member(5, wrong)), Err(MemberError::Text { .. })), "{wrong:?}");
        }
        assert_eq!(members.all().len(), 2);
    }

    #[test]
    fn a_list_round_trips_and_every_cut_and_disorder_is_refused() {
        let mut members = Members { keeper: Some(NodeId([2; 32])), members: vec![] };
        (1..5).for_each(|node| members.put(member(node, &format!("h{node}:1"))).expect("fits"));
        let mut bytes = vec![];
        members.encode(&mut bytes);
        assert_eq!(Members::decode(&mut Reader::new(&bytes, "members")), Ok(members.clone()));
        for cut in 0..bytes.len() {
            assert!(Members::decode(&mut Reader::new(&bytes[..cut], "members")).is_err());
        }
        members.members.swap(0, 1);
        let mut bytes = vec![];
        members.encode(&mut bytes);
        assert!(Members::decode(&mut Reader::new(&bytes, "members")).is_err());
    }
}
