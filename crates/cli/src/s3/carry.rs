//! Carrying: what moves one object or file, whatever lies at either end, and many of them at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pangea_s3client::{Attributes, Client, Guard, Listed, Moment, Removal, S3Error};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Failure;
use crate::s3::name::Remote;
use crate::s3::parts::{Lanes, PART_BYTES_MAX, PART_BYTES_MIN, of_file};
use crate::s3::report::{Deed, Shared};
use crate::s3::words::Transfer;
use crate::s3::{Ground, advice, download, media, relay, upload};

/// The metadata under which a file's time is kept; rclone's.
pub(crate) const MTIME: &str = "mtime";

/// Where bytes come from.
#[derive(Clone)]
pub(crate) enum Source {
    Stdin,
    File(PathBuf),
    Object { name: Remote, version: Option<String>, listed: Option<Listed> },
}

/// Where they go.
#[derive(Clone)]
pub(crate) enum Target {
    Stdout,
    File(PathBuf),
    Object(Remote),
}

/// One thing to move.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) source: Source,
    pub(crate) target: Target,
    /// Bytes, if they are known before.
    pub(crate) size: Option<u64>,
}

/// What all jobs share.
pub(crate) struct Carrier {
    pub(crate) reporter: Shared,
    pub(crate) lanes: Lanes,
    pub(crate) transfer: Transfer,
    pub(crate) guard: Guard,
    /// Whether sources are removed once their copies are there.
    pub(crate) moves: bool,
    pub(crate) state_dir: Option<PathBuf>,
    /// Set by the first endpoint that refuses uploads with a checksum of the whole.
    pub(crate) unchecked: AtomicBool,
    jobs_max: Arc<Semaphore>,
}

impl Source {
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Stdin => "-".into(),
            Self::File(path) => path.display().to_string(),
            Self::Object { name, .. } => name.shown(),
        }
    }
}

impl Target {
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Stdout => "-".into(),
            Self::File(path) => path.display().to_string(),
            Self::Object(name) => name.shown(),
        }
    }
}

impl Carrier {
    pub(crate) fn new(
        ground: &Ground,
        transfer: &Transfer,
        absent: bool,
        moves: bool,
    ) -> Result<Arc<Self>, Failure> {
        if !(PART_BYTES_MIN..=PART_BYTES_MAX).contains(&transfer.part_size) {
            return Err(Failure::new("--part-size is out of bounds", "choose 5MiB to 1GiB", 2));
        }
        Ok(Arc::new(Self {
            reporter: ground.reporter.clone(),
            lanes: Lanes::new(transfer.parallel),
            transfer: transfer.clone(),
            guard: Guard { absent, etag: None },
            moves,
            state_dir: ground.hosts.state_dir(),
            unchecked: AtomicBool::new(false),
            jobs_max: Arc::new(Semaphore::new(transfer.parallel.into())),
        }))
    }

    /// What an object carries that is made of a file of this name and time.
    pub(crate) fn attributes(&self, name: &str, modified: Option<Moment>) -> Attributes {
        let options = &self.transfer;
        let kind = options.content_type.clone().unwrap_or_else(|| media::of(name).to_owned());
        let mut meta = options.meta.clone();
        if !meta.iter().any(|(name, _)| name == MTIME) {
            meta.extend(modified.map(|modified| (MTIME.to_owned(), modified.decimal())));
        }
        let cache = options.cache_control.clone().map(|value| ("cache-control".to_owned(), value));
        Attributes {
            content_type: Some(kind),
            headers: cache.into_iter().collect(),
            meta,
            class: options.storage_class.clone(),
        }
    }

    /// Whether the command line says what copies shall carry.
    pub(crate) fn replaces_attributes(&self) -> bool {
        let options = &self.transfer;
        options.content_type.is_some()
            || options.cache_control.is_some()
            || !options.meta.is_empty()
            || options.storage_class.is_some()
    }
}

/// Many jobs at once.
pub(crate) struct Jobs {
    carrier: Arc<Carrier>,
    running: JoinSet<()>,
}

impl Jobs {
    pub(crate) fn new(carrier: &Arc<Carrier>) -> Self {
        Self { carrier: carrier.clone(), running: JoinSet::new() }
    }

    /// Begins a job as soon as there is room; its problems are reported when they come.
    pub(crate) async fn push(&mut self, job: Job) {
        while self.running.try_join_next().is_some() {}
        if self.carrier.transfer.dry_run {
            report(&self.carrier, &job, job.size);
            return;
        }
        self.carrier.reporter.expect(job.size.unwrap_or(0));
        let room = self.carrier.jobs_max.clone().acquire_owned().await.expect("it is never closed");
        let carrier = self.carrier.clone();
        self.running.spawn(async move {
            match carry(&carrier, &job).await {
                Ok(bytes) => report(&carrier, &job, Some(bytes)),
                Err(failure) => carrier.reporter.problem(&failure),
            }
            drop(room);
        });
    }

