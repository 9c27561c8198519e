//! Shards made up from numbers, for worlds that have no client to seal real ones.

use bytes::Bytes;
use pangea_core::chunk::{Aead, Code, Codec, Shape, ShardHeader};
use pangea_core::id::{BlobId, ChunkId, ShardId};

use crate::dice::Dice;

/// The id of shard number `n`.
pub fn shard_id(n: u32) -> ShardId {
    let mut blob = [0xb0; 16];
    blob[..4].copy_from_slice(&n.to_be_bytes());
    ShardId { chunk: ChunkId { blob: BlobId(blob), chunk: n % 3 }, index: (n % 2) as u8 }
}

/// Shard number `n` in a sealing of its own: bytes, sizes and hashes follow from both numbers.
pub fn shard(n: u32, sealing: u32) -> (ShardHeader, Bytes) {
    let mut dice = Dice::new(u64::from(n) << 32 | u64::from(sealing), "shard");
    let id = shard_id(n);
    let (piece_log2, pieces) = (dice.below(4) as u8, dice.between(1, 5) as u8);
    let len = (1024_usize << piece_log2) * usize::from(pieces);
    let code = Code::new(2, 1).expect("a code");
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
    dice.fill(&mut data);
    let values = data
        .chunks(shape.piece_bytes())
        .zip(0..)
        .map(|(piece, number)| ShardHeader::piece_value(&shape, id.index, number, piece))
        .collect();
    let chunk_hash = *blake3::hash(&data).as_bytes();
    let audit = dice.array::<40>().to_vec();
    (ShardHeader { id, shape, layout_epoch: 1, chunk_hash, audit, values }, Bytes::from(data))
}
