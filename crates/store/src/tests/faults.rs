//! Faults of the medium while the store runs: what is answered, what stays readable, and when the drive stops.

use std::io::ErrorKind;
use std::sync::Arc;

use bytes::Bytes;
use pangea_core::chunk::ShardHeader;

use super::bad_disk::BadDisk;
use super::crash::tiny;
use super::crash_disk::CrashDisk;
use super::samples;
use crate::drive;
use crate::extent::{ExtentStore, Options, Write};
use crate::port::{Fault, IoOp, Stopped, StoreError};

fn store_on(total: u64, options: Options) -> (CrashDisk, BadDisk, ExtentStore) {
    let medium = CrashDisk::new(total);
    drive::format(&medium, samples::identity(0), 1).unwrap();
    let disk = BadDisk::new(medium.clone());
    let store = ExtentStore::open(Arc::new(disk.clone()), samples::identity(0), options).unwrap().0;
    (medium, disk, store)
}

fn reopen(medium: &CrashDisk) -> ExtentStore {
    ExtentStore::open(Arc::new(medium.clone()), samples::identity(0), tiny()).unwrap().0
}

fn shard(n: u32) -> (ShardHeader, Bytes) {
    samples::shard(n, 2, 3)
}

fn put(store: &mut ExtentStore, n: u32) -> Result<(), StoreError> {
    let (header, data) = shard(n);
    store.commit(vec![Write::put(header, data).unwrap()]).pop().unwrap()
}

fn is_whole(store: &ExtentStore, n: u32) -> bool {
    let (header, data) = shard(n);
    store.reader().read(header.id, 0..3) == Ok(data) && store.reader().verify(header.id) == Ok(())
}

#[test]
fn a_failed_write_or_sync_is_not_acknowledged_and_the_next_extent_goes_on() {
    for op in [IoOp::Write, IoOp::Sync] {
        let (medium, disk, mut store) = store_on(64 << 20, tiny());
        put(&mut store, 1).unwrap();
        disk.fail(op, ErrorKind::Other, 1);
        let fault = Fault { op, kind: ErrorKind::Other, os: None };
        assert_eq!(put(&mut store, 2), Err(StoreError::Io(fault)));
        assert!(!is_whole(&store, 2));
        assert_eq!(store.status().last_fault, Some(fault));
        assert_eq!(put(&mut store, 2), Ok(()));
        assert_eq!(put(&mut store, 3), Ok(()));
        assert!(!store.status().read_only());
        let again = reopen(&medium);
        assert!([1, 2, 3].iter().all(|n| is_whole(&store, *n) && is_whole(&again, *n)), "{op:?}");
    }
}

#[test]
fn what_follows_a_failed_sync_in_the_same_file_is_never_believed() {
    // The model medium keeps the bytes although the sync failed, as a page cache does: they must not come back.
    let (medium, disk, mut store) = store_on(64 << 20, tiny());
    put(&mut store, 1).unwrap();
    let mut failed = false;
    disk.rule(move |op, name| {
        let first_sync =
            op == IoOp::Sync && name.starts_with("extents/") && !std::mem::replace(&mut failed, true);
        let cut = op == IoOp::SetSize;
        (first_sync || cut).then(|| ErrorKind::Other.into())
    });
    assert!(put(&mut store, 2).is_err());
    drop(store);
    let again = reopen(&medium);
    assert!(is_whole(&again, 1));
    assert_eq!(again.reader().verify(samples::shard_id(2)), Err(StoreError::Missing(samples::shard_id(2))));
}

/// The tombstone of a delete that failed is on the medium, and there was no room to cut it off. Found by the simulator
/// (store seed 5206): the put that came after was acknowledged as "already here", and undone by the next start.
#[test]
fn a_delete_that_failed_takes_no_effect_after_a_put_was_acknowledged() {
    let (medium, disk, mut store) = store_on(64 << 20, tiny());
    put(&mut store, 1).unwrap();
    let (mut syncs, mut checkpoints) = (1, 1);
    disk.rule(move |op, name| {
        let hit = match op {
            IoOp::Sync if name.starts_with("extents/") => std::mem::take(&mut syncs) > 0,
            IoOp::Write if name.starts_with("checkpoint") => std::mem::take(&mut checkpoints) > 0,
            IoOp::SetSize => true,
            _ => false,
        };
        hit.then(|| ErrorKind::StorageFull.into())
    });
    assert!(matches!(store.delete(vec![samples::shard_id(1)]), Err(StoreError::Full { .. })));
    assert_eq!(put(&mut store, 1), Ok(()));
    drop(store);
    assert!(is_whole(&reopen(&medium), 1));
}

