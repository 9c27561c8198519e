//! Stories of packs: many puts in one commit, deletes that leave holes, and moving what is left.

use super::story::{BUCKET, Client};
use crate::chunk::Code;
use crate::id::{BlobId, VersionId};
use crate::keys::{KeyRef, WrappedKey};
use crate::meta::{
    BlobBody, Command, Condition, Content, ETag, Extent, ItemOutcome, NewBlob, NewPack, NewVersion, Outcome,
    PackedItem, PackedMove, PackedPut, Refusal, VersionRow, VersionSelector, Versioning, read, reason,
};

const ITEM: u64 = 5_000;

fn pack(n: u8, items: u64) -> NewPack {
    let blob = NewBlob {
        id: BlobId([n; 16]),
        len: items * ITEM,
        body: BlobBody::Chunked { manifest: vec![n] },
        spill: None,
        todos: Vec::new(),
        layout_epoch: 0,
    };
    NewPack { blob, code: Code::new(4, 2).expect("a valid code"), region_pin: String::new() }
}

fn item(pack: u8, place: u64) -> Extent {
    Extent { blob: BlobId([pack; 16]), offset: place * ITEM, len: ITEM }
}

fn content(at: Extent) -> Content {
    let key = KeyRef { bucket: BUCKET, generation: 1 };
    Content::Packed(PackedItem {
        id: BlobId([9; 16]),
        at,
        key,
        wrapped: WrappedKey { nonce: [0; 12], sealed: [0; 48] },
    })
}

/// A put of key `n` as version `n`, at that place of the pack.
fn put(n: u8, at: Extent, condition: Condition) -> PackedPut {
    let version = NewVersion {
        id: VersionId([n; 16]),
        size: 4_000,
        etag: ETag { md5: [n; 16], parts: 0 },
        content: content(at),
        attributes: Vec::new(),
        part_sizes: Vec::new(),
    };
    PackedPut { bucket: BUCKET, key: vec![n], condition, version }
}

fn taken(n: u8) -> ItemOutcome {
    ItemOutcome::Committed { version: VersionId([n; 16]), null: true, versioned: false }
}

impl Client {
    /// Puts keys 1, 2, … as the items of that pack.
    fn fill(&mut self, n: u8, keys: u8) {
        let items =
            (1..=keys).map(|key| put(key, item(n, u64::from(key) - 1), Condition::default())).collect();
        let outcomes = Outcome::Items((1..=keys).map(taken).collect());
        assert_eq!(self.ask(Command::PutPack { pack: pack(n, keys.into()), items }), outcomes);
    }

    fn remove(&mut self, key: u8) {
        let delete = Command::DeleteVersion {
            bucket: BUCKET,
            key: vec![key],
            condition: Condition::default(),
            version: VersionSelector::Current,
            marker: VersionId([0xdd; 16]),
        };
        assert!(matches!(self.ask(delete), Outcome::Deleted(_)));
    }

    /// References of a pack's blob and the bytes that its row counts.
    fn pack(&self, n: u8) -> (Option<u32>, Option<u64>) {
        let Ok(blob) = read::blob(&self.tables, BlobId([n; 16]));
        let Ok(packs) = read::packs(&self.tables, None, 10);
        let live = packs.into_iter().find(|(id, _)| *id == BlobId([n; 16])).map(|(_, row)| row.live);
        (blob.map(|row| row.refs), live)
    }

    fn version(&self, key: u8) -> VersionRow {
        let Ok(found) = read::version(&self.tables, BUCKET, &[key], VersionSelector::Current);
        found.expect("the key has a version").0
    }

    fn place(&self, key: u8) -> Extent {
        match self.version(key).content {
            Content::Packed(item) => item.at,
            other => panic!("not packed: {other:?}"),
        }
    }
}

