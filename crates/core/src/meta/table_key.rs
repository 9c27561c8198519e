//! Table keys: byte strings whose bytewise order is the order that scans promise.
//!
//! Owns their layout. Numbers are big-endian. An object key in the middle of a table key is escaped (0x00 becomes 0x00 0xff)
//! and ended by 0x00 0x01, so that shorter keys sort before longer ones and nothing runs together; at the end of a table
//! key it stands as it is. Sequence numbers are inverted where newer comes first.

use super::row::PackEntry;
use crate::codec::{Malformed, Put, Reader};
use crate::id::{BlobId, BucketId, ChunkId, RequestId, UploadId, VersionId};

/// A key of some table.
pub(super) trait TableKey: Sized {
    /// Appends the ordered bytes.
    fn put_key(&self, out: &mut Vec<u8>);
    /// Reads them back, all of them.
    fn take_key(r: &mut Reader<'_>) -> Result<Self, Malformed>;

    /// The ordered bytes.
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        self.put_key(&mut out);
        out
    }
}

/// The object key's place within a bucket of the tables that go on after it: escaped and ended.
pub(super) fn escaped(bucket: BucketId, key: &[u8], end: KeyEnd) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + key.len() + 2);
    out.put_raw(&bucket.0);
    escape(key, &mut out);
    match end {
        KeyEnd::Open => {}
        KeyEnd::Whole => out.put_raw(&[0, 1]),
        KeyEnd::Past => out.put_raw(&[0, 2]),
    }
    out
}

/// How far an escaped key goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum KeyEnd {
    /// A prefix: longer keys match too.
    Open,
    /// Exactly this key: where its entries start.
    Whole,
    /// Just behind all entries of this key.
    Past,
}

/// The smallest byte string above everything that starts with `prefix`; `None`: there is none.
pub(super) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|b| *b != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

fn escape(key: &[u8], out: &mut Vec<u8>) {
    for byte in key {
        out.put_u8(*byte);
        if *byte == 0 {
            out.put_u8(0xff);
        }
    }
}

fn unescape(r: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
    let mut key = Vec::with_capacity(r.rest().len());
    loop {
        match r.u8()? {
            0 => match r.u8()? {
                0xff => key.push(0),
                1 => return Ok(key),
                _ => return Err(r.malformed()),
            },
            byte => key.push(byte),
        }
    }
}

fn take_rest<'a>(r: &mut Reader<'a>) -> &'a [u8] {
    let rest = r.rest();
    r.take(rest.len()).expect("the rest is there")
}

fn take_u64(r: &mut Reader<'_>) -> Result<u64, Malformed> {
    Ok(u64::from_be_bytes(r.array()?))
}

impl TableKey for () {
    fn put_key(&self, _out: &mut Vec<u8>) {}
    fn take_key(_r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(())
    }
}

impl TableKey for String {
    fn put_key(&self, out: &mut Vec<u8>) {
        out.put_raw(self.as_bytes());
    }
    fn take_key(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        String::from_utf8(take_rest(r).to_vec()).map_err(|_| r.malformed())
    }
}

macro_rules! id_key {
    ($($type:ident),+) => {
        $(impl TableKey for $type {
            fn put_key(&self, out: &mut Vec<u8>) {
                out.put_raw(&self.0);
            }
            fn take_key(r: &mut Reader<'_>) -> Result<Self, Malformed> {
                Ok(Self(r.array()?))
            }
        })+
    };
}

id_key!(BlobId, BucketId, RequestId);

/// A bucket's key of one generation.
impl TableKey for (BucketId, u32) {
    fn put_key(&self, out: &mut Vec<u8>) {
        out.put_raw(&self.0.0);
        out.put_raw(&self.1.to_be_bytes());
    }
    fn take_key(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((BucketId(r.array()?), u32::from_be_bytes(r.array()?)))
    }
}

/// The head of an object key.
impl TableKey for (BucketId, Vec<u8>) {
    fn put_key(&self, out: &mut Vec<u8>) {
        out.put_raw(&self.0.0);
        out.put_raw(&self.1);
    }
    fn take_key(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((BucketId(r.array()?), take_rest(r).to_vec()))
    }
}