#[test]
fn a_second_failure_in_a_row_stops_writes_but_not_reads() {
    let (medium, disk, mut store) = store_on(64 << 20, tiny());
    put(&mut store, 1).unwrap();
    disk.fail(IoOp::Sync, ErrorKind::Other, 2);
    let fault = Fault { op: IoOp::Sync, kind: ErrorKind::Other, os: None };
    assert_eq!(put(&mut store, 2), Err(StoreError::Io(fault)));
    assert!(put(&mut store, 3).is_err());
    assert!(matches!(store.status().stopped, Some(Stopped::Failed(_))), "{:?}", store.status());
    assert!(matches!(put(&mut store, 4), Err(StoreError::Failed(_))));
    assert!(matches!(store.delete(vec![samples::shard_id(1)]), Err(StoreError::Failed(_))));
    assert!(is_whole(&store, 1));
    assert_eq!(store.shutdown(), Ok(()));
    assert!(is_whole(&reopen(&medium), 1));
}

#[test]
fn a_medium_that_turned_read_only_is_named() {
    let (_, disk, mut store) = store_on(64 << 20, tiny());
    put(&mut store, 1).unwrap();
    disk.fail(IoOp::Write, ErrorKind::ReadOnlyFilesystem, usize::MAX);
    assert_eq!(put(&mut store, 2), Err(StoreError::ReadOnly));
    assert_eq!(put(&mut store, 2), Err(StoreError::ReadOnly));
    assert_eq!(store.status().stopped, Some(Stopped::ReadOnly));
    assert!(is_whole(&store, 1));
}

#[test]
fn a_full_drive_takes_deletes_and_then_puts_again() {
    let (medium, _, mut store) = store_on(4 << 20, tiny());
    let mut stored = 0;
    let full = loop {
        match put(&mut store, stored) {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, StoreError::Full { needed, available } if needed > available), "{full:?}");
    assert!(stored > 150, "{stored} shards of 16 KiB in 4 MiB");
    assert!(!store.status().read_only());
    assert!((0..stored).all(|n| is_whole(&store, n)));
    store.delete((0..stored).filter(|n| n % 3 != 0).map(samples::shard_id).collect()).unwrap();
    while !store.compact_step(1 << 20).unwrap().done {}
    for n in 1000..1060 {
        assert_eq!(put(&mut store, n), Ok(()), "{n}");
    }
    store.shutdown().unwrap();
    let again = reopen(&medium);
    assert!((0..stored).filter(|n| n % 3 == 0).chain(1000..1060).all(|n| is_whole(&again, n)));
}

#[test]
fn a_drive_that_others_fill_answers_full_and_recovers() {
    let (_, disk, mut store) = store_on(64 << 20, tiny());
    put(&mut store, 0).unwrap();
    for op in [IoOp::Write, IoOp::Create] {
        disk.fail(op, ErrorKind::StorageFull, usize::MAX);
        // What still fits the extent at hand is taken; then nothing is, and that is no failure of the drive.
        let answers: Vec<_> = (1..12).map(|n| put(&mut store, n)).collect();
        assert!(
            answers[8..].iter().all(|a| matches!(a, Err(StoreError::Full { .. }))),
            "{op:?}: {answers:?}"
        );
        disk.fail(op, ErrorKind::StorageFull, 0);
        assert_eq!(put(&mut store, 9), Ok(()), "{op:?}");
        store.delete(vec![samples::shard_id(9)]).unwrap();
    }
    assert!(is_whole(&store, 0));
}

#[test]
fn a_rotten_shard_is_named_quarantined_and_put_again() {
    let (medium, _, mut store) = store_on(64 << 20, tiny());
    for n in 0..3 {
        put(&mut store, n).unwrap();
    }
    let (header, data) = shard(1);
    // Records of 16 KiB: a block for the head, then 12 KiB of data; its byte 5000 is in the second piece.
    medium.spoil("extents/00000000", |bytes| bytes[16384 + 4096 + 5000] ^= 1);
    let corrupt = Err(StoreError::Corrupt { shard: header.id, piece: Some(1) });
    assert_eq!(store.reader().verify(header.id), corrupt);
    assert_eq!(store.quarantine(header.id), Ok(true));
    assert_eq!(store.quarantine(header.id), Err(StoreError::Missing(header.id)));
    assert_eq!(put(&mut store, 1), Ok(()));
    assert_eq!(store.quarantine(header.id), Ok(false), "the second of two repairers does no harm");
    assert_eq!(store.reader().read(header.id, 0..3), Ok(data));
    assert_eq!(store.status().damaged_records, 1);
    drop(store);
    assert!((0..3).all(|n| is_whole(&reopen(&medium), n)));
}

