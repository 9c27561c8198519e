//! Which directory becomes which drive, first as pure decisions, then with real directories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use pangea_core::chunk::Code;
use pangea_core::id::{ClusterId, DriveId, NodeId};
use pangea_core::layout::{Domain, Layout, Slot};
use pangea_store::drive::OpenError;
use pangea_store::format::superblock::Identity;

use super::{Action, DriveError, Found, Plan, look, next_layout, plan};
use crate::scratch::Scratch;

const CLUSTER: ClusterId = ClusterId([7; 16]);

fn drive(n: u8) -> DriveId {
    DriveId([n; 16])
}

fn identity(n: u8, slot: u16) -> Identity {
    Identity { cluster: CLUSTER, drive: drive(n), slot }
}

fn formatted(n: u8, slot: u16) -> Found {
    Found::Formatted(identity(n, slot))
}

/// Fresh ids count up from 0xf0, so that they can be told from those of the layout.
fn decide(layout: Option<&Layout>, found: &[(&str, Found)]) -> Result<Plan, DriveError> {
    let found: Vec<(&Path, &Found)> = found.iter().map(|(path, found)| (Path::new(*path), found)).collect();
    let mut next = 0xef;
    let codes: Vec<Code> = layout.map(|layout| layout.code).into_iter().collect();
    plan(CLUSTER, NodeId([1; 32]), layout, &codes, &found, &mut || {
        next += 1;
        drive(next)
    })
}

fn layout_of(plan: &Plan, paths: &[&str], layout: Option<&Layout>, code: Option<Code>) -> Layout {
    let found: Vec<(&Path, u32)> = paths.iter().map(|path| (Path::new(*path), 10)).collect();
    let stands = (NodeId([1; 32]), &Domain { host: NodeId([1; 32]).to_string(), ..Domain::default() });
    next_layout(layout, plan, &found, stands, code)
}

/// Three drives, 1, 2 and 3, at /a, /b and /c.
fn three() -> Layout {
    let found = [("/a", formatted(1, 0)), ("/b", formatted(2, 1)), ("/c", formatted(3, 2))];
    layout_of(&decide(None, &found).expect("a plan"), &["/a", "/b", "/c"], None, None)
}

fn check(layout: Option<&Layout>, found: &[(&str, Found)], expected: Expect) {
    expected.assert_eq(&match decide(layout, found) {
        Ok(plan) => describe(&plan, found),
        Err(error) => format!("{error}\n{}", error.advice()),
    });
}

