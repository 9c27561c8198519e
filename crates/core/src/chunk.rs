//! The shape of a stripe: code, pieces, lengths, and the header that travels and rests with every shard.
//!
//! A sealed chunk is laid over k data shards of `pieces` pieces each; a piece is 2^j KiB and holds one AEAD segment with
//! its tag (plaintext capacity: piece − 16 bytes), so a range read fetches and opens only the pieces that it needs. Every
//! piece is a BLAKE3 subtree of the padded chunk, so piece values merge into the chunk's hash. See docs/formats.md.

use crate::codec::{Malformed, Put, Reader};
use crate::id::{BlobId, ChunkId, ShardId};

/// The most pieces in a shard.
pub const PIECES_MAX: u8 = 16;
/// Pieces are 1 KiB << this at most: a shard never exceeds 8 MiB.
pub const PIECE_LOG2_MAX: u8 = 9;
/// Bytes of an AEAD tag, at the end of every sealed piece.
pub const TAG_BYTES: usize = 16;
/// The largest encoded [`ShardHeader`].
pub const SHARD_HEADER_BYTES_MAX: usize = 72 + 2 + AUDIT_BYTES_MAX + PIECES_MAX as usize * 32;
/// The largest sealed audit record.
pub const AUDIT_BYTES_MAX: usize = 256;

/// An erasure code: any `k` of `k + m` shards give the chunk back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Code {
    k: u8,
    m: u8,
}

impl Code {
    /// A code with `k` ≥ 1 data shards and `m` ≥ 0 parity shards, at most 255 together.
    pub const fn new(k: u8, m: u8) -> Option<Self> {
        if k == 0 || k as u16 + m as u16 > 255 { None } else { Some(Self { k, m }) }
    }

    /// Data shards.
    pub const fn k(self) -> u8 {
        self.k
    }

    /// Parity shards: how many may be lost.
    pub const fn m(self) -> u8 {
        self.m
    }

    /// All shards.
    pub const fn n(self) -> u8 {
        self.k + self.m
    }

    /// Durable shards that an acknowledged write needs (D5): k + max(1, ⌈m/4⌉), or k when m = 0.
    pub const fn write_quorum(self) -> u8 {
        if self.m == 0 {
            return self.k;
        }
        let spare = self.m.div_ceil(4);
        self.k + if spare == 0 { 1 } else { spare }
    }

    /// The default for a cluster of `drives` (D4): 1 → 1+0, 2–3 → k+1, 4–13 → about half and half up to k+4, more → 10+4.
    pub const fn default_for(drives: usize) -> Self {
        let (k, m) = match drives {
            0 | 1 => (1, 0),
            2 | 3 => (drives as u8 - 1, 1),
            4..=13 => {
                let half = drives as u8 / 2;
                let m = if half > 4 { 4 } else { half };
                (drives as u8 - m, m)
            }
            _ => (10, 4),
        };
        Self { k, m }
    }

    /// Reads `K+M`.
    pub fn parse(text: &str) -> Option<Self> {
        let (k, m) = text.split_once('+')?;
        Self::new(k.trim().parse().ok()?, m.trim().parse().ok()?)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{}", self.k, self.m)
    }
}

/// What seals the pieces of a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Aead {
    /// Nothing here: the chunk is a pack whose items were sealed one by one under their own keys.
    Packed = 0,
    /// AES-256-GCM, 96-bit nonce.
    Aes256Gcm = 1,
    /// XChaCha20-Poly1305, 192-bit nonce.
    XChaCha20Poly1305 = 2,
}

impl Aead {
    /// From its byte in a format.
    pub fn from_u8(byte: u8) -> Option<Self> {
        [Self::Packed, Self::Aes256Gcm, Self::XChaCha20Poly1305].into_iter().find(|a| *a as u8 == byte)
    }
}

/// What a chunk's payload is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Codec {
    /// The plaintext itself.
    Raw = 0,
    /// One zstd frame of the plaintext.
    Zstd = 1,
}

