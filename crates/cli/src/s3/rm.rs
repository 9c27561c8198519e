//! `pangea rm`: objects, versions, unfinished uploads. Many are removed by one request.

use std::process::ExitCode;
use std::sync::Arc;

use pangea_s3client::{Guard, Removal};
use tokio::task::JoinSet;

use crate::Failure;
use crate::s3::filter::Filter;
use crate::s3::name::{Name, Remote};
use crate::s3::report::Deed;
use crate::s3::walk::{self, At};
use crate::s3::words::RmArgs;
use crate::s3::{Ground, advice};

/// Objects of one request, by S3's rule.
const BATCH: usize = 1000;
/// Requests at once.
const BATCHES_MAX: usize = 4;

/// Removes objects in batches.
pub(crate) struct Remover {
    ground: Arc<crate::s3::report::Reporter>,
    bucket: Remote,
    dry_run: bool,
    waiting: Vec<Removal>,
    running: JoinSet<()>,
}

impl Remover {
    pub(crate) fn new(ground: &Ground, bucket: &Remote, dry_run: bool) -> Self {
        let (ground, bucket) = (ground.reporter.clone(), bucket.clone());
        Self { ground, bucket, dry_run, waiting: Vec::new(), running: JoinSet::new() }
    }

    pub(crate) async fn push(&mut self, removal: Removal) {
        self.waiting.push(removal);
        if self.waiting.len() >= BATCH {
            self.send().await;
        }
    }

    async fn send(&mut self) {
        let batch = std::mem::take(&mut self.waiting);
        if batch.is_empty() {
            return;
        }
        while self.running.len() >= BATCHES_MAX {
            self.running.join_next().await;
        }
        let (reporter, bucket, dry_run) = (self.ground.clone(), self.bucket.clone(), self.dry_run);
        self.running.spawn(async move {
            let failed = if dry_run {
                Vec::new()
            } else {
                match bucket.place.client.delete_many(&bucket.bucket, &batch).await {
                    Ok(failed) => failed,
                    Err(error) => {
                        let failure = advice::of(&error, &bucket.place.alias, &bucket.with_key("").shown());
                        reporter.problem(&failure);
                        return;
                    }
                }
            };
            for removal in &batch {
                let name = bucket.with_key(removal.key.clone()).shown();
                let wrong = failed.iter().find(|(of, _)| {
                    of.key == removal.key && (of.version.is_none() || of.version == removal.version)
                });
                if let Some((_, why)) = wrong {
                    let failure = Failure::new(format!("{name}: {why}"), "see why it may not be removed", 1);
                    reporter.problem(&failure);
                    continue;
                }
                let version = removal.version.as_deref();
                reporter.deed(&Deed {
                    action: "remove",
                    source: &name,
                    target: None,
                    version,
                    bytes: None,
                    dry_run,
                });
            }
        });
    }

    pub(crate) async fn finish(mut self) {
        self.send().await;
        while let Some(ended) = self.running.join_next().await {
            if let Err(error) = ended {
                self.ground.problem(&Failure::new(format!("internal error: {error}"), "please report it", 1));
            }
        }
    }
}

pub(crate) async fn run(ground: &Ground, args: &RmArgs) -> Result<ExitCode, Failure> {
    let filter = Filter::new(&args.choice)?;
    for word in &args.names {
        let name = Name::remote(&ground.hosts, word, "rm")?.has_bucket("rm")?;
        if args.incomplete {
            let prefix = if args.recursive { name.as_directory() } else { name.clone() };
            remove_uploads(ground, &prefix, !args.recursive && !name.key.is_empty(), args.dry_run).await?;
            continue;
        }
        if !args.recursive {
            let name = name.has_key("rm")?;
            remove_one(ground, &name, args).await?;
            continue;
        }
        if name.key.is_empty() && !args.force {
            let what = format!("`{word}` is a whole bucket");
            return Err(Failure::new(what, "add --force to remove everything in it, or name a prefix", 2));
        }
        let name = name.as_directory();
        remove_below(ground, &name, args.versions, args.dry_run, &filter).await;
    }
    Ok(ground.reporter.end())
}

