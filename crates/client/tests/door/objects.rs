//! Objects: every size, ranges, conditions, copies, deletes, listings.

use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use pangea_client::{ClientError, List, ListEntry, Options, PutObject};
use pangea_core::chunk::Code;
use pangea_core::meta::{Condition, VersionSelector};

use crate::rig::{Rig, body, noise};

const SIZES: [usize; 9] = [0, 1, 4096, 4097, 65_536, 524_032, 524_033, 5 << 20, (5 << 20) + 1];

#[test]
fn what_was_put_is_got_back_at_every_size_and_number_of_drives() {
    for drives in [1, 2, 3, 6, 14] {
        let rig = Rig::new(drives);
        for size in SIZES {
            let bytes = noise(size, size as u64 + 1);
            let done = rig.put("k", &bytes).expect("all drives are there");
            assert_eq!(done.size, size as u64);
            assert!(rig.get("k").expect("all drives are there") == bytes, "{size} bytes on {drives} drives");
        }
    }
}

/// A PUT whose body brings `bytes` of its `len` and then nothing more.
fn slow_sender(rig: &Rig, name: &str, len: u64, bytes: usize) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let put = PutObject {
        bucket: "b".into(),
        key: name.into(),
        condition: Condition::default(),
        attributes: vec![],
        len: Some(len),
    };
    let body = Box::pin(body(&noise(bytes, 3), 65_536).chain(stream::pending()));
    let client = rig.client.clone();
    Box::pin(async move {
        let done = client.put_object(put, body, Box::new(|_| Ok(vec![]))).await;
        panic!("a body that does not end was stored: {done:?}");
    })
}

#[test]
fn slow_senders_hold_what_they_sent_and_keep_nobody_waiting() {
    let rig = Rig::new(14);
    // With their stripes they would ask for 144 MiB, which is more than there is. Some stop early, others just before the
    // end of their chunk: then they hold nearly all that there is for what is still coming.
    let bytes = noise(12 << 20, 4);
    for sent in [100_000, 5_200_000] {
        let mut slow: Vec<_> =
            (0..12).map(|n| slow_sender(&rig, &format!("slow {n}"), 64 << 20, sent)).collect();
        let mut cx = Context::from_waker(Waker::noop());
        for sender in &mut slow {
            // Often enough for all that was sent to be taken in.
            (0..100).for_each(|_| assert!(sender.as_mut().poll(&mut cx).is_pending()));
        }
        let (done, was_done) = std::sync::mpsc::sync_channel(1);
        std::thread::scope(|scope| {
            scope.spawn(|| done.send(rig.put("quick", &bytes).is_ok()));
            let stored = was_done.recv_timeout(Duration::from_secs(60));
            // Going away, they give back all that they hold; then even a PUT that was kept waiting ends.
            if stored.is_err() {
                slow.clear();
            }
            assert_eq!(stored, Ok(true), "beside those who sent {sent} bytes");
        });
        assert!(rig.get("quick").expect("it was stored") == bytes);
    }
}

/// A PUT that waited for memory waited for ever if whoever had it brought nothing more.
#[test]
fn a_write_that_gets_no_memory_is_told_to_come_back() {
    let options = Options { memory_bytes: 2 << 20, memory_wait_ms: 300, ..Options::default() };
    let rig = Rig::with_options(4, 0, Code::default_for(4), options);
    let bytes = noise(3 << 20, 4);
    rig.put("alone", &bytes).expect("one has as much as it needs");
    // Each stops within its first chunk and keeps what it has sent: together more than there is for what is still coming.
    let mut slow: Vec<_> =
        (0..40).map(|n| slow_sender(&rig, &format!("slow {n}"), 64 << 20, 60_000)).collect();
    let mut cx = Context::from_waker(Waker::noop());
    let until = Instant::now() + Duration::from_secs(20);
    while rig.client.waiting_for_memory().is_empty() {
        assert!(Instant::now() < until, "nobody waits");
        slow.iter_mut().for_each(|sender| assert!(sender.as_mut().poll(&mut cx).is_pending()));
    }
    let begun = Instant::now();
    let put = rig.put("quick", &bytes);
    assert!(matches!(put, Err(ClientError::SlowDown)), "{put:?}");
    let waited = begun.elapsed();
    assert!((Duration::from_millis(300)..Duration::from_secs(30)).contains(&waited), "{waited:?}");
    drop(slow);
    rig.put("quick", &bytes).expect("they went away");
    assert!(rig.get("quick").expect("it was stored") == bytes);
}

