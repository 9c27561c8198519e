//! Ids: one newtype per thing that has a name, none of them interchangeable.
//!
//! All ids are opaque bytes; randomness comes in from outside. 128-bit ids print as 32 lower-case hex digits.
//! A [`ShardId`] is the only compound one: it says which piece of which stripe a shard is.

use std::fmt;

macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// The all-zero id: "none" on disk and on the wire; never drawn.
            pub const ZERO: Self = Self([0; 16]);

            /// Reads the 32 hex digits that `Display` prints.
            pub fn parse(text: &str) -> Option<Self> {
                Some(Self(parse_hex(text)?))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

id128!(
    /// One Pangea cluster (a single machine is a cluster of one).
    ClusterId
);
id128!(
    /// One drive: made when its superblock is written, never reused.
    DriveId
);
id128!(
    /// One bucket; survives renames, never reused after deletion.
    BucketId
);
id128!(
    /// One immutable byte string. Drawn afresh for every attempt to write one, so it never names two contents.
    BlobId
);
id128!(
    /// One version of an object, as S3 clients see it (the *null* version is a flag on its row, not an id).
    VersionId
);
id128!(
    /// One multipart upload.
    UploadId
);
id128!(
    /// One request to the metadata port: a retried command carries the same id and gets the same outcome.
    RequestId
);
id128!(
    /// One lease, as drawn by whoever asked for it; ordering comes from its fencing token, not from this.
    LeaseId
);

/// One node: its Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeId(pub [u8; 32]);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

/// One sealed slice of a blob: a stripe's identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChunkId {
    /// The blob that the chunk is a slice of.
    pub blob: BlobId,
    /// Its number within the blob, from 0.
    pub chunk: u32,
}

/// One of the k+m shards of a chunk: data shards are 0..k, parity shards k..k+m.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId {
    /// The stripe.
    pub chunk: ChunkId,
    /// The position in the stripe.
    pub index: u8,
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.blob, self.chunk)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.chunk, self.index)
    }
}

fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (char::from(pair[0]).to_digit(16)?, char::from(pair[1]).to_digit(16)?);
        *byte = (high << 4 | low) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_as_hex() {
        let id = BlobId([0xab; 16]);
        assert_eq!(BlobId::parse(&id.to_string()), Some(id));
        assert_eq!(BlobId::parse("xyz"), None);
        assert_eq!(BlobId::parse(&"é".repeat(16)), None);
    }
}
