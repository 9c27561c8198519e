//! Where this node belongs, at a start: on its own, the first of a cluster, a member that is back, or a newcomer.

use std::net::SocketAddr;
use std::path::PathBuf;

use pangea_core::cluster::{JoinToken, Members};
use pangea_core::seam::{Clock as _, random};
use zeroize::Zeroizing;

use super::{Card, Standing, join};
use crate::clock::SystemClock;
use crate::config::{ClusterOptions, Options};
use crate::database::{agrees, cluster_in};
use crate::drives::Directory;
use crate::entropy::SystemEntropy;
use crate::error::StartError;
use crate::ground::{First, Ground, admit, look_first, make};
use crate::keyfile::Unlock;

/// The ground, and the node's place in a cluster, if it has one.
pub(crate) struct Stood {
    pub(crate) ground: Ground,
    pub(crate) standing: Option<Standing>,
}

/// Finds out, and joins if that is asked for.
pub(crate) async fn stand(options: &Options, clock: &SystemClock) -> Result<Stood, StartError> {
    let wishes = &options.cluster;
    let (ground, standing) = match (look_first(options)?, &wishes.join) {
        (First::Untouched(directories, unlock), Some(token)) => {
            return newcomer(directories, unlock, token, options, clock).await;
        }
        (First::Untouched(directories, unlock), None) => {
            let ground = make(directories, unlock, options.erasure, clock)?;
            (ground, first_member(options, clock)?)
        }
        (First::Known(ground), join) => {
            let ground = *ground;
            let card = Card::read(&paths(&ground.directories), &ground.ring);
            let card = card.map_err(|error| StartError::Cluster { why: error.to_string() })?;
            agrees(&ground, card.as_ref(), options.meta.is_some())?;
            match (card, join) {
                (Some(card), Some(token)) if card.members.get(token.member).is_none() => {
                    return Err(StartError::Cluster { why: taken(&ground) });
                }
                (Some(card), _) => {
                    let standing = back(card, wishes, clock)?;
                    (ground, Some(standing))
                }
                (None, Some(_)) => return Err(StartError::Cluster { why: taken(&ground) }),
                (None, None) => (ground, first_member(options, clock)?),
            }
        }
    };
    let mut ground = ground;
    ground.node = standing.as_ref().map(|standing| standing.member.node);
    Ok(Stood { ground, standing })
}

fn taken(ground: &Ground) -> String {
    format!(
        "these directories belong to another cluster already, {}: a token lets in only nodes with empty directories",
        ground.ring.cluster
    )
}

fn paths(directories: &[Directory]) -> Vec<PathBuf> {
    let there = directories.iter().filter(|directory| directory.disk.is_some());
    there.map(|directory| directory.path.clone()).collect()
}

/// A node that others may join from now on, if it is told where to listen.
fn first_member(options: &Options, clock: &SystemClock) -> Result<Option<Standing>, StartError> {
    let wishes = &options.cluster;
    let Some(listen) = wishes.listen else { return Ok(None) };
    let mut standing = fresh(listen, wishes, clock)?;
    let members = &mut standing.card.members;
    members.keeper = options.meta.is_none().then_some(standing.member.node);
    members.put(standing.member.clone()).map_err(|error| StartError::Cluster { why: error.to_string() })?;
    Ok(Some(standing))
}

/// A node with a new key.
fn fresh(listen: SocketAddr, wishes: &ClusterOptions, clock: &SystemClock) -> Result<Standing, StartError> {
    let seed = Zeroizing::new(random(&SystemEntropy));
    let card = Card { seed, listen, members: Members::default(), sequence: 0 };
    Standing::new(card, addresses(listen, wishes)?, &wishes.labels, clock.wall_ms())
}

/// A member that was there before. What it is told now counts; what it is not told stays as it was.
fn back(mut card: Card, wishes: &ClusterOptions, clock: &SystemClock) -> Result<Standing, StartError> {
    card.listen = wishes.listen.unwrap_or(card.listen);
    let listen = card.listen;
    let mut standing = Standing::new(card, vec![String::new()], &wishes.labels, clock.wall_ms())?;
    let known = standing.card.members.get(standing.member.node).cloned();
    standing.member.addresses = match &known {
        Some(known) if wishes.listen.is_none() && wishes.advertise.is_empty() => known.addresses.clone(),
        _ => addresses(listen, wishes)?,
    };
    if let Some(known) = known.filter(|_| wishes.labels == Default::default()) {
        standing.member.domain = known.domain;
    }
    Ok(standing)
}

async fn newcomer(
    directories: Vec<Directory>,
    unlock: Unlock,
    token: &JoinToken,
    options: &Options,
    clock: &SystemClock,
) -> Result<Stood, StartError> {
    let wishes = &options.cluster;
    let Some(listen) = wishes.listen else {
        let why =
            "a node that joins a cluster must be told where other nodes reach it: --node-listen HOST:PORT";
        return Err(StartError::Cluster { why: why.into() });
    };
    let mut standing = fresh(listen, wishes, clock)?;
    let database = match &options.meta {
        Some(database) => Some(cluster_in(database).await?),
        None => None,
    };
    let joined = join(token, &standing.identity, &standing.member, database, clock.wall_ms()).await;
    let joined = joined.map_err(StartError::Join)?;
    standing.card.members = joined.members;
    standing.card.sequence = 1;
    let mut ground = admit(directories, unlock, joined.ring)?;
    let kept = standing.card.write(&paths(&ground.directories), &ground.ring);
    kept.map_err(|error| StartError::Cluster { why: error.to_string() })?;
    ground.node = Some(standing.member.node);
    ground.notes.push("this node joined the cluster".into());
    Ok(Stood { ground, standing: Some(standing) })
}

/// Where others reach a node that listens there.
fn addresses(listen: SocketAddr, wishes: &ClusterOptions) -> Result<Vec<String>, StartError> {
    if !wishes.advertise.is_empty() {
        return Ok(wishes.advertise.clone());
    }
    if listen.ip().is_unspecified() || listen.port() == 0 {
        let why = format!(
            "{listen} does not tell other nodes where to find this one: say so with --advertise HOST:PORT"
        );
        return Err(StartError::Cluster { why });
    }
    Ok(vec![listen.to_string()])
}