#[test]
fn every_object_of_a_pack_is_taken_or_refused_for_itself() {
    let mut client = Client::new(Versioning::Off);
    client.fill(1, 1);
    let only_new = Condition { if_match: None, if_none_match: Some(None) };
    let elsewhere = put(5, item(1, 0), Condition::default());
    let items = vec![
        put(1, item(2, 0), only_new.clone()),
        put(2, item(2, 1), only_new.clone()),
        put(2, item(2, 2), only_new),
        put(3, item(2, 9), Condition::default()),
        elsewhere,
        PackedPut { bucket: crate::id::BucketId([0xff; 16]), ..put(4, item(2, 3), Condition::default()) },
    ];
    let refused = |why| ItemOutcome::Refused(why);
    assert_eq!(
        client.ask(Command::PutPack { pack: pack(2, 4), items }),
        Outcome::Items(vec![
            refused(Refusal::PreconditionFailed),
            taken(2),
            refused(Refusal::PreconditionFailed),
            refused(Refusal::Invalid(reason::EXTENT_OUTSIDE)),
            refused(Refusal::Invalid(reason::PACK_ITEM)),
            refused(Refusal::NoSuchBucket),
        ])
    );
    assert_eq!(client.pack(2), (Some(1), Some(ITEM)));
    assert_eq!(client.place(2), item(2, 1));
}

#[test]
fn a_pack_that_nothing_came_to_refer_to_is_condemned_at_once() {
    let mut client = Client::new(Versioning::Off);
    let must_exist = Condition { if_match: Some(None), if_none_match: None };
    let items = vec![put(1, item(1, 0), must_exist)];
    let refused = Outcome::Items(vec![ItemOutcome::Refused(Refusal::NoSuchKey)]);
    assert_eq!(client.ask(Command::PutPack { pack: pack(1, 1), items }), refused);
    assert_eq!(client.pack(1), (Some(0), None));
    let spilled = NewBlob { body: BlobBody::Composite { parts: Vec::new() }, ..pack(2, 1).blob };
    let pack = NewPack { blob: spilled, ..pack(2, 1) };
    assert_eq!(
        client.refused(Command::PutPack { pack, items: Vec::new() }),
        Refusal::Invalid(reason::PACK_BODY)
    );
}

#[test]
fn holes_are_counted_and_a_copy_keeps_its_item_alive() {
    let mut client = Client::new(Versioning::Off);
    client.fill(1, 3);
    let copy = put(7, client.place(1), Condition::default());
    let (bucket, key, condition, version) = (copy.bucket, copy.key, copy.condition, copy.version);
    client.ask(Command::PutVersion { bucket, key, condition, version, blob: None });
    assert_eq!(client.pack(1), (Some(4), Some(3 * ITEM)));
    client.remove(1);
    assert_eq!(client.pack(1), (Some(3), Some(3 * ITEM)), "the copy has it");
    client.remove(7);
    assert_eq!(client.pack(1), (Some(2), Some(2 * ITEM)));
    client.remove(2);
    client.remove(3);
    assert_eq!(client.pack(1), (Some(0), None));
}

#[test]
fn items_move_with_all_their_versions_and_what_is_gone_is_passed_over() {
    let mut client = Client::new(Versioning::Enabled);
    let items = (1..=3).map(|n| put(n, item(1, u64::from(n) - 1), Condition::default())).collect();
    client.ask(Command::PutPack { pack: pack(1, 3), items });
    let copy = put(7, item(1, 0), Condition::default()).version;
    let older = Command::PutVersion {
        bucket: BUCKET,
        key: vec![3],
        condition: Condition::default(),
        version: copy,
        blob: None,
    };
    client.ask(older); // key 3: item 2 becomes an older version, item 0 is the head
    let moves: Vec<PackedMove> =
        [(0, 0), (2, 1), (9, 2)].map(|(from, to)| PackedMove { from: item(1, from), to: to * ITEM }).to_vec();
    assert_eq!(client.ask(Command::MovePacked { pack: pack(2, 3), moves: moves.clone() }), Outcome::Done);
    assert_eq!((client.pack(1), client.pack(2)), ((Some(1), Some(ITEM)), (Some(3), Some(2 * ITEM))));
    assert_eq!((client.place(1), client.place(3)), (item(2, 0), item(2, 0)));
    let selector = VersionSelector::Id(VersionId([3; 16]));
    let Ok(Some((old, false))) = read::version(&client.tables, BUCKET, &[3], selector) else {
        panic!("an older version")
    };
    assert_eq!(old.content, content(item(2, 1)));
    assert_eq!(client.ask(Command::MovePacked { pack: pack(3, 3), moves }), Outcome::Done);
    assert_eq!(client.pack(3), (Some(0), None), "they had moved already");
    let into_itself = vec![PackedMove { from: item(2, 0), to: 0 }];
    let refused = client.refused(Command::MovePacked { pack: pack(2, 3), moves: into_itself });
    assert_eq!(refused, Refusal::Invalid(reason::BLOB_ID_TAKEN));
}
