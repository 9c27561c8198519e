//! Reading a chunk straight from the drives of a stopped server, with nothing but the master key: for manifests that lie in
//! shards themselves, and for packs that the metadata does not know.

use std::ops::Range;

use bytes::Bytes;
use pangea_core::audit::AuditKeys;
use pangea_core::ces::{OpenChunk, open_range, pieces_of, rebuild};
use pangea_core::chunk::{Aead, Shape, ShardHeader};
use pangea_core::id::{BlobId, ChunkId, ShardId};
use pangea_core::keys::DataKey;
use pangea_core::manifest::Manifest;

use super::shelf::Shelf;

/// The longest manifest that is read: as large as a blob of the greatest length with a run for every chunk needs it.
const SPILL_BYTES_MAX: usize = 512 << 20;

/// The plaintext of a whole chunk; `None`: too few good shards, or they do not open.
pub(super) fn read_chunk(shelf: &Shelf, chunk: ChunkId, keys: &AuditKeys) -> Option<(Bytes, ShardHeader)> {
    let (first, shards) = good_shards(shelf, chunk)?;
    let shape = &first.shape;
    let key = if shape.aead == Aead::Packed {
        DataKey::new([0; 32])
    } else {
        let record = keys.open(chunk.blob, &first.audit).ok()?;
        keys.unwrap(chunk.blob, &record.data_key).ok()?
    };
    let shards = with_data(shape, shards)?;
    let pieces: Vec<(u32, &[u8])> =
        shards.iter().flat_map(|(index, bytes)| pieces_of(shape, *index, 0, bytes)).collect();
    let job = OpenChunk { blob: chunk.blob, chunk: chunk.chunk, shape, key: &key };
    let plain = open_range(&job, &pieces, Range { start: 0, end: shape.plain_len }).ok()?;
    Some((plain, first))
}

type Shards = Vec<(u8, Bytes)>;

/// k shards of one sealing.
fn good_shards(shelf: &Shelf, chunk: ChunkId) -> Option<(ShardHeader, Shards)> {
    let mut first: Option<ShardHeader> = None;
    let mut shards = Shards::new();
    for index in 0..u8::MAX {
        if let Some(header) = &first
            && (index >= header.shape.code.n() || shards.len() == usize::from(header.shape.code.k()))
        {
            break;
        }
        let Some((header, bytes)) = shelf.read(ShardId { chunk, index }) else { continue };
        let same = first
            .as_ref()
            .is_none_or(|first| (first.shape, first.chunk_hash) == (header.shape, header.chunk_hash));
        if same {
            shards.push((index, bytes));
            first.get_or_insert(header);
        }
    }
    let first = first?;
    (shards.len() == usize::from(first.shape.code.k())).then_some((first, shards))
}

/// The data shards, rebuilt where they are missing.
fn with_data(shape: &Shape, mut shards: Shards) -> Option<Shards> {
    let k = shape.code.k();
    let wanted: Vec<u8> = (0..k).filter(|index| !shards.iter().any(|(has, _)| has == index)).collect();
    if !wanted.is_empty() {
        let present: Vec<(u8, &[u8])> = shards.iter().map(|(index, bytes)| (*index, &bytes[..])).collect();
        let rebuilt = rebuild(shape, 0..shape.pieces, &present, &wanted).ok()?;
        shards.extend(rebuilt.into_iter().map(|(index, bytes)| (index, Bytes::from(bytes))));
    }
    shards.retain(|(index, _)| *index < k);
    Some(shards)
}

/// The manifest that lies in a blob of its own, whose manifest is given.
pub(super) fn read_spilled(
    shelf: &Shelf,
    blob: BlobId,
    of: &Manifest,
    bytes_len: u32,
    keys: &AuditKeys,
) -> Option<Manifest> {
    let len = usize::try_from(of.blob_len()).ok().filter(|len| *len <= SPILL_BYTES_MAX)?;
    let mut bytes = Vec::with_capacity(len);
    for chunk in 0..of.chunks() {
        let (plain, _) = read_chunk(shelf, ChunkId { blob, chunk }, keys)?;
        bytes.extend_from_slice(&plain);
    }
    Manifest::decode(bytes.get(..bytes_len as usize)?).ok()
}
