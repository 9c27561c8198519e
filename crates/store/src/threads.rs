//! The threads engine: one thread per drive writes, a few read. Runs on every system that has files.
//!
//! ```text
//! put ─► budget ─► check ─► queue ─► writer: takes all that is queued, one write, one sync ─► answers
//! read ─► budget ─► queue ─► one of the readers ─► answer       (never behind a sync)
//! ```
//! Group commit needs no timer: while one sync runs, the next batch gathers.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use futures_channel::oneshot;
use pangea_core::chunk::ShardHeader;
use pangea_core::id::ShardId;

use crate::budget::{Budget, Permit};
use crate::extent::{CheckedPut, ExtentReader, ExtentStore, Write};
use crate::port::{Compacted, ListedShard, ShardStore, StoreError, StoreFuture, StoreStatus};

/// Shards up to this size are hashed where they arrive; larger ones on a reader, off the caller's thread.
const CHECK_HERE_BYTES_MAX: usize = 64 << 10;
/// Bytes that a small job (a header, a listing, a status) counts for.
const SMALL_JOB_BYTES: usize = 4096;

/// Threads and queues of one drive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ThreadsOptions {
    /// Threads that read and hash.
    pub read_threads: usize,
    /// Bytes of puts and deletes that may wait or be written; more wait for their turn.
    pub write_bytes_max: usize,
    /// Bytes of reads that may wait or be read.
    pub read_bytes_max: usize,
    /// Bytes that one sync makes durable at the most.
    pub batch_bytes_max: usize,
}

impl Default for ThreadsOptions {
    fn default() -> Self {
        Self {
            read_threads: 4,
            write_bytes_max: 64 << 20,
            read_bytes_max: 64 << 20,
            batch_bytes_max: 16 << 20,
        }
    }
}

/// See the module.
pub struct ThreadsStore {
    reader: ExtentReader,
    writes: Arc<Queue<WriteJob>>,
    reads: Arc<Queue<ReadJob>>,
    write_budget: Arc<Budget>,
    read_budget: Arc<Budget>,
    closed: AtomicBool,
    threads: Vec<JoinHandle<()>>,
}

type Answer = oneshot::Sender<Result<(), StoreError>>;
type ReadJob = Box<dyn FnOnce() + Send>;

enum WriteJob {
    Commit { write: Write, answer: Answer, permit: Permit },
    Engine(Box<dyn FnOnce(&mut ExtentStore) + Send>),
}

impl ThreadsStore {
    /// Takes over an open drive and starts its threads.
    pub fn start(store: ExtentStore, options: ThreadsOptions) -> io::Result<Self> {
        let mut this = Self {
            reader: store.reader(),
            writes: Arc::default(),
            reads: Arc::default(),
            write_budget: Budget::new(options.write_bytes_max),
            read_budget: Budget::new(options.read_bytes_max),
            closed: AtomicBool::new(false),
            threads: Vec::new(),
        };
        let drive = store.superblock().identity.drive.to_string();
        let spawn = |name: String| std::thread::Builder::new().name(name);
        let short = &drive[..6];
        for n in 0..options.read_threads.max(1) {
            let reads = this.reads.clone();
            let run = move || {
                while let Some(job) = reads.take() {
                    job()
                }
            };
            this.threads.push(spawn(format!("read-{short}-{n}")).spawn(run)?);
        }
        let writes = this.writes.clone();
        let run = move || write_loop(store, &writes, options.batch_bytes_max);
        this.threads.push(spawn(format!("write-{short}")).spawn(run)?);
        Ok(this)
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::Closed) } else { Ok(()) }
    }

    async fn commit(&self, write: Write, permit: Permit) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.writes.push(WriteJob::Commit { write, answer, permit })?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn on_engine<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut ExtentStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job = move |store: &mut ExtentStore| drop(answer.send(work(store)));
        self.writes.push(WriteJob::Engine(Box::new(job)))?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn on_reader<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce(&ExtentReader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.check_open()?;
        let permit = self.read_budget.acquire(bytes).await;
        let (answer, answered) = oneshot::channel();
        let reader = self.reader.clone();
        let job = move || {
            if !answer.is_canceled() {
                drop(answer.send(work(&reader)));
            }
            drop(permit);
        };
        self.reads.push(Box::new(job))?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    /// What reading the whole shard costs; not being here is known without asking a thread.
    fn cost(&self, id: &ShardId) -> Result<usize, StoreError> {
        self.check_open()?;
        self.reader.shard_bytes(id).ok_or(StoreError::Missing(*id))
    }
}

