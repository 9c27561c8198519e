//! Multipart uploads: parts in any order, replaced, copied, completed, aborted.

use pangea_client::{ClientError, CompletePart, UploadPart};
use pangea_core::id::UploadId;
use pangea_core::meta::{Condition, VersionSelector};

use crate::rig::{Rig, body, noise};

fn start(rig: &Rig) -> UploadId {
    rig.run(rig.client.create_upload("b", b"k", vec![("x".into(), "y".into())], "me")).expect("an upload")
}

fn part(rig: &Rig, upload: UploadId, number: u16, bytes: &[u8]) -> CompletePart {
    let len = Some(bytes.len() as u64);
    let part = UploadPart { bucket: "b".into(), key: b"k".to_vec(), upload, number, len };
    let done =
        rig.run(rig.client.put_part(part, body(bytes, 100_000), Box::new(|_| Ok(vec![])))).expect("a part");
    CompletePart { number, md5: done.part.md5, checksums: vec![] }
}

fn complete(
    rig: &Rig,
    upload: UploadId,
    parts: Vec<CompletePart>,
) -> Result<pangea_client::PutDone, ClientError> {
    let accept = Box::new(|_: &_, _: &_| Ok(vec![]));
    rig.run(rig.client.complete_upload("b", b"k", upload, parts, Condition::default(), accept))
}

#[test]
fn parts_become_one_object_and_ranges_cross_them() {
    let rig = Rig::new(4);
    let upload = start(&rig);
    let bytes: Vec<Vec<u8>> = [5 << 20, (5 << 20) + 17, 3].map(|len| noise(len, len as u64)).into();
    // Out of order, and the second one twice.
    let third = part(&rig, upload, 7, &bytes[2]);
    part(&rig, upload, 2, b"replaced");
    let second = part(&rig, upload, 2, &bytes[1]);
    let first = part(&rig, upload, 1, &bytes[0]);
    part(&rig, upload, 9, b"not listed");
    let done = complete(&rig, upload, vec![first, second, third]).expect("complete");
    assert!(done.etag.to_string().ends_with("-3"));
    let whole = bytes.concat();
    assert!(rig.get("k").expect("there") == whole);
    let seam = bytes[0].len();
    assert!(
        rig.get_range("k", seam as u64 - 5..seam as u64 + 5).expect("in range") == whole[seam - 5..seam + 5]
    );
    rig.run(rig.client.collect_condemned_before(u64::MAX, &|_, _| {})).expect("swept");
    assert!(rig.get("k").expect("there") == whole, "unlisted parts were freed, listed ones not");
    assert!(matches!(complete(&rig, upload, vec![]), Err(ClientError::NoSuchUpload)));
}

#[test]
fn an_upload_of_many_parts_spills_its_list_and_is_freed_whole() {
    let rig = Rig::new(1);
    let upload = start(&rig);
    // 600 entries of 32 bytes do not fit in a row. Parts below 5 MiB are made by copying nothing but the rule: the last
    // part alone may be small, so the big one is copied by reference.
    let big = noise(5 << 20, 1);
    rig.put("big", &big).expect("put");
    let from = rig.run(rig.client.object("b", b"big", VersionSelector::Current)).expect("there");
    let parts: Vec<CompletePart> = (1..=600)
        .map(|number| {
            let part = UploadPart { bucket: "b".into(), key: b"k".to_vec(), upload, number, len: None };
            let done =
                rig.run(rig.client.copy_part(&from, 0..big.len() as u64, part, None)).expect("a copied part");
            CompletePart { number, md5: done.part.md5, checksums: vec![] }
        })
        .collect();
    let before = rig.drives.shards();
    complete(&rig, upload, parts).expect("complete");
    let at = 599 * big.len() as u64;
    assert!(rig.get_range("k", at..at + 1000).expect("in range") == big[..1000]);
    assert!(
        rig.get_range("k", at - 10..at + 10).expect("in range")
            == [&big[big.len() - 10..], &big[..10]].concat()
    );
    for key in [&b"k"[..], b"big"] {
        let delete = rig.client.delete_object("b", key, VersionSelector::Current, Condition::default());
        rig.run(delete).expect("a delete");
    }
    for _ in 0..3 {
        rig.run(rig.client.collect_condemned_before(u64::MAX, &|_, _| {})).expect("swept");
    }
    assert!(before[0] > 0);
    assert_eq!(rig.drives.shards(), vec![0]);
}

#[test]
fn wrong_lists_are_refused_and_the_upload_goes_on() {
    let rig = Rig::new(1);
    let upload = start(&rig);
    let small = part(&rig, upload, 1, b"small");
    let last = part(&rig, upload, 2, b"last");
    let wrong = CompletePart { md5: [0; 16], ..last.clone() };
    let missing = CompletePart { number: 3, ..last.clone() };
    assert!(matches!(
        complete(&rig, upload, vec![small.clone(), last.clone()]),
        Err(ClientError::PartTooSmall { number: 1, size: 5 })
    ));
    assert!(matches!(complete(&rig, upload, vec![wrong]), Err(ClientError::InvalidPart { number: 2 })));
    assert!(matches!(complete(&rig, upload, vec![missing]), Err(ClientError::InvalidPart { number: 3 })));
    assert!(matches!(complete(&rig, upload, vec![last.clone(), small]), Err(ClientError::InvalidPartOrder)));
    assert!(matches!(complete(&rig, upload, vec![]), Err(ClientError::InvalidPartOrder)));
    complete(&rig, upload, vec![last]).expect("complete");
    assert_eq!(rig.get("k").expect("there"), b"last");
}

#[test]
fn an_aborted_upload_leaves_nothing() {
    let rig = Rig::new(2);
    let upload = start(&rig);
    part(&rig, upload, 1, &noise(1 << 20, 1));
    rig.run(rig.client.abort_upload("b", b"k", upload)).expect("abort");
    assert!(matches!(rig.run(rig.client.upload("b", b"k", upload)), Err(ClientError::NoSuchUpload)));
    rig.run(rig.client.collect_condemned_before(u64::MAX, &|_, _| {})).expect("swept");
    assert_eq!(rig.drives.shards(), vec![0, 0]);
}
