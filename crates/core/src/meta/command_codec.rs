//! Command codec: the bytes of a request, as the meta log keeps them, and of its outcome.
//!
//! Owns the tags of commands, outcomes and refusals: a number, once given, never means anything else. A request is a version
//! byte ([`REQUEST_VERSION`]), its id, its wall time, the command's tag and the command's fields as `field` writes them.

use super::command::{
    Command, Condition, Deleted, ItemOutcome, NewBlob, NewPack, NewVersion, Outcome, PackedMove, PackedPut,
    PartRef, Refusal, Request, VersionSelector,
};
use super::field::{Field, record, tagged};
use super::reason;
use crate::codec::{Malformed, Put, Reader};

/// The version byte that every request starts with.
pub const REQUEST_VERSION: u8 = 1;

record!(Request { id, now_ms, command });
record!(Condition { if_match, if_none_match });
record!(NewBlob { id, len, body, spill, todos, layout_epoch });
record!(NewVersion { id, size, etag, content, attributes, part_sizes });
record!(NewPack { blob, code, region_pin });
record!(PackedPut { bucket, key, condition, version });
record!(PackedMove { from, to });
record!(PartRef { number, blob });
record!(Deleted { version, null, marker });

tagged!(VersionSelector { 0 => Current, 1 => Null, 2 => Id(id) });

tagged!(Command {
    1 => CreateBucket { bucket, key },
    2 => DeleteBucket { name },
    3 => SetVersioning { name, versioning },
    4 => SetDocument { name, document, value },
    5 => PutBucketKey { bucket, generation, key },
    6 => PutVersion { bucket, key, condition, version, blob },
    7 => DeleteVersion { bucket, key, condition, version, marker },
    8 => CreateUpload { upload, row },
    9 => PutPart { bucket, key, upload, number, part, blob },
    10 => CompleteUpload { bucket, key, upload, condition, parts, version, blob },
    11 => AbortUpload { bucket, key, upload },
    12 => AddTodo { chunk, todo },
    13 => FinishTodo { chunk, seen, left },
    14 => Purge { blobs },
    15 => AcquireLease { name, holder, duration_ms },
    16 => ReleaseLease { name, holder },
    17 => PutAccessKey { id, row },
    18 => DeleteAccessKey { id },
    19 => SetSetting { name, expected, value },
    20 => StartGeneration { generation },
    21 => Expire,
    22 => PutPack { pack, items },
    23 => SetAttribute { bucket, key, version, name, value },
    24 => MovePacked { pack, moves },
    25 => ReplaceAccessKey { id, seen, row },
    26 => SetCode { name, code },
    27 => ReplaceContent { bucket, key, version, seen, blob },
    28 => SetSettings { settings },
});

tagged!(Outcome {
    1 => Done,
    2 => Committed { version, null, versioned },
    3 => Deleted(deleted),
    4 => Leased(lease),
    5 => Setting { revision },
    6 => Refused(refusal),
    7 => Items(outcomes),
});

tagged!(ItemOutcome {
    2 => Committed { version, null, versioned },
    6 => Refused(refusal),
});

tagged!(Refusal {
    1 => NoSuchBucket,
    2 => BucketExists { owner },
    3 => BucketNotEmpty,
    4 => NoSuchKey,
    5 => NoSuchUpload,
    6 => InvalidPart { number },
    7 => InvalidPartOrder,
    8 => PreconditionFailed,
    9 => NoSuchBlob,
    10 => StaleEpoch { oldest },
    11 => LeaseHeld(lease),
    12 => SettingChanged { revision },
    13 => StaleGeneration { current },
    14 => Invalid(why),
});

/// The text of an [`Refusal::Invalid`]: kept as text, read back as the constant of the same words.
impl Field for &'static str {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_bytes(self.as_bytes());
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let text = r.str()?;
        Ok(reason::ALL.iter().find(|known| **known == text).copied().unwrap_or(reason::UNKNOWN))
    }
}

impl Request {
    /// Appends the request's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(REQUEST_VERSION);
        self.put(out);
    }

    /// Reads what `encode` wrote; anything else is an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, "request");
        if r.u8()? != REQUEST_VERSION {
            return Err(Malformed { what: "request version" });
        }
        let request = Self::take(&mut r)?;
        r.finish()?;
        Ok(request)
    }
}
