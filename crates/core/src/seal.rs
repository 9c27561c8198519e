//! Sealing: authenticated encryption of segments, the same bytes on every platform.
//!
//! Owns the nonce rules and nothing else. A data key seals one blob once, so (chunk, segment) never repeats under a key:
//!
//! | AEAD | nonce |
//! |---|---|
//! | AES-256-GCM | chunk u32 BE, segment u32 BE, 4 zero bytes |
//! | XChaCha20-Poly1305 | chunk u32 BE, 12 zero bytes, segment u32 BE, 4 zero bytes: one HChaCha20 a chunk |
//!
//! `native` (aws-lc) and `portable` (pure Rust, for wasm32) give identical bytes; a test holds them to it. Used by `ces`
//! for chunks and by `keys` for everything small.

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(any(test, target_arch = "wasm32"))]
mod portable;
#[cfg(test)]
mod tests;

use std::fmt;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::Cipher;
#[cfg(target_arch = "wasm32")]
pub(crate) use portable::Cipher;

use crate::chunk::{Aead, TAG_BYTES};
use crate::keys::DataKey;

/// A tag that does not fit its bytes: wrong key, wrong place, or changed bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadTag;

impl fmt::Display for BadTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the authentication tag does not fit")
    }
}

impl std::error::Error for BadTag {}

/// What a backend must offer. All take a 12-byte nonce; XChaCha's first 16 nonce bytes are given when the key is set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Suite {
    Aes256Gcm,
    Aes256GcmSiv,
    XChaCha20Poly1305,
}

impl Aead {
    /// The AEAD for new chunks (D1): AES-256-GCM where the CPU has AES instructions, else XChaCha20-Poly1305.
    pub const fn pick(has_aes: bool) -> Self {
        if has_aes { Self::Aes256Gcm } else { Self::XChaCha20Poly1305 }
    }
}

/// A data key set up for the segments of one chunk.
pub struct Sealer {
    cipher: Cipher,
    /// The chunk's bytes in a GCM nonce; zero for XChaCha, where they are in the subkey.
    prefix: [u8; 4],
}

impl Sealer {
    /// Sets `key` up for chunk number `chunk`. `None` for [`Aead::Packed`]: a pack's items were sealed one by one.
    pub fn new(aead: Aead, key: &DataKey, chunk: u32) -> Option<Self> {
        let key = key.secret().expose();
        let mut extended = [0; 16];
        extended[..4].copy_from_slice(&chunk.to_be_bytes());
        match aead {
            Aead::Packed => None,
            Aead::Aes256Gcm => Some(Self {
                cipher: Cipher::new(Suite::Aes256Gcm, key, &extended),
                prefix: chunk.to_be_bytes(),
            }),
            Aead::XChaCha20Poly1305 => {
                Some(Self { cipher: Cipher::new(Suite::XChaCha20Poly1305, key, &extended), prefix: [0; 4] })
            }
        }
    }

    /// Seals segment number `segment` in place: `buf` holds the payload and behind it 16 bytes that receive the tag.
    ///
    /// # Panics
    /// If `buf` has no room for the tag.
    pub fn seal_segment(&self, segment: u32, aad: &[u8], buf: &mut [u8]) {
        let (payload, tag) = buf.split_last_chunk_mut::<TAG_BYTES>().expect("room for the tag");
        *tag = self.cipher.seal(self.nonce(segment), aad, payload);
    }

    /// Opens what `seal_segment` made (payload and tag) into `out`, which is as long as the payload. On an error `out` holds nothing
    /// of worth.
    pub fn open_segment(
        &self,
        segment: u32,
        aad: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), BadTag> {
        let (payload, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(BadTag)?;
        if payload.len() != out.len() {
            return Err(BadTag);
        }
        self.cipher.open(self.nonce(segment), aad, payload, tag, out)
    }

    fn nonce(&self, segment: u32) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.prefix);
        nonce[4..8].copy_from_slice(&segment.to_be_bytes());
        nonce
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(..)")
    }
}
