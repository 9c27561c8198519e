//! What all tasks of the engine share, and those tasks: one that listens, one for each peer that is dialled, one for each
//! connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use pangea_core::id::NodeId;
use pangea_transport::loopback::LOOPBACK_BYTES_MAX;
use pangea_transport::{LossListener, Message, TransportError};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::connection::{self, Connection};
use super::crowd::{Crowd, Place};
use super::figures::LinkFigures;
use super::inbox::{Hold, Inbox};
use super::link::Link;
use super::meet::{self, HANDSHAKE_MAX};
use super::pulse::Waits;
use super::{IDLE_PER_LINK, PEERS_MAX, Peer, TcpConfig, WINDOW_BYTES_MAX, WINDOW_BYTES_MIN};
use crate::error::{Awaited, NetError, Refusal};
use crate::identity::NodeIdentity;
use crate::join::{self, JoinDoor};
use crate::proof::{Cluster, Greeted};
use crate::tls;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 1024;
/// A pause after the kernel refused to hand over a connection (too many files are open, mostly).
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// Lines about strangers in the log, at most so many a minute.
const STRANGER_LINES_MAX: u32 = 20;

/// See the module.
pub(crate) struct Inner {
    pub(crate) local_address: SocketAddr,
    pub(crate) instance: u64,
    identity: NodeIdentity,
    cluster: Cluster,
    waits: Waits,
    questions_bytes_max: usize,
    runtime: Handle,
    acceptor: TlsAcceptor,
    crowd: Arc<Crowd>,
    inbox: Inbox,
    /// Room for questions of this node to itself.
    own_room: Arc<Semaphore>,
    links: RwLock<BTreeMap<NodeId, Arc<Link>>>,
    listeners: Mutex<Vec<LossListener>>,
    door: RwLock<Option<Arc<dyn JoinDoor>>>,
    bell: watch::Sender<u64>,
    closed: watch::Sender<bool>,
    lines: Mutex<(Instant, u32)>,
}

impl Inner {
    pub(crate) fn start(config: TcpConfig) -> Result<Arc<Self>, NetError> {
        let runtime = Handle::try_current().map_err(|_| NetError::NoRuntime)?;
        let listen = config.listen;
        let failed = |source| NetError::Listen { address: listen, source: Arc::new(source) };
        let listener = listen_on(listen).map_err(failed)?;
        let mut instance = [0; 8];
        aws_lc_rs::rand::fill(&mut instance).map_err(|error| NetError::Key { why: error.to_string() })?;
        let inner = Arc::new(Self {
            local_address: listener.local_addr().map_err(failed)?,
            instance: u64::from_le_bytes(instance),
            acceptor: TlsAcceptor::from(tls::listener(&config.identity)?),
            identity: config.identity,
            cluster: Cluster::new(config.cluster, &config.secret),
            waits: waits(config.dead_after, config.idle_ping),
            questions_bytes_max: config.questions_bytes_max,
            runtime,
            crowd: Crowd::new(config.crowd),
            inbox: Inbox::default(),
            own_room: Arc::new(Semaphore::new(LOOPBACK_BYTES_MAX)),
            links: RwLock::default(),
            listeners: Mutex::default(),
            door: RwLock::default(),
            bell: watch::Sender::new(0),
            closed: watch::Sender::new(false),
            lines: Mutex::new((Instant::now(), 0)),
        });
        inner.runtime.spawn(inner.clone().listen(listener));
        Ok(inner)
    }

    pub(crate) fn local(&self) -> NodeId {
        self.identity.node_id()
    }

    pub(crate) async fn send(self: &Arc<Self>, peer: NodeId, message: Message) -> Result<(), TransportError> {
        if *self.closed.borrow() {
            return Err(TransportError::Closed);
        }
        if peer == self.local() {
            return self.send_to_self(message).await;
        }
        let link = self.link(peer).ok_or(TransportError::Unreachable(peer))?;
        let entry = link.enter()?;
        if entry.dial {
            self.start_dialling(&link, Duration::ZERO);
        }
        link.queue(entry, message).await
    }

    async fn send_to_self(&self, message: Message) -> Result<(), TransportError> {
        let hold = if message.answer {
            Hold::Free
        } else {
            let bytes = message.bytes().clamp(1, LOOPBACK_BYTES_MAX) as u32;
            let permit = self.own_room.clone().acquire_many_owned(bytes).await;
            Hold::Room { _permit: permit.map_err(|_| TransportError::Closed)? }
        };
        self.inbox.put(self.local(), message, hold);
        Ok(())
    }

