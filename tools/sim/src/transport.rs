//! The `sim` engine of the transport port: messages with delays, losses, overtaking and partitions, from the seed.
//!
//! In calm weather (no delay, no loss) a message is in the peer's mailbox when `send` returns; so the engine passes the
//! shared exam without a simulated clock.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use pangea_client::Runtime;
use pangea_core::id::NodeId;
use pangea_core::wire::{BODY_BYTES_MAX, HEAD_BYTES_MAX};
use pangea_transport::mailbox::Mailbox;
use pangea_transport::{BoxFuture, LossListener, Message, Transport, TransportError};

use crate::dice::Dice;
use crate::executor::{Sim, SimRuntime};
use crate::fault::Fault;
use crate::trace::Happening;

/// Bytes that may wait in a node's mailbox.
const MAILBOX_BYTES_MAX: usize = 16 << 20;
/// Bytes that may be on their way to a node.
const WAY_BYTES_MAX: usize = 16 << 20;
/// A late message is late by up to this.
const LATE_US_MAX: u64 = 3_000_000;

/// What the network does to messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NetWeather {
    /// The longest usual delay, in microseconds; 0: none.
    pub delay_us: u64,
    /// Messages lost, in thousandths.
    pub lost: u64,
    /// Messages that come very late, in thousandths.
    pub late: u64,
}

impl NetWeather {
    /// Messages arrive at once.
    pub const CALM: Self = Self { delay_us: 0, lost: 0, late: 0 };
}

/// A network between simulated nodes. Cheap to clone.
#[derive(Clone)]
pub struct SimNet(Arc<Inner>);

struct Inner {
    runtime: SimRuntime,
    state: Mutex<State>,
}

struct State {
    weather: NetWeather,
    nodes: BTreeMap<NodeId, Arc<Mailbox>>,
    listeners: BTreeMap<NodeId, Vec<LossListener>>,
    joins: u64,
    ways: BTreeMap<NodeId, Way>,
    cut: BTreeSet<(NodeId, NodeId)>,
    dice: Dice,
}

#[derive(Default)]
struct Way {
    bytes: usize,
    waiting: Vec<Waker>,
}

impl SimNet {
    /// A network without nodes. `runtime` carries what is on its way: that of the world, which never dies.
    pub fn new(sim: &Sim, runtime: SimRuntime) -> Self {
        let state = State {
            weather: NetWeather::CALM,
            nodes: BTreeMap::new(),
            listeners: BTreeMap::new(),
            joins: 0,
            ways: BTreeMap::new(),
            cut: BTreeSet::new(),
            dice: sim.dice("net"),
        };
        Self(Arc::new(Inner { runtime, state: Mutex::new(state) }))
    }

    /// A node's end. Joining again replaces the end that the node had before.
    pub fn join(&self, local: NodeId) -> SimTransport {
        let mailbox = Arc::new(Mailbox::new(MAILBOX_BYTES_MAX));
        let mut state = self.lock();
        let before = state.nodes.insert(local, mailbox.clone());
        state.listeners.remove(&local);
        state.joins += 1;
        let instance = state.joins << 32;
        drop(state);
        before.iter().for_each(|before| before.close());
        SimTransport { net: self.clone(), local, instance, mailbox }
    }

    /// Changes the weather.
    pub fn set_weather(&self, weather: NetWeather) {
        self.lock().weather = weather;
    }

    /// Cuts the way from `a` to `b`, and back too if `both`.
    pub fn partition(&self, a: NodeId, b: NodeId, both: bool) {
        self.0.runtime.sim().fault(Fault::Partition);
        let mut state = self.lock();
        state.cut.insert((a, b));
        if both {
            state.cut.insert((b, a));
        }
    }

    /// Every way is open again.
    pub fn heal(&self) {
        self.lock().cut.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, from: NodeId, to: NodeId, message: Message) -> Result<(), TransportError> {
        let sim = self.0.runtime.sim();
        sim.trace(Happening::Message, &[u64::from(from.0[0]), u64::from(to.0[0]), message.bytes() as u64]);
        let (mailbox, delay_us) = {
            let mut state = self.lock();
            let mailbox = state.nodes.get(&to).cloned().ok_or(TransportError::Unreachable(to))?;
            // What a node tells itself never meets the network.
            let weather = if from == to { NetWeather::CALM } else { state.weather };
            if state.cut.contains(&(from, to)) {
                return Ok(());
            }
            if weather.lost > 0 && state.dice.chance(weather.lost) {
                drop(state);
                sim.fault(Fault::MessageLost);
                return Ok(());
            }
            let mut delay_us = if weather.delay_us > 0 { state.dice.below(weather.delay_us) } else { 0 };
            if weather.late > 0 && state.dice.chance(weather.late) {
                delay_us += state.dice.below(LATE_US_MAX);
                drop(state);
                sim.fault(Fault::MessageLate);
            }
            (mailbox, delay_us)
        };
        if delay_us == 0 {
            return mailbox.put(from, message).await;
        }
        self.room(to, &message).await;
        let (net, bytes) = (self.clone(), message.bytes());
        let carry = async move {
            net.0.runtime.sim().sleep(delay_us).await;
            // A mailbox that was closed meanwhile belonged to a process that is gone.
            let _ = mailbox.put(from, message).await;
            let waiting = {
                let mut state = net.lock();
                let way = state.ways.entry(to).or_default();
                way.bytes -= bytes;
                std::mem::take(&mut way.waiting)
            };
            waiting.into_iter().for_each(Waker::wake);
        };
        self.0.runtime.spawn("message", Box::pin(carry));
        Ok(())
    }

