//! What lies where: the listings of all drives, walked side by side in the order of the shards' ids.
//!
//! A census without a single read of data: drives list from memory, a page at a time, and whoever walks the blobs in the
//! order of their ids walks every listing once. What a page says may be a moment old.

use std::collections::VecDeque;

use pangea_core::id::{ChunkId, ShardId};
use pangea_core::layout::{Role, Slot};
use pangea_core::wire::{Fault, SHARDS_PER_MESSAGE_MAX};

use super::garbage::first_shard;
use crate::client::Client;

/// See the module. Chunks must be asked for in rising order.
pub(super) struct Inventory {
    drives: Vec<Cursor>,
}

struct Cursor {
    slot: Slot,
    page: VecDeque<ShardId>,
    /// Where the page ends; `None`: nothing was listed yet.
    listed_to: Option<ShardId>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Listing,
    Over,
    /// It does not answer: what it holds is not known.
    Silent,
}

impl Inventory {
    /// Of every drive of the current layout.
    pub(super) fn new(client: &Client) -> Self {
        let layout = client.layout();
        let drives = layout.drives.iter().filter(|drive| drive.role != Role::Gone).map(|drive| Cursor {
            slot: drive.slot,
            page: VecDeque::new(),
            listed_to: None,
            state: State::Listing,
        });
        Self { drives: drives.collect() }
    }

    /// Where a chunk's shards lie: index and slot.
    pub(super) async fn holders(&mut self, client: &Client, chunk: ChunkId) -> Vec<(u8, Slot)> {
        let mut held = vec![];
        for drive in &mut self.drives {
            drive.advance(client, chunk).await;
            let here = drive.page.iter().take_while(|shard| shard.chunk == chunk);
            held.extend(here.map(|shard| (shard.index, drive.slot)));
        }
        held
    }
}

impl Cursor {
    /// Drops what lies before a chunk; afterwards all of the chunk's shards here are on the page.
    async fn advance(&mut self, client: &Client, chunk: ChunkId) {
        while self.page.front().is_some_and(|shard| shard.chunk < chunk) {
            self.page.pop_front();
        }
        // The page must reach beyond the chunk, or be the last.
        while self.state == State::Listing && self.page.back().is_none_or(|shard| shard.chunk <= chunk) {
            let start = self.listed_to.max(before(chunk));
            match client.list_shards(self.slot, start, SHARDS_PER_MESSAGE_MAX as u16).await {
                Ok(shards) => self.take(shards, chunk),
                Err(fault) => self.fall_silent(fault),
            }
        }
    }

    fn take(&mut self, shards: Vec<ShardId>, chunk: ChunkId) {
        match shards.last() {
            Some(last) => self.listed_to = Some(*last),
            None => self.state = State::Over,
        }
        self.page.extend(shards.into_iter().filter(|shard| shard.chunk >= chunk));
    }

    fn fall_silent(&mut self, fault: Fault) {
        tracing::debug!(slot = self.slot.0, ?fault, "a drive could not be listed");
        self.state = State::Silent;
        self.page.clear();
    }
}

/// The position just before a chunk's first shard.
fn before(chunk: ChunkId) -> Option<ShardId> {
    match chunk.chunk.checked_sub(1) {
        Some(last) => Some(ShardId { chunk: ChunkId { chunk: last, ..chunk }, index: u8::MAX }),
        None => first_shard(chunk.blob),
    }
}
