//! Steps: named pieces of a longer command, timed, all run even when one fails, counted at the end.
//!
//! A step's output goes straight to the terminal. Every child has a time limit, so that a hang is a failure with a name.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a running child is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Runs steps and remembers how each ended.
#[derive(Default)]
pub struct Steps {
    passed: usize,
    failed: Vec<String>,
}

impl Steps {
    /// Runs one step; its error is printed here and counted, and the next step still runs.
    pub fn run(&mut self, name: &str, step: impl FnOnce() -> Result<()>) -> bool {
        println!("==> {name}");
        let start = Instant::now();
        let result = step();
        let took = start.elapsed().as_secs_f64();
        match &result {
            Ok(()) => {
                self.passed += 1;
                println!("==> {name}: passed in {took:.1} s\n");
            }
            Err(error) => {
                self.failed.push(name.to_string());
                println!("==> {name}: FAILED after {took:.1} s: {error:#}\n");
            }
        }
        result.is_ok()
    }

    /// Counts a step as failed that could not even start.
    pub fn blocked(&mut self, name: &str, by: &str) {
        self.failed.push(name.to_string());
        println!("==> {name}: FAILED, not run because {by:?} failed\n");
    }

    /// Says that a step is left out and why; it counts neither way.
    pub fn skip(&self, name: &str, reason: &str) {
        println!("==> {name}: skipped, {reason}\n");
    }

    /// Prints the tally, as the last line; `true` when nothing failed.
    pub fn finish(self) -> bool {
        for name in &self.failed {
            println!("failed: {name}");
        }
        println!("{}", self.tally());
        self.failed.is_empty()
    }

    fn tally(&self) -> String {
        format!("{} passed, {} failed", self.passed, self.failed.len())
    }
}

/// Runs a command to its end, without input; an exit other than 0, or none within `limit`, is an error.
pub fn call(command: &mut Command, limit: Duration) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start {name}"))?;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().with_context(|| format!("cannot wait for {name}"))? {
            if !status.success() {
                bail!("{name} ended with {status}");
            }
            return Ok(());
        }
        if start.elapsed() > limit {
            child.kill().with_context(|| format!("cannot stop {name}"))?;
            child.wait().with_context(|| format!("cannot wait for {name}"))?;
            bail!("{name} was still running after {} s and was stopped", limit.as_secs());
        }
        thread::sleep(POLL);
    }
}

/// What a command prints; an exit other than 0 is an error that carries its standard error.
pub fn read(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        bail!("{name} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{name} printed something else than UTF-8"))
}

/// Whether a program can be started at all (`--version` is asked for and thrown away).
pub fn exists(program: &str, args: &[&str]) -> bool {
    let status = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn one_failure_does_not_hide_the_next_step() {
        let mut steps = Steps::default();
        assert!(!steps.run("first", || bail!("no")));
        assert!(steps.run("second", || Ok(())));
        steps.blocked("third", "first");
        steps.skip("fourth", "not asked for");
        assert_eq!(steps.tally(), "1 passed, 2 failed");
        assert!(!steps.finish());
    }

    #[test]
    fn a_child_fails_by_its_exit_by_its_absence_and_by_time() {
        assert!(call(&mut Command::new("true"), LONG).is_ok());
        let error =
            |command: &mut Command, limit| format!("{:#}", call(command, limit).expect_err("must fail"));
        assert!(error(&mut Command::new("false"), LONG).contains("ended with"));
        assert!(error(&mut Command::new("pangea-no-such-program"), LONG).contains("cannot start"));
        assert!(error(Command::new("sleep").arg("60"), Duration::from_millis(100)).contains("still running"));
    }

    #[test]
    fn a_reader_reports_what_the_child_complained_about() {
        assert_eq!(read(Command::new("printf").arg("yes")).expect("printf exists"), "yes");
        let error = read(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).expect_err("must fail");
        assert!(format!("{error:#}").contains("why"));
    }
}
