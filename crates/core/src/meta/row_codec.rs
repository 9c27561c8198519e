//! Row codec: the bytes of every row, behind one version byte.
//!
//! Owns the order of the fields; docs/formats.md repeats it. A row is its version byte ([`ROW_VERSION`]) and its fields as
//! `field` writes them, and nothing after. A changed row gets a new version, and the old one stays readable.

use super::command::Outcome;
use super::field::{Field, record, tagged};
use super::row::{
    AccessKeyRow, BlobBody, BlobRow, BucketKeyRow, BucketRow, Content, ETag, Extent, LeaseRow, OutcomeRow,
    PackRow, PackedItem, PartRow, SettingRow, StateRow, TodoRow, UploadRow, UsageRow, VersionRow, Versioning,
};
use crate::codec::{Malformed, Put, Reader};

/// The version byte that every row starts with.
pub const ROW_VERSION: u8 = 1;

/// Encodes any row: the version byte and its field.
pub(super) fn encode_row<R: Field>(row: &R) -> Vec<u8> {
    let mut out = vec![ROW_VERSION];
    row.put(&mut out);
    out
}

/// Decodes any row, all of it.
pub(super) fn decode_row<R: Field>(bytes: &[u8], what: &'static str) -> Result<R, Malformed> {
    let mut r = Reader::new(bytes, what);
    if r.u8()? != ROW_VERSION {
        return Err(r.malformed());
    }
    let row = R::take(&mut r)?;
    r.finish()?;
    Ok(row)
}

macro_rules! row {
    ($type:ident, $what:literal, { $($field:ident),+ $(,)? }) => {
        record!($type { $($field),+ });

        impl $type {
            /// The row's bytes.
            pub fn encode(&self) -> Vec<u8> {
                encode_row(self)
            }

            /// Reads what `encode` wrote; anything else is an error.
            pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
                decode_row(bytes, $what)
            }
        }
    };
}

row!(BucketRow, "bucket row", {
    id, name, created_ms, owner, code, region_pin, versioning, key_generation, documents,
});
row!(BucketKeyRow, "bucket key row", { master_generation, wrapped });
row!(UsageRow, "usage row", { versions, bytes, heads, uploads, last_seq });
row!(VersionRow, "version row", {
    id, null, seq, delete_marker, created_ms, size, etag, content, attributes, part_sizes,
});
row!(BlobRow, "blob row", { refs, condemned_generation, condemned_ms, len, created_ms, body });
row!(PackRow, "pack row", { live, len, code, region_pin });
row!(UploadRow, "upload row", { bucket, key, created_ms, attributes, owner });
row!(PartRow, "part row", { content, size, md5, created_ms, attributes });
row!(TodoRow, "todo row", { missing, stand_ins, since_ms });
row!(LeaseRow, "lease row", { holder, token, expires_ms });
row!(AccessKeyRow, "access key row", {
    sealed_secret, master_generation, created_ms, description, root, grants,
});
row!(SettingRow, "setting row", { revision, value });
row!(StateRow, "state row", { generation, lease_token });
row!(OutcomeRow, "outcome row", { at_ms, outcome });

record!(ETag { md5, parts });
record!(Extent { blob, offset, len });
record!(PackedItem { id, at, key, wrapped });

tagged!(Versioning { 0 => Off, 1 => Enabled, 2 => Suspended });
tagged!(Content {
    0 => Empty,
    1 => Blob(extent),
    2 => Packed(item),
});
tagged!(BlobBody {
    1 => Inline { key, sealed },
    2 => Chunked { manifest },
    3 => ChunkedSpilled { manifest, manifest_len },
    4 => Composite { parts },
    5 => CompositeSpilled { list, list_len, parts },
});

impl Outcome {
    /// The outcome's bytes, as they are kept and as they travel.
    pub fn encode(&self) -> Vec<u8> {
        encode_row(self)
    }

    /// Reads what `encode` wrote; anything else is an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        decode_row(bytes, "outcome")
    }
}