    /// Waits for room on the way, and takes it. Answers never wait.
    async fn room(&self, to: NodeId, message: &Message) {
        poll_fn(|cx| {
            let mut state = self.lock();
            let way = state.ways.entry(to).or_default();
            if !message.answer && way.bytes >= WAY_BYTES_MAX {
                way.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            way.bytes += message.bytes();
            Poll::Ready(())
        })
        .await;
    }
}

/// One node's end of a [`SimNet`].
pub struct SimTransport {
    net: SimNet,
    local: NodeId,
    instance: u64,
    mailbox: Arc<Mailbox>,
}

impl Transport for SimTransport {
    fn local(&self) -> NodeId {
        self.local
    }

    fn send(&self, peer: NodeId, message: Message) -> BoxFuture<'_, Result<(), TransportError>> {
        Box::pin(async move {
            if message.head.len() > HEAD_BYTES_MAX || message.body.len() > BODY_BYTES_MAX {
                return Err(TransportError::TooLarge { bytes: message.bytes() });
            }
            self.net.send(self.local, peer, message).await
        })
    }

    fn recv(&self) -> BoxFuture<'_, Result<(NodeId, Message), TransportError>> {
        Box::pin(self.mailbox.take())
    }

    fn instance(&self) -> u64 {
        self.instance
    }

    fn on_loss(&self, listener: LossListener) {
        self.net.lock().listeners.entry(self.local).or_default().push(listener);
    }

    /// Unlike a crash, this is noticed by all others.
    fn close(&self) {
        self.mailbox.close();
        let others: Vec<LossListener> = {
            let state = self.net.lock();
            let others = state.listeners.iter().filter(|(node, _)| **node != self.local);
            others.flat_map(|(_, listeners)| listeners.clone()).collect()
        };
        others.iter().for_each(|listener| listener(self.local));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const A: NodeId = NodeId([1; 32]);
    const B: NodeId = NodeId([2; 32]);

    fn net(seed: u64) -> (Sim, SimNet) {
        let sim = Sim::new(seed);
        let world = sim.runtime(sim.process(None));
        (sim.clone(), SimNet::new(&sim, world))
    }

    #[test]
    fn the_engine_passes_the_exam_in_calm_weather() {
        pangea_transport::conformance::conformance(|| {
            let (_, net) = net(1);
            (Arc::new(net.join(A)), Arc::new(net.join(B)))
        });
    }

    /// Sends numbers and gives those that arrive, in their order.
    fn arrivals(seed: u64, weather: NetWeather, cut: bool) -> Vec<u8> {
        let (sim, net) = net(seed);
        net.set_weather(weather);
        let (a, b) = (net.join(A), net.join(B));
        if cut {
            net.partition(A, B, false);
        }
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let (sink, world) = (arrived.clone(), sim.clone());
        let receiver = async move {
            while let Ok((_, message)) = b.recv().await {
                sink.lock().expect("one thread").push(message.head[0]);
            }
        };
        sim.spawn(sim.process(None), "receiver", Box::pin(receiver));
        let sender = async move {
            for number in 0..100_u8 {
                let head = Bytes::from(vec![number]);
                let message = Message { head, body: Bytes::new(), answer: false };
                a.send(B, message).await.expect("B is known");
            }
            world.sleep(10_000_000).await;
        };
        sim.run(sender).expect("it ends");
        std::mem::take(&mut *arrived.lock().expect("one thread"))
    }

    #[test]
    fn messages_are_late_lost_and_cut_off_but_never_doubled() {
        let all: Vec<u8> = (0..100).collect();
        let mut late = arrivals(1, NetWeather { delay_us: 500, lost: 0, late: 50 }, false);
        assert_ne!(late, all, "they overtake each other");
        late.sort_unstable();
        assert_eq!(late, all, "and all of them arrive");
        let lost = arrivals(1, NetWeather { delay_us: 0, lost: 300, late: 0 }, false);
        assert!((40..95).contains(&lost.len()), "{}", lost.len());
        assert!(arrivals(1, NetWeather::CALM, true).is_empty());
    }
}
