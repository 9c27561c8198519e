//! The pure-Rust cipher backend, for targets without aws-lc (wasm32) and as the oracle of the native one.
//!
//! Same bytes, a fifth to a half of the speed. Only `seal` may use this.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm_siv::Aes256GcmSiv;
use chacha20poly1305::XChaCha20Poly1305;

use super::{BadTag, Suite};
use crate::chunk::TAG_BYTES;

/// A key that is ready to seal and open.
pub(crate) struct Cipher(Kind);

enum Kind {
    Gcm(Box<Aes256Gcm>),
    GcmSiv(Box<Aes256GcmSiv>),
    XChaCha { cipher: XChaCha20Poly1305, extended: [u8; 16] },
}

impl Cipher {
    /// Sets a key up; `extended` is the first 16 bytes of an XChaCha nonce, ignored by the other suites.
    pub(crate) fn new(suite: Suite, key: &[u8; 32], extended: &[u8; 16]) -> Self {
        Self(match suite {
            Suite::Aes256Gcm => Kind::Gcm(Box::new(Aes256Gcm::new(key.into()))),
            Suite::Aes256GcmSiv => Kind::GcmSiv(Box::new(Aes256GcmSiv::new(key.into()))),
            Suite::XChaCha20Poly1305 => {
                Kind::XChaCha { cipher: XChaCha20Poly1305::new(key.into()), extended: *extended }
            }
        })
    }

    /// Encrypts in place and returns the tag.
    pub(crate) fn seal(&self, nonce: [u8; 12], aad: &[u8], in_out: &mut [u8]) -> [u8; TAG_BYTES] {
        let tag = match &self.0 {
            Kind::Gcm(c) => c.encrypt_inout_detached(&nonce.into(), aad, in_out.into()),
            Kind::GcmSiv(c) => c.encrypt_inout_detached(&nonce.into(), aad, in_out.into()),
            Kind::XChaCha { cipher, extended } => {
                cipher.encrypt_inout_detached(&extended_nonce(extended, nonce).into(), aad, in_out.into())
            }
        };
        tag.expect("a segment is far below every AEAD's length limit").into()
    }

    /// Decrypts `sealed` into `out` of the same length.
    pub(crate) fn open(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        sealed: &[u8],
        tag: &[u8; TAG_BYTES],
        out: &mut [u8],
    ) -> Result<(), BadTag> {
        out.copy_from_slice(sealed);
        let tag = tag.into();
        match &self.0 {
            Kind::Gcm(c) => c.decrypt_inout_detached(&nonce.into(), aad, out.into(), tag),
            Kind::GcmSiv(c) => c.decrypt_inout_detached(&nonce.into(), aad, out.into(), tag),
            Kind::XChaCha { cipher, extended } => {
                cipher.decrypt_inout_detached(&extended_nonce(extended, nonce).into(), aad, out.into(), tag)
            }
        }
        .map_err(|_| BadTag)
    }
}

/// The 24 bytes behind a subkey's 12-byte nonce, whose first four are always zero.
fn extended_nonce(extended: &[u8; 16], nonce: [u8; 12]) -> [u8; 24] {
    assert_eq!(nonce[..4], [0; 4], "XChaCha's subkey nonces start with zeros");
    let mut whole = [0; 24];
    whole[..16].copy_from_slice(extended);
    whole[16..].copy_from_slice(&nonce[4..]);
    whole
}