impl Codec {
    /// From its byte in a format.
    pub fn from_u8(byte: u8) -> Option<Self> {
        [Self::Raw, Self::Zstd].into_iter().find(|c| *c as u8 == byte)
    }
}

/// How one chunk lies in its stripe. The same for every shard of the chunk; bound into every segment's AAD.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Shape {
    /// The code of this chunk; a small chunk may use fewer data shards than its bucket's code, never fewer parity shards.
    pub code: Code,
    /// log2 of the piece size in KiB.
    pub piece_log2: u8,
    /// Pieces in each shard.
    pub pieces: u8,
    /// Compressed or not.
    pub codec: Codec,
    /// The cipher.
    pub aead: Aead,
    /// Bytes of the chunk's plaintext.
    pub plain_len: u32,
    /// Bytes that were sealed: `plain_len`, or less when compressed.
    pub payload_len: u32,
}

/// Bytes of an encoded [`Shape`].
pub const SHAPE_BYTES: usize = 14;

impl Shape {
    /// Bytes of a piece.
    pub const fn piece_bytes(&self) -> usize {
        1024 << self.piece_log2
    }

    /// Payload bytes in a full piece.
    pub const fn segment_bytes(&self) -> usize {
        match self.aead {
            Aead::Packed => self.piece_bytes(),
            Aead::Aes256Gcm | Aead::XChaCha20Poly1305 => self.piece_bytes() - TAG_BYTES,
        }
    }

    /// Bytes of each shard.
    pub const fn shard_bytes(&self) -> usize {
        self.piece_bytes() * self.pieces as usize
    }

    /// Segments that hold payload; the pieces after them are zero.
    pub const fn segments(&self) -> usize {
        (self.payload_len as usize).div_ceil(self.segment_bytes())
    }

    /// Whether every field is in range and the payload fits.
    pub fn is_valid(&self) -> bool {
        (1..=PIECES_MAX).contains(&self.pieces)
            && self.piece_log2 <= PIECE_LOG2_MAX
            && self.plain_len > 0
            && self.payload_len > 0
            && self.segments() <= self.pieces as usize * self.code.k() as usize
            && match self.codec {
                Codec::Raw => self.payload_len == self.plain_len,
                Codec::Zstd => self.payload_len < self.plain_len,
            }
    }

    /// Appends the [`SHAPE_BYTES`] of the shape: k, m, j, pieces, codec, aead, plain length, payload length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for byte in
            [self.code.k, self.code.m, self.piece_log2, self.pieces, self.codec as u8, self.aead as u8]
        {
            out.put_u8(byte);
        }
        out.put_u32(self.plain_len);
        out.put_u32(self.payload_len);
    }

    /// Reads a shape and checks it.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let code = Code::new(r.u8()?, r.u8()?).ok_or(r.malformed())?;
        let (piece_log2, pieces) = (r.u8()?, r.u8()?);
        let codec = Codec::from_u8(r.u8()?).ok_or(r.malformed())?;
        let aead = Aead::from_u8(r.u8()?).ok_or(r.malformed())?;
        let shape =
            Self { code, piece_log2, pieces, codec, aead, plain_len: r.u32()?, payload_len: r.u32()? };
        if piece_log2 > PIECE_LOG2_MAX || !shape.is_valid() {
            return Err(r.malformed());
        }
        Ok(shape)
    }
}

/// What a shard says of itself, on the wire and on the drive. Not secret, except for the sealed audit record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardHeader {
    /// Which shard.
    pub id: ShardId,
    /// How its chunk lies.
    pub shape: Shape,
    /// The layout epoch that placed it.
    pub layout_epoch: u32,
    /// BLAKE3 of the padded sealed chunk: the same in all shards of one sealing.
    pub chunk_hash: [u8; 32],
    /// Who and what the shard belongs to, sealed (see `audit`).
    pub audit: Vec<u8>,
    /// The BLAKE3 value of every piece of this shard.
    pub values: Vec<[u8; 32]>,
}

