//! Losing drives, rotting shards, stand-ins coming home.

use pangea_client::ClientError;
use pangea_core::id::ShardId;
use pangea_store::port::ShardStore;

use crate::rig::{Rig, noise};

#[test]
fn losing_m_drives_loses_neither_data_nor_reads_nor_writes() {
    for (drives, lost) in [(2, 1), (3, 1), (4, 2), (6, 3), (14, 4), (16, 4)] {
        let rig = Rig::new(drives);
        let before = noise(1_500_000, 1);
        rig.put("before", &before).expect("all drives are there");
        (0..lost).for_each(|drive| rig.drives.take_away(drive));
        assert!(rig.get("before").expect("m drives are gone") == before, "{drives} drives");
        let after = noise(1_200_000, 2);
        rig.put("after", &after).expect("writes go on, doubling up");
        assert!(rig.get("after").expect("what was just written") == after);
        (0..lost).for_each(|drive| rig.drives.bring_back(drive));
        let report = rig.run(rig.client.complete_todos(&|_, _| {})).expect("mended");
        assert!(report.stripes > 0 && report.waiting == 0 && report.lost == 0, "{drives} drives: {report:?}");
        let scrub = rig.run(rig.client.scrub_pass(&|_, _| {})).expect("scrubbed");
        assert_eq!(
            (scrub.bad_shards, scrub.missing_shards, scrub.waiting_stripes),
            (0, 0, 0),
            "{drives} drives"
        );
        assert!(rig.get("after").expect("still there") == after);
    }
}

#[test]
fn one_more_than_m_is_said_so_and_never_wrong_bytes() {
    let rig = Rig::new(4);
    rig.put("k", &noise(500_000, 1)).expect("all drives are there");
    (0..3).for_each(|drive| rig.drives.take_away(drive));
    assert!(matches!(rig.get("k"), Err(ClientError::Unreadable { found: 1, needed: 2, .. })));
    rig.drives.bring_back(0);
    assert!(rig.get("k").expect("k are back") == noise(500_000, 1));
}

#[test]
fn an_emptied_drive_is_refilled_by_a_scrub() {
    for drives in [2, 3, 6] {
        let rig = Rig::new(drives);
        let bytes = noise(2_000_000, 9);
        rig.put("k", &bytes).expect("all drives are there");
        let before = rig.drives.shards();
        rig.drives.empty(1);
        assert!(rig.get("k").expect("degraded") == bytes);
        let report = rig.run(rig.client.scrub_pass(&|_, _| {})).expect("scrubbed");
        assert!(report.written_shards > 0 && report.lost_stripes == 0, "{report:?}");
        assert_eq!(rig.drives.shards(), before);
        (0..drives - 1).filter(|drive| *drive != 1).take(1).for_each(|drive| rig.drives.take_away(drive));
        assert!(rig.get("k").expect("the refilled drive carries its part") == bytes);
    }
}

#[test]
fn rotten_shards_are_named_read_around_dropped_and_mended() {
    let rig = Rig::new(6);
    let bytes = noise(1_000_000, 4);
    rig.put("k", &bytes).expect("all drives are there");
    for drive in [0, 2, 5] {
        rot_everything(&rig, drive);
    }
    assert!(rig.get("k").expect("three of six are rotten") == bytes);
    let report = rig.run(rig.client.scrub_pass(&|_, _| {})).expect("scrubbed");
    assert!(report.written_shards > 0 && report.lost_stripes == 0, "{report:?}");
    let again = rig.run(rig.client.scrub_pass(&|_, _| {})).expect("scrubbed");
    assert_eq!((again.bad_shards, again.missing_shards, again.written_shards), (0, 0, 0), "{again:?}");
    assert!(rig.get("k").expect("whole again") == bytes);
}

#[test]
fn a_single_drive_verifies_and_says_what_is_lost() {
    let rig = Rig::new(1);
    let bytes = noise(200_000, 4);
    rig.put("k", &bytes).expect("the drive is there");
    rot_everything(&rig, 0);
    for _ in 0..2 {
        assert!(matches!(rig.get("k"), Err(ClientError::Unreadable { .. })));
        let report = rig.run(rig.client.scrub_pass(&|_, _| {})).expect("scrubbed");
        assert_eq!((report.lost_stripes, report.bad_shards, report.written_shards), (1, 1, 0));
        // With no other shard to mend it from, the damaged one is kept: its good pieces can still be read.
        assert!(rig.get_range("k", 50_000..60_000).expect("a good piece") == bytes[50_000..60_000]);
    }
}

pub fn rot_everything(rig: &Rig, drive: usize) {
    let store = rig.drives.store(drive);
    let shards: Vec<ShardId> =
        rig.run(store.list(None, 1000)).expect("memory").into_iter().map(|listed| listed.id).collect();
    assert!(!shards.is_empty());
    shards.iter().for_each(|id| assert!(store.rot(id, 1000 + usize::from(id.index))));
}
