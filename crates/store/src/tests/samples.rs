//! What the tests store: identities, ids and shards that follow from small numbers.

use bytes::Bytes;
use pangea_core::chunk::{Aead, Code, Codec, Shape, ShardHeader};
use pangea_core::id::{BlobId, ChunkId, ClusterId, DriveId, ShardId};

use crate::format::superblock::Identity;

/// Drive number `n` of one cluster.
pub fn identity(n: u16) -> Identity {
    Identity { cluster: ClusterId([0xc1; 16]), drive: DriveId([n as u8 + 1; 16]), slot: n }
}

/// The first data shard of chunk 0 of blob `n`.
pub fn shard_id(n: u32) -> ShardId {
    let mut blob = [0xb0; 16];
    blob[..4].copy_from_slice(&n.to_be_bytes());
    ShardId { chunk: ChunkId { blob: BlobId(blob), chunk: 0 }, index: 0 }
}

/// A whole shard of `pieces` pieces of 1 KiB << `piece_log2`, its bytes a function of `n`.
pub fn shard(n: u32, piece_log2: u8, pieces: u8) -> (ShardHeader, Bytes) {
    sealed(n, 0, piece_log2, pieces)
}

/// The same id as `shard(n, ..)` in another sealing.
pub fn sealed(n: u32, sealing: u32, piece_log2: u8, pieces: u8) -> (ShardHeader, Bytes) {
    let code = Code::new(2, 1).expect("valid");
    let len = (1024usize << piece_log2) * usize::from(pieces);
    let shape = Shape {
        code,
        piece_log2,
        pieces,
        codec: Codec::Raw,
        aead: Aead::Packed,
        plain_len: len as u32,
        payload_len: len as u32,
    };
    let mut data = vec![0; len];
    let mut seed = blake3::Hasher::new();
    seed.update(&n.to_le_bytes()).update(&sealing.to_le_bytes());
    seed.finalize_xof().fill(&mut data);
    let piece = shape.piece_bytes();
    let values =
        data.chunks(piece).zip(0..).map(|(p, i)| ShardHeader::piece_value(&shape, 0, i, p)).collect();
    let chunk_hash = *blake3::hash(&data).as_bytes();
    let header =
        ShardHeader { id: shard_id(n), shape, layout_epoch: 1, chunk_hash, audit: vec![7; 40], values };
    (header, Bytes::from(data))
}
