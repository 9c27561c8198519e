//! Backups: their head, and a cluster that goes on from one.

use std::sync::Arc;

use pangea_core::id::ClusterId;
use pangea_core::seam::Disk;

use super::crash_disk::{Image, Recorder};
use super::{Counting, kept_by, keys, open, options, requests, run};
use crate::backup::{BackupHead, BadHead, CheckedSnapshot, HEAD_BYTES, snapshot_file, survey};
use crate::sqlite::ViewPlace;
use crate::{Engine, MetaError};

const CLUSTER: ClusterId = ClusterId([1; 16]);

#[test]
fn a_head_round_trips_and_every_flipped_byte_is_noticed() {
    let head = BackupHead {
        cluster: CLUSTER,
        generation: 3,
        seq: 4711,
        created_ms: 1_700_000_000_000,
        bytes: 12_345,
        hash: [9; 32],
    };
    let bytes = head.encode();
    assert_eq!(BackupHead::decode(&bytes), Ok(head));
    for at in 0..128 {
        let mut flipped = bytes;
        flipped[at] ^= 4;
        let wanted = if at < 8 { BadHead::Foreign } else { BadHead::Broken };
        assert_eq!(BackupHead::decode(&flipped), Err(wanted), "byte {at}");
    }
    assert_eq!(BackupHead::decode(&[0; HEAD_BYTES]), Err(BadHead::Foreign));
}

/// A cluster with a snapshot, and the same later: images of its drives, what it held then, and the snapshot's sequence.
fn story() -> (Recorder, Vec<super::DumpedRow>, u64) {
    let recorder = Recorder::new(vec![Image::default(); 2]);
    let mut engine = open(&recorder.drives()).expect("opens");
    run(&mut engine, &requests(1, 200), 5);
    let seq = engine.snapshot().expect("written");
    let then = kept_by(&engine);
    run(&mut engine, &requests(2, 100), 5);
    drop(engine);
    (recorder, then, seq)
}

fn checked(drive: &Arc<dyn Disk>, seq: u64) -> Result<CheckedSnapshot, MetaError> {
    let file = drive.open(&snapshot_file(seq), None).expect("it is there");
    CheckedSnapshot::read(file, "the backup", CLUSTER, &keys())
}

#[test]
fn a_cluster_goes_on_from_its_backup_and_nothing_older_counts_again() {
    let (recorder, then, seq) = story();
    let snapshot = checked(&recorder.drive(0), seq).expect("whole");
    assert_eq!((snapshot.seq(), snapshot.rows > 0), (seq, true));
    let known = survey(&recorder.drives(), CLUSTER, &keys()).expect("readable");
    assert!(known.seq() >= seq + 100 && known.snapshot_seq == seq, "{known:?}");

    // Once onto empty drives, once cut short so that another drive still has all there was before.
    for old in [None, Some(recorder.images().remove(1))] {
        let fresh = Recorder::new([Some(Image::default()), old].into_iter().flatten().collect());
        let first = &fresh.drives()[..1];
        snapshot.install(first, &keys(), known.generation + 1, &Counting::default()).expect("installed");
        let mut wanted = options(&fresh.drives(), ViewPlace::Memory);
        wanted.known_generation = known.generation;
        let mut engine = Engine::open(wanted).expect("opens");
        assert_eq!(kept_by(&engine), then);
        assert!(engine.status().generation > known.generation + 1);
        run(&mut engine, &requests(3, 50), 5);
        let later = kept_by(&engine);
        drop(engine);
        assert_eq!(kept_by(&open(&fresh.drives()).expect("opens again")), later);
    }
}

#[test]
fn a_damaged_cut_or_foreign_snapshot_is_refused() {
    let (recorder, _, seq) = story();
    let name = snapshot_file(seq);
    let size = recorder.drive(0).open(&name, None).expect("there").size().expect("known") as usize;
    for at in [0, 10, 40, 100, 160, 512, 530, 600, size - 500] {
        let harmed = Recorder::new(recorder.images());
        harmed.edit(0, &name, |bytes| bytes[at] ^= 1);
        assert!(checked(&harmed.drive(0), seq).is_err(), "byte {at}");
    }
    for len in [0, 100, 512, 600, size - 512, size - 1, size + 512] {
        let harmed = Recorder::new(recorder.images());
        harmed.edit(0, &name, |bytes| bytes.resize(len, 0));
        assert!(checked(&harmed.drive(0), seq).is_err(), "{len} bytes");
    }
    let file = recorder.drive(0).open(&name, None).expect("there");
    let other = CheckedSnapshot::read(file, "the backup", ClusterId([2; 16]), &keys()).map(|_| ());
    assert!(matches!(other, Err(MetaError::OtherCluster { .. })), "{other:?}");
}
