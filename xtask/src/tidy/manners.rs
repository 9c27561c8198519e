//! Manners: module docs, file names, left-over marks, globs, explained `unsafe`, big files.

use super::Finding;
use super::rust::Rust;
use crate::project::SourceFile;

/// No committed file may be larger; test data that must be large is generated.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A room called one of these is not yet named.
const NAMELESS: [&str; 8] = ["util", "utils", "common", "misc", "helper", "helpers", "manager", "managers"];

/// Marks of unfinished work; written in two halves, so that this file does not find itself.
const MARKS: [&str; 3] = [concat!("FIX", "ME"), concat!("X", "XX"), concat!("TO", "DO")];

/// Kinds of files in which a mark is looked for; pages may speak about marks.
const MARKED: [&str; 5] = [".rs", ".py", ".sh", ".toml", ".ci/run"];

/// Where `unsafe` may stand, as path prefixes. A new room is a decision, with its page in docs/decisions.
const UNSAFE_ROOMS: [&str; 5] = [
    "crates/core/src/erasure/kernel/",
    "crates/core/src/md5/wide.rs",
    "crates/uring/src/",
    "tools/bench/src/ces/raw/",
    "tools/bench/src/store/mapped.rs",
];

/// What holds for a file of any kind.
pub fn check_file(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    if file.bytes > FILE_BYTES_MAX {
        let what = format!("{} bytes; no file may be larger than {FILE_BYTES_MAX}", file.bytes);
        findings.push(Finding::new(&file.path, 0, what));
    }
    findings.extend(check_name(&file.path));
    if let Some(text) = file.text.as_deref().filter(|_| MARKED.iter().any(|end| file.path.ends_with(end))) {
        findings.extend(check_marks(&file.path, text));
    }
    findings
}

/// What holds for a Rust file.
pub fn check_rust(path: &str, source: &Rust) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !source.raw().starts_with("//!") {
        findings.push(Finding::new(path, 1, "a file starts with `//!`: what it owns, who may touch it"));
    }
    findings.extend(check_globs(path, source));
    findings.extend(check_unsafe(path, source, &UNSAFE_ROOMS));
    findings
}

fn check_name(path: &str) -> Option<Finding> {
    let stem = |part: &str| part.split('.').next().unwrap_or(part).to_string();
    let nameless = path.split('/').map(stem).find(|part| NAMELESS.contains(&part.as_str()))?;
    Some(Finding::new(path, 0, format!("{nameless:?} says nothing: name the room after what it owns")))
}

fn check_marks(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        if let Some(mark) = words.find(|word| MARKS.contains(word)) {
            findings.push(Finding::new(path, index + 1, format!("{mark}: finish it, or open an issue")));
        }
    }
    findings
}

fn check_globs(path: &str, source: &Rust) -> Vec<Finding> {
    let test_lines = source.test_lines(path);
    let mut findings = Vec::new();
    for (line, tree) in source.uses() {
        let in_test = test_lines.iter().any(|lines| lines.contains(&line));
        for glob in tree.iter().filter(|named| named.ends_with('*')) {
            if !(in_test && glob == "super::*") {
                findings.push(Finding::new(path, line, format!("`use {glob}`: name what you use")));
            }
        }
    }
    findings
}

fn check_unsafe(path: &str, source: &Rust, rooms: &[&str]) -> Vec<Finding> {
    let allowed = rooms.iter().any(|room| path.starts_with(room));
    let code: Vec<&str> = source.code_lines().map(|line| line.1).collect();
    let comments = source.comment_lines();
    let mut findings = Vec::new();
    for line in source.lines_with_word("unsafe") {
        if !allowed {
            findings.push(Finding::new(
                path,
                line,
                "`unsafe` outside its rooms (UNSAFE_ROOMS in xtask's manners.rs)",
            ));
        }
        let explained = is_explained(&code, &comments, line - 1);
        let after = code[line - 1].split("unsafe").nth(1).unwrap_or("").trim_start();
        if (after.is_empty() || after.starts_with('{') || after.starts_with("impl")) && !explained {
            findings.push(Finding::new(path, line, "`unsafe` without a `// SAFETY:` comment above it"));
        }
    }
    findings
}

