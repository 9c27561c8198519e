//! Sealed files: the header and the frames that the meta log and its snapshots are made of.
//!
//! Owns these bytes and the argument that no nonce is used twice. All numbers are little-endian.
//!
//! | header at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic: `PANGLOG1` or `PANGSNP1` |
//! | 8 | 2 | format version, 1 |
//! | 10 | 2 | zero |
//! | 12 | 4 | generation of the master key that the file's key derives from |
//! | 16 | 16 | cluster id |
//! | 32 | 8 | meta generation |
//! | 40 | 4 | number of the file within its generation |
//! | 44 | 4 | zero |
//! | 48 | 8 | sequence: log: of its first request; snapshot: of the last request it holds |
//! | 56 | 32 | chain value before that request (log) or after it (snapshot) |
//! | 88 | 32 | salt |
//! | 120 | 32 | BLAKE3 of bytes 0..120 |
//! | 152 | 16 | key check: the tag of nothing, nonce 2^32 − 1, AAD bytes 0..152 |
//! | 168 | 344 | zero |
//!
//! | frame at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `FRM1` |
//! | 4 | 4 | sealed bytes, tag included |
//! | 8 | 8 | first: log: sequence of its first request; snapshot: number of its first row |
//! | 16 | 4 | requests or rows in it |
//! | 20 | 4 | number of the frame within its file, from 0: its nonce |
//! | 24 | 32 | chain value of the frame before |
//! | 56 | 8 | zero |
//! | 64 | … | sealed payload; AAD is bytes 0..64; then zeros up to a multiple of 512 |
//!
//! The chain value of a frame is the BLAKE3 of its bytes without the padding; it covers the frame before, so one value
//! stands for the whole history. Frames start on 512-byte sectors: writing one never rewrites a sector that an
//! acknowledged frame lies in.
//!
//! **Nonces.** The cipher is AES-256-GCM under a key derived from the cluster's meta key and the file's 256-bit random salt;
//! the nonce is the file's number and the frame's. A file is written by one open of the engine and never again (every start,
//! roll and change of drives begins a new file with a new salt), and within it frame numbers only count up. A frame is
//! written to several drives with the same bytes. A frame that failed is never written again into that file: its requests go
//! into a file with another salt, so under another key. So no (key, nonce) ever seals two different plaintexts.

use pangea_core::chunk::{Aead, TAG_BYTES};
use pangea_core::codec::{Put, Reader};
use pangea_core::id::ClusterId;
use pangea_core::keys::{DataKey, SecretKey};
use pangea_core::seal::Sealer;

use crate::error::MetaError;

/// Bytes of a file's header.
pub(crate) const HEADER_BYTES: usize = 512;
/// Bytes of a frame before its sealed payload.
pub(crate) const FRAME_HEAD_BYTES: usize = 64;
/// Frames start at multiples of this.
pub(crate) const SECTOR_BYTES: usize = 512;
/// The largest payload of a frame.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 16 << 20;
/// The format that this version writes, and the newest it reads.
pub(crate) const FORMAT_VERSION: u16 = 1;

const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"FRM1");
const KEY_PURPOSE: &str = "pangea 2026-11 v1 metadata file key";
/// The nonce of the key check; no file has that many frames.
const KEY_CHECK_SEGMENT: u32 = u32::MAX;

/// A point in the history: the last request, and the value that stands for everything up to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    /// Requests since the cluster was made.
    pub seq: u64,
    /// The chain value; zero before the first request.
    pub chain: [u8; 32],
}

/// The meta key of one master key generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogKey {
    /// The master key generation that it derives from.
    pub generation: u32,
    /// The key, derived for the purpose `PURPOSE_META_LOG`.
    pub key: SecretKey,
}

/// The keys that open existing files, and the one that seals new ones.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogKeys {
    /// Seals new files.
    pub current: LogKey,
    /// Only opens files of earlier master key generations.
    pub older: Vec<LogKey>,
}

impl LogKeys {
    fn find(&self, generation: u32) -> Option<&LogKey> {
        [&self.current].into_iter().chain(&self.older).find(|key| key.generation == generation)
    }
}

/// What a sealed file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Requests.
    Log,
    /// Rows.
    Snapshot,
}

impl Kind {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Log => b"PANGLOG1",
            Self::Snapshot => b"PANGSNP1",
        }
    }
}

/// A file's header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub kind: Kind,
    pub key_generation: u32,
    pub cluster: ClusterId,
    pub generation: u64,
    pub number: u32,
    pub seq: u64,
    pub chain: [u8; 32],
    pub salt: [u8; 32],
}

/// Why a header is of no use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BadHeader {
    /// Never finished, or rotten.
    Broken,
    /// Of a newer format.
    Newer(u16),
    /// Of another cluster.
    OtherCluster(ClusterId),
    /// Its key is not among ours.
    WrongKey,
}

