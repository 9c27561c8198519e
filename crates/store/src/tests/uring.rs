//! The uring engine takes the exam of the others, and what one engine wrote the other one reads. Where the machine has no
//! io_uring, or its temporary directory no direct writes, the tests say so and test nothing.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use pangea_core::chunk::ShardHeader;
use pangea_core::seam::Disk;

use super::crash::tiny;
use super::engines::TempDir;
use super::samples;
use crate::conformance::{block_on, conformance};
use crate::drive;
use crate::extent::{ExtentStore, Options};
use crate::file_disk::FileDisk;
use crate::port::{ShardStore, StoreError};
use crate::threads::{ThreadsOptions, ThreadsStore};
use crate::uring::UringDisk;

fn open(dir: &TempDir, options: Options) -> Option<ThreadsStore> {
    let plain = Arc::new(FileDisk::open(&dir.0).unwrap());
    if drive::probe(plain.as_ref()) == Ok(drive::Probe::Empty) {
        drive::format(plain.as_ref(), samples::identity(0), 1).unwrap();
    }
    let disk: Arc<dyn Disk> = match UringDisk::new(plain) {
        Ok(disk) => Arc::new(disk),
        Err(refused) => {
            eprintln!("not tested: {refused}");
            return None;
        }
    };
    let store = ExtentStore::open(disk, samples::identity(0), options).unwrap().0;
    Some(ThreadsStore::start(store, ThreadsOptions::default()).unwrap())
}

/// 256 KiB, which go through the ring, and 3 KiB, which may not.
fn large(n: u32) -> (ShardHeader, Bytes) {
    samples::shard(n, 4, 16)
}

fn small(n: u32) -> (ShardHeader, Bytes) {
    samples::shard(n, 0, 3)
}

#[test]
fn uring_passes_in_a_directory() {
    for options in [tiny(), Options::default()] {
        if open(&TempDir::new(), options).is_none() {
            return;
        }
        // The directories outlive the stores in them.
        let dirs = Mutex::new(Vec::new());
        conformance(|| {
            let dir = TempDir::new();
            let store = open(&dir, options).expect("it could be a moment ago");
            dirs.lock().unwrap().push(dir);
            Arc::new(store)
        });
    }
}

#[test]
fn what_one_engine_wrote_the_other_one_reads_and_goes_on_with() {
    let dir = TempDir::new();
    let mut there = Vec::new();
    for round in 0..6u32 {
        let store = if round % 2 == 0 {
            let Some(store) = open(&dir, Options::default()) else { return };
            store
        } else {
            ThreadsStore::start(dir.engine(Options::default()), ThreadsOptions::default()).unwrap()
        };
        for (header, data) in &there {
            let ShardHeader { id, shape, .. } = header;
            assert_eq!(block_on(store.read(*id, 0..shape.pieces)).as_ref(), Ok(data), "round {round}");
            assert_eq!(block_on(store.verify(*id)), Ok(()));
        }
        for n in round * 10..round * 10 + 5 {
            for (header, data) in [large(n), small(n + 5)] {
                block_on(store.put(header.clone(), data.clone())).unwrap();
                there.push((header, data));
            }
        }
        let (gone, _) = there.remove(0);
        block_on(store.delete(vec![gone.id])).unwrap();
        if round % 3 == 0 {
            block_on(store.shutdown()).unwrap();
        }
        // Else it is dropped as it is, and the next opening scans.
    }
}

#[test]
fn batches_larger_than_the_rings_memory_and_places_arrive_whole() {
    let dir = TempDir::new();
    let Some(store) = open(&dir, Options::default()) else { return };
    let store = Arc::new(store);
    let threads: Vec<_> = (0..8u32)
        .map(|t| {
            let store = store.clone();
            std::thread::spawn(move || {
                for n in (0..12).map(|n| t * 100 + n) {
                    let (header, data) = if n % 3 == 0 { small(n) } else { large(n) };
                    // A byte off: nothing of it can be written from where it lies.
                    let shifted = Bytes::from([&[0], &data[..]].concat()).slice(1..);
                    block_on(store.put(header, if n % 2 == 0 { shifted } else { data })).unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    for n in (0..8).flat_map(|t| (0..12).map(move |n| t * 100 + n)) {
        assert_eq!(block_on(store.verify(samples::shard_id(n))), Ok(()), "shard {n}");
    }
}

#[test]
fn dropping_the_store_under_load_keeps_what_was_acknowledged() {
    let dir = TempDir::new();
    let Some(store) = open(&dir, Options::default()) else { return };
    let store = Arc::new(store);
    let threads: Vec<_> = (0..4u32)
        .map(|t| {
            let store = store.clone();
            std::thread::spawn(move || {
                for n in 0.. {
                    let (header, data) = large(t * 1000 + n);
                    if let Err(error) = block_on(store.put(header, data)) {
                        return (n, error);
                    }
                }
                unreachable!("the store closes")
            })
        })
        .collect();
    std::thread::sleep(std::time::Duration::from_millis(150));
    block_on(store.shutdown()).unwrap();
    let mut acknowledged = Vec::new();
    for (t, thread) in threads.into_iter().enumerate() {
        let (n, error) = thread.join().unwrap();
        assert_eq!(error, StoreError::Closed);
        acknowledged.extend((0..n).map(|n| samples::shard_id(t as u32 * 1000 + n)));
    }
    drop(store);
    let store = ThreadsStore::start(dir.engine(Options::default()), ThreadsOptions::default()).unwrap();
    assert!(acknowledged.iter().all(|id| block_on(store.verify(*id)) == Ok(())));
}

#[test]
fn what_is_read_past_the_cache_is_the_same_and_damage_is_found() {
    let dir = TempDir::new();
    let Some(store) = open(&dir, Options::default()) else { return };
    for n in 0..20 {
        let (header, data) = if n % 2 == 0 { large(n) } else { small(n) };
        block_on(store.put(header, data)).unwrap();
    }
    assert!((0..20).all(|n| block_on(store.verify(samples::shard_id(n))) == Ok(())));
    let (header, data) = large(6);
    let path = dir.0.join("extents/00000000");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(64).position(|window| *window == data[200_000..200_064]).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let damaged = StoreError::Corrupt { shard: header.id, piece: Some(12) };
    assert_eq!(block_on(store.verify(header.id)), Err(damaged));
    assert_eq!(block_on(store.quarantine(header.id)), Ok(true));
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(8192).unwrap();
    for n in (2..20).filter(|n| *n != 6) {
        let cut = StoreError::Corrupt { shard: samples::shard_id(n), piece: None };
        assert_eq!(block_on(store.verify(samples::shard_id(n))), Err(cut), "shard {n}");
    }
}

#[test]
fn an_extent_that_was_removed_gives_its_space_back_although_the_ring_knew_it() {
    let dir = TempDir::new();
    let Some(store) = open(&dir, Options::default()) else { return };
    for n in 0..100 {
        let (header, data) = large(n);
        block_on(store.put(header, data)).unwrap();
    }
    block_on(store.delete((0..100).map(samples::shard_id).collect())).unwrap();
    while !block_on(store.compact(64 << 20)).unwrap().done {}
    let held = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| {
        let target = std::fs::read_link(entry.ok()?.path()).ok()?;
        let name = target.display().to_string();
        (name.starts_with(&dir.0.display().to_string()) && name.ends_with("(deleted)")).then_some(name)
    });
    assert_eq!(held.collect::<Vec<_>>(), Vec::<String>::new());
    assert!(block_on(store.status()).unwrap().extents <= 1);
}
