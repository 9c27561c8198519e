//! Crash states: whatever moment the power goes, and whatever it leaves of what was not synced, acknowledged shards read
//! back byte-exact, deleted ones stay deleted, and nothing wrong is ever returned — even if it goes again in recovery.

use std::collections::BTreeMap;
use std::sync::Arc;

use pangea_core::id::ShardId;
use pangea_core::seam::Disk;

use super::crash_disk::{CrashDisk, Cut, cuts};
use super::samples;
use crate::drive;
use crate::extent::{ExtentStore, Options, Write};
use crate::port::StoreError;

/// Tiny extents, so that a short history rolls, checkpoints and compacts.
pub fn tiny() -> Options {
    Options {
        extent_bytes_min: 64 << 10,
        extent_bytes_max: 64 << 10,
        reserve_bytes: 128 << 10,
        checkpoint_every_bytes: 96 << 10,
        garbage_percent_max: 20,
        open_files_max: 2,
    }
}

/// What a shard may be after a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Present,
    Absent,
    /// Its put or its delete was under way.
    Either,
}

/// A run of the store, with what was promised before each operation of the disk.
pub struct History {
    pub disk: CrashDisk,
    /// From this operation of the disk on, the fates are these.
    promised: Vec<(usize, BTreeMap<u32, Fate>)>,
    pub fates: BTreeMap<u32, Fate>,
}

impl History {
    fn promise(&mut self, shards: &[u32], fate: Fate) {
        shards.iter().for_each(|n| {
            self.fates.insert(*n, fate);
        });
        self.promised.push((self.disk.ops(), self.fates.clone()));
    }

    pub fn at(&self, ops: usize) -> &BTreeMap<u32, Fate> {
        let known = self.promised.iter().rev().find(|(from, _)| *from <= ops);
        &known.expect("the first promise is at operation 0").1
    }

    pub fn put(&mut self, store: &mut ExtentStore, shards: &[u32]) {
        self.promise(shards, Fate::Either);
        let batch = shards.iter().map(|n| put(*n)).collect();
        assert!(store.commit(batch).iter().all(Result::is_ok));
        self.promise(shards, Fate::Present);
    }

    pub fn delete(&mut self, store: &mut ExtentStore, shards: &[u32]) {
        self.promise(shards, Fate::Either);
        store.delete(shards.iter().map(|n| samples::shard_id(*n)).collect()).unwrap();
        self.promise(shards, Fate::Absent);
    }
}

/// Shards of many sizes: one block, several blocks, a large part of an extent.
fn shape_of(n: u32) -> (u8, u8) {
    [(0, 1), (1, 2), (2, 3), (0, 5)][n as usize % 4]
}

fn put(n: u32) -> Write {
    let (piece_log2, pieces) = shape_of(n);
    let (header, data) = samples::shard(n, piece_log2, pieces);
    Write::put(header, data).unwrap()
}

pub fn open(disk: &CrashDisk) -> ExtentStore {
    ExtentStore::open(Arc::new(disk.clone()), samples::identity(0), tiny())
        .expect("a crash never makes it foreign")
        .0
}

/// A formatted drive on which nothing happened yet. The formatting itself has its own test.
pub fn fresh_history() -> History {
    let disk = CrashDisk::new(64 << 20);
    drive::format(&disk, samples::identity(0), 1).unwrap();
    let disk = disk.after_cut(disk.ops(), Cut::Keep);
    let mut h = History { disk, promised: Vec::new(), fates: BTreeMap::new() };
    h.promise(&[], Fate::Present);
    h
}

/// Everything a drive does: batches, rolls, deletes, puts again, checkpoints, compaction, restart.
fn history() -> History {
    let mut h = fresh_history();
    let disk = h.disk.clone();
    let mut store = open(&disk);
    h.put(&mut store, &[0]);
    h.put(&mut store, &[1, 2, 3]);
    h.delete(&mut store, &[1]);
    h.put(&mut store, &[4, 5]);
    store.set_generation(3, 4).unwrap();
    h.put(&mut store, &[6, 7, 8, 9, 10]);
    store.checkpoint().unwrap();
    h.delete(&mut store, &[2, 6, 3]);
    h.put(&mut store, &[2, 11]);
    while !store.compact_step(24 << 10).unwrap().done {}
    h.put(&mut store, &[12, 13]);
    store.shutdown().unwrap();
    drop(store);
    let mut store = open(&disk);
    h.put(&mut store, &[14]);
    h.delete(&mut store, &[14, 4, 5, 12]);
    while !store.compact_step(1 << 20).unwrap().done {}
    h.put(&mut store, &[15, 1]);
    h
}

/// The promises hold in an open store, and it still works.
pub fn check(store: &mut ExtentStore, fates: &BTreeMap<u32, Fate>, what: &dyn Fn() -> String) {
    let reader = store.reader();
    for (n, fate) in fates {
        let (piece_log2, pieces) = shape_of(*n);
        let (header, data) = samples::shard(*n, piece_log2, pieces);
        match (reader.read(header.id, 0..pieces), fate) {
            (Ok(bytes), Fate::Present | Fate::Either) => {
                assert!(bytes == data, "wrong bytes of {n}: {}", what());
                assert_eq!(reader.header(header.id).as_ref(), Ok(&header), "{}", what());
                assert_eq!(reader.verify(header.id), Ok(()), "{}", what());
            }
            (Err(StoreError::Missing(_)), Fate::Absent | Fate::Either) => {}
            (found, _) => panic!("{n} should be {fate:?}, is {:?}: {}", found.map(|_| "here"), what()),
        }
    }
    let listed: Vec<ShardId> = store.reader().list(None, 100).iter().map(|l| l.id).collect();
    let known = |id: &ShardId| fates.keys().any(|n| samples::shard_id(*n) == *id);
    assert!(listed.iter().all(known), "only what was put is listed: {}", what());
}

