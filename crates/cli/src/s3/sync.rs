//! `pangea sync`: makes a target's content equal to a source's.
//!
//! Both sides are walked in the same order and compared as they go by. Equal are: sizes and the time kept in the object's
//! metadata (of objects without one: an object written after the file's last change); or sizes and checksums; or sizes alone.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use pangea_s3client::{Algorithm, Head, Listed, Moment, Removal, Sum};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Failure;
use crate::s3::carry::{Carrier, Job, Jobs, MTIME};
use crate::s3::filter::Filter;
use crate::s3::name::{Name, Remote, below};
use crate::s3::parts::{blocking, of_file};
use crate::s3::report::Deed;
use crate::s3::rm::Remover;
use crate::s3::walk::{self, At, Entries, Entry};
use crate::s3::words::SyncArgs;
use crate::s3::{Ground, advice, cp};

/// Comparisons under way.
const COMPARISONS_MAX: usize = 32;

/// How entries of equal size are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Time,
    Checksum,
    Size,
}

/// The two sides.
#[derive(Clone)]
struct Sides {
    from: Option<Remote>,
    to: Name,
    to_remote: Option<Remote>,
    by: By,
}

pub(crate) async fn run(ground: &Ground, args: &SyncArgs) -> Result<ExitCode, Failure> {
    let carrier = Carrier::new(ground, &args.transfer, false, false)?;
    let filter = Filter::new(&args.choice)?;
    let (from, to) = (Name::parse(&ground.hosts, &args.source)?, Name::parse(&ground.hosts, &args.target)?);
    let (source, from_remote) = side(&from, &args.source, true)?;
    let (target, to_remote) = side(&to, &args.target, false)?;
    match (&from_remote, &to_remote) {
        (None, None) => {
            let advice = "one of them is ALIAS/BUCKET; between directories, rsync is for it";
            return Err(Failure::new("both sides are local", advice, 2));
        }
        (Some(from), Some(to))
            if cp::same_place(from, to)
                && (from.key.starts_with(&to.key) || to.key.starts_with(&from.key)) =>
        {
            return Err(Failure::new("one side lies in the other", "name a target outside of the source", 2));
        }
        _ => {}
    }
    let by = match (args.checksum, args.size_only) {
        (true, _) => By::Checksum,
        (_, true) => By::Size,
        _ => By::Time,
    };
    let sides = Sides { from: from_remote, to, to_remote, by };
    let surplus = compare(&carrier, &sides, &filter, source, target, args.delete).await?;
    if args.delete {
        remove(ground, &sides, surplus, args.transfer.dry_run).await;
    }
    Ok(ground.reporter.end())
}

/// The entries of one side. A target that is not there yet is empty.
fn side(name: &Name, word: &str, is_source: bool) -> Result<(Entries, Option<Remote>), Failure> {
    match name {
        Name::Stdio => Err(Failure::new("`-` cannot be synced", "name a directory", 2)),
        Name::Remote(remote) => {
            let remote = remote.clone().has_bucket("sync")?.as_directory();
            Ok((walk::objects(&remote, false), Some(remote)))
        }
        Name::Local(path) => match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => Ok((walk::files(path), None)),
            Ok(_) => Err(Failure::new(format!("`{word}` is no directory"), "use cp for one file", 2)),
            Err(error) if !is_source && error.kind() == std::io::ErrorKind::NotFound => {
                Ok((tokio::sync::mpsc::channel(1).1, None))
            }
            Err(error) => Err(of_file(path, &error)),
        },
    }
}

