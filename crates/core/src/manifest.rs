//! Manifests: how a blob is put together from its chunks, small enough to lie in a metadata row.
//!
//! Owns the format and the arithmetic from byte ranges to chunks. Equal neighbours share a run, so a terabyte of raw
//! chunks takes one line. Written by the put machine, read by get, repair and recode; shard hashes are not here but in
//! shard headers.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 1 | format version, 1 |
//! | 1 | 8 | blob length |
//! | 9 | 4 | plaintext bytes of every chunk but the last |
//! | 13 | 3 | AEAD, k, m |
//! | 16 | 20 | bucket id, key generation |
//! | 36 | 60 | wrapped data key |
//! | 96 | 4 | runs |
//! | 100 | 24 each | chunks u32, shape 14, salt u16, layout epoch u32 |

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::chunk::{Aead, Code, SHAPE_BYTES, Shape};
use crate::chunker::{BLOB_BYTES_MAX, CHUNK_BYTES_MAX};
use crate::codec::{Malformed, Put, Reader};
use crate::keys::{KeyRef, WrappedKey};

/// A longer encoded manifest spills into a blob of its own (D3).
pub const MANIFEST_INLINE_BYTES_MAX: usize = 16 * 1024;
const FIXED_BYTES: usize = 100;
const RUN_BYTES: usize = 4 + SHAPE_BYTES + 2 + 4;

/// What a manifest says of one chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkEntry {
    /// How it lies in its stripe.
    pub shape: Shape,
    /// Hashed with blob and number into the chunk's partition; redrawn by the writer until that partition is healthy.
    pub salt: u16,
    /// The layout epoch that placed it.
    pub layout_epoch: u32,
}

/// Equal consecutive chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    /// The number of the first chunk behind the run.
    end: u32,
    entry: ChunkEntry,
}

/// What is the same for all chunks of a blob.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlobHead {
    /// Plaintext bytes of every chunk but the last.
    pub chunk_bytes: u32,
    /// What seals the chunks.
    pub aead: Aead,
    /// The code of full chunks; a small chunk may use fewer data shards.
    pub code: Code,
    /// The key that wrapped the data key.
    pub key: KeyRef,
    /// The data key of every chunk.
    pub data_key: WrappedKey,
}

/// A blob: its head and its chunks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    head: BlobHead,
    blob_len: u64,
    runs: Vec<Run>,
}

/// Why a chunk cannot be the next one of a manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PushError {
    /// The chunk before was shorter than `chunk_bytes`, so it was the last.
    AfterTheLast,
    /// It holds more than `chunk_bytes`, or its cipher or code is not the blob's.
    NotOfThisBlob,
    /// The blob would exceed its longest length or the highest chunk number.
    TooLong,
}

impl std::fmt::Display for PushError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::AfterTheLast => "a chunk after the last one",
            Self::NotOfThisBlob => "a chunk whose size, cipher or code is not its blob's",
            Self::TooLong => "a chunk more than a blob may have",
        })
    }
}

impl std::error::Error for PushError {}

impl Manifest {
    /// The format version that `encode` writes.
    pub const VERSION: u8 = 1;

    /// A blob without chunks.
    ///
    /// # Panics
    /// If `chunk_bytes` is zero or above [`CHUNK_BYTES_MAX`]; `chunker::plan` gives neither.
    pub fn new(head: BlobHead) -> Self {
        assert!((1..=CHUNK_BYTES_MAX).contains(&head.chunk_bytes), "a chunk size within the format");
        Self { head, blob_len: 0, runs: Vec::new() }
    }

    /// What is the same for all chunks.
    pub fn head(&self) -> &BlobHead {
        &self.head
    }

    /// Bytes of the blob's plaintext.
    pub fn blob_len(&self) -> u64 {
        self.blob_len
    }

    /// Number of chunks.
    pub fn chunks(&self) -> u32 {
        self.runs.last().map_or(0, |run| run.end)
    }

    /// Adds the next chunk. All but the last hold `chunk_bytes`.
    pub fn push(&mut self, entry: ChunkEntry) -> Result<(), PushError> {
        self.push_run(1, entry)
    }

    /// What is known of chunk number `chunk`.
    pub fn chunk(&self, chunk: u32) -> Option<&ChunkEntry> {
        let run = self.runs.partition_point(|run| run.end <= chunk);
        self.runs.get(run).map(|run| &run.entry)
    }

