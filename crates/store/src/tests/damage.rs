//! Drives as they come back from the world: cut, flipped, swapped, rolled back, half erased, from the future.

use std::sync::Arc;

use super::crash::tiny;
use super::crash_disk::CrashDisk;
use super::samples;
use crate::drive::{self, OpenError, Probe, adopt};
use crate::extent::{CheckpointUse, ExtentStore, RecoveryReport, Write};
use crate::format::superblock::COPY_OFFSETS;
use crate::port::StoreError;

const SHARDS: u32 = 12;

/// A drive with shards 0 to 12, of which the later ones are behind the checkpoint.
fn filled() -> CrashDisk {
    let disk = CrashDisk::new(64 << 20);
    drive::format(&disk, samples::identity(0), 1).unwrap();
    let mut store = open(&disk).unwrap().0;
    for n in 0..SHARDS {
        let (header, data) = samples::shard(n, 1, 4);
        assert_eq!(store.commit(vec![Write::put(header, data).unwrap()]), [Ok(())]);
        if n == 7 {
            store.checkpoint().unwrap();
        }
    }
    disk
}

fn open(disk: &CrashDisk) -> Result<(ExtentStore, RecoveryReport), OpenError> {
    ExtentStore::open(Arc::new(disk.clone()), samples::identity(0), tiny())
}

fn copy(disk: &CrashDisk) -> CrashDisk {
    disk.after_cut(disk.ops(), super::crash_disk::Cut::Keep)
}

/// How many shards are whole; panics if one is served with `verify` content but wrong bytes.
fn whole(store: &ExtentStore) -> u32 {
    let is_whole = |n: &u32| {
        let (header, data) = samples::shard(*n, 1, 4);
        let verified = store.reader().verify(header.id);
        let read = store.reader().read(header.id, 0..4);
        match &verified {
            Ok(()) => assert_eq!(read, Ok(data)),
            Err(error) => assert!(
                matches!(error, StoreError::Missing(_) | StoreError::Corrupt { .. }),
                "{error:?} is no damage"
            ),
        }
        verified.is_ok()
    };
    (0..SHARDS).filter(is_whole).count() as u32
}

#[test]
fn one_bad_superblock_copy_heals_from_the_other() {
    for bad in COPY_OFFSETS {
        let disk = filled();
        disk.spoil("superblock", |bytes| bytes[bad as usize + 20] ^= 1);
        let (mut store, report) = open(&disk).unwrap();
        assert!(report.superblock_healed);
        assert_eq!(whole(&store), SHARDS);
        store.set_generation(5, 6).unwrap();
        drop(store);
        let (store, report) = open(&disk).unwrap();
        assert!(!report.superblock_healed);
        assert_eq!((store.superblock().meta_generation, store.superblock().layout_epoch), (5, 6));
    }
}

#[test]
fn without_a_superblock_the_records_name_the_drive_and_it_can_be_adopted() {
    let disk = filled();
    disk.spoil("superblock", |bytes| bytes.fill(0));
    let named = Some(samples::identity(0));
    assert_eq!(drive::probe(&disk), Ok(Probe::Damaged { named }));
    assert_eq!(open(&disk).err(), Some(OpenError::Damaged { named }));
    assert_eq!(drive::format(&disk, samples::identity(0), 1).err(), Some(OpenError::Damaged { named }));
    let (expected, found) = (samples::identity(1), samples::identity(0));
    assert_eq!(adopt(&disk, expected, 1).err(), Some(OpenError::WrongDrive { expected, found }));
    adopt(&disk, samples::identity(0), 1).unwrap();
    assert_eq!(whole(&open(&disk).unwrap().0), SHARDS);
}

#[test]
fn the_wrong_drive_a_later_format_and_other_peoples_files_are_refused_by_name() {
    let disk = filled();
    let (expected, found) = (samples::identity(3), samples::identity(0));
    let wrong = ExtentStore::open(Arc::new(disk.clone()), expected, tiny()).err();
    assert_eq!(wrong, Some(OpenError::WrongDrive { expected, found }));
    assert_eq!(drive::format(&disk, expected, 1).err(), Some(OpenError::AlreadyFormatted(found)));

    disk.spoil("superblock", |bytes| {
        for at in COPY_OFFSETS.map(|offset| offset as usize) {
            bytes[at + 8] = 9;
            let hash = blake3::hash(&bytes[at..at + 96]);
            bytes[at + 96..at + 128].copy_from_slice(hash.as_bytes());
        }
    });
    assert_eq!(open(&disk).err(), Some(OpenError::Newer { version: 9 }));
    assert_eq!(drive::format(&disk, expected, 1).err(), Some(OpenError::Newer { version: 9 }));

    let other = CrashDisk::new(1 << 20);
    pangea_core::seam::Disk::open(&other, "thesis.doc", Some(4096)).unwrap();
    let names = vec!["thesis.doc".to_owned()];
    assert_eq!(drive::format(&other, expected, 1).err(), Some(OpenError::Foreign { names: names.clone() }));
    assert_eq!(open(&other).err(), Some(OpenError::Foreign { names }));
    assert_eq!(open(&CrashDisk::new(1 << 20)).err(), Some(OpenError::NotFormatted));
}

#[test]
fn another_drives_superblock_does_not_make_its_records_ours() {
    let disk = filled();
    let other = CrashDisk::new(1 << 20);
    let superblock = drive::format(&other, samples::identity(5), 1).unwrap();
    disk.spoil("superblock", |bytes| {
        for at in COPY_OFFSETS.map(|offset| offset as usize) {
            bytes[at..at + 4096].copy_from_slice(&superblock.encode());
        }
    });
    assert!(matches!(open(&disk), Err(OpenError::WrongDrive { .. })));
    let (store, report) = ExtentStore::open(Arc::new(disk.clone()), samples::identity(5), tiny())
        .expect("as its superblock says");
    assert_eq!(report.checkpoint, CheckpointUse::Damaged);
    assert!(report.damage_count > 0, "records of another drive are not ours");
    assert_eq!(store.reader().list(None, 10), Vec::new());
}