#[test]
fn text_is_compressed_and_got_back() {
    let rig = Rig::new(4);
    let text = b"the same words again and again, ".repeat(100_000);
    rig.put("t", &text).expect("all drives are there");
    assert!(rig.get("t").expect("all drives are there") == text);
    assert!(rig.get_range("t", 1_000_000..1_000_100).expect("in range") == text[1_000_000..1_000_100]);
    let stored: u64 = (0..4).map(|d| stored_bytes(&rig, d)).sum();
    assert!(stored < text.len() as u64 / 10, "{stored} bytes for {}", text.len());
}

#[test]
fn every_range_is_the_slice_of_the_whole() {
    let rig = Rig::new(3);
    let bytes = noise(3_000_000, 5);
    rig.put("k", &bytes).expect("all drives are there");
    let ends = [0, 1, 32_751, 32_752, 32_753, 1_048_063, 1_048_064, 2_999_999, 3_000_000];
    for from in ends {
        for to in ends.into_iter().filter(|to| *to >= from) {
            let got = rig.get_range("k", from as u64..to as u64).expect("in range");
            assert!(got == bytes[from..to], "{from}..{to}");
        }
    }
}

#[test]
fn a_condition_is_decided_in_the_commit() {
    let rig = Rig::new(1);
    let absent = || Condition { if_none_match: Some(None), ..Condition::default() };
    let first = rig.put_if("k", b"one", absent()).expect("it is not there");
    assert!(matches!(rig.put_if("k", b"two", absent()), Err(ClientError::PreconditionFailed)));
    let same = Condition { if_match: Some(Some(first.etag)), ..Condition::default() };
    let second = rig.put_if("k", b"three", same.clone()).expect("it is unchanged");
    assert!(matches!(rig.put_if("k", b"four", same), Err(ClientError::PreconditionFailed)));
    assert_ne!(first.etag, second.etag);
    assert_eq!(rig.get("k").expect("there"), b"three");
}

#[test]
fn a_body_of_another_length_or_one_that_is_refused_leaves_nothing() {
    let rig = Rig::new(2);
    let put = |len| PutObject {
        bucket: "b".into(),
        key: b"k".to_vec(),
        condition: Condition::default(),
        attributes: vec![],
        len: Some(len),
    };
    for (len, sent) in [(10, 9), (10, 11), (1_000_000, 999_999), (1_000_000, 1_000_001), (0, 1)] {
        let sent = body(&noise(sent, 1), 4000);
        let done = rig.run(rig.client.put_object(put(len), sent, Box::new(|_| Ok(vec![]))));
        assert!(matches!(done, Err(ClientError::WrongLength { .. })), "{len}: {done:?}");
    }
    let refused =
        rig.client.put_object(put(100_000), body(&noise(100_000, 1), 4000), Box::new(|_| Err("no".into())));
    assert!(matches!(rig.run(refused), Err(ClientError::Body(_))));
    assert!(matches!(rig.get("k"), Err(ClientError::NoSuchKey { marker: None })));
    let swept = rig.run(rig.client.collect_orphans(&|_, _| {})).expect("memory does not fail");
    assert!(swept.orphans > 0);
    assert_eq!(rig.drives.shards(), vec![0, 0]);
}

