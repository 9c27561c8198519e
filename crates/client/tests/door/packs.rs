//! Small objects: shared chunks, each object for itself; holes, moving, and what it costs on the drives.

use std::sync::Arc;

use pangea_client::{ClientError, PutObject};
use pangea_core::chunk::Code;
use pangea_core::chunker::stripe_bytes;
use pangea_core::manifest::Manifest;
use pangea_core::meta::{BlobBody, Condition, Content, PackRow, VersionSelector};

use crate::rig::{Rig, body, noise};

const KIB: usize = 1024;
/// From just above the inline limit to the largest that is packed.
const SIZES: [usize; 6] = [4097, 5_000, 16 * KIB, 40_000, 65_537, 128 * KIB];

fn packs(rig: &Rig) -> Vec<PackRow> {
    let rows = rig.run(rig.client.meta().packs(None, 10_000)).expect("memory");
    rows.into_iter().map(|(_, row)| row).collect()
}

/// Puts from so many threads at once; `of` gives key and bytes of the n-th object.
fn put_all(rig: &Arc<Rig>, threads: usize, count: usize, of: fn(usize) -> (String, Vec<u8>)) {
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for n in (thread..count).step_by(threads) {
                    let (key, bytes) = of(n);
                    rig.put(&key, &bytes).expect("all drives are there");
                }
            });
        }
    });
}

fn object(n: usize) -> (String, Vec<u8>) {
    (format!("k{n:04}"), noise(SIZES[n % SIZES.len()], n as u64 + 1))
}

fn check_all(rig: &Rig, which: impl Iterator<Item = usize>) {
    for n in which {
        let (key, bytes) = object(n);
        assert!(rig.get(&key).expect("k shards are there") == bytes, "{key}");
    }
}

fn delete(rig: &Rig, key: &str) {
    let deleted =
        rig.client.delete_object("b", key.as_bytes(), VersionSelector::Current, Condition::default());
    rig.run(deleted).expect("deleted");
}

fn repack_and_collect(rig: &Rig) {
    rig.run(rig.client.repack(&|_, _| {})).expect("repacked");
    rig.run(rig.client.collect_condemned_before(u64::MAX, &|_, _| {})).expect("collected");
}

#[test]
fn what_is_written_at_once_shares_packs_and_comes_back_with_every_range() {
    for drives in [1, 3, 6, 14] {
        let rig = Arc::new(Rig::new(drives));
        put_all(&rig, 12, 48, object);
        let found = packs(&rig);
        assert!(found.len() < 40, "{} packs for 48 objects on {drives} drives", found.len());
        assert!(found.iter().all(|pack| pack.live == pack.len));
        check_all(&rig, 0..48);
        let (key, bytes) = object(3);
        for (from, to) in [(0, 1), (1, 40_000), (32_767, 32_769), (39_999, 40_000), (7, 7)] {
            let got = rig.get_range(&key, from as u64..to as u64).expect("in range");
            assert!(got == bytes[from..to], "{from}..{to}");
        }
    }
}

#[test]
fn text_is_compressed_in_its_item() {
    let rig = Rig::new(1);
    let text = b"the same words again and again, ".repeat(3_000);
    rig.put("t", &text).expect("all drives are there");
    assert!(rig.get("t").expect("there") == text);
    assert!(rig.get_range("t", 50_000..50_100).expect("in range") == text[50_000..50_100]);
    assert!(packs(&rig)[0].len < 2_000, "{:?}", packs(&rig));
}

#[test]
fn of_racing_creators_in_one_pack_exactly_one_wins() {
    let rig = Arc::new(Rig::new(4));
    for round in 0..10 {
        let key = format!("race{round}");
        let won: usize = std::thread::scope(|scope| {
            let race = |racer: u64| {
                let (rig, key) = (rig.clone(), key.clone());
                scope.spawn(move || {
                    let absent = Condition { if_none_match: Some(None), ..Condition::default() };
                    match rig.put_if(&key, &noise(20_000, racer), absent) {
                        Ok(_) => 1,
                        Err(ClientError::PreconditionFailed) => 0,
                        Err(error) => panic!("{error}"),
                    }
                })
            };
            let racers: Vec<_> = (1..=16).map(race).collect();
            racers.into_iter().map(|racer| racer.join().expect("no panic")).sum()
        });
        assert_eq!(won, 1, "round {round}");
    }
}

#[test]
fn a_refused_body_or_a_wrong_length_leaves_nothing() {
    let rig = Rig::new(1);
    let put = |len| PutObject {
        bucket: "b".into(),
        key: b"k".to_vec(),
        condition: Condition::default(),
        attributes: vec![],
        len,
    };
    let bytes = noise(20_000, 1);
    let refuse = rig.client.put_object(put(None), body(&bytes, 999), Box::new(|_| Err("no".into())));
    assert!(matches!(rig.run(refuse), Err(ClientError::Body(_))));
    let short = rig.client.put_object(put(Some(20_001)), body(&bytes, 999), Box::new(|_| Ok(vec![])));
    assert!(matches!(rig.run(short), Err(ClientError::WrongLength { expected: 20_001, received: 20_000 })));
    assert!(packs(&rig).is_empty() && rig.drives.shards() == [0]);
    assert!(matches!(rig.get("k"), Err(ClientError::NoSuchKey { marker: None })));
    let unknown = rig.client.put_object(put(None), body(&bytes, 999), Box::new(|_| Ok(vec![])));
    rig.run(unknown).expect("of unknown length, and packed all the same");
    assert!(rig.get("k").expect("there") == bytes && packs(&rig).len() == 1);
}

