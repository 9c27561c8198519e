//! The engine as a whole, on real sockets of this machine.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pangea_core::id::{ClusterId, NodeId};
use pangea_core::wire::{StoreRequest, StoreResponse};
use pangea_transport::{BoxFuture, Endpoint, Handler, Message, Transport, TransportError};
use tokio::runtime::Runtime;

use super::{LinkFigures, Peer, Tcp, TcpConfig};
use crate::error::{NetError, Refusal};
use crate::identity::NodeIdentity;

pub(super) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("a runtime")
});
pub(super) const CLUSTER: ClusterId = ClusterId([7; 16]);
pub(super) const SECRET: [u8; 32] = [9; 32];
/// Nothing here takes that long, unless it hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn identity(seed: u8) -> NodeIdentity {
    NodeIdentity::from_seed([seed; 32]).expect("a seed")
}

pub(super) fn config(seed: u8) -> TcpConfig {
    let listen = "127.0.0.1:0".parse().expect("an address");
    TcpConfig::new(identity(seed), CLUSTER, SECRET, listen)
}

pub(super) fn start(config: TcpConfig) -> Arc<Tcp> {
    let _inside = RUNTIME.enter();
    Tcp::start(config).expect("a free port")
}

pub(super) fn peer(of: &Tcp) -> Peer {
    Peer { node: of.local(), addresses: vec![of.local_address().to_string()] }
}

/// Two engines that know each other.
pub(super) fn pair() -> (Arc<Tcp>, Arc<Tcp>) {
    let (a, b) = (start(config(1)), start(config(2)));
    a.set_peers(vec![peer(&b)]);
    b.set_peers(vec![peer(&a)]);
    (a, b)
}

pub(super) fn message(fill: u8, bytes: usize) -> Message {
    Message { head: Bytes::from(vec![fill; 20]), body: Bytes::from(vec![fill; bytes]), answer: false }
}

pub(super) fn figures(of: &Tcp, node: NodeId) -> LinkFigures {
    of.links().into_iter().find(|link| link.node == node).expect("a listed peer has a link")
}

/// Waits until something holds.
pub(super) async fn until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs a test's work on the runtime, with a deadline.
pub(super) fn run(work: impl Future<Output = ()>) {
    RUNTIME.block_on(async { tokio::time::timeout(PATIENCE * 2, work).await.expect("it ends in time") });
}

#[test]
fn two_engines_pass_the_exam() {
    pangea_transport::conformance::conformance(|| {
        let (a, b) = pair();
        (a as Arc<dyn Transport>, b as Arc<dyn Transport>)
    });
}

#[test]
fn an_engine_alone_passes_the_exam_as_its_own_peer() {
    pangea_transport::conformance::conformance(|| {
        let a: Arc<dyn Transport> = start(config(1));
        (a.clone(), a)
    });
}

/// Echoes what is asked of service 7, after a while.
struct Echo {
    after: Duration,
}

impl Handler for Echo {
    fn handle(&self, _: NodeId, _: StoreRequest, body: Bytes) -> BoxFuture<'_, (StoreResponse, Bytes)> {
        Box::pin(async move { (StoreResponse::Data, body) })
    }

    fn serve(&self, _: NodeId, service: u8, question: Bytes) -> BoxFuture<'_, Option<Bytes>> {
        Box::pin(async move {
            tokio::time::sleep(self.after).await;
            (service == 7).then_some(question)
        })
    }
}

/// An endpoint on an engine, answering.
pub(super) fn endpoint(on: &Arc<Tcp>, after: Duration) -> Arc<Endpoint> {
    let endpoint = Endpoint::new(on.clone());
    RUNTIME.spawn(endpoint.clone().run(Arc::new(Echo { after })));
    endpoint
}

