//! The engine as a whole, on real sockets of this machine.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pangea_core::id::{ClusterId, NodeId};
use pangea_core::wire::{StoreRequest, StoreResponse};
use pangea_transport::{BoxFuture, Endpoint, Handler, Message, Transport, TransportError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsStream;

use super::{CrowdLimits, LinkFigures, Peer, Tcp, TcpConfig, meet};
use crate::error::{Awaited, NetError, Refusal};
use crate::frame::{Header, Kind};
use crate::identity::NodeIdentity;
use crate::proof::{Cluster, Greeted};
use crate::tls;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("a runtime")
});
const CLUSTER: ClusterId = ClusterId([7; 16]);
const SECRET: [u8; 32] = [9; 32];
/// Nothing here takes that long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

fn identity(seed: u8) -> NodeIdentity {
    NodeIdentity::from_seed([seed; 32]).expect("a seed")
}

fn config(seed: u8) -> TcpConfig {
    let listen = "127.0.0.1:0".parse().expect("an address");
    TcpConfig::new(identity(seed), CLUSTER, SECRET, listen)
}

fn start(config: TcpConfig) -> Arc<Tcp> {
    let _inside = RUNTIME.enter();
    Tcp::start(config).expect("a free port")
}

fn peer(of: &Tcp) -> Peer {
    Peer { node: of.local(), addresses: vec![of.local_address().to_string()] }
}

/// Two engines that know each other.
fn pair() -> (Arc<Tcp>, Arc<Tcp>) {
    let (a, b) = (start(config(1)), start(config(2)));
    a.set_peers(vec![peer(&b)]);
    b.set_peers(vec![peer(&a)]);
    (a, b)
}

fn message(fill: u8, bytes: usize) -> Message {
    Message { head: Bytes::from(vec![fill; 20]), body: Bytes::from(vec![fill; bytes]), answer: false }
}

fn figures(of: &Tcp, node: NodeId) -> LinkFigures {
    of.links().into_iter().find(|link| link.node == node).expect("a listed peer has a link")
}

/// Waits until something holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs a test's work on the runtime, with a deadline.
fn run(work: impl Future<Output = ()>) {
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
