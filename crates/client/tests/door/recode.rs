//! Recoding: a bucket's objects under another code, while nobody notices.

use pangea_client::ClientError;
use pangea_client::worker::RecodeReport;
use pangea_core::chunk::Code;
use pangea_core::meta::Command;

use crate::rig::{Rig, noise};

const QUIET: &(dyn Fn(u64, Option<u64>) + Send + Sync) = &|_, _| {};

fn recode(rig: &Rig, code: Code) -> Result<RecodeReport, ClientError> {
    let set = Command::SetCode { name: "b".into(), code: Some(code) };
    rig.run(rig.client.command(set)).expect("the bucket is there");
    rig.run(rig.client.recode_pass("b", &QUIET))
}

#[test]
fn what_was_written_without_redundancy_survives_drives_afterwards() {
    let rig = Rig::with_code(5, Code::new(1, 0).expect("valid"));
    let sizes = [10, 5_000, 5_001, 90_000, 300_000, 7_000_000];
    let objects: Vec<(String, Vec<u8>)> =
        sizes.iter().enumerate().map(|(n, len)| (format!("k{n}"), noise(*len, n as u64 + 1))).collect();
    for (key, bytes) in &objects {
        rig.put(key, bytes).expect("stored");
    }
    let check = || {
        for (key, bytes) in &objects {
            assert!(rig.get(key).expect("readable") == *bytes, "{key}");
        }
    };
    let code = Code::new(3, 2).expect("valid");
    let report = recode(&rig, code).expect("it runs");
    assert_eq!((report.recoded, report.waiting, report.unreadable), (5, 0, 0), "{report:?}");
    check();
    rig.run(rig.client.collect_condemned_before(u64::MAX, &QUIET)).expect("collected");
    rig.drives.take_away(0);
    rig.drives.take_away(3);
    check();
    rig.drives.bring_back(0);
    rig.drives.bring_back(3);
    let again = rig.run(rig.client.recode_pass("b", &QUIET)).expect("it runs");
    assert_eq!((again.recoded, again.versions), (0, 6), "{again:?}");
}

#[test]
fn with_a_drive_away_nothing_is_recoded_and_nothing_is_lost() {
    let rig = Rig::with_code(4, Code::new(2, 2).expect("valid"));
    rig.put("k", &noise(400_000, 3)).expect("stored");
    rig.drives.take_away(2);
    let report = recode(&rig, Code::new(3, 1).expect("valid")).expect("it runs");
    assert_eq!((report.recoded, report.waiting), (0, 1));
    rig.drives.take_away(1);
    assert!(rig.get("k").expect("readable under its old code") == noise(400_000, 3));
}
