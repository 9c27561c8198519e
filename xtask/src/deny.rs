//! Deny: which licences, crates and sources may come in. The rules stand in deny.toml, written for cargo-deny.
//!
//! Where cargo-deny is installed it runs (without advisories, which need the network); elsewhere we read the same file
//! and apply the essential part to what `cargo metadata` resolved. The output says which of both it was.

mod licence;
mod policy;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::project::{self, cargo};
use crate::steps::{call, exists};
use policy::Policy;

const POLICY: &str = "deny.toml";
const LIMIT: Duration = Duration::from_secs(300);

/// Tests all dependencies; `false` when one may not come in.
pub fn run() -> Result<bool> {
    if exists("cargo-deny", &["--version"]) {
        println!("deny: cargo-deny is installed and checks licences, bans and sources");
        let offline = ["deny", "--offline", "check", "licenses", "bans", "sources"];
        call(cargo().args(offline), LIMIT)?;
        return Ok(true);
    }
    let policy = Policy::parse(&project::read(POLICY)?)?;
    let packages = resolved(&project::metadata(&["--all-features"])?)?;
    let home = registry(&packages)?;
    let mut findings: Vec<String> =
        packages.iter().flat_map(|package| judge(&policy, home, package)).collect();
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    println!(
        "deny: own check, cargo-deny is not installed: licences, bans and sources of {} packages, {} findings; advisories \
         are not covered",
        packages.len(),
        findings.len()
    );
    Ok(findings.is_empty())
}

/// A package in the resolved graph.
#[derive(Debug)]
struct Package {
    name: String,
    version: String,
    /// SPDX expression, when it declares one.
    licence: Option<String>,
    /// Where it comes from; none for the crates of the workspace.
    source: Option<String>,
}

fn resolved(metadata: &Value) -> Result<Vec<Package>> {
    let nodes = metadata["resolve"]["nodes"].as_array().context("cargo metadata resolved nothing")?;
    let ids: BTreeSet<&str> = nodes.iter().filter_map(|node| node["id"].as_str()).collect();
    let packages = metadata["packages"].as_array().context("cargo metadata: no packages")?;
    let text = |value: &Value| value.as_str().map(String::from);
    let used: Vec<Package> = packages
        .iter()
        .filter(|package| package["id"].as_str().is_some_and(|id| ids.contains(id)))
        .map(|package| {
            Ok(Package {
                name: text(&package["name"]).context("cargo metadata: no name")?,
                version: text(&package["version"]).context("cargo metadata: no version")?,
                licence: text(&package["license"]),
                source: text(&package["source"]),
            })
        })
        .collect::<Result<_>>()?;
    if used.len() != ids.len() {
        bail!("cargo metadata resolved {} packages and describes {}", ids.len(), used.len());
    }
    Ok(used)
}

/// The registry that cargo uses here: where this program's own library comes from. It has no name in the project.
fn registry(packages: &[Package]) -> Result<&str> {
    let own = packages.iter().find(|package| package.name == "anyhow");
    let source = own.and_then(|package| package.source.as_deref()).context("cargo metadata: no anyhow")?;
    if !source.starts_with("registry+") {
        bail!("anyhow comes from {source}, which is no registry");
    }
    Ok(source)
}

/// What is wrong with one package; the crates of the workspace are ours.
fn judge(policy: &Policy, home: &str, package: &Package) -> Vec<String> {
    let Some(source) = &package.source else { return Vec::new() };
    let mut findings = Vec::new();
    let mut find = |what: String| findings.push(format!("{} {}: {what}", package.name, package.version));
    if source != home {
        find(format!("comes from {source}: only cargo's own registry is allowed"));
    }
    match &package.licence {
        None => find("declares no licence".to_string()),
        Some(text) => match licence::allowed(text, &policy.licences) {
            Ok(true) => {}
            Ok(false) => find(format!("its licence {text:?} is not in the allow list of {POLICY}")),
            Err(error) => find(format!("its licence {text:?} cannot be read: {error:#}")),
        },
    }
    for ban in policy.bans.iter().filter(|ban| ban.covers(&package.name, &package.version)) {
        find(format!("is banned: {}", ban.reason));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTRY: &str = "registry+https://home.invalid/index";

    fn findings(name: &str, version: &str, licence: Option<&str>, source: Option<&str>) -> Vec<String> {
        let policy = Policy::parse(&project::read(POLICY).expect("committed")).expect("deny.toml is read");
        let own = |text: Option<&str>| text.map(String::from);
        judge(
            &policy,
            REGISTRY,
            &Package {
                name: name.into(),
                version: version.into(),
                licence: own(licence),
                source: own(source),
            },
        )
    }

    #[test]
    fn a_good_package_and_our_own_crates_pass() {
        assert!(findings("bytes", "1.0.0", Some("MIT"), Some(REGISTRY)).is_empty());
        assert!(findings("pangea-core", "0.1.0", None, None).is_empty());
        assert!(findings("tokio", "1.44.2", Some("MIT"), Some(REGISTRY)).is_empty());
    }

    #[test]
    fn licence_source_and_bans_are_each_found() {
        for (name, version, licence, source) in [
            ("a", "1.0.0", Some("GPL-3.0-only"), REGISTRY),
            ("a", "1.0.0", Some("MIT AND AGPL-3.0-only"), REGISTRY),
            ("a", "1.0.0", Some("MIT OR"), REGISTRY),
            ("a", "1.0.0", None, REGISTRY),
            ("a", "1.0.0", Some("MIT"), "git+https://example.invalid/a"),
            ("a", "1.0.0", Some("MIT"), "registry+https://example.invalid/index"),
            ("paste", "1.0.15", Some("MIT"), REGISTRY),
            ("arrayref", "0.3.10", Some("MIT"), REGISTRY),
            ("tokio", "1.44.1", Some("MIT"), REGISTRY),
        ] {
            assert_eq!(
                findings(name, version, licence, Some(source)).len(),
                1,
                "{name} {version} {licence:?} {source}"
            );
        }
    }

    #[test]
    fn only_packages_of_the_resolved_graph_count() {
        let json = serde_json::json!({
            "resolve": {"nodes": [{"id": "a 1"}]},
            "packages": [{"id": "a 1", "name": "a", "version": "1.0.0"}, {"id": "b 1", "name": "b", "version": "1.0.0"}],
        });
        let names: Vec<String> = resolved(&json).expect("well formed").into_iter().map(|p| p.name).collect();
        assert_eq!(names, ["a"]);
        assert!(resolved(&serde_json::json!({"packages": []})).is_err());
    }
}
