//! Continuation tokens: where a listing goes on, sealed against change.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version, 1 |
//! | 16 | keyed BLAKE3 over purpose, bucket, prefix, delimiter and position, each with its length |
//! | rest | the position: a key or a rolled-up prefix |
//!
//! in base64url. A token is good for the listing that gave it only; anything else is a forgery.

use s3s::{S3Result, s3_error};

const VERSION: u8 = 1;
const MAC_BYTES: usize = 16;

/// The listing that a token belongs to.
#[derive(Clone, Copy)]
pub(crate) struct Listing<'a> {
    /// Which operation.
    pub(crate) purpose: &'static str,
    /// Which bucket.
    pub(crate) bucket: &'a str,
    /// With which prefix.
    pub(crate) prefix: &'a str,
    /// With which delimiter.
    pub(crate) delimiter: &'a str,
}

/// The token for going on after `position`.
pub(crate) fn seal(key: &[u8; 32], listing: Listing<'_>, position: &[u8]) -> String {
    let mut token = Vec::with_capacity(1 + MAC_BYTES + position.len());
    token.push(VERSION);
    token.extend_from_slice(&mac(key, listing, position));
    token.extend_from_slice(position);
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(token)
}

/// The position in a token of ours.
pub(crate) fn open(key: &[u8; 32], listing: Listing<'_>, token: &str) -> S3Result<Vec<u8>> {
    let forged = || s3_error!(InvalidArgument, "The continuation token is not one that this listing gave.");
    let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(token).map_err(|_| forged())?;
    let (version, rest) = bytes.split_first().ok_or_else(forged)?;
    let (given, position) = rest.split_at_checked(MAC_BYTES).ok_or_else(forged)?;
    let mut padded = [0; 32];
    padded[..MAC_BYTES].copy_from_slice(given);
    let mut expected = [0; 32];
    expected[..MAC_BYTES].copy_from_slice(&mac(key, listing, position));
    // blake3::Hash compares in constant time.
    if *version != VERSION || blake3::Hash::from(padded) != blake3::Hash::from(expected) {
        return Err(forged());
    }
    Ok(position.to_vec())
}

fn mac(key: &[u8; 32], listing: Listing<'_>, position: &[u8]) -> [u8; MAC_BYTES] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    let Listing { purpose, bucket, prefix, delimiter } = listing;
    for field in [purpose.as_bytes(), bucket.as_bytes(), prefix.as_bytes(), delimiter.as_bytes(), position] {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field);
    }
    let mut mac = [0; MAC_BYTES];
    mac.copy_from_slice(&hasher.finalize().as_bytes()[..MAC_BYTES]);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [3; 32];
    const LISTING: Listing<'_> = Listing { purpose: "objects", bucket: "b", prefix: "p/", delimiter: "/" };

    #[test]
    fn a_token_opens_where_it_was_sealed() {
        for position in [&b""[..], b"key", "ü+ /".as_bytes(), &[0xff; 1024]] {
            let token = seal(&KEY, LISTING, position);
            assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')), "{token}");
            assert_eq!(open(&KEY, LISTING, &token).ok().as_deref(), Some(position));
        }
    }

    #[test]
    fn a_token_opens_nowhere_else() {
        let token = seal(&KEY, LISTING, b"key");
        for other in [
            Listing { bucket: "c", ..LISTING },
            Listing { prefix: "p", ..LISTING },
            Listing { delimiter: "", ..LISTING },
            Listing { purpose: "buckets", ..LISTING },
            Listing { bucket: "bp", prefix: "/", ..LISTING },
        ] {
            assert!(open(&KEY, other, &token).is_err());
        }
        assert!(open(&[4; 32], LISTING, &token).is_err());
    }

    #[test]
    fn a_changed_token_is_a_forgery() {
        let token = seal(&KEY, LISTING, b"key");
        let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(&token).expect("ours");
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let changed = base64_simd::URL_SAFE_NO_PAD.encode_to_string(changed);
            assert!(open(&KEY, LISTING, &changed).is_err(), "byte {at}");
        }
        for junk in ["", "AQ", "key", "%%%", "AAAAAAAAAAAAAAAAAAAAAAAA"] {
            assert!(open(&KEY, LISTING, junk).is_err(), "{junk}");
        }
    }
}
