//! What the simulated disk promises, and what it does to those who do not sync.

use std::collections::BTreeSet;
use std::io::{ErrorKind, IoSlice};

use super::*;

fn disk(seed: u64) -> SimDisk {
    SimDisk::new(&Sim::new(seed), 0, 1 << 20, Arc::new(Power::default()))
}

fn write(file: &dyn DiskFile, byte: u8, len: usize, offset: u64) -> io::Result<()> {
    file.write_at(&[IoSlice::new(&vec![byte; len])], offset)
}

fn bytes(disk: &SimDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name, None).expect("it is there");
    let mut all = vec![0; file.size().expect("size") as usize];
    file.read_at(&mut all, 0).expect("it can be read");
    all
}

#[test]
fn what_was_synced_survives_every_cut_and_what_was_not_takes_many_shapes() {
    let mut shapes = BTreeSet::new();
    for seed in 0..300 {
        let disk = disk(seed);
        let file = disk.open("a", Some(16384)).expect("room");
        write(file.as_ref(), 1, 8192, 0).expect("written");
        file.sync().expect("synced");
        disk.sync_dir().expect("synced");
        write(file.as_ref(), 2, 8192, 4096).expect("written");
        disk.power_cut();
        let all = bytes(&disk, "a");
        assert!(
            all[..4096].iter().all(|b| *b == 1),
            "seed {seed}: a synced page nobody wrote to is as it was"
        );
        shapes.insert(all.chunks(512).map(|sector| sector[0]).collect::<Vec<u8>>());
    }
    assert!(shapes.len() > 30, "only {} shapes", shapes.len());
    let sector_two_without_one = |s: &Vec<u8>| s[8..24].windows(2).any(|pair| pair[0] != 2 && pair[1] == 2);
    assert!(shapes.iter().any(sector_two_without_one), "holes happen");
}

#[test]
fn names_that_were_not_synced_may_vanish_and_a_killed_process_loses_nothing() {
    let mut survived = 0;
    for seed in 0..100 {
        let disk = disk(seed);
        let file = disk.open("a", Some(10)).expect("room");
        file.sync().expect("synced");
        assert_eq!(disk.list("").expect("list"), ["a"], "without a cut it is there");
        disk.power_cut();
        survived += disk.list("").expect("list").len();
    }
    assert!((10..90).contains(&survived), "{survived}");
}

#[test]
fn after_a_failed_sync_the_next_one_proves_nothing() {
    let mut lost = 0;
    for seed in 0..100 {
        let disk = disk(seed);
        let file = disk.open("a", Some(4096)).expect("room");
        file.sync().expect("synced");
        disk.sync_dir().expect("synced");
        write(file.as_ref(), 7, 4096, 0).expect("written");
        disk.set_weather(Weather { sync_fails: 1000, ..Weather::CLEAR });
        assert!(file.sync().is_err());
        disk.set_weather(Weather::CLEAR);
        assert!(bytes(&disk, "a").iter().all(|b| *b == 7), "the page cache still has it");
        file.sync().expect("and says that all is well");
        disk.power_cut();
        lost += usize::from(bytes(&disk, "a").contains(&0));
    }
    assert!(lost > 20, "{lost}");
}

#[test]
fn a_full_drive_says_so_half_way_and_space_counts_reservations() {
    let disk = disk(1);
    assert_eq!(disk.space().expect("space").available, 1 << 20);
    let file = disk.open("a", Some(1 << 19)).expect("room");
    assert_eq!(disk.space().expect("space").available, 1 << 19);
    assert_eq!(disk.open("b", Some(1 << 20)).map(|_| ()).map_err(|e| e.kind()), Err(ErrorKind::StorageFull));
    let past = write(file.as_ref(), 1, 1 << 20, 1 << 19).map_err(|e| e.kind());
    assert_eq!(past, Err(ErrorKind::StorageFull));
    assert!(disk.used() < 1 << 20);
}

#[test]
fn damage_strikes_once_and_only_where_it_should() {
    for damage in [Damage::LostWrite, Damage::MisdirectedWrite, Damage::BitRot, Damage::LatentError] {
        let mut struck = 0;
        for seed in 0..20 {
            let disk = disk(seed);
            let file = disk.open("a", Some(65536)).expect("room");
            write(file.as_ref(), 1, 65536, 0).expect("written");
            file.sync().expect("synced");
            disk.damage(damage);
            write(file.as_ref(), 2, 4096, 8192).expect("written");
            file.sync().expect("synced");
            let good = |page: u64| {
                let mut buf = [0; 4096];
                let expected = if page == 2 { 2 } else { 1 };
                file.read_at(&mut buf, page * 4096).is_ok() && buf.iter().all(|b| *b == expected)
            };
            let bad = (0..16).filter(|page| !good(*page)).count();
            assert!(bad <= 2, "{damage:?}: {bad} pages");
            struck += usize::from(bad > 0);
        }
        assert!(struck >= 15, "{damage:?}: {struck}");
    }
}

#[test]
fn a_drive_that_is_gone_answers_nothing_until_it_is_renewed_empty() {
    let disk = disk(1);
    let file = disk.open("a", Some(10)).expect("room");
    disk.damage(Damage::Gone);
    assert!(disk.list("").is_err() && file.sync().is_err() && disk.space().is_err());
    disk.renew();
    assert_eq!(disk.list("").expect("list"), Vec::<String>::new());
}

#[test]
fn old_contents_and_swapped_drives_are_what_the_medium_had() {
    let (a, b) = (disk(1), disk(2));
    for (disk, byte) in [(&a, 1), (&b, 2)] {
        let file = disk.open("x", Some(4096)).expect("room");
        write(file.as_ref(), byte, 4096, 0).expect("written");
        file.sync().expect("synced");
        disk.sync_dir().expect("synced");
    }
    let old = a.snapshot();
    swap(&a, &b);
    assert_eq!((bytes(&a, "x")[0], bytes(&b, "x")[0]), (2, 1));
    a.replace(old);
    assert_eq!(bytes(&a, "x")[0], 1);
}
