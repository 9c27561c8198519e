//! The checkpoint: the index of a drive at one moment, so that opening it scans only what came later.
//!
//! | bytes | field |
//! |---|---|
//! | 8 | magic `PANGEACP` |
//! | 2, 2 | format version, slot |
//! | 16, 16 | cluster id, drive id |
//! | 8, 8, 4 | next batch, next sequence, next extent number |
//! | 4, 4 | extent and block of the last record, all ones if there is none |
//! | 4, 8, 8 | number of extents E, live lines L, grave lines G |
//! | E × 9 | extent number, used blocks, sealed (0 or 1) |
//! | L × 41 | shard id, extent, block, chunk tag, header length (2), piece size (log2 KiB), pieces |
//! | G × 29 | shard id, extent that holds a dead record of it, extent of its tombstone (all ones: none) |
//! | 32 | BLAKE3 of everything before |
//!
//! Lines are sorted. It is written to a new file, synced, and renamed over the old one; it is never trusted over the
//! extents (see `extent::recovery`).

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use pangea_core::chunk::{PIECE_LOG2_MAX, PIECES_MAX};
use pangea_core::codec::{Malformed, Put, Reader};
use pangea_core::id::{ClusterId, DriveId, ShardId};

use super::record::{Place, data_offset, record_bytes};
use super::superblock::Identity;
use super::{SHARD_ID_BYTES, block_offset, put_shard_id, read_shard_id};
use crate::port::ChunkTag;

/// The file.
pub const CHECKPOINT_FILE: &str = "checkpoint";
/// Where the next one is written before it takes the name.
pub const CHECKPOINT_NEW_FILE: &str = "checkpoint.new";
const MAGIC: [u8; 8] = *b"PANGEACP";
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 8 + 4 + 32 + 20 + 8 + 20;
const EXTENT_BYTES: usize = 9;
const LIVE_BYTES: usize = SHARD_ID_BYTES + 20;
const GRAVE_BYTES: usize = SHARD_ID_BYTES + 8;
const HASH_BYTES: u64 = 32;
/// Marks "no extent" where one could stand.
const NONE: u32 = u32::MAX;

/// Where a shard lies, and what is needed to read its pieces without reading its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Location {
    /// Its record.
    pub at: Place,
    /// The start of its chunk hash.
    pub tag: ChunkTag,
    /// Bytes of its encoded header.
    pub header_len: u16,
    /// log2 of the piece size in KiB.
    pub piece_log2: u8,
    /// Pieces in it.
    pub pieces: u8,
}

impl Location {
    /// Bytes of a piece.
    pub fn piece_bytes(&self) -> usize {
        1024 << self.piece_log2
    }

    /// Bytes of the shard's data.
    pub fn shard_bytes(&self) -> usize {
        self.piece_bytes() * usize::from(self.pieces)
    }

    /// Where the data starts in the extent.
    pub fn data_offset(&self) -> u64 {
        block_offset(self.at.block) + data_offset(self.header_len, self.shard_bytes()) as u64
    }

    /// Bytes of the record with its padding.
    pub fn record_bytes(&self) -> u64 {
        record_bytes(self.header_len, self.shard_bytes())
    }
}

/// Dead records of one shard that still lie on the drive. While there are any and the shard is not live, a tombstone must
/// lie there too, or a scan would bring the shard back.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grave {
    /// The extents that hold dead records of it, sorted.
    pub extents: Vec<u32>,
    /// The extent of the newest tombstone.
    pub tombstone: Option<u32>,
}

/// How far an extent is filled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ExtentUse {
    /// Blocks before the first free one: everything from there on is unknown to the checkpoint.
    pub used_blocks: u32,
    /// Nothing will be appended any more, and nothing after `used_blocks` may be believed.
    pub sealed: bool,
}

/// A checkpoint in memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Counters and the last record.
    pub marks: Marks,
    /// Every extent that counts.
    pub extents: BTreeMap<u32, ExtentUse>,
    /// Every shard that can be read.
    pub live: BTreeMap<ShardId, Location>,
    /// Every shard of which dead records lie about.
    pub graves: BTreeMap<ShardId, Grave>,
}

/// What the next records will be called, and where the last one lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Marks {
    /// The number of the next group commit.
    pub next_batch: u64,
    /// The number of the next record.
    pub next_sequence: u64,
    /// The number of the next extent.
    pub next_extent: u32,
    /// The last record that the checkpoint knows.
    pub last_record: Option<Place>,
}

/// Bytes of a checkpoint with so many lines.
pub fn checkpoint_bytes(extents: usize, live: usize, grave_lines: usize) -> u64 {
    (HEAD_BYTES + extents * EXTENT_BYTES + live * LIVE_BYTES + grave_lines * GRAVE_BYTES) as u64 + HASH_BYTES
}

