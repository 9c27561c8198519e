//! Packs of a history: filled, copied out of, emptied into new ones.

use super::History;
use crate::chunk::Code;
use crate::id::{BlobId, BucketId};
use crate::keys::KeyRef;
use crate::meta::MemoryTables;
use crate::meta::command::{Command, NewPack, PackedMove, PackedPut, VersionSelector};
use crate::meta::read;
use crate::meta::row::{BlobBody, Content, Extent, PackedItem};

/// Items are all equally long.
const ITEM_BYTES: u64 = 5_000;

impl History {
    /// An item of a pack, nearly always within it.
    pub(super) fn packed(&mut self, blob: BlobId, offset: u64) -> Content {
        let offset = if self.one_in(40) { u64::MAX - 5 } else { offset };
        let key = KeyRef { bucket: BucketId([5; 16]), generation: 1 };
        let at = Extent { blob, offset, len: ITEM_BYTES };
        Content::Packed(PackedItem { id: BlobId(self.id()), at, key, wrapped: self.wrapped() })
    }

    fn new_pack(&mut self, model: &MemoryTables, items: u64) -> NewPack {
        let mut blob = self.new_blob(model);
        blob.len = items * ITEM_BYTES;
        if !self.one_in(20) && !matches!(blob.body, BlobBody::Chunked { .. }) {
            (blob.body, blob.spill) = (BlobBody::Chunked { manifest: self.id().to_vec() }, None);
        }
        let code = Code::new(1 + self.below(9) as u8, 2).expect("a valid code");
        NewPack { blob, code, region_pin: String::new() }
    }

    pub(super) fn put_pack(&mut self, model: &MemoryTables) -> Command {
        let count = self.below(5);
        let pack = self.new_pack(model, count);
        let items = (0..count)
            .map(|n| {
                let content = self.packed(pack.blob.id, n * ITEM_BYTES);
                let version = self.version_of(content);
                PackedPut {
                    bucket: self.bucket(model),
                    key: self.key(),
                    condition: self.condition(),
                    version,
                }
            })
            .collect();
        Command::PutPack { pack, items }
    }

    pub(super) fn move_packed(&mut self, model: &MemoryTables) -> Command {
        let Ok(packs) = read::packs(model, None, 20);
        let mut moves = Vec::new();
        for _ in 0..2 {
            let Some((pack, _)) = self.pick(&packs) else { continue };
            let Ok(entries) = read::pack_entries(model, pack, None, 50);
            for (entry, len) in entries.into_iter().filter(|_| !self.one_in(4)) {
                let to = moves.len() as u64 * ITEM_BYTES;
                moves.push(PackedMove { from: Extent { blob: pack, offset: entry.offset, len }, to });
            }
        }
        Command::MovePacked { pack: self.new_pack(model, moves.len() as u64), moves }
    }

    /// The content of some version that lies in a pack.
    pub(super) fn copied_item(&mut self, model: &MemoryTables) -> Content {
        let Ok(packs) = read::packs(model, None, 20);
        let Some((pack, _)) = self.pick(&packs) else { return Content::Empty };
        let Ok(entries) = read::pack_entries(model, pack, None, 50);
        let Some((entry, _)) = self.pick(&entries) else { return Content::Empty };
        let Ok(found) = read::version(model, entry.bucket, &entry.key, VersionSelector::Id(entry.version));
        found.map_or(Content::Empty, |(row, _)| row.content)
    }
}
