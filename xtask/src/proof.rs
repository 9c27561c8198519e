//! Proof: everything that runs the product. `test` is the README's test command; it must work on a fresh machine.

use std::fs;
use std::path::Path;
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
const SEEDS: &str = "300";
const SEEDS_FAST: &str = "30";

/// The real-client scripts in `tests/clients`, their arguments, and how long each may take.
///
/// They run against the dev build: `cargo test` has compiled nearly all of it, it checks overflow and `debug_assert`,
/// and the crates that move the bytes are optimised in dev too.
const CLIENTS: [(&str, &[&str], Duration); 6] = [
    ("basic_boto3.py", &[], MINUTE.saturating_mul(6)),
    ("basic_awscli.py", &[], MINUTE.saturating_mul(5)),
    ("race.py", &[], MINUTE.saturating_mul(3)),
    ("kill.py", &["--kills", "8"], MINUTE.saturating_mul(5)),
    ("heal.py", &[], MINUTE.saturating_mul(6)),
    ("bad_start.py", &[], MINUTE.saturating_mul(4)),
];

/// `cargo xtask test`: all of it, or with `fast` what needs neither real clients nor a release build of everything.
pub fn test(fast: bool) -> Result<bool> {
    let mut steps = Steps::default();
    steps.run("cargo test", || call(cargo().args(["test", "--workspace"]), BUILD_LIMIT));
    let seeds = if fast { SEEDS_FAST } else { SEEDS };
    steps.run(&format!("simulator, {seeds} seeds"), || {
        call(cargo().args(SIM).args(["--seeds", seeds]), BUILD_LIMIT)
    });
    if fast {
        steps.skip("real clients", "--fast: `cargo xtask test` runs them");
        return Ok(steps.finish());
    }
    let ready = prepare(&mut steps)?;
    for (script, args, limit) in CLIENTS {
        match &ready {
            Ok((python, binary)) => {
                let mut command = Command::new(python);
                command.current_dir(root()).arg(format!("tests/clients/{script}")).args(args);
                // Nothing of the machine's own S3 settings may reach the clients.
                command
                    .env("PANGEA_BIN", binary)
                    .env("PYTHONDONTWRITEBYTECODE", "1")
                    .env("PYTHONUNBUFFERED", "1");
                steps.run(script, || call(&mut command, limit));
            }
            Err(by) => steps.blocked(script, by),
        }
    }
    Ok(steps.finish())
}

type Ready = std::result::Result<(std::path::PathBuf, std::path::PathBuf), &'static str>;

/// Installs what the clients need and builds the binary; the inner error names the step they are missing.
fn prepare(steps: &mut Steps) -> Result<Ready> {
    const PACKAGES: &str = "install Debian packages";
    const VENV: &str = "install Python packages";
    const BUILD: &str = "build the pangea binary";
    let mut python = None;
    let packages = steps.run(PACKAGES, setup::debian_packages);
    let venv = steps.run(VENV, || {
        python = Some(setup::python()?);
        Ok(())
    });
    let built = steps.run(BUILD, || call(cargo().args(["build", "-p", "pangea-cli"]), BUILD_LIMIT));
    let binary = target_dir()?.join("debug/pangea");
    Ok(match (packages, venv, built, python) {
        (true, true, true, Some(python)) => Ok((python, binary)),
        (false, ..) => Err(PACKAGES),
        (_, _, false, _) => Err(BUILD),
        _ => Err(VENV),
    })
}

const SIM: [&str; 8] = ["run", "--release", "--quiet", "-p", "pangea-sim", "--bin", "pangea-sim", "--"];

/// `cargo xtask sim`: the simulator in release, with the arguments handed on.
pub fn sim(args: &[String]) -> Result<bool> {
    call(cargo().args(SIM).args(args), SOAK_LIMIT)?;
    Ok(true)
}

/// `cargo xtask fuzz`: lists the targets below `fuzz/fuzz_targets`.
pub fn fuzz(args: &[String]) -> Result<bool> {
    let targets = fuzz_targets(&root().join("fuzz/fuzz_targets"))?;
    if targets.is_empty() {
        println!("there are no fuzz targets yet (none below fuzz/fuzz_targets)");
    }
    for target in &targets {
        println!("{target}");
    }
    if !args.is_empty() {
        bail!("fuzz targets cannot be run from here yet, only listed; got {args:?}");
    }
    Ok(true)
}

fn fuzz_targets(dir: &Path) -> Result<Vec<String>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        if let (Some(name), Some("rs")) = (path.file_stem(), path.extension().and_then(|end| end.to_str())) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_script_is_there_and_every_one_there_is_run() {
        let dir = root().join("tests/clients");
        let mut there: Vec<String> = fs::read_dir(&dir)
            .expect("the scripts are committed")
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".py") && name != "harness.py")
            .collect();
        there.sort();
        let mut run: Vec<&str> = CLIENTS.iter().map(|client| client.0).collect();
        run.sort_unstable();
        assert_eq!(there, run);
    }

    #[test]
    fn a_missing_fuzz_directory_is_an_empty_list_and_a_target_cannot_be_asked_for() {
        assert!(fuzz_targets(Path::new("/no/such/directory")).expect("absent is empty").is_empty());
        assert!(fuzz(&["superblock".to_string()]).is_err());
    }
}
