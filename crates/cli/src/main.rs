//! The `pangea` binary: one program, subcommands for serving and for operating.
//!
//! Owns exit codes and where things are printed: what was asked for on standard output, everything else on standard error,
//! an error as one line of what and one of what to do.

mod announce;
mod args;
mod cluster;
mod config;
mod dev;
mod doctor;
mod drive;
mod key;
mod keys;
mod layout;
mod meta;
mod operate;
mod prompt;
mod recode;
mod recover;
mod s3;
mod serve;
mod shell;
mod status;
#[cfg(test)]
mod tests;
mod worker;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use pangea_node::StartError;
use pangea_node::control::ControlError;

use crate::args::{Args, Command};

/// Buffers of shards and chunks are above the size from which the system's allocator asks the kernel for fresh pages every
/// time; their faults took half of a GET's CPU time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What ends a command early.
pub(crate) struct Failure {
    what: String,
    advice: String,
    code: u8,
    /// Whether a program reads it.
    json: bool,
}

impl Failure {
    /// A failure with its exit code; see the table in the help.
    pub(crate) fn new(what: impl Into<String>, advice: impl Into<String>, code: u8) -> Self {
        Self { what: what.into(), advice: advice.into(), code, json: false }
    }

    /// The same, for a program if `json`.
    pub(crate) fn in_json_if(self, json: bool) -> Self {
        Self { json, ..self }
    }

    /// What goes to standard error, without the line's end.
    pub(crate) fn shown(&self, json: bool) -> String {
        let Self { what, advice, code, .. } = self;
        if json {
            return serde_json::json!({ "error": what, "help": advice, "code": code }).to_string();
        }
        format!("error: {what}\n  help: {advice}")
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::new(error.to_string(), error.advice(), error.exit_code())
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let (advice, code) = match &error {
            ControlError::Unreachable { .. } => {
                ("start a server with `pangea server DIR...`, or name its admin address with --admin URL", 7)
            }
            ControlError::Unauthorized { .. } => {
                ("run this as the server's user, or set PANGEA_ADMIN_TOKEN to its token", 8)
            }
            ControlError::Refused { .. } => ("change the request; nothing was done", 1),
            ControlError::Failed { .. } => ("look at the server's log; asking again is safe", 1),
        };
        Self::new(error.to_string(), advice, code)
    }
}

/// Prints what was asked for. A reader that is gone (a closed pipe) is no error.
pub(crate) fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

fn main() -> ExitCode {
    let matches = Args::command().get_matches();
    let mut args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if let (Command::S3(verb), Some((_, words))) = (&mut args.command, matches.subcommand()) {
        verb.remember_order(words);
    }
    let ended = match args.command {
        Command::Server(args) => serve::run(&args),
        Command::Status(args) => operate::status(&args),
        Command::Scrub(args) => operate::scrub(&args),
        Command::Drive(args) => drive::run(&args),
        Command::Layout(args) => layout::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::Node(args) => cluster::node(&args),
        Command::DevCluster(args) => dev::run(&args),
        Command::Recode(args) => recode::run(&args),
        Command::Worker(args) => worker::run(&args),
        Command::Recover(args) => recover::run(&args),
        Command::Meta(args) => meta::run(&args),
        Command::Key(args) => key::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Keys(args) => keys::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::S3(verb) => s3::run(&verb),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
    };
    match ended {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{}", failure.shown(failure.json));
            ExitCode::from(failure.code)
        }
    }
}
