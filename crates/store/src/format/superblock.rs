//! The superblock: whose drive this is.
//!
//! Two copies, at 0 and 64 KiB of the file `superblock`, written alternately with a rising sequence, so that a torn write
//! always leaves the other. One copy, zero-padded to 4 KiB:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `PANGEASB` |
//! | 8 | 2 | format version |
//! | 10 | 2 | slot: the drive's place in its node |
//! | 12 | 4 | layout epoch |
//! | 16 | 16 | cluster id |
//! | 32 | 16 | drive id |
//! | 48 | 8 | sequence |
//! | 56 | 8 | metadata generation |
//! | 64 | 8 | created, ms since the Unix epoch |
//! | 72 | 24 | zero |
//! | 96 | 32 | BLAKE3 of bytes 0..96 |
//!
//! Magic, version and hash stay where they are in every later version: an older program can then say "newer".

use pangea_core::codec::{Malformed, Put, Reader};
use pangea_core::id::{ClusterId, DriveId};
use pangea_core::seam::WallMs;

use super::BLOCK_BYTES;

/// The format version that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u16 = 1;
/// The file.
pub const SUPERBLOCK_FILE: &str = "superblock";
/// Where the copies lie.
pub const COPY_OFFSETS: [u64; 2] = [0, 64 * 1024];
/// Bytes of the file.
pub const SUPERBLOCK_FILE_BYTES: u64 = 128 * 1024;
const MAGIC: [u8; 8] = *b"PANGEASB";
const HASH_AT: usize = 96;
const COPY_BYTES: usize = 128;

/// Whose drive it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The drive.
    pub drive: DriveId,
    /// Its place in its node.
    pub slot: u16,
}

/// One copy of the superblock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Superblock {
    /// Whose drive.
    pub identity: Identity,
    /// Rises with every write; the higher copy counts.
    pub sequence: u64,
    /// The layout epoch last told to the drive.
    pub layout_epoch: u32,
    /// The metadata generation last told to the drive.
    pub meta_generation: u64,
    /// When the drive was formatted; for people.
    pub created_ms: WallMs,
}

/// What one copy is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Copy {
    /// Readable.
    Good(Superblock),
    /// Whole, of a later format.
    Newer(u16),
    /// Anything else.
    Bad,
}

impl Superblock {
    /// One copy, a block long.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BLOCK_BYTES);
        out.put_raw(&MAGIC);
        out.put_u16(FORMAT_VERSION);
        out.put_u16(self.identity.slot);
        out.put_u32(self.layout_epoch);
        out.put_raw(&self.identity.cluster.0);
        out.put_raw(&self.identity.drive.0);
        out.put_u64(self.sequence);
        out.put_u64(self.meta_generation);
        out.put_u64(self.created_ms);
        out.resize(HASH_AT, 0);
        let hash = blake3::hash(&out);
        out.put_raw(hash.as_bytes());
        out.resize(BLOCK_BYTES, 0);
        out
    }

    /// Reads one copy.
    pub fn decode(bytes: &[u8]) -> Copy {
        let Some(bytes) = bytes.get(..COPY_BYTES) else { return Copy::Bad };
        if bytes[..8] != MAGIC || blake3::hash(&bytes[..HASH_AT]).as_bytes()[..] != bytes[HASH_AT..] {
            return Copy::Bad;
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version > FORMAT_VERSION {
            return Copy::Newer(version);
        }
        if version != FORMAT_VERSION {
            return Copy::Bad;
        }
        Self::decode_fields(&bytes[10..HASH_AT]).map_or(Copy::Bad, Copy::Good)
    }

    fn decode_fields(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, "superblock");
        let slot = r.u16()?;
        let layout_epoch = r.u32()?;
        let identity = Identity { cluster: ClusterId(r.array()?), drive: DriveId(r.array()?), slot };
        Ok(Self {
            identity,
            sequence: r.u64()?,
            layout_epoch,
            meta_generation: r.u64()?,
            created_ms: r.u64()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::samples;
    use proptest::prelude::{any, proptest};

    fn superblock() -> Superblock {
        let identity = samples::identity(1);
        Superblock { identity, sequence: 5, layout_epoch: 6, meta_generation: 7, created_ms: 8 }
    }

    #[test]
    fn a_copy_round_trips_and_any_flipped_bit_spoils_it() {
        let good = superblock().encode();
        assert_eq!(good.len(), BLOCK_BYTES);
        assert_eq!(Superblock::decode(&good), Copy::Good(superblock()));
        for bit in 0..COPY_BYTES * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Superblock::decode(&bad), Copy::Bad, "bit {bit}");
        }
    }

    #[test]
    fn a_later_version_is_named_not_called_damaged() {
        let mut copy = superblock().encode();
        copy[8] = 2;
        let hash = blake3::hash(&copy[..HASH_AT]);
        copy[HASH_AT..COPY_BYTES].copy_from_slice(hash.as_bytes());
        assert_eq!(Superblock::decode(&copy), Copy::Newer(2));
    }

    proptest! {
        #[test]
        fn random_bytes_are_bad(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            assert_eq!(Superblock::decode(&bytes), Copy::Bad);
            let mut framed = MAGIC.to_vec();
            framed.extend_from_slice(&bytes);
            assert_eq!(Superblock::decode(&framed), Copy::Bad);
        }
    }
}