impl ShardStore for ThreadsStore {
    fn put(&self, header: ShardHeader, data: Bytes) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.check_open()?;
            let permit = self.write_budget.acquire(data.len() + SMALL_JOB_BYTES).await;
            let put = if data.len() <= CHECK_HERE_BYTES_MAX {
                CheckedPut::new(header, data)?
            } else {
                self.on_reader(SMALL_JOB_BYTES, move |_| CheckedPut::new(header, data)).await?
            };
            self.commit(Write::Put(put), permit).await
        })
    }

    fn read(&self, id: ShardId, pieces: Range<u8>) -> StoreFuture<'_, Bytes> {
        Box::pin(async move {
            let bytes = self.cost(&id)?;
            self.on_reader(bytes, move |reader| reader.read(id, pieces)).await
        })
    }

    fn header(&self, id: ShardId) -> StoreFuture<'_, ShardHeader> {
        Box::pin(async move {
            self.cost(&id)?;
            self.on_reader(SMALL_JOB_BYTES, move |reader| reader.header(id)).await
        })
    }

    fn verify(&self, id: ShardId) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let bytes = self.cost(&id)?;
            self.on_reader(bytes, move |reader| reader.verify(id)).await
        })
    }

    fn delete(&self, ids: Vec<ShardId>) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.check_open()?;
            let write = Write::Delete(ids);
            let permit = self.write_budget.acquire(write.bytes()).await;
            self.commit(write, permit).await
        })
    }

    fn list(&self, after: Option<ShardId>, limit: usize) -> StoreFuture<'_, Vec<ListedShard>> {
        Box::pin(self.on_reader(SMALL_JOB_BYTES, move |reader| Ok(reader.list(after, limit))))
    }

    fn quarantine(&self, id: ShardId) -> StoreFuture<'_, bool> {
        Box::pin(self.on_engine(move |store| store.quarantine(id)))
    }

    fn status(&self) -> StoreFuture<'_, StoreStatus> {
        Box::pin(self.on_reader(SMALL_JOB_BYTES, |reader| Ok(reader.status())))
    }

    fn set_generation(&self, meta_generation: u64, layout_epoch: u32) -> StoreFuture<'_, ()> {
        Box::pin(self.on_engine(move |store| store.set_generation(meta_generation, layout_epoch)))
    }

    fn compact(&self, budget_bytes: u64) -> StoreFuture<'_, Compacted> {
        Box::pin(self.on_engine(move |store| store.compact_step(budget_bytes)))
    }

    fn shutdown(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            if self.closed.swap(true, Ordering::AcqRel) {
                return Ok(());
            }
            let done = self.on_engine(ExtentStore::shutdown).await;
            self.writes.close();
            self.reads.close();
            done
        })
    }
}

impl Drop for ThreadsStore {
    fn drop(&mut self) {
        self.writes.close();
        self.reads.close();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so on its way out, and its answers came back as `Closed`.
            let _ = thread.join();
        }
    }
}

fn write_loop(mut store: ExtentStore, writes: &Queue<WriteJob>, batch_bytes_max: usize) {
    // Whatever ends this thread, nobody may queue behind it.
    let _close = CloseOnDrop(writes);
    while let Some(first) = writes.take() {
        match first {
            WriteJob::Engine(work) => work(&mut store),
            WriteJob::Commit { write, answer, permit } => {
                let mut bytes = write.bytes();
                let (mut batch, mut answers) = (vec![write], vec![(answer, permit)]);
                let fits = |job: &WriteJob| match job {
                    WriteJob::Commit { write, .. } => bytes_fit(&mut bytes, write.bytes(), batch_bytes_max),
                    WriteJob::Engine(_) => false,
                };
                for job in writes.take_while(fits) {
                    if let WriteJob::Commit { write, answer, permit } = job {
                        batch.push(write);
                        answers.push((answer, permit));
                    }
                }
                for (result, (answer, permit)) in store.commit(batch).into_iter().zip(answers) {
                    drop(permit);
                    // Nobody may be waiting any more; the write is durable all the same.
                    drop(answer.send(result));
                }
            }
        }
        if store.checkpoint_due() {
            // A failure is noted in the status; the extents say all that the checkpoint would have said.
            let _ = store.checkpoint();
        }
    }
}

fn bytes_fit(sum: &mut usize, more: usize, max: usize) -> bool {
    *sum += more;
    *sum <= max
}

struct CloseOnDrop<'a>(&'a Queue<WriteJob>);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
        // Their answers are dropped with them: whoever waits learns that it is closed.
        drop(self.0.take_while(|_| true));
    }
}

/// Jobs for threads. Bounded by the budgets of those who push.
struct Queue<T> {
    state: Mutex<QueueState<T>>,
    pushed: Condvar,
}

struct QueueState<T> {
    jobs: VecDeque<T>,
    closed: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(QueueState { jobs: VecDeque::new(), closed: false }),
            pushed: Condvar::new(),
        }
    }
}

impl<T> Queue<T> {
    fn push(&self, job: T) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.closed {
            return Err(StoreError::Closed);
        }
        state.jobs.push_back(job);
        drop(state);
        self.pushed.notify_one();
        Ok(())
    }

    /// The next job; `None` when the queue is closed and empty.
    fn take(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self.pushed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The jobs at the front that `wanted` wants, without waiting.
    fn take_while(&self, mut wanted: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut state = self.lock();
        let mut taken = Vec::new();
        while state.jobs.front().is_some_and(&mut wanted) {
            taken.extend(state.jobs.pop_front());
        }
        taken
    }

    fn close(&self) {
        self.lock().closed = true;
        self.pushed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, QueueState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
