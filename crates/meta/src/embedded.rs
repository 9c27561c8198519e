//! The embedded engine as a port: one writing thread, readers on the calling threads.
//!
//! Owns the queue to the writer (bounded in requests and bytes; a full queue makes callers wait), group commit (whatever is
//! queued when the last group is done becomes the next one) and the pool of reading connections. Readers never wait for an
//! fdatasync: they see the view, which a group enters before its callers are answered. [`InlineMeta`] is the same without
//! threads, for the simulator and for a view in memory.

mod pool;
mod queue;
mod seat;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use futures_channel::oneshot;
use pangea_core::meta::{Outcome, Request};

use crate::engine::{Engine, Options, REQUEST_BYTES_MAX};
use crate::error::MetaError;
use crate::port::{Meta, MetaStatus};
use crate::queries::{answer_queries, query_words};
use crate::snapshot::Written;
use crate::sqlite::{SqliteTables, ViewError, ViewPlace};
use pool::Pool;
use queue::{Encoded, Job, Queue};
pub use seat::SeatedMeta;

query_words!();

/// On shutdown a log longer than this is replaced by a snapshot, so that the next start is quick.
const CLOSE_SNAPSHOT_LOG_BYTES: u64 = 16 << 20;

/// The embedded engine with its thread. Dropping it finishes what is queued and joins the thread.
pub struct EmbeddedMeta {
    queue: Arc<Queue>,
    pool: Pool,
    status: Arc<Mutex<MetaStatus>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl EmbeddedMeta {
    /// Opens the engine, recovers what is to be recovered, and starts the writer. The view must lie in a file.
    pub fn open(options: Options) -> Result<Self, MetaError> {
        let ViewPlace::Path(path) = options.view.clone() else {
            return Err(MetaError::View {
                why: "a view in memory has no readers: use InlineMeta".to_owned(),
            });
        };
        let engine = Engine::open(options)?;
        Self::start(engine, path)
    }

    fn start(engine: Engine, path: PathBuf) -> Result<Self, MetaError> {
        let queue = Arc::new(Queue::default());
        let status = Arc::new(Mutex::new(engine.status()));
        let writer =
            Writer { engine, queue: queue.clone(), status: status.clone(), running: None, asked: Vec::new() };
        let writer = std::thread::Builder::new()
            .name("meta-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| MetaError::Io { doing: "starting the metadata writer", source })?;
        Ok(Self { queue, pool: Pool::new(path), status, writer: Mutex::new(Some(writer)) })
    }

    /// Finishes what is queued, takes a snapshot if the log is long, and stops.
    pub fn close(self) {
        self.stop();
    }

    fn stop(&self) {
        self.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // A writer that panicked has nothing to finish; its callers were told `Unknown`.
            let _ = writer.join();
        }
    }

    fn read<R>(&self, f: impl FnOnce(&SqliteTables) -> Result<R, ViewError>) -> Result<R, MetaError> {
        self.pool.read(f)
    }
}

impl Drop for EmbeddedMeta {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Meta for EmbeddedMeta {
    fn apply(&self, request: Request) -> Answer<'_, Outcome> {
        Box::pin(async move {
            let mut bytes = Vec::new();
            request.encode(&mut bytes);
            if bytes.len() > REQUEST_BYTES_MAX {
                return Err(MetaError::TooLarge { bytes: bytes.len(), bytes_max: REQUEST_BYTES_MAX });
            }
            let (done, answer) = oneshot::channel();
            self.queue.push(Job::Apply(Encoded { request, bytes }, done)).await?;
            answer.await.unwrap_or(Err(MetaError::Unknown))
        })
    }

    answer_queries!();

    fn status(&self) -> Answer<'_, MetaStatus> {
        ready(Ok(self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()))
    }

    fn snapshot(&self) -> Answer<'_, u64> {
        Box::pin(async move {
            let (done, answer) = oneshot::channel();
            self.queue.push(Job::Snapshot(done)).await?;
            answer.await.unwrap_or(Err(MetaError::Closed))
        })
    }
}

type SnapshotAnswer = oneshot::Sender<Result<u64, MetaError>>;

/// What the writing thread owns.
struct Writer {
    engine: Engine,
    queue: Arc<Queue>,
    status: Arc<Mutex<MetaStatus>>,
    /// The snapshot being written beside the groups, and who waits for it.
    running: Option<(JoinHandle<()>, Vec<SnapshotAnswer>)>,
    /// Who waits for the next one.
    asked: Vec<SnapshotAnswer>,
}

impl Writer {
    fn run(mut self) {
        // When this ends in any way, nobody waits for it any longer.
        let _closed = queue::CloseOnDrop(self.queue.clone());
        while let Some(jobs) = self.queue.take() {
            self.handle(jobs);
            if self.running.is_none() && (!self.asked.is_empty() || self.engine.snapshot_due()) {
                self.begin_snapshot();
            }
        }
        self.finish();
    }

