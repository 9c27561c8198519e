//! Peers and strangers that do what they should not, driven by hand over real sockets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pangea_core::wire::BODY_BYTES_MAX;
use pangea_transport::{Transport, TransportError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::tests::{
    CLUSTER, RUNTIME, SECRET, config, endpoint, figures, identity, message, run, start, until,
};
use super::{CrowdLimits, Peer, Tcp, TcpConfig, meet};
use crate::error::{Awaited, NetError, Refusal};
use crate::frame::{FrameError, Header, Kind};
use crate::proof::{Cluster, Greeted};
use crate::tls;

/// Dials an engine as the node of seed 2 and greets as it should.
async fn member(of: &Tcp) -> TlsStream<TcpStream> {
    let address = of.local_address().to_string();
    let dialled = meet::dial(&identity(2), of.local(), &address, tls::STORE_PROTOCOL).await;
    let mut stream = dialled.expect("it listens");
    let said = Greeted { instance: 1, window_bytes: 1 << 20 };
    meet::greet(&mut stream, &Cluster::new(CLUSTER, &SECRET), said).await.expect("of one cluster");
    stream
}

/// An engine that lists the node of seed 2, which is nowhere.
fn lonely(config: TcpConfig) -> Arc<Tcp> {
    let engine = start(config);
    engine.set_peers(vec![Peer { node: identity(2).node_id(), addresses: vec![] }]);
    engine
}

fn header(kind: u8, head_bytes: u32, body_bytes: u32) -> [u8; 8] {
    let head = head_bytes.to_le_bytes();
    let body = body_bytes.to_le_bytes();
    [kind, head[0], head[1], head[2], body[0], body[1], body[2], body[3]]
}

/// Reads until the other side says bye, and gives its reason.
async fn bye(stream: &mut TlsStream<TcpStream>) -> Refusal {
    loop {
        match meet::read_header(stream).await {
            Err(NetError::Refused(reason)) => return reason,
            Ok(header) => {
                let mut rest = vec![0; header.head_bytes + header.body_bytes];
                stream.read_exact(&mut rest).await.expect("a whole frame");
            }
            Err(error) => panic!("no bye: {error}"),
        }
    }
}

#[test]
fn frames_against_the_rules_end_the_connection_with_a_reason() {
    let too_large = BODY_BYTES_MAX as u32 + 1;
    for frame in
        [header(1, 1, too_large), header(2, 65_537, 0), header(9, 0, 0), header(3, 0, 0), header(6, 61, 0)]
    {
        let a = lonely(config(1));
        run(async {
            let mut peer = member(&a).await;
            let mut bytes = frame.to_vec();
            bytes.extend([0; 61]);
            peer.write_all(&bytes).await.expect("it is up");
            peer.flush().await.expect("it is up");
            assert_eq!(bye(&mut peer).await, Refusal::Protocol);
            let node = identity(2).node_id();
            until("the end", || !figures(&a, node).connected).await;
            let error = figures(&a, node).last_error;
            // The engine goes on to dial, and that fails: the peer is nowhere.
            assert!(matches!(error, Some(NetError::Frame(_) | NetError::NoAddress)), "{error:?}");
        });
    }
}

#[test]
fn more_questions_than_there_is_room_for_are_a_flood() {
    let a = lonely(config(1));
    run(async {
        let peer = member(&a).await;
        let (mut reader, mut writer) = tokio::io::split(peer);
        let flood = async {
            let body = vec![0; 1 << 20];
            for _ in 0..64 {
                writer.write_all(&header(1, 0, body.len() as u32)).await?;
                writer.write_all(&body).await?;
                writer.flush().await?;
            }
            Ok::<(), std::io::Error>(())
        };
        let mut heard = Vec::new();
        let (_, read) = tokio::join!(flood, reader.read_to_end(&mut heard));
        // What it said may be lost behind the flood; that it hung up is not.
        drop(read);
        until("the end", || !figures(&a, identity(2).node_id()).connected).await;
        let in_bytes = figures(&a, identity(2).node_id()).bytes_in;
        assert!(in_bytes < 32 << 20, "{in_bytes} bytes were taken in");
    });
    assert_eq!(FrameError::Flood.to_string(), "more questions than there was room for");
}

#[test]
fn a_peer_killed_in_mid_message_ends_the_calls_to_it_and_nothing_else() {
    let a = lonely(config(1));
    let asker = endpoint(&a, Duration::ZERO);
    let node = identity(2).node_id();
    run(async {
        let mut peer = member(&a).await;
        until("the link", || figures(&a, node).connected).await;
        let asking = RUNTIME.spawn({
            let asker = asker.clone();
            async move { asker.ask(node, 7, Bytes::from_static(b"?"), 60_000).await }
        });
        let header = meet::read_header(&mut peer).await.expect("the question comes");
        assert_eq!(header.kind, Kind::Question);
        peer.write_all(&Header { kind: Kind::Answer, head_bytes: 18, body_bytes: 1 << 20 }.encode())
            .await
            .expect("up");
        peer.write_all(&[0; 5000]).await.expect("up");
        peer.flush().await.expect("up");
        drop(peer);
        let died = Instant::now();
        assert_eq!(asking.await.expect("no panic"), Err(TransportError::Unreachable(node)));
        assert!(died.elapsed() < Duration::from_secs(2), "{:?}", died.elapsed());
        assert_eq!(a.send(node, message(1, 1)).await, Err(TransportError::Unreachable(node)));
        let itself = asker.ask(a.local(), 7, Bytes::from_static(b"on?"), 60_000).await;
        assert_eq!(itself, Ok(Some(Bytes::from_static(b"on?"))), "the engine goes on");
    });
}

#[test]
fn a_peer_that_falls_silent_is_dead_within_five_seconds() {
    let a = lonely(config(1));
    let asker = endpoint(&a, Duration::ZERO);
    let node = identity(2).node_id();
    run(async {
        // Its kernel acknowledges everything; nobody reads.
        let _silent = member(&a).await;
        until("the link", || figures(&a, node).connected).await;
        let asked = Instant::now();
        let answer = asker.ask(node, 7, Bytes::from(vec![0; 4 << 20]), 60_000).await;
        assert_eq!(answer, Err(TransportError::Unreachable(node)));
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        assert_eq!(figures(&a, node).timeouts, 1);
    });
}

#[test]
fn an_idle_peer_that_falls_silent_is_dead_within_five_seconds() {
    let a = lonely(config(1));
    let node = identity(2).node_id();
    run(async {
        let _silent = member(&a).await;
        until("the link", || figures(&a, node).connected).await;
        let since = Instant::now();
        until("death", || !figures(&a, node).connected).await;
        assert!(since.elapsed() < Duration::from_millis(5500), "{:?}", since.elapsed());
        let silent = NetError::TimedOut { awaited: Awaited::Life };
        assert_eq!(silent.to_string(), "no sign of life in time");
        assert_eq!(figures(&a, node).timeouts, 1);
    });
}

#[test]
fn random_bytes_on_the_port_cost_a_connection_and_no_more() {
    let (a, b) = super::tests::pair();
    let (asker, _answerer) = (endpoint(&a, Duration::ZERO), endpoint(&b, Duration::ZERO));
    run(async {
        for round in 0..50_u64 {
            let mut stream = TcpStream::connect(b.local_address()).await.expect("it listens");
            let noise: Vec<u8> = (0..round * 40)
                .map(|at| (round.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(at as u32 % 64) >> 7) as u8)
                .collect();
            // It may hang up before everything is written.
            let _ = stream.write_all(&noise).await;
            let _ = stream.shutdown().await;
            let mut alert = Vec::new();
            let _ = stream.read_to_end(&mut alert).await;
            assert!(alert.len() < 100, "an alert at most");
        }
        assert!(asker.ask(b.local(), 7, Bytes::new(), 10_000).await.expect("up").is_some());
    });
}

#[test]
fn two_hundred_strangers_do_not_keep_a_member_out() {
    let (a, b) = super::tests::pair();
    let (asker, _answerer) = (endpoint(&a, Duration::ZERO), endpoint(&b, Duration::ZERO));
    run(async {
        let mut silent = Vec::new();
        for _ in 0..200 {
            silent.push(TcpStream::connect(b.local_address()).await.expect("it listens"));
        }
        let stranger = identity(9);
        let address = b.local_address().to_string();
        for _ in 0..20 {
            let dialled = meet::dial(&stranger, b.local(), &address, tls::STORE_PROTOCOL).await;
            let mut stream = dialled.expect("a handshake");
            assert_eq!(bye(&mut stream).await, Refusal::NotListed);
        }
        assert!(asker.ask(b.local(), 7, Bytes::new(), 10_000).await.expect("up").is_some());
        let since = Instant::now();
        for stream in &mut silent {
            let mut nothing = Vec::new();
            let _ = stream.read_to_end(&mut nothing).await;
        }
        assert!(since.elapsed() < meet::HANDSHAKE_MAX + Duration::from_secs(3), "{:?}", since.elapsed());
    });
}

#[test]
fn a_crowd_from_one_address_is_dropped_at_the_door() {
    let mut config = config(1);
    config.crowd = CrowdLimits { half_open_per_ip_max: 5, ..CrowdLimits::default() };
    let a = start(config);
    run(async {
        let mut held = Vec::new();
        for _ in 0..5 {
            held.push(TcpStream::connect(a.local_address()).await.expect("it listens"));
        }
        // Accepting takes a moment; from then on nobody else gets a place.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut sixth = TcpStream::connect(a.local_address()).await.expect("the kernel takes it");
        let mut nothing = Vec::new();
        let asked = Instant::now();
        let _ = sixth.read_to_end(&mut nothing).await;
        assert!(asked.elapsed() < Duration::from_secs(2), "dropped at once");
    });
}
