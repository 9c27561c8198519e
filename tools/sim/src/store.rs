//! The store engine of the simulator: the real extent store behind the port, in virtual time.
//!
//! Works like the `threads` engine, with a task in the place of its thread: writes gather for a window, one commit makes
//! them durable, then the time that the disk took passes, then they are answered. Reads and everything else happen at
//! once and are answered after the disk's time. Whatever a crash drops between two of these steps stays undone or
//! unanswered, as it would be.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;
use futures_channel::oneshot;
use pangea_client::Runtime;
use pangea_core::chunk::ShardHeader;
use pangea_core::id::ShardId;
use pangea_store::extent::{ExtentReader, ExtentStore, Write};
use pangea_store::port::{Compacted, ListedShard, ShardStore, StoreError, StoreFuture, StoreStatus};

use crate::dice::Dice;
use crate::disk::SimDisk;
use crate::executor::{Sim, SimRuntime};

/// Writes that may wait for a commit; whoever asks for more has no bound of its own.
pub const WAITING_MAX: usize = 4096;
/// The longest that a write waits for others to share its sync, in microseconds.
const WINDOW_US_MAX: u64 = 2_000;
/// Writes of one commit.
const BATCH_MAX: usize = 64;
/// The longest between a request's arrival and its work.
const ARRIVAL_US_MAX: u64 = 50;

/// See the module.
pub struct SimStore {
    runtime: SimRuntime,
    disk: SimDisk,
    reader: ExtentReader,
    shared: Arc<Shared>,
}

struct Shared {
    engine: Mutex<ExtentStore>,
    queue: Mutex<Queue>,
}

struct Queue {
    writes: VecDeque<(Write, oneshot::Sender<Result<(), StoreError>>)>,
    longest: usize,
    writer: Option<Waker>,
    dice: Dice,
}

impl SimStore {
    /// Takes over an open drive; its writer runs in `runtime`'s process.
    pub fn new(runtime: SimRuntime, disk: SimDisk, engine: ExtentStore, dice: Dice) -> Self {
        let reader = engine.reader();
        let queue = Queue { writes: VecDeque::new(), longest: 0, writer: None, dice };
        let shared = Arc::new(Shared { engine: Mutex::new(engine), queue: Mutex::new(queue) });
        disk.take_cost();
        let task = write(runtime.clone(), disk.clone(), shared.clone());
        runtime.spawn("store writer", Box::pin(task));
        Self { runtime, disk, reader, shared }
    }

    /// The most writes that ever waited at once.
    pub fn longest_queue(&self) -> usize {
        self.shared.queue().longest
    }

    /// Waits as long as the disk took for what was done since the last await.
    async fn pay(&self) {
        pay(self.runtime.sim(), &self.disk).await;
    }

    async fn arrive(&self) {
        let us = self.shared.queue().dice.below(ARRIVAL_US_MAX);
        self.runtime.sim().sleep(us).await;
    }

    async fn enqueue(&self, write: Write) -> Result<(), StoreError> {
        self.arrive().await;
        let (sender, answer) = oneshot::channel();
        let writer = {
            let mut queue = self.shared.queue();
            queue.writes.push_back((write, sender));
            queue.longest = queue.longest.max(queue.writes.len());
            queue.writer.take()
        };
        writer.into_iter().for_each(Waker::wake);
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn look<T>(
        &self,
        work: impl Fn(&ExtentReader) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError>
    where
        T: Send,
    {
        self.arrive().await;
        let result = work(&self.reader);
        self.pay().await;
        result
    }

    async fn operate<T: Send>(
        &self,
        work: impl FnOnce(&mut ExtentStore) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        self.arrive().await;
        let result = work(&mut self.shared.engine());
        self.pay().await;
        result
    }
}

/// Waits as long as the disk took; for ever if its power is gone, because then the process is.
pub async fn pay(sim: &Sim, disk: &SimDisk) {
    if !disk.has_power() {
        std::future::pending::<()>().await;
    }
    let cost_us = disk.take_cost();
    sim.sleep(cost_us).await;
}

/// The writer: gathers, commits, pays, answers; until its process dies.
async fn write(runtime: SimRuntime, disk: SimDisk, shared: Arc<Shared>) {
    loop {
        poll_fn(|cx| {
            let mut queue = shared.queue();
            if queue.writes.is_empty() {
                queue.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        let window_us = shared.queue().dice.below(WINDOW_US_MAX);
        runtime.sim().sleep(window_us).await;
        let (batch, senders): (Vec<Write>, Vec<_>) = {
            let mut queue = shared.queue();
            let len = queue.writes.len().min(BATCH_MAX);
            queue.writes.drain(..len).unzip()
        };
        let answers = {
            let mut engine = shared.engine();
            let answers = engine.commit(batch);
            if engine.checkpoint_due() {
                // A checkpoint that fails is in the status; what was committed stays committed.
                let _ = engine.checkpoint();
            }
            answers
        };
        pay(runtime.sim(), &disk).await;
        for (sender, answer) in senders.into_iter().zip(answers) {
            // Whoever asked may have gone.
            let _ = sender.send(answer);
        }
    }
}

impl Shared {
    fn engine(&self) -> MutexGuard<'_, ExtentStore> {
        self.engine.lock().expect("the engine did not panic")
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ShardStore for SimStore {
    fn put(&self, header: ShardHeader, data: Bytes) -> StoreFuture<'_, ()> {
        Box::pin(async move { self.enqueue(Write::put(header, data)?).await })
    }

    fn read(&self, id: ShardId, pieces: Range<u8>) -> StoreFuture<'_, Bytes> {
        Box::pin(async move { self.look(|reader| reader.read(id, pieces.clone())).await })
    }

    fn header(&self, id: ShardId) -> StoreFuture<'_, ShardHeader> {
        Box::pin(async move { self.look(|reader| reader.header(id)).await })
    }

    fn verify(&self, id: ShardId) -> StoreFuture<'_, ()> {
        Box::pin(async move { self.look(|reader| reader.verify(id)).await })
    }

    fn delete(&self, ids: Vec<ShardId>) -> StoreFuture<'_, ()> {
        Box::pin(async move { self.enqueue(Write::Delete(ids)).await })
    }

    fn list(&self, after: Option<ShardId>, limit: usize) -> StoreFuture<'_, Vec<ListedShard>> {
        Box::pin(async move { self.look(|reader| Ok(reader.list(after, limit))).await })
    }

    fn quarantine(&self, id: ShardId) -> StoreFuture<'_, bool> {
        Box::pin(async move { self.operate(|engine| engine.quarantine(id)).await })
    }

    fn status(&self) -> StoreFuture<'_, StoreStatus> {
        Box::pin(async move { self.operate(|engine| Ok(engine.status())).await })
    }

    fn set_generation(&self, meta_generation: u64, layout_epoch: u32) -> StoreFuture<'_, ()> {
        Box::pin(
            async move { self.operate(|engine| engine.set_generation(meta_generation, layout_epoch)).await },
        )
    }

    fn compact(&self, budget_bytes: u64) -> StoreFuture<'_, Compacted> {
        Box::pin(async move { self.operate(|engine| engine.compact_step(budget_bytes)).await })
    }

    fn shutdown(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move { self.operate(ExtentStore::shutdown).await })
    }
}