/// Copies what differs; what only the target has.
async fn compare(
    carrier: &Arc<Carrier>,
    sides: &Sides,
    filter: &Filter,
    mut source: Entries,
    mut target: Entries,
    wants_surplus: bool,
) -> Result<Vec<Entry>, Failure> {
    let mut jobs = Jobs::new(carrier);
    let mut comparing: JoinSet<Result<Option<Job>, Failure>> = JoinSet::new();
    let room = Arc::new(Semaphore::new(COMPARISONS_MAX));
    let mut surplus = Vec::new();
    let (mut left, mut right) = (next(&mut source, filter).await?, next(&mut target, filter).await?);
    // A prefix with nothing below it is as good as one that was mistyped.
    if wants_surplus && sides.from.is_some() && left.is_none() && right.is_some() {
        let advice = "is its name right? `pangea rm -r` or rm empties a target on purpose";
        return Err(Failure::new(
            "the source has nothing: with --delete the target would be emptied",
            advice,
            1,
        ));
    }
    while left.is_some() || right.is_some() {
        while let Some(ended) = comparing.try_join_next() {
            push(carrier, &mut jobs, ended).await;
        }
        match (left.take(), right.take()) {
            (Some(one), Some(other)) if one.rel == other.rel => {
                let permit = room.clone().acquire_owned().await.expect("it is never closed");
                let sides = sides.clone();
                comparing.spawn(async move {
                    let differs = differs(&sides, &one, &other).await?;
                    drop(permit);
                    if differs { job(&sides, one) } else { Ok(None) }
                });
                left = next(&mut source, filter).await?;
                right = next(&mut target, filter).await?;
            }
            (Some(one), other) if other.as_ref().is_none_or(|other| one.rel < other.rel) => {
                push(carrier, &mut jobs, Ok(job(sides, one))).await;
                left = next(&mut source, filter).await?;
                right = other;
            }
            (one, Some(other)) => {
                if wants_surplus {
                    surplus.push(other);
                }
                left = one;
                right = next(&mut target, filter).await?;
            }
            (one, None) => left = one,
        }
    }
    while let Some(ended) = comparing.join_next().await {
        push(carrier, &mut jobs, ended).await;
    }
    jobs.finish().await;
    Ok(surplus)
}

