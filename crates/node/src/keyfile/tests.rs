//! The key file at its door: what opens, what is refused, and what a lost or damaged copy costs.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

use pangea_core::id::ClusterId;
use pangea_core::seam::Entropy;

use super::{
    CopyState, FILE_BYTES_MAX, Head, KEY_FILE_NAME, KeyError, Protector, Ring, Unlock, read_copies,
    write_copies,
};
use crate::config::Secret;
use crate::scratch::Scratch;

/// Counts: draws differ, runs are the same.
struct Counter(AtomicU8);

impl Entropy for Counter {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.iter_mut().for_each(|byte| *byte = self.0.fetch_add(1, Ordering::Relaxed));
    }
}

fn counter() -> Counter {
    Counter(AtomicU8::new(1))
}

fn unlocks() -> [Unlock; 3] {
    [Unlock::Nothing, Unlock::Passphrase(Secret::new("correct horse")), Unlock::from_secret(&[7; 32])]
}

fn ring() -> Ring {
    Ring::draw(ClusterId([9; 16]), 1_700_000_000_000, &counter())
}

fn rotated() -> Ring {
    let entropy = counter();
    entropy.fill(&mut [0; 100]);
    ring().rotated(1, &entropy).expect("room")
}

fn sealed(ring: &Ring, unlock: &Unlock) -> Vec<u8> {
    ring.seal(unlock, &counter()).expect("sealed")
}

fn drives(scratch: &Scratch, count: usize) -> Vec<PathBuf> {
    let drives: Vec<PathBuf> = (0..count).map(|i| scratch.path().join(format!("d{i}"))).collect();
    drives.iter().for_each(|drive| std::fs::create_dir(drive).expect("a temporary directory"));
    drives
}

fn paths(drives: &[PathBuf]) -> impl Iterator<Item = &Path> + Clone {
    drives.iter().map(PathBuf::as_path)
}

#[test]
fn every_protector_gives_the_ring_back_and_every_other_secret_is_refused() {
    for unlock in unlocks() {
        let bytes = sealed(&rotated(), &unlock);
        assert!(bytes.len() <= FILE_BYTES_MAX);
        assert_eq!(Ring::open(&bytes, &unlock).expect("opens"), rotated());
        for other in unlocks().iter().filter(|other| other.protector() != unlock.protector()) {
            match Ring::open(&bytes, other) {
                Ok(ring) => assert_eq!((unlock.protector(), ring), (Protector::None, rotated())),
                Err(KeyError::Locked { needs, given }) => {
                    assert_eq!((needs, given), (unlock.protector(), other.protector()));
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    let wrong = Unlock::Passphrase(Secret::new("wrong horse"));
    let error = Ring::open(&sealed(&ring(), &unlocks()[1]), &wrong).expect_err("wrong");
    assert_eq!(error.to_string(), "the passphrase does not open the master key");
}

#[test]
fn every_cut_and_every_flipped_bit_is_noticed() {
    for unlock in [&unlocks()[0], &unlocks()[2]] {
        let bytes = sealed(&ring(), unlock);
        assert!((0..bytes.len()).all(|cut| Ring::open(&bytes[..cut], unlock).is_err()));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(Ring::open(&bad, unlock).is_err(), "byte {at}");
        }
    }
}

#[test]
fn a_newer_format_is_named_and_an_absurd_cost_is_not_paid() {
    let mut bytes = sealed(&ring(), &Unlock::Nothing);
    bytes[8] = 2;
    assert!(matches!(Head::of(&bytes), Err(KeyError::Newer { version: 2 })));
    let mut bytes = sealed(&ring(), &unlocks()[1]);
    bytes[52..56].fill(0xff);
    let at = bytes.len() - 32;
    let hash = blake3::hash(&bytes[..at]);
    bytes[at..].copy_from_slice(hash.as_bytes());
    assert!(matches!(Ring::open(&bytes, &unlocks()[1]), Err(KeyError::Malformed(_))));
}

#[test]
fn a_rotation_keeps_the_old_keys() {
    let (first, second) = (ring(), rotated());
    assert_eq!((second.current().number, second.sequence), (2, 2));
    assert_eq!(second.key(1), Some(&first.current().key));
    assert_ne!(second.key(2), second.key(1));
    assert_eq!(second.key(3), None);
}

#[test]
fn lost_stale_and_damaged_copies_are_told_apart_and_healed() {
    let scratch = Scratch::new("keys-heal");
    let drives = drives(&scratch, 4);
    write_copies(paths(&drives[..1]), &sealed(&rotated(), &Unlock::Nothing)).expect("written");
    write_copies(paths(&drives[1..2]), &sealed(&ring(), &Unlock::Nothing)).expect("written");
    std::fs::write(drives[2].join(KEY_FILE_NAME), b"not keys").expect("written");
    let copies = read_copies(&drives, &Unlock::Nothing).expect("one is good");
    assert_eq!(copies.ring, rotated());
    assert_eq!(copies.states[0].1, CopyState::Current);
    assert_eq!(copies.states[1].1, CopyState::Stale);
    assert!(matches!(copies.states[2].1, CopyState::Bad(_)));
    assert_eq!(copies.states[3].1, CopyState::Missing);
    write_copies(copies.to_heal(), &copies.bytes).expect("healed");
    let copies = read_copies(&drives, &Unlock::Nothing).expect("all are good");
    assert_eq!(copies.to_heal().count(), 0);
    assert!(drives.iter().all(|drive| !drive.join("keys.old").exists() && !drive.join("keys.new").exists()));
}

#[test]
fn only_the_owner_can_read_a_copy() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::new("keys-mode");
    let drives = drives(&scratch, 1);
    write_copies(paths(&drives), &sealed(&ring(), &Unlock::Nothing)).expect("written");
    let mode = std::fs::metadata(drives[0].join(KEY_FILE_NAME)).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_crash_between_the_names_loses_no_ring() {
    let scratch = Scratch::new("keys-crash");
    let drives = drives(&scratch, 1);
    for leftover in ["keys.new", "keys.old"] {
        std::fs::write(drives[0].join(leftover), sealed(&ring(), &Unlock::Nothing)).expect("written");
        let copies = read_copies(&drives, &Unlock::Nothing).expect("found");
        assert_eq!((copies.ring, &copies.states[0].1), (ring(), &CopyState::Missing));
        std::fs::remove_file(drives[0].join(leftover)).expect("there");
    }
}

#[test]
fn two_clusters_two_histories_and_no_copy_at_all_are_errors() {
    let scratch = Scratch::new("keys-clash");
    let drives = drives(&scratch, 2);
    assert!(
        matches!(read_copies(&drives, &Unlock::Nothing), Err(KeyError::NoCopy { found }) if found.is_empty())
    );
    write_copies(paths(&drives[..1]), &sealed(&ring(), &Unlock::Nothing)).expect("written");
    let foreign = Ring::draw(ClusterId([8; 16]), 0, &counter());
    write_copies(paths(&drives[1..]), &sealed(&foreign, &Unlock::Nothing)).expect("written");
    assert!(matches!(read_copies(&drives, &Unlock::Nothing), Err(KeyError::TwoClusters { .. })));
    let fork = Ring::draw(ClusterId([9; 16]), 1, &counter());
    let entropy = counter();
    entropy.fill(&mut [0; 3]);
    let bytes = fork.seal(&Unlock::Nothing, &entropy).expect("sealed");
    write_copies(paths(&drives[1..]), &bytes).expect("written");
    assert!(matches!(read_copies(&drives, &Unlock::Nothing), Err(KeyError::Fork { .. })));
}