    pub(crate) async fn recv(&self) -> Result<(NodeId, Message), TransportError> {
        self.inbox.take().await
    }

    pub(crate) fn set_peers(&self, peers: Vec<Peer>) {
        let wanted: BTreeMap<NodeId, Vec<String>> = peers
            .into_iter()
            .filter(|peer| peer.node != self.local())
            .map(|peer| (peer.node, peer.addresses))
            .take(PEERS_MAX)
            .collect();
        let mut dropped = Vec::new();
        {
            let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
            links.retain(|node, link| {
                let keeps = wanted.contains_key(node);
                if !keeps {
                    dropped.push(link.clone());
                }
                keeps
            });
            for (node, addresses) in wanted {
                if let Some(link) = links.get(&node) {
                    link.set_addresses(addresses);
                } else if !*self.closed.borrow() {
                    links.insert(node, Link::new(self.local(), node, addresses));
                }
            }
        }
        for link in dropped {
            link.end(Refusal::NotListed);
            self.lost(link.node);
        }
    }

    pub(crate) fn set_join_door(&self, door: Arc<dyn JoinDoor>) {
        *self.door.write().unwrap_or_else(PoisonError::into_inner) = Some(door);
    }

    pub(crate) fn links(&self) -> Vec<LinkFigures> {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        links.values().map(|link| link.picture()).collect()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    pub(crate) fn on_loss(&self, listener: LossListener) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    pub(crate) fn close(&self) {
        if self.closed.send_replace(true) {
            return;
        }
        self.inbox.close();
        self.own_room.close();
        let links = std::mem::take(&mut *self.links.write().unwrap_or_else(PoisonError::into_inner));
        links.values().for_each(|link| {
            link.end(Refusal::Closing);
        });
        self.ring();
    }

    fn link(&self, peer: NodeId) -> Option<Arc<Link>> {
        self.links.read().unwrap_or_else(PoisonError::into_inner).get(&peer).cloned()
    }

    /// Tells who asked to be told that messages of a peer may be lost.
    fn lost(&self, peer: NodeId) {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        listeners.iter().for_each(|listener| listener(peer));
        self.ring();
    }

    fn ring(&self) {
        self.bell.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn start_dialling(self: &Arc<Self>, link: &Arc<Link>, rest: Duration) {
        self.runtime.spawn(self.clone().keep_dialling(link.clone(), rest));
    }

    /// Dials a peer until there is a connection, whoever made it.
    async fn keep_dialling(self: Arc<Self>, link: Arc<Link>, mut rest: Duration) {
        let mut closed = self.closed.subscribe();
        loop {
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                _ = closed.wait_for(|closed| *closed) => return,
            }
            let Some(addresses) = link.dial_where() else { return };
            let result = tokio::select! {
                result = self.dial(&link, &addresses) => result,
                _ = closed.wait_for(|closed| *closed) => return,
            };
            let why = match result {
                Ok((stream, greeted)) => {
                    self.clone().begin(link.clone(), stream, greeted, true);
                    return;
                }
                Err(why) => why,
            };
            let before = link.figures().last_error.take();
            if !before.is_some_and(|before| before.same_story(&why)) {
                tracing::warn!(peer = %link.node, ?addresses, "cannot connect to a node: {why}");
            }
            let next = link.dial_failed(&why);
            self.lost(link.node);
            let Some(next) = next else { return };
            rest = next;
        }
    }

    async fn dial(
        &self,
        link: &Link,
        addresses: &[String],
    ) -> Result<(TlsStream<TcpStream>, Greeted), NetError> {
        let mut why = NetError::NoAddress;
        for address in addresses {
            let dialled = meet::dial(&self.identity, link.node, address, tls::STORE_PROTOCOL).await;
            let result = match dialled {
                Ok(mut stream) => {
                    let greeted = meet::greet(&mut stream, &self.cluster, self.greeting()).await;
                    greeted.map(|greeted| (stream, greeted))
                }
                Err(error) => Err(error),
            };
            match result {
                Ok(met) => return Ok(met),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// What this node says of itself: its instance, and each peer's part of the room for questions.
    fn greeting(&self) -> Greeted {
        let peers = self.links.read().unwrap_or_else(PoisonError::into_inner).len().max(1);
        let window = (self.questions_bytes_max / peers).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX);
        Greeted { instance: self.instance, window_bytes: window as u32 }
    }

    /// Puts a connection to use, in a task of its own.
    fn begin(
        self: Arc<Self>,
        link: Arc<Link>,
        mut stream: TlsStream<TcpStream>,
        greeted: Greeted,
        dialled: bool,
    ) {
        let peers = self.links.read().unwrap_or_else(PoisonError::into_inner).len();
        let idle_us = self.waits.idle_us.max(IDLE_PER_LINK.as_micros() as u64 * peers as u64);
        let waits = Waits { idle_us, ..self.waits };
        let window = self.greeting().window_bytes;
        let connection = Connection::new(dialled, greeted.instance, greeted.window_bytes, window, waits);
        let attached = link.attach(&connection);
        if attached == Ok(true) {
            self.lost(link.node);
        }
        self.ring();
        let runtime = self.runtime.clone();
        runtime.spawn(async move {
            if let Err(reason) = attached {
                meet::refuse(&mut stream, reason).await;
                return;
            }
            tracing::debug!(peer = %link.node, dialled, "connected to a node");
            let why = connection::run(&connection, &link, &self.inbox, stream).await;
            let (lost, dial) = link.detach(&connection, &why);
            if lost {
                tracing::info!(peer = %link.node, "the connection to a node broke: {why}");
                self.lost(link.node);
            }
            if dial {
                let rest = link.rest();
                self.start_dialling(&link, rest);
            }
        });
    }

    async fn listen(self: Arc<Self>, listener: TcpListener) {
        let mut closed = self.closed.subscribe();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = closed.wait_for(|closed| *closed) => return,
            };
            match accepted {
                Ok((stream, from)) => {
                    // Whoever finds no place is dropped before it costs anything.
                    if let Some(place) = self.crowd.enter(from.ip()) {
                        self.runtime.spawn(self.clone().welcome(stream, from, place));
                    }
                }
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    /// Finds out who came, and what for.
    async fn welcome(self: Arc<Self>, stream: TcpStream, from: SocketAddr, place: Place) {
        let met = tokio::time::timeout(HANDSHAKE_MAX, Box::pin(self.meet(stream, from))).await;
        drop(place);
        match met.unwrap_or(Err(NetError::TimedOut { awaited: Awaited::Handshake })) {
            Ok(None) => {}
            Ok(Some((link, stream, greeted))) => self.begin(link, stream, greeted, false),
            Err(why) => self.log_stranger(from, &why),
        }
    }

    /// The handshake, and the greeting of a listed peer.
    async fn meet(
        &self,
        stream: TcpStream,
        from: SocketAddr,
    ) -> Result<Option<(Arc<Link>, TlsStream<TcpStream>, Greeted)>, NetError> {
        let mut stream = meet::accept(&self.acceptor, stream).await?;
        let peer = tls::peer(&stream)?;
        if stream.get_ref().1.alpn_protocol() == Some(tls::JOIN_PROTOCOL) {
            let door = self.door.read().unwrap_or_else(PoisonError::into_inner).clone();
            if !self.crowd.may_join(from.ip(), Instant::now()) {
                meet::refuse(&mut stream, Refusal::TooMany).await;
                return Err(NetError::Refusing(Refusal::TooMany));
            }
            join::serve(&mut stream, peer, door).await?;
            return Ok(None);
        }
        let greeted = match self.link(peer) {
            Some(link) => {
                let greeted = meet::greet_back(&mut stream, &self.cluster, self.greeting()).await;
                greeted.map(|greeted| (link, greeted))
            }
            None => Err(NetError::Refusing(Refusal::NotListed)),
        };
        match greeted {
            Ok((link, greeted)) => Ok(Some((link, stream, greeted))),
            Err(why) => {
                if let NetError::Refusing(reason) = why {
                    meet::refuse(&mut stream, reason).await;
                }
                Err(why)
            }
        }
    }

    /// Strangers may come as often as they like; they must not fill the log.
    fn log_stranger(&self, from: SocketAddr, why: &NetError) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.0.elapsed() > Duration::from_secs(60) {
            *lines = (Instant::now(), 0);
        }
        lines.1 += 1;
        if lines.1 <= STRANGER_LINES_MAX {
            tracing::warn!(%from, "turned away a connection: {why}");
        }
    }
}

fn listen_on(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A side that works on something gives a sign four times within the time after which it would count as dead.
fn waits(dead_after: Duration, idle_ping: Duration) -> Waits {
    let us = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 4).max(1000);
    Waits { sign_us: us(dead_after / 4), idle_us: us(idle_ping), dead_us: us(dead_after) }
}
