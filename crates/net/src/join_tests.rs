//! Newcomers at the door.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use pangea_core::id::{ClusterId, NodeId};
use pangea_transport::BoxFuture;
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::Runtime;

use super::{ANSWER_BYTES_MAX, JoinDoor, QUESTION_BYTES_MAX, ask, read};
use crate::error::{NetError, Refusal};
use crate::frame::{Header, Kind};
use crate::identity::NodeIdentity;
use crate::tcp::meet;
use crate::tcp::{CrowdLimits, Tcp, TcpConfig};
use crate::tls;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
});
const PATIENCE: Duration = Duration::from_secs(10);

/// Remembers who came, and answers with what both sides know of the connection and the question.
#[derive(Default)]
struct Porter {
    came: Mutex<Vec<NodeId>>,
    answer_bytes: usize,
}

impl JoinDoor for Porter {
    fn answer(&self, peer: NodeId, channel: [u8; 32], question: Bytes) -> BoxFuture<'_, Bytes> {
        self.came.lock().expect("no panic").push(peer);
        let mut answer = [channel.as_slice(), &question].concat();
        answer.resize(answer.len().max(self.answer_bytes), 0);
        Box::pin(std::future::ready(answer.into()))
    }
}

fn identity(seed: u8) -> NodeIdentity {
    NodeIdentity::from_seed([seed; 32]).expect("a seed")
}

fn member(joins_per_minute_max: u32) -> Arc<Tcp> {
    let _inside = RUNTIME.enter();
    let listen = "127.0.0.1:0".parse().expect("an address");
    let mut config = TcpConfig::new(identity(1), ClusterId([1; 16]), [1; 32], listen);
    config.crowd = CrowdLimits { joins_per_minute_max, ..CrowdLimits::default() };
    Tcp::start(config).expect("a free port")
}

fn ask_as(seed: u8, of: &Tcp, expected: NodeId, question: Vec<u8>) -> Result<(Bytes, [u8; 32]), NetError> {
    let mut seen = [0; 32];
    let make = |channel| {
        seen = channel;
        Bytes::from(question)
    };
    let address = of.local_address().to_string();
    let newcomer = identity(seed);
    let answer = RUNTIME.block_on(ask(&newcomer, &address, expected, make, PATIENCE))?;
    Ok((answer, seen))
}

#[test]
fn a_newcomer_asks_and_is_answered_over_a_channel_of_their_own() {
    let member = member(100);
    let porter = Arc::new(Porter::default());
    member.set_join_door(porter.clone());
    let node = identity(1).node_id();
    let mut channels = Vec::new();
    for seed in [5, 6] {
        let question = vec![seed; QUESTION_BYTES_MAX];
        let (answer, channel) = ask_as(seed, &member, node, question.clone()).expect("answered");
        assert_eq!(answer, [channel.as_slice(), &question].concat());
        channels.push(channel);
    }
    assert_ne!(channels[0], channels[1], "a question is of no use on another connection");
    assert_eq!(*porter.came.lock().expect("no panic"), [identity(5).node_id(), identity(6).node_id()]);
}

#[test]
fn a_question_that_is_too_large_is_refused_on_both_sides() {
    let member = member(100);
    member.set_join_door(Arc::new(Porter::default()));
    let node = identity(1).node_id();
    let error = ask_as(5, &member, node, vec![0; QUESTION_BYTES_MAX + 1]).expect_err("too large");
    assert!(matches!(error, NetError::TooLarge { bytes_max: QUESTION_BYTES_MAX, .. }), "{error:?}");

    // And by a newcomer that does not look at the bound itself.
    let error = RUNTIME.block_on(async {
        let address = member.local_address().to_string();
        let dialled = meet::dial(&identity(5), node, &address, tls::JOIN_PROTOCOL).await;
        let mut stream = dialled.expect("it listens");
        let header = Header { kind: Kind::Question, head_bytes: 0, body_bytes: QUESTION_BYTES_MAX + 1 };
        stream.write_all(&header.encode()).await.expect("up");
        stream.flush().await.expect("up");
        read(&mut stream, Kind::Answer, ANSWER_BYTES_MAX).await.expect_err("refused")
    });
    assert!(matches!(error, NetError::Refused(Refusal::Protocol)), "{error:?}");
}

#[test]
fn an_answer_that_is_too_large_is_not_taken() {
    let member = member(100);
    let porter = Porter { answer_bytes: ANSWER_BYTES_MAX + 1, ..Porter::default() };
    member.set_join_door(Arc::new(porter));
    assert!(ask_as(5, &member, identity(1).node_id(), vec![]).is_err());
}

#[test]
fn who_answers_must_be_the_node_that_was_meant() {
    let member = member(100);
    member.set_join_door(Arc::new(Porter::default()));
    let error = ask_as(5, &member, identity(2).node_id(), vec![1]).expect_err("another");
    assert!(matches!(error, NetError::OtherNode { .. }), "{error:?}");
}

#[test]
fn a_node_without_a_door_says_so_and_one_that_is_asked_too_often() {
    let member = member(2);
    let node = identity(1).node_id();
    let error = ask_as(5, &member, node, vec![1]).expect_err("no door");
    assert!(matches!(error, NetError::Refused(Refusal::NoDoor)), "{error:?}");
    member.set_join_door(Arc::new(Porter::default()));
    ask_as(5, &member, node, vec![1]).expect("the second in this minute");
    let error = ask_as(5, &member, node, vec![1]).expect_err("the third");
    assert!(matches!(error, NetError::Refused(Refusal::TooMany)), "{error:?}");
}

#[test]
fn an_address_that_leads_nowhere_is_named() {
    for address in ["nowhere.invalid:1", "127.0.0.1", "127.0.0.1:0", ""] {
        let newcomer = identity(5);
        let asked = ask(&newcomer, address, identity(1).node_id(), |_| Bytes::new(), PATIENCE);
        let error = RUNTIME.block_on(asked).expect_err("nobody there");
        assert!(matches!(error, NetError::Address { .. } | NetError::Io { .. }), "{address}: {error:?}");
    }
}
