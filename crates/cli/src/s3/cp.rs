//! `pangea cp` and `pangea mv`.
//!
//! A target that ends with `/`, is a directory or is a bucket takes sources in under their own names; any other target is
//! the copy's name. With -r, a source that ends with `/` gives its content, any other comes with its name.

use std::process::ExitCode;
use std::sync::Arc;

use crate::Failure;
use crate::s3::Ground;
use crate::s3::carry::{Carrier, Job, Jobs, Source, Target};
use crate::s3::filter::Filter;
use crate::s3::name::{Name, Remote, below};
use crate::s3::parts::of_file;
use crate::s3::walk::{self, At, Entry};
use crate::s3::words::CpArgs;

pub(crate) async fn run(ground: &Ground, args: &CpArgs, moves: bool) -> Result<ExitCode, Failure> {
    let Some((target, sources)) = args.names.split_last() else {
        return Err(Failure::new("nothing to copy", "name sources and a target", 2));
    };
    let carrier = Carrier::new(ground, &args.transfer, args.if_none_match, moves)?;
    let filter = Filter::new(&args.choice)?;
    let to = Name::parse(&ground.hosts, target)?;
    let takes_in = takes_in(&to, target);
    if sources.len() > 1 && !takes_in {
        let what = format!("several sources cannot all become `{target}`");
        return Err(Failure::new(what, format!("write {target}/ to copy into it"), 2));
    }
    let mut jobs = Jobs::new(&carrier);
    for word in sources {
        let from = Name::parse(&ground.hosts, word)?;
        refuse_itself(&from, &to, word, target, args.recursive)?;
        if args.recursive {
            push_all(ground, &carrier, &mut jobs, &filter, (&from, word), (&to, takes_in)).await?;
        } else {
            push_one(&mut jobs, &from, word, &to, takes_in, args.version_id.clone()).await?;
        }
    }
    jobs.finish().await;
    Ok(ground.reporter.end())
}

/// Whether what is copied keeps its own name below the target.
fn takes_in(to: &Name, word: &str) -> bool {
    match to {
        Name::Stdio => false,
        Name::Local(path) => word.ends_with('/') || path.is_dir(),
        Name::Remote(remote) => remote.key.is_empty() || remote.key.ends_with('/'),
    }
}

fn refuse_itself(from: &Name, to: &Name, word: &str, target: &str, recursive: bool) -> Result<(), Failure> {
    match (from, to) {
        (Name::Local(_) | Name::Stdio, Name::Local(_) | Name::Stdio) => {
            let advice = "one of them is ALIAS/BUCKET/KEY, with an alias of `pangea alias list`; between files use this machine's cp";
            Err(Failure::new(format!("`{word}` and `{target}` are both local"), advice, 2))
        }
        (Name::Remote(_), Name::Stdio) if recursive => {
            Err(Failure::new("-r cannot write to standard output", "use `pangea cat NAME...`", 2))
        }
        (Name::Stdio, _) if recursive => {
            Err(Failure::new("-r cannot read standard input", "leave -r out", 2))
        }
        (Name::Remote(from), Name::Remote(to)) if same_place(from, to) && from.key == to.key => {
            Err(Failure::new(format!("`{word}` and `{target}` are the same"), "name another target", 2))
        }
        // A copy of what is being copied would never end.
        (Name::Remote(from), Name::Remote(to))
            if recursive && same_place(from, to) && to.key.starts_with(&from.as_directory().key) =>
        {
            Err(Failure::new(format!("`{target}` lies in `{word}`"), "name a target outside of it", 2))
        }
        _ => Ok(()),
    }
}

pub(crate) fn same_place(one: &Remote, other: &Remote) -> bool {
    Arc::ptr_eq(&one.place, &other.place) && one.bucket == other.bucket
}

fn last_part(name: &str) -> &str {
    name.trim_end_matches('/').rsplit('/').next().unwrap_or(name)
}