#[test]
fn nodes_that_do_not_belong_together_tell_each_other_why() {
    let mut other_cluster = config(2);
    other_cluster.cluster = ClusterId([8; 16]);
    let mut other_secret = config(2);
    other_secret.secret = [10; 32];
    for (config, lists, why) in [
        (other_cluster, true, Refusal::OtherCluster),
        (other_secret, true, Refusal::WrongSecret),
        (config(2), false, Refusal::NotListed),
    ] {
        let (a, b) = (start(self::config(1)), start(config));
        a.set_peers(vec![peer(&b)]);
        if lists {
            b.set_peers(vec![peer(&a)]);
        }
        run(async {
            // Taken in: nothing is known of the peer yet.
            a.send(b.local(), message(1, 1)).await.expect("queued");
            until("an error", || figures(&a, b.local()).last_error.is_some()).await;
            let error = figures(&a, b.local()).last_error.expect("there is one");
            assert!(matches!(error, NetError::Refused(reason) if reason == why), "{error:?}");
            let sent = a.send(b.local(), message(1, 1)).await;
            assert_eq!(sent, Err(TransportError::Unreachable(b.local())));
            assert!(!figures(&a, b.local()).connected);
        });
    }
}

#[test]
fn another_node_at_the_address_gets_nothing() {
    let (a, b) = (start(config(1)), start(config(2)));
    let meant = identity(3).node_id();
    a.set_peers(vec![Peer { node: meant, addresses: peer(&b).addresses }]);
    b.set_peers(vec![peer(&a)]);
    run(async {
        a.send(meant, message(1, 1)).await.expect("queued");
        until("an error", || figures(&a, meant).last_error.is_some()).await;
        let error = figures(&a, meant).last_error.expect("there is one");
        let found = b.local();
        assert!(
            matches!(error, NetError::OtherNode { expected, found: f } if (expected, f) == (meant, found)),
            "{error:?}"
        );
        assert_eq!(a.send(found, message(1, 1)).await, Err(TransportError::Unreachable(found)), "not listed");
    });
}

#[test]
fn work_that_takes_longer_than_death_is_no_alarm() {
    let [mut one, mut two] = [config(1), config(2)];
    (one.dead_after, two.dead_after) = (Duration::from_millis(600), Duration::from_millis(600));
    let (a, b) = (start(one), start(two));
    a.set_peers(vec![peer(&b)]);
    b.set_peers(vec![peer(&a)]);
    let asker = endpoint(&a, Duration::ZERO);
    let _answerer = endpoint(&b, Duration::from_secs(3));
    run(async {
        let answer = asker.ask(b.local(), 7, Bytes::from_static(b"slow"), 10_000).await;
        assert_eq!(answer, Ok(Some(Bytes::from_static(b"slow"))));
        let figures = figures(&a, b.local());
        assert_eq!((figures.losses, figures.timeouts), (0, 0));
    });
}

#[test]
fn both_may_dial_at_once_and_every_message_arrives_once_and_in_turn() {
    const MESSAGES: u8 = 50;
    for _ in 0..10 {
        let (a, b) = pair();
        let exchange = |from: Arc<Tcp>, to: Arc<Tcp>| async move {
            for number in 0..MESSAGES {
                from.send(to.local(), message(number, 1000)).await.expect("it is up, or being dialled");
                tokio::task::yield_now().await;
            }
            for number in 0..MESSAGES {
                let (peer, received) = from.recv().await.expect("open");
                assert_eq!(peer, to.local());
                // The other connection may carry the first ones while this one carries the next.
                assert!(received.body.len() == 1000 && received.head[0] < MESSAGES, "{number}");
            }
        };
        run(async {
            tokio::join!(exchange(a.clone(), b.clone()), exchange(b.clone(), a.clone()));
            assert_eq!(figures(&a, b.local()).losses + figures(&b, a.local()).losses, 0);
        });
    }
}

