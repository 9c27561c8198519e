//! Joining: tokens, the newcomer's question, and the member's answer.
//!
//! A token is kept sealed in the metadata until it expires, so any member answers for it. Whoever has it may join as often as
//! it likes until then: that is what an operator wants who starts a dozen nodes. The newcomer gets the master keys, sealed
//! under the token's secret and this one connection.

use std::fmt;
use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;
use pangea_client::{Client, ClientError};
use pangea_core::cluster::{
    JoinAnswer, JoinQuestion, JoinToken, Member, MemberError, Members, NodeQuestion, Welcome, join_proof,
};
use pangea_core::codec::{Malformed, Put as _, Reader};
use pangea_core::id::{ClusterId, NodeId};
use pangea_core::keys::{derive, open_small, seal_small};
use pangea_core::layout::Role;
use pangea_core::meta::Command;
use pangea_core::seam::{Clock as _, random};
use pangea_net::join::{JoinDoor, ask};
use pangea_net::{NetError, NodeIdentity};
use pangea_transport::port::BoxFuture;

use super::MEMBERS_SETTING;
use crate::entropy::SystemEntropy;
use crate::keyfile::{Ring, Unlock};
use crate::node::Node;

/// The setting that holds the tokens.
const TOKENS_SETTING: &str = "cluster/tokens";
/// Tokens at a time: an older one gives way.
const TOKENS_MAX: usize = 16;
const PURPOSE_TOKENS: &str = "pangea 2026-11 v1 join tokens";
/// How far apart two clocks may be: signatures of S3 requests bear as much.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(900);
/// How long one address may take.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(10);
/// Tries of a change of the members that others change at the same time.
const TRIES: u32 = 8;

/// A token as members remember it.
struct Remembered {
    id: [u8; 8],
    secret: [u8; 16],
    expires_ms: u64,
}

/// Why a newcomer did not become a member.
#[derive(Debug)]
pub enum JoinError {
    /// No member could be asked; what each address said.
    Unreachable {
        /// In words.
        why: Vec<String>,
    },
    /// The member refused.
    Refused {
        /// Its words.
        why: String,
    },
    /// The answer makes no sense.
    Malformed(Malformed),
    /// The keys of the cluster do not open.
    Keys {
        /// Why.
        why: String,
    },
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { why } => write!(f, "the cluster cannot be joined: {}", why.join("; ")),
            Self::Refused { why } => write!(f, "the cluster does not take this node: {why}"),
            Self::Malformed(error) => write!(f, "the answer of the cluster makes no sense: {error}"),
            Self::Keys { why } => write!(f, "the keys of the cluster do not open: {why}"),
        }
    }
}

impl std::error::Error for JoinError {}

/// What a newcomer got.
pub(crate) struct Joined {
    pub(crate) ring: Ring,
    pub(crate) members: Members,
}

/// Asks to become a member. `database` is the cluster whose metadata the newcomer's database holds, if it was told of one.
pub(crate) async fn join(
    token: &JoinToken,
    identity: &NodeIdentity,
    member: &Member,
    database: Option<ClusterId>,
    now_ms: u64,
) -> Result<Joined, JoinError> {
    let mut why = Vec::new();
    for address in &token.addresses {
        let mut key = None;
        let question = |channel: [u8; 32]| {
            key = Some(key_of(&channel, &token.secret));
            let question = JoinQuestion {
                token: token.id,
                proof: join_proof(&token.secret, &channel),
                addresses: member.addresses.clone(),
                domain: member.domain.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                now_ms,
                database,
            };
            Bytes::from(question.encode())
        };
        match ask(identity, address, token.member, question, ADDRESS_PATIENCE).await {
            Ok(answer) => return open(&answer, key.as_ref().unwrap_or(&Unlock::Nothing)),
            Err(error @ NetError::OtherNode { .. }) => {
                why.push(format!("{address}: {error}: was it made anew since the token was printed?"));
            }
            Err(error) => why.push(format!("{address}: {error}")),
        }
    }
    Err(JoinError::Unreachable { why })
}

/// What seals the keys on their way: nobody but the two ends has both parts.
fn key_of(channel: &[u8; 32], secret: &[u8; 16]) -> Unlock {
    Unlock::from_secret(&[&channel[..], secret].concat())
}

fn open(answer: &[u8], key: &Unlock) -> Result<Joined, JoinError> {
    match JoinAnswer::decode(answer).map_err(JoinError::Malformed)? {
        JoinAnswer::Refused(why) => Err(JoinError::Refused { why }),
        JoinAnswer::Welcome(welcome) => {
            let Welcome { cluster, keys, members } = *welcome;
            let ring = Ring::open(&keys, key).map_err(|error| JoinError::Keys { why: error.to_string() })?;
            if ring.cluster != cluster {
                return Err(JoinError::Keys { why: "they are of another cluster".into() });
            }
            Ok(Joined { ring, members })
        }
    }
}

