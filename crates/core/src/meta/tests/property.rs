//! Properties of random histories: counters equal a recount, a refusal changes nothing, sequence numbers rise.

use std::collections::{BTreeMap, HashMap};

use crate::id::{BlobId, BucketId, VersionId};
use crate::meta::history::{History, spilled_slices};
use crate::meta::tables::{
    Blobs, BucketNames, CondemnedBlobs, Entry, Heads, OutcomeAges, Outcomes, PackEntries, Packs, Parts, Span,
    Table, Typed, Uploads, Usages, VersionSeqs, Versions,
};
use crate::meta::{
    BlobBody, Command, Content, MemoryTables, Outcome, PackEntry, Refusal, Request, TableId, UsageRow,
    VersionRow, apply,
};

fn all<B: Table>(t: &MemoryTables) -> Vec<(B::Key, B::Row)> {
    let Ok(rows) = t.scan::<B>(&Span::default(), usize::MAX);
    rows
}

fn run(t: &mut MemoryTables, request: &Request) -> Outcome {
    let Ok(outcome) = apply(t, request);
    outcome
}

/// Walks a history and calls `check` with the state before, the request, its outcome and the state after.
fn walk(seed: u64, steps: usize, mut check: impl FnMut(&MemoryTables, &Request, &Outcome, &MemoryTables)) {
    let (mut history, mut tables) = (History::new(seed), MemoryTables::new());
    for _ in 0..steps {
        let request = history.next(&tables);
        let before = tables.clone();
        let outcome = run(&mut tables, &request);
        check(&before, &request, &outcome, &tables);
    }
}

fn versions(t: &MemoryTables) -> Vec<(BucketId, Vec<u8>, VersionRow)> {
    let heads = all::<Heads>(t).into_iter().map(|((bucket, key), row)| (bucket, key, row));
    heads.chain(all::<Versions>(t).into_iter().map(|((bucket, key, _), row)| (bucket, key, row))).collect()
}

fn recounted_usage(t: &MemoryTables) -> BTreeMap<BucketId, UsageRow> {
    let mut counted: BTreeMap<BucketId, UsageRow> =
        all::<BucketNames>(t).into_iter().map(|(id, _)| (id, UsageRow::default())).collect();
    for (bucket, _, row) in versions(t).into_iter().filter(|(_, _, row)| !row.delete_marker) {
        let usage = counted.get_mut(&bucket).expect("versions live in buckets");
        usage.versions += 1;
        usage.bytes += row.size;
    }
    for ((bucket, _), _) in all::<Heads>(t) {
        counted.get_mut(&bucket).expect("heads live in buckets").heads += 1;
    }
    for ((bucket, ..), _) in all::<Uploads>(t) {
        counted.get_mut(&bucket).expect("uploads live in buckets").uploads += 1;
    }
    counted
}

fn recounted_refs(t: &MemoryTables) -> HashMap<BlobId, u32> {
    let mut refs: HashMap<BlobId, u32> = all::<Blobs>(t).into_iter().map(|(id, _)| (id, 0)).collect();
    let mut add = |id: BlobId| *refs.get_mut(&id).expect("nothing refers to a blob that is gone") += 1;
    for (_, _, row) in versions(t) {
        match row.content {
            Content::Empty => {}
            Content::Blob(extent) => add(extent.blob),
            Content::Packed(item) => add(item.at.blob),
        }
    }
    all::<Parts>(t).into_iter().filter_map(|(_, row)| row.content).for_each(|extent| add(extent.blob));
    for (id, row) in all::<Blobs>(t) {
        match row.body {
            BlobBody::Inline { .. } | BlobBody::Chunked { .. } => {}
            BlobBody::ChunkedSpilled { manifest, .. } => add(manifest),
            BlobBody::Composite { parts } => parts.iter().for_each(|slice| add(slice.blob)),
            BlobBody::CompositeSpilled { list, .. } => {
                add(list);
                spilled_slices(t, id).into_iter().for_each(&mut add);
            }
        }
    }
    refs
}

fn check_indexes(t: &MemoryTables) {
    let mut seqs: Vec<Entry<VersionSeqs>> = Vec::new();
    for ((bucket, key, seq), row) in all::<Versions>(t) {
        assert_eq!(seq, row.seq);
        let Ok(head) = t.get::<Heads>(&(bucket, key.clone()));
        assert!(head.expect("older versions stand below a head").seq > seq, "the head is the newest");
        seqs.push(((bucket, key.clone(), row.id), seq));
        if row.null {
            seqs.push(((bucket, key, VersionId::ZERO), seq));
        }
    }
    seqs.sort();
    assert_eq!(all::<VersionSeqs>(t), seqs);
    let condemned: Vec<(u64, BlobId)> = all::<CondemnedBlobs>(t).into_iter().map(|(key, ())| key).collect();
    let mut unreferenced: Vec<(u64, BlobId)> = all::<Blobs>(t)
        .into_iter()
        .filter(|(_, row)| row.refs == 0)
        .map(|(id, row)| (row.condemned_generation, id))
        .collect();
    unreferenced.sort();
    assert_eq!(condemned, unreferenced);
    let mut ages: Vec<_> = all::<Outcomes>(t).into_iter().map(|(id, row)| ((row.at_ms, id), ())).collect();
    ages.sort();
    assert_eq!(all::<OutcomeAges>(t), ages);
    check_packs(t);
}

