//! Keys: wrapping, deriving, small sealing, and that secrets do not print.

use proptest::prelude::{prop_assert_eq, proptest};

use super::{
    BadTag, BucketId, DataKey, KeyRef, MasterKey, PURPOSE_AUDIT, PURPOSE_BUCKET_KEYS, PURPOSE_CREDENTIALS,
    PURPOSE_META_LOG, PURPOSE_RECOVERY, Reader, SMALL_OVERHEAD_BYTES, SecretKey, WrappedKey, derive,
    open_small, seal_small,
};

#[test]
fn a_wrapped_key_opens_only_under_its_key_and_name() {
    let (kek, key) = (SecretKey::new([1; 32]), SecretKey::new([2; 32]));
    let wrapped = WrappedKey::wrap(&kek, &key, [3; 12], b"blob 1");
    assert_eq!(wrapped.unwrap(&kek, b"blob 1"), Ok(key));
    assert_eq!(wrapped.unwrap(&kek, b"blob 2"), Err(BadTag));
    assert_eq!(wrapped.unwrap(&SecretKey::new([4; 32]), b"blob 1"), Err(BadTag));
    let mut bytes = Vec::new();
    wrapped.encode(&mut bytes);
    assert_eq!(bytes.len(), WrappedKey::BYTES);
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let changed = WrappedKey::decode(&mut Reader::new(&changed, "key")).expect("60 bytes");
        assert_eq!(changed.unwrap(&kek, b"blob 1"), Err(BadTag), "bit {bit}");
    }
    assert!(WrappedKey::decode(&mut Reader::new(&bytes[1..], "key")).is_err());
}

#[test]
fn every_purpose_has_its_own_key() {
    let master = MasterKey::new([9; 32]);
    let purposes =
        [PURPOSE_AUDIT, PURPOSE_RECOVERY, PURPOSE_BUCKET_KEYS, PURPOSE_META_LOG, PURPOSE_CREDENTIALS];
    let keys: std::collections::BTreeSet<_> = purposes.iter().map(|p| *derive(p, &master).expose()).collect();
    assert_eq!(keys.len(), purposes.len());
    assert_ne!(derive(PURPOSE_AUDIT, &master), derive(PURPOSE_AUDIT, &MasterKey::new([8; 32])));
}

#[test]
fn derivation_never_changes() {
    let key = derive(PURPOSE_AUDIT, &MasterKey::new([0; 32]));
    let hex: String = key.expose()[..8].iter().map(|b| format!("{b:02x}")).collect();
    expect_test::expect!["c487cd1d94c3bfe1"].assert_eq(&hex);
}

#[test]
fn secrets_do_not_print() {
    let printed = format!("{:?} {:?}", DataKey::new([0xab; 32]), SecretKey::new([0xab; 32]));
    assert_eq!(printed, "DataKey(SecretKey(..)) SecretKey(..)");
}

#[test]
fn a_key_reference_round_trips() {
    let key = KeyRef { bucket: BucketId([5; 16]), generation: 6 };
    let mut bytes = Vec::new();
    key.encode(&mut bytes);
    assert_eq!((bytes.len(), KeyRef::decode(&mut Reader::new(&bytes, "key"))), (KeyRef::BYTES, Ok(key)));
}

#[test]
fn small_bytes_with_any_bit_changed_or_cut_do_not_open() {
    let key = SecretKey::new([1; 32]);
    let sealed = seal_small(&key, [2; 12], b"row 7", b"an inline object");
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open_small(&key, b"row 7", &changed), Err(BadTag), "bit {bit}");
    }
    for cut in 0..sealed.len() {
        assert_eq!(open_small(&key, b"row 7", &sealed[..cut]), Err(BadTag), "cut at {cut}");
    }
    assert_eq!(open_small(&key, b"row 8", &sealed), Err(BadTag));
}

proptest! {
    #[test]
    fn small_bytes_round_trip(key: [u8; 32], nonce: [u8; 12], aad: Vec<u8>, plain: Vec<u8>) {
        let key = SecretKey::new(key);
        let sealed = seal_small(&key, nonce, &aad, &plain);
        prop_assert_eq!(sealed.len(), plain.len() + SMALL_OVERHEAD_BYTES);
        prop_assert_eq!(open_small(&key, &aad, &sealed), Ok(plain));
    }
}