#[test]
fn a_cut_extent_loses_its_end_and_no_more() {
    let names: Vec<String> = filled().names().into_iter().filter(|n| n.starts_with("extents/")).collect();
    assert!(names.len() > 1, "{names:?}");
    for name in names {
        for len in [0, 100, 4096, 20_000, 40_000] {
            let disk = copy(&filled());
            disk.spoil(&name, |bytes| bytes.truncate(len));
            let (mut store, _) = open(&disk).unwrap();
            let left = whole(&store);
            assert!(left >= SHARDS - 6, "{name} cut to {len}: {left}");
            // Whatever is missing can be put again, whatever is damaged can be quarantined: then all is well.
            for n in 0..SHARDS {
                let (header, data) = samples::shard(n, 1, 4);
                if store.reader().verify(header.id).is_err() {
                    let gone = store.quarantine(header.id);
                    assert!(matches!(gone, Ok(true) | Err(StoreError::Missing(_))), "{gone:?}");
                }
                assert_eq!(store.commit(vec![Write::put(header, data).unwrap()]), [Ok(())]);
            }
            assert_eq!(whole(&store), SHARDS);
            drop(store);
            assert_eq!(whole(&open(&disk).unwrap().0), SHARDS, "{name} cut to {len}, repaired, reopened");
        }
    }
}

#[test]
fn lost_shards_are_counted_when_an_extent_is_gone() {
    let disk = filled();
    // A restart that checkpoints everything; then the first extent vanishes.
    open(&disk).unwrap().0.shutdown().unwrap();
    pangea_core::seam::Disk::remove(&disk, "extents/00000000").unwrap();
    let (store, report) = open(&disk).unwrap();
    assert_eq!(report.lost_count, u64::from(SHARDS - whole(&store)));
    assert!(report.lost_count > 0 && report.lost.len() as u64 == report.lost_count);
}

#[test]
fn a_checkpoint_ahead_of_a_rolled_back_extent_is_not_believed() {
    let disk = filled();
    open(&disk).unwrap().0.shutdown().unwrap();
    let last = disk.names().into_iter().rfind(|n| n.starts_with("extents/")).unwrap();
    disk.spoil(&last, |bytes| bytes.fill(0));
    let (store, report) = open(&disk).unwrap();
    assert_eq!(report.checkpoint, CheckpointUse::AheadOfExtents);
    let listed = store.reader().list(None, 100).len() as u32;
    assert_eq!(listed, whole(&store), "only what is there is listed");
    assert!(listed > 0 && listed < SHARDS);
}

#[test]
fn flipped_bytes_anywhere_never_give_wrong_bytes_or_a_panic() {
    let filled = filled();
    let names = filled.names();
    let mut damaged = 0;
    for seed in 0..400u32 {
        let disk = copy(&filled);
        let mut dice = [0; 64];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut dice);
        let number = |at: usize| u32::from_le_bytes(dice[at..at + 4].try_into().unwrap()) as usize;
        for flip in 0..1 + seed as usize % 4 {
            let name = &names[number(flip * 12) % names.len()];
            disk.spoil(name, |bytes| {
                let at = number(flip * 12 + 4) % bytes.len();
                bytes[at] ^= dice[flip * 12 + 8].max(1);
            });
        }
        match open(&disk) {
            Ok((store, _)) => damaged += u32::from(whole(&store) < SHARDS),
            Err(OpenError::Damaged { .. } | OpenError::Newer { .. }) => {}
            Err(other) => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!(damaged > 50, "{damaged} of 400 seeds hit a shard");
}

#[test]
fn a_checkpoint_that_was_unreadable_once_cannot_come_back_and_remove_what_was_written_since() {
    // Found by random histories: all extents compacted away, the checkpoint misread at one opening, numbers started
    // again from zero, and the next opening read the old checkpoint and took the new extent for a leftover.
    let disk = CrashDisk::new(64 << 20);
    drive::format(&disk, samples::identity(0), 1).unwrap();
    let put = |store: &mut ExtentStore, n| {
        let (header, data) = samples::shard(n, 1, 4);
        assert_eq!(store.commit(vec![Write::put(header, data).unwrap()]), [Ok(())]);
    };
    let mut store = open(&disk).unwrap().0;
    (0..SHARDS).for_each(|n| put(&mut store, n));
    store.delete((0..SHARDS).map(samples::shard_id).collect()).unwrap();
    // A crash seals the extent, so that compaction can take it.
    drop(store);
    let disk = copy(&disk);
    let mut store = open(&disk).unwrap().0;
    while !store.compact_step(1 << 20).unwrap().done {}
    drop(store);
    assert!(!disk.names().iter().any(|name| name.starts_with("extents/")), "{:?}", disk.names());
    // The misread is gone again after the power cut: a copy of the disk starts from what was really written.
    let disk = copy(&disk);
    disk.spoil("checkpoint", |bytes| bytes[30] ^= 1);
    let (mut store, report) = open(&disk).unwrap();
    assert_eq!(report.checkpoint, CheckpointUse::Damaged);
    put(&mut store, 0);
    drop(store);
    let disk = disk.after_cut(disk.ops(), super::crash_disk::Cut::Drop);
    assert_eq!(whole(&open(&disk).unwrap().0), 1);
}
