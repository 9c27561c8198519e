//! Many at once: on one key, on many keys, from several engines on one database.

use std::sync::Mutex;

use pangea_core::id::LeaseId;
use pangea_core::meta::{Command, KeyRange, Outcome, Refusal};
use pangea_meta::conformance::wait;
use pangea_meta::{Meta, PAGE_ROWS_MAX};

use super::{ABSENT, BUCKET, apply, create_bucket, database, open, put, request, shared};

#[test]
fn of_many_racers_on_several_nodes_one_wins() {
    let url = database();
    let nodes = [open(&url), open(&url), open(&url)];
    apply(&nodes[0], create_bucket());
    for round in 0..10_u64 {
        let key = format!("key{round}").into_bytes();
        let outcomes = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for racer in 0..48_u64 {
                let (nodes, key, outcomes) = (&nodes, &key, &outcomes);
                scope.spawn(move || {
                    let outcome = apply(&nodes[racer as usize % 3], put(round * 1000 + racer, key, ABSENT));
                    outcomes.lock().expect("nobody panicked").push(outcome);
                });
            }
        });
        let outcomes = outcomes.into_inner().expect("nobody panicked");
        let winners: Vec<_> = outcomes
            .iter()
            .filter_map(|o| if let Outcome::Committed { version, .. } = o { Some(*version) } else { None })
            .collect();
        let lost = outcomes.iter().filter(|o| **o == Outcome::Refused(Refusal::PreconditionFailed)).count();
        assert_eq!((winners.len(), lost), (1, 47), "round {round}");
        for node in &nodes {
            let head = wait(node.head(BUCKET, &key)).expect("it answers").expect("it is there");
            assert_eq!(head.id, winners[0], "all nodes see the winner");
        }
    }
    let usage = wait(nodes[0].usage(BUCKET)).expect("it answers").expect("it is there");
    assert_eq!((usage.heads, usage.versions, usage.last_seq), (10, 10, 10));
}

#[test]
fn counters_are_exact_after_many_writers_of_one_bucket() {
    let url = database();
    let nodes = [open(&url), open(&url)];
    apply(&nodes[0], create_bucket());
    std::thread::scope(|scope| {
        for worker in 0..16_u64 {
            let nodes = &nodes;
            scope.spawn(move || {
                for step in 0..60 {
                    let number = worker * 1000 + step;
                    // Half of the keys are everybody's: they are replaced over and over.
                    let key = if step % 2 == 0 { format!("all{}", step % 6) } else { format!("own{number}") };
                    let node = &nodes[number as usize % 2];
                    let outcome = apply(node, put(number, key.as_bytes(), Default::default()));
                    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
                }
            });
        }
    });
    let heads = wait(nodes[1].heads(BUCKET, KeyRange::default(), PAGE_ROWS_MAX)).expect("it answers").heads;
    let usage = wait(nodes[0].usage(BUCKET)).expect("it answers").expect("it is there");
    assert_eq!((usage.heads, usage.versions, usage.last_seq), (heads.len() as u64, heads.len() as u64, 960));
    assert_eq!(heads.len(), 3 + 16 * 30);
}

#[test]
fn sequence_numbers_of_a_key_rise_whoever_writes_it_and_across_its_removal() {
    let url = database();
    let nodes = [open(&url), open(&url)];
    apply(&nodes[0], create_bucket());
    let mut last = 0;
    for step in 0..60_u64 {
        let node = &nodes[step as usize % 2];
        apply(node, put(step, b"k", Default::default()));
        let seq = wait(node.head(BUCKET, b"k")).expect("it answers").expect("it is there").seq;
        assert!(seq > last, "step {step}: {seq} after {last}");
        last = seq;
        if step % 3 == 0 {
            let version = pangea_core::meta::VersionSelector::Current;
            let marker = pangea_core::id::VersionId([9; 16]);
            let (bucket, key, condition) = (BUCKET, b"k".to_vec(), Default::default());
            let command = Command::DeleteVersion { bucket, key, condition, version, marker };
            assert!(matches!(apply(node, request(10_000 + step, command)), Outcome::Deleted(_)));
        }
    }
}

#[test]
fn a_lease_has_one_holder_and_its_tokens_rise() {
    let url = database();
    let nodes = [open(&url), open(&url)];
    let tokens = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..8_u64 {
            let (nodes, tokens) = (&nodes, &tokens);
            scope.spawn(move || {
                for step in 0..10 {
                    let holder = LeaseId([1 + worker as u8; 16]);
                    let name = format!("work/{}", step % 3);
                    let node = &nodes[worker as usize % 2];
                    let number = worker * 100 + step * 2;
                    let take = Command::AcquireLease { name: name.clone(), holder, duration_ms: 60_000 };
                    if let Outcome::Leased(lease) = apply(node, request(number, take)) {
                        tokens.lock().expect("nobody panicked").push(lease.token);
                        let give = Command::ReleaseLease { name, holder };
                        assert_eq!(apply(node, request(number + 1, give)), Outcome::Done);
                    }
                }
            });
        }
    });
    let mut tokens = tokens.into_inner().expect("nobody panicked");
    let given = tokens.len();
    tokens.sort_unstable();
    tokens.dedup();
    assert!(given > 0 && tokens.len() == given, "no token was given twice");
}

#[test]
fn one_request_sent_many_times_at_once_is_carried_out_once() {
    let url = database();
    let nodes = [open(&url), open(&url), open(&url)];
    apply(&nodes[0], create_bucket());
    for round in 0..10_u64 {
        let key = format!("key{round}").into_bytes();
        std::thread::scope(|scope| {
            for racer in 0..24 {
                let (nodes, key) = (&nodes, &key);
                scope.spawn(move || {
                    let outcome = apply(&nodes[racer % 3], put(round, key, ABSENT));
                    assert!(
                        matches!(outcome, Outcome::Committed { .. }),
                        "a retry is told the same: {outcome:?}"
                    );
                });
            }
        });
    }
    assert_eq!(wait(nodes[0].usage(BUCKET)).expect("it answers").expect("it is there").last_seq, 10);
}

#[test]
fn new_objects_abort_nobody() {
    let url = database();
    let name = url.rsplit('/').next().expect("a URL has a database");
    let nodes = [open(&url), open(&url), open(&url)];
    apply(&nodes[0], create_bucket());
    let count = |column: &str| -> u64 {
        std::thread::sleep(std::time::Duration::from_millis(1500)); // the server gathers its figures about once a second
        let statement = format!("SELECT {column} FROM pg_stat_database WHERE datname = '{name}'");
        shared().sql(&statement).parse().expect("a number")
    };
    let before = count("xact_rollback");
    std::thread::scope(|scope| {
        for worker in 0..24_u64 {
            let nodes = &nodes;
            scope.spawn(move || {
                for step in 0..40 {
                    // Neighbours in the index, as an upload of many files makes them.
                    let key = format!("photos/{step:04}/{worker:02}");
                    let outcome =
                        apply(&nodes[worker as usize % 3], put(worker * 1000 + step, key.as_bytes(), ABSENT));
                    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
                }
            });
        }
    });
    let aborted = count("xact_rollback") - before;
    // A thousand puts in some hundred transactions; two lanes of twelve may have drawn the same part of the counters.
    assert!(aborted <= 10, "{aborted} transactions were aborted");
}
