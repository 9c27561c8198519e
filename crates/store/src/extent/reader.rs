//! Reading: from the index to the bytes, without ever waiting for a write.
//!
//! Owns what readers and the one writer share. The index lock is held only to look something up or to publish what is
//! already durable, never across an I/O.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use pangea_core::chunk::ShardHeader;
use pangea_core::id::ShardId;
use pangea_core::seam::Space;

use super::files::ExtentFiles;
use super::index::Index;
use crate::format::checkpoint::Location;
use crate::format::record::{Body, data_offset, decode_head, head_bytes};
use crate::format::superblock::Identity;
use crate::format::{BLOCK_BYTES, block_offset};
use crate::port::{
    ChunkTag, Fault, IoOp, LIST_MAX, ListedShard, Stopped, StoreError, StoreStatus, check_range,
};

/// How often a read follows a record that compaction moves under it.
const MOVES_MAX: usize = 3;

/// What the reader handles and the writer share.
pub(super) struct Shared {
    pub(super) identity: Identity,
    pub(super) files: ExtentFiles,
    index: RwLock<Index>,
    last_fault: Mutex<Option<Fault>>,
    view: Mutex<WriterView>,
}

/// What only the writer knows and a status shows.
#[derive(Clone, Copy, Default)]
pub(super) struct WriterView {
    pub(super) slot: u16,
    pub(super) layout_epoch: u32,
    pub(super) meta_generation: u64,
    /// Reserved and not yet written in the active extent.
    pub(super) unused_bytes: u64,
    pub(super) reserve_bytes: u64,
    pub(super) damaged_records: u64,
    pub(super) stopped: Option<Stopped>,
}

/// What is kept free on a drive of `total` bytes: a small drive is not to be all reserve.
pub(super) fn reserve(reserve_bytes: u64, total: u64) -> u64 {
    reserve_bytes.min(total / 32)
}

impl Shared {
    pub(super) fn new(identity: Identity, files: ExtentFiles, index: Index) -> Self {
        Self {
            identity,
            files,
            index: RwLock::new(index),
            last_fault: Mutex::default(),
            view: Mutex::default(),
        }
    }