fn describe(plan: &Plan, found: &[(&str, Found)]) -> String {
    let name = |id: DriveId| format!("{:02x}", id.0[0]);
    let mut lines = BTreeMap::new();
    for seat in &plan.seats {
        let (verb, id) = match seat.action {
            Action::Open(id) => ("open", id.drive),
            Action::Adopt(id) => ("adopt", id.drive),
            Action::Format(id) => ("format", id.drive),
        };
        let replaces = seat.replaces.map_or(String::new(), |old| format!(" for {}", name(old)));
        lines.insert(seat.slot().0, format!("{} {verb} {}{replaces}", found[seat.directory].0, name(id)));
    }
    for absent in &plan.absent {
        lines.insert(absent.slot.0, format!("absent {}: {}", name(absent.drive), absent.why));
    }
    lines.iter().map(|(slot, line)| format!("{slot}: {line}")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_first_start_takes_every_directory_and_goes_on_where_it_was_cut_short() {
    check(
        None,
        &[("/a", Found::Empty), ("/b", Found::NoDirectory)],
        expect![[r#"
        0: /a format f0
        1: /b format f1"#]],
    );
    check(
        None,
        &[("/a", Found::Empty), ("/b", formatted(2, 1)), ("/c", formatted(1, 0))],
        expect![[r#"
        0: /c open 01
        1: /b open 02
        2: /a format f0"#]],
    );
}

#[test]
fn a_drive_is_known_by_its_id_wherever_it_hangs() {
    check(
        Some(&three()),
        &[("/x", formatted(3, 2)), ("/b", formatted(1, 0)), ("/a", formatted(2, 1))],
        expect![[r#"
        0: /b open 01
        1: /a open 02
        2: /x open 03"#]],
    );
}

#[test]
fn an_emptied_directory_is_refilled_in_its_slot_and_another_empty_one_takes_the_missing_slot() {
    check(
        Some(&three()),
        &[("/a", formatted(1, 0)), ("/b", Found::Empty), ("/c", formatted(3, 2))],
        expect![[r#"
        0: /a open 01
        1: /b format f0 for 02
        2: /c open 03"#]],
    );
    check(
        Some(&three()),
        &[("/a", formatted(1, 0)), ("/new", Found::Empty), ("/c", formatted(3, 2))],
        expect![[r#"
        0: /a open 01
        1: /new format f0 for 02
        2: /c open 03"#]],
    );
}

#[test]
fn a_further_directory_becomes_a_new_slot() {
    let found = [
        ("/a", formatted(1, 0)),
        ("/b", formatted(2, 1)),
        ("/c", formatted(3, 2)),
        ("/d", Found::NoDirectory),
    ];
    check(
        Some(&three()),
        &found,
        expect![[r#"
        0: /a open 01
        1: /b open 02
        2: /c open 03
        3: /d format f0"#]],
    );
}

#[test]
fn a_missing_drive_is_missed_and_its_mount_point_not_made() {
    check(
        Some(&three()),
        &[("/a", formatted(1, 0)), ("/c", formatted(3, 2))],
        expect![[r#"
        0: /a open 01
        1: absent 02: none of the directories that were named holds it
        2: /c open 03"#]],
    );
    let found = [("/a", formatted(1, 0)), ("/b", Found::NoDirectory), ("/c", formatted(3, 2))];
    check(
        Some(&three()),
        &found,
        expect![[r#"
        0: /a open 01
        1: absent 02: its directory does not exist; make it, empty, to have it refilled
        2: /c open 03"#]],
    );
    let denied = Found::Unusable(OpenError::Denied { path: "/b".into() });
    check(
        Some(&three()),
        &[("/a", formatted(1, 0)), ("/b", denied), ("/c", formatted(3, 2))],
        expect![[r#"
        0: /a open 01
        1: absent 02: no permission to read and write in /b
        2: /c open 03"#]],
    );
}

#[test]
fn too_few_drives_are_refused_by_name() {
    check(
        Some(&three()),
        &[("/a", formatted(1, 0))],
        expect![[r#"
        too few drives: some data has 1 of the 2 shards it needs; missing: slot 1 (/b): none of the directories that were named holds it; slot 2 (/c): none of the directories that were named holds it
        name all directories of the cluster and check that their drives are mounted"#]],
    );
    check(
        Some(&three()),
        &[("/a", formatted(1, 0)), ("/b", Found::Empty), ("/c", Found::Empty)],
        expect![[r#"
        too few drives: some data has 1 of the 2 shards it needs; missing: slot 1 (/b): it is empty; slot 2 (/c): it is empty
        name all directories of the cluster and check that their drives are mounted"#]],
    );
}

#[test]
fn wrong_drives_are_named_with_both_sides() {
    let stranger = Found::Formatted(Identity { cluster: ClusterId([8; 16]), ..identity(2, 1) });
    check(
        Some(&three()),
        &[("/a", formatted(1, 0)), ("/b", stranger), ("/c", formatted(3, 2))],
        expect![[r#"
        wrong drive: /b belongs to cluster 08080808080808080808080808080808, the others to 07070707070707070707070707070707
        name only drives of one cluster"#]],
    );
    check(
        Some(&three()),
        &[("/a", formatted(1, 0)), ("/b", formatted(9, 1)), ("/c", formatted(3, 2))],
        expect![[r#"
        wrong drive: /b is drive 09090909090909090909090909090909, made for slot 1, which is now held by drive 02020202020202020202020202020202 (/b)
        it was replaced: leave it out, or empty the directory to use it anew"#]],
    );
    check(
        Some(&three()),
        &[("/a", formatted(1, 0)), ("/copy", formatted(1, 0)), ("/c", formatted(3, 2))],
        expect![[r#"
        wrong drive: /a and /copy are both drive 01010101010101010101010101010101
        leave the copy out"#]],
    );
}

#[test]
fn a_damaged_drive_keeps_its_records_when_they_say_whose_it_is_or_when_nothing_else_has_them() {
    let named = Found::Damaged(Some(identity(2, 1)));
    check(
        Some(&three()),
        &[("/a", formatted(1, 0)), ("/b", named), ("/c", formatted(3, 2))],
        expect![[r#"
        0: /a open 01
        1: /b adopt 02
        2: /c open 03"#]],
    );
    let found = [("/a", formatted(1, 0)), ("/b", Found::Damaged(None)), ("/c", formatted(3, 2))];
    check(
        Some(&three()),
        &found,
        expect![[r#"
        0: /a open 01
        1: /b format f0 for 02
        2: /c open 03"#]],
    );
    let one = layout_of(&decide(None, &[("/a", formatted(1, 0))]).expect("a plan"), &["/a"], None, None);
    check(Some(&one), &[("/a", Found::Damaged(None))], expect!["0: /a adopt 01"]);
    check(Some(&one), &[("/a", Found::Leftover)], expect!["0: /a format 01"]);
}

#[test]
fn the_layout_changes_its_epoch_only_when_something_changed() {
    let three = three();
    assert_eq!((three.epoch, three.code), (1, Code::default_for(3)));
    let same = [("/a", formatted(1, 0)), ("/b", formatted(2, 1)), ("/c", formatted(3, 2))];
    let plan = decide(Some(&three), &same).expect("a plan");
    assert_eq!(layout_of(&plan, &["/a", "/b", "/c"], Some(&three), None), three);
    // A code that is asked for again changes nothing; another one does.
    assert_eq!(layout_of(&plan, &["/a", "/b", "/c"], Some(&three), Code::new(2, 1)).epoch, 1);
    let other = layout_of(&plan, &["/a", "/b", "/c"], Some(&three), Code::new(1, 2));
    assert_eq!((other.epoch, other.code), (2, Code::new(1, 2).expect("valid")));
    // A chosen code stays when drives come; the default follows their number.
    let grown =
        [("/a", formatted(1, 0)), ("/b", formatted(2, 1)), ("/c", formatted(3, 2)), ("/d", Found::Empty)];
    let paths = ["/a", "/b", "/c", "/d"];
    let plan = decide(Some(&three), &grown).expect("a plan");
    assert_eq!(layout_of(&plan, &paths, Some(&three), None).code, Code::default_for(4));
    assert_eq!(layout_of(&plan, &paths, Some(&other), None).code, other.code);
    // A replaced drive keeps slot and weight.
    let emptied = [("/a", formatted(1, 0)), ("/b", Found::Empty), ("/c", formatted(3, 2))];
    let plan = decide(Some(&three), &emptied).expect("a plan");
    let next = layout_of(&plan, &["/a", "/b", "/c"], Some(&three), None);
    assert_eq!((next.epoch, next.drive(Slot(1)).map(|d| d.drive)), (2, Some(drive(0xf0))));
}

#[test]
fn directories_are_looked_into_locked_and_made() {
    let scratch = Scratch::new("drives");
    let path = |name: &str| scratch.path().join(name);
    std::fs::create_dir(path("empty")).expect("made");
    std::fs::create_dir(path("theirs")).expect("made");
    std::fs::write(path("theirs").join("diary.txt"), "dear").expect("written");
    std::fs::write(path("file"), "").expect("written");
    let one = |name: &str| look(&[path(name)]).map(|mut all| all.remove(0));
    assert!(matches!(one("theirs"), Err(DriveError::Foreign { names, .. }) if names == ["diary.txt"]));
    assert!(matches!(one("file"), Err(DriveError::NotADirectory { .. })));
    let mut orphan = one("no/where").expect("looked");
    assert!(matches!(orphan.ensure(), Err(DriveError::NoParent { .. })));
    let held = one("empty").expect("looked");
    assert_eq!(held.found, Found::Empty);
    assert!(matches!(one("empty"), Err(DriveError::InUse { .. })));
    drop(held);
    let mut made = one("new").expect("looked");
    let settled = made.settle(&Action::Format(identity(1, 0)), 0).expect("formatted");
    assert_eq!((settled, &made.found), (None, &formatted(1, 0)));
    drop(made);
    assert_eq!(one("new").expect("looked").found, formatted(1, 0));
}

#[test]
fn what_is_in_the_way_of_a_new_drive_is_moved_aside() {
    let scratch = Scratch::new("drives-aside");
    let root: PathBuf = scratch.path().join("d");
    std::fs::create_dir_all(root.join("extents")).expect("made");
    std::fs::create_dir(root.join("meta")).expect("made");
    std::fs::write(root.join("extents/00000001"), "rubbish").expect("written");
    std::fs::write(root.join("superblock"), "rubbish").expect("written");
    std::fs::write(root.join("keys"), "rubbish").expect("written");
    let mut directory = look(std::slice::from_ref(&root)).expect("looked").remove(0);
    assert_eq!(directory.found, Found::Damaged(None));
    let moved = directory.settle(&Action::Format(identity(1, 0)), 5_000).expect("formatted").expect("moved");
    assert_eq!(moved, root.join("damaged-5"));
    for name in ["superblock", "extents/00000001"] {
        assert_eq!(std::fs::read(moved.join(name)).expect("kept"), b"rubbish", "{name}");
    }
    assert!(root.join("meta").exists() && root.join("keys").exists() && root.join("superblock").exists());
}
