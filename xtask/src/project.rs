//! The project: where it lies, which files it has, and its crates as `cargo metadata` tells them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::steps;

/// The root of the workspace, known since the build.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies below the root")
}

/// A `cargo` that runs in the root: the one that started us.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// The build directory.
pub fn target_dir() -> Result<PathBuf> {
    let metadata = metadata(&["--no-deps"])?;
    let dir = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(PathBuf::from(dir))
}

/// One file of the project: committed, or new and not ignored.
pub struct SourceFile {
    /// Path from the root, with forward slashes.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Its text, when it is text of a kind that tidy reads.
    pub text: Option<String>,
}

/// Endings (or whole paths) of the files whose text the rules read.
const READ: [&str; 6] = [".rs", ".toml", ".py", ".sh", ".md", ".ci/run"];

/// All files of the project in order of path, as git sees them.
pub fn files() -> Result<Vec<SourceFile>> {
    // A clone made by another user is still only being listed, so git's ownership check is answered here.
    let listed = steps::read(Command::new("git").current_dir(root()).args([
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))
    .context("the list of files comes from git")?;
    let mut paths: Vec<&str> = listed.split('\0').filter(|path| !path.is_empty()).collect();
    paths.sort_unstable();
    paths.dedup();
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        // Deleted but still in the index, or a link: nothing to read.
        let Ok(meta) = fs::symlink_metadata(root().join(path)) else { continue };
        if !meta.is_file() {
            continue;
        }
        let text = match READ.iter().any(|end| path.ends_with(end)) {
            true => Some(read(path)?),
            false => None,
        };
        files.push(SourceFile { path: path.to_string(), bytes: meta.len(), text });
    }
    Ok(files)
}

/// The text of a file, named by its path from the root.
pub fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))
}

/// Replaces the text of a file, named by its path from the root.
pub fn write(path: &str, text: &str) -> Result<()> {
    fs::write(root().join(path), text).with_context(|| format!("cannot write {path}"))
}

/// What `cargo metadata` says.
pub fn metadata(args: &[&str]) -> Result<Value> {
    let text = steps::read(cargo().args(["metadata", "--format-version", "1"]).args(args))?;
    serde_json::from_str(&text).context("cargo metadata printed something else than JSON")
}

/// A dependency a crate of ours declares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependency {
    /// The package's name.
    pub name: String,
    /// Whether it is only for tests, benches and examples.
    pub dev: bool,
}

/// A crate of the workspace and what it declares to need.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The package's name.
    pub name: String,
    /// What it declares, in cargo's order.
    pub needs: Vec<Dependency>,
}

/// The crates of the workspace, out of `cargo metadata --no-deps`.
pub fn members(metadata: &Value) -> Result<Vec<Member>> {
    let name_of = |value: &Value| value["name"].as_str().map(String::from).context("cargo metadata: no name");
    let packages = metadata["packages"].as_array().context("cargo metadata: no packages")?;
    packages
        .iter()
        .map(|package| {
            let declared = package["dependencies"].as_array().context("cargo metadata: no dependencies")?;
            let needs = declared
                .iter()
                .map(|need| {
                    Ok(Dependency { name: name_of(need)?, dev: need["kind"].as_str() == Some("dev") })
                })
                .collect::<Result<_>>()?;
            Ok(Member { name: name_of(package)?, needs })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_lists_itself() {
        let files = files().expect("git lists the files");
        let own = files.iter().find(|file| file.path == "xtask/src/project.rs").expect("this file is there");
        assert!(own.text.as_ref().is_some_and(|text| text.starts_with("//! The project")));
        assert!(files.iter().all(|file| !file.path.starts_with("target/")));
    }

    #[test]
    fn members_keep_dev_dependencies_apart() {
        let json = serde_json::json!({"packages": [{"name": "a", "dependencies": [
            {"name": "b", "kind": null}, {"name": "c", "kind": "dev"}, {"name": "d", "kind": "build"}]}]});
        let members = members(&json).expect("well formed");
        let dev: Vec<bool> = members[0].needs.iter().map(|need| need.dev).collect();
        assert_eq!(dev, [false, true, false]);
    }
}
