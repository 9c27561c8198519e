//! Walks: the files or objects below a name, in the bytewise order of their names, a few at a time.
//!
//! A directory sorts as its name with a `/` behind it, so that files come in the order in which an endpoint lists objects,
//! and two walks can be compared without holding either.

use std::fs::{self, DirEntry, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use pangea_s3client::{Listed, Moment, PageAsk};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::Failure;
use crate::s3::advice;
use crate::s3::name::Remote;

/// Entries that wait to be taken.
const AHEAD: usize = 2_000;
/// Directories in directories.
const DEPTH_MAX: usize = 256;
/// What an unfinished download is called; never walked into.
pub(crate) const PART_END: &str = ".pangea-part";

/// A file or an object.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Below the name that was walked, with `/` between parts.
    pub(crate) rel: String,
    pub(crate) size: u64,
    pub(crate) modified: Option<Moment>,
    pub(crate) at: At,
}

/// Where it is.
#[derive(Clone, Debug)]
pub(crate) enum At {
    File(PathBuf),
    Object(Listed),
}

/// Entries, or why one of them is not among them.
pub(crate) type Entries = Receiver<Result<Entry, Failure>>;

/// The regular files below a directory.
pub(crate) fn files(top: &Path) -> Entries {
    let (sender, receiver) = channel(AHEAD);
    let top = top.to_owned();
    tokio::task::spawn_blocking(move || {
        let identity = |meta: Metadata| (meta.dev(), meta.ino());
        let mut above: Vec<(u64, u64)> = fs::metadata(&top).map(identity).into_iter().collect();
        walk_directory(&top, "", &mut above, &sender);
    });
    receiver
}

/// Nothing more when the receiver has gone.
type Going = Option<()>;

fn walk_directory(
    dir: &Path,
    rel: &str,
    above: &mut Vec<(u64, u64)>,
    to: &Sender<Result<Entry, Failure>>,
) -> Going {
    let mut found: Vec<(String, PathBuf, Metadata)> = Vec::new();
    let listed = fs::read_dir(dir).and_then(|entries| entries.collect::<Result<Vec<DirEntry>, _>>());
    let entries = match listed {
        Ok(entries) => entries,
        Err(error) => return to.blocking_send(Err(unreadable(dir, &error))).ok(),
    };
    for entry in entries {
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            let advice = "rename it: keys are UTF-8";
            to.blocking_send(Err(Failure::new(
                format!("{}: the name is not UTF-8", path.display()),
                advice,
                1,
            )))
            .ok()?;
            continue;
        };
        // Links are followed: what counts is what is read.
        match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => found.push((format!("{name}/"), path, meta)),
            Ok(meta) if meta.is_file() => {
                let unfinished = name.ends_with(PART_END) || name.ends_with(&format!("{PART_END}.state"));
                if !unfinished {
                    found.push((name, path, meta));
                }
            }
            // Sockets, pipes and devices have no content to copy.
            Ok(_) => {}
            Err(error) => to.blocking_send(Err(unreadable(&path, &error))).ok()?,
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, path, meta) in found {
        let rel = format!("{rel}{name}");
        if !meta.is_dir() {
            let modified = meta.modified().ok().map(Moment::from_system);
            to.blocking_send(Ok(Entry { rel, size: meta.len(), modified, at: At::File(path) })).ok()?;
            continue;
        }
        let identity = (meta.dev(), meta.ino());
        if above.contains(&identity) || above.len() >= DEPTH_MAX {
            let what = format!("{}: a link leads back to a directory above", path.display());
            to.blocking_send(Err(Failure::new(what, "leave it out with --exclude, or remove the link", 1)))
                .ok()?;
            continue;
        }
        above.push(identity);
        walk_directory(&path, &rel, above, to)?;
        above.pop();
    }
    Some(())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let advice = "make it readable, or leave it out with --exclude";
    Failure::new(format!("{}: {error}", path.display()), advice, 1)
}

/// The objects whose keys begin with the name's.
pub(crate) fn objects(name: &Remote, versions: bool) -> Entries {
    let (sender, receiver) = channel(AHEAD);
    let name = name.clone();
    tokio::spawn(async move {
        let mut ask = PageAsk { prefix: name.key.clone(), versions, ..PageAsk::default() };
        let mut last = String::new();
        loop {
            let page = match name.place.client.list(&name.bucket, &ask).await {
                Ok(page) => page,
                Err(error) => {
                    drop(sender.send(Err(advice::of(&error, &name.place.alias, &name.shown()))).await);
                    return;
                }
            };
            for listed in page.objects {
                let in_order = last.as_str() <= listed.key.as_str();
                let Some(rel) = listed.key.strip_prefix(&name.key).filter(|_| in_order).map(str::to_owned)
                else {
                    let what =
                        format!("{}: the endpoint does not list in order ({})", name.shown(), listed.key);
                    drop(
                        sender.send(Err(Failure::new(what, "copy smaller prefixes by themselves", 1))).await,
                    );
                    return;
                };
                last.clone_from(&listed.key);
                let entry =
                    Entry { rel, size: listed.size, modified: listed.modified, at: At::Object(listed) };
                if sender.send(Ok(entry)).await.is_err() {
                    return;
                }
            }
            ask.after = page.next;
            if ask.after.is_none() {
                return;
            }
        }
    });
    receiver
}