    fn handle(&mut self, jobs: Vec<Job>) {
        let (mut group, mut waiting) = (Vec::new(), Vec::new());
        for job in jobs {
            match job {
                Job::Apply(encoded, answer) => {
                    group.push((encoded.request, encoded.bytes));
                    waiting.push(answer);
                }
                // One that is being written may lack what this caller has seen, so it waits for the next.
                Job::Snapshot(answer) => self.asked.push(answer),
                Job::Written(written) => self.written(written),
            }
        }
        let answers = self.engine.apply_encoded(group);
        self.publish();
        for (outcome, answer) in answers.into_iter().zip(waiting) {
            // Who stopped waiting does not want to know.
            let _ = answer.send(outcome);
        }
    }

    /// Shows the status; always before an answer that it belongs to.
    fn publish(&self) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = self.engine.status();
    }

    fn begin_snapshot(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        let task = match self.engine.begin_snapshot() {
            Ok(Some(task)) => task,
            Ok(None) => return self.answer_snapshot(asked, Ok(self.engine.status().snapshot_seq)),
            Err(error) => return self.answer_snapshot(asked, Err(error)),
        };
        let queue = self.queue.clone();
        let spawned = std::thread::Builder::new().name("meta-snapshot".to_owned()).spawn(move || {
            // Whatever happens in there, it reports: the writer waits for it.
            let why = || MetaError::Unavailable { why: "the snapshot writer panicked".to_owned() };
            let written = catch_unwind(AssertUnwindSafe(|| task.run())).unwrap_or_else(|_| Err(why()));
            queue.push_internal(Job::Written(written));
        });
        match spawned {
            Ok(thread) => self.running = Some((thread, asked)),
            Err(source) => {
                let doing = "starting the snapshot writer";
                self.answer_snapshot(asked, Err(MetaError::Io { doing, source }));
            }
        }
    }

    fn written(&mut self, written: Result<Written, MetaError>) {
        let Some((thread, asked)) = self.running.take() else { return };
        let _ = thread.join(); // it reported before it ended
        let answer = written.map(|written| {
            self.engine.finish_snapshot(&written);
            written.seq
        });
        self.answer_snapshot(asked, answer);
    }

    /// Answers everybody who asked for a snapshot; an error goes to the first, the others are told it is unavailable.
    fn answer_snapshot(&mut self, asked: Vec<SnapshotAnswer>, answer: Result<u64, MetaError>) {
        self.publish();
        let repeated = match &answer {
            Ok(seq) => Ok(*seq),
            Err(error) => Err(error.to_string()),
        };
        let mut first = Some(answer);
        for asked in asked {
            let answer = first
                .take()
                .unwrap_or_else(|| repeated.clone().map_err(|why| MetaError::Unavailable { why }));
            let _ = asked.send(answer);
        }
    }

    fn finish(mut self) {
        while self.running.is_some() {
            match self.queue.take_internal() {
                Job::Written(written) => self.written(written),
                Job::Apply(..) | Job::Snapshot(_) => {} // came after the close; dropped, so the caller learns it
            }
        }
        // Shutting down must not fail: what is not done here, the next start does.
        if self.engine.status().log_bytes > CLOSE_SNAPSHOT_LOG_BYTES {
            let _ = self.engine.snapshot();
        }
        let _ = self.engine.close();
    }
}

/// The embedded engine on the calling thread, behind a mutex.
pub struct InlineMeta {
    engine: Mutex<Engine>,
}

impl InlineMeta {
    /// Opens the engine and recovers what is to be recovered.
    pub fn open(options: Options) -> Result<Self, MetaError> {
        Ok(Self { engine: Mutex::new(Engine::open(options)?) })
    }

    /// The engine itself, for a test or the simulator.
    pub fn with_engine<R>(&self, f: impl FnOnce(&mut Engine) -> R) -> Result<R, MetaError> {
        self.engine.lock().map(|mut engine| f(&mut engine)).map_err(|_| MetaError::Closed)
    }

    fn read<R>(&self, f: impl FnOnce(&SqliteTables) -> Result<R, ViewError>) -> Result<R, MetaError> {
        Ok(self.with_engine(|engine| engine.view().consistently(f))??)
    }
}

impl Meta for InlineMeta {
    fn apply(&self, request: Request) -> Answer<'_, Outcome> {
        ready(
            self.with_engine(|engine| engine.apply_group(vec![request]).pop())
                .and_then(|answer| answer.unwrap_or(Err(MetaError::Unknown))),
        )
    }

    answer_queries!();

    fn status(&self) -> Answer<'_, MetaStatus> {
        ready(self.with_engine(|engine| engine.status()))
    }

    fn snapshot(&self) -> Answer<'_, u64> {
        ready(self.with_engine(Engine::snapshot).and_then(|seq| seq))
    }
}