    /// The chunks that hold a range of the blob, and the range within each. Bytes behind the end are left out.
    pub fn locate(&self, range: Range<u64>) -> impl Iterator<Item = (u32, Range<u32>)> + use<> {
        let size = u64::from(self.head.chunk_bytes);
        let (start, end) = (range.start, range.end.min(self.blob_len));
        let chunks = if start < end { start / size..end.div_ceil(size) } else { 0..0 };
        chunks.map(move |chunk| {
            let first = chunk * size;
            let within = |at: u64| (at.clamp(first, first + size) - first) as u32;
            (chunk as u32, within(start)..within(end))
        })
    }

    /// Bytes that `encode` writes; above [`MANIFEST_INLINE_BYTES_MAX`] they belong in a blob of their own.
    pub fn encoded_len(&self) -> usize {
        FIXED_BYTES + self.runs.len() * RUN_BYTES
    }

    /// Whether the manifest is too long for a metadata row.
    pub fn spills(&self) -> bool {
        self.encoded_len() > MANIFEST_INLINE_BYTES_MAX
    }

    /// The manifest as bytes; equal manifests give equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        out.put_u8(Self::VERSION);
        out.put_u64(self.blob_len);
        out.put_u32(self.head.chunk_bytes);
        [self.head.aead as u8, self.head.code.k(), self.head.code.m()]
            .into_iter()
            .for_each(|b| out.put_u8(b));
        self.head.key.encode(&mut out);
        self.head.data_key.encode(&mut out);
        out.put_u32(u32::try_from(self.runs.len()).expect("no more runs than chunks"));
        let mut start = 0;
        for run in &self.runs {
            out.put_u32(run.end - start);
            run.entry.shape.encode(&mut out);
            out.put_u16(run.entry.salt);
            out.put_u32(run.entry.layout_epoch);
            start = run.end;
        }
        out
    }

    /// Reads a manifest: whole, consistent, and in the one form that `encode` writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, "manifest");
        if r.u8()? != Self::VERSION {
            return Err(Malformed { what: "manifest version" });
        }
        let (blob_len, chunk_bytes) = (r.u64()?, r.u32()?);
        if !(1..=CHUNK_BYTES_MAX).contains(&chunk_bytes) {
            return Err(r.malformed());
        }
        let aead = Aead::from_u8(r.u8()?).ok_or(r.malformed())?;
        let code = Code::new(r.u8()?, r.u8()?).ok_or(r.malformed())?;
        let (key, data_key) = (KeyRef::decode(&mut r)?, WrappedKey::decode(&mut r)?);
        let runs = r.count(RUN_BYTES)?;
        let mut manifest = Self::new(BlobHead { chunk_bytes, aead, code, key, data_key });
        manifest.runs.reserve_exact(runs);
        for number in 0..runs {
            let chunks = r.u32()?;
            let shape = Shape::decode(&mut r)?;
            let entry = ChunkEntry { shape, salt: r.u16()?, layout_epoch: r.u32()? };
            manifest.push_run(chunks, entry).map_err(|_| r.malformed())?;
            // An empty run, or one that its neighbour should have held, is another spelling of the same manifest.
            if manifest.runs.len() != number + 1 {
                return Err(r.malformed());
            }
        }
        if manifest.blob_len != blob_len {
            return Err(r.malformed());
        }
        r.finish()?;
        Ok(manifest)
    }

    fn push_run(&mut self, chunks: u32, entry: ChunkEntry) -> Result<(), PushError> {
        let (size, start) = (u64::from(self.head.chunk_bytes), self.chunks());
        if self.blob_len != u64::from(start) * size {
            return Err(PushError::AfterTheLast);
        }
        let (shape, len) = (&entry.shape, u64::from(entry.shape.plain_len));
        let is_of_blob = shape.aead == self.head.aead
            && shape.code.k() <= self.head.code.k()
            && shape.code.m() == self.head.code.m()
            && shape.is_valid();
        if !is_of_blob || len > size {
            return Err(PushError::NotOfThisBlob);
        }
        // A short chunk is the last one, so it cannot be followed by its equal.
        if len < size && chunks > 1 {
            return Err(PushError::AfterTheLast);
        }
        let end = start.checked_add(chunks).ok_or(PushError::TooLong)?;
        let blob_len = self.blob_len + u64::from(chunks) * len;
        if blob_len > BLOB_BYTES_MAX {
            return Err(PushError::TooLong);
        }
        self.blob_len = blob_len;
        match self.runs.last_mut() {
            Some(last) if last.entry == entry => last.end = end,
            _ if chunks > 0 => self.runs.push(Run { end, entry }),
            _ => {}
        }
        Ok(())
    }
}
