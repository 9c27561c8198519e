//! Every engine passes the exam, and the SQLite view holds the bytes of the reference.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use pangea_core::meta::question::{Answer, Failure};
use pangea_core::meta::{MemoryTables, TableId, apply, history::History};

use super::crash_disk::{Image, Recorder};
use super::{TempDir, open, options};
use crate::conformance::{conformance, contents, differential, wait};
use crate::remote::{Lost, Way, answer_in_pages};
use crate::sqlite::{DumpedRow, ViewPlace};
use crate::{EmbeddedMeta, InlineMeta, MemoryMeta, Meta, MetaError, RemoteMeta, SeatedMeta, WriteOptions};

fn embedded(dir: &TempDir, recorder: &Recorder) -> EmbeddedMeta {
    let mut options = options(&recorder.drives(), ViewPlace::Path(dir.view()));
    options.write = WriteOptions { parallel: true, step_bytes: 1 << 16 };
    EmbeddedMeta::open(options).expect("opens")
}

#[test]
fn the_memory_engine_passes() {
    conformance(&|| Box::new(MemoryMeta::new()));
}

#[test]
fn the_inline_engine_passes() {
    conformance(&|| {
        let recorder = Recorder::new(vec![Image::default(); 2]);
        Box::new(InlineMeta::open(options(&recorder.drives(), ViewPlace::Memory)).expect("opens"))
    });
}

/// A way to metadata in the same process; one question in `lost_every` is carried out and its answer lost.
struct Straight {
    meta: MemoryMeta,
    rows_max: usize,
    lost_every: usize,
    asked: AtomicUsize,
}

impl Way for Straight {
    fn ask(&self, question: Bytes) -> Pin<Box<dyn Future<Output = Result<Bytes, Lost>> + Send + '_>> {
        Box::pin(async move {
            let answer = answer_in_pages(&self.meta, &question, self.rows_max).await;
            let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
            if self.lost_every > 0 && asked.is_multiple_of(self.lost_every) {
                return Err(Lost { sent: true, why: "the link broke".into() });
            }
            Ok(answer.into())
        })
    }
}

fn remote(rows_max: usize, lost_every: usize) -> RemoteMeta {
    let way = Straight { meta: MemoryMeta::new(), rows_max, lost_every, asked: AtomicUsize::new(0) };
    RemoteMeta::new(Arc::new(way))
}

#[test]
fn metadata_that_another_node_keeps_passes_however_its_pages_are_cut() {
    for rows_max in [1, 3, 1000] {
        conformance(&|| Box::new(remote(rows_max, 0)));
    }
    differential(&remote(5, 0), &MemoryMeta::new(), 7, 2000);
}

#[test]
fn a_command_whose_answer_was_lost_is_carried_out_once_however_often_it_is_asked_for() {
    let (meta, reference) = (remote(1000, 3), MemoryMeta::new());
    let (mut history, mut lost) = (History::new(11), 0);
    for _ in 0..2000 {
        let request = history.next(&reference.tables());
        let expected = wait(reference.apply(request.clone())).expect("memory");
        let outcome = loop {
            match wait(meta.apply(request.clone())) {
                Err(MetaError::Unknown) => lost += 1,
                other => break other.expect("answered"),
            }
        };
        assert_eq!(outcome, expected);
    }
    assert!(lost > 500, "{lost}");
    let unavailable = std::iter::repeat_with(|| wait(meta.buckets())).take(3);
    let unavailable = unavailable.filter(|found| matches!(found, Err(MetaError::Unavailable { .. }))).count();
    assert_eq!(unavailable, 1, "a query without an answer is no unknown command");
}

#[test]
fn nonsense_is_answered_with_a_refusal() {
    let meta = MemoryMeta::new();
    for nonsense in [&b""[..], b"\x01", b"\x01\xff", b"\x02\x1a", &[1; 4096]] {
        let answer = wait(answer_in_pages(&meta, nonsense, 1000));
        assert_eq!(Answer::decode(&answer), Ok(Answer::Failed(Failure::NotUnderstood)), "{nonsense:?}");
    }
}

#[test]
fn the_embedded_engine_passes() {
    let dirs = std::cell::RefCell::new(Vec::new());
    conformance(&|| {
        let dir = TempDir::new();
        let meta = embedded(&dir, &Recorder::new(vec![Image::default(); 2]));
        dirs.borrow_mut().push(dir);
        Box::new(meta)
    });
}