#[test]
fn losing_m_drives_and_rot_lose_no_small_object() {
    let rig = Arc::new(Rig::new(6));
    put_all(&rig, 8, 24, object);
    (0..3).for_each(|drive| rig.drives.take_away(drive));
    check_all(&rig, 0..24);
    (0..3).for_each(|drive| rig.drives.bring_back(drive));
    crate::repair::rot_everything(&rig, 1);
    crate::repair::rot_everything(&rig, 4);
    check_all(&rig, 0..24);
    let report = rig.run(rig.client.scrub_pass(&|_, _| {})).expect("scrubbed");
    assert!(report.written_shards > 0 && report.lost_stripes == 0, "{report:?}");
    (2..5).filter(|drive| *drive != 4).chain([0]).for_each(|drive| rig.drives.take_away(drive));
    check_all(&rig, 0..24);
}

#[test]
fn holes_are_given_back_and_copies_and_the_rest_live_on() {
    let rig = Arc::new(Rig::with_code(6, Code::new(4, 2).expect("a code")));
    put_all(&rig, 8, 96, object);
    let copied = rig.run(rig.client.object("b", b"k0000", VersionSelector::Current)).expect("there");
    let put = PutObject {
        bucket: "b".into(),
        key: b"copy".to_vec(),
        condition: Condition::default(),
        attributes: vec![],
        len: None,
    };
    rig.run(rig.client.copy_object(&copied, put.clone())).expect("copied");
    (0..96).filter(|n| n % 3 != 1).for_each(|n| delete(&rig, &object(n).0));
    repack_and_collect(&rig);
    let found = packs(&rig);
    assert!(found.iter().all(|pack| (pack.len - pack.live) * 5 <= pack.live), "{found:?}");
    let blobs = rig.run(rig.client.meta().blobs(None, 10_000)).expect("memory");
    assert_eq!(blobs.len(), found.len(), "emptied packs are gone");
    check_all(&rig, (0..96).filter(|n| n % 3 == 1));
    assert!(rig.get("copy").expect("the copy has its bytes") == object(0).1);
    // What was found before the move is copied from where it is now.
    rig.run(rig.client.copy_object(&copied, put.clone())).expect_err("the source was deleted");
    let live = rig.run(rig.client.object("b", b"k0001", VersionSelector::Current)).expect("there");
    let stale =
        pangea_client::Object { version: with_content(&live.version, &copied.version.content), ..live };
    rig.run(rig.client.copy_object(&stale, put)).expect("the version has moved");
    assert!(rig.get("copy").expect("there") == object(1).1);
    (0..96).for_each(|n| delete(&rig, &object(n).0));
    delete(&rig, "copy");
    repack_and_collect(&rig);
    assert_eq!(rig.drives.shards().iter().sum::<u64>(), 0);
}

fn with_content(row: &pangea_core::meta::VersionRow, content: &Content) -> pangea_core::meta::VersionRow {
    pangea_core::meta::VersionRow { content: content.clone(), ..row.clone() }
}

#[test]
fn lone_writes_are_merged_and_a_second_pass_finds_nothing() {
    let rig = Rig::new(14);
    (0..40).for_each(|n| drop(rig.put(&object(n).0, &object(n).1).expect("all drives are there")));
    assert_eq!(packs(&rig).len(), 40);
    let first = rig.run(rig.client.repack(&|_, _| {})).expect("repacked");
    assert_eq!((first.emptied, first.written, first.items), (40, 1, 40));
    let second = rig.run(rig.client.repack(&|_, _| {})).expect("repacked");
    assert_eq!((second.emptied, second.written), (0, 0));
    check_all(&rig, 0..40);
}

#[test]
fn a_damaged_pack_is_not_copied_and_says_so() {
    let rig = Rig::new(1);
    (0..8).for_each(|n| drop(rig.put(&object(n).0, &object(n).1).expect("all drives are there")));
    crate::repair::rot_everything(&rig, 0);
    let report = rig.run(rig.client.repack(&|_, _| {})).expect("passed over");
    assert_eq!((report.unreadable, report.written), (8, 0), "{report:?}");
    assert!(rig.get(&object(0).0).is_err());
}

/// Bytes on the drives over bytes of the object.
fn overhead(rig: &Rig, key: &str) -> f64 {
    let object = rig.run(rig.client.object("b", key.as_bytes(), VersionSelector::Current)).expect("there");
    let blob = object.blob.expect("not empty");
    let BlobBody::Chunked { manifest } = &blob.body else { panic!("in chunks: {:?}", blob.body) };
    let manifest = Manifest::decode(manifest).expect("just written");
    let chunks = (0..manifest.chunks()).filter_map(|chunk| manifest.chunk(chunk));
    let stored: u64 = chunks.map(|entry| stripe_bytes(&entry.shape)).sum();
    let share = match object.version.content {
        Content::Packed(item) => item.at.len as f64 / blob.len as f64,
        _ => 1.0,
    };
    stored as f64 * share / object.version.size as f64
}

#[test]
fn a_ten_plus_four_object_takes_155_percent_on_average() {
    let rig = Arc::new(Rig::with_code(14, Code::new(10, 4).expect("a code")));
    // Log-uniform from 16 KiB to 5 MiB.
    let bytes = |n: usize| (16.0 * 1024.0 * 320f64.powf(n as f64 / 199.0)) as usize;
    for n in 0..200 {
        rig.put(&format!("k{n:04}"), &noise(bytes(n), n as u64 + 1)).expect("all drives are there");
    }
    rig.run(rig.client.repack(&|_, _| {})).expect("repacked");
    let mean = (0..200).map(|n| overhead(&rig, &format!("k{n:04}"))).sum::<f64>() / 200.0;
    println!("mean overhead at 10+4: {mean:.3}");
    assert!((1.40..=1.55).contains(&mean), "{mean}");
}