/// Writes a checkpoint; `extents` leaves out those that are about to be removed, and graves no longer name them.
pub fn write(
    out: &mut dyn Write,
    identity: &Identity,
    marks: &Marks,
    extents: &BTreeMap<u32, ExtentUse>,
    live: &BTreeMap<ShardId, Location>,
    graves: &BTreeMap<ShardId, Grave>,
) -> io::Result<()> {
    let mut out = Hashed { inner: out, hasher: blake3::Hasher::new() };
    let grave_lines: usize = graves.values().map(|g| g.extents.len()).sum();
    let mut line = Vec::with_capacity(HEAD_BYTES);
    line.put_raw(&MAGIC);
    line.put_u16(VERSION);
    line.put_u16(identity.slot);
    line.put_raw(&identity.cluster.0);
    line.put_raw(&identity.drive.0);
    line.put_u64(marks.next_batch);
    line.put_u64(marks.next_sequence);
    line.put_u32(marks.next_extent);
    let last = marks.last_record.unwrap_or(Place { extent: NONE, block: NONE });
    line.put_u32(last.extent);
    line.put_u32(last.block);
    line.put_u32(u32::try_from(extents.len()).expect("extents are numbered in 32 bits"));
    line.put_u64(live.len() as u64);
    line.put_u64(grave_lines as u64);
    out.line(&mut line)?;
    for (number, extent) in extents {
        line.put_u32(*number);
        line.put_u32(extent.used_blocks);
        line.put_u8(u8::from(extent.sealed));
        out.line(&mut line)?;
    }
    for (id, location) in live {
        put_location(&mut line, id, location);
        out.line(&mut line)?;
    }
    for (id, grave) in graves {
        for extent in &grave.extents {
            put_shard_id(&mut line, id);
            line.put_u32(*extent);
            line.put_u32(grave.tombstone.unwrap_or(NONE));
            out.line(&mut line)?;
        }
    }
    let hash = out.hasher.finalize();
    out.inner.write_all(hash.as_bytes())
}

/// Reads a checkpoint of `len` bytes. Anything odd is an error: `InvalidData` from us, or what reading returned.
pub fn read(input: &mut dyn Read, len: u64, identity: &Identity) -> io::Result<Checkpoint> {
    let mut input = HashedRead { inner: input, hasher: blake3::Hasher::new() };
    let mut head = [0; HEAD_BYTES];
    input.fill(&mut head)?;
    let (marks, counts) = read_head(&head, identity).map_err(invalid)?;
    let bytes = [
        (counts.extents, EXTENT_BYTES as u64),
        (counts.live, LIVE_BYTES as u64),
        (counts.graves, GRAVE_BYTES as u64),
    ]
    .into_iter()
    .try_fold(HEAD_BYTES as u64 + HASH_BYTES, |sum, (n, size)| sum.checked_add(n.checked_mul(size)?));
    if bytes != Some(len) {
        return Err(invalid(Malformed { what: "checkpoint length" }));
    }
    let mut checkpoint =
        Checkpoint { marks, extents: BTreeMap::new(), live: BTreeMap::new(), graves: BTreeMap::new() };
    for _ in 0..counts.extents {
        let mut line = [0; EXTENT_BYTES];
        input.fill(&mut line)?;
        let mut r = Reader::new(&line, "checkpoint extent");
        let (number, used_blocks, sealed) =
            (r.u32().map_err(invalid)?, r.u32().map_err(invalid)?, r.bool().map_err(invalid)?);
        checkpoint.extents.insert(number, ExtentUse { used_blocks, sealed });
    }
    for _ in 0..counts.live {
        let mut line = [0; LIVE_BYTES];
        input.fill(&mut line)?;
        let (id, location) = read_location(&line).map_err(invalid)?;
        checkpoint.live.insert(id, location);
    }
    for _ in 0..counts.graves {
        let mut line = [0; GRAVE_BYTES];
        input.fill(&mut line)?;
        let (id, extent, tombstone) = read_grave(&line).map_err(invalid)?;
        let grave = checkpoint.graves.entry(id).or_default();
        grave.extents.push(extent);
        grave.tombstone = tombstone;
    }
    let expected = input.hasher.finalize();
    let mut found = [0; 32];
    input.inner.read_exact(&mut found)?;
    if *expected.as_bytes() != found {
        return Err(invalid(Malformed { what: "checkpoint hash" }));
    }
    Ok(checkpoint)
}

struct Counts {
    extents: u64,
    live: u64,
    graves: u64,
}

