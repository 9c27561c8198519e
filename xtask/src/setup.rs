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
const REQUIREMENTS: &str = "tests/clients/requirements.txt";

/// A Debian package the tests need, and the file that shows that it is there.
struct Package {
    name: &'static str,
    shows: &'static str,
}

/// Grows with the clients the tests use.
const PACKAGES: [Package; 2] = [
    Package { name: "python3-venv", shows: "/usr/lib/python3*/ensurepip" },
    Package { name: "awscli", shows: "/usr/bin/aws" },
];

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

/// The Python of a venv that has exactly what the requirements name; made anew when they change.
pub fn python() -> Result<PathBuf> {
    let wanted = project::read(REQUIREMENTS)?;
    let dir = project::target_dir()?.join("test-env");
    let (python, stamp) = (dir.join("bin/python"), dir.join("installed.txt"));
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) && python.exists() {
        println!("{} is up to date", dir.display());
        return Ok(python);
    }
    // The system's own Python, not one that some version switcher puts first.
    let system = if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" };
    call(Command::new(system).args(["-m", "venv", "--clear"]).arg(&dir), INSTALL_LIMIT)?;
    let pip =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "-r", REQUIREMENTS];
    call(Command::new(&python).current_dir(project::root()).args(pip), INSTALL_LIMIT)?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(python)
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
        let text = project::read(REQUIREMENTS).expect("the list is committed");
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let loose: Vec<&str> = lines.filter(|line| !line.contains("==")).collect();
        assert!(loose.is_empty(), "not pinned: {loose:?}");
    }
}
