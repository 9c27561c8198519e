//! `pangea find`: objects and files by name, size and age.

use std::process::ExitCode;

use pangea_s3client::Moment;

use crate::Failure;
use crate::s3::Ground;
use crate::s3::filter::{Pattern, is_older};
use crate::s3::ls::Line;
use crate::s3::name::Name;
use crate::s3::parts::of_file;
use crate::s3::walk::{self, At, Entry};
use crate::s3::words::FindArgs;

/// What is looked for.
struct Wanted<'a> {
    args: &'a FindArgs,
    name: Option<Pattern>,
    path: Option<Pattern>,
    now: Moment,
}

impl Wanted<'_> {
    fn takes(&self, entry: &Entry) -> bool {
        let last = entry.rel.trim_end_matches('/').rsplit('/').next().unwrap_or(&entry.rel);
        let args = self.args;
        self.name.as_ref().is_none_or(|pattern| pattern.matches(last))
            && self.path.as_ref().is_none_or(|pattern| pattern.matches(&entry.rel))
            && args.larger.is_none_or(|bytes| entry.size > bytes)
            && args.smaller.is_none_or(|bytes| entry.size < bytes)
            && args.older.is_none_or(|age| is_older(entry.modified, self.now, age))
            && args
                .newer
                .is_none_or(|age| entry.modified.is_some() && !is_older(entry.modified, self.now, age))
    }
}

pub(crate) async fn run(ground: &Ground, args: &FindArgs) -> Result<ExitCode, Failure> {
    let pattern = |text: &Option<String>| text.as_deref().map(Pattern::new).transpose();
    let wanted = Wanted { args, name: pattern(&args.name)?, path: pattern(&args.path)?, now: Moment::now() };
    for word in &args.names {
        let (mut entries, shown) = match Name::parse(&ground.hosts, word)? {
            Name::Stdio => return Err(Failure::new("`-` cannot be searched", "name a place", 2)),
            Name::Local(path) => {
                std::fs::read_dir(&path).map_err(|error| of_file(&path, &error))?;
                (walk::files(&path), format!("{}/", word.trim_end_matches('/')))
            }
            Name::Remote(name) => {
                let name = name.has_bucket("find")?.as_directory();
                (walk::objects(&name, false), format!("{}/", name.shown().trim_end_matches('/')))
            }
        };
        while let Some(entry) = entries.recv().await {
            match entry {
                Ok(entry) if wanted.takes(&entry) => show(ground, args, &shown, &entry),
                Ok(_) => {}
                Err(failure) => ground.reporter.problem(&failure),
            }
            if ground.reporter.is_gone() {
                return Ok(ground.reporter.code());
            }
        }
    }
    Ok(ground.reporter.code())
}

fn show(ground: &Ground, args: &FindArgs, place: &str, entry: &Entry) {
    let name = format!("{place}{}", entry.rel);
    let (kind, etag) = match &entry.at {
        At::File(_) => ("file", ""),
        At::Object(listed) => ("object", listed.etag.as_str()),
    };
    let modified = entry.modified.map(Moment::iso);
    let line = Line { name: &name, kind, bytes: Some(entry.size), modified, etag, ..Line::default() };
    // As it is, not made printable: it is meant for other commands.
    let text = format!("{name}{}", if args.print0 { '\0' } else { '\n' });
    ground.reporter.answer(&line, &text);
}