fn read_head(head: &[u8], identity: &Identity) -> Result<(Marks, Counts), Malformed> {
    let mut r = Reader::new(head, "checkpoint head");
    if r.array()? != MAGIC || r.u16()? != VERSION {
        return Err(r.malformed());
    }
    let slot = r.u16()?;
    if (Identity { cluster: ClusterId(r.array()?), drive: DriveId(r.array()?), slot }) != *identity {
        return Err(Malformed { what: "checkpoint identity" });
    }
    let (next_batch, next_sequence, next_extent) = (r.u64()?, r.u64()?, r.u32()?);
    let last = Place { extent: r.u32()?, block: r.u32()? };
    let last_record = (last.extent != NONE).then_some(last);
    let counts = Counts { extents: u64::from(r.u32()?), live: r.u64()?, graves: r.u64()? };
    r.finish()?;
    Ok((Marks { next_batch, next_sequence, next_extent, last_record }, counts))
}

fn put_location(line: &mut Vec<u8>, id: &ShardId, location: &Location) {
    put_shard_id(line, id);
    line.put_u32(location.at.extent);
    line.put_u32(location.at.block);
    line.put_raw(&location.tag.0);
    line.put_u16(location.header_len);
    line.put_u8(location.piece_log2);
    line.put_u8(location.pieces);
}

fn read_location(line: &[u8]) -> Result<(ShardId, Location), Malformed> {
    let mut r = Reader::new(line, "checkpoint line");
    let id = read_shard_id(&mut r)?;
    let at = Place { extent: r.u32()?, block: r.u32()? };
    let location = Location {
        at,
        tag: ChunkTag(r.array()?),
        header_len: r.u16()?,
        piece_log2: r.u8()?,
        pieces: r.u8()?,
    };
    if location.piece_log2 > PIECE_LOG2_MAX || !(1..=PIECES_MAX).contains(&location.pieces) {
        return Err(r.malformed());
    }
    r.finish()?;
    Ok((id, location))
}

fn read_grave(line: &[u8]) -> Result<(ShardId, u32, Option<u32>), Malformed> {
    let mut r = Reader::new(line, "checkpoint grave");
    let (id, extent, tombstone) = (read_shard_id(&mut r)?, r.u32()?, r.u32()?);
    r.finish()?;
    Ok((id, extent, (tombstone != NONE).then_some(tombstone)))
}

fn invalid(malformed: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, malformed)
}

struct Hashed<'a> {
    inner: &'a mut dyn Write,
    hasher: blake3::Hasher,
}

impl Hashed<'_> {
    fn line(&mut self, line: &mut Vec<u8>) -> io::Result<()> {
        self.hasher.update(line);
        self.inner.write_all(line)?;
        line.clear();
        Ok(())
    }
}

struct HashedRead<'a> {
    inner: &'a mut dyn Read,
    hasher: blake3::Hasher,
}

impl HashedRead<'_> {
    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.inner.read_exact(bytes)?;
        self.hasher.update(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::samples;
    use proptest::prelude::{any, proptest};

    fn sample() -> Checkpoint {
        let at = |block| Place { extent: 4, block };
        let tag = ChunkTag([9; 8]);
        let location = |block| Location { at: at(block), tag, header_len: 150, piece_log2: 2, pieces: 3 };
        Checkpoint {
            marks: Marks { next_batch: 5, next_sequence: 6, next_extent: 7, last_record: Some(at(8)) },
            extents: [(4, ExtentUse { used_blocks: 12, sealed: false })].into(),
            live: (0..3).map(|n| (samples::shard_id(n), location(n * 4))).collect(),
            graves: [
                (samples::shard_id(8), Grave { extents: vec![1, 4], tombstone: Some(4) }),
                (samples::shard_id(9), Grave { extents: vec![4], tombstone: None }),
            ]
            .into(),
        }
    }

    fn encode(c: &Checkpoint) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, &samples::identity(1), &c.marks, &c.extents, &c.live, &c.graves)
            .expect("a Vec takes it");
        out
    }

    fn decode(bytes: &[u8]) -> io::Result<Checkpoint> {
        read(&mut &bytes[..], bytes.len() as u64, &samples::identity(1))
    }

    #[test]
    fn a_checkpoint_round_trips_and_any_flipped_bit_spoils_it() {
        let bytes = encode(&sample());
        assert_eq!(bytes.len() as u64, checkpoint_bytes(1, 3, 3));
        assert_eq!(decode(&bytes).expect("what was written"), sample());
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad).is_err(), "bit {bit}");
        }
        assert!(read(&mut &bytes[..], bytes.len() as u64, &samples::identity(2)).is_err(), "another drive's");
    }

    proptest! {
        #[test]
        fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            assert!(decode(&bytes).is_err());
            let mut framed = encode(&sample())[..44].to_vec();
            framed.extend_from_slice(&bytes);
            assert!(decode(&framed).is_err());
        }
    }
}
