//! Layouts that change: drives come, go and are replaced while objects are written and read.

use pangea_client::ClientError;
use pangea_client::worker::{Emptied, RebalanceReport};
use pangea_core::chunk::Code;
use pangea_core::layout::{Change, Role, Slot, Table};
use pangea_core::meta::{Command, Condition, VersionSelector};

use crate::rig::{Rig, noise};

const QUIET: &(dyn Fn(u64, Option<u64>) + Send + Sync) = &|_, _| {};

fn code(k: u8, m: u8) -> Code {
    Code::new(k, m).expect("valid")
}

/// Objects of all kinds: inline, packed, one chunk, several chunks.
fn fill(rig: &Rig, name: &str) -> Vec<(String, Vec<u8>)> {
    let sizes = [100, 20_000, 20_001, 300_000, 300_001, 3_000_000, 12_000_000];
    let objects = sizes.iter().enumerate().map(|(n, len)| (format!("{name}/{n}"), noise(*len, n as u64 + 7)));
    let objects: Vec<_> = objects.collect();
    for (key, bytes) in &objects {
        rig.put(key, bytes).expect("stored");
    }
    objects
}

fn check(rig: &Rig, objects: &[(String, Vec<u8>)]) {
    for (key, bytes) in objects {
        assert!(rig.get(key).expect("readable") == *bytes, "{key}");
    }
}

fn change(rig: &Rig, changes: &[Change]) {
    let next = rig.client.layout().changed(changes, &[]).expect("possible");
    rig.run(rig.client.install_layout(&next)).expect("nobody else changes it");
}

fn rebalance(rig: &Rig) -> RebalanceReport {
    rig.run(rig.client.rebalance_pass(&QUIET)).expect("it runs")
}

#[test]
fn added_drives_get_their_share_and_nothing_is_lost_on_the_way() {
    let rig = Rig::with_spares(4, 2, code(2, 2));
    let mut objects = fill(&rig, "before");
    let before: u64 = rig.drives.shards().iter().sum();
    change(&rig, &[Change::Add(rig.drives.as_new(4)), Change::Add(rig.drives.as_new(5))]);
    check(&rig, &objects);
    objects.extend(fill(&rig, "during"));
    let report = rebalance(&rig);
    assert_eq!(
        (report.waiting, report.unreadable, report.mended, report.retired),
        (0, 0, 0, 1),
        "{report:?}"
    );
    assert!(report.moved_shards > 0);
    check(&rig, &objects);
    let shards = rig.drives.shards();
    assert!(shards[4] > 0 && shards[5] > 0, "{shards:?}");
    assert_eq!(shards.iter().sum::<u64>(), 2 * before, "every shard lies in one place");
    assert_eq!(rebalance(&rig), RebalanceReport::default(), "nothing is left to do");
    // As robust as ever: any two drives may go.
    rig.drives.take_away(0);
    rig.drives.take_away(5);
    check(&rig, &objects);
}

#[test]
fn a_drained_drive_is_empty_before_it_leaves() {
    let rig = Rig::with_code(6, code(2, 2));
    let objects = fill(&rig, "a");
    let doomed = fill(&rig, "b");
    change(&rig, &[Change::Drain(Slot(1))]);
    assert_eq!(rig.run(rig.client.empty_drive(Slot(1), &QUIET)).expect("it runs"), Emptied::Holding(1));
    for (key, _) in &doomed {
        let deleted =
            rig.client.delete_object("b", key.as_bytes(), VersionSelector::Current, Condition::default());
        rig.run(deleted).expect("deleted");
    }
    let report = rebalance(&rig);
    assert_eq!((report.waiting, report.retired), (0, 1), "{report:?}");
    // Deleted objects keep their shards for a moment.
    let held = rig.run(rig.client.empty_drive(Slot(1), &QUIET)).expect("it runs");
    assert!(matches!(held, Emptied::Holding(n) if n > 0), "{held:?}");
    rig.run(rig.client.collect_condemned_before(u64::MAX, &QUIET)).expect("it runs");
    assert_eq!(rig.run(rig.client.empty_drive(Slot(1), &QUIET)).expect("it runs"), Emptied::Removed);
    assert_eq!(rig.drives.shards()[1], 0);
    assert_eq!(rig.client.layout().drive(Slot(1)).map(|drive| drive.role), Some(Role::Gone));
    rig.drives.take_away(1);
    check(&rig, &objects);
    // What an older layout placed is still found after all older layouts are gone.
    rebalance(&rig);
    check(&rig, &objects);
}

