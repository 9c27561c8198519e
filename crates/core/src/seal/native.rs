//! The native cipher backend: aws-lc, by far the fastest at all three (AES-256-GCM 22 GB/s a core with VAES).
//!
//! XChaCha20-Poly1305 is HChaCha20 and then aws-lc's IETF ChaCha20-Poly1305: the same bytes at twice the speed of the
//! pure-Rust crate. Only `seal` may use this.

use aws_lc_rs::aead::{
    AES_256_GCM, AES_256_GCM_SIV, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use chacha20::R20;
use zeroize::Zeroize;

use super::{BadTag, Suite};
use crate::chunk::TAG_BYTES;

/// A key that is ready to seal and open.
pub(crate) struct Cipher(LessSafeKey);

impl Cipher {
    /// Sets a key up; `extended` is the first 16 bytes of an XChaCha nonce, ignored by the other suites.
    pub(crate) fn new(suite: Suite, key: &[u8; 32], extended: &[u8; 16]) -> Self {
        match suite {
            Suite::Aes256Gcm => Self::set_up(&AES_256_GCM, key),
            Suite::Aes256GcmSiv => Self::set_up(&AES_256_GCM_SIV, key),
            Suite::XChaCha20Poly1305 => {
                let mut subkey = chacha20::hchacha::<R20>(key.into(), extended.into());
                let cipher = Self::set_up(&CHACHA20_POLY1305, &subkey);
                subkey.as_mut_slice().zeroize();
                cipher
            }
        }
    }

    fn set_up(algorithm: &'static Algorithm, key: &[u8]) -> Self {
        Self(LessSafeKey::new(
            UnboundKey::new(algorithm, key).expect("all three algorithms take 32-byte keys"),
        ))
    }

    /// Encrypts in place and returns the tag.
    pub(crate) fn seal(&self, nonce: [u8; 12], aad: &[u8], in_out: &mut [u8]) -> [u8; TAG_BYTES] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), in_out)
            .expect("a segment is far below every AEAD's length limit");
        tag.as_ref().try_into().expect("all three tags have 16 bytes")
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
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_separate_gather(nonce, Aad::from(aad), sealed, tag, out).map_err(|_| BadTag)
    }
}
