//! Audit records: what a lone shard says, to the holder of the master key only, of whose it is and how to open it.
//!
//! Every shard header carries one, sealed. They are the last resort: with all metadata lost, shards and master key still
//! give every blob back (`recover`). Owns the format and its two derived keys; `ces` only carries the sealed bytes.
//!
//! The record, sealed by `keys::seal_small` (12 bytes of nonce, 16 of tag) with the blob id as associated data:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 1 | format version, 1 |
//! | 1 | 1 | owner kind: 1 version, 2 upload, 3 pack |
//! | 2 | 16 | owner: version or upload id; pack: zero |
//! | 18 | 8 | blob length, all ones when it was not known |
//! | 26 | 4 | plaintext bytes of a full chunk |
//! | 30 | 8 | when the blob was begun, ms since 1970 |
//! | 38 | 20 | bucket id, generation of its key |
//! | 58 | 60 | the blob's data key, wrapped for recovery |
//! | 118 | 16 | first half of BLAKE3(object key) |

use crate::chunk::AUDIT_BYTES_MAX;
use crate::codec::{Malformed, Put, Reader};
use crate::id::{BlobId, UploadId, VersionId};
use crate::keys::{
    BadTag, DataKey, KeyRef, MasterKey, NONCE_BYTES, PURPOSE_AUDIT, PURPOSE_RECOVERY, SMALL_OVERHEAD_BYTES,
    SecretKey, WrappedKey, derive, open_small, seal_small,
};

/// Bytes of every sealed audit record.
pub const SEALED_AUDIT_BYTES: usize = AUDIT_BYTES + SMALL_OVERHEAD_BYTES;
const AUDIT_BYTES: usize = 134;
const _: () = assert!(SEALED_AUDIT_BYTES <= AUDIT_BYTES_MAX);
/// The blob length on the drive of a stream whose end was not known when its first chunk was sealed.
const LENGTH_UNKNOWN: u64 = u64::MAX;

/// Whom a blob was written for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// A version of an object.
    Version(VersionId),
    /// A part of a multipart upload.
    Upload(UploadId),
    /// Nobody alone: its items have records of their own, and it has no data key (zeros in place of key and reference).
    Pack,
}

/// What an audit record says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditRecord {
    /// Whom the blob was written for.
    pub owner: Owner,
    /// Bytes of the blob's plaintext, if known when sealing began.
    pub blob_len: Option<u64>,
    /// Plaintext bytes of every chunk but the last.
    pub chunk_bytes: u32,
    /// When the blob was begun: milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// The bucket, and the generation of its key that the manifest's wrapped key is under.
    pub key: KeyRef,
    /// The blob's data key as [`AuditKeys::wrap`] wrapped it: opens with the master key alone.
    pub data_key: WrappedKey,
    /// The first 16 bytes of BLAKE3 of the object's key: confirms a name without revealing it.
    pub name_hash: [u8; 16],
}

impl AuditRecord {
    /// The format version that `encode` writes.
    pub const VERSION: u8 = 1;

    /// The [`name_hash`](Self::name_hash) of an object key.
    pub fn hash_name(object_key: &[u8]) -> [u8; 16] {
        *blake3::hash(object_key).as_bytes().first_chunk().expect("a hash has 32 bytes")
    }

    /// Appends the record in the clear.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, owner) = match self.owner {
            Owner::Version(id) => (1, id.0),
            Owner::Upload(id) => (2, id.0),
            Owner::Pack => (3, [0; 16]),
        };
        assert_ne!(self.blob_len, Some(LENGTH_UNKNOWN), "no blob is that long");
        out.put_u8(Self::VERSION);
        out.put_u8(kind);
        out.put_raw(&owner);
        out.put_u64(self.blob_len.unwrap_or(LENGTH_UNKNOWN));
        out.put_u32(self.chunk_bytes);
        out.put_u64(self.created_ms);
        self.key.encode(out);
        self.data_key.encode(out);
        out.put_raw(&self.name_hash);
    }

    /// Reads a whole record.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, "audit record");
        if r.u8()? != Self::VERSION {
            return Err(Malformed { what: "audit record version" });
        }
        let (kind, owner) = (r.u8()?, r.array()?);
        let record = Self {
            owner: match kind {
                1 => Owner::Version(VersionId(owner)),
                2 => Owner::Upload(UploadId(owner)),
                3 if owner == [0; 16] => Owner::Pack,
                _ => return Err(r.malformed()),
            },
            blob_len: Some(r.u64()?).filter(|len| *len != LENGTH_UNKNOWN),
            chunk_bytes: r.u32()?,
            created_ms: r.u64()?,
            key: KeyRef::decode(&mut r)?,
            data_key: WrappedKey::decode(&mut r)?,
            name_hash: r.array()?,
        };
        r.finish()?;
        Ok(record)
    }
}

/// Why an audit record could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuditError {
    /// Another master key sealed it, it belongs to another blob, or its bytes changed.
    BadTag,
    /// It is authentic but not of a version that this program knows.
    Malformed(Malformed),
}

impl std::fmt::Display for AuditError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BadTag => f.write_str("the audit record does not open under this master key"),
            Self::Malformed(malformed) => malformed.fmt(f),
        }
    }
}

impl std::error::Error for AuditError {}

impl From<BadTag> for AuditError {
    fn from(_: BadTag) -> Self {
        Self::BadTag
    }
}

impl From<Malformed> for AuditError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// The two keys of audit records, derived once from the master key.
///
/// Apart, because a census may need to know whose a shard is without being able to open it.
#[derive(Clone, Debug)]
pub struct AuditKeys {
    record: SecretKey,
    recovery: SecretKey,
}

impl AuditKeys {
    /// Derives both keys.
    pub fn new(master: &MasterKey) -> Self {
        Self { record: derive(PURPOSE_AUDIT, master), recovery: derive(PURPOSE_RECOVERY, master) }
    }

    /// Wraps a blob's data key for its audit records, under a fresh random `nonce`.
    pub fn wrap(&self, blob: BlobId, key: &DataKey, nonce: [u8; NONCE_BYTES]) -> WrappedKey {
        WrappedKey::wrap(&self.recovery, key.secret(), nonce, &blob.0)
    }

    /// The data key of `blob`, from its audit record.
    pub fn unwrap(&self, blob: BlobId, wrapped: &WrappedKey) -> Result<DataKey, BadTag> {
        wrapped.unwrap(&self.recovery, &blob.0).map(DataKey::from)
    }

    /// Seals a record for the shards of `blob`, under a fresh random `nonce`. The result is [`SEALED_AUDIT_BYTES`] long.
    pub fn seal(&self, blob: BlobId, record: &AuditRecord, nonce: [u8; NONCE_BYTES]) -> Vec<u8> {
        let mut plain = Vec::with_capacity(AUDIT_BYTES);
        record.encode(&mut plain);
        seal_small(&self.record, nonce, &blob.0, &plain)
    }

    /// Opens the record that a shard of `blob` carries.
    pub fn open(&self, blob: BlobId, sealed: &[u8]) -> Result<AuditRecord, AuditError> {
        Ok(AuditRecord::decode(&open_small(&self.record, &blob.0, sealed)?)?)
    }
}

#[cfg(test)]
mod tests;
