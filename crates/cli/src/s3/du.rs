//! `pangea du`: sizes, added up by prefix.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde::Serialize;

use crate::Failure;
use crate::s3::Ground;
use crate::s3::filter::Filter;
use crate::s3::ls::printable;
use crate::s3::name::Name;
use crate::s3::parts::of_file;
use crate::s3::walk;
use crate::s3::words::DuArgs;
use crate::status::bytes;

/// One line.
#[derive(Serialize)]
pub(crate) struct Total<'a> {
    pub(crate) name: &'a str,
    pub(crate) bytes: u64,
    pub(crate) count: u64,
}

impl Total<'_> {
    pub(crate) fn text(&self) -> String {
        format!("{:>10} {:>9}  {}\n", bytes(self.bytes), self.count, printable(self.name))
    }
}

/// Sums by prefix, down to a depth; the empty prefix is everything.
#[derive(Default)]
pub(crate) struct Sums(BTreeMap<String, (u64, u64)>);

impl Sums {
    pub(crate) fn add(&mut self, rel: &str, size: u64, depth: usize) {
        let ends = rel.match_indices('/').map(|(at, _)| at + 1).take(depth);
        for end in std::iter::once(0).chain(ends) {
            let (bytes, count) = self.0.entry(rel[..end].to_owned()).or_default();
            *bytes += size;
            *count += 1;
        }
    }

    /// Each prefix with bytes and number, everything last.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        self.0.iter().rev().map(|(prefix, (bytes, count))| (prefix.as_str(), *bytes, *count))
    }
}

pub(crate) async fn run(ground: &Ground, args: &DuArgs) -> Result<ExitCode, Failure> {
    let filter = Filter::new(&args.choice)?;
    for word in &args.names {
        let (mut entries, shown) = match Name::parse(&ground.hosts, word)? {
            Name::Stdio => return Err(Failure::new("`-` has no size", "name a place", 2)),
            Name::Local(path) => {
                std::fs::read_dir(&path).map_err(|error| of_file(&path, &error))?;
                (walk::files(&path), format!("{}/", word.trim_end_matches('/')))
            }
            Name::Remote(name) => {
                let name = name.has_bucket("du")?.as_directory();
                (walk::objects(&name, args.versions), format!("{}/", name.shown().trim_end_matches('/')))
            }
        };
        let mut sums = Sums::default();
        while let Some(entry) = entries.recv().await {
            match entry {
                Ok(entry) if filter.takes(&entry.rel) => sums.add(&entry.rel, entry.size, args.depth),
                Ok(_) => {}
                Err(failure) => ground.reporter.problem(&failure),
            }
        }
        if sums.0.is_empty() && !ground.reporter.has_failed() {
            sums.0.insert(String::new(), (0, 0));
        }
        for (prefix, bytes, count) in sums.lines() {
            let name = format!("{shown}{prefix}");
            let total = Total { name: &name, bytes, count };
            ground.reporter.answer(&total, &total.text());
        }
    }
    Ok(ground.reporter.code())
}
