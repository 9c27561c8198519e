//! Stories: one command after the other, with the outcome that S3 clients rely on.

use crate::id::{BlobId, BucketId, ChunkId, LeaseId, RequestId, UploadId, VersionId};
use crate::keys::{KeyRef, WrappedKey};
use crate::meta::{
    AccessKeyRow, BlobBody, BucketKeyRow, BucketRow, Command, Condition, Content, Deleted, ETag, Extent,
    KeyRange, MemoryTables, NewBlob, NewVersion, Outcome, PartRef, PartRow, Refusal, Request, TodoRow,
    UploadRow, VersionRow, VersionSelector, Versioning, WRITE_FLOOR, apply, read,
};

pub(super) const BUCKET: BucketId = BucketId([0xb; 16]);
const KEY: &[u8] = b"k";

/// Sends commands, each under its own request id, at a clock that stands still unless told.
pub(super) struct Client {
    pub(super) tables: MemoryTables,
    asked: u64,
    now_ms: u64,
}

fn wrapped() -> BucketKeyRow {
    BucketKeyRow { master_generation: 1, wrapped: WrappedKey { nonce: [0; 12], sealed: [0; 48] } }
}

fn create_bucket() -> Command {
    let bucket = BucketRow {
        id: BUCKET,
        name: "b".to_owned(),
        created_ms: 1,
        owner: "root".to_owned(),
        code: None,
        region_pin: String::new(),
        versioning: Versioning::Off,
        key_generation: 1,
        documents: Vec::new(),
    };
    Command::CreateBucket { bucket, key: wrapped() }
}

/// Makes the bucket of these stories in other tests' tables.
pub(super) fn bucket(tables: &mut MemoryTables) -> BucketId {
    let Ok(outcome) =
        apply(tables, &Request { id: RequestId([0xee; 16]), now_ms: 1, command: create_bucket() });
    assert_eq!(outcome, Outcome::Done);
    BUCKET
}

/// A put that must be the first of its key.
pub(super) fn create_only(bucket: BucketId, round: u8, racer: u8) -> Request {
    let mut id = [round; 16];
    id[0] = racer;
    let condition = Condition { if_match: None, if_none_match: Some(None) };
    let version = version_of(racer, Content::Empty);
    let command = Command::PutVersion { bucket, key: vec![round], condition, version, blob: None };
    Request { id: RequestId(id), now_ms: 5, command }
}

fn etag(n: u8) -> ETag {
    ETag { md5: [n; 16], parts: 0 }
}

fn version_of(n: u8, content: Content) -> NewVersion {
    let size = if let Content::Blob(extent) = &content { extent.len } else { 0 };
    NewVersion {
        id: VersionId([n; 16]),
        size,
        etag: etag(n),
        content,
        attributes: Vec::new(),
        part_sizes: Vec::new(),
    }
}

fn whole(n: u8) -> Extent {
    Extent { blob: BlobId([n; 16]), offset: 0, len: 100 }
}

fn inline(n: u8) -> NewBlob {
    let body = BlobBody::Inline { key: KeyRef { bucket: BUCKET, generation: 1 }, sealed: vec![n; 40] };
    NewBlob { id: BlobId([n; 16]), len: 100, body, spill: None, todos: Vec::new(), layout_epoch: 0 }
}

fn deleted(n: Option<u8>, null: bool, marker: bool) -> Outcome {
    Outcome::Deleted(Deleted { version: n.map(|n| VersionId([n; 16])), null, marker })
}

impl Client {
    pub(super) fn new(versioning: Versioning) -> Self {
        let mut client = Self { tables: MemoryTables::new(), asked: 0, now_ms: 1_000 };
        assert_eq!(client.ask(Command::StartGeneration { generation: 3 }), Outcome::Done);
        assert_eq!(client.ask(create_bucket()), Outcome::Done);
        client.versioning(versioning);
        client
    }

