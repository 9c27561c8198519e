//! Audit records: a lone shard and the master key are enough, and nothing less is.

use proptest::prelude::{any, prop_assert_eq, proptest};

use super::{
    AUDIT_BYTES, AuditError, AuditKeys, AuditRecord, BlobId, DataKey, KeyRef, MasterKey, Owner,
    SEALED_AUDIT_BYTES, UploadId, VersionId,
};
use crate::id::BucketId;
use crate::keys::PURPOSE_AUDIT;

const BLOB: BlobId = BlobId([8; 16]);

fn record(keys: &AuditKeys) -> AuditRecord {
    AuditRecord {
        owner: Owner::Version(VersionId([1; 16])),
        blob_len: Some(12345),
        chunk_bytes: 4096,
        created_ms: 1_790_000_000_000,
        key: KeyRef { bucket: BucketId([2; 16]), generation: 3 },
        data_key: keys.wrap(BLOB, &DataKey::new([4; 32]), [5; 12]),
        name_hash: AuditRecord::hash_name(b"photos/cat.jpg"),
    }
}

#[test]
fn a_shard_and_the_master_key_give_the_owner_and_the_data_key() {
    let keys = AuditKeys::new(&MasterKey::new([6; 32]));
    let sealed = keys.seal(BLOB, &record(&keys), [7; 12]);
    assert_eq!(sealed.len(), SEALED_AUDIT_BYTES);
    let opened = AuditKeys::new(&MasterKey::new([6; 32])).open(BLOB, &sealed).expect("it opens");
    assert_eq!(opened, record(&keys));
    assert_eq!(keys.unwrap(BLOB, &opened.data_key), Ok(DataKey::new([4; 32])));
}

#[test]
fn another_master_key_blob_or_byte_opens_nothing() {
    let keys = AuditKeys::new(&MasterKey::new([6; 32]));
    let sealed = keys.seal(BLOB, &record(&keys), [7; 12]);
    let other = AuditKeys::new(&MasterKey::new([9; 32]));
    assert_eq!(other.open(BLOB, &sealed), Err(AuditError::BadTag));
    assert_eq!(keys.open(BlobId([9; 16]), &sealed), Err(AuditError::BadTag));
    assert!(keys.unwrap(BlobId([9; 16]), &record(&keys).data_key).is_err());
    assert!(other.unwrap(BLOB, &record(&keys).data_key).is_err());
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 0x10;
        assert_eq!(keys.open(BLOB, &changed), Err(AuditError::BadTag), "byte {at}");
        assert_eq!(keys.open(BLOB, &sealed[..at]), Err(AuditError::BadTag), "cut at {at}");
    }
}

#[test]
fn the_record_key_does_not_open_data_keys() {
    let master = MasterKey::new([6; 32]);
    let wrapped = AuditKeys::new(&master).wrap(BLOB, &DataKey::new([4; 32]), [5; 12]);
    assert!(wrapped.unwrap(&crate::keys::derive(PURPOSE_AUDIT, &master), &BLOB.0).is_err());
}

#[test]
fn an_unknown_version_is_said_to_be_one() {
    let keys = AuditKeys::new(&MasterKey::new([6; 32]));
    let mut bytes = Vec::new();
    record(&keys).encode(&mut bytes);
    bytes[0] = 2;
    assert_eq!(AuditRecord::decode(&bytes).map_err(|m| m.what), Err("audit record version"));
}

proptest! {
    #[test]
    fn records_round_trip(
        kind in 0..3, owner: [u8; 16], len in proptest::option::of(0..u64::MAX), chunk_bytes: u32, created_ms: u64,
        generation: u32, name: Vec<u8>,
    ) {
        let keys = AuditKeys::new(&MasterKey::new([6; 32]));
        let owner = match kind {
            0 => Owner::Version(VersionId(owner)),
            1 => Owner::Upload(UploadId(owner)),
            _ => Owner::Pack,
        };
        let key = KeyRef { bucket: BucketId(owner_bytes(owner)), generation };
        let name_hash = AuditRecord::hash_name(&name);
        let record = AuditRecord { owner, blob_len: len, chunk_bytes, created_ms, key, name_hash, ..record(&keys) };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        prop_assert_eq!(bytes.len(), AUDIT_BYTES);
        prop_assert_eq!(AuditRecord::decode(&bytes), Ok(record));
    }

    #[test]
    fn decoding_never_panics_and_accepts_only_what_it_would_write(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..2 * AUDIT_BYTES), fix: bool,
    ) {
        if fix {
            bytes.resize(AUDIT_BYTES, 0);
            bytes[..2].copy_from_slice(&[1, 2]);
        }
        if let Ok(record) = AuditRecord::decode(&bytes) {
            let mut again = Vec::new();
            record.encode(&mut again);
            prop_assert_eq!(again, bytes);
        }
    }
}

fn owner_bytes(owner: Owner) -> [u8; 16] {
    match owner {
        Owner::Version(id) => id.0,
        Owner::Upload(id) => id.0,
        Owner::Pack => [0; 16],
    }
}