/// Whether a SAFETY comment stands on this line, or above it within the same statement.
fn is_explained(code: &[&str], comments: &[&str], line: usize) -> bool {
    for index in (0..=line).rev() {
        if comments[index].contains("SAFETY:") {
            return true;
        }
        let above = index.checked_sub(1).map_or("", |above| code[above].trim());
        let ended = above.ends_with([';', '{', '}', ',']);
        let gap = index > 0 && above.is_empty() && comments[index - 1].trim().is_empty();
        if ended || gap {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(findings: Vec<Finding>) -> Vec<usize> {
        findings.into_iter().map(|finding| finding.line).collect()
    }

    fn in_rust(path: &str, text: &str) -> Vec<usize> {
        found(check_rust(path, &Rust::read(text)))
    }

    #[test]
    fn a_file_has_a_sign_on_its_door() {
        assert_eq!(in_rust("a.rs", "//! A room.\nfn a() {}\n"), Vec::<usize>::new());
        for bad in ["", "fn a() {}", "// a\n", "/// a\n", "\n//! a\n"] {
            assert_eq!(in_rust("a.rs", bad), [1], "{bad:?}");
        }
    }

    #[test]
    fn a_name_says_something() {
        for bad in
            ["crates/core/src/util.rs", "crates/common/src/lib.rs", "a/helpers.py", "a/manager/b.rs", "misc"]
        {
            assert!(check_name(bad).is_some(), "{bad}");
        }
        for good in ["crates/core/src/futile.rs", "a/commons_law.rs", "README.md"] {
            assert!(check_name(good).is_none(), "{good}");
        }
    }

    #[test]
    fn marks_are_whole_words() {
        for mark in MARKS {
            assert_eq!(found(check_marks("a.rs", &format!("one\n// {mark}: later\n"))), [2]);
            assert_eq!(found(check_marks("a.rs", &format!("a{mark} {mark}S _{mark}"))), Vec::<usize>::new());
        }
    }

    #[test]
    fn a_large_file_is_found_and_a_page_may_speak_of_marks() {
        let file = |path: &str, bytes| SourceFile { path: path.into(), bytes, text: Some(MARKS[0].into()) };
        assert_eq!(found(check_file(&file("a.bin", FILE_BYTES_MAX + 1))), [0]);
        assert_eq!(found(check_file(&file("STYLE.md", FILE_BYTES_MAX))), Vec::<usize>::new());
        assert_eq!(found(check_file(&file("a.toml", 1))), [1]);
    }

    #[test]
    fn globs_stand_in_test_modules_only_and_only_for_the_module_above() {
        let tests = "//! A.\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n";
        assert_eq!(in_rust("a.rs", tests), Vec::<usize>::new());
        assert_eq!(in_rust("a/tests.rs", "//! A.\nuse super::*;\n"), Vec::<usize>::new());
        for bad in ["use super::*;", "use a::{b, c::*};", "pub use a::*;", "pub(crate) use a::*;"] {
            assert_eq!(in_rust("a.rs", &format!("//! A.\n{bad}\n")), [2], "{bad}");
        }
        assert_eq!(in_rust("a/tests.rs", "//! A.\nuse crate::*;\n"), [2]);
    }

    #[test]
    fn unsafe_stays_in_its_rooms_and_is_explained() {
        let check = |text: &str| found(check_unsafe("crates/x/a.rs", &Rust::read(text), &["crates/x/"]));
        for good in [
            "// SAFETY: it is ours.\nlet a = unsafe { f() };",
            "// SAFETY: it is ours\n// and stays so.\nunsafe impl Send for A {}",
            "// SAFETY: long.\nlet a =\n    unsafe { f() };",
            "unsafe fn a() {}",
            "// unsafe { }\nlet s = \"unsafe {\";",
            "#![deny(unsafe_op_in_unsafe_fn)]",
        ] {
            assert_eq!(check(good), Vec::<usize>::new(), "{good}");
        }
        for bad in [
            "unsafe { f() }",
            "// SAFETY: of another.\ng();\nunsafe { f() }",
            "// SAFETY: too far.\n\nunsafe { f() }",
            "unsafe impl Send for A {}",
        ] {
            assert_eq!(check(bad).len(), 1, "{bad}");
        }
        let outside = Rust::read("// SAFETY: yes.\nunsafe { f() }");
        assert_eq!(found(check_unsafe("crates/y/a.rs", &outside, &["crates/x/"])), [2]);
    }
}
