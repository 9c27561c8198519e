//! Targets for what lies on a drive: superblock, extent record, checkpoint.

use pangea_core::id::{ClusterId, DriveId};
use pangea_store::format::checkpoint;
use pangea_store::format::record::{FIXED_BYTES, decode_head, encode_head};
use pangea_store::format::superblock::{Copy, FORMAT_VERSION, Identity, Superblock};

const HASH_AT: usize = 96;
const HASH_BYTES: usize = 32;

/// One copy of a superblock, as it came and with the right hash.
pub fn superblock(data: &[u8]) {
    check_superblock(data);
    let mut whole = data.to_vec();
    if whole.len() >= HASH_AT + HASH_BYTES {
        let hash = blake3::hash(&whole[..HASH_AT]);
        whole[HASH_AT..HASH_AT + HASH_BYTES].copy_from_slice(hash.as_bytes());
        check_superblock(&whole);
    }
}

fn check_superblock(bytes: &[u8]) {
    match Superblock::decode(bytes) {
        Copy::Good(superblock) => {
            assert_eq!(Superblock::decode(&superblock.encode()), Copy::Good(superblock), "read back");
        }
        Copy::Newer(version) => assert!(version > FORMAT_VERSION, "newer means newer"),
        Copy::Bad => {}
    }
}

/// The head of an extent record, as it came and with the right hash.
pub fn extent_record(data: &[u8]) {
    check_head(data);
    let mut whole = data.to_vec();
    let Some(Ok(header_len)) = data.get(12..16).map(<[u8; 4]>::try_from) else { return };
    let header_len = u32::from_le_bytes(header_len) as usize;
    if let Some(end) = FIXED_BYTES.checked_add(header_len).filter(|end| *end <= whole.len()) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&whole[..HASH_AT]).update(&whole[FIXED_BYTES..end]);
        whole[HASH_AT..FIXED_BYTES].copy_from_slice(hasher.finalize().as_bytes());
        check_head(&whole);
    }
}

fn check_head(bytes: &[u8]) {
    if let Ok(head) = decode_head(bytes) {
        assert!(head.blocks() >= 1, "a record takes a block");
        if head.body.header_len() == head.header_len {
            let again = decode_head(&encode_head(&head.stamp, &head.body));
            assert_eq!(again.as_ref(), Ok(&head), "read back");
        }
    }
}

/// A checkpoint, as it came and with the right hash and the identity that it names.
pub fn checkpoint(data: &[u8]) {
    let Some(identity) = identity_in(data) else { return };
    check_checkpoint(data, &identity);
    let mut whole = data.to_vec();
    if let Some((body, hash)) = whole.split_last_chunk_mut::<HASH_BYTES>() {
        *hash = *blake3::hash(body).as_bytes();
        check_checkpoint(&whole, &identity);
    }
}

fn identity_in(data: &[u8]) -> Option<Identity> {
    let slot = u16::from_le_bytes(data.get(10..12)?.try_into().ok()?);
    let cluster = ClusterId(data.get(12..28)?.try_into().ok()?);
    let drive = DriveId(data.get(28..44)?.try_into().ok()?);
    Some(Identity { cluster, drive, slot })
}

fn check_checkpoint(bytes: &[u8], identity: &Identity) {
    let Ok(found) = checkpoint::read(&mut &bytes[..], bytes.len() as u64, identity) else { return };
    let again = write_checkpoint(&found, identity);
    let found_again = checkpoint::read(&mut &again[..], again.len() as u64, identity);
    assert_eq!(found_again.expect("what was just written"), found, "read back");
}

/// A checkpoint's bytes.
pub(crate) fn write_checkpoint(c: &checkpoint::Checkpoint, identity: &Identity) -> Vec<u8> {
    let mut out = Vec::new();
    checkpoint::write(&mut out, identity, &c.marks, &c.extents, &c.live, &c.graves).expect("a Vec takes it");
    out
}
