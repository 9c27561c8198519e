//! The engine as a port.
//!
//! Owns a small runtime of its own, so that a caller that goes away takes no commit with it, and so that any executor may
//! call; the lanes that write; the connections that read.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pangea_core::id::{BlobId, BucketId, ChunkId, ClusterId, UploadId};
use pangea_core::meta::{
    AccessKeyRow, BlobRow, BucketKeyRow, BucketRow, HeadPage, KeyRange, LeaseRow, Outcome, PackEntry,
    PackRow, PartRow, Request, TodoRow, UploadRow, UsageRow, VersionPage, VersionRow, VersionSelector, read,
};
use pangea_core::seam::{Entropy, WallMs};
use pangea_meta::{Answer, Meta, MetaError, MetaStatus, PAGE_ROWS_MAX, VersionWithBlob};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::error::OpenError;
use crate::known::Hints;
use crate::lane::{Lane, Shared};
use crate::load::{self, LoadedRow};
use crate::open;
use crate::place::Place;
use crate::pool::Pool;
use crate::query::{Query, Reader};
use crate::queue::Queue;
use crate::session::Connector;
use crate::working::Working;

/// The largest encoded request: that of the embedded engine, so that metadata can move between the two.
const REQUEST_BYTES_MAX: usize = pangea_meta::engine::REQUEST_BYTES_MAX;
/// Threads of the engine's runtime. They only wait, encode and decide.
const THREADS: usize = 2;
/// How long a close waits for commands that are under way.
const CLOSE_LIMIT: Duration = Duration::from_secs(60);

/// What the engine is opened with.
pub struct Options {
    /// Where the server is.
    pub place: Place,
    /// PEM certificates of the roots that the server's must lead to (the bytes of `place.root_file`); none: the system's.
    pub roots: Option<Vec<u8>>,
    /// The cluster; the database of another one is refused.
    pub cluster: ClusterId,
    /// The newest generation that any superblock knows; 0 for a new cluster.
    pub known_generation: u64,
    /// When this is.
    pub now_ms: WallMs,
    /// Where request ids and waits come from.
    pub entropy: Arc<dyn Entropy>,
    /// Connections that write, each a batch at a time; at least 1.
    pub writers: usize,
    /// Connections that read, at most; at least 1.
    pub readers: usize,
    /// For how long a command or a query is tried while the server is away or others are in the way.
    pub patience: Duration,
}

impl Options {
    /// Connections that write, unless there is a reason for another number.
    pub const WRITERS: usize = 4;
    /// Connections that read, unless there is a reason for another number.
    pub const READERS: usize = 8;
    /// Longer than a failover to a standby usually takes.
    pub const PATIENCE: Duration = Duration::from_secs(30);
}

/// The engine. Dropping it finishes what is queued.
pub struct PostgresMeta {
    runtime: Mutex<Option<Runtime>>,
    handle: tokio::runtime::Handle,
    queue: Arc<Queue>,
    reader: Reader,
    connector: Arc<Connector>,
    notes: Vec<String>,
    ended: Mutex<Vec<std::sync::mpsc::Receiver<()>>>,
}

