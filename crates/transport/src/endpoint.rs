//! Questions and answers over any engine: request ids, cancellation, bounded work.
//!
//! An [`Endpoint`] asks with [`Endpoint::call`] and answers through a [`Handler`]; both happen in [`Endpoint::run`], one
//! future that the shell spawns. Deadlines are the caller's: it drops the call, and the peer is told to forget it. A call to
//! a peer whose way broke fails at once ([`Transport::on_loss`]).
//! Answers may arrive in any order. A peer that sends nonsense costs one decode, nothing more.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_channel::oneshot;
use futures_util::future::{AbortHandle, Abortable, Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use pangea_core::id::NodeId;
use pangea_core::wire::{BODY_BYTES_MAX, Frame, Payload, StoreRequest, StoreResponse};

use crate::port::{BoxFuture, Message, Transport, TransportError};

/// Questions of others that are worked on at a time; further ones wait in the engine (backpressure).
pub const HANDLED_MAX: usize = 1024;

/// Answers questions.
pub trait Handler: Send + Sync {
    /// Answers one; the second part is the body of the answer (for `StoreResponse::Data`).
    fn handle(
        &self,
        peer: NodeId,
        request: StoreRequest,
        body: Bytes,
    ) -> BoxFuture<'_, (StoreResponse, Bytes)>;

    /// Answers a question to a service of this node. `None`: there is no such service, or not for that peer.
    fn serve(&self, _peer: NodeId, _service: u8, _question: Bytes) -> BoxFuture<'_, Option<Bytes>> {
        Box::pin(std::future::ready(None))
    }
}

type Answer = (StoreResponse, Bytes);
type Pending = BTreeMap<u64, (NodeId, oneshot::Sender<Result<(Reply, Bytes), TransportError>>)>;
type Asked = BTreeMap<(NodeId, u64), AbortHandle>;

/// What became of a question.
enum Reply {
    Store(StoreResponse),
    Told { served: bool },
}

/// A question that came in.
enum Received {
    Store(StoreRequest),
    Ask { service: u8 },
}

/// See the module.
pub struct Endpoint {
    transport: Arc<dyn Transport>,
    next_id: AtomicU64,
    pending: Mutex<Pending>,
    cancelled: Mutex<Vec<(NodeId, u64)>>,
}

impl Endpoint {
    /// An endpoint on `transport`; does nothing before [`Endpoint::run`] is polled.
    pub fn new(transport: Arc<dyn Transport>) -> Arc<Self> {
        let endpoint = Arc::new(Self {
            next_id: AtomicU64::new(transport.instance().wrapping_add(1)),
            transport,
            pending: Mutex::default(),
            cancelled: Mutex::default(),
        });
        let listener = Arc::downgrade(&endpoint);
        endpoint.transport.on_loss(Arc::new(move |peer| {
            if let Some(endpoint) = listener.upgrade() {
                endpoint.lost(peer);
            }
        }));
        endpoint
    }

    /// This node.
    pub fn local(&self) -> NodeId {
        self.transport.local()
    }

    /// Asks a drive of `peer`. Dropping the future tells the peer to forget the question.
    pub async fn call(
        &self,
        peer: NodeId,
        request: StoreRequest,
        body: Bytes,
        patience_ms: u32,
    ) -> Result<Answer, TransportError> {
        match self.question(peer, Payload::Request { patience_ms, request }, body).await? {
            (Reply::Store(response), body) => Ok((response, body)),
            // It answered something else than what it was asked.
            (Reply::Told { .. }, _) => Err(TransportError::Unreachable(peer)),
        }
    }

    /// Asks a service of `peer`; `None`: it has none of that number for us. Dropping the future tells the peer to forget
    /// the question.
    pub async fn ask(
        &self,
        peer: NodeId,
        service: u8,
        question: Bytes,
        patience_ms: u32,
    ) -> Result<Option<Bytes>, TransportError> {
        match self.question(peer, Payload::Ask { patience_ms, service }, question).await? {
            (Reply::Told { served }, answer) => Ok(served.then_some(answer)),
            (Reply::Store(_), _) => Err(TransportError::Unreachable(peer)),
        }
    }

    async fn question(
        &self,
        peer: NodeId,
        payload: Payload,
        body: Bytes,
    ) -> Result<(Reply, Bytes), TransportError> {
        let request_id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.lock().insert(request_id, (peer, sender));
        let asked = Question { endpoint: self, peer, request_id };
        let head = Frame { request_id, payload }.encode(body.len()).into();
        self.transport.send(peer, Message { head, body, answer: false }).await?;
        let answer = answer.await.unwrap_or(Err(TransportError::Closed));
        drop(asked);
        answer
    }

