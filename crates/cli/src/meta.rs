//! `pangea meta`: a backup of the metadata through a running server, and the way back without one.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use pangea_node::backup::{BackupError, Restored, Wanted, fetch, restore};
use pangea_node::control::MetaBackup;
use pangea_node::remote::{Remote, wait};

use crate::args::{MetaArgs, MetaCommand};
use crate::keys::unseal;
use crate::operate::{json, remote};
use crate::recover::{INCOMPLETE, depth, progress, text};
use crate::{Failure, print};

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Control(error) => error.into(),
            error => Self::new(error.to_string(), error.advice(), error.exit_code()),
        }
    }
}

pub(crate) fn run(args: &MetaArgs) -> Result<ExitCode, Failure> {
    match &args.command {
        MetaCommand::Backup { admin, file } => {
            let backup = back_up(&remote(admin)?, file)?;
            print(&format!(
                "{}: metadata up to request {} (generation {}), {} rows, {} bytes\n  sealed by the master key: keep a \
                 `pangea keys backup` with it, apart from the drives\n",
                file.display(),
                backup.seq,
                backup.generation,
                backup.rows,
                backup.bytes
            ));
            Ok(ExitCode::SUCCESS)
        }
        MetaCommand::Restore { file, drives, key_file, force, compare } => {
            let wanted = Wanted {
                file: file.clone(),
                directories: drives.clone(),
                unseal: unseal(key_file.as_deref())?,
                force: *force,
                depth: depth(compare),
            };
            let restored = restore(&wanted, &mut progress())?;
            if compare.json {
                print(&json(&restored)?);
            } else {
                print(&words(&restored));
            }
            let complete = restored.report.is_complete();
            Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) })
        }
    }
}

fn words(restored: &Restored) -> String {
    let mut out = format!(
        "metadata up to request {} (generation {}) restored to {} drives",
        restored.seq, restored.generation, restored.copies
    );
    out += &match restored.requests_given_up {
        0 => "\n".to_owned(),
        lost => format!("; {lost} later requests are given up\n"),
    };
    for path in &restored.moved {
        out += &format!("  what was there is in {}\n", path.display());
    }
    out += "  shards that the metadata does not know stay until `pangea worker resume orphans`\n";
    out + &text(&restored.report)
}

fn back_up(remote: &Remote, file: &Path) -> Result<MetaBackup, BackupError> {
    let shows = std::io::stderr().is_terminal();
    let mut tell = |done: u64, all: u64| {
        if shows {
            let end = if done == all { "\n" } else { "" };
            // Progress is a courtesy.
            let _ = write!(std::io::stderr(), "\rbackup: {done} of {all} bytes{end}");
        }
    };
    wait(fetch(remote, file, &mut tell))
}