/// An older version of an object key, newest first.
impl TableKey for (BucketId, Vec<u8>, u64) {
    fn put_key(&self, out: &mut Vec<u8>) {
        out.put_raw(&escaped(self.0, &self.1, KeyEnd::Whole));
        out.put_raw(&(!self.2).to_be_bytes());
    }
    fn take_key(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((BucketId(r.array()?), unescape(r)?, !take_u64(r)?))
    }
}

macro_rules! id_in_object_key {
    ($($type:ident),+) => {
        $(impl TableKey for (BucketId, Vec<u8>, $type) {
            fn put_key(&self, out: &mut Vec<u8>) {
                out.put_raw(&escaped(self.0, &self.1, KeyEnd::Whole));
                out.put_raw(&self.2.0);
            }
            fn take_key(r: &mut Reader<'_>) -> Result<Self, Malformed> {
                Ok((BucketId(r.array()?), unescape(r)?, $type(r.array()?)))
            }
        })+
    };
}

id_in_object_key!(VersionId, UploadId);

macro_rules! id_by_number {
    ($($type:ident),+) => {
        $(impl TableKey for (u64, $type) {
            fn put_key(&self, out: &mut Vec<u8>) {
                out.put_raw(&self.0.to_be_bytes());
                out.put_raw(&self.1.0);
            }
            fn take_key(r: &mut Reader<'_>) -> Result<Self, Malformed> {
                Ok((take_u64(r)?, $type(r.array()?)))
            }
        })+
    };
}

id_by_number!(BlobId, RequestId);

/// A part of an upload.
impl TableKey for (UploadId, u16) {
    fn put_key(&self, out: &mut Vec<u8>) {
        out.put_raw(&self.0.0);
        out.put_raw(&self.1.to_be_bytes());
    }
    fn take_key(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((UploadId(r.array()?), u16::from_be_bytes(r.array()?)))
    }
}

impl TableKey for ChunkId {
    fn put_key(&self, out: &mut Vec<u8>) {
        out.put_raw(&self.blob.0);
        out.put_raw(&self.chunk.to_be_bytes());
    }
    fn take_key(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { blob: BlobId(r.array()?), chunk: u32::from_be_bytes(r.array()?) })
    }
}

/// The versions of an item stand together.
impl TableKey for PackEntry {
    fn put_key(&self, out: &mut Vec<u8>) {
        out.put_raw(&item_of_pack(self.pack, self.offset));
        out.put_raw(&self.bucket.0);
        out.put_raw(&self.version.0);
        out.put_raw(&self.key);
    }
    fn take_key(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            pack: BlobId(r.array()?),
            offset: take_u64(r)?,
            bucket: BucketId(r.array()?),
            version: VersionId(r.array()?),
            key: take_rest(r).to_vec(),
        })
    }
}

/// What the entries of one item start with.
pub(super) fn item_of_pack(pack: BlobId, offset: u64) -> Vec<u8> {
    [&pack.0[..], &offset.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_bytes_is_the_order_of_the_keys() {
        let keys: [&[u8]; 7] = [b"", b"\0", b"\0\0", b"\0\x01", b"\x01", b"a", b"a\0b"];
        let bucket = BucketId([7; 16]);
        let mut encoded = Vec::new();
        for key in keys {
            for seq in [u64::MAX, 9, 1, 0] {
                let whole = (bucket, key.to_vec(), seq);
                let bytes = whole.bytes();
                assert_eq!(TableKey::take_key(&mut Reader::new(&bytes, "key")), Ok(whole));
                encoded.push(bytes);
            }
            assert!(encoded.last() < Some(&escaped(bucket, key, KeyEnd::Past)));
        }
        assert!(encoded.is_sorted());
    }

    #[test]
    fn a_prefix_ends_before_the_next_one_starts() {
        assert_eq!(after_prefix(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(after_prefix(b"a\xff"), Some(b"b".to_vec()));
        assert_eq!((after_prefix(b"\xff"), after_prefix(b"")), (None, None));
    }
}