/// The next entry that is meant. What cannot be read ends it all: nobody would know what is missing.
async fn next(entries: &mut Entries, filter: &Filter) -> Result<Option<Entry>, Failure> {
    while let Some(entry) = entries.recv().await {
        let entry = entry?;
        // What stands for a directory has no place among files.
        if filter.takes(&entry.rel) && !entry.rel.is_empty() && !(entry.rel.ends_with('/') && entry.size == 0)
        {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

async fn push(
    carrier: &Arc<Carrier>,
    jobs: &mut Jobs,
    ended: Result<Result<Option<Job>, Failure>, tokio::task::JoinError>,
) {
    match ended {
        Ok(Ok(Some(job))) => jobs.push(job).await,
        Ok(Ok(None)) => {}
        Ok(Err(failure)) => carrier.reporter.problem(&failure),
        Err(error) => {
            let what = format!("internal error: {error}");
            carrier.reporter.problem(&Failure::new(what, "please report it", 1));
        }
    }
}

fn job(sides: &Sides, entry: Entry) -> Result<Option<Job>, Failure> {
    let rel = entry.rel.clone();
    cp::job(sides.from.as_ref(), &sides.to, &rel, entry)
}

async fn differs(sides: &Sides, one: &Entry, other: &Entry) -> Result<bool, Failure> {
    if one.size != other.size {
        return Ok(true);
    }
    match (&one.at, &other.at) {
        _ if sides.by == By::Size => Ok(false),
        (At::Object(one), At::Object(other)) => objects_differ(sides, one, other).await,
        (At::File(path), At::Object(object)) => {
            file_differs(sides, sides.to_remote.as_ref(), path, one.modified, object, true).await
        }
        (At::Object(object), At::File(path)) => {
            file_differs(sides, sides.from.as_ref(), path, other.modified, object, false).await
        }
        (At::File(_), At::File(_)) => Ok(true),
    }
}

async fn head(of: &Remote, object: &Listed) -> Result<Head, Failure> {
    let name = of.with_key(object.key.clone());
    let head = name.place.client.head_with_proof(&name.bucket, &name.key, None).await;
    head.map_err(|error| advice::of(&error, &name.place.alias, &name.shown()))
}

async fn objects_differ(sides: &Sides, one: &Listed, other: &Listed) -> Result<bool, Failure> {
    if one.etag == other.etag && !one.etag.is_empty() {
        return Ok(false);
    }
    let (Some(from), Some(to)) = (&sides.from, &sides.to_remote) else { return Ok(true) };
    let (one_head, other_head) = (head(from, one).await?, head(to, other).await?);
    for proof in &one_head.proofs {
        if let Some(same) = other_head.proofs.iter().find(|other| other.algorithm == proof.algorithm) {
            return Ok(same.value != proof.value);
        }
    }
    let (kept, copied) = (one_head.meta(MTIME), other_head.meta(MTIME));
    if sides.by == By::Time && kept.is_some() {
        return Ok(kept != copied);
    }
    Ok(sides.by == By::Checksum || one.modified > other.modified)
}

async fn file_differs(
    sides: &Sides,
    of: Option<&Remote>,
    path: &std::path::Path,
    changed: Option<Moment>,
    object: &Listed,
    uploads: bool,
) -> Result<bool, Failure> {
    let Some(of) = of else { return Ok(true) };
    // What is newer than the object was written after it.
    if sides.by == By::Time && uploads && changed > object.modified {
        return Ok(true);
    }
    let head = head(of, object).await?;
    if sides.by == By::Checksum {
        let Some(proof) = head.proofs.first() else {
            return Ok(kept_time_differs(&head, changed).unwrap_or(true));
        };
        return Ok(sum_of(path.to_owned(), proof.algorithm).await? != proof.value);
    }
    let by_order = if uploads { changed > object.modified } else { object.modified > changed };
    Ok(kept_time_differs(&head, changed).unwrap_or(by_order))
}

/// Whether the time that is kept with the object is another; nothing when none is kept.
fn kept_time_differs(head: &Head, changed: Option<Moment>) -> Option<bool> {
    let kept = Moment::from_decimal(head.meta(MTIME)?)?;
    // Some tools keep whole seconds only.
    let whole = Moment::at(kept.seconds()) == kept;
    let same = |changed: Moment| changed == kept || (whole && changed.seconds() == kept.seconds());
    Some(!changed.is_some_and(same))
}

async fn sum_of(path: PathBuf, algorithm: Algorithm) -> Result<String, Failure> {
    let shown = path.clone();
    let read = move || {
        let (mut file, mut sum) = (fs::File::open(path)?, Sum::new(algorithm));
        let mut buffer = vec![0; 1 << 20];
        loop {
            match std::io::Read::read(&mut file, &mut buffer)? {
                0 => return Ok(sum.finish()),
                read => sum.update(&buffer[..read]),
            }
        }
    };
    blocking(read).await.map_err(|error| of_file(&shown, &error))
}

/// Removes what only the target has. After a failure nothing is removed: what failed may be what makes it surplus.
async fn remove(ground: &Ground, sides: &Sides, surplus: Vec<Entry>, dry_run: bool) {
    if surplus.is_empty() {
        return;
    }
    if ground.reporter.has_failed() {
        let text = format!("{} surplus ones were kept, because something failed", surplus.len());
        ground.reporter.note(&text);
        return;
    }
    if let Some(remote) = &sides.to_remote {
        let mut remover = Remover::new(ground, remote, dry_run);
        for entry in surplus {
            remover.push(Removal { key: format!("{}{}", remote.key, entry.rel), version: None }).await;
        }
        return remover.finish().await;
    }
    let Name::Local(top) = &sides.to else { return };
    for entry in surplus {
        let removed = below(top, &entry.rel).and_then(|path| {
            if !dry_run {
                fs::remove_file(&path).map_err(|error| of_file(&path, &error))?;
            }
            Ok(path)
        });
        match removed {
            Ok(path) => {
                let source = path.display().to_string();
                let deed = Deed {
                    action: "remove",
                    source: &source,
                    target: None,
                    version: None,
                    bytes: None,
                    dry_run,
                };
                ground.reporter.deed(&deed);
            }
            Err(failure) => ground.reporter.problem(&failure),
        }
    }
}
