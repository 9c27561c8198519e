//! Asking for a secret: a variable, the terminal without echo, or a line of standard input.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use pangea_node::config::Secret;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::Failure;

/// The secret in `variable`; without one it is asked for, twice if it is to be `new`.
pub(crate) fn secret(variable: &str, what: &str, new: bool) -> Result<Secret, Failure> {
    if let Ok(text) = std::env::var(variable)
        && !text.is_empty()
    {
        return Ok(Secret::new(text));
    }
    let advice = || format!("set {variable}, or run this on a terminal");
    let failed = |error: io::Error| Failure::new(format!("{what} could not be read: {error}"), advice(), 1);
    let first = ask(what).map_err(failed)?;
    if first.expose().is_empty() {
        return Err(Failure::new(format!("no {what} was given"), advice(), 1));
    }
    if new && io::stdin().is_terminal() && ask(&format!("{what} again")).map_err(failed)? != first {
        return Err(Failure::new("the two are not the same", "try again", 1));
    }
    Ok(first)
}

fn ask(what: &str) -> io::Result<Secret> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return read_line();
    }
    eprint!("{what}: ");
    io::stderr().flush()?;
    let before = tcgetattr(&stdin)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
    let line = read_line();
    tcsetattr(&stdin, OptionalActions::Flush, &before)?;
    eprintln!();
    line
}

fn read_line() -> io::Result<Secret> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n'])))
}