#[test]
fn an_engine_moves_to_other_drives_while_it_is_used_and_leaves_nothing_behind() {
    let (here, there) = (TempDir::new(), TempDir::new());
    let recorder = Recorder::new(vec![Image::default(); 3]);
    let drives = recorder.drives();
    let (old, new) = (&drives[..2], &drives[1..]);
    let meta = EmbeddedMeta::open(options(old, ViewPlace::Path(here.view()))).expect("opens");
    let meta = Arc::new(SeatedMeta::new(meta));
    std::thread::scope(|scope| {
        for worker in 0..3_u64 {
            let meta = meta.clone();
            scope.spawn(move || {
                for request in super::requests(900 + worker, 200) {
                    wait(meta.apply(request)).expect("committed, whichever drives it was on");
                }
            });
        }
        let make = |moved: bool| {
            let (drives, dir) = if moved { (new, &there) } else { (old, &here) };
            Ok(options(drives, ViewPlace::Path(dir.view())))
        };
        meta.reseat(make, Some(&here.view())).expect("moves");
    });
    let expected = contents(&*meta, 100);
    let generation = wait(meta.status()).expect("it answers").generation;
    drop(meta);
    // The third drive alone has everything, with a view made anew.
    let fresh = TempDir::new();
    let mut options = options(&drives[2..], ViewPlace::Path(fresh.view()));
    options.known_generation = generation;
    let alone = EmbeddedMeta::open(options).expect("opens");
    assert_eq!(contents(&alone, 100), expected);
}

#[test]
fn an_engine_that_cannot_move_stays_where_it_was() {
    let dir = TempDir::new();
    let recorder = Recorder::new(vec![Image::default(); 2]);
    let drives = recorder.drives();
    let meta = EmbeddedMeta::open(options(&drives, ViewPlace::Path(dir.view()))).expect("opens");
    let meta = SeatedMeta::new(meta);
    let make = |moved: bool| {
        let mut options = options(if moved { &[] } else { &drives }, ViewPlace::Path(dir.view()));
        options.known_generation = u64::from(moved);
        Ok(options)
    };
    assert!(meta.reseat(make, None).is_err());
    for request in super::requests(3, 20) {
        wait(meta.apply(request)).expect("committed");
    }
}

#[test]
fn long_histories_give_equal_outcomes_and_contents() {
    for seed in 500..504 {
        let dir = TempDir::new();
        let recorder = Recorder::new(vec![Image::default()]);
        let inline = InlineMeta::open(options(&recorder.drives(), ViewPlace::Memory)).expect("opens");
        let other = embedded(&dir, &Recorder::new(vec![Image::default(); 3]));
        differential(&inline, &other, seed, 1500);
    }
}

#[test]
fn the_view_holds_the_bytes_of_the_reference() {
    let recorder = Recorder::new(vec![Image::default()]);
    let mut engine = open(&recorder.drives()).expect("opens");
    let own = engine.view().dump().expect("readable");
    let (mut history, mut model) = (History::new(9), MemoryTables::new());
    for (table, key, row) in own {
        let Ok(()) = pangea_core::meta::Tables::put_raw(&mut model, table, &key, &row);
    }
    for _ in 0..1500 {
        let request = history.next(&model);
        let Ok(expected) = apply(&mut model, &request);
        let answer = engine.apply_group(vec![request]).pop().expect("one answer").expect("committed");
        assert_eq!(answer, expected);
    }
    let expected: Vec<DumpedRow> =
        model.dump().map(|(t, k, v): (TableId, _, _)| (t, k.to_vec(), v.to_vec())).collect();
    assert_eq!(engine.view().dump().expect("readable"), expected);
}

#[test]
fn a_snapshot_is_taken_beside_running_commands() {
    let (dir, recorder) = (TempDir::new(), Recorder::new(vec![Image::default(); 2]));
    let before = {
        let meta = Arc::new(embedded(&dir, &recorder));
        std::thread::scope(|scope| {
            for worker in 0..4u64 {
                let meta = meta.clone();
                scope.spawn(move || {
                    for request in super::requests(worker, 200) {
                        wait(meta.apply(request)).expect("committed");
                    }
                });
            }
            for _ in 0..5 {
                wait(meta.snapshot()).expect("written");
            }
        });
        let seq = wait(meta.snapshot()).expect("written");
        let status = wait(meta.status()).expect("status");
        assert!(status.applied_seq == seq && status.snapshot_seq == seq, "{status:?}");
        contents(&*meta, 100)
    };
    assert_eq!(recorder.names(0, "meta/snapshot").len(), 2, "the last two are kept");
    std::fs::remove_file(dir.view()).expect("the view can be lost");
    let meta = embedded(&dir, &recorder);
    assert_eq!(contents(&meta, 100), before);
    let notes = wait(meta.status()).expect("status").recovery_notes;
    assert!(notes.iter().any(|note| note.contains("rebuilt from meta/snapshot")), "{notes:?}");
}

#[test]
fn a_closed_engine_says_so_and_a_huge_command_is_refused() {
    let (dir, recorder) = (TempDir::new(), Recorder::new(vec![Image::default()]));
    let meta = embedded(&dir, &recorder);
    let mut request = super::requests(1, 1).remove(0);
    request.command = pangea_core::meta::Command::SetSetting {
        name: "big".to_owned(),
        expected: 0,
        value: vec![0; crate::engine::REQUEST_BYTES_MAX],
    };
    assert!(matches!(wait(meta.apply(request.clone())), Err(MetaError::TooLarge { .. })));
    let inline =
        InlineMeta::open(options(&Recorder::new(vec![Image::default()]).drives(), ViewPlace::Memory));
    let inline = inline.expect("opens");
    assert!(matches!(wait(inline.apply(request)), Err(MetaError::TooLarge { .. })));
    meta.close();
}
