//! Servers that die: nothing that was acknowledged is lost, nothing is done twice, callers only wait.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pangea_core::id::VersionId;
use pangea_core::meta::{KeyRange, Outcome};
use pangea_meta::conformance::wait;
use pangea_meta::{Meta, MetaError, PAGE_ROWS_MAX};
use pangea_postgres::PostgresMeta;
use pangea_postgres::scratch::{Disk, Server};

use super::{ABSENT, BUCKET, apply, create_bucket, open, options, put};

const WORKERS: u64 = 8;
const KILLS: u64 = 4;

/// What was acknowledged: key and version.
type Acknowledged = Mutex<BTreeMap<Vec<u8>, VersionId>>;

/// Conditional puts of new keys, again and again with the same id until the answer is known, until told to stop.
fn load(meta: &PostgresMeta, worker: u64, stop: &AtomicBool, done: &AtomicU64, acknowledged: &Acknowledged) {
    for step in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let number = worker * 1_000_000 + step;
        let key = format!("w{worker}/{step}").into_bytes();
        let outcome = loop {
            match wait(meta.apply(put(number, &key, ABSENT))) {
                Ok(outcome) => break outcome,
                Err(MetaError::Unavailable { .. } | MetaError::Unknown) => {} // the same again
                Err(error) => panic!("{error}"),
            }
        };
        // Were it done twice, the second time would be refused: the key is there.
        let Outcome::Committed { version, .. } = outcome else { panic!("{key:?}: {outcome:?}") };
        acknowledged.lock().expect("nobody panicked").insert(key, version);
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs load while `trouble` happens; then everything acknowledged must be there, once.
fn under_load(url: &str, trouble: impl FnOnce(&dyn Fn())) {
    let meta = open(url);
    apply(&meta, create_bucket());
    let (stop, done, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0), Acknowledged::default());
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (meta, stop, done, acknowledged) = (&meta, &stop, &done, &acknowledged);
            scope.spawn(move || load(meta, worker, stop, done, acknowledged));
        }
        trouble(&|| {
            let until = done.load(Ordering::Relaxed) + 200;
            while done.load(Ordering::Relaxed) < until {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        stop.store(true, Ordering::Relaxed);
    });
    let acknowledged = acknowledged.into_inner().expect("nobody panicked");
    let mut found = BTreeMap::new();
    let mut range = KeyRange::default();
    loop {
        let page = wait(meta.heads(BUCKET, range.clone(), PAGE_ROWS_MAX)).expect("it answers");
        range.after = page.heads.last().map(|(key, _)| key.clone());
        found.extend(page.heads.into_iter().map(|(key, row)| (key, row.id)));
        if !page.more {
            break;
        }
    }
    assert_eq!(found, acknowledged);
    let usage = wait(meta.usage(BUCKET)).expect("it answers").expect("it is there");
    let count = acknowledged.len() as u64;
    assert_eq!(
        (usage.heads, usage.versions, usage.last_seq),
        (count, count, count),
        "nothing was counted twice"
    );
}

#[test]
fn a_killed_server_loses_nothing_and_repeats_nothing() {
    let server = Server::start(Disk::Durable);
    under_load(&server.url(), |progress| {
        for _ in 0..KILLS {
            progress();
            server.kill();
            server.resume();
        }
        progress();
    });
}

/// A way to the server that can be cut: it closes the connection on which the given number of messages was sent since it
/// was armed, when the server has had time to carry the last of them out, and passes no answer to that one on.
struct Cutter {
    port: u16,
    armed: Arc<AtomicU64>,
    cuts: Arc<AtomicU64>,
}

impl Cutter {
    fn new(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let cutter = Self { port, armed: Arc::default(), cuts: Arc::default() };
        let (armed, cuts) = (cutter.armed.clone(), cutter.cuts.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.expect("somebody connects");
                let server = TcpStream::connect(("127.0.0.1", to)).expect("the server is there");
                let mute = Arc::new(AtomicBool::new(false));
                let ways = (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
                let (muted, armed, cuts) = (mute.clone(), armed.clone(), cuts.clone());
                std::thread::spawn(move || relay(ways.1, ways.0, || !muted.load(Ordering::SeqCst), || false));
                std::thread::spawn(move || {
                    let last = || {
                        let left =
                            armed.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
                        let last = left == Ok(1);
                        mute.fetch_or(last, Ordering::SeqCst);
                        cuts.fetch_add(u64::from(last), Ordering::SeqCst);
                        last
                    };
                    relay(client, server, || true, last);
                });
            }
        });
        cutter
    }
}

/// Passes on what comes in if it `may`; after what is the `last`, waits a moment and closes both.
fn relay(mut from: TcpStream, mut to: TcpStream, may: impl Fn() -> bool, last: impl Fn() -> bool) {
    let mut bytes = [0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        let last = last();
        if may() && to.write_all(&bytes[..read]).is_err() {
            break;
        }
        if last {
            std::thread::sleep(Duration::from_millis(300));
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)); // closed already, perhaps
}

#[test]
fn an_answer_lost_on_its_way_is_asked_for_again() {
    let server = Server::start(Disk::Quick);
    let cutter = Cutter::new(server.port());
    let mut options =
        options(&format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable", cutter.port));
    options.writers = 1;
    let meta = PostgresMeta::open(options).unwrap_or_else(|error| panic!("{error}"));
    apply(&meta, create_bucket());
    for warm in 0..3 {
        apply(&meta, put(warm, &warm.to_be_bytes(), ABSENT));
    }
    // A new object takes two messages: one reads, one writes and commits. Each is lost in turn.
    for (number, lost) in [(10, 2), (11, 1), (12, 2)] {
        let before = wait(meta.status()).expect("it answers").applied_seq;
        cutter.armed.store(lost, Ordering::SeqCst);
        let outcome = apply(&meta, put(number, &number.to_be_bytes(), ABSENT));
        assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
        assert_eq!(wait(meta.status()).expect("it answers").applied_seq, before + 1, "carried out once");
    }
    assert_eq!(cutter.cuts.load(Ordering::SeqCst), 3);
    assert_eq!(wait(meta.usage(BUCKET)).expect("it answers").expect("it is there").last_seq, 6);
}

#[test]
fn a_promoted_standby_has_everything_and_is_found() {
    let primary = Server::start(Disk::Durable);
    let standby = primary.standby();
    let (first, second) = (primary.port(), standby.port());
    let url = format!(
        "postgres://postgres@127.0.0.1:{first},127.0.0.1:{second}/postgres?target_session_attrs=read-write"
    );
    under_load(&url, |progress| {
        progress();
        primary.kill();
        standby.promote();
        progress();
    });
}

#[test]
fn a_server_that_hangs_is_waited_for_and_then_called_unavailable() {
    let server = Server::start(Disk::Quick);
    let mut options = options(&server.url());
    options.patience = Duration::from_secs(3);
    let meta = PostgresMeta::open(options).unwrap_or_else(|error| panic!("{error}"));
    apply(&meta, create_bucket());
    server.kill();
    let asked = std::time::Instant::now();
    let error = wait(meta.head(BUCKET, b"k")).expect_err("nobody is there");
    assert!(matches!(&error, MetaError::Unavailable { why } if why.contains("PostgreSQL")), "{error}");
    let error = wait(meta.apply(put(1, b"k", ABSENT))).expect_err("nobody is there");
    assert!(error.is_retryable(), "{error}");
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
    server.resume();
    assert!(matches!(apply(&meta, put(1, b"k", ABSENT)), Outcome::Committed { .. }));
}
