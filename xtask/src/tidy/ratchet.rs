//! Ratchets: files over 800 lines and functions over 70. Today's offenders stand in `xtask/ratchet.txt` with their size;
//! they may shrink, nobody may join or grow.
//!
//! A line reads `LINES PATH` for a file and `LINES PATH::FUNCTION` for a function.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};

use super::Finding;
use super::rust::Rust;
use crate::project::SourceFile;

/// Where the offenders are listed.
pub const LIST: &str = "xtask/ratchet.txt";

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;

const HEADER: &str = "\
# Offenders of today: files over 800 lines, functions over 70 (LINES PATH, LINES PATH::FUNCTION).
# `cargo xtask tidy --update` only ever shrinks this list. A new line is written by hand, with its reason in the commit.
";

/// Lines by offender.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct List(BTreeMap<String, usize>);

impl List {
    /// Reads the committed list.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let entries = lines.map(|line| {
            let (lines, name) =
                line.split_once(' ').with_context(|| format!("{LIST}: not an offender: {line:?}"))?;
            let lines = lines.parse().with_context(|| format!("{LIST}: not a number: {lines:?}"))?;
            Ok((name.to_string(), lines))
        });
        Ok(Self(entries.collect::<Result<_>>()?))
    }

    /// Finds all offenders there are. Of functions with one name in one file the longest counts.
    pub fn measure(sources: &[(&SourceFile, Rust)]) -> Self {
        let mut found = BTreeMap::new();
        for (file, source) in sources {
            let lines = source.lines();
            if lines > FILE_LINES_MAX {
                found.insert(file.path.clone(), lines);
            }
            for function in source.functions() {
                if function.lines > FUNCTION_LINES_MAX {
                    let entry = found.entry(format!("{}::{}", file.path, function.name)).or_insert(0);
                    *entry = function.lines.max(*entry);
                }
            }
        }
        Self(found)
    }

    /// Whether the list is longer than what was found needs.
    pub fn could_shrink(&self, found: &Self) -> bool {
        self.shrink(found) != *self
    }

    /// The list with every offender at the smaller of what is listed and what was found; nobody joins.
    pub fn shrink(&self, found: &Self) -> Self {
        let both = self.0.iter().filter_map(|(name, &listed)| Some((name, listed, *found.0.get(name)?)));
        Self(both.map(|(name, listed, now)| (name.clone(), listed.min(now))).collect())
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEADER)?;
        self.0.iter().try_for_each(|(name, lines)| writeln!(f, "{lines} {name}"))
    }
}

/// Who joined, and who grew.
pub fn check(listed: &List, found: &List) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, &lines) in &found.0 {
        let (path, limit) = match name.split_once("::") {
            Some((path, _)) => (path, FUNCTION_LINES_MAX),
            None => (name.as_str(), FILE_LINES_MAX),
        };
        match listed.0.get(name) {
            Some(&before) if lines <= before => {}
            Some(before) => {
                findings.push(Finding::new(path, 0, format!("{name} grew from {before} lines to {lines}")));
            }
            None => {
                let what = format!("{name} has {lines} lines, over {limit}: one subject, or two arguing?");
                findings.push(Finding::new(path, 0, what));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(&str, usize)]) -> List {
        List(entries.iter().map(|&(name, lines)| (name.to_string(), lines)).collect())
    }

    #[test]
    fn nobody_joins_and_nobody_grows() {
        let listed = list(&[("a.rs", 900), ("b.rs::long", 80)]);
        assert!(check(&listed, &listed).is_empty());
        assert!(check(&listed, &list(&[("a.rs", 850)])).is_empty());
        assert!(check(&listed, &list(&[("a.rs", 901)]))[0].what.contains("grew from 900 lines to 901"));
        assert!(check(&listed, &list(&[("b.rs::other", 71)]))[0].what.contains("71 lines, over 70"));
        assert!(check(&listed, &list(&[("c.rs", 801)]))[0].what.contains("801 lines, over 800"));
    }

    #[test]
    fn an_update_only_shrinks() {
        let listed = list(&[("a.rs", 900), ("b.rs::long", 80), ("c.rs", 810)]);
        let found = list(&[("a.rs", 950), ("b.rs::long", 75), ("new.rs", 999)]);
        assert_eq!(listed.shrink(&found), list(&[("a.rs", 900), ("b.rs::long", 75)]));
        assert!(listed.could_shrink(&found));
        assert!(!listed.could_shrink(&listed));
    }

    #[test]
    fn the_limits_are_measured_at_their_edge() {
        let function = |lines: usize| format!("fn f() {{\n{}}}\n", "\n".repeat(lines - 2));
        let file = |text: String| {
            let source = Rust::read(&text);
            let file = SourceFile { path: "a.rs".into(), bytes: 0, text: None };
            List::measure(&[(&file, source)])
        };
        assert_eq!(file(function(FUNCTION_LINES_MAX)), list(&[]));
        assert_eq!(file(function(FUNCTION_LINES_MAX + 1)), list(&[("a.rs::f", FUNCTION_LINES_MAX + 1)]));
        assert_eq!(file("//\n".repeat(FILE_LINES_MAX)), list(&[]));
        assert_eq!(file("//\n".repeat(FILE_LINES_MAX + 1)), list(&[("a.rs", FILE_LINES_MAX + 1)]));
    }

    #[test]
    fn the_list_reads_what_it_writes() {
        let listed = list(&[("a.rs", 900), ("b.rs::long", 80)]);
        assert_eq!(List::parse(&listed.to_string()).expect("own output"), listed);
        assert!(List::parse("many a.rs\n").is_err());
        assert!(List::parse("900\n").is_err());
    }
}
