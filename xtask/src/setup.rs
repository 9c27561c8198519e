//! Setup: what the tests need from the machine, installed when it is missing.
//!
//! Debian packages come through apt-get (as root, or through sudo that asks for nothing), Python packages into a venv
//! below the build directory, at the versions of `tests/clients/requirements.txt`. Nothing else on the machine changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::project;
use crate::steps::{call, exists, read};

const INSTALL_LIMIT: Duration = Duration::from_secs(10 * 60);

/// A Debian package the tests need, and the file that shows that it is there.
struct Package {
    name: &'static str,
    shows: &'static str,
}

/// Grows with the clients the tests use.
const PACKAGES: [Package; 8] = [
    Package { name: "python3-venv", shows: "/usr/lib/python3*/ensurepip" },
    Package { name: "awscli", shows: "/usr/bin/aws" },
    Package { name: "s3cmd", shows: "/usr/bin/s3cmd" },
    Package { name: "rclone", shows: "/usr/bin/rclone" },
    Package { name: "restic", shows: "/usr/bin/restic" },
    Package { name: "nodejs", shows: "/usr/bin/node" },
    Package { name: "npm", shows: "/usr/bin/npm" },
    Package { name: "postgresql", shows: "/usr/lib/postgresql/*/bin/initdb" },
];

/// Python environments of the client tests: clients that pin one library differently cannot share one. The first is the
/// scripts' own; they find the others beside it.
pub const CLIENT_VENVS: [Venv; 3] = [
    Venv { name: "test-env", requirements: "tests/clients/requirements.txt" },
    Venv { name: "test-env-aws1", requirements: "tests/clients/requirements-aws1.txt" },
    Venv { name: "test-env-s3fs", requirements: "tests/clients/requirements-s3fs.txt" },
];

/// The environment that runs ceph/s3-tests.
pub const SUITE_VENV: Venv = Venv { name: "test-env-s3", requirements: "tests/s3/requirements.txt" };

/// What Node.js packages the client tests need, and where they go below the build directory.
const NODE_LISTS: [&str; 2] = ["tests/clients/package.json", "tests/clients/package-lock.json"];
const NODE_DIR: &str = "test-node";

/// A Python environment below the build directory.
#[derive(Clone, Copy)]
pub struct Venv {
    name: &'static str,
    requirements: &'static str,
}

/// Installs the Debian packages that are missing; on other systems their files must be there already.
pub fn debian_packages() -> Result<()> {
    let missing: Vec<&str> = PACKAGES.iter().filter(|package| !is_there(package)).map(|p| p.name).collect();
    if missing.is_empty() {
        println!("all Debian packages are there");
        return Ok(());
    }
    if !exists("apt-get", &["--version"]) {
        bail!("the tests need {missing:?} (Debian's names) and there is no apt-get: install them by hand");
    }
    println!("installing {}", missing.join(" "));
    // A machine with a stale package list, or none, gets a new one before the second attempt.
    if apt_install(&missing).is_err() {
        call(&mut apt_get(&["update"])?, INSTALL_LIMIT).context("apt-get update")?;
        apt_install(&missing).context("apt-get install")?;
    }
    match PACKAGES.iter().find(|package| !is_there(package)) {
        Some(package) => bail!("{} is installed and yet {} is not there", package.name, package.shows),
        None => Ok(()),
    }
}

fn apt_install(packages: &[&str]) -> Result<()> {
    call(apt_get(&["install", "-y", "--no-install-recommends"])?.args(packages), INSTALL_LIMIT)
}

fn apt_get(args: &[&str]) -> Result<Command> {
    let root = read(Command::new("id").arg("-u"))?.trim() == "0";
    let mut command = if root {
        Command::new("apt-get")
    } else if exists("sudo", &["-n", "true"]) {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "apt-get"]);
        sudo
    } else {
        bail!("Debian packages are missing and we are neither root nor may we use sudo: see the list above");
    };
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-o", "DPkg::Lock::Timeout=300"]).args(args);
    Ok(command)
}

/// Whether the package's file exists; one `*` may stand in its directory's name.
fn is_there(package: &Package) -> bool {
    match package.shows.split_once('*') {
        None => Path::new(package.shows).exists(),
        Some((before, after)) => {
            let (dir, start) = before.rsplit_once('/').expect("paths are absolute");
            let Ok(entries) = fs::read_dir(dir) else { return false };
            entries.flatten().any(|entry| {
                let name = entry.file_name();
                name.to_str().is_some_and(|name| name.starts_with(start))
                    && entry.path().join(after.trim_start_matches('/')).exists()
            })
        }
    }
}

/// The Python of a venv that has exactly what its requirements name; made anew when they change.
pub fn python(venv: Venv) -> Result<PathBuf> {
    let wanted = project::read(venv.requirements)?;
    let dir = project::target_dir()?.join(venv.name);
    let (python, stamp) = (dir.join("bin/python"), dir.join("installed.txt"));
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) && python.exists() {
        println!("{} is up to date", dir.display());
        return Ok(python);
    }
    // The system's own Python, not one that some version switcher puts first.
    let system = if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" };
    call(Command::new(system).args(["-m", "venv", "--clear"]).arg(&dir), INSTALL_LIMIT)?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "-r"];
    let mut pip_install = Command::new(&python);
    pip_install.current_dir(project::root()).args(pip).arg(venv.requirements);
    call(&mut pip_install, INSTALL_LIMIT)?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(python)
}

/// A directory with the Node.js packages, exactly those of the lock; made anew when that changes.
pub fn node() -> Result<PathBuf> {
    let dir = project::target_dir()?.join(NODE_DIR);
    let wanted = NODE_LISTS.iter().map(|list| project::read(list)).collect::<Result<Vec<_>>>()?;
    let stamp = dir.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted.concat()) {
        println!("{} is up to date", dir.display());
        return Ok(dir);
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for (list, text) in NODE_LISTS.iter().zip(&wanted) {
        let name = Path::new(list).file_name().expect("a file's path");
        fs::write(dir.join(name), text).with_context(|| format!("cannot write below {}", dir.display()))?;
    }
    let quiet = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
    call(Command::new("npm").current_dir(&dir).args(quiet), INSTALL_LIMIT)?;
    fs::write(&stamp, wanted.concat()).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_known_by_its_file() {
        for (shows, there) in [
            ("/usr/bin/env", true),
            ("/usr/bin/no-such-program", false),
            ("/usr/bi*/env", true),
            ("/usr/bi*/no-such-program", false),
            ("/no-such-directory/x*/y", false),
        ] {
            assert_eq!(is_there(&Package { name: "any", shows }), there, "{shows}");
        }
    }

    #[test]
    fn the_requirements_pin_every_version() {
        for venv in CLIENT_VENVS.into_iter().chain([SUITE_VENV]) {
            let text = project::read(venv.requirements).expect("the list is committed");
            let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
            let loose: Vec<&str> = lines.filter(|line| !line.contains("==")).collect();
            assert!(loose.is_empty(), "not pinned in {}: {loose:?}", venv.requirements);
        }
    }
}
