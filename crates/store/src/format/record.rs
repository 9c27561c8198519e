//! Records: what an extent is made of.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `PANGEAR1` |
//! | 8 | 1 | kind: 1 shard, 2 tombstones |
//! | 9 | 1 | zero |
//! | 10 | 2 | slot of the drive |
//! | 12 | 4 | header length H |
//! | 16 | 16 | cluster id |
//! | 32 | 16 | drive id |
//! | 48 | 8 | batch: the number of the group commit that wrote it |
//! | 56 | 8 | sequence: rises with every record of the drive, never reused |
//! | 64 | 4 | extent number |
//! | 68 | 4 | block number within the extent |
//! | 72 | 4 | data length D |
//! | 76 | 20 | zero |
//! | 96 | 32 | BLAKE3 of bytes 0..96 and the header |
//! | 128 | H | header: a [`ShardHeader`], or a list of [`ShardId`]s |
//! | 128+H, or 4096 | D | the shard's data |
//! | | | zeros to the next 4 KiB boundary |
//!
//! Data whose length is a multiple of 4 KiB starts at 4096, with zeros before it: that costs nothing (the record is as long
//! either way), reads touch only the blocks that hold the pieces, and direct I/O needs no copy. Shorter data follows the
//! header at once, so that small shards share its block.
//!
//! The whole head (fixed part and header) lies in the first block. Drive, extent and block in the head catch writes and
//! reads that went astray; the data is covered by the piece values in the header. Shards are sealed, so nobody can plant
//! a record inside a shard's data.

use pangea_core::chunk::{SHARD_HEADER_BYTES_MAX, ShardHeader};
use pangea_core::codec::{Malformed, Put, Reader};
use pangea_core::id::{ClusterId, DriveId, ShardId};

use super::superblock::Identity;
use super::{BLOCK_BYTES, SHARD_ID_BYTES, block_offset, blocks, put_shard_id, read_shard_id};

const MAGIC: [u8; 8] = *b"PANGEAR1";
const KIND_SHARD: u8 = 1;
const KIND_TOMBSTONES: u8 = 2;
const HASH_AT: usize = 96;
/// Bytes before the header.
pub const FIXED_BYTES: usize = 128;
/// The most ids in one tombstone record: it is exactly one block.
pub const TOMBSTONES_MAX: usize = (BLOCK_BYTES - FIXED_BYTES - 4) / SHARD_ID_BYTES;

const _: () = assert!(FIXED_BYTES + SHARD_HEADER_BYTES_MAX <= BLOCK_BYTES, "a head lies in one block");

/// Where a record starts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// The extent.
    pub extent: u32,
    /// The block within it.
    pub block: u32,
}

/// Who wrote a record, when (in the drive's own order) and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The drive.
    pub identity: Identity,
    /// The group commit.
    pub batch: u64,
    /// The record's own number.
    pub sequence: u64,
    /// Where it belongs.
    pub at: Place,
}

/// What a record says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// A shard; its data follows.
    Shard(ShardHeader),
    /// These shards were deleted; at most [`TOMBSTONES_MAX`].
    Tombstones(Vec<ShardId>),
}

/// The head of a record: everything but the data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// Who, when, where.
    pub stamp: Stamp,
    /// What.
    pub body: Body,
    /// Bytes of the encoded header.
    pub header_len: u16,
}

/// Bytes of a record's head: the fixed part and the header.
pub const fn head_bytes(header_len: u16) -> usize {
    FIXED_BYTES + header_len as usize
}

/// Where a record's data starts.
pub const fn data_offset(header_len: u16, data_len: usize) -> usize {
    if data_len > 0 && data_len.is_multiple_of(BLOCK_BYTES) { BLOCK_BYTES } else { head_bytes(header_len) }
}

/// Bytes of a record with its padding.
pub const fn record_bytes(header_len: u16, data_len: usize) -> u64 {
    block_offset(blocks(data_offset(header_len, data_len) + data_len))
}

impl Body {
    /// Bytes of data that follow the head.
    pub fn data_len(&self) -> usize {
        match self {
            Self::Shard(header) => header.shape.shard_bytes(),
            Self::Tombstones(_) => 0,
        }
    }

    /// Bytes of the encoded header.
    pub fn header_len(&self) -> u16 {
        let bytes = match self {
            Self::Shard(header) => {
                let shape = pangea_core::chunk::SHAPE_BYTES;
                1 + SHARD_ID_BYTES + shape + 4 + 32 + 2 + header.audit.len() + 32 * header.values.len()
            }
            Self::Tombstones(ids) => 4 + ids.len() * SHARD_ID_BYTES,
        };
        u16::try_from(bytes).expect("a header lies in one block")
    }

    /// Blocks of the whole record.
    pub fn blocks(&self) -> u32 {
        blocks(data_offset(self.header_len(), self.data_len()) + self.data_len())
    }
}

impl Head {
    /// Blocks of the whole record.
    pub fn blocks(&self) -> u32 {
        blocks(data_offset(self.header_len, self.body.data_len()) + self.body.data_len())
    }
}

