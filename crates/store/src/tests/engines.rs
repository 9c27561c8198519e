//! Every engine takes the exam; what is special to one is tested beside it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::crash::tiny;
use super::crash_disk::CrashDisk;
use super::samples;
use crate::conformance::{block_on, conformance};
use crate::drive;
use crate::extent::{ExtentStore, Options};
use crate::faulty::{FaultPlan, Faulty};
use crate::file_disk::FileDisk;
use crate::inline::InlineStore;
use crate::memory::MemoryStore;
use crate::port::{ShardStore, StoreError};
use crate::threads::{ThreadsOptions, ThreadsStore};

/// A directory that is gone when it is dropped.
pub struct TempDir(pub PathBuf);

impl TempDir {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pangea-store-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Opens the drive in it, formatted if need be.
    pub fn engine(&self, options: Options) -> ExtentStore {
        let disk = Arc::new(FileDisk::open(&self.0).unwrap());
        if drive::probe(disk.as_ref()) == Ok(drive::Probe::Empty) {
            drive::format(disk.as_ref(), samples::identity(0), 1).unwrap();
        }
        ExtentStore::open(disk, samples::identity(0), options).unwrap().0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn threads(dir: &TempDir, options: Options) -> ThreadsStore {
    ThreadsStore::start(dir.engine(options), ThreadsOptions::default()).unwrap()
}

#[test]
fn memory_passes() {
    conformance(|| Arc::new(MemoryStore::new(samples::identity(0).drive, 1 << 30)));
}

#[test]
fn inline_passes_on_the_model_disk() {
    conformance(|| {
        let disk = CrashDisk::new(1 << 30);
        drive::format(&disk, samples::identity(0), 1).unwrap();
        Arc::new(InlineStore::new(ExtentStore::open(Arc::new(disk), samples::identity(0), tiny()).unwrap().0))
    });
}

#[test]
fn threads_pass_in_a_directory() {
    // The directories outlive the stores in them.
    let dirs = std::sync::Mutex::new(Vec::new());
    conformance(|| {
        let dir = TempDir::new();
        let store = threads(&dir, tiny());
        dirs.lock().unwrap().push(dir);
        Arc::new(store)
    });
}

#[test]
fn threads_pass_with_hardly_any_budget() {
    let dirs = std::sync::Mutex::new(Vec::new());
    conformance(|| {
        let dir = TempDir::new();
        let narrow =
            ThreadsOptions { read_threads: 1, write_bytes_max: 1, read_bytes_max: 1, batch_bytes_max: 1 };
        let store = ThreadsStore::start(dir.engine(Options::default()), narrow).unwrap();
        dirs.lock().unwrap().push(dir);
        Arc::new(store)
    });
}

#[test]
fn a_wrapper_without_a_plan_changes_nothing() {
    conformance(|| Arc::new(Faulty::new(Arc::new(MemoryStore::new(samples::identity(0).drive, 1 << 30)), 1)));
}

#[test]
fn the_same_seed_breaks_the_same_calls() {
    let run = |seed| {
        let store = Faulty::new(Arc::new(MemoryStore::new(samples::identity(0).drive, 1 << 30)), seed);
        let ppm = 200_000;
        store.set_plan(FaultPlan {
            error_ppm: ppm,
            lost_answer_ppm: ppm,
            corrupt_ppm: ppm,
            missing_ppm: ppm,
        });
        let mut trace = String::new();
        for n in 0..200 {
            let (header, data) = samples::shard(n, 0, 1);
            let id = header.id;
            let put = block_on(store.put(header, data.clone()));
            let read = block_on(store.read(id, 0..1));
            let same = read.as_ref().map(|bytes| *bytes == data);
            trace += &format!("{put:?} {same:?} {:?}\n", block_on(store.verify(id)));
        }
        (trace, store.counts())
    };
    let (trace, counts) = run(7);
    assert_eq!(run(7), (trace.clone(), counts));
    assert_ne!(run(8).0, trace);
    assert!(
        [counts.errors, counts.lost_answers, counts.corrupt, counts.missing].iter().all(|n| *n > 20),
        "{counts:?}"
    );
    assert!(trace.contains("Ok(false)"), "a flipped bit arrives as data");
}

#[test]
fn a_directory_keeps_its_shards_over_restarts_clean_or_not() {
    let dir = TempDir::new();
    let shards: Vec<_> = (0..40).map(|n| samples::shard(n, 2, 3)).collect();
    for (round, clean) in [true, false, false, true].into_iter().enumerate() {
        let store = threads(&dir, tiny());
        for (header, data) in &shards[..round * 10] {
            assert_eq!(block_on(store.read(header.id, 0..3)).as_ref(), Ok(data), "round {round}");
        }
        for (header, data) in &shards[round * 10..round * 10 + 10] {
            block_on(store.put(header.clone(), data.clone())).unwrap();
        }
        if clean {
            block_on(store.shutdown()).unwrap();
        }
    }
    let store = threads(&dir, tiny());
    assert_eq!(block_on(store.status()).unwrap().shards, 40);
    assert!(shards.iter().all(|(h, _)| block_on(store.verify(h.id)) == Ok(())));
}

#[test]
fn puts_that_wait_together_share_a_sync() {
    let disk = CrashDisk::new(1 << 30);
    drive::format(&disk, samples::identity(0), 1).unwrap();
    let mut store =
        ExtentStore::open(Arc::new(disk.clone()), samples::identity(0), Options::default()).unwrap().0;
    let write = |n| {
        let (header, data) = samples::shard(n, 0, 4);
        crate::extent::Write::put(header, data).unwrap()
    };
    assert_eq!(store.commit(vec![write(0)]), [Ok(())]);
    let before = disk.ops();
    assert!(store.commit((1..60).map(write).collect()).iter().all(Result::is_ok));
    assert_eq!(disk.ops() - before, 2, "one write and one sync");
}

#[test]
fn compaction_gives_the_space_back() {
    let dir = TempDir::new();
    let store = threads(&dir, tiny());
    let put = |n: u32| {
        let (header, data) = samples::shard(n, 2, 3);
        block_on(store.put(header, data)).unwrap();
    };
    (0..100).for_each(put);
    let full = block_on(store.status()).unwrap();
    block_on(store.delete((0..100).filter(|n| n % 10 != 0).map(samples::shard_id).collect())).unwrap();
    while !block_on(store.compact(1 << 20)).unwrap().done {}
    let status = block_on(store.status()).unwrap();
    assert_eq!(status.shards, 10);
    assert!(status.extents * 3 < full.extents, "{} extents of {}", status.extents, full.extents);
    let files = std::fs::read_dir(dir.0.join("extents")).unwrap().count();
    assert_eq!(files as u64, status.extents, "removed from the directory too");
    assert!(status.garbage_bytes <= 2 * (64 << 10), "{status:?}");
}

#[test]
fn two_stores_cannot_have_one_directory() {
    let dir = TempDir::new();
    let store = threads(&dir, tiny());
    let path = dir.0.display().to_string();
    assert_eq!(FileDisk::open(&dir.0).err(), Some(drive::OpenError::InUse { path }));
    drop(store);
    assert!(FileDisk::open(&dir.0).is_ok(), "the lock goes with the store");
}

#[test]
fn a_path_that_is_no_directory_is_named() {
    let dir = TempDir::new();
    let file = dir.0.join("file");
    std::fs::write(&file, b"x").unwrap();
    for path in [file, dir.0.join("absent")] {
        let shown = path.display().to_string();
        assert_eq!(FileDisk::open(&path).err(), Some(drive::OpenError::NotADirectory { path: shown }));
    }
}

#[test]
fn a_closed_store_answers_closed_to_whoever_still_waits() {
    let dir = TempDir::new();
    let store = Arc::new(threads(&dir, tiny()));
    let others: Vec<_> = (0..4u32)
        .map(|t| {
            let store = store.clone();
            std::thread::spawn(move || {
                (t * 1000..t * 1000 + 1000).find_map(|n| {
                    let (header, data) = samples::shard(n, 0, 1);
                    block_on(store.put(header, data)).err().map(|error| (n - t * 1000, error))
                })
            })
        })
        .collect();
    while block_on(store.status()).unwrap().shards < 20 {}
    block_on(store.shutdown()).unwrap();
    let mut acknowledged = Vec::new();
    for (t, other) in others.into_iter().enumerate() {
        let (n, error) = other.join().unwrap().expect("the store was closed under it");
        assert_eq!(error, StoreError::Closed);
        acknowledged.extend((0..n).map(|n| samples::shard_id(t as u32 * 1000 + n)));
    }
    drop(store);
    let store = threads(&dir, tiny());
    assert!(acknowledged.iter().all(|id| block_on(store.verify(*id)) == Ok(())));
}

#[test]
fn a_directory_that_was_moved_away_is_still_the_one_that_is_written() {
    let dir = TempDir::new();
    let store = threads(&dir, tiny());
    let put = |n| {
        let (header, data) = samples::shard(n, 2, 3);
        block_on(store.put(header, data)).unwrap();
    };
    put(0);
    let moved = TempDir(dir.0.with_extension("moved"));
    std::fs::rename(&dir.0, &moved.0).unwrap();
    std::fs::create_dir(&dir.0).unwrap();
    (1..20).for_each(put);
    block_on(store.shutdown()).unwrap();
    drop(store);
    assert_eq!(std::fs::read_dir(&dir.0).unwrap().count(), 0, "nothing lands in what took its place");
    assert_eq!(block_on(threads(&moved, tiny()).status()).unwrap().shards, 20);
}

#[test]
fn many_small_extents_of_many_crashes_are_merged() {
    let dir = TempDir::new();
    for n in 0..50 {
        let store = threads(&dir, tiny());
        let (header, data) = samples::shard(n, 0, 1);
        block_on(store.put(header, data)).unwrap();
        // Dropped without a shutdown: the next opening seals what it finds.
    }
    let store = threads(&dir, tiny());
    assert!(block_on(store.status()).unwrap().extents >= 50);
    while !block_on(store.compact(1 << 20)).unwrap().done {}
    assert!(block_on(store.status()).unwrap().extents <= 36);
    assert!((0..50).all(|n| block_on(store.verify(samples::shard_id(n))) == Ok(())));
}