#[test]
fn a_dead_drive_is_rebuilt_in_the_place_of_the_one_that_replaces_it() {
    let rig = Rig::with_spares(4, 1, code(2, 2));
    let objects = fill(&rig, "a");
    rig.drives.take_away(2);
    change(&rig, &[Change::Replace { old: Slot(2), new: rig.drives.as_new(4) }]);
    check(&rig, &objects);
    let report = rebalance(&rig);
    assert_eq!((report.waiting, report.retired), (0, 1), "{report:?}");
    assert!(report.mended > 0);
    assert_eq!(rig.run(rig.client.empty_drive(Slot(2), &QUIET)).expect("it runs"), Emptied::RemovedUnseen);
    let shards = rig.drives.shards();
    assert_eq!(shards[4], shards[2], "the new drive holds what the dead one held");
    rig.drives.take_away(0);
    rig.drives.take_away(1);
    check(&rig, &objects);
}

#[test]
fn while_a_new_home_is_away_the_old_layout_stays_and_the_next_pass_ends_the_work() {
    let rig = Rig::with_spares(3, 1, code(2, 1));
    let objects = fill(&rig, "a");
    change(&rig, &[Change::Add(rig.drives.as_new(3))]);
    rig.drives.take_away(3);
    let report = rebalance(&rig);
    assert!(report.waiting > 0 && report.retired == 0, "{report:?}");
    check(&rig, &objects);
    rig.drives.bring_back(3);
    let report = rebalance(&rig);
    assert_eq!((report.waiting, report.retired), (0, 1), "{report:?}");
    check(&rig, &objects);
}

#[test]
fn of_two_changes_made_of_one_layout_one_is_refused() {
    let rig = Rig::with_spares(3, 2, code(2, 1));
    let one = rig.client.layout().changed(&[Change::Add(rig.drives.as_new(3))], &[]).expect("possible");
    let other = rig.client.layout().changed(&[Change::Add(rig.drives.as_new(4))], &[]).expect("possible");
    rig.run(rig.client.install_layout(&one)).expect("the first");
    let refused = rig.run(rig.client.install_layout(&other));
    assert!(matches!(refused, Err(ClientError::Unavailable { .. })), "{refused:?}");
    assert_eq!(*rig.client.layout(), one);
}

#[test]
fn several_changes_before_the_first_is_done_still_find_everything() {
    let rig = Rig::with_spares(4, 3, code(2, 2));
    let mut objects = fill(&rig, "a");
    for (added, drained) in [(4, 0), (5, 1), (6, 2)] {
        change(&rig, &[Change::Add(rig.drives.as_new(added))]);
        objects.extend(fill(&rig, &format!("added {added}")));
        change(&rig, &[Change::Drain(Slot(drained))]);
        objects.extend(fill(&rig, &format!("drained {drained}")));
        check(&rig, &objects);
    }
    let report = rebalance(&rig);
    assert_eq!((report.waiting, report.retired), (0, 6), "{report:?}");
    for slot in 0..3 {
        assert_eq!(rig.run(rig.client.empty_drive(Slot(slot), &QUIET)).expect("it runs"), Emptied::Removed);
        rig.drives.take_away(usize::from(slot));
    }
    check(&rig, &objects);
}

/// A small chunk has fewer shards than its code, and where there is a table for just so many, that one counts: for the writer as
/// for everybody else. (The writer once asked by the bucket's code, and such chunks were "on their way home" for ever.)
#[test]
fn a_short_chunk_is_put_where_it_is_looked_for() {
    let rig = Rig::with_spares(6, 1, code(2, 2));
    let wide = code(3, 2);
    let next =
        rig.client.layout().changed(&[Change::Add(rig.drives.as_new(6))], &[wide.n()]).expect("possible");
    let widths: Vec<u8> = next.tables.iter().map(Table::shards).collect();
    assert!(widths.contains(&4) && widths.contains(&5), "{widths:?}");
    rig.run(rig.client.install_layout(&next)).expect("nobody else changes it");
    rig.run(rig.client.command(Command::SetCode { name: "b".into(), code: Some(wide) }))
        .expect("there is one");
    let before: u64 = rig.drives.shards().iter().sum();
    let mut objects = vec![];
    for number in 0..20 {
        // One by one: each is a pack of its own, of a page or two.
        let (key, bytes) = (format!("k{number}"), noise(5_000, number));
        rig.put(&key, &bytes).expect("stored");
        objects.push((key, bytes));
    }
    let written = rig.drives.shards().iter().sum::<u64>() - before;
    assert_eq!(written, 20 * 4, "two data shards and both parities each: else this shows nothing");
    assert!(rig.client.older_layouts().len() == 1, "the census looks at everything, moved or not");
    let found = rig.run(rig.client.census_pass(&QUIET)).expect("it runs");
    assert_eq!((found.moved_shards, found.mended, found.waiting), (0, 0, 0), "{found:?}");
    check(&rig, &objects);
}
