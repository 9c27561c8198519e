//! Formats: the sources that define bytes on disk and wire change together with docs/formats.md.
//!
//! `xtask/formats.lock` holds a hash of the page and of each such source; comments, white space and tests do not count. When a
//! source's hash moves and the page's does not, somebody changed bytes and told nobody, or states that no byte changed.

use std::fmt;

use anyhow::{Context, Result, bail};

use super::Finding;
use super::rust::Rust;
use crate::project::SourceFile;

/// Where the hashes stand.
pub const LOCK: &str = "xtask/formats.lock";

const PAGE: &str = "docs/formats.md";

const HEADER: &str = "\
# Hashes (64-bit FNV-1a) of docs/formats.md and of the sources that define its bytes; rewritten by `cargo xtask tidy --update`.
# To add a source, write `new PATH` and update. A source is hashed without comments, white space and test modules.
";

/// One line of the lock: a path and its hash, none when it is new.
type Entry = (String, Option<u64>);

/// The hashes as they were accepted.
#[derive(Debug, PartialEq, Eq)]
pub struct Lock {
    page: Option<u64>,
    sources: Vec<Entry>,
}

/// How the tree stands against the lock.
struct Now {
    page: Option<u64>,
    /// In the lock's order.
    sources: Vec<Option<u64>>,
}

impl Lock {
    /// Reads the committed lock.
    pub fn parse(text: &str) -> Result<Self> {
        let mut lock = Self { page: None, sources: Vec::new() };
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (hash, path) =
                line.split_once(' ').with_context(|| format!("{LOCK}: not `HASH PATH`: {line:?}"))?;
            let hash = match hash {
                "new" => None,
                hex if hex.len() == 16 => Some(
                    u64::from_str_radix(hex, 16).with_context(|| format!("{LOCK}: not a hash: {hex:?}"))?,
                ),
                other => bail!("{LOCK}: neither a hash nor `new`: {other:?}"),
            };
            match path {
                PAGE => lock.page = hash,
                _ => lock.sources.push((path.to_string(), hash)),
            }
        }
        Ok(lock)
    }

    fn now(&self, files: &[SourceFile]) -> Now {
        let text_of =
            |path: &str| files.iter().find(|file| file.path == path).and_then(|file| file.text.as_deref());
        Now {
            page: text_of(PAGE).map(|text| fnv1a(text.as_bytes())),
            sources: self.sources.iter().map(|(path, _)| text_of(path).map(hash_code)).collect(),
        }
    }

    /// The lock after everything was accepted that may be: sources that are new, changed together with the page, or,
    /// with `same_bytes`, changed without it. A source that is gone leaves the lock together with a changed page.
    pub fn update(&self, files: &[SourceFile], same_bytes: bool) -> Self {
        let now = self.now(files);
        let accept = same_bytes || now.page != self.page;
        let sources =
            self.sources.iter().zip(now.sources).filter_map(|((path, locked), now)| match (locked, now) {
                (None, now) => Some((path.clone(), now)),
                (Some(_), now) if accept => now.map(|now| (path.clone(), Some(now))),
                (locked, _) => Some((path.clone(), *locked)),
            });
        Self { page: now.page, sources: sources.collect() }
    }
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEADER)?;
        let page = (PAGE.to_string(), self.page);
        [&page].into_iter().chain(&self.sources).try_for_each(|(path, hash)| match hash {
            Some(hash) => writeln!(f, "{hash:016x} {path}"),
            None => writeln!(f, "new {path}"),
        })
    }
}

/// Compares the tree with the lock.
pub fn check(lock: &Lock, files: &[SourceFile]) -> Vec<Finding> {
    let now = lock.now(files);
    if now.page.is_none() {
        return vec![Finding::new(PAGE, 0, "the page that describes every byte on disk and wire is missing")];
    }
    let page_moved = now.page != lock.page;
    let mut findings = Vec::new();
    if page_moved {
        findings.push(Finding::new(
            PAGE,
            0,
            "the page changed: `cargo xtask tidy --update` locks it with its sources",
        ));
    }
    for ((path, locked), now) in lock.sources.iter().zip(now.sources) {
        let what = match (locked, now) {
            (_, None) => {
                "is named in xtask/formats.lock and is gone: change docs/formats.md and the lock".to_string()
            }
            (None, Some(_)) => "is new in xtask/formats.lock: `cargo xtask tidy --update`".to_string(),
            (Some(locked), Some(now)) if *locked != now && !page_moved => format!(
                "defines bytes and changed, {PAGE} did not. If bytes changed: write it down there (and think of the \
                 version and the golden data), then `cargo xtask tidy --update`. If not one byte changed: \
                 `cargo xtask tidy --update --same-bytes`"
            ),
            _ => continue,
        };
        findings.push(Finding::new(path, 0, what));
    }
    findings
}

