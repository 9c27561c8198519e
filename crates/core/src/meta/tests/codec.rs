//! The codecs: everything that is written is read back; nothing else is, and nothing panics.

use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

use crate::meta::history::History;
use crate::meta::reason;
use crate::meta::{
    AccessKeyRow, BlobRow, BucketKeyRow, BucketRow, Command, LeaseRow, MemoryTables, Outcome, OutcomeRow,
    PackRow, PartRow, Refusal, Request, SettingRow, StateRow, TableId, TodoRow, UploadRow, UsageRow,
    VersionRow, apply,
};

/// Decodes a row of that table and encodes it again.
fn recode(table: TableId, row: &[u8]) -> Option<Vec<u8>> {
    match table {
        TableId::Bucket => BucketRow::decode(row).ok().map(|row| row.encode()),
        TableId::BucketKey => BucketKeyRow::decode(row).ok().map(|row| row.encode()),
        TableId::Usage => UsageRow::decode(row).ok().map(|row| row.encode()),
        TableId::Head | TableId::Version => VersionRow::decode(row).ok().map(|row| row.encode()),
        TableId::Blob => BlobRow::decode(row).ok().map(|row| row.encode()),
        TableId::Upload => UploadRow::decode(row).ok().map(|row| row.encode()),
        TableId::Part => PartRow::decode(row).ok().map(|row| row.encode()),
        TableId::Todo => TodoRow::decode(row).ok().map(|row| row.encode()),
        TableId::Lease => LeaseRow::decode(row).ok().map(|row| row.encode()),
        TableId::AccessKey => AccessKeyRow::decode(row).ok().map(|row| row.encode()),
        TableId::Setting => SettingRow::decode(row).ok().map(|row| row.encode()),
        TableId::State => StateRow::decode(row).ok().map(|row| row.encode()),
        TableId::Outcome => OutcomeRow::decode(row).ok().map(|row| row.encode()),
        TableId::Pack => PackRow::decode(row).ok().map(|row| row.encode()),
        TableId::PackEntry
        | TableId::BucketName
        | TableId::VersionSeq
        | TableId::Condemned
        | TableId::OutcomeAge => Some(row.to_vec()),
    }
}

fn requests(seed: u64, steps: usize) -> (Vec<Request>, MemoryTables) {
    let (mut history, mut tables) = (History::new(seed), MemoryTables::new());
    let mut asked = Vec::new();
    for _ in 0..steps {
        let request = history.next(&tables);
        let Ok(outcome) = apply(&mut tables, &request);
        assert_eq!(Outcome::decode(&outcome.encode()).as_ref(), Ok(&outcome));
        asked.push(request);
    }
    (asked, tables)
}

fn bytes_of(request: &Request) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.encode(&mut bytes);
    bytes
}

#[test]
fn requests_outcomes_and_rows_round_trip() {
    for seed in 0..20 {
        let (asked, tables) = requests(seed, 300);
        for request in asked {
            assert_eq!(Request::decode(&bytes_of(&request)), Ok(request));
        }
        for (table, _, row) in tables.dump() {
            assert_eq!(recode(table, row).as_deref(), Some(row), "{}", table.name());
        }
    }
}

#[test]
fn every_reason_is_read_back_as_itself() {
    for why in reason::ALL {
        let refused = Outcome::Refused(Refusal::Invalid(why));
        assert_eq!(Outcome::decode(&refused.encode()), Ok(refused));
    }
    let later = Outcome::Refused(Refusal::Invalid("words of a later version"));
    assert_eq!(Outcome::decode(&later.encode()), Ok(Outcome::Refused(Refusal::Invalid(reason::UNKNOWN))));
}

#[test]
fn a_cut_lengthened_or_newer_request_is_refused() {
    let (asked, _) = requests(3, 60);
    for request in asked {
        let bytes = bytes_of(&request);
        for len in 0..bytes.len() {
            assert!(Request::decode(&bytes[..len]).is_err());
        }
        assert!(Request::decode(&[&bytes[..], &[0]].concat()).is_err());
        assert!(Request::decode(&[&[2], &bytes[1..]].concat()).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), tag in 0u8..25) {
        let _ = Outcome::decode(&bytes);
        let _ = Request::decode(&bytes);
        let framed = [&[1u8; 1][..], &[0; 24], &[tag], &bytes].concat();
        let _ = Request::decode(&framed);
        for table in TableId::ALL {
            let _ = recode(*table, &bytes);
            let _ = recode(*table, &[&[1], &bytes[..]].concat());
        }
    }

    #[test]
    fn mutated_bytes_are_refused_or_canonical(seed in 0u64..30, at in any::<usize>(), bit in 0u8..8) {
        let (asked, tables) = requests(seed, 40);
        for request in &asked {
            let mut bytes = bytes_of(request);
            let len = bytes.len();
            bytes[at % len] ^= 1 << bit;
            if let Ok(read) = Request::decode(&bytes) {
                prop_assert_eq!(bytes_of(&read), bytes);
            }
        }
        for (table, _, row) in tables.dump().filter(|(_, _, row)| !row.is_empty()) {
            let mut bytes = row.to_vec();
            let len = bytes.len();
            bytes[at % len] ^= 1 << bit;
            if let Some(again) = recode(table, &bytes) && again.len() == bytes.len() {
                // Equal but for a refusal's reason, which is read as one of the known ones.
                prop_assert_eq!(again, bytes);
            }
        }
    }
}

#[test]
fn an_absurd_count_is_refused_without_allocating() {
    let mut bytes = bytes_of(&Request {
        id: crate::id::RequestId([1; 16]),
        now_ms: 0,
        command: Command::Purge { blobs: Vec::new() },
    });
    let len = bytes.len();
    bytes[len - 4..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(Request::decode(&bytes).is_err());
}
