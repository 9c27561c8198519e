//! Targets for the metadata: requests of the log and rows of the tables.

use std::convert::Infallible;
use std::fmt::Debug;

use pangea_core::codec::Malformed;
use pangea_core::meta::{
    AccessKeyRow, BlobRow, BucketKeyRow, BucketRow, LeaseRow, MemoryTables, Outcome, OutcomeRow, PackRow,
    PartRow, Request, SettingRow, StateRow, TodoRow, UploadRow, UsageRow, VersionRow, apply,
};

/// A request: the codec has one spelling for each, and the state machine takes any.
pub fn request(data: &[u8]) {
    let Ok(request) = Request::decode(data) else { return };
    let mut again = Vec::new();
    request.encode(&mut again);
    assert_eq!(Request::decode(&again).as_ref(), Ok(&request), "read back");
    let mut tables = MemoryTables::new();
    let first = infallible(apply(&mut tables, &request));
    assert_eq!(infallible(apply(&mut tables, &request)), first, "a repeated request gets the kept outcome");
}

fn infallible(outcome: Result<Outcome, Infallible>) -> Outcome {
    match outcome {
        Ok(outcome) => outcome,
        Err(never) => match never {},
    }
}

/// How many kinds of rows there are; the first byte of an input chooses one.
pub const ROW_KINDS: u8 = 15;

/// A row of the table that the first byte chooses.
pub fn row(data: &[u8]) {
    let Some((kind, row)) = data.split_first() else { return };
    match kind % ROW_KINDS {
        0 => same(row, BucketRow::decode, BucketRow::encode),
        1 => same(row, BucketKeyRow::decode, BucketKeyRow::encode),
        2 => same(row, UsageRow::decode, UsageRow::encode),
        3 => same(row, VersionRow::decode, VersionRow::encode),
        4 => same(row, BlobRow::decode, BlobRow::encode),
        5 => same(row, UploadRow::decode, UploadRow::encode),
        6 => same(row, PartRow::decode, PartRow::encode),
        7 => same(row, TodoRow::decode, TodoRow::encode),
        8 => same(row, LeaseRow::decode, LeaseRow::encode),
        9 => same(row, AccessKeyRow::decode, AccessKeyRow::encode),
        10 => same(row, SettingRow::decode, SettingRow::encode),
        11 => same(row, StateRow::decode, StateRow::encode),
        12 => same_but_for_texts(row, OutcomeRow::decode, OutcomeRow::encode),
        13 => same(row, PackRow::decode, PackRow::encode),
        _ => same_but_for_texts(row, Outcome::decode, Outcome::encode),
    }
}

/// What was accepted is the one spelling of itself.
fn same<T>(bytes: &[u8], decode: fn(&[u8]) -> Result<T, Malformed>, encode: fn(&T) -> Vec<u8>) {
    if let Ok(value) = decode(bytes) {
        assert_eq!(encode(&value), bytes, "one spelling");
    }
}

/// As [`same`], for what may hold a reason: an unknown reason is read as a known text that says so.
fn same_but_for_texts<T: PartialEq + Debug>(
    bytes: &[u8],
    decode: fn(&[u8]) -> Result<T, Malformed>,
    encode: fn(&T) -> Vec<u8>,
) {
    if let Ok(value) = decode(bytes) {
        assert_eq!(decode(&encode(&value)).as_ref(), Ok(&value), "read back");
    }
}
