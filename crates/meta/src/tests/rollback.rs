//! Older states put back: healed from the log where it reaches, refused with the gap where it does not.

use super::crash_disk::{Image, Recorder};
use super::{Counting, TempDir, kept_by, keys, options, requests, run};
use crate::backup::{give_up_to, survey, view_seq};
use crate::sqlite::{DumpedRow, ViewPlace};
use crate::{Engine, MetaError};

/// Two log drives and the view at three moments, with a start between them, as an operator would have copied them.
struct Moment {
    drives: Vec<Image>,
    view: Vec<u8>,
    generation: u64,
}

struct Story {
    old: Moment,
    new: Moment,
    rows: Vec<DumpedRow>,
}

fn story(snapshots: bool) -> Story {
    let (dir, recorder) = (TempDir::new(), Recorder::new(vec![Image::default(); 2]));
    let mut moments = Vec::new();
    let mut rows = Vec::new();
    for seed in 0..4 {
        let place = ViewPlace::Path(dir.view());
        let mut engine = Engine::open(options(&recorder.drives(), place)).expect("opens");
        run(&mut engine, &requests(seed, 60), 4);
        if snapshots {
            engine.snapshot().expect("written");
            run(&mut engine, &requests(seed + 10, 20), 4);
        }
        let generation = engine.status().generation;
        rows = kept_by(&engine);
        engine.close().expect("closes");
        let view = std::fs::read(dir.view()).expect("the view is there");
        moments.push(Moment { drives: recorder.images(), view, generation });
    }
    let new = moments.pop().expect("the last one");
    Story { old: moments.swap_remove(0), new, rows }
}

fn start(drives: &[Image], view: Option<&[u8]>, known: u64) -> Result<Vec<DumpedRow>, MetaError> {
    let dir = TempDir::new();
    if let Some(bytes) = view {
        std::fs::write(dir.view(), bytes).expect("the view can be put there");
    }
    let recorder = Recorder::new(drives.to_vec());
    let mut wanted = options(&recorder.drives(), ViewPlace::Path(dir.view()));
    wanted.known_generation = known;
    Engine::open(wanted).map(|engine| kept_by(&engine))
}

#[test]
fn whatever_is_older_is_healed_while_one_drive_has_the_log() {
    for snapshots in [false, true] {
        let story = story(snapshots);
        let (old, new) = (&story.old, &story.new);
        let views = [None, Some(old.view.as_slice()), Some(new.view.as_slice())];
        let one_old = vec![old.drives[0].clone(), new.drives[1].clone()];
        let one_empty = vec![Image::default(), new.drives[1].clone()];
        for drives in [&new.drives, &one_old, &one_empty] {
            for view in views {
                let rows = start(drives, view, new.generation);
                assert_eq!(
                    rows.expect("opens"),
                    story.rows,
                    "snapshots: {snapshots}, view: {}",
                    view.is_some()
                );
            }
        }
    }
}

#[test]
fn all_drives_rolled_back_are_refused_by_generation_or_by_the_view() {
    for snapshots in [false, true] {
        let story = story(snapshots);
        let (old, new) = (&story.old, &story.new);
        for view in [None, Some(old.view.as_slice()), Some(new.view.as_slice())] {
            let refused = start(&old.drives, view, new.generation);
            let wanted = (old.generation, new.generation);
            assert!(
                matches!(refused, Err(MetaError::Stale { found, known }) if (found, known) == wanted),
                "{refused:?}"
            );
        }
        // No superblock knows better, but the view does.
        let refused = start(&old.drives, Some(&new.view), 0);
        assert!(matches!(refused, Err(MetaError::LogLost { .. })), "{refused:?}");
    }
}