#[test]
fn compaction_copies_no_damage_and_keeps_its_extent_until_somebody_decides() {
    let (medium, _, mut store) = store_on(64 << 20, tiny());
    for n in 0..12 {
        put(&mut store, n).unwrap();
    }
    let extent_of_0 = "extents/00000000";
    medium.spoil(extent_of_0, |bytes| bytes[9000] ^= 1);
    store.delete(vec![samples::shard_id(1), samples::shard_id(2)]).unwrap();
    let step = store.compact_step(64 << 20).unwrap();
    assert_eq!((step.corrupt, step.done), (vec![samples::shard_id(0)], true));
    assert!(medium.names().contains(&extent_of_0.to_owned()), "the evidence stays");
    assert!(store.reader().verify(samples::shard_id(0)).is_err());
    assert_eq!(store.compact_step(64 << 20).unwrap().corrupt, Vec::new(), "it is not reported for ever");
    assert_eq!(store.quarantine(samples::shard_id(0)), Ok(true));
    assert!(store.compact_step(64 << 20).unwrap().done);
    assert!(!medium.names().contains(&extent_of_0.to_owned()));
    assert!((3..12).all(|n| is_whole(&store, n)));
}

#[test]
fn an_unreadable_sector_costs_its_shard_only() {
    let (medium, disk, mut store) = store_on(64 << 20, tiny());
    for n in 0..3 {
        put(&mut store, n).unwrap();
    }
    drop(store);
    disk.rule(|op, name| (op == IoOp::Read && name == "extents/00000000").then(|| ErrorKind::Other.into()));
    let (store, report) =
        ExtentStore::open(Arc::new(disk.clone()), samples::identity(0), tiny()).expect("it still opens");
    assert!(report.damage_count > 0);
    assert_eq!(store.reader().list(None, 9), Vec::new());
    drop(store);
    // Sealed where the damage ended: the sector came back, but so did nothing that was promised away.
    disk.rule(|_, _| None);
    let mut store = ExtentStore::open(Arc::new(disk), samples::identity(0), tiny()).unwrap().0;
    assert_eq!(put(&mut store, 7), Ok(()));
    assert!(is_whole(&reopen(&medium), 7));
}

#[test]
fn a_drive_that_cannot_be_written_opens_for_reading_and_says_why() {
    let (_, disk, mut store) = store_on(64 << 20, tiny());
    for n in 0..3 {
        put(&mut store, n).unwrap();
    }
    drop(store);
    disk.rule(|op, _| {
        let writes = !matches!(op, IoOp::Read | IoOp::Open | IoOp::List | IoOp::Space);
        writes.then(|| ErrorKind::ReadOnlyFilesystem.into())
    });
    let mut store = ExtentStore::open(Arc::new(disk), samples::identity(0), tiny()).unwrap().0;
    assert!((0..3).all(|n| is_whole(&store, n)));
    assert_eq!(store.status().stopped, Some(Stopped::ReadOnly));
    assert_eq!(put(&mut store, 4), Err(StoreError::ReadOnly));
    assert_eq!(store.set_generation(1, 1), Err(StoreError::ReadOnly));
    assert_eq!(store.shutdown(), Ok(()));
}

#[test]
fn too_many_open_files_is_not_taken_for_damage() {
    let (_, disk, mut store) = store_on(64 << 20, tiny());
    for n in 0..12 {
        put(&mut store, n).unwrap();
    }
    store.delete((0..2).map(samples::shard_id).collect()).unwrap();
    disk.fail(IoOp::Open, ErrorKind::Other, usize::MAX);
    let refused = (2..12).filter(|n| store.quarantine(samples::shard_id(*n)).is_err()).count();
    assert!(refused > 0, "some extents are not open");
    assert!(store.compact_step(1 << 20).is_err());
    disk.fail(IoOp::Open, ErrorKind::Other, 0);
    assert!((2..12).all(|n| is_whole(&store, n)));
    assert!(store.compact_step(1 << 20).unwrap().corrupt.is_empty());
}
