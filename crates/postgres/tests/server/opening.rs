//! Databases that must not be used: each refused with its own error, which says what to do, and left as it was.

use pangea_core::id::ClusterId;
use pangea_meta::conformance::wait;
use pangea_meta::{Meta, MetaError};
use pangea_postgres::scratch::{Disk, Server};
use pangea_postgres::{OpenError, Options, PostgresMeta};

use super::{apply, create_bucket, database, open, options, refused, shared};

fn name_of(url: &str) -> &str {
    url.rsplit('/').next().expect("a URL has a database")
}

#[test]
fn a_database_of_another_cluster_is_refused() {
    let url = database();
    open(&url).close();
    let error = refused(Options { cluster: ClusterId([2; 16]), ..options(&url) });
    assert!(matches!(error, OpenError::OtherCluster { found: ClusterId([1, ..]), .. }), "{error}");
    assert!(error.to_string().contains("database of its own"), "{error}");
    assert!(matches!(MetaError::from(error), MetaError::OtherCluster { .. }));
}

#[test]
fn other_schemas_are_refused() {
    let url = database();
    open(&url).close();
    shared().sql_in(name_of(&url), "UPDATE pangea_engine SET version = 2");
    let error = refused(options(&url));
    assert!(matches!(error, OpenError::SchemaNewer { found: 2, known: 1, .. }), "{error}");
    assert!(matches!(MetaError::from(error), MetaError::NewerFormat { version: 2, .. }));
    shared().sql_in(name_of(&url), "UPDATE pangea_engine SET version = 0");
    assert!(matches!(refused(options(&url)), OpenError::SchemaUnknown { found: 0, .. }));
    shared().sql_in(name_of(&url), "UPDATE pangea_engine SET version = 1");
    open(&url);
}

#[test]
fn a_restored_backup_is_noticed() {
    let url = database();
    let first = open(&url);
    apply(&first, create_bucket());
    drop(first);
    shared().sql(&format!("CREATE DATABASE {}_backup TEMPLATE {}", name_of(&url), name_of(&url)));
    let generation = wait(open(&url).status()).expect("it answers").generation;
    let known = Options { known_generation: generation, ..options(&url) };
    let newest = PostgresMeta::open(known).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(wait(newest.status()).expect("it answers").generation, generation + 1);
    let old = Options { known_generation: generation, ..options(&format!("{url}_backup")) };
    let error = refused(old);
    let OpenError::Restored { found, known, .. } = &error else { panic!("{error}") };
    assert_eq!((*found, *known), (generation - 1, generation));
    assert!(matches!(MetaError::from(error), MetaError::Stale { .. }));
}

#[test]
fn an_empty_database_is_not_taken_for_a_lost_one() {
    let url = database();
    let error = refused(Options { known_generation: 3, ..options(&url) });
    assert!(matches!(error, OpenError::Empty { known: 3, .. }), "{error}");
    assert_eq!(
        shared().sql_in(name_of(&url), "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'pangea%'"),
        "0"
    );
    assert_eq!(wait(open(&url).status()).expect("it answers").generation, 1);
}

#[test]
fn a_half_made_schema_is_finished() {
    let url = database();
    open(&url).close();
    shared().sql_in(name_of(&url), "DELETE FROM pangea_engine; DROP TABLE pangea_lease");
    let meta = open(&url);
    assert_eq!(wait(meta.lease("gc")).expect("it answers"), None);
}

#[test]
fn several_nodes_make_one_schema() {
    let url = database();
    let generations: Vec<u64> = std::thread::scope(|scope| {
        let nodes: Vec<_> = (0..6)
            .map(|_| {
                let url = &url;
                scope.spawn(move || wait(open(url).status()).expect("it answers").generation)
            })
            .collect();
        nodes.into_iter().map(|node| node.join().expect("it opened")).collect()
    });
    assert_eq!(generations.iter().max(), Some(&6), "each began one: {generations:?}");
}

#[test]
fn a_server_that_cannot_be_used_says_why() {
    let port = shared().port();
    let nobody = refused(options("postgres://postgres@127.0.0.1:1/postgres"));
    assert!(matches!(nobody, OpenError::Unreachable { .. }), "{nobody}");
    let missing = refused(options(&format!("postgres://postgres@127.0.0.1:{port}/nothing")));
    assert!(matches!(missing, OpenError::NoDatabase { .. }), "{missing}");
    let stranger = refused(options(&format!("postgres://stranger@127.0.0.1:{port}/postgres")));
    assert!(matches!(stranger, OpenError::Denied { .. }), "{stranger}");
    let plain = refused(options(&format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=require")));
    assert!(matches!(plain, OpenError::Tls { .. }), "{plain}");
    for error in [nobody, missing, stranger, plain] {
        let text = error.to_string();
        assert!(
            text.contains(&format!("127.0.0.1:{}", if text.contains(":1/") { 1 } else { port })),
            "{text}"
        );
    }
}

#[test]
fn a_user_without_rights_is_told_so() {
    let url = database();
    shared().sql("CREATE ROLE weak LOGIN");
    let weak = url.replace("postgres@", "weak@");
    let error = refused(options(&weak));
    assert!(matches!(error, OpenError::Forbidden { .. }), "{error}");
}

#[test]
fn a_standby_alone_is_not_taken() {
    let primary = Server::start(Disk::Quick);
    let standby = primary.standby();
    open(&primary.url()).close();
    let error = refused(options(&standby.url()));
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
}

#[test]
fn weak_settings_of_the_server_are_in_the_status() {
    let notes = wait(open(&database()).status()).expect("it answers").recovery_notes.join("; ");
    assert!(notes.contains("fsync is off") && notes.contains("no synchronous standby"), "{notes}");
}

#[test]
fn a_huge_command_is_refused_before_it_is_sent() {
    let meta = open(&database());
    let value = vec![0; pangea_meta::engine::REQUEST_BYTES_MAX];
    let command = pangea_core::meta::Command::SetSetting { name: "big".to_owned(), expected: 0, value };
    let answer = wait(meta.apply(super::request(1, command)));
    assert!(matches!(answer, Err(MetaError::TooLarge { .. })));
}
