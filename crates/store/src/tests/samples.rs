//! What the tests store: identities, ids and shards that follow from small numbers.

use bytes::Bytes;
use pangea_core::chunk::ShardHeader;
use pangea_core::id::{ClusterId, DriveId, ShardId};

use crate::conformance::{sample_id, sample_shard};
use crate::format::superblock::Identity;

/// Drive number `n` of one cluster.
pub fn identity(n: u16) -> Identity {
    Identity { cluster: ClusterId([0xc1; 16]), drive: DriveId([n as u8 + 1; 16]), slot: n }
}

/// The id of shard `n`.
pub fn shard_id(n: u32) -> ShardId {
    sample_id(n)
}

/// A whole shard of `pieces` pieces of 1 KiB << `piece_log2`, its bytes a function of `n`.
pub fn shard(n: u32, piece_log2: u8, pieces: u8) -> (ShardHeader, Bytes) {
    sample_shard(n, 0, piece_log2, pieces)
}
