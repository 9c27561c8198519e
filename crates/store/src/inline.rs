//! The inline engine: the extent store behind a lock, doing everything in the caller's poll.
//!
//! No thread, no queue, no waiting: what the deterministic simulator runs, and tools that open a drive for a moment. Every
//! put pays its own sync.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use pangea_core::chunk::ShardHeader;
use pangea_core::id::ShardId;

use crate::extent::{ExtentReader, ExtentStore, Write};
use crate::port::{Compacted, ListedShard, ShardStore, StoreError, StoreFuture, StoreStatus};

/// See the module.
pub struct InlineStore {
    reader: ExtentReader,
    writer: Mutex<Writer>,
}

struct Writer {
    store: ExtentStore,
    closed: bool,
}

impl InlineStore {
    /// Takes over an open drive.
    pub fn new(store: ExtentStore) -> Self {
        Self { reader: store.reader(), writer: Mutex::new(Writer { store, closed: false }) }
    }

    /// Runs `work` on the engine itself: what tools and the simulator need beyond the port.
    pub fn with_engine<T>(&self, work: impl FnOnce(&mut ExtentStore) -> T) -> T {
        work(&mut self.lock().store)
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        // A panic inside the engine leaves the drive in an unknown state: nobody may go on with it.
        self.writer.lock().expect("the engine did not panic")
    }

    fn open(&self) -> Result<MutexGuard<'_, Writer>, StoreError> {
        let writer = self.lock();
        if writer.closed { Err(StoreError::Closed) } else { Ok(writer) }
    }

    fn commit(&self, write: Write) -> Result<(), StoreError> {
        let mut writer = self.open()?;
        let answer = writer.store.commit(vec![write]).pop().expect("one write, one answer");
        if writer.store.checkpoint_due() {
            // A checkpoint that fails is noted in the status; what was committed stays committed.
            let _ = writer.store.checkpoint();
        }
        answer
    }
}

impl ShardStore for InlineStore {
    fn put(&self, header: ShardHeader, data: Bytes) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            drop(self.open()?);
            self.commit(Write::put(header, data)?)
        })
    }

    fn read(&self, id: ShardId, pieces: Range<u8>) -> StoreFuture<'_, Bytes> {
        Box::pin(async move { self.open().and_then(|_| self.reader.read(id, pieces)) })
    }

    fn header(&self, id: ShardId) -> StoreFuture<'_, ShardHeader> {
        Box::pin(async move { self.open().and_then(|_| self.reader.header(id)) })
    }

    fn verify(&self, id: ShardId) -> StoreFuture<'_, ()> {
        Box::pin(async move { self.open().and_then(|_| self.reader.verify(id)) })
    }

    fn delete(&self, ids: Vec<ShardId>) -> StoreFuture<'_, ()> {
        Box::pin(async move { self.commit(Write::Delete(ids)) })
    }

    fn list(&self, after: Option<ShardId>, limit: usize) -> StoreFuture<'_, Vec<ListedShard>> {
        Box::pin(async move { self.open().map(|_| self.reader.list(after, limit)) })
    }

    fn quarantine(&self, id: ShardId) -> StoreFuture<'_, bool> {
        Box::pin(async move { self.open()?.store.quarantine(id) })
    }

    fn status(&self) -> StoreFuture<'_, StoreStatus> {
        Box::pin(async move { self.open().map(|writer| writer.store.status()) })
    }

    fn set_generation(&self, meta_generation: u64, layout_epoch: u32) -> StoreFuture<'_, ()> {
        Box::pin(async move { self.open()?.store.set_generation(meta_generation, layout_epoch) })
    }

    fn compact(&self, budget_bytes: u64) -> StoreFuture<'_, Compacted> {
        Box::pin(async move { self.open()?.store.compact_step(budget_bytes) })
    }

    fn shutdown(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let mut writer = self.lock();
            writer.closed = true;
            writer.store.shutdown()
        })
    }
}