    /// Receives, answers and delivers until the transport is closed.
    pub async fn run(self: Arc<Self>, handler: Arc<dyn Handler>) {
        let mut work = FuturesUnordered::new();
        let mut asked = Asked::new();
        loop {
            self.send_cancels().await;
            if work.len() >= HANDLED_MAX {
                // No deadlock: work never waits for something to be received here, answers never wait for room.
                forget(&mut asked, work.next().await);
                continue;
            }
            let received = if work.is_empty() {
                self.transport.recv().await
            } else {
                match select(self.transport.recv(), work.next()).await {
                    Either::Left((received, _)) => received,
                    Either::Right((done, _)) => {
                        forget(&mut asked, done);
                        continue;
                    }
                }
            };
            let Ok((peer, message)) = received else { break };
            if let Some((request_id, received, body)) = self.receive(&asked, peer, message) {
                let (handle, registration) = AbortHandle::new_pair();
                asked.insert((peer, request_id), handle);
                let job = Abortable::new(
                    self.clone().answer(handler.clone(), peer, request_id, received, body),
                    registration,
                );
                work.push(async move {
                    // Cancelled or done, the question is over.
                    let _ = job.await;
                    (peer, request_id)
                });
            }
        }
        self.lock().clear();
    }

    async fn answer(
        self: Arc<Self>,
        handler: Arc<dyn Handler>,
        peer: NodeId,
        request_id: u64,
        received: Received,
        body: Bytes,
    ) {
        let (payload, body) = match received {
            Received::Store(request) => {
                let (response, body) = handler.handle(peer, request, body).await;
                (Payload::Response(response), body)
            }
            Received::Ask { service } => {
                let answer = handler.serve(peer, service, body).await;
                let answer = answer.filter(|answer| answer.len() <= BODY_BYTES_MAX);
                (Payload::Told { served: answer.is_some() }, answer.unwrap_or_default())
            }
        };
        let head = Frame { request_id, payload }.encode(body.len()).into();
        // An asker that cannot be reached will ask again.
        let _ = self.transport.send(peer, Message { head, body, answer: true }).await;
    }

    /// Tells peers which answers nobody waits for any more. Best effort: an unwanted answer finds nobody anyway.
    async fn send_cancels(&self) {
        let cancelled =
            std::mem::take(&mut *self.cancelled.lock().expect("no code panics while it holds the list"));
        for (peer, request_id) in cancelled {
            let head = Frame { request_id, payload: Payload::Cancel }.encode(0).into();
            let _ = self.transport.send(peer, Message { head, body: Bytes::new(), answer: true }).await;
        }
    }

    /// Sorts one message in; gives back a question to work on.
    fn receive(&self, asked: &Asked, peer: NodeId, message: Message) -> Option<(u64, Received, Bytes)> {
        let (frame, body_len) = Frame::decode(&message.head).ok()?;
        if body_len != message.body.len() {
            return None;
        }
        let request_id = frame.request_id;
        match frame.payload {
            Payload::Request { request, .. } => Some((request_id, Received::Store(request), message.body)),
            Payload::Ask { service, .. } => Some((request_id, Received::Ask { service }, message.body)),
            Payload::Response(response) => {
                self.deliver(peer, request_id, Reply::Store(response), message.body)
            }
            Payload::Told { served } => self.deliver(peer, request_id, Reply::Told { served }, message.body),
            Payload::Cancel => {
                if let Some(job) = asked.get(&(peer, request_id)) {
                    job.abort();
                }
                None
            }
        }
    }

    /// Hands an answer to whoever asked that peer.
    fn deliver<T>(&self, peer: NodeId, request_id: u64, reply: Reply, body: Bytes) -> Option<T> {
        if let Entry::Occupied(entry) = self.lock().entry(request_id)
            && entry.get().0 == peer
        {
            // The caller may have gone; then nobody wants the answer.
            let _ = entry.remove().1.send(Ok((reply, body)));
        }
        None
    }

    /// Ends the calls that wait for `peer`: what they asked, or its answer, may be lost.
    fn lost(&self, peer: NodeId) {
        let mut pending = self.lock();
        let (over, rest) = std::mem::take(&mut *pending).into_iter().partition(|(_, (of, _))| *of == peer);
        *pending = rest;
        drop(pending);
        let over: Pending = over;
        for (_, waiting) in over.into_values() {
            // The caller may have gone.
            let _ = waiting.send(Err(TransportError::Unreachable(peer)));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.pending.lock().expect("no code panics while it holds the table")
    }
}

fn forget(asked: &mut Asked, done: Option<(NodeId, u64)>) {
    if let Some(question) = done {
        asked.remove(&question);
    }
}

/// A question on its way; dropped early, it is forgotten here and its peer is told.
struct Question<'a> {
    endpoint: &'a Endpoint,
    peer: NodeId,
    request_id: u64,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        if self.endpoint.lock().remove(&self.request_id).is_some() {
            let mut cancelled =
                self.endpoint.cancelled.lock().expect("no code panics while it holds the list");
            cancelled.push((self.peer, self.request_id));
        }
    }
}
