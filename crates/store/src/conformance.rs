//! The exam of the port: what every engine must do, as one function that panics where an engine does otherwise.
//!
//! Public and behind no feature, so that engines in other crates take it too. Knows nothing but the port.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use bytes::Bytes;
use pangea_core::chunk::{Aead, Code, Codec, Shape, ShardHeader};
use pangea_core::id::{BlobId, ChunkId, ShardId};

use crate::port::{ChunkTag, LIST_MAX, ListedShard, ShardStore, StoreError};

/// Calls of `compact` after which an engine must be done with the exam's few shards.
const COMPACT_CALLS_MAX: usize = 1000;

/// Runs every scenario, each on a store of its own that `make` makes: empty, with room for at least 64 MiB.
pub fn conformance(make: impl Fn() -> Arc<dyn ShardStore>) {
    let scenarios: [fn(&dyn ShardStore); 9] = [
        what_is_put_is_read_back_by_pieces,
        damage_on_arrival_is_refused_and_leaves_nothing,
        contradictions_are_rejected,
        a_put_is_idempotent_and_another_sealing_conflicts,
        what_is_deleted_is_missing_and_may_be_put_again,
        listing_pages_through_all_shards_in_order,
        a_healthy_shard_is_not_quarantined,
        status_counts_and_generations_are_kept,
        compaction_loses_nothing_and_ends,
    ];
    for scenario in scenarios {
        scenario(make().as_ref());
    }
    many_at_once(&make());
    after_shutdown_everything_is_closed(make().as_ref());
}

/// Polls a future to its end on this thread, sleeping between wake-ups. For the exam, tests and tools.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// The id that [`sample_shard`] gives number `n`; ids rise with `n`.
pub fn sample_id(n: u32) -> ShardId {
    let mut blob = [0xb0; 16];
    blob[..4].copy_from_slice(&n.to_be_bytes());
    ShardId { chunk: ChunkId { blob: BlobId(blob), chunk: n % 3 }, index: 0 }
}

/// A whole data shard of `pieces` pieces of 1 KiB << `piece_log2`; its bytes follow from `n` and `sealing`.
pub fn sample_shard(n: u32, sealing: u32, piece_log2: u8, pieces: u8) -> (ShardHeader, Bytes) {
    let len = (1024usize << piece_log2) * usize::from(pieces);
    let shape = Shape {
        code: Code::new(2, 1).expect("2+1 is a code"),
        piece_log2,
        pieces,
        codec: Codec::Raw,
        aead: Aead::Packed,
        plain_len: len as u32,
        payload_len: len as u32,
    };
    let mut data = vec![0; len];
    let mut seed = blake3::Hasher::new();
    seed.update(&n.to_le_bytes()).update(&sealing.to_le_bytes());
    seed.finalize_xof().fill(&mut data);
    let value = |(piece, i): (&[u8], u8)| ShardHeader::piece_value(&shape, 0, i, piece);
    let values = data.chunks(shape.piece_bytes()).zip(0..).map(value).collect();
    let chunk_hash = *blake3::hash(&data).as_bytes();
    let header =
        ShardHeader { id: sample_id(n), shape, layout_epoch: 1, chunk_hash, audit: vec![7; 40], values };
    (header, Bytes::from(data))
}

fn put(store: &dyn ShardStore, n: u32) -> (ShardHeader, Bytes) {
    let (header, data) = sample_shard(n, 0, (n % 3) as u8, (n % 5) as u8 + 1);
    block_on(store.put(header.clone(), data.clone())).expect("an empty store takes a sound shard");
    (header, data)
}

fn what_is_put_is_read_back_by_pieces(store: &dyn ShardStore) {
    for n in 0..8 {
        let (header, data) = put(store, n);
        let (id, pieces, size) = (header.id, header.shape.pieces, header.shape.piece_bytes());
        for start in 0..pieces {
            for end in start + 1..=pieces {
                let expected = data.slice(usize::from(start) * size..usize::from(end) * size);
                assert_eq!(
                    block_on(store.read(id, start..end)),
                    Ok(expected),
                    "pieces {start}..{end} of {n}"
                );
            }
        }
        for bad in [0..0, pieces..pieces + 1, 0..pieces + 1] {
            let result = block_on(store.read(id, bad.clone()));
            assert!(matches!(result, Err(StoreError::Rejected { .. })), "{bad:?}: {result:?}");
        }
        assert_eq!(block_on(store.header(id)), Ok(header));
        assert_eq!(block_on(store.verify(id)), Ok(()));
    }
}