#[test]
fn a_peer_that_comes_back_elsewhere_is_found_and_finds() {
    let (a, b) = pair();
    let asker = endpoint(&a, Duration::ZERO);
    let ask = |node: NodeId| {
        let asker = asker.clone();
        async move { asker.ask(node, 7, Bytes::from_static(b"there?"), 10_000).await }
    };
    let node = b.local();
    let first = endpoint(&b, Duration::ZERO);
    run(async {
        assert!(ask(node).await.expect("up").is_some());
        b.close();
        until("the loss", || !figures(&a, node).connected).await;
        assert_eq!(ask(node).await, Err(TransportError::Unreachable(node)), "at once");
        let error = figures(&a, node).last_error.expect("it said bye");
        assert!(matches!(error, NetError::Refused(Refusal::Closing) | NetError::Io { .. }), "{error:?}");

        let again = start(config(2));
        let _second = endpoint(&again, Duration::ZERO);
        again.set_peers(vec![peer(&a)]);
        a.set_peers(vec![peer(&again)]);
        until("the link", || figures(&a, node).connected).await;
        assert!(ask(node).await.expect("up again").is_some());
        again.close();
        until("the loss", || !figures(&a, node).connected).await;

        // This time nobody tells the asker where the peer is: the peer comes by itself.
        let third = start(config(2));
        let third_end = endpoint(&third, Duration::ZERO);
        third.set_peers(vec![peer(&a)]);
        assert_eq!(third_end.ask(a.local(), 9, Bytes::new(), 10_000).await, Ok(None));
        assert!(ask(node).await.expect("up by the peer's dialling").is_some());
    });
    drop(first);
}

#[test]
fn who_is_taken_off_the_list_is_cut_off() {
    let (a, b) = pair();
    let asker = endpoint(&a, Duration::ZERO);
    let _answerer = endpoint(&b, Duration::from_secs(60));
    run(async {
        let mut bell = a.subscribe();
        let asking = RUNTIME.spawn({
            let (asker, node) = (asker.clone(), b.local());
            async move { asker.ask(node, 7, Bytes::new(), 60_000).await }
        });
        until("the link", || figures(&b, a.local()).connected).await;
        bell.borrow_and_update();
        a.set_peers(vec![]);
        assert_eq!(asking.await.expect("no panic"), Err(TransportError::Unreachable(b.local())));
        assert!(bell.has_changed().expect("the engine runs"));
        until("the other side learns it", || !figures(&b, a.local()).connected).await;
        assert!(a.links().is_empty());
    });
}

#[test]
fn answers_overtake_questions_that_nobody_takes() {
    let (a, b) = pair();
    run(async {
        let mut sent = 0;
        while let Ok(done) =
            tokio::time::timeout(Duration::from_millis(500), a.send(b.local(), message(1, 1 << 20))).await
        {
            done.expect("it is up");
            sent += 1;
            assert!(sent < 200, "the way has no bound");
        }
        let answer = Message { answer: true, ..message(2, 1 << 20) };
        a.send(b.local(), answer.clone()).await.expect("never waits");
        // The other direction is not hindered either.
        b.send(a.local(), message(3, 10)).await.expect("it is up");
        assert_eq!(a.recv().await.expect("open").1.head[0], 3);
        until("the answer's bytes", || figures(&b, a.local()).bytes_in >= figures(&a, b.local()).bytes_out)
            .await;
        assert_eq!(b.recv().await.expect("open").1, answer, "before the questions");
        for _ in 0..sent {
            assert!(!b.recv().await.expect("open").1.answer);
        }
    });
}

#[test]
fn figures_tell_of_a_link() {
    let (a, b) = pair();
    let (asker, _answerer) = (endpoint(&a, Duration::ZERO), endpoint(&b, Duration::ZERO));
    run(async {
        assert!(!figures(&a, b.local()).connected, "not before it is needed");
        asker.ask(b.local(), 7, Bytes::from(vec![1; 1 << 20]), 10_000).await.expect("up");
        until("a ping", || figures(&a, b.local()).rtt_us > 0 || figures(&b, a.local()).rtt_us > 0).await;
        let figures = figures(&a, b.local());
        assert!(figures.connected && figures.last_error.is_none(), "{figures:?}");
        assert!(figures.bytes_in > 1 << 20 && figures.bytes_out > 1 << 20 && figures.throughput > 0);
    });
}