/// Makes a token that lets nodes join through this one.
pub(crate) async fn make_token(
    node: &Node,
    member: &Member,
    lasts: Duration,
) -> Result<JoinToken, ClientError> {
    let entropy = &SystemEntropy;
    let (id, secret) = (random(entropy), random(entropy));
    let now_ms = node.clock.wall_ms();
    let expires_ms = now_ms + u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX / 2);
    let ring = node.vault.ring().await;
    for _ in 0..TRIES {
        let (revision, mut tokens) = read_tokens(&node.client, &ring).await?;
        tokens.retain(|token| token.expires_ms > now_ms);
        tokens.sort_by_key(|token| token.expires_ms);
        let too_many = (tokens.len() + 1).saturating_sub(TOKENS_MAX);
        tokens.drain(..too_many);
        tokens.push(Remembered { id, secret, expires_ms });
        let value = seal_tokens(&tokens, &ring);
        let command = Command::SetSetting { name: TOKENS_SETTING.to_owned(), expected: revision, value };
        match node.client.command(command).await {
            Ok(_) => {
                let (member, addresses) = (member.node, member.addresses.clone());
                return Ok(JoinToken { member, id, secret, addresses });
            }
            Err(error @ ClientError::Meta(_)) => return Err(error),
            // Somebody else made one at the same time.
            Err(_) => {}
        }
    }
    Err(ClientError::Unavailable { why: "others make tokens at the same time: try again".into() })
}

/// Nobody joins by a token that there was.
pub(crate) async fn forget_tokens(client: &Client) -> Result<(), ClientError> {
    match client.meta().setting(TOKENS_SETTING).await.map_err(ClientError::Meta)? {
        Some((_, bytes)) if !bytes.is_empty() => client.set_setting(TOKENS_SETTING.to_owned(), vec![]).await,
        _ => Ok(()),
    }
}

fn seal_tokens(tokens: &[Remembered], ring: &Ring) -> Vec<u8> {
    let mut plain = Vec::new();
    for token in tokens {
        plain.put_raw(&token.id);
        plain.put_raw(&token.secret);
        plain.put_u64(token.expires_ms);
    }
    let current = ring.current();
    let mut out = Vec::new();
    out.put_u32(current.number);
    let sealed = seal_small(&derive(PURPOSE_TOKENS, &current.key), random(&SystemEntropy), &out, &plain);
    out.put_raw(&sealed);
    out
}

async fn read_tokens(client: &Client, ring: &Ring) -> Result<(u64, Vec<Remembered>), ClientError> {
    let Some((revision, bytes)) = client.meta().setting(TOKENS_SETTING).await.map_err(ClientError::Meta)?
    else {
        return Ok((0, vec![]));
    };
    if bytes.is_empty() {
        return Ok((revision, vec![]));
    }
    let damaged = || ClientError::Damaged { what: "the tokens for joining cannot be read".into() };
    let (head, sealed) = bytes.split_at_checked(4).ok_or_else(damaged)?;
    let generation = head.try_into().map(u32::from_le_bytes).map_err(|_| damaged())?;
    let key = ring.key(generation).ok_or_else(damaged)?;
    let plain = open_small(&derive(PURPOSE_TOKENS, key), head, sealed).map_err(|_| damaged())?;
    let mut r = Reader::new(&plain, "join tokens");
    let mut tokens = Vec::new();
    while !r.rest().is_empty() {
        let read =
            |r: &mut Reader<'_>| Ok(Remembered { id: r.array()?, secret: r.array()?, expires_ms: r.u64()? });
        tokens.push(read(&mut r).map_err(|_: Malformed| damaged())?);
    }
    Ok((revision, tokens))
}

/// The members as the metadata has them, with the setting's revision; none were ever written: revision 0.
pub(crate) async fn read_members(client: &Client) -> Result<(u64, Members), ClientError> {
    let setting = client.meta().setting(MEMBERS_SETTING).await.map_err(ClientError::Meta)?;
    let Some((revision, bytes)) = setting else { return Ok((0, Members::default())) };
    let mut r = Reader::new(&bytes, "members");
    let members = Members::decode(&mut r).and_then(|members| r.finish().map(|()| members));
    let members =
        members.map_err(|error| ClientError::Damaged { what: format!("the list of members: {error}") })?;
    Ok((revision, members))
}

/// Changes the members; gives the list as it is then, with its revision.
pub(crate) async fn change_members(
    client: &Client,
    change: impl Fn(&mut Members) -> Result<(), MemberError>,
) -> Result<(u64, Members), ChangeError> {
    for _ in 0..TRIES {
        let (revision, mut members) = read_members(client).await.map_err(ChangeError::Client)?;
        let before = members.clone();
        change(&mut members).map_err(ChangeError::Member)?;
        if members == before {
            return Ok((revision, members));
        }
        let mut value = Vec::new();
        members.encode(&mut value);
        let command = Command::SetSetting { name: MEMBERS_SETTING.to_owned(), expected: revision, value };
        match client.command(command).await {
            Ok(_) => return Ok((revision + 1, members)),
            Err(error @ ClientError::Meta(_)) => return Err(ChangeError::Client(error)),
            // Somebody else changed them at the same time.
            Err(_) => {}
        }
    }
    let why = "others change the members at the same time: try again".into();
    Err(ChangeError::Client(ClientError::Unavailable { why }))
}