fn damage_on_arrival_is_refused_and_leaves_nothing(store: &dyn ShardStore) {
    let (header, data) = sample_shard(1, 0, 1, 4);
    for (byte, piece) in [(0, 0), (2048, 1), (8191, 3)] {
        let mut bad = data.to_vec();
        bad[byte] ^= 1;
        let result = block_on(store.put(header.clone(), Bytes::from(bad)));
        assert_eq!(result, Err(StoreError::Corrupt { shard: header.id, piece: Some(piece) }));
    }
    assert_eq!(block_on(store.read(header.id, 0..1)), Err(StoreError::Missing(header.id)));
    assert_eq!(block_on(store.list(None, 10)), Ok(Vec::new()));
    // Large shards may be checked elsewhere than small ones.
    let (header, data) = sample_shard(2, 0, 6, 3);
    let mut bad = data.to_vec();
    bad[65536] ^= 1;
    let result = block_on(store.put(header.clone(), Bytes::from(bad)));
    assert_eq!(result, Err(StoreError::Corrupt { shard: header.id, piece: Some(1) }));
    assert_eq!(block_on(store.put(header.clone(), data)), Ok(()));
}

fn contradictions_are_rejected(store: &dyn ShardStore) {
    let (good, data) = sample_shard(1, 0, 0, 2);
    let with = |change: &dyn Fn(&mut ShardHeader)| {
        let mut header = good.clone();
        change(&mut header);
        header
    };
    let cases = [
        (good.clone(), data.slice(1..)),
        (good.clone(), Bytes::new()),
        (with(&|h| h.values.truncate(1)), data.clone()),
        (with(&|h| h.audit = vec![0; 1 << 16]), data.clone()),
        (with(&|h| h.id.index = 3), data.clone()),
        (with(&|h| h.shape.pieces = 0), Bytes::new()),
        (with(&|h| h.shape.piece_log2 = 60), data.clone()),
    ];
    for (n, (header, data)) in cases.into_iter().enumerate() {
        let result = block_on(store.put(header, data));
        assert!(matches!(result, Err(StoreError::Rejected { .. })), "case {n}: {result:?}");
    }
}

fn a_put_is_idempotent_and_another_sealing_conflicts(store: &dyn ShardStore) {
    let (header, data) = put(store, 4);
    assert_eq!(block_on(store.put(header.clone(), data.clone())), Ok(()));
    let (other, other_data) = sample_shard(4, 1, header.shape.piece_log2, header.shape.pieces);
    assert_eq!(block_on(store.put(other, other_data)), Err(StoreError::Conflict(header.id)));
    assert_eq!(block_on(store.read(header.id, 0..header.shape.pieces)), Ok(data));
    assert_eq!(block_on(store.status()).expect("open").shards, 1);
}

fn what_is_deleted_is_missing_and_may_be_put_again(store: &dyn ShardStore) {
    let (header, _) = put(store, 5);
    let (other, _) = put(store, 6);
    assert_eq!(block_on(store.delete(vec![header.id, sample_id(77), header.id])), Ok(()));
    assert_eq!(block_on(store.delete(Vec::new())), Ok(()));
    let missing = StoreError::Missing(header.id);
    assert_eq!(block_on(store.read(header.id, 0..1)), Err(missing.clone()));
    assert_eq!(block_on(store.header(header.id)), Err(missing.clone()));
    assert_eq!(block_on(store.verify(header.id)), Err(missing.clone()));
    assert_eq!(block_on(store.quarantine(header.id)), Err(missing));
    assert_eq!(block_on(store.verify(other.id)), Ok(()));
    // Gone is gone: even another sealing may take the place.
    let (again, data) = sample_shard(5, 9, 0, 1);
    assert_eq!(block_on(store.put(again.clone(), data.clone())), Ok(()));
    assert_eq!(block_on(store.read(again.id, 0..1)), Ok(data));
    let many: Vec<ShardId> = (1000..2000).map(sample_id).chain([again.id, other.id]).collect();
    assert_eq!(block_on(store.delete(many)), Ok(()));
    assert_eq!(block_on(store.list(None, 10)), Ok(Vec::new()));
}

