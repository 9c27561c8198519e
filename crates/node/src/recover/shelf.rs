//! The shelf: the drives of a stopped server with their listings, walked side by side in the order of the shards' ids.
//!
//! Drives list from memory, a page at a time, so whoever walks the blobs in the order of their ids walks every listing once.
//! Wherever a shard lies it is found, at its home, a former one or with a stand-in: the drives are not asked where it should be.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use pangea_core::chunk::ShardHeader;
use pangea_core::id::{BlobId, ChunkId, ShardId};
use pangea_core::layout::{Layout, Role, Slot};
use pangea_core::seam::Disk;
use pangea_store::extent::{ExtentReader, ExtentStore, Options as ExtentOptions};
use pangea_store::port::{ChunkTag, ListedShard, StoreError};

use super::report::Report;
use crate::drives::{Directory, Found};

/// Shards of one page of a listing.
const PAGE_SHARDS: usize = 2048;

/// See the module. Chunks must be taken in rising order.
pub(super) struct Shelf {
    drives: Vec<Listing>,
}

struct Listing {
    reader: ExtentReader,
    page: VecDeque<ListedShard>,
    /// Where the page ends.
    after: Option<ShardId>,
    over: bool,
}

/// A shard of a stripe, and the drive that has it (by its place on the shelf).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Held {
    pub index: u8,
    pub drive: usize,
    pub tag: ChunkTag,
}

impl Shelf {
    /// Opens the drives that the layout counts on; says in the report which those are and why others are not read.
    pub(super) fn open(directories: &[Directory], layout: Option<&Layout>, report: &mut Report) -> Self {
        let opened: Vec<Result<ExtentReader, String>> = thread::scope(|scope| {
            let threads: Vec<_> = directories
                .iter()
                .map(|directory| scope.spawn(move || open_drive(directory, layout)))
                .collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined.map(|end| end.unwrap_or_else(|_| Err("opening it panicked".to_owned()))).collect()
        });
        let mut drives = Vec::new();
        for (directory, opened) in directories.iter().zip(opened) {
            let path: PathBuf = directory.path.clone();
            match opened {
                Ok(reader) => {
                    report.drives.push((path, reader.status().shards));
                    drives.push(Listing { reader, page: VecDeque::new(), after: None, over: false });
                }
                Err(why) => report.unread.push((path, why)),
            }
        }
        report.missing_drives = layout.map_or(Vec::new(), |layout| missing(layout, directories));
        Self { drives }
    }

    /// The next chunk that any drive has a shard of.
    pub(super) fn next_chunk(&mut self) -> Option<ChunkId> {
        self.drives.iter_mut().filter_map(Listing::front).map(|shard| shard.id.chunk).min()
    }

    /// All shards of a chunk; the listings stand behind it afterwards.
    pub(super) fn take(&mut self, chunk: ChunkId) -> Vec<Held> {
        let mut held = Vec::new();
        for (drive, listing) in self.drives.iter_mut().enumerate() {
            while let Some(shard) = listing.front().filter(|shard| shard.id.chunk <= chunk) {
                if shard.id.chunk == chunk {
                    held.push(Held { index: shard.id.index, drive, tag: shard.tag });
                }
                listing.page.pop_front();
            }
        }
        held
    }

    /// Passes over the rest of a blob; gives how many shards that were.
    pub(super) fn skip(&mut self, blob: BlobId) -> u64 {
        let mut shards = 0;
        while let Some(chunk) = self.next_chunk().filter(|chunk| chunk.blob <= blob) {
            shards += self.take(chunk).len() as u64;
        }
        shards
    }

    /// A shard's header, from that drive.
    pub(super) fn header(&self, chunk: ChunkId, held: Held) -> Option<ShardHeader> {
        let id = ShardId { chunk, index: held.index };
        self.drives.get(held.drive)?.reader.header(id).ok()
    }

    /// A shard, read and checked, from whichever drive has it right.
    pub(super) fn read(&self, id: ShardId) -> Option<(ShardHeader, Bytes)> {
        self.drives.iter().find_map(|drive| drive.reader.read_checked(id).ok())
    }

    /// A shard, read from one drive and checked.
    pub(super) fn read_from(&self, drive: usize, id: ShardId) -> Result<ShardHeader, StoreError> {
        let listing = self.drives.get(drive).ok_or(StoreError::Missing(id))?;
        listing.reader.read_checked(id).map(|(header, _)| header)
    }

    /// How many drives there are.
    pub(super) fn len(&self) -> usize {
        self.drives.len()
    }
}

impl Listing {
    fn front(&mut self) -> Option<ListedShard> {
        if self.page.is_empty() && !self.over {
            self.page.extend(self.reader.list(self.after, PAGE_SHARDS));
            match self.page.back() {
                Some(last) => self.after = Some(last.id),
                None => self.over = true,
            }
        }
        self.page.front().copied()
    }
}

fn open_drive(directory: &Directory, layout: Option<&Layout>) -> Result<ExtentReader, String> {
    let (Some(disk), Found::Formatted(identity)) = (&directory.disk, &directory.found) else {
        return Err(match &directory.found {
            Found::Unusable(error) => error.to_string(),
            Found::Damaged(_) => "its superblock is damaged; the next start rebuilds it".to_owned(),
            Found::NoDirectory | Found::Empty | Found::Leftover | Found::Formatted(_) => {
                "it is not a drive yet".to_owned()
            }
        });
    };
    let seat = layout.map(|layout| layout.slot_of(identity.drive));
    if seat == Some(None) {
        return Err("its drive is not in the layout, so a server would not read it either".to_owned());
    }
    let opened = ExtentStore::open(disk.clone() as Arc<dyn Disk>, *identity, ExtentOptions::default());
    opened.map(|(store, _)| store.reader()).map_err(|error| error.to_string())
}

/// The drives of the layout that were not named.
fn missing(layout: &Layout, directories: &[Directory]) -> Vec<String> {
    let named = |slot: Slot| {
        directories.iter().any(|directory| match &directory.found {
            Found::Formatted(identity) => layout.slot_of(identity.drive) == Some(slot),
            _ => false,
        })
    };
    let absent = layout.drives.iter().filter(|drive| drive.role != Role::Gone && !named(drive.slot));
    absent.map(|drive| format!("slot {} ({})", drive.slot.0, drive.path)).collect()
}