/// The hash of a source's words and literals; comments, white space and test modules fall out.
fn hash_code(text: &str) -> u64 {
    let source = Rust::read(text);
    let tests = source.test_modules();
    let mut kept = Vec::new();
    for (index, (line, comment)) in text.lines().zip(source.comment_lines()).enumerate() {
        if tests.iter().any(|module| module.contains(&(index + 1))) {
            continue;
        }
        // Both have the same bytes per line: keep those that are not part of a comment.
        let bytes = line.bytes().zip(comment.bytes());
        kept.extend(
            bytes
                .filter(|(byte, in_comment)| *in_comment == b' ' && !byte.is_ascii_whitespace())
                .map(|b| b.0),
        );
    }
    fnv1a(&kept)
}

/// 64-bit FNV-1a: not against attackers, only against forgetting.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "crates/core/src/shard.rs";

    fn tree(page: &str, source: &str) -> Vec<SourceFile> {
        let file =
            |path: &str, text: &str| SourceFile { path: path.into(), bytes: 0, text: Some(text.into()) };
        vec![file(PAGE, page), file(SOURCE, source)]
    }

    fn locked(files: &[SourceFile]) -> Lock {
        Lock::parse(&format!("new {PAGE}\nnew {SOURCE}\n")).expect("well formed").update(files, false)
    }

    #[test]
    fn the_hash_is_fnv1a() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_source_that_moves_without_the_page_is_found_until_it_is_stated_that_no_byte_changed() {
        let lock = locked(&tree("page", "const A: u8 = 1;"));
        assert!(check(&lock, &tree("page", "const A: u8 = 1;")).is_empty());
        let changed = tree("page", "const A: u8 = 2;");
        assert!(check(&lock, &changed)[0].what.contains("changed, docs/formats.md did not"));
        assert_eq!(lock.update(&changed, false), lock, "an update alone accepts nothing");
        assert!(check(&lock.update(&changed, true), &changed).is_empty());
    }

    #[test]
    fn a_source_that_moves_with_the_page_is_accepted_by_an_update() {
        let lock = locked(&tree("page", "const A: u8 = 1;"));
        let both = tree("new page", "const A: u8 = 2;");
        assert_eq!(check(&lock, &both).len(), 1, "the page asks to be locked");
        assert!(check(&lock.update(&both, false), &both).is_empty());
    }

    #[test]
    fn comments_and_spaces_do_not_count_and_literals_do() {
        let lock = locked(&tree("page", "const A: &str = \"// a\";"));
        let same = "//! Doc.\nconst A: &str =\n    \"// a\"; // why";
        assert!(check(&lock, &tree("page", same)).is_empty());
        let tests = |body| format!("const A: &str = \"// a\";\n#[cfg(test)]\nmod tests {{\n    {body}\n}}\n");
        let lock_with_tests = locked(&tree("page", &tests("fn one() {}")));
        assert!(check(&lock_with_tests, &tree("page", &tests("fn two() {}"))).is_empty());
        assert!(!check(&lock, &tree("page", "const A: &str = \"// b\";")).is_empty());
    }

    #[test]
    fn a_missing_page_a_missing_source_and_a_new_one_are_found() {
        let lock = locked(&tree("page", "a"));
        assert!(check(&lock, &[])[0].what.contains("missing"));
        assert!(check(&lock, &tree("page", "a")[..1])[0].what.contains("is gone"));
        let new =
            Lock::parse(&format!("{:016x} {PAGE}\nnew {SOURCE}\n", fnv1a(b"page"))).expect("well formed");
        assert!(check(&new, &tree("page", "a"))[0].what.contains("is new"));
    }

    #[test]
    fn the_lock_reads_what_it_writes() {
        let lock = locked(&tree("page", "a"));
        assert_eq!(Lock::parse(&lock.to_string()).expect("own output"), lock);
        assert!(Lock::parse("12 a.rs").is_err());
        assert!(Lock::parse("0123456789abcdef").is_err());
    }
}