impl ShardHeader {
    /// The format version that `encode` writes.
    pub const VERSION: u8 = 1;

    /// Appends the header: version, blob, chunk, index, shape, epoch, chunk hash, audit (u16 length), piece values.
    pub fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.audit.len() <= AUDIT_BYTES_MAX, "an audit record is bounded where it is sealed");
        assert_eq!(self.values.len(), usize::from(self.shape.pieces), "one value a piece");
        out.put_u8(Self::VERSION);
        out.put_raw(&self.id.chunk.blob.0);
        out.put_u32(self.id.chunk.chunk);
        out.put_u8(self.id.index);
        self.shape.encode(out);
        out.put_u32(self.layout_epoch);
        out.put_raw(&self.chunk_hash);
        out.put_u16(self.audit.len() as u16);
        out.put_raw(&self.audit);
        self.values.iter().for_each(|v| out.put_raw(v));
    }

    /// Reads a header and checks it against itself.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        if r.u8()? != Self::VERSION {
            return Err(Malformed { what: "shard header version" });
        }
        let chunk = ChunkId { blob: BlobId(r.array()?), chunk: r.u32()? };
        let id = ShardId { chunk, index: r.u8()? };
        let shape = Shape::decode(r)?;
        if id.index >= shape.code.n() {
            return Err(r.malformed());
        }
        let layout_epoch = r.u32()?;
        let chunk_hash = r.array()?;
        let audit_len = usize::from(r.u16()?);
        if audit_len > AUDIT_BYTES_MAX {
            return Err(r.malformed());
        }
        let audit = r.take(audit_len)?.to_vec();
        let values = (0..shape.pieces).map(|_| r.array()).collect::<Result<_, _>>()?;
        Ok(Self { id, shape, layout_epoch, chunk_hash, audit, values })
    }

    /// The BLAKE3 value that piece `piece` of this shard must have, computed from its bytes.
    ///
    /// Data pieces are subtrees of the padded chunk (their value depends on where they stand); parity pieces lie outside
    /// that tree and are hashed on their own; a chunk of one single piece is its own root.
    pub fn piece_value(shape: &Shape, index: u8, piece: u8, bytes: &[u8]) -> [u8; 32] {
        use blake3::hazmat::HasherExt;
        assert_eq!(bytes.len(), shape.piece_bytes(), "a piece is whole");
        if index >= shape.code.k() || (shape.code.k() == 1 && shape.pieces == 1) {
            return *blake3::hash(bytes).as_bytes();
        }
        let position = u64::from(index) * u64::from(shape.pieces) + u64::from(piece);
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(position * shape.piece_bytes() as u64);
        hasher.update(bytes).finalize_non_root()
    }

    /// The first piece, from `first` on, whose bytes are not what the header says; `bytes` holds whole pieces.
    pub fn first_bad_piece(&self, first: u8, bytes: &[u8]) -> Option<u8> {
        let size = self.shape.piece_bytes();
        if !bytes.len().is_multiple_of(size) || bytes.len() / size + usize::from(first) > self.values.len() {
            return Some(first);
        }
        bytes.chunks_exact(size).zip(first..).find_map(|(piece, number)| {
            let value = Self::piece_value(&self.shape, self.id.index, number, piece);
            (value != self.values[usize::from(number)]).then_some(number)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_code_follows_the_number_of_drives() {
        let codes: Vec<String> = (1..=15).map(|d| Code::default_for(d).to_string()).collect();
        assert_eq!(codes.join(" "), "1+0 1+1 2+1 2+2 3+2 3+3 4+3 4+4 5+4 6+4 7+4 8+4 9+4 10+4 10+4");
    }

    #[test]
    fn the_write_quorum_is_eleven_of_fourteen() {
        let quorum = |k, m| Code::new(k, m).expect("valid").write_quorum();
        assert_eq!(
            (quorum(10, 4), quorum(1, 0), quorum(2, 1), quorum(2, 2), quorum(9, 5)),
            (11, 1, 3, 3, 11)
        );
    }
}
