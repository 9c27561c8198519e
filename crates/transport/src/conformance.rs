//! The exam that every engine passes.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use bytes::Bytes;
use pangea_core::id::{ChunkId, DriveId, NodeId, ShardId};
use pangea_core::wire::{BODY_BYTES_MAX, Fault, StoreRequest, StoreResponse};

use crate::endpoint::{Endpoint, Handler};
use crate::port::{BoxFuture, Message, Transport, TransportError};

/// Two ends that can reach each other (for the loopback both are the same).
pub type Ends = (Arc<dyn Transport>, Arc<dyn Transport>);

/// Runs every scenario on fresh ends.
pub fn conformance(make: impl Fn() -> Ends) {
    messages_arrive_whole_and_in_turn(make());
    too_large_a_message_is_refused(make());
    an_unknown_peer_is_unreachable(make());
    closing_wakes_whoever_waits(make());
    questions_are_answered_and_matched(make());
    a_full_way_makes_the_sender_wait(make());
    a_call_to_an_end_that_closes_fails(make());
}

fn messages_arrive_whole_and_in_turn((a, b): Ends) {
    let sizes = [0, 1, 4096, 1 << 20];
    for (number, size) in sizes.into_iter().enumerate() {
        let sent = question(number as u8, size);
        block_on(a.send(b.local(), sent.clone())).expect("there is room");
        assert_eq!(block_on(b.recv()), Ok((a.local(), sent)));
    }
}

fn too_large_a_message_is_refused((a, b): Ends) {
    let sent = block_on(a.send(b.local(), question(0, BODY_BYTES_MAX + 1)));
    assert!(matches!(sent, Err(TransportError::TooLarge { .. })), "{sent:?}");
}

fn an_unknown_peer_is_unreachable((a, _b): Ends) {
    let stranger = NodeId([0xee; 32]);
    assert_eq!(block_on(a.send(stranger, question(0, 1))), Err(TransportError::Unreachable(stranger)));
}

fn closing_wakes_whoever_waits((_a, b): Ends) {
    let mut waiting = b.recv();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    b.close();
    assert_eq!(block_on(waiting), Err(TransportError::Closed));
}

fn a_full_way_makes_the_sender_wait((a, b): Ends) {
    let mut cx = Context::from_waker(Waker::noop());
    let mut sent = 0_usize;
    // The bound is the engine's; a gigabyte in flight would mean that there is none.
    let waiting = loop {
        assert!(sent < 1024, "the way has no bound");
        let mut next = a.send(b.local(), question(1, 1 << 20));
        match next.as_mut().poll(&mut cx) {
            Poll::Ready(done) => done.expect("there is room"),
            Poll::Pending => break next,
        }
        sent += 1;
    };
    let mut answer = question(2, 1 << 20);
    answer.answer = true;
    block_on(a.send(b.local(), answer)).expect("answers never wait");
    for _ in 0..sent {
        block_on(b.recv()).expect("what was sent arrives");
    }
    block_on(waiting).expect("there is room again");
}

fn questions_are_answered_and_matched((a, b): Ends) {
    struct Echo;
    impl Handler for Echo {
        fn handle(
            &self,
            _: NodeId,
            request: StoreRequest,
            body: Bytes,
        ) -> BoxFuture<'_, (StoreResponse, Bytes)> {
            Box::pin(async move {
                match request {
                    StoreRequest::Read { .. } => (StoreResponse::Data, body),
                    _ => (StoreResponse::Failed(Fault::Malformed), Bytes::new()),
                }
            })
        }

        fn serve(&self, _: NodeId, service: u8, question: Bytes) -> BoxFuture<'_, Option<Bytes>> {
            Box::pin(std::future::ready((service == 7).then_some(question)))
        }
    }
    let asker = Endpoint::new(a.clone());
    let mut threads = vec![];
    let answerer = if a.local() == b.local() { asker.clone() } else { Endpoint::new(b.clone()) };
    if !Arc::ptr_eq(&asker, &answerer) {
        let run = asker.clone().run(Arc::new(Echo));
        threads.push(std::thread::spawn(move || block_on(run)));
    }
    threads.push(std::thread::spawn(move || block_on(answerer.run(Arc::new(Echo)))));
    let shard = ShardId { chunk: ChunkId { blob: pangea_core::id::BlobId::ZERO, chunk: 0 }, index: 0 };
    for number in 0..100_u8 {
        let request = StoreRequest::Read { drive: DriveId::ZERO, shard, first: 0, pieces: 1 };
        let body = Bytes::from(vec![number; usize::from(number) * 100]);
        let answer = block_on(asker.call(b.local(), request, body.clone(), 1000));
        assert_eq!(answer, Ok((StoreResponse::Data, body)));
    }
    let question = Bytes::from_static(b"what is it?");
    assert_eq!(block_on(asker.ask(b.local(), 7, question.clone(), 1000)), Ok(Some(question.clone())));
    assert_eq!(block_on(asker.ask(b.local(), 8, question, 1000)), Ok(None), "there is no such service");
    a.close();
    b.close();
    threads.into_iter().for_each(|thread| thread.join().expect("run ends when its transport is closed"));
}

/// The peer goes away in the middle of the work on a question: nobody waits for the answer until a deadline.
fn a_call_to_an_end_that_closes_fails((a, b): Ends) {
    struct Never;
    impl Handler for Never {
        fn handle(&self, _: NodeId, _: StoreRequest, _: Bytes) -> BoxFuture<'_, (StoreResponse, Bytes)> {
            Box::pin(std::future::pending())
        }
    }
    let asker = Endpoint::new(a.clone());
    let run = asker.clone().run(Arc::new(Never));
    let runner = std::thread::spawn(move || block_on(run));
    let alone = a.local() == b.local();
    let asking = {
        let (asker, peer) = (asker.clone(), b.local());
        std::thread::spawn(move || block_on(asker.ask(peer, 1, Bytes::new(), u32::MAX)))
    };
    if !alone {
        block_on(b.recv()).expect("the question arrives");
    }
    b.close();
    let answer = asking.join().expect("the call ends");
    if alone {
        assert_eq!(answer, Err(TransportError::Closed));
    } else {
        assert_eq!(answer, Err(TransportError::Unreachable(b.local())));
    }
    a.close();
    runner.join().expect("run ends when its transport is closed");
}

fn question(fill: u8, bytes: usize) -> Message {
    Message { head: Bytes::from(vec![fill; 20]), body: Bytes::from(vec![fill; bytes]), answer: false }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls a future to its end on this thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            return value;
        }
        std::thread::park();
    }
}
