//! `pangea layout`: which drives hold the data, what a change of that would do, and the change.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use pangea_node::control::{Control as _, LayoutPlan, LayoutWish, Survived, WishedChange};
use pangea_node::remote::wait;

use crate::args::{ChangeArgs, LayoutArgs, LayoutCommand, WishArgs};
use crate::operate::{json, remote};
use crate::status::{bytes, duration};
use crate::{Failure, print};

pub(crate) fn run(args: &LayoutArgs) -> Result<ExitCode, Failure> {
    match &args.command {
        LayoutCommand::Show { admin, json } => crate::drive::list(admin, *json),
        LayoutCommand::Plan { wish, change } => ask(wish, change, false, None),
        LayoutCommand::Apply { wish, change, epoch } => ask(wish, change, true, *epoch),
    }
}

fn ask(wish: &WishArgs, change: &ChangeArgs, apply: bool, epoch: Option<u32>) -> Result<ExitCode, Failure> {
    let changes = changes(wish)?;
    let wish = LayoutWish { changes, apply, force: change.force, epoch };
    let plan = send(wish, change)?;
    print(&if change.json { json(&plan)? } else { text(&plan) });
    Ok(ExitCode::SUCCESS)
}

/// Sends a wish; what the server refuses is told with what to do.
pub(crate) fn send(wish: LayoutWish, change: &ChangeArgs) -> Result<LayoutPlan, Failure> {
    wait(remote(&change.admin)?.change_layout(wish))
        .map_err(|error| Failure::from(error).in_json_if(change.json))
}

fn changes(wish: &WishArgs) -> Result<Vec<WishedChange>, Failure> {
    let mut changes = vec![];
    for text in &wish.replace {
        let (drive, dir) = pair(text, "--replace DRIVE=DIR")?;
        changes.push(WishedChange::Replace { drive: drive.into(), dir: absolute(Path::new(dir))? });
    }
    for dir in &wish.add {
        changes.push(WishedChange::Add { dir: absolute(dir)? });
    }
    changes.extend(wish.drain.iter().map(|drive| WishedChange::Drain { drive: drive.clone() }));
    changes.extend(wish.restore.iter().map(|drive| WishedChange::Restore { drive: drive.clone() }));
    for text in &wish.weight {
        let (drive, gib) = pair(text, "--weight DRIVE=GIB")?;
        let gib =
            gib.parse().map_err(|_| usage(format!("`{gib}` is no number of GiB"), "--weight DRIVE=GIB"))?;
        changes.push(WishedChange::Weight { drive: drive.into(), gib });
    }
    changes.extend(wish.code.iter().map(|code| WishedChange::Code { code: code.clone() }));
    Ok(changes)
}

fn pair<'a>(text: &'a str, form: &str) -> Result<(&'a str, &'a str), Failure> {
    text.rsplit_once('=').ok_or_else(|| usage(format!("`{text}` has no `=`"), form))
}

fn usage(what: String, form: &str) -> Failure {
    Failure::new(what, format!("write {form}"), 2)
}

/// A directory as the server will look for it.
pub(crate) fn absolute(dir: &Path) -> Result<String, Failure> {
    let path = std::path::absolute(dir)
        .map_err(|error| Failure::new(format!("{}: {error}", dir.display()), "name the directory", 2))?;
    Ok(path.display().to_string())
}

/// A plan, for people.
pub(crate) fn text(plan: &LayoutPlan) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("writing to a String cannot fail");
    let next = plan.epoch + 1;
    line(match plan.applied {
        true => format!("Layout {next} is in force; data follows in the background (`pangea status`)"),
        false => format!("Plan from layout {} to {next}; nothing was done yet", plan.epoch),
    });
    line("  slot            partitions          in         out  drive".into());
    for drive in &plan.drives {
        let (before, after) = drive.partitions;
        line(format!(
            "  {:>4}  {:<6}  {before:>6} → {after:<6}  {:>10}  {:>10}  {}",
            drive.slot,
            drive.what,
            bytes(drive.bytes_in),
            bytes(drive.bytes_out),
            drive.dir
        ));
    }
    let time = match plan.seconds {
        Some(seconds) if plan.bytes > 0 => {
            format!(", about {} at the pace of the worker `rebalance`", duration(seconds))
        }
        _ => String::new(),
    };
    line(format!("Moves     about {}{time}", bytes(plan.bytes)));
    let (before, after) = (&plan.code.0, &plan.code.1);
    line(format!(
        "Code      {}",
        if before == after { after.clone() } else { format!("{before} → {after} for new data") }
    ));
    line(format!("Survives  now: {}", survived(&plan.survives.0)));
    line(format!("          then: {}", survived(&plan.survives.1)));
    plan.warnings.iter().for_each(|warning| line(format!("Warning   {warning}")));
    out
}

fn survived(survived: &Survived) -> String {
    let Survived { drives, hosts, racks, sites, writing_drives } = survived;
    let mut text = format!("any {drives} drives (writing: {writing_drives})");
    for (count, name) in [(hosts, "hosts"), (racks, "racks"), (sites, "sites")] {
        if *count > 0 {
            text += &format!(", any {count} {name}");
        }
    }
    text
}
