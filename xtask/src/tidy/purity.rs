//! Purity: what a crate may not touch. The shell lends clocks, disks and randomness (see core's `seam`); whoever takes
//! them as arguments can be run by the simulator, which is why it may not take them any other way.

use super::Finding;
use super::rust::Rust;

/// What one part of the tree keeps away from.
struct Rule {
    /// Paths it holds for.
    within: &'static str,
    /// Paths below it that are left out.
    except: &'static [&'static str],
    /// Modules, types and crates that may not be named, as path prefixes.
    banned: &'static [&'static str],
    /// Words that may not stand in the code at all.
    words: &'static [&'static str],
    /// Whether tests may do it.
    free_in_tests: bool,
    /// Why, and what to do instead.
    instead: &'static str,
}

const RULES: [Rule; 6] = [
    Rule {
        within: "crates/core/src/",
        except: &[],
        banned: &[
            "std::time::Instant",
            "std::time::SystemTime",
            "std::fs",
            "std::net",
            "std::thread",
            "std::env",
            "std::process",
            "rand",
            "getrandom",
            "serde",
            "tokio",
        ],
        words: &["async", "await"],
        free_in_tests: false,
        instead: "core is pure: take time, bytes and randomness as arguments (see `seam`)",
    },
    Rule {
        within: "crates/core/src/",
        except: &[],
        banned: &["std::collections::HashMap", "std::collections::HashSet", "std::hash::RandomState"],
        words: &[],
        free_in_tests: true,
        instead: "its order is random, and runs must repeat bit for bit: use BTreeMap, BTreeSet or a sorted Vec",
    },
    Rule {
        within: "crates/client/src/",
        except: &[],
        banned: &[
            "std::time::Instant",
            "std::time::SystemTime",
            "std::fs",
            "std::net",
            "std::env",
            "tokio",
            "rand",
            "getrandom",
            "serde",
        ],
        words: &[],
        free_in_tests: false,
        instead: "client runs in the simulator and without a runtime: take clock, randomness and ports as arguments",
    },
    Rule {
        within: "tools/sim/src/",
        except: &["tools/sim/src/main.rs", "tools/sim/src/bin/"],
        banned: &[
            "std::time::Instant",
            "std::time::SystemTime",
            "std::thread",
            "std::net",
            "std::env",
            "std::collections::HashMap",
            "std::collections::HashSet",
            "rand",
            "getrandom",
            "tokio",
        ],
        words: &[],
        free_in_tests: false,
        instead: "the same seed gives the same run: draw from the seed, count virtual time (only `main` reads a clock)",
    },
    Rule {
        within: "crates/",
        except: &["crates/node/", "crates/cli/"],
        banned: &[
            "std::env::var",
            "std::env::var_os",
            "std::env::vars",
            "std::env::args",
            "std::env::args_os",
        ],
        words: &[],
        free_in_tests: false,
        instead: "only node and cli read the environment: take plain options as arguments",
    },
    Rule {
        within: "crates/gateway/src/",
        except: &[],
        banned: &["std::fs", "tokio::fs"],
        words: &[],
        free_in_tests: false,
        instead: "only node and cli read files; bytes of objects go through client",
    },
];

/// Tests one file against the rules of the place where it lies.
pub fn check(path: &str, source: &Rust) -> Vec<Finding> {
    let mut findings = Vec::new();
    let applies = |rule: &&Rule| {
        // An example is a program of its own: its shell is itself.
        path.starts_with(rule.within)
            && !path.contains("/examples/")
            && !rule.except.iter().any(|except| path.starts_with(except))
    };
    let test_lines = source.test_lines(path);
    for rule in RULES.iter().filter(applies) {
        for (line, named) in source.paths() {
            if rule.free_in_tests && test_lines.iter().any(|lines| lines.contains(&line)) {
                continue;
            }
            if let Some(banned) = rule.banned.iter().find(|banned| names(&named, banned)) {
                findings.push(Finding::new(
                    path,
                    line,
                    format!("{banned} is not for here: {}", rule.instead),
                ));
            }
        }
        for word in rule.words {
            for line in source.lines_with_word(word) {
                findings.push(Finding::new(
                    path,
                    line,
                    format!("`{word}` is not for here: {}", rule.instead),
                ));
            }
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

/// Whether a path is the banned one or lies below it. A glob of its parent names it too.
fn names(path: &str, banned: &str) -> bool {
    let path = path.strip_prefix("core::").map_or_else(|| path.to_string(), |rest| format!("std::{rest}"));
    let path = path.strip_suffix("::self").unwrap_or(&path);
    path == banned
        || path.strip_prefix(banned).is_some_and(|below| below.starts_with("::"))
        || path
            .strip_suffix("::*")
            .is_some_and(|parent| banned.rsplit_once("::").is_some_and(|b| b.0 == parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(path, &Rust::read(text)).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn core_touches_nothing_of_the_world() {
        for bad in [
            "use std::time::{Duration, Instant};",
            "use std::time::SystemTime as T;",
            "use std::{fs, io};",
            "use std::fs::{self, File};",
            "use std::time::*;",
            "let x = std::net::UdpSocket::bind(a);",
            "std::thread::spawn(f);",
            "use rand::Rng;",
            "getrandom::fill(b);",
            "#[derive(serde::Serialize)] struct S;",
            "use serde;",
            "async fn f() {}",
            "f().await;",
            "let f = async move { 1 };",
            "let m = std::collections::HashMap::new();",
            "#[cfg(test)]\nmod tests {\n    use std::fs;\n}",
        ] {
            assert!(!lines("crates/core/src/a.rs", bad).is_empty(), "accepted: {bad}");
            assert!(lines("crates/node/src/a.rs", bad).is_empty(), "no rule for node: {bad}");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_accepted() {
        for good in [
            "use std::time::Duration;",
            "// std::fs would be wrong here",
            "let s = \"std::fs\";",
            "use crate::rand_words::serde_free;",
            "self.rand.next();",
            "use std::collections::BTreeMap;",
            "let asynchronous = my::net::x();",
            "#[cfg(test)]\nmod tests {\n    use std::collections::HashMap;\n}",
        ] {
            assert_eq!(lines("crates/core/src/a.rs", good), Vec::<usize>::new(), "refused: {good}");
        }
    }

    #[test]
    fn other_rooms_have_their_own_rules() {
        for (path, text, found) in [
            ("crates/client/src/a.rs", "tokio::spawn(f);", true),
            ("crates/client/src/a.rs", "async fn f() { g().await }", false),
            ("crates/client/src/a.rs", "std::thread::spawn(f);", false),
            ("tools/sim/src/world.rs", "std::time::Instant::now();", true),
            ("tools/sim/src/main.rs", "std::time::Instant::now();", false),
            ("crates/store/src/a.rs", "std::env::var(x);", true),
            ("crates/store/src/a.rs", "std::env::temp_dir();", false),
            ("crates/cli/src/a.rs", "std::env::var(x);", false),
            ("crates/gateway/src/a.rs", "tokio::fs::read(x);", true),
        ] {
            assert_eq!(!lines(path, text).is_empty(), found, "{path}: {text}");
        }
    }
}