/// Why the members were not changed.
#[derive(Debug)]
pub(crate) enum ChangeError {
    Member(MemberError),
    Client(ClientError),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(error) => error.fmt(f),
            Self::Client(error) => error.fmt(f),
        }
    }
}

/// Answers newcomers.
pub(crate) struct Door {
    node: Weak<Node>,
}

impl Door {
    /// Of that node, for as long as it runs.
    pub(crate) fn new(node: Weak<Node>) -> Self {
        Self { node }
    }

    async fn consider(&self, peer: NodeId, channel: [u8; 32], question: &[u8]) -> Result<Welcome, String> {
        let node = self.node.upgrade().ok_or("the node is stopping")?;
        let cluster = node.in_cluster.as_ref().ok_or("this server is on its own")?;
        let question = JoinQuestion::decode(question).map_err(|error| {
            format!("{error}: do both run the same version? This is {}", env!("CARGO_PKG_VERSION"))
        })?;
        let ring = node.vault.ring().await;
        let now_ms = node.clock.wall_ms();
        let (_, tokens) = read_tokens(&node.client, &ring).await.map_err(|error| error.to_string())?;
        let token = tokens.iter().find(|token| token.id == question.token);
        let token = token.filter(|token| {
            blake3::Hash::from_bytes(join_proof(&token.secret, &channel))
                == blake3::Hash::from_bytes(question.proof)
        });
        let token = token.ok_or("the token is not known: make another one with `pangea cluster init`")?;
        if token.expires_ms <= now_ms {
            return Err("the token has expired: make another one with `pangea cluster init`".into());
        }
        let apart = Duration::from_millis(now_ms.abs_diff(question.now_ms));
        if apart > CLOCKS_APART_MAX {
            let seconds = apart.as_secs();
            return Err(format!("the clocks of the two nodes are {seconds} s apart: set them right first"));
        }
        same_metadata(cluster.keeper().is_none(), node.cluster, question.database)?;
        let JoinQuestion { addresses, domain, .. } = question;
        let member = Member { node: peer, addresses, domain, joined_ms: now_ms };
        let layout = node.client.layout();
        let is_ghost = |other: NodeId| {
            let holds = layout.drives.iter().any(|drive| drive.node == other && drive.role != Role::Gone);
            !holds && !cluster.is_up(other)
        };
        let changed = change_members(&node.client, |members| match members.put(member.clone()) {
            // What an earlier try left, whose answer was lost.
            Err(MemberError::AddressTaken { by, .. }) if is_ghost(by) => {
                members.remove(by)?;
                members.put(member.clone())
            }
            done => done,
        });
        let changed = changed.await;
        let (revision, members) = changed.map_err(|error| error.to_string())?;
        tracing::info!(node = %peer, addresses = ?member.addresses, "a node joined the cluster");
        cluster.set_members(revision, members.clone());
        let told = cluster.clone();
        // Who does not hear it now learns it from the next pulse.
        tokio::spawn(async move { told.ask_all(&NodeQuestion::Reread).await });
        let keys =
            ring.seal(&key_of(&channel, &token.secret), &SystemEntropy).map_err(|error| error.to_string())?;
        Ok(Welcome { cluster: node.cluster, keys, members })
    }
}

/// A newcomer must look for the metadata where the members have it.
fn same_metadata(in_database: bool, ours: ClusterId, theirs: Option<ClusterId>) -> Result<(), String> {
    match (in_database, theirs) {
        (true, None) => {
            Err("the metadata of this cluster lies in PostgreSQL: name the same database as the other nodes \
                             with --meta (or PANGEA_META)"
                .into())
        }
        (true, Some(theirs)) if theirs != ours => Err(format!(
            "the database that the node was told of holds the metadata of cluster {theirs}, and this is {ours}: name the \
             same database as the other nodes with --meta (or PANGEA_META)"
        )),
        (false, Some(_)) => {
            Err("the metadata of this cluster lies with one of its nodes: start the node without --meta"
                .into())
        }
        _ => Ok(()),
    }
}

impl JoinDoor for Door {
    fn answer(&self, peer: NodeId, channel: [u8; 32], question: Bytes) -> BoxFuture<'_, Bytes> {
        Box::pin(async move {
            let answer = match self.consider(peer, channel, &question).await {
                Ok(welcome) => JoinAnswer::Welcome(Box::new(welcome)),
                Err(why) => {
                    tracing::warn!(node = %peer, why, "a node was not let into the cluster");
                    JoinAnswer::Refused(why)
                }
            };
            answer.encode().into()
        })
    }
}
