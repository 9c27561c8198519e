//! Tidy: the project's agreements, as tests over its text. Rules that matter are executed; the rest are examples.
//!
//! | room | the agreement |
//! |---|---|
//! | `arrows` | which crate may use which: the table in ARCHITECTURE.md against `cargo metadata` |
//! | `purity` | what a crate may not touch: no clock, files, threads or `async` in core, and so on |
//! | `manners` | module docs, file names, no left-over marks, no globs, explained `unsafe`, no big files |
//! | `ratchet` | long files and functions: those of today are listed and may only shrink |
//! | `formats` | the sources that define bytes change together with docs/formats.md |
//! | `rust` | Rust text as the rules see it: code without comments and strings, functions, paths |
//!
//! Every rule is a pure function from text to findings; only this file reads anything.

mod arrows;
mod formats;
mod manners;
mod purity;
mod ratchet;
mod rust;

use std::fmt;

use anyhow::Result;

use crate::project::{self, SourceFile};
use rust::Rust;

const LARGEST_SHOWN: usize = 10;

/// One broken agreement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, from the root.
    path: String,
    /// The line, from 1; 0 when it is about the whole file.
    line: usize,
    /// What is wrong and what to do about it.
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_string(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// Tests every agreement and prints what is broken; `true` when nothing is.
pub fn run() -> Result<bool> {
    let files = project::files()?;
    let sources = rust_sources(&files);
    let mut findings = Vec::new();

    let members = project::members(&project::metadata(&["--no-deps"])?)?;
    findings.extend(arrows::check(&project::read(arrows::TABLE)?, &members));
    for file in &files {
        findings.extend(manners::check_file(file));
    }
    for (file, source) in &sources {
        findings.extend(manners::check_rust(&file.path, source));
        findings.extend(purity::check(&file.path, source));
    }
    let listed = ratchet::List::parse(&project::read(ratchet::LIST)?)?;
    let found = ratchet::List::measure(&sources);
    findings.extend(ratchet::check(&listed, &found));
    let lock = formats::Lock::parse(&project::read(formats::LOCK)?)?;
    findings.extend(formats::check(&lock, &files));

    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    print_largest(&sources);
    if listed.could_shrink(&found) {
        println!("some ratchets have shrunk: `cargo xtask tidy --update` makes that stay");
    }
    println!("tidy: {} files, {} findings", files.len(), findings.len());
    Ok(findings.is_empty())
}

/// Accepts what got better: shrunken ratchets, and format sources whose page was changed with them (or, with
/// `same_bytes`, without it). Never accepts a new or a grown offender; such a line is written by hand, and seen in review.
pub fn update(same_bytes: bool) -> Result<bool> {
    let files = project::files()?;
    let listed = ratchet::List::parse(&project::read(ratchet::LIST)?)?;
    project::write(
        ratchet::LIST,
        &listed.shrink(&ratchet::List::measure(&rust_sources(&files))).to_string(),
    )?;
    let lock = formats::Lock::parse(&project::read(formats::LOCK)?)?;
    project::write(formats::LOCK, &lock.update(&files, same_bytes).to_string())?;
    run()
}

fn rust_sources(files: &[SourceFile]) -> Vec<(&SourceFile, Rust)> {
    let rust = files.iter().filter(|file| file.path.ends_with(".rs"));
    rust.filter_map(|file| Some((file, Rust::read(file.text.as_deref()?)))).collect()
}

fn print_largest(sources: &[(&SourceFile, Rust)]) {
    let mut sizes: Vec<(usize, &str)> =
        sources.iter().map(|(file, source)| (source.lines(), file.path.as_str())).collect();
    sizes.sort_by(|a, b| b.cmp(a));
    println!("largest Rust files:");
    for (lines, path) in sizes.iter().take(LARGEST_SHOWN) {
        println!("{lines:6} {path}");
    }
}
