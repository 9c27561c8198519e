//! Items sealed, opened, walked and damaged.

use super::{
    ITEM_OVERHEAD_BYTES, ITEM_PLAIN_BYTES_MAX, SealItem, audit_of, open_item, seal_item, walk_items,
};
use crate::audit::SEALED_AUDIT_BYTES;
use crate::ces::{CompressPolicy, OpenError};
use crate::chunk::{Aead, Codec};
use crate::id::BlobId;
use crate::keys::DataKey;

const AEADS: [Aead; 2] = [Aead::Aes256Gcm, Aead::XChaCha20Poly1305];
const AUDIT: [u8; SEALED_AUDIT_BYTES] = [0xa; SEALED_AUDIT_BYTES];
static KEY: DataKey = DataKey::new([7; 32]);
const BAD: OpenError = OpenError::BadTag { segment: 0 };

fn noise(bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().finalize_xof().fill(&mut out);
    out
}

fn sealed(id: BlobId, aead: Aead, plain: &[u8]) -> Vec<u8> {
    seal_item(&SealItem { id, aead, key: &KEY, compress: CompressPolicy::DEFAULT, audit: &AUDIT, plain })
}

#[test]
fn what_was_sealed_is_opened_whatever_its_size_and_kind() {
    let id = BlobId([1; 16]);
    for aead in AEADS {
        for bytes in [1, 4097, 16 << 10, 128 << 10, ITEM_PLAIN_BYTES_MAX as usize] {
            for plain in [noise(bytes), vec![b'a'; bytes]] {
                let item = sealed(id, aead, &plain);
                assert!(item.len() <= bytes + ITEM_OVERHEAD_BYTES);
                assert_eq!(open_item(id, &KEY, bytes as u32, &item).as_deref(), Ok(&plain[..]));
                assert_eq!(audit_of(&item), Some(&AUDIT[..]));
            }
        }
    }
}

#[test]
fn a_pack_is_walked_from_item_to_item() {
    let plains: Vec<Vec<u8>> = [5_000, 1, 70_000].map(noise).to_vec();
    let items: Vec<Vec<u8>> =
        plains.iter().zip(1u8..).map(|(plain, n)| sealed(BlobId([n; 16]), AEADS[0], plain)).collect();
    let payload = items.concat();
    let (found, whole) = walk_items(&payload);
    assert!(whole);
    assert_eq!(found.len(), 3);
    for (((at, head), item), n) in found.into_iter().zip(&items).zip(1u8..) {
        assert_eq!((&payload[at], head.id, head.codec), (&item[..], BlobId([n; 16]), Codec::Raw));
    }
    let (found, whole) = walk_items(&payload[..payload.len() - 1]);
    assert_eq!((found.len(), whole), (2, false));
}

#[test]
fn any_flipped_bit_any_cut_and_any_other_identity_is_refused() {
    let id = BlobId([1; 16]);
    for plain in [noise(300), vec![0; 3000]] {
        let (item, bytes) = (sealed(id, AEADS[0], &plain), plain.len() as u32);
        let is_audit = |at: usize| (28..28 + SEALED_AUDIT_BYTES).contains(&at);
        for bit in (0..item.len() * 8).filter(|bit| !is_audit(bit / 8)) {
            let mut bad = item.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open_item(id, &KEY, bytes, &bad), Err(BAD), "bit {bit}");
        }
        for end in 0..item.len() {
            assert_eq!(open_item(id, &KEY, bytes, &item[..end]), Err(BAD));
        }
        assert_eq!(open_item(BlobId([2; 16]), &KEY, bytes, &item), Err(BAD));
        assert_eq!(open_item(id, &KEY, bytes + 1, &item), Err(BAD));
        assert_eq!(open_item(id, &DataKey::new([8; 32]), bytes, &item), Err(BAD));
    }
}