    /// Waits for all of them.
    pub(crate) async fn finish(mut self) {
        while let Some(ended) = self.running.join_next().await {
            if let Err(error) = ended {
                let what = format!("internal error: {error}");
                self.carrier.reporter.problem(&Failure::new(what, "please report it", 1));
            }
        }
    }
}

fn report(carrier: &Carrier, job: &Job, bytes: Option<u64>) {
    // What goes to standard output must not have lines of ours in it.
    if matches!(job.target, Target::Stdout) {
        return;
    }
    let action = match (&job.source, &job.target) {
        _ if carrier.moves => "move",
        (Source::Object { .. }, Target::Object(_)) => "copy",
        (_, Target::Object(_)) => "upload",
        _ => "download",
    };
    let (source, target) = (job.source.shown(), job.target.shown());
    let dry_run = carrier.transfer.dry_run;
    carrier.reporter.deed(&Deed {
        action,
        source: &source,
        target: Some(&target),
        version: None,
        bytes,
        dry_run,
    });
}

/// Moves one thing; its bytes.
pub(crate) async fn carry(carrier: &Arc<Carrier>, job: &Job) -> Result<u64, Failure> {
    if !carrier.moves {
        return copy(carrier, job).await;
    }
    // Only what was copied may be removed: the source as it is now.
    match &job.source {
        Source::Stdin => copy(carrier, job).await,
        Source::File(path) => {
            let seen = |path: &Path| {
                let state = std::fs::metadata(path).and_then(|meta| Ok((meta.len(), meta.modified()?)));
                state.map_err(|error| of_file(path, &error))
            };
            let before = seen(path)?;
            let bytes = copy(carrier, job).await?;
            if seen(path)? != before {
                let what = format!("{}: it was changed while it was moved", path.display());
                return Err(Failure::new(what, "it was copied and is kept: move it again", 1));
            }
            std::fs::remove_file(path).map_err(|error| of_file(path, &error))?;
            Ok(bytes)
        }
        Source::Object { name, version, listed } => {
            let failed = |error: S3Error| advice::of(&error, &name.place.alias, &name.shown());
            let (client, bucket) = (&name.place.client, &name.bucket);
            let listed = match listed {
                Some(listed) => listed.clone(),
                None => listed_by(client, bucket, &name.key, version.as_deref()).await.map_err(failed)?,
            };
            let etag = Some(listed.etag.clone()).filter(|etag| !etag.is_empty() && version.is_none());
            let (name_of, version_of) = (name.clone(), version.clone());
            let source = Source::Object { name: name_of, version: version_of, listed: Some(listed) };
            let bytes = copy(carrier, &Job { source, ..job.clone() }).await?;
            let removal = Removal { key: name.key.clone(), version: version.clone() };
            client.delete(bucket, &removal, &Guard { absent: false, etag }).await.map_err(failed)?;
            Ok(bytes)
        }
    }
}

async fn listed_by(
    client: &Client,
    bucket: &str,
    key: &str,
    version: Option<&str>,
) -> Result<Listed, S3Error> {
    let head = client.head(bucket, key, version).await?;
    Ok(Listed {
        key: key.to_owned(),
        size: head.size,
        modified: head.modified,
        etag: head.etag,
        class: String::new(),
        version: head.version,
        latest: version.is_none(),
        marker: false,
    })
}

/// With --if-none-match, what would be refused at the end is refused at the start; and endpoints that know no conditional
/// writes are asked at least once.
async fn refuse_if_there(carrier: &Carrier, to: &Remote) -> Result<(), Failure> {
    if carrier.guard.absent && to.place.client.head(&to.bucket, &to.key, None).await.is_ok() {
        let (code, message) = ("PreconditionFailed".to_owned(), "the object is there".to_owned());
        let error = S3Error::Refused { status: 412, code, message, request_id: String::new(), region: None };
        return Err(advice::of(&error, &to.place.alias, &to.shown()));
    }
    Ok(())
}

async fn copy(carrier: &Arc<Carrier>, job: &Job) -> Result<u64, Failure> {
    if let Target::Object(to) = &job.target {
        refuse_if_there(carrier, to).await?;
    }
    match (&job.source, &job.target) {
        (Source::File(path), Target::Object(to)) => upload::file(carrier, path, to).await,
        (Source::Stdin, Target::Object(to)) => upload::stdin(carrier, to).await,
        (Source::Object { name, version, listed }, Target::File(path)) => {
            download::file(carrier, name, version.as_deref(), listed.as_ref(), path).await
        }
        (Source::Object { name, version, .. }, Target::Stdout) => {
            download::stdout(carrier, name, version.as_deref(), None).await
        }
        (Source::Object { name, version, listed }, Target::Object(to)) => {
            relay::copy(carrier, name, version.as_deref(), listed.as_ref(), to).await
        }
        _ => {
            let advice = "one of them is an object; use cp, mv or cat of this machine between files";
            Err(Failure::new("both names are local", advice, 2))
        }
    }
}