#[test]
fn every_crash_state_keeps_every_promise_even_if_recovery_crashes_too() {
    let h = history();
    let mut states = 0;
    for ops in 0..=h.disk.ops() {
        for cut in cuts() {
            let disk = h.disk.after_cut(ops, cut);
            let mut store = open(&disk);
            let first = || format!("power cut after {ops} operations, {cut:?}");
            check(&mut store, h.at(ops), &first);
            states += 1;
            let recovery_ops = disk.ops();
            drop(store);
            for again in 0..recovery_ops {
                for cut_again in
                    [Cut::Keep, Cut::Drop, Cut::DropDir, Cut::Reorder(2), Cut::Tear(3), Cut::Hole(2)]
                {
                    let disk = disk.after_cut(again, cut_again);
                    let second = || format!("{}, again after {again}, {cut_again:?}", first());
                    check(&mut open(&disk), h.at(ops), &second);
                    states += 1;
                }
            }
        }
    }

    assert!(states > 5_000, "only {states} states were tried");
}

#[test]
fn a_store_that_survived_a_crash_goes_on_and_survives_the_next_restart_without_its_checkpoint() {
    let h = history();
    for ops in (0..=h.disk.ops()).step_by(3) {
        for cut in [Cut::Keep, Cut::Drop, Cut::Reorder(5), Cut::Tear(5), Cut::Hole(0)] {
            let disk = h.disk.after_cut(ops, cut);
            let what = || format!("power cut after {ops} operations, {cut:?}");
            let mut fates = h.at(ops).clone();
            let mut store = open(&disk);
            assert!(store.commit(vec![put(90), put(91)]).iter().all(Result::is_ok), "{}", what());
            store.delete(vec![samples::shard_id(90)]).unwrap();
            while !store.compact_step(1 << 20).unwrap().done {}
            fates.extend([(90, Fate::Absent), (91, Fate::Present)]);
            check(&mut store, &fates, &what);
            drop(store);
            let disk = disk.after_cut(disk.ops(), Cut::Drop);
            check(&mut open(&disk), &fates, &what);
            if disk.names().iter().any(|n| n == "checkpoint") {
                disk.spoil("checkpoint", |bytes| bytes[20] ^= 1);
            }
            // Without the checkpoint every extent is scanned: the dead must stay dead, by their tombstones alone.
            check(&mut open(&disk), &fates, &what);
        }
    }
}

#[test]
fn what_a_killed_process_left_in_the_page_cache_is_synced_before_it_is_served() {
    let h = history();
    for ops in 0..=h.disk.ops() {
        let disk = h.disk.after_kill(ops);
        let store = open(&disk);
        let served: BTreeMap<u32, Fate> = h
            .at(ops)
            .keys()
            .filter(|n| store.reader().verify(samples::shard_id(**n)).is_ok())
            .map(|n| (*n, Fate::Present))
            .collect();
        drop(store);
        for cut in [Cut::Drop, Cut::DropDir, Cut::Reorder(2), Cut::Tear(3)] {
            let what = || format!("killed after {ops} operations, then a power cut, {cut:?}");
            let mut store = open(&disk.after_cut(disk.ops(), cut));
            let all = h.at(ops).iter().map(|(n, fate)| (*n, *served.get(n).unwrap_or(fate))).collect();
            check(&mut store, &all, &what);
        }
    }
}

/// The cut that ends an extent is not synced. Found by the simulator (cluster seed 202): drives filled up with the tails
/// of sealed extents, until not even a tombstone found room.
#[test]
fn a_power_cut_that_undoes_the_end_of_a_sealed_extent_costs_no_space() {
    let disk = history().disk;
    let mut store = open(&disk);
    store.shutdown().unwrap();
    drop(store);
    let sizes = |disk: &CrashDisk| -> Vec<u64> {
        let extents = disk.names().into_iter().filter(|name| name.starts_with("extents/"));
        extents.map(|name| disk.open(&name, None).and_then(|file| file.size()).unwrap()).collect()
    };
    let before = sizes(&disk);
    assert!(before.iter().any(|size| *size < 64 << 10), "none was cut: {before:?}");
    for name in disk.names().iter().filter(|name| name.starts_with("extents/")) {
        disk.spoil(name, |bytes| bytes.resize(64 << 10, 0));
    }
    open(&disk);
    assert_eq!(sizes(&disk), before);
}

#[test]
fn a_crash_while_formatting_leaves_an_empty_directory_or_a_drive() {
    let disk = CrashDisk::new(1 << 20);
    drive::format(&disk, samples::identity(0), 1).unwrap();
    for ops in 0..=disk.ops() {
        for cut in cuts() {
            let disk = disk.after_cut(ops, cut);
            match drive::probe(&disk).unwrap() {
                drive::Probe::Empty => {
                    drive::format(&disk, samples::identity(0), 2).unwrap();
                }
                drive::Probe::Formatted(superblock) => assert_eq!(superblock.identity, samples::identity(0)),
                other => panic!("{other:?} after {ops} operations, {cut:?}"),
            }
            open(&disk);
        }
    }
}
