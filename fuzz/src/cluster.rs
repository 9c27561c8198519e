//! Targets for what nodes say to each other: members, pulses, joining, and questions about metadata.
//!
//! The first byte says which decoder gets the rest. Whatever is read must be written the same way again.

use pangea_core::cluster::{
    JoinAnswer, JoinQuestion, JoinToken, Member, Members, NodeAnswer, NodeQuestion, Pulse,
};
use pangea_core::codec::Reader;
use pangea_core::id::{BlobId, BucketId, NodeId};
use pangea_core::layout::Domain;
use pangea_core::meta::VersionSelector;
use pangea_core::meta::question::{Answer, Failure, Question};

/// One of them.
pub fn words(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    let again = match which {
        0 => Members::decode(&mut Reader::new(data, "members")).ok().map(|members| {
            let mut out = Vec::new();
            members.encode(&mut out);
            // What stands behind the list is somebody else's.
            [&out[..], &data[out.len().min(data.len())..]].concat()
        }),
        1 => NodeQuestion::decode(data).ok().map(|read| read.encode()),
        2 => NodeAnswer::decode(data).ok().map(|read| read.encode()),
        3 => JoinQuestion::decode(data).ok().map(|read| read.encode()),
        4 => JoinAnswer::decode(data).ok().map(|read| read.encode()),
        5 => Question::decode(data).ok().map(|read| read.encode()),
        // A reason that is not known here is told as such.
        6 => {
            let read = Answer::decode(data).ok();
            assert!(read.is_none_or(|read| Answer::decode(&read.encode()).is_ok()), "read back");
            None
        }
        _ => {
            let token = std::str::from_utf8(data).ok().and_then(|text| JoinToken::parse(text).ok());
            assert_eq!(token.as_ref().and_then(|token| JoinToken::parse(&token.text()).ok()), token);
            None
        }
    };
    if let Some(again) = again {
        assert_eq!(again, data, "one spelling");
    }
}

/// One of each, for the start.
pub fn inputs() -> Vec<(&'static str, Vec<u8>)> {
    let mut members = Members::default();
    members.keeper = Some(NodeId([2; 32]));
    let domain = Domain { site: "north".into(), host: "n1".into(), ..Domain::default() };
    let member = |node: u8| Member {
        node: NodeId([node; 32]),
        addresses: vec![format!("10.0.0.{node}:9002")],
        domain: domain.clone(),
        joined_ms: 1,
    };
    (1..4).for_each(|node| members.put(member(node)).expect("there is room"));
    let mut list = Vec::new();
    members.encode(&mut list);
    let pulse = Pulse { version: "0.1.0".into(), ready: true, layout_epoch: 3, ..Pulse::default() };
    let join = JoinQuestion {
        token: [1; 8],
        proof: [2; 32],
        addresses: vec!["10.0.0.9:9002".into()],
        domain,
        version: "0.1.0".into(),
        now_ms: 5,
        database: None,
    };
    let token = JoinToken {
        member: NodeId([7; 32]),
        id: [1; 8],
        secret: [9; 16],
        addresses: vec!["node.example:9002".into()],
    };
    let (bucket, key) = (BucketId([4; 16]), b"key".to_vec());
    let head = Question::HeadWithBlob { bucket, key, selector: VersionSelector::Current };
    let all: [(&str, u8, Vec<u8>); 10] = [
        ("members", 0, list),
        ("pulse", 1, NodeQuestion::Pulse.encode()),
        ("pulse_told", 2, NodeAnswer::Pulse(pulse).encode()),
        ("in_flight", 2, NodeAnswer::InFlight { written: vec![BlobId([1; 16])], all: vec![] }.encode()),
        ("join", 3, join.encode()),
        ("refused", 4, JoinAnswer::Refused("no".into()).encode()),
        ("head", 5, head.encode()),
        ("blobs", 5, Question::Blobs { after: Some(BlobId([9; 16])), limit: 1000 }.encode()),
        ("failed", 6, Answer::Failed(Failure::TooLarge(9, 8)).encode()),
        ("token", 7, token.text().into_bytes()),
    ];
    all.into_iter().map(|(name, which, bytes)| (name, [&[which], &bytes[..]].concat())).collect()
}