#[test]
fn an_older_snapshot_is_healed_by_a_log_that_reaches_it_and_refused_with_the_gap_otherwise() {
    let story = story(true);
    let recorder = Recorder::new(story.new.drives.clone());
    let names = recorder.names(0, "meta/snapshot-");
    for drive in 0..2 {
        recorder.lose(drive, names.last().expect("there are two"));
    }
    let rows = start(&recorder.images(), None, story.new.generation);
    assert_eq!(rows.expect("the log reaches the older one"), story.rows);

    // Only the snapshot of long ago is put back: the log no longer reaches it.
    let long_ago = Recorder::new(story.old.drives.clone());
    let logs = Recorder::new(story.new.drives.clone());
    for drive in 0..2 {
        names.iter().for_each(|name| logs.lose(drive, name));
        let name = long_ago.names(drive, "meta/snapshot-").pop().expect("there is one");
        let from = long_ago.images().remove(drive);
        let bytes = from.files[from.names[&name]].clone();
        let file = logs.drive(drive).open(&name, Some(bytes.len() as u64)).expect("made");
        file.write_at(&[std::io::IoSlice::new(&bytes)], 0).expect("written");
    }
    let refused = start(&logs.images(), None, story.new.generation);
    let Err(MetaError::Gap { have_seq, next_seq: Some(next), .. }) = refused else { panic!("{refused:?}") };
    assert!(have_seq > 0 && next > have_seq + 1, "{have_seq} {next}");
    let text = refused.expect_err("refused").to_string();
    assert!(text.contains(&format!("requests {} to {}", have_seq + 1, next - 1)), "{text}");
}

#[test]
fn a_drive_that_joins_gets_the_whole_history_though_the_view_needs_none_of_it() {
    for (snapshots, gap) in [(false, false), (true, false), (false, true)] {
        let story = story(snapshots);
        let recorder = Recorder::new(vec![story.new.drives[0].clone(), Image::default()]);
        if gap {
            recorder.lose(0, &recorder.names(0, "meta/log-")[0]);
        }
        let dir = TempDir::new();
        std::fs::write(dir.view(), &story.new.view).expect("written");
        let place = ViewPlace::Path(dir.view());
        let engine = Engine::open(options(&recorder.drives(), place)).expect("opens");
        assert_eq!(kept_by(&engine), story.rows);
        drop(engine);
        for drive in recorder.drives() {
            let alone = Engine::open(options(&[drive], ViewPlace::Memory)).expect("opens alone");
            assert_eq!(kept_by(&alone), story.rows, "snapshots: {snapshots}, gap: {gap}");
        }
    }
}

#[test]
fn a_refused_start_leaves_the_view_where_it_was() {
    let story = story(true);
    let recorder = Recorder::new(story.new.drives.clone());
    for drive in 0..2 {
        let names = recorder.names(drive, "meta/");
        let logs = names.iter().filter(|name| name.starts_with("meta/log-")).count();
        let lost = names.iter().enumerate().filter(|(at, name)| name.contains("snapshot") || *at + 1 < logs);
        lost.for_each(|(_, name)| recorder.lose(drive, name));
    }
    let dir = TempDir::new();
    std::fs::write(dir.view(), &story.old.view).expect("written");
    for _ in 0..2 {
        let refused = Engine::open(options(&recorder.drives(), ViewPlace::Path(dir.view()))).map(|_| ());
        assert!(matches!(refused, Err(MetaError::Gap { .. })), "{refused:?}");
        let cluster = options(&[], ViewPlace::Memory).cluster;
        assert!(view_seq(&dir.view(), cluster).is_some(), "it may be the best copy there is");
    }
}

#[test]
fn a_snapshot_without_any_log_is_refused() {
    let story = story(true);
    let recorder = Recorder::new(story.new.drives.clone());
    for drive in 0..2 {
        recorder.names(drive, "meta/log-").iter().for_each(|name| recorder.lose(drive, name));
    }
    let refused = start(&recorder.images(), None, 0);
    assert!(matches!(refused, Err(MetaError::Gap { next_seq: None, .. })), "{refused:?}");
}

#[test]
fn an_older_state_that_is_accepted_goes_on_above_all_that_was_known() {
    let story = story(true);
    let recorder = Recorder::new(story.old.drives.clone());
    let before = survey(&recorder.drives(), super::options(&[], ViewPlace::Memory).cluster, &keys());
    let before = before.expect("readable");
    let next = story.new.generation + 1;
    let cluster = options(&[], ViewPlace::Memory).cluster;
    give_up_to(&recorder.drives(), cluster, &keys(), next, &Counting::default()).expect("begun");
    let mut wanted = options(&recorder.drives(), ViewPlace::Memory);
    wanted.known_generation = story.new.generation;
    let engine = Engine::open(wanted).expect("opens");
    assert!(engine.status().generation > story.new.generation);
    assert_eq!(
        engine.status().applied_seq,
        before.seq() + 1,
        "only the new generation's own request is added"
    );
    let dir = TempDir::new();
    std::fs::write(dir.view(), &story.old.view).expect("written");
    assert_eq!(view_seq(&dir.view(), cluster), Some(before.seq()));
}