fn listing_pages_through_all_shards_in_order(store: &dyn ShardStore) {
    let mut expected: Vec<ListedShard> = (0..25)
        .rev()
        .map(|n| put(store, n))
        .map(|(h, data)| ListedShard {
            id: h.id,
            tag: ChunkTag::of(&h.chunk_hash),
            shard_bytes: data.len() as u32,
        })
        .collect();
    expected.sort_unstable_by_key(|line| line.id);
    for limit in [1, 7, 25, LIST_MAX + 1, usize::MAX] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = block_on(store.list(after, limit)).expect("open");
            assert!(page.len() <= limit.min(LIST_MAX));
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            found.extend(page);
        }
        assert_eq!(found, expected, "pages of {limit}");
    }
}

fn a_healthy_shard_is_not_quarantined(store: &dyn ShardStore) {
    let (header, _) = put(store, 3);
    assert_eq!(block_on(store.quarantine(header.id)), Ok(false));
    assert_eq!(block_on(store.verify(header.id)), Ok(()));
}

fn status_counts_and_generations_are_kept(store: &dyn ShardStore) {
    let before = block_on(store.status()).expect("open");
    assert_eq!((before.shards, before.live_bytes, before.read_only()), (0, 0, false));
    assert!(before.available_bytes >= 64 << 20 && before.available_bytes <= before.capacity_bytes);
    let (_, data) = put(store, 9);
    assert_eq!(block_on(store.set_generation(12, 34)), Ok(()));
    let after = block_on(store.status()).expect("open");
    assert_eq!((after.shards, after.meta_generation, after.layout_epoch), (1, 12, 34));
    assert!(after.live_bytes >= data.len() as u64);
    assert_eq!((after.drive, after.last_fault, after.damaged_records), (before.drive, None, 0));
}

fn compaction_loses_nothing_and_ends(store: &dyn ShardStore) {
    let kept: Vec<_> = (0..60).map(|n| put(store, n)).filter(|(h, _)| h.id.chunk.chunk == 0).collect();
    let gone: Vec<ShardId> = (0..60).map(sample_id).filter(|id| id.chunk.chunk != 0).collect();
    assert_eq!(block_on(store.delete(gone.clone())), Ok(()));
    let mut calls = 0;
    loop {
        let step = block_on(store.compact(8 << 10)).expect("open");
        assert_eq!(step.corrupt, Vec::new());
        calls += 1;
        assert!(calls < COMPACT_CALLS_MAX, "compaction ends");
        if step.done {
            break;
        }
    }
    for (header, data) in &kept {
        assert_eq!(block_on(store.read(header.id, 0..header.shape.pieces)).as_ref(), Ok(data));
        assert_eq!(block_on(store.verify(header.id)), Ok(()));
    }
    assert!(gone.iter().all(|id| block_on(store.header(*id)) == Err(StoreError::Missing(*id))));
}

fn many_at_once(store: &Arc<dyn ShardStore>) {
    let threads: Vec<_> = (0..4u32)
        .map(|t| {
            let store = store.clone();
            std::thread::spawn(move || {
                for n in (t * 50)..(t * 50 + 50) {
                    let (header, data) = put(store.as_ref(), n);
                    assert_eq!(block_on(store.read(header.id, 0..header.shape.pieces)), Ok(data));
                    if n % 2 == 1 {
                        assert_eq!(block_on(store.delete(vec![header.id])), Ok(()));
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("what one thread put, it read back");
    }
    assert_eq!(block_on(store.status()).expect("open").shards, 100);
}

fn after_shutdown_everything_is_closed(store: &dyn ShardStore) {
    let (header, data) = put(store, 1);
    let id = header.id;
    assert_eq!(block_on(store.shutdown()), Ok(()));
    assert_eq!(block_on(store.shutdown()), Ok(()));
    assert_eq!(block_on(store.put(header, data)), Err(StoreError::Closed));
    assert_eq!(block_on(store.read(id, 0..1)), Err(StoreError::Closed));
    assert_eq!(block_on(store.header(id)), Err(StoreError::Closed));
    assert_eq!(block_on(store.verify(id)), Err(StoreError::Closed));
    assert_eq!(block_on(store.delete(vec![id])), Err(StoreError::Closed));
    assert_eq!(block_on(store.list(None, 1)), Err(StoreError::Closed));
    assert_eq!(block_on(store.quarantine(id)), Err(StoreError::Closed));
    assert_eq!(block_on(store.status()).map(|_| ()), Err(StoreError::Closed));
    assert_eq!(block_on(store.set_generation(1, 1)), Err(StoreError::Closed));
    assert_eq!(block_on(store.compact(1)).map(|_| ()), Err(StoreError::Closed));
}