/// Items and versions lead to each other, and a pack's row counts the bytes that somebody refers to.
fn check_packs(t: &MemoryTables) {
    let mut entries = Vec::new();
    let mut live: BTreeMap<BlobId, BTreeMap<u64, u64>> = BTreeMap::new();
    for (bucket, key, row) in versions(t) {
        if let Content::Packed(item) = row.content {
            let (pack, offset, len) = (item.at.blob, item.at.offset, item.at.len);
            entries.push((PackEntry { pack, offset, bucket, version: row.id, key }, len));
            live.entry(pack).or_default().insert(offset, len);
        }
    }
    entries.sort();
    assert_eq!(all::<PackEntries>(t), entries);
    let live: Vec<(BlobId, u64)> =
        live.into_iter().map(|(pack, items)| (pack, items.values().sum())).collect();
    let counted: Vec<(BlobId, u64)> = all::<Packs>(t).into_iter().map(|(id, row)| (id, row.live)).collect();
    assert_eq!(counted, live);
}

#[test]
fn counters_and_references_never_drift_from_a_recount() {
    for seed in 0..40 {
        let mut step = 0;
        walk(seed, 500, |_, request, _, after| {
            step += 1;
            if step % 10 != 0 {
                return;
            }
            let usage: BTreeMap<_, _> = all::<Usages>(after)
                .into_iter()
                .map(|(id, row)| (id, UsageRow { last_seq: 0, ..row }))
                .collect();
            assert_eq!(usage, recounted_usage(after), "seed {seed}, {request:?}");
            let refs: HashMap<_, _> =
                all::<Blobs>(after).into_iter().map(|(id, row)| (id, row.refs)).collect();
            assert_eq!(refs, recounted_refs(after), "seed {seed}, {request:?}");
            check_indexes(after);
        });
    }
}

#[test]
fn a_refusal_changes_nothing_but_the_kept_outcome() {
    let rows = |t: &MemoryTables| {
        let kept = [TableId::Outcome, TableId::OutcomeAge];
        let rows = t.dump().filter(|(table, ..)| !kept.contains(table));
        rows.map(|(table, key, row)| (table, key.to_vec(), row.to_vec())).collect::<Vec<_>>()
    };
    let mut refused = BTreeMap::<String, u32>::new();
    for seed in 100..130 {
        walk(seed, 400, |before, request, outcome, after| {
            if let Outcome::Refused(refusal) = outcome {
                assert_eq!(rows(before), rows(after), "seed {seed}, {request:?}");
                let name = format!("{refusal:?}");
                *refused
                    .entry(name.split([' ', '{', '(']).next().unwrap_or_default().to_owned())
                    .or_default() += 1;
            }
        });
    }
    for name in ["NoSuchBucket", "BucketExists", "BucketNotEmpty", "NoSuchKey", "NoSuchUpload", "InvalidPart"]
    {
        assert!(refused.contains_key(name), "the histories never met {name}: {refused:?}");
    }
    for name in ["PreconditionFailed", "NoSuchBlob", "StaleEpoch", "LeaseHeld", "SettingChanged", "Invalid"] {
        assert!(refused.contains_key(name), "the histories never met {name}: {refused:?}");
    }
}

#[test]
fn a_retry_gets_the_same_outcome_and_changes_nothing() {
    walk(7, 600, |_, request, outcome, after| {
        let mut again = after.clone();
        let expired = matches!(request.command, Command::Expire);
        assert!(expired || run(&mut again, request) == *outcome && again == *after);
    });
}

#[test]
fn sequence_numbers_rise_per_key_even_across_deleting_and_making_again() {
    for seed in 200..220 {
        let mut newest: HashMap<(BucketId, Vec<u8>), u64> = HashMap::new();
        walk(seed, 500, |before, request, outcome, after| {
            let (Outcome::Committed { version, .. }, false) = (outcome, was_asked(before, request)) else {
                return;
            };
            let (bucket, key) = match &request.command {
                Command::PutVersion { bucket, key, .. } | Command::CompleteUpload { bucket, key, .. } => {
                    (bucket, key)
                }
                Command::SetAttribute { .. } => return,
                _ => unreachable!("only these commit versions"),
            };
            let place = (*bucket, key.clone());
            let Ok(head) = after.get::<Heads>(&place);
            let head = head.expect("just committed");
            assert_eq!(head.id, *version);
            assert!(newest.get(&place).is_none_or(|seq| *seq < head.seq), "seed {seed}");
            newest.insert(place, head.seq);
        });
    }
}

fn was_asked(t: &MemoryTables, request: &Request) -> bool {
    let Ok(kept) = t.get::<Outcomes>(&request.id);
    kept.is_some()
}

#[test]
fn histories_mostly_succeed_and_reach_every_command() {
    let (mut done, mut asked) = (BTreeMap::<String, u32>::new(), 0);
    for seed in 300..320 {
        walk(seed, 500, |_, request, outcome, _| {
            asked += 1;
            let name = format!("{:?}", request.command);
            if !matches!(outcome, Outcome::Refused(_)) {
                *done.entry(name.split([' ', '{']).next().unwrap_or_default().to_owned()).or_default() += 1;
            }
        });
    }
    assert_eq!(done.len(), 28, "{done:?}");
    assert!(done.values().sum::<u32>() * 2 > asked, "{done:?}");
    assert!(done["CompleteUpload"] > 100 && done["Purge"] > 100, "{done:?}");
}

#[test]
fn racing_creators_of_one_key_have_exactly_one_winner() {
    for seed in 0..50u8 {
        let mut tables = MemoryTables::new();
        let bucket = super::story::bucket(&mut tables);
        let outcomes: Vec<Outcome> =
            (1..=50).map(|racer| run(&mut tables, &super::story::create_only(bucket, seed, racer))).collect();
        let won = outcomes.iter().filter(|o| matches!(o, Outcome::Committed { .. })).count();
        let lost = outcomes.iter().filter(|o| **o == Outcome::Refused(Refusal::PreconditionFailed)).count();
        assert_eq!((won, lost), (1, 49));
    }
}