impl PostgresMeta {
    /// Connects, makes the schema in an empty database, checks that it is this cluster's newest metadata and starts a new
    /// generation. Blocks; may be called from any thread.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let place = options.place.to_string();
        let tls = |why: String| OpenError::Tls { place: place.clone(), why };
        let connector = Arc::new(Connector::new(&options.place, options.roots.as_deref()).map_err(tls)?);
        let started = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("meta-postgres")
            .enable_all()
            .build();
        let runtime = started.map_err(|error| OpenError::Failed {
            place: place.clone(),
            doing: "starting threads",
            why: error.to_string(),
        })?;
        let handle = runtime.handle().clone();
        let shared = Arc::new(Shared {
            connector: connector.clone(),
            queue: Arc::new(Queue::new()),
            hints: Arc::new(Hints::default()),
            entropy: options.entropy.clone(),
            patience: options.patience,
        });
        let (writers, readers, patience) = (options.writers.max(1), options.readers.max(1), options.patience);
        let opened = {
            let connector = connector.clone();
            let (done, answer) = std::sync::mpsc::sync_channel(1);
            handle.spawn(async move {
                let _ = done.send(open::open(&options, &connector).await); // the receiver waits below
            });
            answer.recv()
        };
        let opened = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => {
                runtime.shutdown_background();
                return Err(error);
            }
            Err(_) => {
                runtime.shutdown_background();
                let why = "the opening task panicked".to_owned();
                return Err(OpenError::Failed { place, doing: "opening", why });
            }
        };
        let mut ended = Vec::new();
        for _ in 0..writers {
            let (alive, end) = std::sync::mpsc::sync_channel(1);
            let shared = shared.clone();
            handle.spawn(async move {
                // The callers of a batch that panicked are told that its outcome is unknown; the others go on.
                while tokio::spawn(Lane::new(shared.clone()).run()).await.is_err_and(|error| error.is_panic())
                {
                }
                drop(alive);
            });
            ended.push(end);
        }
        let reader = Reader { pool: Arc::new(Pool::new(connector.clone(), readers)), patience };
        Ok(Self {
            runtime: Mutex::new(Some(runtime)),
            handle,
            queue: shared.queue.clone(),
            reader,
            connector,
            notes: opened.notes,
            ended: Mutex::new(ended),
        })
    }

    /// Loads the rows of another engine (`SqliteTables::dump`, or a part at a time) into this database, which must be empty:
    /// opened and not used. What is loaded counts when all of it is; after an error, drop the database.
    pub fn load(&self, chunks: impl Iterator<Item = Vec<LoadedRow>> + Send + 'static) -> Answer<'_, ()> {
        let connector = self.connector.clone();
        let task = self.handle.spawn(async move { load::load(&connector, chunks).await });
        Box::pin(async move { task.await.unwrap_or(Err(MetaError::Closed)) })
    }

    /// Finishes what is queued and stops.
    pub fn close(self) {
        self.stop();
    }

    fn stop(&self) {
        self.queue.close();
        let until = std::time::Instant::now() + CLOSE_LIMIT;
        for end in self.ended.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // It ends by being dropped; what is not done by then, its callers are told is unknown.
            let _ = end.recv_timeout(until.saturating_duration_since(std::time::Instant::now()));
        }
        if let Some(runtime) = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take() {
            runtime.shutdown_background();
        }
    }

    fn read<'a, R: Send + 'static>(&self, query: impl Query<R> + 'static) -> Answer<'a, R> {
        let reader = self.reader.clone();
        let task = self.handle.spawn(async move { reader.read(query).await });
        Box::pin(async move { task.await.unwrap_or(Err(MetaError::Closed)) })
    }

    /// Everything that a paged query has.
    fn read_all<'a, R: Send + Sync + Clone + 'static>(
        &self,
        page: impl Fn(&Working<'_>, Option<&R>) -> Result<Vec<R>, crate::working::BadRow> + Send + Sync + 'static,
    ) -> Answer<'a, Vec<R>> {
        let (reader, page) = (self.reader.clone(), Arc::new(page));
        let task = self.handle.spawn(async move {
            let mut all: Vec<R> = Vec::new();
            loop {
                let (last, page) = (all.last().cloned(), page.clone());
                let rows = reader.read(move |tables: &Working<'_>| page(tables, last.as_ref())).await?;
                let more = rows.len() == PAGE_ROWS_MAX;
                all.extend(rows);
                if !more {
                    return Ok(all);
                }
            }
        });
        Box::pin(async move { task.await.unwrap_or(Err(MetaError::Closed)) })
    }
}

impl Drop for PostgresMeta {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Rows per page, within bounds.
fn clamp(limit: usize) -> usize {
    limit.clamp(1, PAGE_ROWS_MAX)
}

impl Meta for PostgresMeta {
    fn apply(&self, request: Request) -> Answer<'_, Outcome> {
        Box::pin(async move {
            let mut bytes = Vec::new();
            request.encode(&mut bytes);
            let bytes = bytes.len();
            if bytes > REQUEST_BYTES_MAX {
                return Err(MetaError::TooLarge { bytes, bytes_max: REQUEST_BYTES_MAX });
            }
            let (done, answer) = oneshot::channel();
            self.queue.push(request, bytes, done).await?;
            answer.await.unwrap_or(Err(MetaError::Unknown))
        })
    }

    fn bucket<'a>(&'a self, name: &'a str) -> Answer<'a, Option<BucketRow>> {
        let name = name.to_owned();
        self.read(move |t| read::bucket(t, &name))
    }
    fn buckets(&self) -> Answer<'_, Vec<BucketRow>> {
        self.read_all(|t, last: Option<&BucketRow>| {
            read::buckets(t, last.map(|row| row.name.as_str()), PAGE_ROWS_MAX)
        })
    }
    fn bucket_key(&self, bucket: BucketId, generation: u32) -> Answer<'_, Option<BucketKeyRow>> {
        self.read(move |t| read::bucket_key(t, bucket, generation))
    }
    fn bucket_keys(
        &self,
        after: Option<(BucketId, u32)>,
        limit: usize,
    ) -> Answer<'_, Vec<(BucketId, u32, BucketKeyRow)>> {
        self.read(move |t| read::bucket_keys(t, after, clamp(limit)))
    }
    fn usage(&self, bucket: BucketId) -> Answer<'_, Option<UsageRow>> {
        let reader = self.reader.clone();
        let task = self.handle.spawn(async move { reader.usage(bucket).await });
        Box::pin(async move { task.await.unwrap_or(Err(MetaError::Closed)) })
    }
    fn head<'a>(&'a self, bucket: BucketId, key: &'a [u8]) -> Answer<'a, Option<VersionRow>> {
        let key = key.to_vec();
        self.read(move |t| Ok(read::version(t, bucket, &key, VersionSelector::Current)?.map(|(row, _)| row)))
    }
    fn version<'a>(
        &'a self,
        bucket: BucketId,
        key: &'a [u8],
        selector: VersionSelector,
    ) -> Answer<'a, Option<(VersionRow, bool)>> {
        let key = key.to_vec();
        self.read(move |t| read::version(t, bucket, &key, selector))
    }
    fn head_with_blob<'a>(
        &'a self,
        bucket: BucketId,
        key: &'a [u8],
        selector: VersionSelector,
    ) -> Answer<'a, Option<VersionWithBlob>> {
        let key = key.to_vec();
        self.read(move |t| read::version_with_blob(t, bucket, &key, selector))
    }
    fn heads(&self, bucket: BucketId, range: KeyRange, limit: usize) -> Answer<'_, HeadPage> {
        self.read(move |t| read::heads(t, bucket, &range, clamp(limit)))
    }
    fn versions(
        &self,
        bucket: BucketId,
        range: KeyRange,
        after_seq: Option<u64>,
        limit: usize,
    ) -> Answer<'_, VersionPage> {
        self.read(move |t| read::versions(t, bucket, &range, after_seq, clamp(limit)))
    }
    fn blob(&self, blob: BlobId) -> Answer<'_, Option<BlobRow>> {
        self.read(move |t| read::blob(t, blob))
    }
    fn blobs(&self, after: Option<BlobId>, limit: usize) -> Answer<'_, Vec<(BlobId, BlobRow)>> {
        self.read(move |t| read::blobs(t, after, clamp(limit)))
    }
    fn packs(&self, after: Option<BlobId>, limit: usize) -> Answer<'_, Vec<(BlobId, PackRow)>> {
        self.read(move |t| read::packs(t, after, clamp(limit)))
    }
    fn pack_entries(
        &self,
        pack: BlobId,
        after: Option<PackEntry>,
        limit: usize,
    ) -> Answer<'_, Vec<(PackEntry, u64)>> {
        self.read(move |t| read::pack_entries(t, pack, after.clone(), clamp(limit)))
    }
    fn condemned(&self, after: Option<(u64, BlobId)>, limit: usize) -> Answer<'_, Vec<(u64, BlobId)>> {
        self.read(move |t| read::condemned(t, after, clamp(limit)))
    }
    fn upload<'a>(
        &'a self,
        bucket: BucketId,
        key: &'a [u8],
        upload: UploadId,
    ) -> Answer<'a, Option<UploadRow>> {
        let key = key.to_vec();
        self.read(move |t| read::upload(t, bucket, &key, upload))
    }
    fn uploads<'a>(
        &'a self,
        bucket: BucketId,
        after: Option<(Vec<u8>, UploadId)>,
        prefix: &'a [u8],
        limit: usize,
    ) -> Answer<'a, Vec<(UploadId, UploadRow)>> {
        let prefix = prefix.to_vec();
        self.read(move |t| read::uploads(t, bucket, after.clone(), &prefix, clamp(limit)))
    }
    fn parts(&self, upload: UploadId, after: u16, limit: usize) -> Answer<'_, Vec<(u16, PartRow)>> {
        self.read(move |t| read::parts(t, upload, after, clamp(limit)))
    }
    fn todo(&self, chunk: ChunkId) -> Answer<'_, Option<TodoRow>> {
        self.read(move |t| read::todo(t, chunk))
    }
    fn todos(&self, after: Option<ChunkId>, limit: usize) -> Answer<'_, Vec<(ChunkId, TodoRow)>> {
        self.read(move |t| read::todos(t, after, clamp(limit)))
    }
    fn lease<'a>(&'a self, name: &'a str) -> Answer<'a, Option<LeaseRow>> {
        let name = name.to_owned();
        self.read(move |t| read::lease(t, &name))
    }
    fn access_key<'a>(&'a self, id: &'a str) -> Answer<'a, Option<AccessKeyRow>> {
        let id = id.to_owned();
        self.read(move |t| read::access_key(t, &id))
    }
    fn access_keys(&self) -> Answer<'_, Vec<(String, AccessKeyRow)>> {
        self.read_all(|t, last: Option<&(String, AccessKeyRow)>| {
            read::access_keys(t, last.map(|(id, _)| id.as_str()), PAGE_ROWS_MAX)
        })
    }
    fn setting<'a>(&'a self, name: &'a str) -> Answer<'a, Option<(u64, Vec<u8>)>> {
        let name = name.to_owned();
        self.read(move |t| read::setting(t, &name))
    }

    fn status(&self) -> Answer<'_, MetaStatus> {
        let (reader, notes) = (self.reader.clone(), self.notes.clone());
        let task = self.handle.spawn(async move {
            let generation = reader.read(|tables: &Working<'_>| read::generation(tables)).await?;
            let applied_seq = reader.applied().await?;
            let status = MetaStatus {
                engine: "postgres",
                generation,
                applied_seq,
                recovery_notes: notes,
                ..MetaStatus::default()
            };
            Ok(status)
        });
        Box::pin(async move { task.await.unwrap_or(Err(MetaError::Closed)) })
    }

    /// PostgreSQL keeps its own log and snapshots: this only tells how far it is.
    fn snapshot(&self) -> Answer<'_, u64> {
        let reader = self.reader.clone();
        let task = self.handle.spawn(async move { reader.applied().await });
        Box::pin(async move { task.await.unwrap_or(Err(MetaError::Closed)) })
    }
}