impl BadHeader {
    /// The error, unless the file may simply be passed over.
    pub fn fatal(self, file: &str) -> Option<MetaError> {
        let file = file.to_owned();
        match self {
            Self::Broken => None,
            Self::Newer(version) => Some(MetaError::NewerFormat { file, version }),
            Self::OtherCluster(found) => Some(MetaError::OtherCluster { file, found }),
            Self::WrongKey => Some(MetaError::WrongKey { file }),
        }
    }
}

impl Header {
    fn sealer(&self, key: &SecretKey) -> Sealer {
        let mut material = zeroed(*key.expose(), self.salt);
        let file_key = DataKey::new(blake3::derive_key(KEY_PURPOSE, &material));
        material.fill(0);
        Sealer::new(Aead::Aes256Gcm, &file_key, self.number).expect("AES-256-GCM seals segments")
    }

    /// The header's bytes, and the sealer of the file's frames.
    pub fn encode(&self, keys: &LogKeys) -> (Vec<u8>, Sealer) {
        assert_eq!(self.key_generation, keys.current.generation, "new files are sealed by the current key");
        let sealer = self.sealer(&keys.current.key);
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.put_raw(self.kind.magic());
        out.put_u16(FORMAT_VERSION);
        out.put_u16(0);
        out.put_u32(self.key_generation);
        out.put_raw(&self.cluster.0);
        out.put_u64(self.generation);
        out.put_u32(self.number);
        out.put_u32(0);
        out.put_u64(self.seq);
        out.put_raw(&self.chain);
        out.put_raw(&self.salt);
        let hash = blake3::hash(&out);
        out.put_raw(hash.as_bytes());
        let mut check = [0; TAG_BYTES];
        sealer.seal_segment(KEY_CHECK_SEGMENT, &out, &mut check);
        out.put_raw(&check);
        out.resize(HEADER_BYTES, 0);
        (out, sealer)
    }

    /// Reads a header and sets the file's key up.
    pub fn decode(
        bytes: &[u8; HEADER_BYTES],
        kind: Kind,
        cluster: ClusterId,
        keys: &LogKeys,
    ) -> Result<(Self, Sealer), BadHeader> {
        let mut r = Reader::new(bytes, "sealed file header");
        let broken = |_| BadHeader::Broken;
        let magic = r.take(8).map_err(broken)?;
        let hash = blake3::hash(&bytes[..120]);
        if magic != kind.magic() || hash.as_bytes() != &bytes[120..152] {
            return Err(BadHeader::Broken);
        }
        let version = r.u16().map_err(broken)?;
        if version != FORMAT_VERSION {
            return Err(BadHeader::Newer(version));
        }
        r.u16().map_err(broken)?;
        let key_generation = r.u32().map_err(broken)?;
        let found = ClusterId(r.array().map_err(broken)?);
        if found != cluster {
            return Err(BadHeader::OtherCluster(found));
        }
        let (generation, number) = (r.u64().map_err(broken)?, r.u32().map_err(broken)?);
        r.u32().map_err(broken)?;
        let seq = r.u64().map_err(broken)?;
        let (chain, salt) = (r.array().map_err(broken)?, r.array().map_err(broken)?);
        let header = Self { kind, key_generation, cluster, generation, number, seq, chain, salt };
        let key = keys.find(key_generation).ok_or(BadHeader::WrongKey)?;
        let sealer = header.sealer(&key.key);
        let check = &bytes[152..152 + TAG_BYTES];
        sealer
            .open_segment(KEY_CHECK_SEGMENT, &bytes[..152], check, &mut [])
            .map_err(|_| BadHeader::WrongKey)?;
        Ok((header, sealer))
    }
}

fn zeroed(key: [u8; 32], salt: [u8; 32]) -> [u8; 64] {
    let mut material = [0; 64];
    material[..32].copy_from_slice(&key);
    material[32..].copy_from_slice(&salt);
    material
}

/// The clear front of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FrameHead {
    /// Bytes of the sealed payload, tag included.
    pub sealed_len: u32,
    /// Sequence of the first request, or number of the first row.
    pub first: u64,
    /// Requests or rows.
    pub count: u32,
    /// Number of the frame in its file.
    pub number: u32,
    /// Chain value of the frame before.
    pub chain: [u8; 32],
}

impl FrameHead {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(FRAME_MAGIC);
        out.put_u32(self.sealed_len);
        out.put_u64(self.first);
        out.put_u32(self.count);
        out.put_u32(self.number);
        out.put_raw(&self.chain);
        out.put_u64(0);
    }

    /// Reads a front; `None`: there is no frame here.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut r = Reader::new(bytes, "frame");
        if r.u32().ok()? != FRAME_MAGIC {
            return None;
        }
        let sealed_len = r.u32().ok()?;
        let len = sealed_len as usize;
        if !(TAG_BYTES..=PAYLOAD_BYTES_MAX + TAG_BYTES).contains(&len) {
            return None;
        }
        let (first, count, number) = (r.u64().ok()?, r.u32().ok()?, r.u32().ok()?);
        Some(Self { sealed_len, first, count, number, chain: r.array().ok()? })
    }

    /// Bytes of the frame in its file, padding included.
    pub fn frame_bytes(&self) -> usize {
        (FRAME_HEAD_BYTES + self.sealed_len as usize).next_multiple_of(SECTOR_BYTES)
    }
}

