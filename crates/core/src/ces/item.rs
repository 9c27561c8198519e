//! Items: small objects, each sealed by itself, that share the chunks of a pack.
//!
//! An item knows nothing of the pack around it, so it moves to another pack byte for byte. Its key seals it and nothing else:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 1 | format version, 1 |
//! | 1 | 1 | codec: 0 raw, 1 one zstd frame |
//! | 2 | 1 | AEAD: 1 AES-256-GCM, 2 XChaCha20-Poly1305 |
//! | 3 | 1 | zero |
//! | 4 | 4 | plaintext bytes |
//! | 8 | 4 | bytes of the whole item |
//! | 12 | 16 | item id |
//! | 28 | 162 | sealed audit record, the item's id as its blob |
//! | 190 | P | ciphertext of the payload |
//! | 190 + P | 16 | tag; associated data: bytes 0..28, nonce: that of chunk 0, segment 0 |
//!
//! The lengths in front let `recover` walk a pack without any metadata.

#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::Bytes;

use super::compress::{self, CompressPolicy};
use super::open::OpenError;
use crate::audit::SEALED_AUDIT_BYTES;
use crate::chunk::{Aead, Codec, TAG_BYTES};
use crate::codec::{Malformed, Put, Reader};
use crate::id::BlobId;
use crate::keys::DataKey;
use crate::seal::Sealer;

/// The most plaintext in an item of this format: 1 MiB. Writers pack far smaller objects only.
pub const ITEM_PLAIN_BYTES_MAX: u32 = 1 << 20;
/// What an item takes beside its payload.
pub const ITEM_OVERHEAD_BYTES: usize = AUDIT_END + TAG_BYTES;

const VERSION: u8 = 1;
const AAD_BYTES: usize = 28;
const AUDIT_END: usize = AAD_BYTES + SEALED_AUDIT_BYTES;

/// An item to be sealed.
#[derive(Clone, Copy, Debug)]
pub struct SealItem<'a> {
    /// Drawn for this attempt, as a blob's id is.
    pub id: BlobId,
    /// The cipher; never [`Aead::Packed`].
    pub aead: Aead,
    /// Drawn for this attempt: seals this item and nothing else.
    pub key: &'a DataKey,
    /// Whether and how hard to compress.
    pub compress: CompressPolicy,
    /// The item's own sealed audit record.
    pub audit: &'a [u8; SEALED_AUDIT_BYTES],
    /// At least one byte, at most [`ITEM_PLAIN_BYTES_MAX`].
    pub plain: &'a [u8],
}

/// What an item says of itself in front.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ItemHead {
    /// Its id.
    pub id: BlobId,
    /// What its payload is.
    pub codec: Codec,
    /// What sealed it.
    pub aead: Aead,
    /// Plaintext bytes.
    pub plain_len: u32,
    /// Bytes of the whole item.
    pub item_len: u32,
}

/// Seals an item: all its bytes.
///
/// # Panics
/// If the plaintext is empty or too long, or the cipher is [`Aead::Packed`]: the caller decides what is packed.
pub fn seal_item(job: &SealItem<'_>) -> Vec<u8> {
    let plain_len =
        u32::try_from(job.plain.len()).ok().filter(|len| (1..=ITEM_PLAIN_BYTES_MAX).contains(len));
    let plain_len = plain_len.expect("the caller packs small objects only");
    let frame = compress::compress_chunk(job.plain, job.compress);
    let (codec, payload) = match &frame {
        Some(frame) => (Codec::Zstd, frame.as_slice()),
        None => (Codec::Raw, job.plain),
    };
    let item_len = (payload.len() + ITEM_OVERHEAD_BYTES) as u32;
    let head = ItemHead { id: job.id, codec, aead: job.aead, plain_len, item_len };
    let mut out = Vec::with_capacity(item_len as usize);
    head.encode(&mut out);
    let aad: [u8; AAD_BYTES] = *out.first_chunk().expect("just written");
    out.put_raw(job.audit);
    out.put_raw(payload);
    out.put_raw(&[0; TAG_BYTES]);
    let sealer = Sealer::new(job.aead, job.key, 0).expect("an item has a cipher of its own");
    sealer.seal_segment(0, &aad, &mut out[AUDIT_END..]);
    out
}

