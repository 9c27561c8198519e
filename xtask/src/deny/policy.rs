//! Policy: the part of deny.toml that we apply ourselves.
//!
//! Reads the subset of TOML that file is written in: sections, and arrays of strings or of `{ crate = …, reason = … }`.
//! An array it needs and does not find, or a ban it cannot read, is an error: no rule falls away in silence.

use anyhow::{Context, Result, bail};

/// What may come in.
#[derive(Debug)]
pub struct Policy {
    /// SPDX ids, some with their exception.
    pub licences: Vec<String>,
    /// What may not come in.
    pub bans: Vec<Ban>,
}

/// A banned crate, or some versions of it.
#[derive(Debug)]
pub struct Ban {
    name: String,
    versions: Versions,
    /// Why.
    pub reason: String,
}

#[derive(Debug)]
enum Versions {
    All,
    Below([u64; 3]),
    Only([u64; 3]),
}

impl Policy {
    /// Reads deny.toml.
    pub fn parse(text: &str) -> Result<Self> {
        let bans = array(text, "bans", "deny")?;
        Ok(Self {
            licences: strings(&array(text, "licenses", "allow")?),
            bans: bans.split('{').skip(1).map(Ban::parse).collect::<Result<_>>()?,
        })
    }
}

impl Ban {
    /// Whether it hits this package. A pre-release counts as its release.
    pub fn covers(&self, name: &str, version: &str) -> bool {
        if self.name != name {
            return false;
        }
        let version = parse_version(version);
        match (&self.versions, version) {
            (Versions::All, _) | (_, None) => true,
            (Versions::Below(floor), Some(version)) => version < *floor,
            (Versions::Only(only), Some(version)) => version == *only,
        }
    }

    fn parse(entry: &str) -> Result<Self> {
        let field = |key: &str| {
            let after = entry.split_once(&format!("{key} = \"")).map(|parts| parts.1);
            after.and_then(|after| after.split_once('"')).map(|parts| parts.0)
        };
        let spec = field("crate").with_context(|| format!("a ban without `crate = \"…\"`: {entry:?}"))?;
        let reason = field("reason").with_context(|| format!("a ban without a reason: {spec:?}"))?;
        let (name, versions) = match spec.split_once([':', '@']) {
            None => (spec, Versions::All),
            Some((name, version)) => {
                let number =
                    |text: &str| parse_version(text).with_context(|| format!("not a version: {spec:?}"));
                match version.as_bytes() {
                    [b'<', b'=', ..] => bail!("only `<` and `=` are read here: {spec:?}"),
                    [b'<', ..] => (name, Versions::Below(number(&version[1..])?)),
                    [b'=', ..] => (name, Versions::Only(number(&version[1..])?)),
                    _ => bail!("only `<` and `=` are read here: {spec:?}"),
                }
            }
        };
        Ok(Self { name: name.to_string(), versions, reason: reason.to_string() })
    }
}

/// `1.2.3`, `1.2` or `1`, without what follows a `-` or `+`.
fn parse_version(text: &str) -> Option<[u64; 3]> {
    let plain = text.split(['-', '+']).next()?;
    let mut version = [0; 3];
    let mut parts = plain.split('.');
    for (slot, part) in version.iter_mut().zip(parts.by_ref()) {
        *slot = part.parse().ok()?;
    }
    parts.next().is_none().then_some(version)
}

/// The inside of the array `key = [ … ]` in `[section]`, without comments.
fn array(text: &str, section: &str, key: &str) -> Result<String> {
    let mut here = false;
    let mut inside: Option<String> = None;
    for line in text.lines() {
        // No `#` stands inside a string of ours.
        let line = line.split('#').next().unwrap_or("").trim();
        let part = match &inside {
            Some(_) => line,
            None if line.starts_with('[') => {
                here = line == format!("[{section}]");
                continue;
            }
            None => match line.split_once('=') {
                Some((name, value)) if here && name.trim() == key => {
                    let value = value.trim().strip_prefix('[');
                    value.with_context(|| format!("{key} in [{section}] is no array"))?
                }
                _ => continue,
            },
        };
        let so_far = inside.get_or_insert_default();
        if let Some(last) = part.strip_suffix(']') {
            so_far.push_str(last);
            return inside.context("it was just filled");
        }
        so_far.push_str(part);
        so_far.push(' ');
    }
    bail!("there is no complete array {key} in [{section}]")
}

/// All quoted strings.
fn strings(array: &str) -> Vec<String> {
    array.split('"').skip(1).step_by(2).map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
[licenses]
allow = [ # why
    \"MIT\",
    \"Apache-2.0 WITH LLVM-exception\", # also
]
[bans]
allow = [\"other\"]
deny = [
    { crate = \"old\", reason = \"gone\" },
    { crate = \"young:<1.2\", reason = \"floor\" },
    { crate = \"bad@=0.3.10\", reason = \"evil\" },
]
";

    #[test]
    fn both_lists_are_read() {
        let policy = Policy::parse(GOOD).expect("well formed");
        assert_eq!(policy.licences, ["MIT", "Apache-2.0 WITH LLVM-exception"]);
        for (name, version, banned) in [
            ("old", "9.9.9", true),
            ("young", "1.1.99", true),
            ("young", "1.2.0", false),
            ("young", "1.10.0", false),
            ("bad", "0.3.10", true),
            ("bad", "0.3.1", false),
            ("bad", "0.3.11", false),
            ("other", "1.0.0", false),
        ] {
            let hit = policy.bans.iter().any(|ban| ban.covers(name, version));
            assert_eq!(hit, banned, "{name} {version}");
        }
    }

    #[test]
    fn nothing_is_dropped_in_silence() {
        for (good, bad) in [
            ("[licenses]", "[licences]"),
            ("deny = [", "denied = ["),
            ("\"young:<1.2\"", "\"young:<one\""),
            ("\"young:<1.2\"", "\"young:>=1.2\""),
            ("\"young:<1.2\"", "\"young:<=1.2\""),
            (", reason = \"gone\"", ""),
            ("crate = \"old\"", "name = \"old\""),
        ] {
            assert!(GOOD.contains(good) && Policy::parse(&GOOD.replace(good, bad)).is_err(), "{bad}");
        }
    }
}
