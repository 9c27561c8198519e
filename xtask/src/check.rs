//! `check`: the one command before a commit. Cheap steps first; all of them run, so one look shows everything.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::project::cargo;
use crate::steps::{Steps, call};
use crate::{deny, proof, tidy};

const FMT_LIMIT: Duration = Duration::from_secs(120);
/// A first build of everything on two busy cores fits well inside.
const CLIPPY_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Runs all checks; without `no_test` also the fast tests.
pub fn run(no_test: bool) -> Result<bool> {
    let mut steps = Steps::default();
    steps.run("fmt", || call(cargo().args(["fmt", "--all", "--check"]), FMT_LIMIT));
    steps.run("tidy", || holds(tidy::run()?, "tidy"));
    steps.run("deny", || holds(deny::run()?, "deny"));
    steps.run("clippy", || {
        let args = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        call(cargo().args(args), CLIPPY_LIMIT)
    });
    if no_test {
        steps.skip("test", "--no-test: `cargo xtask test` runs them all");
    } else {
        steps.run("test", || holds(proof::test(true)?, "test"));
    }
    Ok(steps.finish())
}

fn holds(good: bool, name: &str) -> Result<()> {
    if !good {
        bail!("{name} found something, see above");
    }
    Ok(())
}