    // A panic while the index was being changed is a broken invariant: nobody may go on with it.
    pub(super) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().expect("the index was left whole")
    }

    pub(super) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().expect("the index was left whole")
    }

    pub(super) fn note(&self, fault: Fault) {
        *self.last_fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    pub(super) fn set_view(&self, view: WriterView) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = view;
    }

    fn view(&self) -> WriterView {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_fault(&self) -> Option<Fault> {
        *self.last_fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handle for reading a drive, from any thread, while its one writer goes on.
#[derive(Clone)]
pub struct ExtentReader {
    pub(super) shared: Arc<Shared>,
}

impl ExtentReader {
    /// See [`ShardStore::read`](crate::port::ShardStore::read).
    pub fn read(&self, id: ShardId, pieces: Range<u8>) -> Result<Bytes, StoreError> {
        self.following(id, |location| {
            check_range(id, &pieces, location.pieces)?;
            let piece = location.piece_bytes();
            let mut bytes = vec![0; piece * usize::from(pieces.end - pieces.start)];
            let offset = location.data_offset() + (piece * usize::from(pieces.start)) as u64;
            self.fill(id, location, &mut bytes, offset, Some(pieces.start))?;
            Ok(Bytes::from(bytes))
        })
    }

    /// See [`ShardStore::header`](crate::port::ShardStore::header).
    pub fn header(&self, id: ShardId) -> Result<ShardHeader, StoreError> {
        self.following(id, |location| {
            let mut head = vec![0; head_bytes(location.header_len)];
            self.fill(id, location, &mut head, block_offset(location.at.block), None)?;
            self.check_head(id, location, &head)
        })
    }

    /// See [`ShardStore::verify`](crate::port::ShardStore::verify).
    pub fn verify(&self, id: ShardId) -> Result<(), StoreError> {
        self.read_checked(id).map(|_| ())
    }

    /// Header and data, both checked.
    pub fn read_checked(&self, id: ShardId) -> Result<(ShardHeader, Bytes), StoreError> {
        self.following(id, |location| self.read_checked_at(id, location))
    }

    /// See [`ShardStore::list`](crate::port::ShardStore::list).
    pub fn list(&self, after: Option<ShardId>, limit: usize) -> Vec<ListedShard> {
        self.shared.index().list(after, limit.min(LIST_MAX))
    }

    /// See [`ShardStore::status`](crate::port::ShardStore::status). Does not wait for the writer.
    pub fn status(&self) -> StoreStatus {
        let space = self.shared.files.space().unwrap_or_else(|error| {
            self.shared.note(Fault::new(IoOp::Space, &error));
            Space::default()
        });
        let view = self.shared.view();
        let index = self.shared.index();
        let live_bytes = index.live_bytes();
        let kept = reserve(view.reserve_bytes, space.total) + index.checkpoint_bytes();
        StoreStatus {
            drive: self.shared.identity.drive,
            slot: view.slot,
            layout_epoch: view.layout_epoch,
            meta_generation: view.meta_generation,
            live_bytes,
            garbage_bytes: index.used_bytes().saturating_sub(live_bytes),
            capacity_bytes: space.total,
            available_bytes: space.available.saturating_sub(kept) + view.unused_bytes,
            shards: index.live.len() as u64,
            extents: index.extents.len() as u64,
            damaged_records: view.damaged_records,
            last_fault: self.shared.last_fault(),
            stopped: view.stopped,
        }
    }

    /// Bytes of a shard's data, if it is here: what a read may cost.
    pub fn shard_bytes(&self, id: &ShardId) -> Option<usize> {
        self.shared.index().get(id).map(|l| l.shard_bytes())
    }

    pub(super) fn read_checked_at(
        &self,
        id: ShardId,
        location: &Location,
    ) -> Result<(ShardHeader, Bytes), StoreError> {
        let data_at = data_offset(location.header_len, location.shard_bytes());
        let len = data_at + location.shard_bytes();
        // At a block boundary, so that it can be read past the page cache.
        let mut bytes = vec![0; len + BLOCK_BYTES];
        let start = bytes.as_ptr().align_offset(BLOCK_BYTES);
        let record = &mut bytes[start..start + len];
        let file = self.shared.files.get(location.at.extent).map_err(|e| (IoOp::Open, e));
        let offset = block_offset(location.at.block);
        // Scrub, repair and compaction look at a record once; clients come through `read`.
        let read = file.and_then(|file| file.read_once(record, offset).map_err(|e| (IoOp::Read, e)));
        self.read_or_damage(read, id, None)?;
        let header = self.check_head(id, location, record)?;
        let data = Bytes::from(bytes).slice(start + data_at..start + len);
        match header.first_bad_piece(0, &data) {
            Some(piece) => Err(StoreError::Corrupt { shard: id, piece: Some(piece) }),
            None => Ok((header, data)),
        }
    }

    /// Reads what the index says; if compaction moved the record meanwhile, reads it where it is now.
    fn following<T>(
        &self,
        id: ShardId,
        read: impl Fn(&Location) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let look = || self.shared.index().get(&id).ok_or(StoreError::Missing(id));
        let mut location = look()?;
        for _ in 0..MOVES_MAX {
            let result = read(&location);
            if result.is_ok() {
                return result;
            }
            let now = look()?;
            if now == location {
                return result;
            }
            location = now;
        }
        read(&location)
    }

    /// A file that is missing or too short has lost the shard: that is damage, not an I/O error to retry.
    fn fill(
        &self,
        id: ShardId,
        location: &Location,
        bytes: &mut [u8],
        offset: u64,
        piece: Option<u8>,
    ) -> Result<(), StoreError> {
        let file = self.shared.files.get(location.at.extent).map_err(|e| (IoOp::Open, e));
        let read = file.and_then(|file| file.read_at(bytes, offset).map_err(|e| (IoOp::Read, e)));
        self.read_or_damage(read, id, piece)
    }

    /// What a failed read says of a shard.
    fn read_or_damage(
        &self,
        read: Result<(), (IoOp, io::Error)>,
        id: ShardId,
        piece: Option<u8>,
    ) -> Result<(), StoreError> {
        read.map_err(|(op, error)| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => {
                StoreError::Corrupt { shard: id, piece }
            }
            _ => {
                let fault = Fault::new(op, &error);
                self.shared.note(fault);
                StoreError::Io(fault)
            }
        })
    }

    fn check_head(&self, id: ShardId, location: &Location, bytes: &[u8]) -> Result<ShardHeader, StoreError> {
        let corrupt = StoreError::Corrupt { shard: id, piece: None };
        let head = decode_head(bytes).map_err(|_| corrupt.clone())?;
        match head.body {
            Body::Shard(header)
                if header.id == id
                    && head.stamp.identity == self.shared.identity
                    && head.stamp.at == location.at
                    && head.header_len == location.header_len
                    && header.shape.pieces == location.pieces
                    && header.shape.piece_log2 == location.piece_log2
                    && ChunkTag::of(&header.chunk_hash) == location.tag =>
            {
                Ok(header)
            }
            _ => Err(corrupt),
        }
    }
}