/// Opens an item. `plain_len` is what the metadata says of it.
pub fn open_item(id: BlobId, key: &DataKey, plain_len: u32, item: &[u8]) -> Result<Bytes, OpenError> {
    // Nothing in front is trusted before the tag fits; whatever is wrong there, the bytes are not those that were sealed.
    let bad = OpenError::BadTag { segment: 0 };
    let head = ItemHead::decode(item).map_err(|Malformed { .. }| bad)?;
    if head.id != id || head.plain_len != plain_len || head.item_len as usize != item.len() {
        return Err(bad);
    }
    let sealer = Sealer::new(head.aead, key, 0).ok_or(bad)?;
    let sealed = &item[AUDIT_END..];
    let mut payload = vec![0; sealed.len() - TAG_BYTES];
    sealer.open_segment(0, &item[..AAD_BYTES], sealed, &mut payload).map_err(|_| bad)?;
    match head.codec {
        Codec::Raw if payload.len() == plain_len as usize => Ok(payload.into()),
        Codec::Raw => Err(OpenError::BadFrame),
        Codec::Zstd => {
            compress::decompress(&payload, plain_len as usize).map(Bytes::from).ok_or(OpenError::BadFrame)
        }
    }
}

/// The items of a pack's payload with where they lie, as far as they can be told apart; and whether that was to the end.
///
/// For `recover`, which has no metadata to ask. The heads are not authenticated here.
pub fn walk_items(payload: &[u8]) -> (Vec<(Range<usize>, ItemHead)>, bool) {
    let (mut items, mut at) = (Vec::new(), 0);
    while at < payload.len() {
        let Ok(head) = ItemHead::decode(&payload[at..]) else { return (items, false) };
        let end = at + head.item_len as usize;
        items.push((at..end, head));
        at = end;
    }
    (items, true)
}

/// The sealed audit record of an item.
pub fn audit_of(item: &[u8]) -> Option<&[u8]> {
    item.get(AAD_BYTES..AUDIT_END)
}

impl ItemHead {
    fn encode(&self, out: &mut Vec<u8>) {
        [VERSION, self.codec as u8, self.aead as u8, 0].into_iter().for_each(|byte| out.put_u8(byte));
        out.put_u32(self.plain_len);
        out.put_u32(self.item_len);
        out.put_raw(&self.id.0);
    }

    /// Reads the head of an item that starts at the first byte, and checks that the whole item is there.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, "item");
        if r.u8()? != VERSION {
            return Err(Malformed { what: "item version" });
        }
        let codec = Codec::from_u8(r.u8()?).ok_or(r.malformed())?;
        let aead = Aead::from_u8(r.u8()?).filter(|aead| *aead != Aead::Packed).ok_or(r.malformed())?;
        let zero = r.u8()?;
        let (plain_len, item_len) = (r.u32()?, r.u32()?);
        let payload_len = (item_len as usize).checked_sub(ITEM_OVERHEAD_BYTES).ok_or(r.malformed())?;
        let is_sized = match codec {
            Codec::Raw => payload_len == plain_len as usize,
            Codec::Zstd => payload_len < plain_len as usize,
        };
        let fits = (1..=ITEM_PLAIN_BYTES_MAX).contains(&plain_len) && item_len as usize <= bytes.len();
        if zero != 0 || !is_sized || !fits || payload_len == 0 {
            return Err(r.malformed());
        }
        Ok(Self { id: BlobId(r.array()?), codec, aead, plain_len, item_len })
    }
}
