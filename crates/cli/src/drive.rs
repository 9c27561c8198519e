//! `pangea drive`: drives that come, leave and take each other's place.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use pangea_node::control::{Control as _, LayoutPlan, LayoutWish, WishedChange};
use pangea_node::remote::wait;

use crate::args::{AdminArgs, ChangeArgs, DriveArgs, DriveCommand};
use crate::layout::{absolute, send, text};
use crate::operate::{json, remote};
use crate::status::{bytes, duration};
use crate::{Failure, print};

/// How often a waiting command asks.
const POLL: Duration = Duration::from_millis(500);

pub(crate) fn run(args: &DriveArgs) -> Result<ExitCode, Failure> {
    match &args.command {
        DriveCommand::List { admin, json } => list(admin, *json),
        DriveCommand::Add { dirs, change } => {
            let add = |dir| Ok(WishedChange::Add { dir: absolute(dir)? });
            let changes = dirs.iter().map(|dir| add(dir)).collect::<Result<_, Failure>>()?;
            apply(changes, change).and_then(|plan| show(&plan, change))
        }
        DriveCommand::Restore { drive, change } => {
            apply(vec![WishedChange::Restore { drive: drive.clone() }], change)
                .and_then(|plan| show(&plan, change))
        }
        DriveCommand::Drain { drive, no_wait, change } => {
            let plan = apply(vec![WishedChange::Drain { drive: drive.clone() }], change)?;
            leave(&plan, *no_wait, change)
        }
        DriveCommand::Replace { old, new, no_wait, change } => {
            let dir = absolute(new)?;
            let plan = apply(vec![WishedChange::Replace { drive: old.clone(), dir }], change)?;
            leave(&plan, *no_wait, change)
        }
    }
}

/// All drives with their figures.
pub(crate) fn list(admin: &AdminArgs, as_json: bool) -> Result<ExitCode, Failure> {
    let status = wait(remote(admin)?.status())?;
    if as_json {
        print(&json(&serde_json::json!({
            "layout": status.layout, "survives_drives": status.survives_drives, "drives": status.drives
        }))?);
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!(
        "Layout    epoch {}, code {}\nSurvives  {}\n\n{}",
        status.layout.epoch,
        status.layout.code,
        status.survives,
        crate::status::drives(&status)
    ));
    Ok(ExitCode::SUCCESS)
}

fn apply(changes: Vec<WishedChange>, change: &ChangeArgs) -> Result<LayoutPlan, Failure> {
    send(LayoutWish { changes, apply: true, force: change.force, epoch: None }, change)
}

fn show(plan: &LayoutPlan, change: &ChangeArgs) -> Result<ExitCode, Failure> {
    print(&if change.json { json(plan)? } else { text(plan) });
    Ok(ExitCode::SUCCESS)
}

/// Shows the plan, then waits until the drives that leave are gone.
fn leave(plan: &LayoutPlan, no_wait: bool, change: &ChangeArgs) -> Result<ExitCode, Failure> {
    show(plan, change)?;
    let leaving: Vec<(u16, &str)> = plan
        .drives
        .iter()
        .filter(|drive| drive.what == "drains")
        .map(|drive| (drive.slot, drive.dir.as_str()))
        .collect();
    if no_wait {
        return Ok(ExitCode::SUCCESS);
    }
    let remote = remote(&change.admin)?;
    let shows = std::io::stderr().is_terminal();
    loop {
        let status = wait(remote.status())?;
        if status.drives.iter().all(|drive| leaving.iter().all(|(slot, _)| *slot != drive.slot)) {
            break;
        }
        let again = leaving
            .iter()
            .find(|(slot, _)| status.drives.iter().any(|drive| drive.slot == *slot && drive.state == "ok"));
        if let Some((_, dir)) = again {
            let what = format!("{dir} is not being drained any more: somebody restored it");
            return Err(Failure::new(what, "look at `pangea layout show`", 1).in_json_if(change.json));
        }
        if let Some(worker) = status.workers.iter().find(|worker| worker.name == "rebalance" && shows) {
            let left =
                worker.left_seconds.map(|left| format!(", {} left", duration(left))).unwrap_or_default();
            let total = worker.total.map(|total| format!(" of {}", bytes(total))).unwrap_or_default();
            // Progress is a courtesy.
            let _ = write!(std::io::stderr(), "\r{}{total} moved{left}        ", bytes(worker.done));
        }
        thread::sleep(POLL);
    }
    if shows {
        // As above.
        let _ = writeln!(std::io::stderr());
    }
    if !change.json {
        let lines =
            leaving.iter().map(|(_, dir)| format!("{dir}: nothing lies there any more; safe to remove\n"));
        print(&lines.collect::<String>());
    }
    Ok(ExitCode::SUCCESS)
}