/// One object. Endpoints say yes to what was never there; people want to know.
async fn remove_one(ground: &Ground, name: &Remote, args: &RmArgs) -> Result<(), Failure> {
    let failed = |error| advice::of(&error, &name.place.alias, &name.shown());
    if args.versions {
        return remove_versions(ground, name, args.dry_run).await;
    }
    match name.place.client.head(&name.bucket, &name.key, args.version_id.as_deref()).await {
        // A delete marker cannot be read, and can be removed by its version.
        Err(error) if error.is_absent() && args.version_id.is_none() => return Err(failed(error)),
        _ => {}
    }
    let removal = Removal { key: name.key.clone(), version: args.version_id.clone() };
    if !args.dry_run {
        name.place.client.delete(&name.bucket, &removal, &Guard::default()).await.map_err(failed)?;
    }
    let (source, version, dry_run) = (name.shown(), args.version_id.as_deref(), args.dry_run);
    ground.reporter.deed(&Deed {
        action: "remove",
        source: &source,
        target: None,
        version,
        bytes: None,
        dry_run,
    });
    Ok(())
}

async fn remove_versions(ground: &Ground, name: &Remote, dry_run: bool) -> Result<(), Failure> {
    let mut remover = Remover::new(ground, name, dry_run);
    let mut entries = walk::objects(name, true);
    while let Some(entry) = entries.recv().await {
        // Behind the key itself come the keys that begin with it.
        let At::Object(listed) = entry?.at else { continue };
        if listed.key != name.key {
            break;
        }
        remover.push(Removal { key: listed.key, version: listed.version }).await;
    }
    remover.finish().await;
    Ok(())
}

async fn remove_below(ground: &Ground, name: &Remote, versions: bool, dry_run: bool, filter: &Filter) {
    let mut remover = Remover::new(ground, name, dry_run);
    let mut entries = walk::objects(name, versions);
    while let Some(entry) = entries.recv().await {
        match entry {
            Ok(entry) if filter.takes(&entry.rel) => {
                if let At::Object(listed) = entry.at {
                    let version = listed.version.filter(|_| versions);
                    remover.push(Removal { key: listed.key, version }).await;
                }
            }
            Ok(_) => {}
            Err(failure) => ground.reporter.problem(&failure),
        }
    }
    remover.finish().await;
}

async fn remove_uploads(ground: &Ground, name: &Remote, exact: bool, dry_run: bool) -> Result<(), Failure> {
    let client = &name.place.client;
    let failed = |error| advice::of(&error, &name.place.alias, &name.shown());
    for upload in client.uploads(&name.bucket, &name.key).await.map_err(failed)? {
        if exact && upload.key != name.key {
            continue;
        }
        if !dry_run {
            client.abort_upload(&name.bucket, &upload.key, &upload.id).await.map_err(failed)?;
        }
        let (source, version) = (name.with_key(upload.key).shown(), Some(upload.id.as_str()));
        let deed = Deed { action: "abort", source: &source, target: None, version, bytes: None, dry_run };
        ground.reporter.deed(&deed);
    }
    Ok(())
}

/// Removes everything in a bucket: versions where the endpoint has them, else objects; and unfinished uploads.
pub(crate) async fn empty(ground: &Ground, bucket: &Remote) -> Result<(), Failure> {
    let versioned = bucket.place.client.versioning(&bucket.bucket).await;
    if let Err(error) = &versioned
        && error.is_absent()
    {
        return Err(advice::of(error, &bucket.place.alias, &bucket.shown()));
    }
    let versioned = matches!(versioned, Ok(Some(_)));
    let everything = Filter::new(&crate::s3::words::Choice::default())?;
    remove_below(ground, bucket, versioned, false, &everything).await;
    remove_uploads(ground, bucket, false, false).await
}
