//! Conformance: what every metadata engine must do, told through the port alone.
//!
//! [`conformance`] takes a maker of empty engines; [`differential`] sends one random history to two engines and holds
//! outcomes and contents against each other and against the reference state machine. PostgreSQL will join here.
//! Panics with the seed on any difference; for tests only.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use pangea_core::id::{BlobId, BucketId, RequestId, VersionId};
use pangea_core::keys::WrappedKey;
use pangea_core::meta::history::History;
use pangea_core::meta::{
    BucketKeyRow, BucketRow, Command, Condition, Content, ETag, KeyRange, MemoryTables, NewVersion, Outcome,
    Refusal, Request, VersionSelector, Versioning, apply,
};

use crate::memory::MemoryMeta;
use crate::port::{Meta, PAGE_ROWS_MAX};

/// Names that histories use for leases and settings.
const NAMES: [&str; 4] = ["gc", "scrub/1", "layout/1", pangea_core::meta::WRITE_FLOOR];
/// A page size that makes every listing take several pages.
const SMALL_PAGE: usize = 7;

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for an answer on this thread.
pub fn wait<T>(answer: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let (mut context, mut answer) = (Context::from_waker(&waker), pin!(answer));
    loop {
        match answer.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn ok<T>(answer: impl Future<Output = Result<T, crate::MetaError>>) -> T {
    wait(answer).unwrap_or_else(|error| panic!("the engine failed: {error}"))
}

/// Everything that the port shows, as lines: equal contents give equal lines on every engine. `limit` is the page size.
pub fn contents(meta: &dyn Meta, limit: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for bucket in ok(meta.buckets()) {
        lines.push(format!("{bucket:?} {:?} {:?}", ok(meta.bucket(&bucket.name)), ok(meta.usage(bucket.id))));
        bucket_contents(meta, bucket.id, limit, &mut lines);
    }
    let mut after = None;
    loop {
        let page = ok(meta.bucket_keys(after, limit));
        after = page.last().map(|(bucket, generation, _)| (*bucket, *generation));
        lines.extend(page.iter().map(|row| format!("key {row:?}")));
        if page.len() < limit {
            break;
        }
    }
    let mut after = None;
    loop {
        let page = ok(meta.blobs(after, limit));
        after = page.last().map(|(blob, _)| *blob);
        lines.extend(page.iter().map(|row| format!("blob {row:?}")));
        if page.len() < limit {
            break;
        }
    }
    let mut after = None;
    loop {
        let page = ok(meta.packs(after, limit));
        after = page.last().map(|(pack, _)| *pack);
        for (pack, row) in &page {
            lines.push(format!("pack {pack} {row:?}"));
            pack_contents(meta, *pack, limit, &mut lines);
        }
        if page.len() < limit {
            break;
        }
    }
    let mut after = None;
    loop {
        let page = ok(meta.todos(after, limit));
        after = page.last().map(|(chunk, _)| *chunk);
        lines.extend(page.iter().map(|(chunk, row)| format!("todo {row:?} {:?}", ok(meta.todo(*chunk)))));
        if page.len() < limit {
            break;
        }
    }
    let mut after = None;
    loop {
        let page = ok(meta.condemned(after, limit));
        after = page.last().copied();
        lines.extend(page.iter().map(|row| format!("condemned {row:?}")));
        if page.len() < limit {
            break;
        }
    }
    lines.push(format!("access keys {:?}", ok(meta.access_keys())));
    for name in NAMES {
        lines.push(format!("{name}: {:?} {:?}", ok(meta.lease(name)), ok(meta.setting(name))));
    }
    lines
}

fn pack_contents(meta: &dyn Meta, pack: BlobId, limit: usize, lines: &mut Vec<String>) {
    let mut after = None;
    loop {
        let page = ok(meta.pack_entries(pack, after, limit));
        lines.extend(page.iter().map(|entry| format!("entry {entry:?}")));
        after = page.last().map(|(entry, _)| entry.clone());
        if page.len() < limit {
            break;
        }
    }
}

fn bucket_contents(meta: &dyn Meta, bucket: BucketId, limit: usize, lines: &mut Vec<String>) {
    let mut range = KeyRange::default();
    loop {
        let page = ok(meta.heads(bucket, range.clone(), limit));
        range.after = page.heads.last().map(|(key, _)| key.clone());
        for (key, row) in page.heads {
            assert_eq!(ok(meta.head(bucket, &key)), Some(row.clone()));
            let whole = ok(meta.head_with_blob(bucket, &key, VersionSelector::Current));
            lines.push(format!("head {key:?} {row:?} {whole:?}"));
        }
        if !page.more {
            break;
        }
    }
    let (mut range, mut after_seq) = (KeyRange::default(), None);
    loop {
        let page = ok(meta.versions(bucket, range.clone(), after_seq, limit));
        if let Some((key, row, _)) = page.versions.last() {
            (range.after, after_seq) = (Some(key.clone()), Some(row.seq));
        }
        for (key, row, is_head) in page.versions {
            let found = ok(meta.version(bucket, &key, VersionSelector::Id(row.id)));
            assert_eq!(found, Some((row.clone(), is_head)));
            if row.null {
                assert_eq!(ok(meta.version(bucket, &key, VersionSelector::Null)), found);
            }
            lines.push(format!("version {key:?} {row:?} {is_head}"));
        }
        if !page.more {
            break;
        }
    }
    let mut after = None;
    loop {
        let page = ok(meta.uploads(bucket, after, b"", limit));
        after = page.last().map(|(upload, row)| (row.key.clone(), *upload));
        for (upload, row) in &page {
            assert_eq!(ok(meta.upload(bucket, &row.key, *upload)).as_ref(), Some(row));
            lines.push(format!("upload {row:?} {:?}", ok(meta.parts(*upload, 0, PAGE_ROWS_MAX))));
        }
        if page.len() < limit {
            break;
        }
    }
}

/// Sends one random history of `ops` requests to two empty engines: outcomes and contents must be equal, to each other and
/// to the reference.
pub fn differential(a: &dyn Meta, b: &dyn Meta, seed: u64, ops: usize) {
    let (mut history, mut model) = (History::new(seed), MemoryTables::new());
    // Engines may have begun generations of their own; histories only go up from here.
    let generation = ok(a.status()).generation.max(ok(b.status()).generation) + 1;
    let start =
        Request { id: RequestId([0xfe; 16]), now_ms: 0, command: Command::StartGeneration { generation } };
    for step in 0..ops {
        let request = if step == 0 { start.clone() } else { history.next(&model) };
        let Ok(expected) = apply(&mut model, &request);
        for (engine, meta) in [("first", a), ("second", b)] {
            let outcome = ok(meta.apply(request.clone()));
            assert_eq!(outcome, expected, "seed {seed}, step {step}, {engine} engine, {request:?}");
        }
    }
    let contents = [contents(a, SMALL_PAGE), contents(a, PAGE_ROWS_MAX), contents(b, SMALL_PAGE)];
    for (place, line) in contents[0].iter().enumerate() {
        assert_eq!(Some(line), contents[1].get(place), "seed {seed}: page sizes give different contents");
        assert_eq!(Some(line), contents[2].get(place), "seed {seed}: the engines hold different contents");
    }
    assert!(contents[1].len() == contents[0].len() && contents[2].len() == contents[0].len(), "seed {seed}");
}

/// The exam of every engine; `make` gives an empty one each time.
pub fn conformance(make: &dyn Fn() -> Box<dyn Meta>) {
    for seed in 0..4 {
        differential(&*make(), &MemoryMeta::new(), seed, 400);
    }
    a_command_is_seen_as_soon_as_it_is_answered(&*make());
    a_retry_changes_nothing(&*make());
    racers_have_one_winner(&*make());
    what_is_not_there_is_none(&*make());
    status_counts(&*make());
}

const BUCKET: BucketId = BucketId([1; 16]);

fn request(number: u32, command: Command) -> Request {
    let mut id = [0x77; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    Request { id: RequestId(id), now_ms: 1_000, command }
}

fn create_bucket() -> Request {
    let bucket = BucketRow {
        id: BUCKET,
        name: "exam".to_owned(),
        created_ms: 1_000,
        owner: "root".to_owned(),
        code: None,
        region_pin: String::new(),
        versioning: Versioning::Off,
        key_generation: 1,
        documents: Vec::new(),
    };
    let key = BucketKeyRow { master_generation: 1, wrapped: WrappedKey { nonce: [0; 12], sealed: [0; 48] } };
    request(0, Command::CreateBucket { bucket, key })
}

fn put(number: u32, key: &[u8], condition: Condition) -> Request {
    let mut id = [2; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    let version = NewVersion {
        id: VersionId(id),
        size: 0,
        etag: ETag { md5: [0; 16], parts: 0 },
        content: Content::Empty,
        attributes: Vec::new(),
        part_sizes: Vec::new(),
    };
    request(number, Command::PutVersion { bucket: BUCKET, key: key.to_vec(), condition, version, blob: None })
}

fn a_command_is_seen_as_soon_as_it_is_answered(meta: &dyn Meta) {
    assert_eq!(ok(meta.apply(create_bucket())), Outcome::Done);
    for number in 1..200 {
        let key = format!("key{number:04}").into_bytes();
        let Outcome::Committed { version, .. } = ok(meta.apply(put(number, &key, Condition::default())))
        else {
            panic!("a plain put commits");
        };
        assert_eq!(ok(meta.head(BUCKET, &key)).map(|row| row.id), Some(version));
        assert_eq!(ok(meta.heads(BUCKET, KeyRange::default(), PAGE_ROWS_MAX)).heads.len(), number as usize);
    }
}

fn a_retry_changes_nothing(meta: &dyn Meta) {
    ok(meta.apply(create_bucket()));
    let first = put(1, b"k", Condition { if_match: None, if_none_match: Some(None) });
    let outcome = ok(meta.apply(first.clone()));
    assert!(matches!(outcome, Outcome::Committed { .. }));
    let before = contents(meta, PAGE_ROWS_MAX);
    for _ in 0..3 {
        assert_eq!(ok(meta.apply(first.clone())), outcome, "a retry is told what the first was told");
    }
    assert_eq!(contents(meta, PAGE_ROWS_MAX), before);
}

fn racers_have_one_winner(meta: &dyn Meta) {
    ok(meta.apply(create_bucket()));
    for round in 0..5u32 {
        let key = round.to_be_bytes();
        let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
            let race = |racer: u32| {
                let absent = Condition { if_match: None, if_none_match: Some(None) };
                ok(meta.apply(put(1 + round * 100 + racer, &key, absent)))
            };
            let threads: Vec<_> = (0..20).map(|racer| scope.spawn(move || race(racer))).collect();
            threads.into_iter().map(|thread| thread.join().expect("racers do not panic")).collect()
        });
        let winners: Vec<VersionId> = outcomes
            .iter()
            .filter_map(|o| if let Outcome::Committed { version, .. } = o { Some(*version) } else { None })
            .collect();
        let lost = outcomes.iter().filter(|o| **o == Outcome::Refused(Refusal::PreconditionFailed)).count();
        assert_eq!((winners.len(), lost), (1, 19));
        assert_eq!(ok(meta.head(BUCKET, &key)).map(|row| row.id), Some(winners[0]));
    }
}

fn what_is_not_there_is_none(meta: &dyn Meta) {
    assert_eq!(ok(meta.bucket("nothing")), None);
    assert_eq!(ok(meta.usage(BUCKET)), None);
    assert_eq!(ok(meta.head(BUCKET, b"k")), None);
    assert_eq!(ok(meta.setting("nothing")), None);
    assert_eq!(ok(meta.lease("nothing")), None);
    assert!(ok(meta.heads(BUCKET, KeyRange::default(), 0)).heads.is_empty(), "a limit of 0 is taken as 1");
}

fn status_counts(meta: &dyn Meta) {
    let before = ok(meta.status()).applied_seq;
    ok(meta.apply(create_bucket()));
    assert_eq!(ok(meta.snapshot()), before + 1);
    let status = ok(meta.status());
    assert_eq!(status.applied_seq, before + 1);
    assert!(!status.engine.is_empty() && status.log_drives.iter().all(|drive| drive.ok));
}