async fn push_one(
    jobs: &mut Jobs,
    from: &Name,
    word: &str,
    to: &Name,
    takes_in: bool,
    version: Option<String>,
) -> Result<(), Failure> {
    let (source, own, size) = match from {
        Name::Stdio => (Source::Stdin, None, None),
        Name::Local(path) => {
            let meta = std::fs::metadata(path).map_err(|error| of_file(path, &error))?;
            if meta.is_dir() {
                return Err(of_file(path, &std::io::ErrorKind::IsADirectory.into()));
            }
            let own = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
            let own = own.ok_or_else(|| {
                Failure::new(format!("`{word}` is no name for a key"), "name the target whole", 2)
            })?;
            (Source::File(path.clone()), Some(own), Some(meta.len()))
        }
        Name::Remote(name) => {
            let name = name.clone().has_key("cp")?;
            if name.key.ends_with('/') {
                return Err(Failure::new(
                    format!("`{word}` is a prefix"),
                    "add -r for everything below it",
                    2,
                ));
            }
            let own = last_part(&name.key).to_owned();
            (Source::Object { name, version, listed: None }, Some(own), None)
        }
    };
    let needs_name =
        || Failure::new("standard input has no name", "name the target whole: ALIAS/BUCKET/KEY", 2);
    let own = if takes_in { Some(own.ok_or_else(needs_name)?) } else { None };
    let target = match to {
        Name::Stdio => Target::Stdout,
        Name::Local(path) => Target::File(match own {
            Some(own) => below(path, &own)?,
            None => path.clone(),
        }),
        Name::Remote(remote) => {
            let remote = remote.clone().has_bucket("cp")?;
            let key = own.map_or(remote.key.clone(), |own| format!("{}{own}", remote.key));
            Target::Object(remote.with_key(key))
        }
    };
    jobs.push(Job { source, target, size }).await;
    Ok(())
}

async fn push_all(
    ground: &Ground,
    carrier: &Arc<Carrier>,
    jobs: &mut Jobs,
    filter: &Filter,
    (from, word): (&Name, &str),
    (to, takes_in): (&Name, bool),
) -> Result<(), Failure> {
    let (mut entries, from_remote) = match from {
        Name::Local(path) if path.is_file() => {
            return push_one(jobs, from, word, to, takes_in, None).await;
        }
        Name::Local(path) => {
            std::fs::read_dir(path).map_err(|error| of_file(path, &error))?;
            (walk::files(path), None)
        }
        Name::Remote(name) => {
            let name = name.clone().has_bucket("cp")?.as_directory();
            (walk::objects(&name, false), Some(name))
        }
        Name::Stdio => return Err(Failure::new("-r cannot read standard input", "leave -r out", 2)),
    };
    let keeps_name = takes_in && !word.ends_with('/');
    let own = if keeps_name { own_name(from) } else { String::new() };
    let mut found = false;
    while let Some(entry) = entries.recv().await {
        match entry {
            Ok(entry) if filter.takes(&entry.rel) => {
                found = true;
                match job(from_remote.as_ref(), to, &format!("{own}{}", entry.rel), entry) {
                    Ok(Some(job)) => jobs.push(job).await,
                    Ok(None) => {}
                    Err(failure) => carrier.reporter.problem(&failure),
                }
            }
            Ok(_) => found = true,
            Err(failure) => carrier.reporter.problem(&failure),
        }
    }
    if !found && !ground.reporter.has_failed() {
        let advice = "a name without -r is one object; `pangea ls` shows what is there";
        return Err(Failure::new(format!("there is nothing below `{word}`"), advice, 1));
    }
    Ok(())
}

/// `name/`, or nothing for what has no name of its own, as `.` and `/`.
fn own_name(from: &Name) -> String {
    let name = match from {
        Name::Local(path) => path.file_name().and_then(|name| name.to_str()).unwrap_or("").to_owned(),
        Name::Remote(name) if name.key.is_empty() => name.bucket.clone(),
        Name::Remote(name) => last_part(&name.key).to_owned(),
        Name::Stdio => String::new(),
    };
    if name.is_empty() { name } else { format!("{name}/") }
}

/// What moves an entry to its place below the target; nothing for what stands for a directory.
pub(crate) fn job(from: Option<&Remote>, to: &Name, rel: &str, entry: Entry) -> Result<Option<Job>, Failure> {
    // The place itself, where somebody keeps an object to stand for it.
    if rel.is_empty() {
        return Ok(None);
    }
    let target = match to {
        Name::Local(top) => {
            if rel.ends_with('/') && entry.size > 0 {
                let what = format!("the key `{rel}` cannot be a path: it ends with / and has content");
                return Err(Failure::new(what, "copy it by itself to a name of your choice", 1));
            }
            if rel.ends_with('/') {
                return Ok(None);
            }
            Target::File(below(top, rel)?)
        }
        Name::Remote(remote) => {
            let remote = remote.clone().has_bucket("cp")?.as_directory();
            Target::Object(remote.with_key(format!("{}{rel}", remote.key)))
        }
        Name::Stdio => return Ok(None),
    };
    let source = match (entry.at, from) {
        (At::File(path), _) => Source::File(path),
        (At::Object(listed), Some(from)) => {
            let name = from.with_key(listed.key.clone());
            Source::Object { name, version: None, listed: Some(listed) }
        }
        (At::Object(_), None) => return Ok(None),
    };
    Ok(Some(Job { source, target, size: Some(entry.size) }))
}