#[test]
fn a_copy_shares_the_bytes_and_outlives_the_source() {
    let rig = Rig::new(2);
    let bytes = noise(700_000, 3);
    rig.put("a", &bytes).expect("all drives are there");
    let before = rig.drives.shards();
    let from = rig.run(rig.client.object("b", b"a", VersionSelector::Current)).expect("there");
    let put = PutObject {
        bucket: "b".into(),
        key: b"c".to_vec(),
        condition: Condition::default(),
        attributes: vec![],
        len: None,
    };
    rig.run(rig.client.copy_object(&from, put)).expect("a copy");
    assert_eq!(rig.drives.shards(), before, "no shard was written");
    delete(&rig, "a");
    sweep(&rig);
    assert!(rig.get("c").expect("the copy") == bytes);
    delete(&rig, "c");
    sweep(&rig);
    assert_eq!(rig.drives.shards(), vec![0, 0], "the last reference frees the bytes");
}

#[test]
fn overwritten_and_deleted_bytes_are_freed_and_nothing_else() {
    let rig = Rig::new(3);
    let kept = noise(200_000, 1);
    rig.put("kept", &kept).expect("all drives are there");
    let before = rig.drives.shards();
    for seed in 2..5 {
        rig.put("k", &noise(300_000, seed)).expect("all drives are there");
    }
    delete(&rig, "k");
    sweep(&rig);
    assert_eq!(rig.drives.shards(), before);
    assert!(rig.get("kept").expect("there") == kept);
}

#[test]
fn the_old_are_found_among_many_that_still_wait() {
    let rig = Rig::new(1);
    rig.put("old", &noise(200_000, 1)).expect("the drive is there");
    delete(&rig, "old");
    std::thread::sleep(std::time::Duration::from_millis(20));
    let now = rig.run(rig.client.meta().blobs(None, 10)).expect("memory")[0].1.condemned_ms + 10;
    for n in 0..300 {
        let key = format!("young{n}");
        rig.put(&key, &noise(100, n)).expect("the drive is there");
        delete(&rig, &key);
    }
    let report = rig.run(rig.client.collect_condemned_before(now, &|_, _| {})).expect("collected");
    assert_eq!((report.blobs, report.waiting), (1, 300), "{report:?}");
    assert_eq!(rig.drives.shards(), [0]);
}

#[test]
fn listings_roll_up_and_page_without_gaps() {
    let rig = Rig::new(1);
    let keys = ["a", "a/1", "a/2", "b", "b/1/x", "b/1/y", "b0", "c/", "d"];
    keys.iter().for_each(|key| drop(rig.put(key, b"x").expect("put")));
    let list = |prefix: &str, delimiter: &str, limit: usize| {
        let mut after = None;
        let mut names = vec![];
        loop {
            let list = List { prefix: prefix.into(), delimiter: delimiter.into(), after, limit };
            let page = rig.run(rig.client.list("b", list)).expect("listed");
            names.extend(page.entries.iter().map(|entry| match entry {
                ListEntry::Object(key, _) => String::from_utf8_lossy(key).into_owned(),
                ListEntry::Prefix(prefix) => format!("[{}]", String::from_utf8_lossy(prefix)),
            }));
            after = page.next;
            if after.is_none() {
                return names.join(" ");
            }
        }
    };
    for limit in 1..10 {
        assert_eq!(list("", "", limit), keys.join(" "));
        assert_eq!(list("", "/", limit), "a [a/] b [b/] b0 [c/] d");
        assert_eq!(list("b", "/", limit), "b [b/] b0");
        assert_eq!(list("b/", "/", limit), "[b/1/]");
        assert_eq!(list("b/1/", "/", limit), "b/1/x b/1/y");
        assert_eq!(list("zzz", "/", limit), "");
    }
}

fn delete(rig: &Rig, key: &str) {
    let deleted =
        rig.client.delete_object("b", key.as_bytes(), VersionSelector::Current, Condition::default());
    rig.run(deleted).expect("a delete");
}

fn sweep(rig: &Rig) {
    rig.run(rig.client.collect_condemned_before(u64::MAX, &|_, _| {})).expect("memory does not fail");
}

fn stored_bytes(rig: &Rig, drive: usize) -> u64 {
    use pangea_store::port::ShardStore;
    rig.run(rig.drives.store(drive).status()).expect("memory").live_bytes
}