/// Encodes a head; the data and the padding follow it.
pub fn encode_head(stamp: &Stamp, body: &Body) -> Vec<u8> {
    let header_len = body.header_len();
    let mut out = Vec::with_capacity(head_bytes(header_len));
    let (kind, data_len) = match body {
        Body::Shard(_) => (KIND_SHARD, body.data_len()),
        Body::Tombstones(_) => (KIND_TOMBSTONES, 0),
    };
    out.put_raw(&MAGIC);
    out.put_u8(kind);
    out.put_u8(0);
    out.put_u16(stamp.identity.slot);
    out.put_u32(u32::from(header_len));
    out.put_raw(&stamp.identity.cluster.0);
    out.put_raw(&stamp.identity.drive.0);
    out.put_u64(stamp.batch);
    out.put_u64(stamp.sequence);
    out.put_u32(stamp.at.extent);
    out.put_u32(stamp.at.block);
    out.put_u32(u32::try_from(data_len).expect("a shard is at most 8 MiB"));
    out.resize(FIXED_BYTES, 0);
    match body {
        Body::Shard(header) => header.encode(&mut out),
        Body::Tombstones(ids) => {
            assert!(ids.len() <= TOMBSTONES_MAX, "a tombstone record is one block");
            out.put_u32(ids.len() as u32);
            ids.iter().for_each(|id| put_shard_id(&mut out, id));
        }
    }
    assert_eq!(out.len(), head_bytes(header_len), "the header is as long as was said");
    let hash = head_hash(&out);
    out[HASH_AT..FIXED_BYTES].copy_from_slice(hash.as_bytes());
    out
}

/// Reads a head from the first block of a record. It is what its hash says; whether it belongs *here* is the caller's check.
pub fn decode_head(block: &[u8]) -> Result<Head, Malformed> {
    let mut r = Reader::new(block, "record head");
    let malformed = r.malformed();
    if r.array()? != MAGIC {
        return Err(malformed);
    }
    let kind = r.u8()?;
    let zero = r.u8()?;
    let slot = r.u16()?;
    let header_len = u16::try_from(r.u32()?).map_err(|_| malformed)?;
    let identity = Identity { cluster: ClusterId(r.array()?), drive: DriveId(r.array()?), slot };
    let (batch, sequence) = (r.u64()?, r.u64()?);
    let at = Place { extent: r.u32()?, block: r.u32()? };
    let data_len = r.u32()? as usize;
    let head = block.get(..head_bytes(header_len)).ok_or(malformed)?;
    if zero != 0 || head_hash(head).as_bytes()[..] != head[HASH_AT..FIXED_BYTES] {
        return Err(malformed);
    }
    let body = decode_body(kind, &head[FIXED_BYTES..])?;
    if body.data_len() != data_len {
        return Err(malformed);
    }
    Ok(Head { stamp: Stamp { identity, batch, sequence, at }, body, header_len })
}

fn decode_body(kind: u8, header: &[u8]) -> Result<Body, Malformed> {
    let mut r = Reader::new(header, "record header");
    let body = match kind {
        KIND_SHARD => Body::Shard(ShardHeader::decode(&mut r)?),
        KIND_TOMBSTONES => {
            let count = r.count(SHARD_ID_BYTES)?;
            Body::Tombstones((0..count).map(|_| read_shard_id(&mut r)).collect::<Result<_, _>>()?)
        }
        _ => return Err(Malformed { what: "record kind" }),
    };
    r.finish()?;
    Ok(body)
}

fn head_hash(head: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&head[..HASH_AT]);
    hasher.update(&head[FIXED_BYTES..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::samples;
    use proptest::prelude::{any, proptest};

    fn stamp() -> Stamp {
        Stamp { identity: samples::identity(3), batch: 7, sequence: 9, at: Place { extent: 1, block: 2 } }
    }

    #[test]
    fn heads_round_trip() {
        let ids: Vec<ShardId> = (0..TOMBSTONES_MAX as u32).map(samples::shard_id).collect();
        for body in [
            Body::Shard(samples::shard(1, 0, 1).0),
            Body::Shard(samples::shard(2, 9, 16).0),
            Body::Tombstones(ids),
            Body::Tombstones(Vec::new()),
        ] {
            let mut block = encode_head(&stamp(), &body);
            assert!(block.len() <= BLOCK_BYTES);
            block.resize(BLOCK_BYTES, 0x55);
            let head = decode_head(&block).expect("what was encoded");
            assert_eq!((head.stamp, &head.body, head.header_len), (stamp(), &body, body.header_len()));
            assert_eq!(head.blocks(), body.blocks());
        }
    }

    #[test]
    fn every_flipped_bit_of_a_head_is_noticed() {
        let good = encode_head(&stamp(), &Body::Shard(samples::shard(1, 0, 2).0));
        for bit in 0..good.len() * 8 {
            // Bytes 76..96 are covered by the hash although they mean nothing yet.
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_head(&bad).is_err(), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(decode_head(&good[..len]).is_err(), "cut at {len}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), kind in 0u8..4) {
            let _ = decode_body(kind, &bytes);
            let mut framed = MAGIC.to_vec();
            framed.extend_from_slice(&bytes);
            assert!(decode_head(&framed).is_err());
        }
    }
}
