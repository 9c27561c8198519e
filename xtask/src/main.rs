//! xtask: the project's own commands. `cargo xtask help` lists them.
//!
//! | room | owns |
//! |---|---|
//! | `steps` | running a command under a name and a time limit, and the tally at the end |
//! | `project` | where the project is, its files, and what `cargo metadata` says about its crates |
//! | `check` | the one command before a commit |
//! | `tidy` | the agreements, as tests over text |
//! | `deny` | which licences, crates and sources may come in |
//! | `setup` | what the tests need from the machine: Debian packages, Python venvs, Node.js packages |
//! | `proof` | `test`, `clients`, `s3-tests`, `sim` and `soak`: everything that runs the product |
//! | `fuzz` | the fuzz targets below `fuzz/` |
//!
//! Only std, anyhow and serde_json: these commands must be there seconds after a clone.

mod check;
mod deny;
mod fuzz;
mod project;
mod proof;
mod setup;
mod steps;
mod tidy;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask COMMAND

  check [--no-test]          fmt, tidy, deny, clippy, then the fast tests (CI leaves those to `test`)
  tidy                       the project's agreements, tested over its text
  tidy --update              accept shrunken ratchets, and format sources whose docs/formats.md changed with them
  tidy --update --same-bytes also accept changed format sources while docs/formats.md stands: you state that not one
                             byte on disk or wire changed
  deny                       licences, banned crates and sources of all dependencies
  test [--fast]              every test, with what it needs installed; --fast: without real clients, fewer seeds
  clients [NAME ...]         only the tests with real clients, or the named ones (kill, heal, ...)
  s3-tests --suite DIR [--record]
                             a checkout of ceph/s3-tests against a server; compares with tests/s3/results.txt, or writes it
  sim --seeds N [--seed S] [--soak]
                             the simulator (release build); arguments are handed on
  soak model                 the verbs against a model bucket, more than a million requests (release build)
  soak crash                 a drive's store after more than a million power cuts, twice cut ones among them (release build)
  soak kills                 a server killed 240 times under load, on one, four and six drives
  soak power                 a server started on 800 states that power cuts left below real file systems (root, FUSE)
  soak postgres              a million random commands through PostgreSQL and SQLite side by side (release build)
  soak room                  sixteen objects of a GiB written and read at once in 256 MiB
  fuzz [--seconds N] [TARGET ...]
                             fuzzes the named targets, or all, N (60) seconds each; needs the nightly toolchain
  fuzz --list                names the fuzz targets
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs one command; `false` when it ran and found something wrong.
fn run(args: &[String]) -> Result<bool> {
    let (command, rest) = match args.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", args),
    };
    match command {
        "check" => check::run(flags(rest, &["--no-test"])?.contains(&"--no-test")),
        "tidy" => {
            let given = flags(rest, &["--update", "--same-bytes"])?;
            let (update, same_bytes) = (given.contains(&"--update"), given.contains(&"--same-bytes"));
            if same_bytes && !update {
                bail!("--same-bytes only means something with --update");
            }
            if update { tidy::update(same_bytes) } else { tidy::run() }
        }
        "deny" => flags(rest, &[]).and_then(|_| deny::run()),
        "test" => proof::test(flags(rest, &["--fast"])?.contains(&"--fast")),
        "clients" => proof::clients(rest),
        "s3-tests" => proof::s3_tests(rest),
        "sim" => proof::sim(rest),
        "soak" => proof::soak(rest),
        "fuzz" => fuzz::run(rest),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(true)
        }
        other => bail!("no command {other:?}\n\n{HELP}"),
    }
}

/// The given flags, all of which must be known.
fn flags<'a>(given: &'a [String], known: &[&str]) -> Result<Vec<&'a str>> {
    match given.iter().find(|flag| !known.contains(&flag.as_str())) {
        Some(unknown) => bail!("unknown argument {unknown:?}; known here: {known:?}"),
        None => Ok(given.iter().map(String::as_str).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_command_or_flag_is_refused() {
        for line in
            ["chekc", "check --notest", "tidy --same-bytes", "test --slow", "deny now", "soak", "soak moddel"]
        {
            let args: Vec<String> = line.split(' ').map(String::from).collect();
            assert!(run(&args).is_err(), "{line:?} was accepted");
        }
    }
}
