//! Proof: everything that runs the product. `test` is the README's test command; it must work on a fresh machine.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::project::{cargo, root, target_dir};
use crate::setup;
use crate::steps::{Steps, call};

const MINUTE: Duration = Duration::from_secs(60);
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
const SOAK_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Seeds of the full and of the fast test command.
const SEEDS: &str = "500";
const SEEDS_FAST: &str = "30";

/// A script, its arguments, and how long it may take.
type Client = (&'static str, &'static [&'static str], Duration);

/// The real-client scripts in `tests/clients`.
///
/// They run against the dev build: `cargo test` has compiled nearly all of it, it checks overflow and `debug_assert`,
/// and the crates that move the bytes are optimised in dev too.
const CLIENTS: [Client; 16] = [
    ("golden.py", &[], MINUTE.saturating_mul(5)),
    ("basic_boto3.py", &[], MINUTE.saturating_mul(6)),
    ("basic_awscli.py", &[], MINUTE.saturating_mul(5)),
    ("many_clients.py", &[], MINUTE.saturating_mul(7)),
    ("cli.py", &[], MINUTE.saturating_mul(7)),
    ("race.py", &[], MINUTE.saturating_mul(3)),
    ("kill.py", &["--kills", "12", "--seconds", "280"], MINUTE.saturating_mul(5)),
    ("power.py", &["--states", "48", "--seconds", "600"], MINUTE.saturating_mul(11)),
    ("heal.py", &[], MINUTE.saturating_mul(6)),
    ("bad_start.py", &[], MINUTE.saturating_mul(4)),
    ("stress.py", &[], MINUTE.saturating_mul(4)),
    ("room.py", &[], MINUTE.saturating_mul(4)),
    ("drives.py", &[], MINUTE.saturating_mul(15)),
    ("recover.py", &[], MINUTE.saturating_mul(6)),
    ("postgres.py", &[], MINUTE.saturating_mul(4)),
    ("cluster.py", &[], MINUTE.saturating_mul(11)),
];

/// What lies beside them and is no test.
#[cfg(test)]
const HELPERS: [&str; 7] =
    ["blocks.py", "confine.py", "harness.py", "promises.py", "proxy.py", "raw.py", "recorder.py"];

/// `cargo xtask test`: all of it, or with `fast` what needs nothing installed.
pub fn test(fast: bool) -> Result<bool> {
    let mut steps = Steps::default();
    let ready = if fast { None } else { Some(Ready::make(&mut steps)) };
    let cargo_test = ["test", "--workspace"];
    // These start servers of their own, which must be installed, and take a minute.
    let left_out: &[&str] = if fast { &["--exclude", "pangea-postgres"] } else { &[] };
    steps.run("cargo test", || call(cargo().args(cargo_test).args(left_out), BUILD_LIMIT));
    let seeds = if fast { SEEDS_FAST } else { SEEDS };
    let arguments = ["--seeds", seeds];
    steps.run(&format!("simulator, {seeds} seeds"), || call(cargo().args(SIM).args(arguments), BUILD_LIMIT));
    match ready {
        Some(ready) => run_clients(&mut steps, ready, &CLIENTS)?,
        None => steps.skip("real clients", "--fast: `cargo xtask test` runs them"),
    }
    Ok(steps.finish())
}

const PACKAGES: &str = "install Debian packages";
const VENV: &str = "install Python packages";
const NODE: &str = "install Node.js packages";
const BUILD: &str = "build the pangea binary";

/// What the machine has for the client tests.
struct Ready {
    /// The step that failed, if one did.
    blocked_by: Option<&'static str>,
    /// The interpreter of the venv, when there is one.
    python: Option<PathBuf>,
    /// Where the Node.js packages are, when they are.
    node: Option<PathBuf>,
}

impl Ready {
    /// Installs what is missing.
    fn make(steps: &mut Steps) -> Self {
        let mut ready = Self { blocked_by: None, python: None, node: None };
        if !steps.run(PACKAGES, setup::debian_packages) {
            ready.blocked_by = Some(PACKAGES);
        }
        let venv = steps.run(VENV, || {
            for venv in setup::CLIENT_VENVS.into_iter().rev() {
                ready.python = Some(setup::python(venv)?);
            }
            Ok(())
        });
        let node = steps.run(NODE, || {
            ready.node = Some(setup::node()?);
            Ok(())
        });
        if !node {
            ready.blocked_by = Some(NODE);
        }
        if !venv {
            ready.blocked_by = Some(VENV);
        }
        ready
    }
}

/// `cargo xtask clients`: what the client tests need, then the named scripts, or all.
pub fn clients(names: &[String]) -> Result<bool> {
    let mut chosen = Vec::new();
    for name in names {
        let found = CLIENTS
            .into_iter()
            .find(|client| client.0.trim_end_matches(".py") == name.trim_end_matches(".py"));
        chosen.push(found.with_context(|| format!("there is no client test {name:?} in tests/clients"))?);
    }
    let mut steps = Steps::default();
    let ready = Ready::make(&mut steps);
    run_clients(&mut steps, ready, if chosen.is_empty() { &CLIENTS } else { &chosen })?;
    Ok(steps.finish())
}

/// Builds the binary and runs client scripts against it.
fn run_clients(steps: &mut Steps, mut ready: Ready, clients: &[Client]) -> Result<()> {
    if !steps.run(BUILD, || call(cargo().args(["build", "-p", "pangea-cli"]), BUILD_LIMIT)) {
        ready.blocked_by = Some(BUILD);
    }
    let binary = target_dir()?.join("debug/pangea");
    for &(script, args, limit) in clients {
        match (ready.blocked_by, &ready.python) {
            (None, Some(python)) => {
                let mut command = Command::new(python);
                command.current_dir(root()).arg(format!("tests/clients/{script}")).args(args);
                command
                    .env("PANGEA_BIN", &binary)
                    .env("PYTHONDONTWRITEBYTECODE", "1")
                    .env("PYTHONUNBUFFERED", "1");
                if let Some(node) = &ready.node {
                    command.env("PANGEA_TEST_NODE", node);
                }
                steps.run(script, || call(&mut command, limit));
            }
            (by, _) => steps.blocked(script, by.unwrap_or(VENV)),
        }
    }
    Ok(())
}

/// `cargo xtask s3-tests --suite DIR [--record]`: a checkout of ceph/s3-tests against a server of its own. The last line on
/// stdout is the suite's own tally, so no tally of steps follows it.
pub fn s3_tests(arguments: &[String]) -> Result<bool> {
    let mut steps = Steps::default();
    let mut python = None;
    let ready = steps.run(VENV, || {
        python = Some(setup::python(setup::SUITE_VENV)?);
        Ok(())
    }) && steps.run(BUILD, || call(cargo().args(["build", "-p", "pangea-cli"]), BUILD_LIMIT));
    let Some(python) = python.filter(|_| ready) else {
        steps.blocked("ceph/s3-tests", VENV);
        return Ok(steps.finish());
    };
    // It runs where we were called: the suite may be named from there.
    let mut command = Command::new(python);
    command.arg(root().join("tests/s3/run.py")).args(arguments);
    command.env("PANGEA_BIN", target_dir()?.join("debug/pangea")).env("PYTHONDONTWRITEBYTECODE", "1");
    call(&mut command, BUILD_LIMIT).context("ceph/s3-tests")?;
    Ok(true)
}

const SIM: [&str; 8] = ["run", "--release", "--quiet", "-p", "pangea-sim", "--bin", "pangea-sim", "--"];

/// `cargo xtask sim`: the simulator in release, with the arguments handed on.
pub fn sim(args: &[String]) -> Result<bool> {
    call(cargo().args(SIM).args(args), SOAK_LIMIT)?;
    Ok(true)
}

/// The long form of `room.py`: 16 GiB on one drive, and as much time as a slow one needs.
const ROOM_SOAK: Client =
    ("room.py", &["--object-mib", "1024", "--drives", "1", "--seconds", "3600"], MINUTE.saturating_mul(61));
/// The long form of `kill.py`: at least 200 kills, however they fall on the shapes.
const KILLS_SOAK: Client = ("kill.py", &["--kills", "240", "--seconds", "3600"], MINUTE.saturating_mul(61));
/// The long form of `power.py`.
const POWER_SOAK: Client = (
    "power.py",
    &["--states", "800", "--load-seconds", "10", "--seconds", "7200"],
    MINUTE.saturating_mul(121),
);

/// `cargo xtask soak WHAT`: the long run of a test that is short elsewhere.
pub fn soak(args: &[String]) -> Result<bool> {
    match args {
        [what] if what == "model" => {
            let test = ["test", "--release", "-p", "pangea-gateway", "--test", "door", "--"];
            let long = ["--ignored", "--nocapture", "a_million_steps"];
            call(cargo().args(test).args(long), SOAK_LIMIT)?;
            Ok(true)
        }
        [what] if what == "crash" => {
            let test = ["test", "--release", "-p", "pangea-store", "--lib", "--"];
            let long = ["--ignored", "--nocapture", "a_million_crash_states"];
            call(cargo().args(test).args(long), SOAK_LIMIT)?;
            Ok(true)
        }
        [what] if what == "postgres" => {
            call(
                cargo().args(["run", "--release", "-p", "pangea-postgres", "--example", "soak"]),
                SOAK_LIMIT,
            )?;
            Ok(true)
        }
        [what] if what == "room" => soak_client(ROOM_SOAK),
        [what] if what == "kills" => soak_client(KILLS_SOAK),
        [what] if what == "power" => soak_client(POWER_SOAK),
        other => {
            bail!("nothing to soak called {other:?}; there are: model, crash, kills, postgres, power, room")
        }
    }
}

fn soak_client(client: Client) -> Result<bool> {
    let mut steps = Steps::default();
    let ready = Ready::make(&mut steps);
    run_clients(&mut steps, ready, &[client])?;
    Ok(steps.finish())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_client_script_is_there_and_every_one_there_is_run() {
        let dir = root().join("tests/clients");
        let mut there: Vec<String> = fs::read_dir(&dir)
            .expect("the scripts are committed")
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".py") && !HELPERS.contains(&name.as_str()))
            .collect();
        there.sort();
        let mut run: Vec<&str> = CLIENTS.iter().map(|client| client.0).collect();
        run.sort_unstable();
        assert_eq!(there, run);
    }

    #[test]
    fn an_unknown_client_test_is_refused_before_anything_is_installed() {
        assert!(clients(&["basic_boto4".to_string()]).is_err());
    }
}
