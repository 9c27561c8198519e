//! `pangea status` and `pangea scrub`: questions to a running server.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use pangea_node::config::Secret;
use pangea_node::control::{Control as _, PassReport};
use pangea_node::remote::{Remote, wait};

use crate::args::{AdminArgs, ScrubArgs, StatusArgs};
use crate::{Failure, print, status as render};

/// How often a waiting command asks; it becomes slower as a scrub takes longer.
const POLL_MIN: Duration = Duration::from_millis(50);
const POLL_MAX: Duration = Duration::from_secs(1);

/// The server that the arguments name.
pub(crate) fn remote(args: &AdminArgs) -> Result<Remote, Failure> {
    let token = std::env::var("PANGEA_ADMIN_TOKEN").ok().filter(|token| !token.is_empty()).map(Secret::new);
    Ok(Remote::new(&args.admin, token)?)
}

pub(crate) fn status(args: &StatusArgs) -> Result<ExitCode, Failure> {
    let status = wait(remote(&args.admin)?.status())?;
    if args.json {
        print(&json(&status)?);
    } else {
        print(&render::text(&status));
    }
    Ok(ExitCode::SUCCESS)
}

/// A value as indented JSON with a line end.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n").map_err(|error| Failure::new(error.to_string(), "please report this", 1))
}

pub(crate) fn scrub(args: &ScrubArgs) -> Result<ExitCode, Failure> {
    let remote = remote(&args.admin)?;
    if !args.now {
        let status = wait(remote.status())?;
        let worker = status.workers.iter().find(|worker| worker.name == "scrub");
        print(&worker.map_or("the server has no scrub\n".to_owned(), render::worker));
        return Ok(ExitCode::SUCCESS);
    }
    let pass = wait(remote.scrub())?.pass;
    if !args.wait {
        print(&format!("scrub {pass} begins; `pangea status` shows how far it is\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let report = follow(&remote, pass)?;
    match (report.error, report.report) {
        (Some(error), _) => {
            Err(Failure::new(format!("scrub {pass} failed: {error}"), "look at the server's log", 1))
        }
        (None, report) => {
            print(&format!("scrub {pass}: {}\n", report.unwrap_or("nothing to report".into())));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn follow(remote: &Remote, pass: u64) -> Result<PassReport, Failure> {
    let shows = std::io::stderr().is_terminal();
    let mut pause = POLL_MIN;
    loop {
        let report = wait(remote.pass(pass))?;
        if shows {
            let total = report.total.map_or(String::new(), |total| format!(" of {total}"));
            let end = if report.finished { "\n" } else { "" };
            // Progress is a courtesy.
            let _ = write!(std::io::stderr(), "\rscrub {pass}: {}{total} blobs{end}", report.done);
        }
        if report.finished {
            return Ok(report);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(POLL_MAX);
    }
}
