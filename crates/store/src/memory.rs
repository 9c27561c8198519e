//! The memory engine: shards in a map. The reference that the others are compared with; nothing survives the process.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pangea_core::chunk::ShardHeader;
use pangea_core::id::{DriveId, ShardId};

use crate::port::{
    ChunkTag, Compacted, LIST_MAX, ListedShard, ShardStore, StoreError, StoreFuture, StoreStatus, check_put,
    check_range,
};

/// See the module.
pub struct MemoryStore {
    capacity_bytes: u64,
    state: Mutex<State>,
}

struct State {
    shards: BTreeMap<ShardId, (ShardHeader, Bytes)>,
    live_bytes: u64,
    status: StoreStatus,
    damaged: u64,
    closed: bool,
}

impl MemoryStore {
    /// An empty store that takes `capacity_bytes` of shard data.
    pub fn new(drive: DriveId, capacity_bytes: u64) -> Self {
        let status = StoreStatus { drive, capacity_bytes, ..StoreStatus::default() };
        let state = State { shards: BTreeMap::new(), live_bytes: 0, status, damaged: 0, closed: false };
        Self { capacity_bytes, state: Mutex::new(state) }
    }

    /// Flips one bit of a stored shard, as a rotting medium would; `false` if it is not here. For tests of repair.
    pub fn rot(&self, id: &ShardId, byte: usize) -> bool {
        let mut state = self.lock();
        let Some((_, data)) = state.shards.get_mut(id) else { return false };
        let mut bytes = data.to_vec();
        let at = byte % bytes.len();
        bytes[at] ^= 1;
        *data = Bytes::from(bytes);
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change below is one insert or one remove with its count: whole, whatever panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.lock();
        if state.closed { Err(StoreError::Closed) } else { Ok(state) }
    }

    fn put_now(&self, header: ShardHeader, data: Bytes) -> Result<(), StoreError> {
        let mut state = self.open()?;
        check_put(&header, &data)?;
        if let Some((there, _)) = state.shards.get(&header.id) {
            let same = ChunkTag::of(&there.chunk_hash) == ChunkTag::of(&header.chunk_hash);
            return if same { Ok(()) } else { Err(StoreError::Conflict(header.id)) };
        }
        let (needed, available) = (data.len() as u64, self.capacity_bytes - state.live_bytes);
        if needed > available {
            return Err(StoreError::Full { needed, available });
        }
        state.live_bytes += needed;
        state.shards.insert(header.id, (header, data));
        Ok(())
    }

    fn get(&self, id: ShardId) -> Result<(ShardHeader, Bytes), StoreError> {
        self.open()?.shards.get(&id).cloned().ok_or(StoreError::Missing(id))
    }

    fn verify_now(&self, id: ShardId) -> Result<(), StoreError> {
        let (header, data) = self.get(id)?;
        match header.first_bad_piece(0, &data) {
            Some(piece) => Err(StoreError::Corrupt { shard: id, piece: Some(piece) }),
            None => Ok(()),
        }
    }

    fn delete_now(&self, ids: &[ShardId]) -> Result<(), StoreError> {
        let mut state = self.open()?;
        for id in ids {
            if let Some((_, data)) = state.shards.remove(id) {
                state.live_bytes -= data.len() as u64;
            }
        }
        Ok(())
    }

    fn quarantine_now(&self, id: ShardId) -> Result<bool, StoreError> {
        match self.verify_now(id) {
            Ok(()) => Ok(false),
            Err(StoreError::Corrupt { .. }) => {
                self.delete_now(&[id])?;
                self.open()?.damaged += 1;
                Ok(true)
            }
            Err(other) => Err(other),
        }
    }

    fn list_now(&self, after: Option<ShardId>, limit: usize) -> Result<Vec<ListedShard>, StoreError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let line = |(id, (header, data)): (&ShardId, &(ShardHeader, Bytes))| ListedShard {
            id: *id,
            tag: ChunkTag::of(&header.chunk_hash),
            shard_bytes: data.len() as u32,
        };
        let state = self.open()?;
        Ok(state.shards.range((from, Bound::Unbounded)).take(limit.min(LIST_MAX)).map(line).collect())
    }

    fn status_now(&self) -> Result<StoreStatus, StoreError> {
        let state = self.open()?;
        Ok(StoreStatus {
            live_bytes: state.live_bytes,
            available_bytes: self.capacity_bytes - state.live_bytes,
            shards: state.shards.len() as u64,
            damaged_records: state.damaged,
            ..state.status.clone()
        })
    }
}

impl ShardStore for MemoryStore {
    fn put(&self, header: ShardHeader, data: Bytes) -> StoreFuture<'_, ()> {
        Box::pin(async move { self.put_now(header, data) })
    }

    fn read(&self, id: ShardId, pieces: Range<u8>) -> StoreFuture<'_, Bytes> {
        Box::pin(async move {
            let (header, data) = self.get(id)?;
            check_range(id, &pieces, header.shape.pieces)?;
            let piece = header.shape.piece_bytes();
            Ok(data.slice(piece * usize::from(pieces.start)..piece * usize::from(pieces.end)))
        })
    }

    fn header(&self, id: ShardId) -> StoreFuture<'_, ShardHeader> {
        Box::pin(async move { self.get(id).map(|(header, _)| header) })
    }

    fn verify(&self, id: ShardId) -> StoreFuture<'_, ()> {
        Box::pin(async move { self.verify_now(id) })
    }

    fn delete(&self, ids: Vec<ShardId>) -> StoreFuture<'_, ()> {
        Box::pin(async move { self.delete_now(&ids) })
    }

    fn list(&self, after: Option<ShardId>, limit: usize) -> StoreFuture<'_, Vec<ListedShard>> {
        Box::pin(async move { self.list_now(after, limit) })
    }

    fn quarantine(&self, id: ShardId) -> StoreFuture<'_, bool> {
        Box::pin(async move { self.quarantine_now(id) })
    }

    fn status(&self) -> StoreFuture<'_, StoreStatus> {
        Box::pin(async move { self.status_now() })
    }

    fn set_generation(&self, meta_generation: u64, layout_epoch: u32) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let mut state = self.open()?;
            (state.status.meta_generation, state.status.layout_epoch) = (meta_generation, layout_epoch);
            Ok(())
        })
    }

    fn compact(&self, _budget_bytes: u64) -> StoreFuture<'_, Compacted> {
        Box::pin(async move { self.open().map(|_| Compacted { done: true, ..Compacted::default() }) })
    }

    fn shutdown(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.lock().closed = true;
            Ok(())
        })
    }
}