    pub(super) fn ask(&mut self, command: Command) -> Outcome {
        self.asked += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.asked.to_be_bytes());
        let Ok(outcome) =
            apply(&mut self.tables, &Request { id: RequestId(id), now_ms: self.now_ms, command });
        outcome
    }

    pub(super) fn refused(&mut self, command: Command) -> Refusal {
        match self.ask(command) {
            Outcome::Refused(refusal) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    fn versioning(&mut self, versioning: Versioning) {
        assert_eq!(self.ask(Command::SetVersioning { name: "b".to_owned(), versioning }), Outcome::Done);
    }

    /// Puts version and blob number `n`; tells whether it became the null version.
    fn put(&mut self, n: u8) -> bool {
        match self.ask(put_if(n, Condition::default())) {
            Outcome::Committed { null, .. } => null,
            other => panic!("not committed: {other:?}"),
        }
    }

    fn delete(&mut self, version: VersionSelector, marker: u8) -> Outcome {
        let (condition, marker) = (Condition::default(), VersionId([marker; 16]));
        self.ask(Command::DeleteVersion { bucket: BUCKET, key: KEY.to_vec(), condition, version, marker })
    }

    /// The versions of the key, newest first: `3` the head, `2n` a null one, `1x` a delete marker.
    fn show(&self) -> String {
        let Ok(page) = read::versions(&self.tables, BUCKET, &KeyRange::default(), None, 100);
        let show = |row: &VersionRow| {
            let (null, marker) = (if row.null { "n" } else { "" }, if row.delete_marker { "x" } else { "" });
            format!("{}{null}{marker}", row.id.0[0])
        };
        page.versions.iter().map(|(_, row, _)| show(row)).collect::<Vec<_>>().join(" ")
    }

    fn refs(&self, n: u8) -> Option<u32> {
        let Ok(blob) = read::blob(&self.tables, BlobId([n; 16]));
        blob.map(|row| row.refs)
    }
}

fn put_if(n: u8, condition: Condition) -> Command {
    let version = version_of(n, Content::Blob(whole(n)));
    Command::PutVersion { bucket: BUCKET, key: KEY.to_vec(), condition, version, blob: Some(inline(n)) }
}

#[test]
fn without_versioning_a_put_replaces_and_a_delete_removes() {
    let mut c = Client::new(Versioning::Off);
    assert!(c.put(1) && c.put(2));
    assert_eq!((c.show().as_str(), c.refs(1), c.refs(2)), ("2n", Some(0), Some(1)));
    assert_eq!(c.delete(VersionSelector::Current, 9), deleted(Some(2), true, false));
    assert_eq!(c.delete(VersionSelector::Current, 9), deleted(None, false, false));
    assert_eq!((c.show().as_str(), c.refs(2)), ("", Some(0)));
    let Ok(condemned) = read::condemned(&c.tables, None, 10);
    assert_eq!(condemned, [(3, BlobId([1; 16])), (3, BlobId([2; 16]))]);
    let Ok(later) = read::condemned(&c.tables, Some(condemned[0]), 10);
    assert_eq!(later, condemned[1..]);
}

#[test]
fn with_versioning_old_heads_stay_and_deletes_put_markers() {
    let mut c = Client::new(Versioning::Off);
    assert!(c.put(1));
    c.versioning(Versioning::Enabled);
    assert!(!c.put(2) && !c.put(3));
    assert_eq!(c.show(), "3 2 1n");
    assert_eq!(c.delete(VersionSelector::Current, 4), deleted(Some(4), false, true));
    assert_eq!(c.show(), "4x 3 2 1n");
    assert_eq!(
        c.refused(put_if(5, Condition { if_match: Some(None), if_none_match: None })),
        Refusal::NoSuchKey
    );
    assert_eq!(c.delete(VersionSelector::Id(VersionId([2; 16])), 9), deleted(Some(2), false, false));
    assert_eq!(c.delete(VersionSelector::Id(VersionId([2; 16])), 9), deleted(None, false, false));
    assert_eq!(c.delete(VersionSelector::Id(VersionId([4; 16])), 9), deleted(Some(4), false, true));
    assert_eq!(c.show(), "3 1n", "removing the marker brings the newest version back");
    assert_eq!(c.delete(VersionSelector::Null, 9), deleted(Some(1), true, false));
    assert_eq!(c.delete(VersionSelector::Null, 9), deleted(None, true, false));
    assert_eq!((c.show().as_str(), c.refs(1), c.refs(2), c.refs(3)), ("3", Some(0), Some(0), Some(1)));
}

#[test]
fn an_attribute_is_set_where_the_version_stands() {
    let mut c = Client::new(Versioning::Enabled);
    c.put(1);
    c.put(2);
    let before = c.show();
    let set = |version, value: Option<&str>| Command::SetAttribute {
        bucket: BUCKET,
        key: KEY.to_vec(),
        version,
        name: "x-amz-tagging".into(),
        value: value.map(str::to_owned),
    };
    let old = VersionSelector::Id(VersionId([1; 16]));
    for (selector, value, id) in [
        (VersionSelector::Current, Some("a=1"), 2),
        (old, Some("b=2"), 1),
        (old, Some("b=3"), 1),
        (VersionSelector::Current, None, 2),
    ] {
        let (version, null) = (VersionId([id; 16]), false);
        assert_eq!(c.ask(set(selector, value)), Outcome::Committed { version, null, versioned: true });
        let Ok(found) = read::version(&c.tables, BUCKET, KEY, selector);
        let attributes = found.expect("it is there").0.attributes;
        let tags = attributes.iter().find(|(name, _)| name == "x-amz-tagging");
        assert_eq!(tags.map(|(_, value)| value.as_str()), value);
        assert_eq!(c.show(), before, "no version came, went or moved");
    }
    for missing in [VersionSelector::Null, VersionSelector::Id(VersionId([9; 16]))] {
        assert_eq!(c.refused(set(missing, Some("a=1"))), Refusal::NoSuchKey);
    }
    c.delete(VersionSelector::Current, 7);
    assert_eq!(
        c.refused(set(VersionSelector::Current, Some("a=1"))),
        Refusal::NoSuchKey,
        "a marker has none"
    );
}

#[test]
fn a_version_may_lie_in_another_blob_and_nobody_sees_a_difference() {
    let mut c = Client::new(Versioning::Enabled);
    c.put(1);
    c.put(2);
    let before = c.show();
    let read = |c: &Client, id: u8| {
        let Ok(found) = read::version(&c.tables, BUCKET, KEY, VersionSelector::Id(VersionId([id; 16])));
        found.expect("it is there").0
    };
    let old = read(&c, 1);
    let Content::Blob(seen) = old.content else { panic!("it lies in a blob") };
    let replace = |id: u8, seen: Extent, len: u64| Command::ReplaceContent {
        bucket: BUCKET,
        key: KEY.to_vec(),
        version: VersionId([1; 16]),
        seen,
        blob: NewBlob { len, ..inline(id) },
    };
    let (wrong_size, good) = (replace(50, seen, seen.len + 1), replace(51, seen, seen.len));
    let stale = replace(52, seen, seen.len);
    assert_eq!(c.refused(wrong_size), Refusal::Invalid("the version's size is not its content's"));
    assert_eq!(c.ask(good), Outcome::Done);
    assert_eq!((c.refs(1), c.refs(51)), (Some(0), Some(1)));
    assert_eq!(c.refused(stale), Refusal::NoSuchKey, "somebody was quicker");
    assert_eq!((c.show(), c.refs(52)), (before, None));
    let new = read(&c, 1);
    let content = Content::Blob(whole(51));
    assert_eq!(new, VersionRow { content, ..old });
}

#[test]
fn suspended_writes_replace_the_null_version_wherever_it_stands() {
    let mut c = Client::new(Versioning::Off);
    c.put(1);
    c.versioning(Versioning::Enabled);
    c.put(2);
    c.versioning(Versioning::Suspended);
    assert!(c.put(3));
    assert_eq!((c.show().as_str(), c.refs(1)), ("3n 2", Some(0)));
    c.put(4);
    assert_eq!((c.show().as_str(), c.refs(3)), ("4n 2", Some(0)));
    assert_eq!(c.delete(VersionSelector::Current, 5), deleted(Some(5), true, true));
    assert_eq!((c.show().as_str(), c.refs(4)), ("5nx 2", Some(0)));
    assert_eq!(c.delete(VersionSelector::Null, 9), deleted(Some(5), true, true));
    assert_eq!(c.show(), "2");
    let off = Command::SetVersioning { name: "b".to_owned(), versioning: Versioning::Off };
    assert!(matches!(c.refused(off), Refusal::Invalid(_)));
}

#[test]
fn conditions_look_at_the_head_and_a_marker_is_no_object() {
    let mut c = Client::new(Versioning::Enabled);
    let matches = |etag| Condition { if_match: Some(etag), if_none_match: None };
    let absent = |etag| Condition { if_match: None, if_none_match: Some(etag) };
    assert_eq!(c.refused(put_if(1, matches(Some(etag(1))))), Refusal::NoSuchKey);
    assert!(matches!(c.ask(put_if(1, absent(None))), Outcome::Committed { versioned: true, .. }));
    assert_eq!(c.refused(put_if(2, absent(None))), Refusal::PreconditionFailed);
    assert_eq!(c.refused(put_if(2, absent(Some(etag(1))))), Refusal::PreconditionFailed);
    assert_eq!(c.refused(put_if(2, matches(Some(etag(9))))), Refusal::PreconditionFailed);
    assert!(matches!(c.ask(put_if(2, matches(Some(etag(1))))), Outcome::Committed { .. }));
    assert!(matches!(c.ask(put_if(3, absent(Some(etag(1))))), Outcome::Committed { .. }));
    c.delete(VersionSelector::Current, 4);
    assert_eq!(c.refused(put_if(5, matches(None))), Refusal::NoSuchKey);
    assert!(matches!(c.ask(put_if(5, absent(None))), Outcome::Committed { .. }));
}

fn copy(n: u8, of: u8) -> Command {
    let version = version_of(n, Content::Blob(whole(of)));
    let key = vec![b'c', n];
    Command::PutVersion { bucket: BUCKET, key, condition: Condition::default(), version, blob: None }
}

#[test]
fn a_copy_shares_the_blob_until_its_last_reference_goes() {
    let mut c = Client::new(Versioning::Off);
    c.put(1);
    assert!(matches!(c.ask(copy(2, 1)), Outcome::Committed { .. }));
    assert_eq!(c.refs(1), Some(2));
    c.put(3);
    assert_eq!(c.refs(1), Some(1), "the source was overwritten, the copy lives");
    let purge = |n: u8| Command::Purge { blobs: vec![(BlobId([n; 16]), Vec::new())] };
    assert!(matches!(c.refused(purge(1)), Refusal::Invalid(_)));
    let version = VersionSelector::Current;
    let (condition, marker) = (Condition::default(), VersionId([9; 16]));
    c.ask(Command::DeleteVersion { bucket: BUCKET, key: vec![b'c', 2], condition, version, marker });
    assert_eq!(c.refs(1), Some(0));
    assert_eq!(c.refused(copy(4, 1)), Refusal::NoSuchBlob, "a condemned blob is never referenced again");
    assert_eq!((c.ask(purge(1)), c.refs(1)), (Outcome::Done, None));
    assert_eq!(c.ask(purge(1)), Outcome::Done, "a purge may be repeated");
}

const UPLOAD: UploadId = UploadId([0xa; 16]);

impl Client {
    fn start_upload(&mut self) {
        let row = UploadRow {
            bucket: BUCKET,
            key: KEY.to_vec(),
            created_ms: 1,
            attributes: Vec::new(),
            owner: "root".to_owned(),
        };
        assert_eq!(self.ask(Command::CreateUpload { upload: UPLOAD, row }), Outcome::Done);
    }

    fn part(&mut self, number: u16, content: Option<Extent>, blob: Option<NewBlob>) {
        let size = content.map_or(0, |extent| extent.len);
        let part = PartRow { content, size, md5: [0; 16], created_ms: 1, attributes: Vec::new() };
        let put = Command::PutPart { bucket: BUCKET, key: KEY.to_vec(), upload: UPLOAD, number, part, blob };
        assert_eq!(self.ask(put), Outcome::Done);
    }

    fn complete(&mut self, parts: &[(u16, Option<u8>)], content: Content, blob: Option<NewBlob>) -> Outcome {
        let parts = parts
            .iter()
            .map(|(number, blob)| PartRef { number: *number, blob: blob.map(|n| BlobId([n; 16])) })
            .collect();
        let (condition, version) = (Condition::default(), version_of(50, content));
        let (bucket, key, upload) = (BUCKET, KEY.to_vec(), UPLOAD);
        self.ask(Command::CompleteUpload { bucket, key, upload, condition, parts, version, blob })
    }
}

fn composite(n: u8, parts: Vec<Extent>) -> (Content, Option<NewBlob>) {
    let len = parts.iter().map(|slice| slice.len).sum();
    let new = NewBlob { len, body: BlobBody::Composite { parts }, ..inline(n) };
    (Content::Blob(Extent { blob: new.id, offset: 0, len }), Some(new))
}

#[test]
fn completing_passes_references_on_and_releases_what_is_not_listed() {
    let mut c = Client::new(Versioning::Off);
    c.put(1);
    c.start_upload();
    let slice = Extent { blob: BlobId([1; 16]), offset: 40, len: 10 };
    c.part(1, Some(whole(2)), Some(inline(2)));
    c.part(2, Some(slice), None);
    c.part(3, Some(slice), None);
    c.part(4, None, None);
    c.part(5, Some(whole(3)), Some(inline(3)));
    c.part(5, Some(whole(4)), Some(inline(4)));
    c.part(7, Some(whole(5)), Some(inline(5)));
    assert_eq!([c.refs(1), c.refs(2), c.refs(3), c.refs(4)], [Some(3), Some(1), Some(0), Some(1)]);

    let listed = [(1, Some(2)), (2, Some(1)), (3, Some(1)), (4, None), (5, Some(4))];
    let (content, blob) = composite(6, vec![whole(2), slice, slice, whole(4)]);
    let replaced = [(1, Some(2)), (5, Some(3))];
    let refused = |refusal| Outcome::Refused(refusal);
    assert_eq!(
        c.complete(&replaced, content.clone(), blob.clone()),
        refused(Refusal::InvalidPart { number: 5 })
    );
    assert_eq!(c.complete(&[], Content::Empty, None), refused(Refusal::InvalidPartOrder));
    assert_eq!(
        c.complete(&[(2, Some(1)), (2, Some(1))], Content::Empty, None),
        refused(Refusal::InvalidPartOrder)
    );
    let (wrong, wrong_blob) = composite(6, vec![whole(2), slice, whole(4), slice]);
    assert!(matches!(c.complete(&listed, wrong, wrong_blob), Outcome::Refused(Refusal::Invalid(_))));

    assert!(matches!(c.complete(&listed, content, blob), Outcome::Committed { .. }));
    // The old head's reference to blob 1 is gone, the two slices' references stay with the composite.
    assert_eq!(
        [c.refs(1), c.refs(2), c.refs(4), c.refs(5), c.refs(6)],
        [Some(2), Some(1), Some(1), Some(0), Some(1)]
    );
    assert_eq!(c.complete(&listed, Content::Empty, None), refused(Refusal::NoSuchUpload));

    c.delete(VersionSelector::Current, 9);
    assert_eq!([c.refs(1), c.refs(6)], [Some(2), Some(0)], "slices are held until the composite is purged");
    assert_eq!(c.ask(Command::Purge { blobs: vec![(BlobId([6; 16]), Vec::new())] }), Outcome::Done);
    assert_eq!([c.refs(1), c.refs(2), c.refs(4), c.refs(6)], [Some(0), Some(0), Some(0), None]);
}

#[test]
fn a_single_part_is_the_object_itself_and_empty_parts_are_nothing() {
    let mut c = Client::new(Versioning::Off);
    c.start_upload();
    c.part(1, None, None);
    c.part(2, Some(whole(2)), Some(inline(2)));
    let done = c.complete(&[(1, None), (2, Some(2))], Content::Blob(whole(2)), None);
    assert!(matches!(done, Outcome::Committed { .. }));
    assert_eq!(c.refs(2), Some(1));
    c.start_upload();
    c.part(1, None, None);
    let taken = c.complete(&[(1, None)], Content::Empty, None);
    assert!(matches!(taken, Outcome::Refused(Refusal::Invalid(_))), "the version id was used before");
    assert_eq!(
        c.ask(Command::AbortUpload { bucket: BUCKET, key: KEY.to_vec(), upload: UPLOAD }),
        Outcome::Done
    );
    let Ok(parts) = read::parts(&c.tables, UPLOAD, 0, 10);
    assert!(parts.is_empty());
}

#[test]
fn a_commit_at_a_fenced_epoch_is_refused() {
    let mut c = Client::new(Versioning::Off);
    let floor = |value: Vec<u8>| Command::SetSetting { name: WRITE_FLOOR.to_owned(), expected: 0, value };
    assert!(matches!(c.refused(floor(vec![1, 2])), Refusal::Invalid(_)));
    assert_eq!(c.ask(floor(7u32.to_le_bytes().to_vec())), Outcome::Setting { revision: 1 });
    let at = |epoch| {
        let body = BlobBody::Chunked { manifest: vec![1] };
        let blob = NewBlob { body, layout_epoch: epoch, ..inline(1) };
        let (bucket, key, condition) = (BUCKET, KEY.to_vec(), Condition::default());
        Command::PutVersion {
            bucket,
            key,
            condition,
            version: version_of(1, Content::Blob(whole(1))),
            blob: Some(blob),
        }
    };
    assert_eq!(c.refused(at(6)), Refusal::StaleEpoch { oldest: 7 });
    assert!(matches!(c.ask(at(7)), Outcome::Committed { .. }));
    assert!(c.put(2), "inline bytes lie on no drive");
}

#[test]
fn todos_merge_finish_and_go_with_their_blob() {
    let mut c = Client::new(Versioning::Off);
    let chunk = ChunkId { blob: BlobId([1; 16]), chunk: 0 };
    let todo =
        |missing: &[u8], since_ms| TodoRow { missing: missing.to_vec(), stand_ins: Vec::new(), since_ms };
    let add = |missing: &[u8], since_ms| Command::AddTodo { chunk, todo: todo(missing, since_ms) };
    assert_eq!(c.refused(add(&[1], 5)), Refusal::NoSuchBlob);
    let blob = NewBlob { todos: vec![(chunk, todo(&[3], 9))], ..inline(1) };
    let version = version_of(1, Content::Blob(whole(1)));
    let (bucket, key, condition) = (BUCKET, KEY.to_vec(), Condition::default());
    c.ask(Command::PutVersion { bucket, key, condition, version, blob: Some(blob) });
    assert_eq!(c.ask(add(&[1, 3, 0], 5)), Outcome::Done);
    let Ok(known) = read::todo(&c.tables, chunk);
    assert_eq!(known, Some(todo(&[0, 1, 3], 5)));
    let finish = |seen, left| Command::FinishTodo { chunk, seen, left };
    c.ask(finish(todo(&[3], 9), None));
    let Ok(unchanged) = read::todo(&c.tables, chunk);
    assert_eq!(unchanged, known, "something was added meanwhile");
    c.ask(finish(todo(&[0, 1, 3], 5), Some(todo(&[1], 5))));
    c.delete(VersionSelector::Current, 9);
    c.ask(Command::Purge { blobs: vec![(BlobId([1; 16]), Vec::new())] });
    let Ok(left) = read::todos(&c.tables, None, 10);
    assert!(left.is_empty());
}

#[test]
fn lease_tokens_rise_and_are_never_reused() {
    let mut c = Client::new(Versioning::Off);
    let acquire =
        |n| Command::AcquireLease { name: "gc".to_owned(), holder: LeaseId([n; 16]), duration_ms: 100 };
    let release = |n| Command::ReleaseLease { name: "gc".to_owned(), holder: LeaseId([n; 16]) };
    let token = |outcome| if let Outcome::Leased(row) = outcome { row.token } else { panic!("{outcome:?}") };
    assert_eq!(token(c.ask(acquire(1))), 1);
    assert!(matches!(c.refused(acquire(2)), Refusal::LeaseHeld(_)));
    c.now_ms += 50;
    assert_eq!(token(c.ask(acquire(1))), 1, "prolonged");
    c.now_ms += 99;
    assert!(matches!(c.refused(acquire(2)), Refusal::LeaseHeld(_)));
    c.now_ms += 1;
    assert_eq!(token(c.ask(acquire(2))), 2);
    assert!(matches!(c.refused(release(1)), Refusal::LeaseHeld(_)));
    assert_eq!(c.ask(release(2)), Outcome::Done);
    assert_eq!(token(c.ask(acquire(1))), 3);
    c.now_ms += 3 * 24 * 3600 * 1000;
    assert_eq!(c.ask(Command::Expire), Outcome::Done);
    let Ok(gone) = read::lease(&c.tables, "gc");
    assert_eq!(gone, None);
    assert_eq!(token(c.ask(acquire(1))), 4);
}

#[test]
fn an_outcome_is_kept_for_a_day() {
    let mut c = Client::new(Versioning::Off);
    let create = || Request { id: RequestId([7; 16]), now_ms: 1_000, command: create_bucket() };
    let Ok(first) = apply(&mut c.tables, &create());
    assert!(matches!(first, Outcome::Refused(Refusal::BucketExists { .. })));
    c.ask(Command::DeleteBucket { name: "b".to_owned() });
    let Ok(again) = apply(&mut c.tables, &create());
    assert_eq!(again, first, "the bucket is free now, but this request was answered before");
    c.now_ms += 24 * 3600 * 1000 + 1;
    c.ask(Command::Expire);
    let Ok(anew) = apply(&mut c.tables, &create());
    assert!(
        matches!(anew, Outcome::Refused(Refusal::Invalid(_))),
        "forgotten; a bucket id is never used again"
    );
}

#[test]
fn settings_change_only_from_what_was_seen_and_generations_only_rise() {
    let mut c = Client::new(Versioning::Off);
    let set = |expected| Command::SetSetting { name: "layout/1".to_owned(), expected, value: vec![1] };
    assert_eq!(c.refused(set(1)), Refusal::SettingChanged { revision: 0 });
    assert_eq!(c.ask(set(0)), Outcome::Setting { revision: 1 });
    assert_eq!(c.refused(set(0)), Refusal::SettingChanged { revision: 1 });
    assert_eq!(c.ask(set(1)), Outcome::Setting { revision: 2 });
    let both = |first, second| Command::SetSettings {
        settings: vec![
            ("layout/1".to_owned(), first, vec![7]),
            ("layout/current".to_owned(), second, vec![8]),
        ],
    };
    assert_eq!(c.refused(both(2, 1)), Refusal::SettingChanged { revision: 0 });
    assert_eq!(c.refused(both(1, 0)), Refusal::SettingChanged { revision: 2 });
    let Ok(kept) = read::setting(&c.tables, "layout/1");
    assert_eq!(kept, Some((2, vec![1])), "none of several");
    assert_eq!(c.ask(both(2, 0)), Outcome::Done);
    let Ok(set) = read::setting(&c.tables, "layout/current");
    assert_eq!(set, Some((1, vec![8])));
    assert_eq!(
        c.refused(Command::StartGeneration { generation: 3 }),
        Refusal::StaleGeneration { current: 3 }
    );
    assert_eq!(c.ask(Command::StartGeneration { generation: 5 }), Outcome::Done);
}

/// A key that was revoked while the master key was rotated came back.
#[test]
fn an_access_key_is_replaced_only_where_it_still_is_what_was_seen() {
    let row = |generation| AccessKeyRow {
        sealed_secret: vec![generation as u8; 4],
        master_generation: generation,
        created_ms: 1,
        description: "d".to_owned(),
        root: false,
        grants: Vec::new(),
    };
    let mut c = Client::new(Versioning::Off);
    let id = "AK".to_owned();
    let replace = |seen, row| Command::ReplaceAccessKey { id: "AK".to_owned(), seen, row };
    let kept = |c: &Client| read::access_key(&c.tables, "AK").map(|row| row.map(|row| row.master_generation));
    assert_eq!(c.refused(replace(row(1), row(2))), Refusal::PreconditionFailed, "there is none");
    assert_eq!(c.ask(Command::PutAccessKey { id: id.clone(), row: row(1) }), Outcome::Done);
    assert_eq!(c.ask(replace(row(1), row(2))), Outcome::Done);
    assert_eq!(c.refused(replace(row(1), row(3))), Refusal::PreconditionFailed, "it changed");
    assert_eq!(kept(&c), Ok(Some(2)));
    assert_eq!(c.ask(Command::DeleteAccessKey { id }), Outcome::Done);
    assert_eq!(c.refused(replace(row(2), row(3))), Refusal::PreconditionFailed, "it was revoked");
    assert_eq!(kept(&c), Ok(None));
}

#[test]
fn pages_of_versions_continue_where_they_stopped() {
    let mut c = Client::new(Versioning::Enabled);
    for n in 1..=20u8 {
        let key = [&b"a"[..], b"a\0", b"b"][usize::from(n) % 3].to_vec();
        let (condition, version) = (Condition::default(), version_of(n, Content::Empty));
        c.ask(Command::PutVersion { bucket: BUCKET, key, condition, version, blob: None });
    }
    let Ok(whole) = read::versions(&c.tables, BUCKET, &KeyRange::default(), None, 100);
    assert_eq!((whole.versions.len(), whole.more), (20, false));
    let order = |a: &(Vec<u8>, VersionRow, bool), b: &(Vec<u8>, VersionRow, bool)| {
        a.0 < b.0 || a.0 == b.0 && a.1.seq > b.1.seq
    };
    assert!(whole.versions.is_sorted_by(order));
    assert_eq!(whole.versions.iter().filter(|(_, _, is_head)| *is_head).count(), 3);
    for limit in 1..=21 {
        let (mut range, mut after_seq, mut got) = (KeyRange::default(), None, Vec::new());
        loop {
            let Ok(page) = read::versions(&c.tables, BUCKET, &range, after_seq, limit);
            assert!(page.versions.len() <= limit);
            got.extend(page.versions);
            let Some((key, row, _)) = got.last() else { break };
            (range.after, after_seq) = (Some(key.clone()), Some(row.seq));
            if !page.more {
                break;
            }
        }
        assert_eq!(got, whole.versions, "pages of {limit}");
    }
    let prefix = KeyRange { prefix: b"a\0".to_vec(), ..KeyRange::default() };
    let Ok(below) = read::versions(&c.tables, BUCKET, &prefix, None, 100);
    assert!(below.versions.iter().all(|(key, ..)| key == b"a\0") && below.versions.len() == 7);
    let from = KeyRange { from: Some(b"a\0".to_vec()), after: Some(b"a\0".to_vec()), ..KeyRange::default() };
    let Ok(heads) = read::heads(&c.tables, BUCKET, &from, 100);
    assert_eq!(heads.heads.iter().map(|(key, _)| key.as_slice()).collect::<Vec<_>>(), [b"b"]);
}
