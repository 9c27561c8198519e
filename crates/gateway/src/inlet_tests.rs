//! Bodies that are too slow, too long, or not what was announced.

// A table of cases spells its type out.
#![allow(clippy::type_complexity)]

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use hyper::body::{Body, Frame};
use tokio::sync::Semaphore;

use super::{BodyFault, Inlet, Share};
use crate::checksum::Digests;
use crate::pace::Pace;
use crate::scope::Scope;
use crate::screen::{Chunking, Plan};

/// Pieces that arrive one every `every`.
struct Drip {
    pieces: VecDeque<&'static [u8]>,
    every: Duration,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Body for Drip {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let every = self.every;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(every)));
        std::task::ready!(timer.as_mut().poll(cx));
        self.timer = None;
        Poll::Ready(self.pieces.pop_front().map(|piece| Ok(Frame::data(Bytes::from_static(piece)))))
    }
}

async fn read(pieces: &[&'static [u8]], every: Duration, plan: Plan) -> Result<Vec<u8>, BodyFault> {
    let scope = Arc::new(Scope::new("id".into()));
    let all = Arc::new(Semaphore::new(2048));
    let held = Arc::clone(&all).try_acquire_many_owned(1024).expect("nobody else holds any");
    let pace = Pace { grace: Duration::from_secs(30), rate_min: 1024 };
    let drip = Drip { pieces: pieces.iter().copied().collect(), every, timer: None };
    let inlet = Inlet::new(drip, plan, Arc::clone(&scope), pace, Share { window: 1 << 20, all, held });
    match inlet.collect().await {
        Ok(collected) => Ok(collected.to_bytes().to_vec()),
        Err(_) => Err(scope.fault().expect("every failure is recorded")),
    }
}

fn data(bytes_max: u64) -> Plan {
    Plan { chunked: None, bytes_max, document: None, form: false }
}

#[tokio::test(start_paused = true)]
async fn a_body_may_be_slow_for_a_while_but_not_for_ever() {
    let second = Duration::from_secs(1);
    let slow = [b"x".as_slice(); 40];
    assert_eq!(read(&slow[..29], second, data(100)).await, Ok(vec![b'x'; 29]));
    assert_eq!(read(&slow, second, data(100)).await, Err(BodyFault::Slow));
    static KIB: [u8; 1024] = [7; 1024];
    let steady = [KIB.as_slice(); 100];
    assert_eq!(read(&steady, second, data(1 << 20)).await.map(|bytes| bytes.len()), Ok(100 << 10));
    assert_eq!(read(&[], Duration::from_secs(31), data(1)).await, Err(BodyFault::Slow));
}

#[tokio::test(start_paused = true)]
async fn a_body_is_bounded() {
    let pieces = [b"hello".as_slice(), b"!"];
    assert_eq!(read(&pieces, Duration::ZERO, data(6)).await, Ok(b"hello!".to_vec()));
    assert_eq!(read(&pieces, Duration::ZERO, data(5)).await, Err(BodyFault::TooLarge { bytes_max: 5 }));
}

#[tokio::test(start_paused = true)]
async fn framing_is_checked_to_its_end() {
    let chunking = Chunking { signed: false, trailer: true, decoded: 5 };
    let plan = Plan { chunked: Some(chunking), bytes_max: 1000, document: None, form: false };
    let whole = [b"5\r\nhe".as_slice(), b"llo\r\n0\r\n\r\n"];
    assert_eq!(
        read(&whole, Duration::ZERO, plan.clone()).await,
        Ok(b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n".to_vec())
    );
    assert_eq!(read(&whole[..1], Duration::ZERO, plan).await, Err(BodyFault::Truncated));
}

#[tokio::test(start_paused = true)]
async fn documents_hold_no_declarations_and_match_their_digests() {
    let mut headers = HeaderMap::new();
    headers.insert("content-md5", "XUFAKrxLKna5cZ2REBfFkg==".parse().expect("a value"));
    let right = Digests::of_headers(&headers).expect("well formed");
    let plan = |digests: &Digests| Plan {
        chunked: None,
        bytes_max: 1000,
        document: Some(digests.clone()),
        form: false,
    };
    let none = Digests::default();
    let cases: [(&[&'static [u8]], &Digests, Result<&[u8], BodyFault>); 6] = [
        (&[b"hello"], &right, Ok(b"hello")),
        (&[b"hellO"], &right, Err(BodyFault::Digest)),
        (&[], &right, Err(BodyFault::Digest)),
        (&[b"<?xml version=\"1.0\"?><!-- c --><a/>"], &none, Ok(b"<?xml version=\"1.0\"?><!-- c --><a/>")),
        (&[b"<!DOCTYPE a>"], &none, Err(BodyFault::Document)),
        (&[b"<", b"!", b"ENTITY"], &none, Err(BodyFault::Document)),
    ];
    for (pieces, digests, expected) in cases {
        assert_eq!(
            read(pieces, Duration::ZERO, plan(digests)).await,
            expected.map(<[u8]>::to_vec),
            "{pieces:?}"
        );
    }
}

#[test]
fn a_large_signed_chunk_takes_a_larger_share_or_waits() {
    let all = Arc::new(Semaphore::new(4 << 10));
    let held = Arc::clone(&all).try_acquire_many_owned(1 << 10).expect("free");
    let mut share = Share { window: 1 << 20, all: Arc::clone(&all), held };
    assert!(share.grow(64 << 10), "a usual chunk needs next to nothing");
    assert!(share.grow(2 << 20));
    assert!(all.available_permits() <= 1 << 10);
    assert!(!share.grow(8 << 20));
    drop(share);
    assert_eq!(all.available_permits(), 4 << 10, "everything comes back");
}
