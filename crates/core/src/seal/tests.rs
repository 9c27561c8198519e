//! Sealing against published vectors, and the two backends against each other.

use proptest::prelude::{any, proptest};

use super::{Aead, BadTag, Sealer, Suite, native, portable};
use crate::chunk::TAG_BYTES;
use crate::keys::DataKey;

const VECTORS: &str = include_str!("vectors.txt");

struct Vector {
    suite: Suite,
    key: [u8; 32],
    extended: [u8; 16],
    nonce: [u8; 12],
    aad: Vec<u8>,
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |d: u8| char::from(d).to_digit(16).expect("a hex digit") as u8;
    if hex == "-" {
        Vec::new()
    } else {
        hex.as_bytes().chunks(2).map(|d| digit(d[0]) << 4 | digit(d[1])).collect()
    }
}

fn vectors() -> Vec<Vector> {
    let vector = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [suite, key, nonce, aad, plain, sealed] = fields[..] else { panic!("six fields: {line}") };
        let (suite, extended, nonce) = match (suite, bytes(nonce)) {
            ("gcm", nonce) => (Suite::Aes256Gcm, [0; 16], nonce),
            ("siv", nonce) => (Suite::Aes256GcmSiv, [0; 16], nonce),
            ("xchacha", nonce) => {
                let rest = [&[0; 4], &nonce[16..]].concat();
                (Suite::XChaCha20Poly1305, nonce[..16].try_into().expect("16 bytes"), rest)
            }
            _ => panic!("a known suite: {line}"),
        };
        Vector {
            suite,
            key: bytes(key).try_into().expect("32 bytes"),
            extended,
            nonce: nonce.try_into().expect("12 bytes"),
            aad: bytes(aad),
            plain: bytes(plain),
            sealed: bytes(sealed),
        }
    };
    VECTORS.lines().filter(|line| !line.starts_with('#')).map(vector).collect()
}

macro_rules! check_vectors {
    ($backend:ident) => {
        for (number, v) in vectors().into_iter().enumerate() {
            let cipher = $backend::Cipher::new(v.suite, &v.key, &v.extended);
            let mut sealed = v.plain.clone();
            let tag = cipher.seal(v.nonce, &v.aad, &mut sealed);
            sealed.extend_from_slice(&tag);
            assert_eq!(sealed, v.sealed, "vector {number}, {:?}", v.suite);
            let mut opened = vec![0; v.plain.len()];
            let body = &v.sealed[..v.plain.len()];
            assert_eq!(cipher.open(v.nonce, &v.aad, body, &tag, &mut opened), Ok(()), "vector {number}");
            assert_eq!(opened, v.plain, "vector {number}");
            let other_tag = tag.map(|byte| byte ^ 1);
            assert!(cipher.open(v.nonce, &v.aad, body, &other_tag, &mut opened).is_err(), "vector {number}");
        }
    };
}

#[test]
fn both_backends_give_the_published_bytes() {
    assert!(vectors().len() > 40);
    check_vectors!(native);
    check_vectors!(portable);
}

#[test]
fn the_nonces_are_the_documented_ones() {
    let (key, aad, plain) = ([7; 32], b"aad", [3; 100]);
    let gcm = |nonce: [u8; 12]| {
        let mut sealed = plain;
        let tag = native::Cipher::new(Suite::Aes256Gcm, &key, &[0; 16]).seal(nonce, aad, &mut sealed);
        [&sealed[..], &tag].concat()
    };
    let seal = |aead, chunk, segment| {
        let mut sealed = [&plain[..], &[0; TAG_BYTES]].concat();
        Sealer::new(aead, &DataKey::new(key), chunk).expect("a cipher").seal_segment(
            segment,
            aad,
            &mut sealed,
        );
        sealed
    };
    assert_eq!(seal(Aead::Aes256Gcm, 0x0102_0304, 0x0506_0708), gcm([1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0]));
    let mut extended = [0; 16];
    extended[..4].copy_from_slice(&[1, 2, 3, 4]);
    let portable = portable::Cipher::new(Suite::XChaCha20Poly1305, &key, &extended);
    let mut sealed = plain;
    let tag = portable.seal([0, 0, 0, 0, 5, 6, 7, 8, 0, 0, 0, 0], aad, &mut sealed);
    assert_eq!(seal(Aead::XChaCha20Poly1305, 0x0102_0304, 0x0506_0708), [&sealed[..], &tag].concat());
}

#[test]
fn a_segment_opens_only_where_it_was_sealed() {
    let key = DataKey::new([1; 32]);
    for aead in [Aead::Aes256Gcm, Aead::XChaCha20Poly1305] {
        let sealer = |key: &DataKey, chunk| Sealer::new(aead, key, chunk).expect("a cipher");
        let mut sealed = [&b"payload"[..], &[0; TAG_BYTES]].concat();
        sealer(&key, 5).seal_segment(6, b"aad", &mut sealed);
        let mut out = [0; 7];
        assert_eq!(sealer(&key, 5).open_segment(6, b"aad", &sealed, &mut out), Ok(()));
        assert_eq!(&out, b"payload");
        assert_eq!(sealer(&key, 5).open_segment(7, b"aad", &sealed, &mut out), Err(BadTag));
        assert_eq!(sealer(&key, 6).open_segment(6, b"aad", &sealed, &mut out), Err(BadTag));
        assert_eq!(sealer(&key, 5).open_segment(6, b"add", &sealed, &mut out), Err(BadTag));
        assert_eq!(sealer(&DataKey::new([2; 32]), 5).open_segment(6, b"aad", &sealed, &mut out), Err(BadTag));
        for cut in 0..sealed.len() {
            assert_eq!(sealer(&key, 5).open_segment(6, b"aad", &sealed[..cut], &mut out), Err(BadTag));
        }
    }
    assert!(Sealer::new(Aead::Packed, &key, 0).is_none());
}

#[test]
fn the_cipher_follows_the_cpu() {
    assert_eq!((Aead::pick(true), Aead::pick(false)), (Aead::Aes256Gcm, Aead::XChaCha20Poly1305));
}

proptest! {
    #[test]
    fn the_backends_read_and_write_the_same_bytes(
        key: [u8; 32], extended: [u8; 16], tail: [u8; 8], aad: Vec<u8>,
        plain in proptest::collection::vec(any::<u8>(), 0..3000),
    ) {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&tail);
        for suite in [Suite::Aes256Gcm, Suite::Aes256GcmSiv, Suite::XChaCha20Poly1305] {
            let native = native::Cipher::new(suite, &key, &extended);
            let portable = portable::Cipher::new(suite, &key, &extended);
            let (mut a, mut b) = (plain.clone(), plain.clone());
            let (tag_a, tag_b) = (native.seal(nonce, &aad, &mut a), portable.seal(nonce, &aad, &mut b));
            assert_eq!((&a, tag_a), (&b, tag_b), "{suite:?}");
            let mut opened = vec![0; plain.len()];
            assert_eq!(native.open(nonce, &aad, &b, &tag_b, &mut opened), Ok(()));
            assert_eq!(opened, plain);
            opened.fill(0);
            assert_eq!(portable.open(nonce, &aad, &a, &tag_a, &mut opened), Ok(()));
            assert_eq!(opened, plain);
        }
    }
}
