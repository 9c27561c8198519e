//! Random histories: the extent engine answers every call as the memory engine does, through restarts, crashes without a
//! checkpoint, and compaction at any moment.

use std::sync::Arc;

use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use super::crash::tiny;
use super::crash_disk::{CrashDisk, Cut};
use super::samples;
use crate::conformance::{block_on, sample_id, sample_shard};
use crate::drive;
use crate::extent::ExtentStore;
use crate::inline::InlineStore;
use crate::memory::MemoryStore;
use crate::port::ShardStore;

/// Few ids, so that they meet again.
const IDS: u32 = 12;

#[derive(Clone, Debug)]
enum Step {
    Put {
        n: u32,
        sealing: u32,
    },
    Delete(Vec<u32>),
    Compact {
        budget_bytes: u64,
    },
    Checkpoint,
    Shutdown,
    PowerCut,
    /// A power cut, and the checkpoint is rotten afterwards.
    LoseCheckpoint,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..IDS, 0..2u32).prop_map(|(n, sealing)| Step::Put { n, sealing }),
        4 => proptest::collection::vec(0..IDS, 0..5).prop_map(Step::Delete),
        2 => (1u64..100_000).prop_map(|budget_bytes| Step::Compact { budget_bytes }),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Shutdown),
        1 => Just(Step::PowerCut),
        1 => Just(Step::LoseCheckpoint),
    ];
    proptest::collection::vec(step, 1..60)
}

fn open(disk: &CrashDisk) -> InlineStore {
    InlineStore::new(ExtentStore::open(Arc::new(disk.clone()), samples::identity(0), tiny()).unwrap().0)
}

fn cut(disk: &mut CrashDisk) -> InlineStore {
    *disk = disk.after_cut(disk.ops(), Cut::Drop);
    open(disk)
}

fn same_answers(store: &dyn ShardStore, model: &dyn ShardStore) {
    assert_eq!(block_on(store.list(None, 100)), block_on(model.list(None, 100)));
    for id in (0..IDS).map(sample_id) {
        assert_eq!(block_on(store.header(id)), block_on(model.header(id)));
        assert_eq!(block_on(store.verify(id)), block_on(model.verify(id)));
        assert_eq!(block_on(store.read(id, 0..2)), block_on(model.read(id, 0..2)));
    }
}

fn run(steps: &[Step]) {
    let mut disk = CrashDisk::new(64 << 20);
    drive::format(&disk, samples::identity(0), 1).unwrap();
    let mut store = open(&disk);
    let model = MemoryStore::new(samples::identity(0).drive, 1 << 30);
    for step in steps {
        match step {
            Step::Put { n, sealing } => {
                let (header, data) = sample_shard(*n, *sealing, (*n % 4) as u8, 2);
                let answer = block_on(store.put(header.clone(), data.clone()));
                assert_eq!(answer, block_on(model.put(header, data)));
            }
            Step::Delete(shards) => {
                let ids: Vec<_> = shards.iter().map(|n| sample_id(*n)).collect();
                assert_eq!(block_on(store.delete(ids.clone())), block_on(model.delete(ids)));
            }
            Step::Compact { budget_bytes } => {
                assert_eq!(block_on(store.compact(*budget_bytes)).unwrap().corrupt, Vec::new());
            }
            Step::Checkpoint => store.with_engine(ExtentStore::checkpoint).unwrap(),
            Step::Shutdown => {
                block_on(store.shutdown()).unwrap();
                store = cut(&mut disk);
            }
            Step::PowerCut => store = cut(&mut disk),
            Step::LoseCheckpoint => {
                drop(cut(&mut disk));
                if disk.names().iter().any(|name| name == "checkpoint") {
                    disk.spoil("checkpoint", |bytes| bytes[30] ^= 1);
                }
                store = open(&disk);
            }
        }
        same_answers(&store, &model);
    }
    while !block_on(store.compact(u64::MAX)).unwrap().done {}
    same_answers(&store, &model);
    let status = block_on(store.status()).unwrap();
    assert_eq!(status.shards, block_on(model.status()).unwrap().shards);
    // What compaction leaves: a fifth of each extent, the active extent, tombstones.
    let bound = status.live_bytes / 4 + 3 * tiny().extent_bytes_max;
    assert!(status.garbage_bytes <= bound, "{} garbage, {} live", status.garbage_bytes, status.live_bytes);
}

#[test]
fn the_extent_engine_answers_as_memory_does() {
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, proptest::test_runner::TestRng::deterministic_rng(Default::default()))
        .run(&steps(), |steps| {
            run(&steps);
            Ok(())
        })
        .unwrap();
}
