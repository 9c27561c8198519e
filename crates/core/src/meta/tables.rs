//! Tables: what an engine must offer so that `apply` and every query run on it.
//!
//! Owns the list of tables and their types. An engine stores ordered byte strings ([`Tables`]); the typed view on top
//! ([`Typed`]) and the codecs are shared, so every embedded engine holds the same bytes and states compare byte for byte.

use super::field::Field;
use super::row::{
    AccessKeyRow, BlobRow, BucketKeyRow, BucketRow, LeaseRow, OutcomeRow, PackEntry, PackRow, PartRow,
    SettingRow, StateRow, TodoRow, UploadRow, UsageRow, VersionRow,
};
use super::row_codec::{decode_row, encode_row};
use super::table_key::{TableKey, after_prefix};
use crate::codec::{Malformed, Reader};
use crate::id::{BlobId, BucketId, ChunkId, RequestId, UploadId, VersionId};

macro_rules! tables {
    ($($number:literal $id:ident $name:literal: $marker:ident $key:ty => $row:ty;)+) => {
        /// One table, by the number that snapshots name it with.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum TableId {
            $(#[doc = concat!("`", $name, "`")] $id = $number),+
        }

        impl TableId {
            /// All tables, by number.
            pub const ALL: &[Self] = &[$(Self::$id),+];

            /// The table's name: what a SQL engine calls it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$id => $name),+ }
            }

            /// From its number in a format.
            pub fn from_u8(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$id),)+ _ => None }
            }
        }

        $(
            #[doc = concat!("The table `", $name, "`.")]
            pub(super) struct $marker;
            impl Table for $marker {
                const ID: TableId = TableId::$id;
                type Key = $key;
                type Row = $row;
            }
        )+
    };
}

tables! {
    1 Bucket "bucket": Buckets String => BucketRow;
    2 BucketName "bucket_name": BucketNames BucketId => String;
    3 BucketKey "bucket_key": BucketKeys (BucketId, u32) => BucketKeyRow;
    4 Usage "usage": Usages BucketId => UsageRow;
    5 Head "head": Heads (BucketId, Vec<u8>) => VersionRow;
    6 Version "version": Versions (BucketId, Vec<u8>, u64) => VersionRow;
    7 VersionSeq "version_seq": VersionSeqs (BucketId, Vec<u8>, VersionId) => u64;
    8 Blob "blob": Blobs BlobId => BlobRow;
    9 Condemned "condemned": CondemnedBlobs (u64, BlobId) => ();
    10 Upload "upload": Uploads (BucketId, Vec<u8>, UploadId) => UploadRow;
    11 Part "part": Parts (UploadId, u16) => PartRow;
    12 Todo "todo": Todos ChunkId => TodoRow;
    13 Lease "lease": Leases String => LeaseRow;
    14 AccessKey "access_key": AccessKeys String => AccessKeyRow;
    15 Setting "setting": Settings String => SettingRow;
    16 Outcome "outcome": Outcomes RequestId => OutcomeRow;
    17 OutcomeAge "outcome_age": OutcomeAges (u64, RequestId) => ();
    18 State "state": States () => StateRow;
    19 Pack "pack": Packs BlobId => PackRow;
    20 PackEntry "pack_entry": PackEntries PackEntry => u64;
}

/// A row with its key, as stored.
pub type RawRow = (Vec<u8>, Vec<u8>);

/// Ordered byte strings in numbered tables: all that an engine has to be.
///
/// Keys are ordered bytewise. What was put is seen by every later read. Whoever calls decides when a group of changes is
/// committed; an error means that the group must be thrown away.
pub trait Tables {
    /// What can go wrong; `Infallible` in memory.
    type Error;

    /// The row at `key`.
    fn get_raw(&self, table: TableId, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error>;
    /// Makes or replaces the row at `key`.
    fn put_raw(&mut self, table: TableId, key: &[u8], row: &[u8]) -> Result<(), Self::Error>;
    /// Removes the row at `key`, if there is one.
    fn remove_raw(&mut self, table: TableId, key: &[u8]) -> Result<(), Self::Error>;
    /// At most `limit` rows with keys at or above `from` and below `to` (`None`: no end), rising.
    fn scan_raw(
        &self,
        table: TableId,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<RawRow>, Self::Error>;
    /// The error for a stored row that is not what its format says.
    fn malformed(table: TableId, why: Malformed) -> Self::Error;
}

/// A table's types.
pub(super) trait Table {
    /// Its number.
    const ID: TableId;
    /// Its key.
    type Key: TableKey;
    /// Its row.
    type Row: Field;
}

/// A row with its key.
pub(super) type Entry<B> = (<B as Table>::Key, <B as Table>::Row);

/// A half-open range of a table's key bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Span {
    /// The first key that belongs to it.
    pub from: Vec<u8>,
    /// The first key behind it; `None`: no end.
    pub to: Option<Vec<u8>>,
}

impl Span {
    /// Every key with this prefix.
    pub fn prefix(prefix: Vec<u8>) -> Self {
        Self { to: after_prefix(&prefix), from: prefix }
    }

    /// The same without everything up to and including `key`.
    pub fn after(mut self, key: &impl TableKey) -> Self {
        let mut from = key.bytes();
        from.push(0); // the smallest key above it
        self.from = self.from.max(from);
        self
    }

    /// The same without everything below `from`.
    pub fn at_least(mut self, from: Vec<u8>) -> Self {
        self.from = self.from.max(from);
        self
    }
}

/// Typed access to any engine's tables.
pub(super) trait Typed: Tables {
    /// The row at `key`.
    fn get<B: Table>(&self, key: &B::Key) -> Result<Option<B::Row>, Self::Error> {
        let Some(bytes) = self.get_raw(B::ID, &key.bytes())? else { return Ok(None) };
        decode_row(&bytes, B::ID.name()).map(Some).map_err(|e| Self::malformed(B::ID, e))
    }

    /// Makes or replaces the row at `key`.
    fn put<B: Table>(&mut self, key: &B::Key, row: &B::Row) -> Result<(), Self::Error> {
        self.put_raw(B::ID, &key.bytes(), &encode_row(row))
    }

    /// Removes the row at `key`, if there is one.
    fn remove<B: Table>(&mut self, key: &B::Key) -> Result<(), Self::Error> {
        self.remove_raw(B::ID, &key.bytes())
    }

    /// At most `limit` rows of `span`, rising.
    fn scan<B: Table>(&self, span: &Span, limit: usize) -> Result<Vec<Entry<B>>, Self::Error> {
        let rows = self.scan_raw(B::ID, &span.from, span.to.as_deref(), limit)?;
        rows.iter()
            .map(|row| decode_entry::<B>(row))
            .collect::<Result<_, _>>()
            .map_err(|e| Self::malformed(B::ID, e))
    }
}

impl<T: Tables + ?Sized> Typed for T {}

fn decode_entry<B: Table>((key, row): &RawRow) -> Result<Entry<B>, Malformed> {
    let mut r = Reader::new(key, B::ID.name());
    let key = B::Key::take_key(&mut r)?;
    r.finish()?;
    Ok((key, decode_row(row, B::ID.name())?))
}
