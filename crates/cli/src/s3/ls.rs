//! `pangea ls`: buckets, objects, versions, unfinished uploads, files.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use pangea_s3client::{Listed, Moment, PageAsk, Upload};
use serde::Serialize;

use crate::Failure;
use crate::s3::name::{Name, Remote};
use crate::s3::parts::of_file;
use crate::s3::walk::{self, At, Entry};
use crate::s3::words::LsArgs;
use crate::s3::{Ground, advice, alias};
use crate::status::bytes;

/// One line of a listing.
#[derive(Serialize, Default)]
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    /// bucket, prefix, object, marker, upload or file.
    pub(crate) kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) modified: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) etag: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) class: &'a str,
    /// Of an object's version or of an upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) latest: bool,
}

impl Line<'_> {
    /// Time, size, name; of a version its id, too.
    pub(crate) fn text(&self) -> String {
        let time = self.modified.as_deref().unwrap_or("");
        let size = match (self.kind, self.bytes) {
            (_, Some(size)) => bytes(size),
            ("prefix", None) => "PRE".into(),
            ("marker", None) => "DELETED".into(),
            (_, None) => String::new(),
        };
        let id = self
            .id
            .map_or(String::new(), |id| format!("  {id}{}", if self.latest { " (latest)" } else { "" }));
        format!("{time:20} {size:>10}  {}{id}\n", printable(self.name))
    }
}

/// A name without what would move the terminal's cursor.
pub(crate) fn printable(name: &str) -> String {
    name.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

pub(crate) async fn run(ground: &Ground, args: &LsArgs) -> Result<ExitCode, Failure> {
    if args.names.is_empty() {
        return alias::list(ground);
    }
    for word in &args.names {
        match Name::parse(&ground.hosts, word)? {
            Name::Stdio => return Err(Failure::new("`-` has nothing to list", "name a place", 2)),
            Name::Local(path) => list_files(ground, &path, args.recursive).await?,
            Name::Remote(name) if name.bucket.is_empty() => list_buckets(ground, &name).await?,
            Name::Remote(name) if args.incomplete => list_uploads(ground, &name).await?,
            Name::Remote(name) => list_objects(ground, args, name).await?,
        }
    }
    Ok(ground.reporter.code())
}

fn time(at: Option<Moment>) -> Option<String> {
    at.map(Moment::iso)
}

async fn list_buckets(ground: &Ground, name: &Remote) -> Result<(), Failure> {
    let buckets = name.place.client.buckets().await;
    for bucket in buckets.map_err(|error| advice::of(&error, &name.place.alias, ""))? {
        let name = format!("{}/", bucket.name);
        let line = Line { name: &name, kind: "bucket", modified: time(bucket.created), ..Line::default() };
        ground.reporter.answer(&line, &line.text());
    }
    Ok(())
}

async fn list_uploads(ground: &Ground, name: &Remote) -> Result<(), Failure> {
    let uploads = name.place.client.uploads(&name.bucket, &name.key).await;
    for Upload { key, id, begun } in
        uploads.map_err(|error| advice::of(&error, &name.place.alias, &name.shown()))?
    {
        let line =
            Line { name: &key, kind: "upload", modified: time(begun), id: Some(&id), ..Line::default() };
        ground.reporter.answer(&line, &line.text());
    }
    Ok(())
}

/// The keys below a prefix, without the directory that they share. A key that stands for itself is shown by its last part.
async fn list_objects(ground: &Ground, args: &LsArgs, name: Remote) -> Result<(), Failure> {
    let hidden = name.key.rfind('/').map_or(0, |at| at + 1);
    let mut ask = PageAsk {
        prefix: name.key.clone(),
        folds: !args.recursive,
        versions: args.versions,
        ..PageAsk::default()
    };
    let mut found = false;
    loop {
        let page = name.place.client.list(&name.bucket, &ask).await;
        let page = page.map_err(|error| advice::of(&error, &name.place.alias, &name.shown()))?;
        found |= !(page.objects.is_empty() && page.prefixes.is_empty());
        for prefix in &page.prefixes {
            let line =
                Line { name: prefix.get(hidden..).unwrap_or(prefix), kind: "prefix", ..Line::default() };
            ground.reporter.answer(&line, &line.text());
        }
        for object in &page.objects {
            let line = object_line(object, hidden, args.versions);
            ground.reporter.answer(&line, &line.text());
        }
        ask.after = page.next;
        if ask.after.is_none() || ground.reporter.is_gone() {
            break;
        }
    }
    if !found && !name.key.is_empty() {
        let advice = format!("`pangea ls {}/{}` shows what the bucket has", name.place.alias, name.bucket);
        return Err(Failure::new(format!("{}: nothing begins with this", name.shown()), advice, 1));
    }
    Ok(())
}

fn object_line(object: &Listed, hidden: usize, versions: bool) -> Line<'_> {
    let name = object.key.get(hidden..).filter(|rest| !rest.is_empty()).unwrap_or(&object.key);
    Line {
        name,
        kind: if object.marker { "marker" } else { "object" },
        bytes: (!object.marker).then_some(object.size),
        modified: time(object.modified),
        etag: &object.etag,
        class: &object.class,
        id: object.version.as_deref().filter(|_| versions),
        latest: versions && object.latest,
    }
}

async fn list_files(ground: &Ground, path: &Path, recursive: bool) -> Result<(), Failure> {
    let meta = fs::metadata(path).map_err(|error| of_file(path, &error))?;
    if meta.is_file() {
        let (name, modified) = (path.display().to_string(), meta.modified().ok().map(Moment::from_system));
        let line = Line {
            name: &name,
            kind: "file",
            bytes: Some(meta.len()),
            modified: time(modified),
            ..Line::default()
        };
        ground.reporter.answer(&line, &line.text());
        return Ok(());
    }
    if !recursive {
        return list_directory(ground, path);
    }
    let mut entries = walk::files(path);
    while let Some(entry) = entries.recv().await {
        match entry {
            Ok(Entry { rel, size, modified, at: At::File(_) }) => {
                let line = Line {
                    name: &rel,
                    kind: "file",
                    bytes: Some(size),
                    modified: time(modified),
                    ..Line::default()
                };
                ground.reporter.answer(&line, &line.text());
            }
            Ok(_) => {}
            Err(failure) => ground.reporter.problem(&failure),
        }
        if ground.reporter.is_gone() {
            break;
        }
    }
    Ok(())
}

fn list_directory(ground: &Ground, path: &Path) -> Result<(), Failure> {
    let wrong = |error: std::io::Error| of_file(path, &error);
    let mut entries = fs::read_dir(path).map_err(wrong)?.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let meta = fs::metadata(entry.path()).or_else(|_| entry.metadata()).map_err(wrong)?;
        let modified = meta.modified().ok().map(Moment::from_system);
        let (name, kind) = if meta.is_dir() { (format!("{name}/"), "prefix") } else { (name, "file") };
        let bytes = (!meta.is_dir()).then_some(meta.len());
        let modified = time(modified).filter(|_| !meta.is_dir());
        let line = Line { name: &name, kind, bytes, modified, ..Line::default() };
        ground.reporter.answer(&line, &line.text());
    }
    Ok(())
}
