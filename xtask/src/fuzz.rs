//! Fuzz: runs the targets of `fuzz/` on the nightly toolchain, which the rest of the project does not need.
//!
//! A target starts from the committed inputs of `fuzz/seeds/TARGET` and from what earlier runs found on this machine
//! (below the build directory). An input that crashes it is kept and named; the run goes on with the next target.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::project::{cargo, root, target_dir};
use crate::steps::{Steps, call, exists};

const CARGO_FUZZ_VERSION: &str = "0.13.1";
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
const SECONDS: u64 = 60;
const SECONDS_MAX: u64 = 24 * 60 * 60;
/// Bytes of an input at most: every format is reached with less.
const INPUT_BYTES_MAX: u32 = 64 * 1024;
/// An input that takes longer is a finding.
const INPUT_SECONDS_MAX: u32 = 10;
/// So is one that needs more memory.
const INPUT_MIB_MAX: u32 = 2048;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// Only the names.
    List,
    /// These targets (none: all), so many seconds each.
    Run { seconds: u64, targets: Vec<String> },
}

/// `cargo xtask fuzz`: fuzzes the named targets, or all.
pub fn run(args: &[String]) -> Result<bool> {
    let there = targets(&root().join("fuzz/fuzz_targets"))?;
    let (seconds, asked) = match parse(args)? {
        Asked::List => {
            there.iter().for_each(|target| println!("{target}"));
            return Ok(true);
        }
        Asked::Run { seconds, targets } => (seconds, targets),
    };
    if let Some(unknown) = asked.iter().find(|target| !there.contains(target)) {
        bail!("there is no fuzz target {unknown:?}; there are {there:?}");
    }
    let tools = Tools::find_or_install()?;
    let mut steps = Steps::default();
    let built = steps.run("build the fuzz targets", || call(&mut tools.fuzz(&["build"]), BUILD_LIMIT));
    for target in if asked.is_empty() { &there } else { &asked } {
        let name = format!("fuzz {target}, {seconds} s");
        if built {
            steps.run(&name, || tools.run(target, seconds));
        } else {
            steps.blocked(&name, "build the fuzz targets");
        }
    }
    Ok(steps.finish())
}

fn parse(args: &[String]) -> Result<Asked> {
    let (mut seconds, mut targets) = (SECONDS, Vec::new());
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--list" if args.len() == 1 => return Ok(Asked::List),
            "--seconds" => {
                let given = rest.next().context("--seconds needs a number")?;
                seconds =
                    given.parse().ok().filter(|n| (1..=SECONDS_MAX).contains(n)).with_context(|| {
                        format!("--seconds takes a number from 1 to {SECONDS_MAX}, not {given:?}")
                    })?;
            }
            flag if flag.starts_with('-') => {
                bail!("unknown argument {flag:?}: [--seconds N] [TARGET ...], or --list")
            }
            target => targets.push(target.to_string()),
        }
    }
    Ok(Asked::Run { seconds, targets })
}

/// The targets below a directory, by name.
fn targets(dir: &Path) -> Result<Vec<String>> {
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

/// Nightly and cargo-fuzz.
struct Tools {
    /// With cargo-fuzz in it.
    path: OsString,
    /// Builds, found inputs and crashes.
    work: PathBuf,
}

impl Tools {
    /// Installs cargo-fuzz below the build directory if it is not there; nightly must be installed by its owner.
    fn find_or_install() -> Result<Self> {
        if !exists("rustup", &["run", "nightly", "cargo", "--version"]) {
            bail!("fuzzing needs the nightly toolchain: rustup toolchain install nightly --profile minimal");
        }
        let target = target_dir()?;
        let root = target.join("tools");
        let mut dirs = vec![root.join("bin")];
        dirs.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        let path = env::join_paths(dirs).context("the build directory's name cannot stand in PATH")?;
        let tools = Self { path, work: target.join("fuzz") };
        if !root.join("bin/cargo-fuzz").exists() {
            println!("installing cargo-fuzz {CARGO_FUZZ_VERSION} below {}", root.display());
            let args = ["install", "cargo-fuzz", "--locked", "--version", CARGO_FUZZ_VERSION, "--root"];
            call(cargo().args(args).arg(&root), BUILD_LIMIT).context("cannot install cargo-fuzz")?;
        }
        Ok(tools)
    }

    /// `cargo +nightly fuzz`, building below the build directory, apart from everything else.
    fn fuzz(&self, args: &[&str]) -> Command {
        let mut command = Command::new("rustup");
        command.current_dir(root()).args(["run", "nightly", "cargo", "fuzz"]).args(args);
        command.args(["--fuzz-dir", "fuzz"]).env("PATH", &self.path).env("CARGO_TARGET_DIR", &self.work);
        // The cargo that runs us is another toolchain's.
        command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
        command
    }

    fn run(&self, target: &str, seconds: u64) -> Result<()> {
        let found = self.work.join("corpus").join(target);
        let crashes = self.work.join("crashes").join(target);
        let seeds = root().join("fuzz/seeds").join(target);
        if !seeds.is_dir() {
            bail!("{} is not there: every target has committed inputs", seeds.display());
        }
        for dir in [&found, &crashes] {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        let mut command = self.fuzz(&["run", target]);
        command.args([&found, &seeds]).arg("--");
        command.arg(format!("-max_total_time={seconds}"));
        command.arg(format!("-max_len={INPUT_BYTES_MAX}"));
        command.arg(format!("-timeout={INPUT_SECONDS_MAX}"));
        command.arg(format!("-rss_limit_mb={INPUT_MIB_MAX}"));
        command.arg("-print_final_stats=1").arg("-verbosity=0");
        // A trailing slash makes it a directory.
        command.arg(format!("-artifact_prefix={}/", crashes.display()));
        call(&mut command, Duration::from_secs(seconds) + BUILD_LIMIT)
            .with_context(|| format!("an input that fails is kept below {}", crashes.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Option<Asked> {
        parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>()).ok()
    }

    #[test]
    fn a_command_line_is_understood_or_refused() {
        let run = |seconds, targets: &[&str]| {
            Some(Asked::Run { seconds, targets: targets.iter().map(|t| t.to_string()).collect() })
        };
        assert_eq!(asked(""), run(60, &[]));
        assert_eq!(asked("--seconds 5 manifest layout"), run(5, &["manifest", "layout"]));
        assert_eq!(asked("--list"), Some(Asked::List));
        for bad in ["--seconds", "--seconds 0", "--seconds x", "--seconds 86401", "--fast", "--list manifest"]
        {
            assert_eq!(asked(bad), None, "{bad:?} was accepted");
        }
    }

    #[test]
    fn an_unknown_target_is_refused_before_anything_is_installed() {
        let error = super::run(&["superblok".to_string()]).expect_err("must fail");
        assert!(error.to_string().contains("superblock"), "{error}");
    }

    #[test]
    fn every_target_is_declared_and_has_committed_inputs() {
        let declared = fs::read_to_string(root().join("fuzz/Cargo.toml")).expect("committed");
        for target in targets(&root().join("fuzz/fuzz_targets")).expect("there are targets") {
            assert!(
                declared.contains(&format!("fuzz_targets/{target}.rs")),
                "{target} is not in fuzz/Cargo.toml"
            );
            let seeds = fs::read_dir(root().join("fuzz/seeds").join(&target)).map(Iterator::count);
            assert!(seeds.is_ok_and(|count| count > 0), "{target} has no inputs in fuzz/seeds");
        }
    }
}
