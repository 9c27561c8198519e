//! Keys: secret bytes that wipe themselves, how one key wraps another, and how purposes derive from the master key.
//!
//! Master key → bucket key → data key; each is wrapped by the one above it with AES-256-GCM-SIV, which survives a
//! repeated nonce. Owns no randomness: keys and nonces are drawn by the caller. Any room may hold keys; only `seal` and
//! this one look inside them.
//!
//! Wrapped key (60 bytes): nonce 12, sealed key 32, tag 16. Small sealed bytes: nonce 12, ciphertext, tag 16.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::chunk::TAG_BYTES;
use crate::codec::{Malformed, Put, Reader};
use crate::id::BucketId;
pub use crate::seal::BadTag;
use crate::seal::{Cipher, Suite};

/// Bytes of every symmetric key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a nonce of [`seal_small`] and [`WrappedKey`].
pub const NONCE_BYTES: usize = 12;
/// What [`seal_small`] adds to its plaintext: the nonce in front and the tag behind.
pub const SMALL_OVERHEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;
/// The largest plaintext that [`seal_small`] takes: inline objects, secrets and records, never a chunk.
pub const SMALL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Purpose of [`derive`]: the key that seals audit records.
pub const PURPOSE_AUDIT: &str = "pangea 2026-11 v1 audit record sealing";
/// Purpose of [`derive`]: the key that wraps the copy of a data key inside an audit record.
pub const PURPOSE_RECOVERY: &str = "pangea 2026-11 v1 data key recovery";
/// Purpose of [`derive`]: the key that wraps bucket keys.
pub const PURPOSE_BUCKET_KEYS: &str = "pangea 2026-11 v1 bucket key wrapping";
/// Purpose of [`derive`]: the key that seals the metadata log and its snapshots.
pub const PURPOSE_META_LOG: &str = "pangea 2026-11 v1 metadata log sealing";
/// Purpose of [`derive`]: the key that seals stored credentials (S3 secrets and the like).
pub const PURPOSE_CREDENTIALS: &str = "pangea 2026-11 v1 credential sealing";

/// Thirty-two secret bytes: wiped on drop, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey([u8; KEY_BYTES]);

impl SecretKey {
    /// Takes bytes that were drawn or unwrapped.
    pub const fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes themselves, for a cipher or for sealing them elsewhere.
    pub const fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

macro_rules! key_role {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct $name(pub SecretKey);

        impl $name {
            /// Takes bytes that were drawn or unwrapped.
            pub const fn new(bytes: [u8; KEY_BYTES]) -> Self {
                Self(SecretKey::new(bytes))
            }

            /// The key as plain secret bytes: to wrap it, or to wrap under it.
            pub const fn secret(&self) -> &SecretKey {
                &self.0
            }
        }

        impl From<SecretKey> for $name {
            fn from(key: SecretKey) -> Self {
                Self(key)
            }
        }
    };
}

key_role!(
    /// The cluster's root key: everything else is wrapped by it or derived from it.
    MasterKey
);
key_role!(
    /// One generation of a bucket's key: it wraps the data keys of the bucket's blobs.
    BucketKey
);
key_role!(
    /// The key of one sealing attempt of one blob. Never used twice: a retry draws a new one.
    DataKey
);

/// Which bucket key wrapped a data key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyRef {
    /// The bucket that owns the key.
    pub bucket: BucketId,
    /// Its rotation, from 0.
    pub generation: u32,
}

impl KeyRef {
    /// Stands where a format has a reference and there is no key.
    pub const NONE: Self = Self { bucket: BucketId::ZERO, generation: 0 };

    /// Bytes of an encoded reference.
    pub const BYTES: usize = 20;

    /// Appends bucket and generation.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_raw(&self.bucket.0);
        out.put_u32(self.generation);
    }

    /// Reads a reference.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { bucket: BucketId(r.array()?), generation: r.u32()? })
    }
}

/// A key sealed by another key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct WrappedKey {
    /// The nonce that sealed it.
    pub nonce: [u8; NONCE_BYTES],
    /// The sealed key and its tag.
    pub sealed: [u8; KEY_BYTES + TAG_BYTES],
}

impl WrappedKey {
    /// Stands where a format has a wrapped key and there is none: opens under no key.
    pub const NONE: Self = Self { nonce: [0; NONCE_BYTES], sealed: [0; KEY_BYTES + TAG_BYTES] };

    /// Bytes of an encoded wrapped key.
    pub const BYTES: usize = NONCE_BYTES + KEY_BYTES + TAG_BYTES;

    /// Seals `key` by `kek` under a fresh random `nonce`; `aad` names what the key is for and is needed again to unwrap.
    pub fn wrap(kek: &SecretKey, key: &SecretKey, nonce: [u8; NONCE_BYTES], aad: &[u8]) -> Self {
        let mut sealed = [0; KEY_BYTES + TAG_BYTES];
        let (body, tag) = sealed.split_at_mut(KEY_BYTES);
        body.copy_from_slice(key.expose());
        tag.copy_from_slice(&Cipher::new(Suite::Aes256GcmSiv, kek.expose(), &[0; 16]).seal(nonce, aad, body));
        Self { nonce, sealed }
    }

    /// Opens what [`wrap`](Self::wrap) sealed.
    pub fn unwrap(&self, kek: &SecretKey, aad: &[u8]) -> Result<SecretKey, BadTag> {
        let (body, tag) = self.sealed.split_at(KEY_BYTES);
        let tag = tag.try_into().expect("a wrapped key ends with a whole tag");
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        Cipher::new(Suite::Aes256GcmSiv, kek.expose(), &[0; 16])
            .open(self.nonce, aad, body, tag, &mut *key)?;
        Ok(SecretKey::new(*key))
    }

    /// Appends nonce, sealed key and tag.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_raw(&self.nonce);
        out.put_raw(&self.sealed);
    }

    /// Reads a wrapped key; only unwrapping it checks it.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { nonce: r.array()?, sealed: r.array()? })
    }
}

/// The key of one purpose, derived from the master key by BLAKE3's key derivation. Purposes are the constants above.
pub fn derive(purpose: &'static str, master: &MasterKey) -> SecretKey {
    SecretKey::new(blake3::derive_key(purpose, master.0.expose()))
}

/// Seals a small byte string (an inline object, a secret, a record) by AES-256-GCM-SIV: nonce, ciphertext, tag.
///
/// # Panics
/// If `plain` exceeds [`SMALL_BYTES_MAX`]: larger things are chunks.
pub fn seal_small(key: &SecretKey, nonce: [u8; NONCE_BYTES], aad: &[u8], plain: &[u8]) -> Vec<u8> {
    assert!(plain.len() <= SMALL_BYTES_MAX, "larger things are sealed as chunks");
    let mut out = Vec::with_capacity(plain.len() + SMALL_OVERHEAD_BYTES);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(plain);
    let tag =
        Cipher::new(Suite::Aes256GcmSiv, key.expose(), &[0; 16]).seal(nonce, aad, &mut out[NONCE_BYTES..]);
    out.extend_from_slice(&tag);
    out
}

/// Opens what [`seal_small`] sealed, under the same key and `aad`.
pub fn open_small(key: &SecretKey, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, BadTag> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(BadTag)?;
    let (body, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(BadTag)?;
    if body.len() > SMALL_BYTES_MAX {
        return Err(BadTag);
    }
    let mut plain = vec![0; body.len()];
    Cipher::new(Suite::Aes256GcmSiv, key.expose(), &[0; 16]).open(*nonce, aad, body, tag, &mut plain)?;
    Ok(plain)
}

#[cfg(test)]
mod tests;