/// Seals a payload into a frame; gives its bytes, padding included, and its chain value.
pub(crate) fn seal_frame(
    sealer: &Sealer,
    first: u64,
    count: u32,
    number: u32,
    chain: [u8; 32],
    payload: &[u8],
) -> (Vec<u8>, [u8; 32]) {
    assert!(
        payload.len() <= PAYLOAD_BYTES_MAX && number != KEY_CHECK_SEGMENT,
        "bounded where payloads are made"
    );
    let head = FrameHead { sealed_len: (payload.len() + TAG_BYTES) as u32, first, count, number, chain };
    let mut out = Vec::with_capacity(head.frame_bytes());
    head.encode(&mut out);
    out.put_raw(payload);
    out.put_raw(&[0; TAG_BYTES]);
    let (aad, sealed) = out.split_at_mut(FRAME_HEAD_BYTES);
    sealer.seal_segment(number, aad, sealed);
    let chain = *blake3::hash(&out).as_bytes();
    out.resize(head.frame_bytes(), 0);
    (out, chain)
}

/// Opens a frame's bytes (padding allowed); gives its front, its payload and its chain value.
pub(crate) fn open_frame(sealer: &Sealer, bytes: &[u8]) -> Option<(FrameHead, Vec<u8>, [u8; 32])> {
    let head = FrameHead::decode(bytes)?;
    let whole = bytes.get(..FRAME_HEAD_BYTES + head.sealed_len as usize)?;
    let (aad, sealed) = whole.split_at(FRAME_HEAD_BYTES);
    let mut payload = vec![0; sealed.len() - TAG_BYTES];
    sealer.open_segment(head.number, aad, sealed, &mut payload).ok()?;
    Some((head, payload, *blake3::hash(whole).as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(byte: u8) -> LogKeys {
        LogKeys { current: LogKey { generation: 2, key: SecretKey::new([byte; 32]) }, older: Vec::new() }
    }

    fn header() -> Header {
        Header {
            kind: Kind::Log,
            key_generation: 2,
            cluster: ClusterId([1; 16]),
            generation: 3,
            number: 4,
            seq: 5,
            chain: [6; 32],
            salt: [7; 32],
        }
    }

    #[test]
    fn a_header_says_what_is_wrong_with_it() {
        let (bytes, _) = header().encode(&keys(1));
        let bytes: [u8; HEADER_BYTES] = bytes.try_into().expect("whole");
        let read = |bytes: &[u8; HEADER_BYTES], cluster, keys: &LogKeys| {
            Header::decode(bytes, Kind::Log, ClusterId([cluster; 16]), keys).map(|(header, _)| header)
        };
        assert_eq!(read(&bytes, 1, &keys(1)), Ok(header()));
        assert_eq!(read(&bytes, 2, &keys(1)), Err(BadHeader::OtherCluster(ClusterId([1; 16]))));
        assert_eq!(read(&bytes, 1, &keys(2)), Err(BadHeader::WrongKey));
        let older = LogKeys {
            current: LogKey { generation: 9, key: SecretKey::new([9; 32]) },
            older: vec![keys(1).current],
        };
        assert_eq!(read(&bytes, 1, &older), Ok(header()));
        for at in 0..152 {
            let mut rotten = bytes;
            rotten[at] ^= 1;
            assert_eq!(read(&rotten, 1, &keys(1)), Err(BadHeader::Broken));
        }
        let mut newer = bytes;
        newer[8] = 2;
        let hash = *blake3::hash(&newer[..120]).as_bytes();
        newer[120..152].copy_from_slice(&hash);
        assert_eq!(read(&newer, 1, &keys(1)), Err(BadHeader::Newer(2)));
    }

    #[test]
    fn a_frame_opens_only_as_it_was_sealed() {
        let (_, sealer) = header().encode(&keys(1));
        let (bytes, chain) = seal_frame(&sealer, 10, 2, 3, [4; 32], b"payload");
        assert_eq!(bytes.len() % SECTOR_BYTES, 0);
        let (head, payload, again) = open_frame(&sealer, &bytes).expect("opens");
        assert_eq!(
            (head.first, head.count, head.number, payload.as_slice(), again),
            (10, 2, 3, &b"payload"[..], chain)
        );
        for at in 0..FRAME_HEAD_BYTES + 7 + TAG_BYTES {
            let mut rotten = bytes.clone();
            rotten[at] ^= 0x80;
            assert!(open_frame(&sealer, &rotten).is_none(), "byte {at}");
        }
        assert!(open_frame(&sealer, &bytes[..80]).is_none());
    }
}
