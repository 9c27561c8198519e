//! Clients that hold on to what others need: they are given up, and the others go on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pangea_gateway::Options;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::browsers::good_form;
use crate::http::{Ask, read};
use crate::rig::Rig;
use crate::sign::{ACCESS_KEY, Signer};

const SHORT: Duration = Duration::from_millis(200);

/// A connection on which something was said.
async fn say(rig: &Rig, bytes: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(rig.address).await.expect("the gateway listens");
    socket.write_all(bytes).await.expect("open");
    socket
}

/// Waits until so many requests are being served.
async fn wait_for_requests(rig: &Rig, count: u64) {
    let until = Instant::now() + Duration::from_secs(10);
    while rig.metrics.in_flight() < count {
        assert!(Instant::now() < until, "only {} requests are served", rig.metrics.in_flight());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A PUT whose body does not come.
async fn stuck_put(rig: &Rig) -> TcpStream {
    let ask = Ask::new("PUT", "/bucket/stuck").header("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    let socket = say(rig, &Signer::root().sign(ask.header("content-length", "4"), rig.address).wire()).await;
    wait_for_requests(rig, 1).await;
    socket
}

/// Asks to read a key, and reads nothing of the answer.
async fn stuck_get(rig: &Rig, key: &str) -> TcpStream {
    let ask = Ask::new("GET", &format!("/bucket/{key}"));
    let mut socket = say(rig, &Signer::root().sign(ask, rig.address).wire()).await;
    socket.read_exact(&mut [0; 12]).await.expect("the answer begins");
    socket
}

/// Strangers could take every place by sending forms a byte at a time: nobody knows who sends a form until its fields are there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forms_that_drip_take_no_place_from_signed_requests_and_end_soon() {
    let options = Options {
        requests_max: 1,
        forms_max: 1,
        queue_wait: SHORT,
        head_timeout: Duration::from_secs(2),
        ..Options::default()
    };
    let rig = Rig::with(options).await;
    let form = good_form(b"good").host(rig.address).wire();
    let mut dripping = say(&rig, &form[..form.len() - 100]).await;
    let begun = Instant::now();
    wait_for_requests(&rig, 1).await;
    assert_eq!(rig.put("k", b"good").await.told(), "200", "a signed request has its own place");
    assert_eq!(rig.ask_raw(good_form(b"good")).await.told(), "503 SlowDown", "the forms' places are taken");
    assert_eq!(read(&mut dripping, false).await.told(), "400 RequestTimeout");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(rig.ask_raw(good_form(b"good")).await.told(), "204");
    assert_eq!(rig.get("up/k").await.text(), "good");
    let mut stuck = stuck_put(&rig).await;
    assert_eq!(
        rig.ask_raw(good_form(b"more")).await.told(),
        "503 SlowDown",
        "once signed, it needs a usual place"
    );
    stuck.write_all(b"good").await.expect("open");
    assert_eq!(read(&mut stuck, false).await.told(), "200");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_its_answer_too_slowly_loses_its_place() {
    let options = Options {
        requests_max: 1,
        queue_wait: SHORT,
        answer_grace: Duration::from_millis(500),
        answer_rate_min: 64 << 20,
        ..Options::default()
    };
    let rig = Rig::with(options).await;
    // More than the kernel keeps for a connection over loopback.
    let large = vec![7; 24 << 20];
    assert_eq!(rig.put("large", &large).await.told(), "200");
    let mut slow = stuck_get(&rig, "large").await;
    assert_eq!(rig.get("none").await.told(), "503 SlowDown", "the only place is taken");
    let until = Instant::now() + Duration::from_secs(20);
    let mut taken = 0;
    while rig.get("none").await.told() != "404 NoSuchKey" {
        assert!(Instant::now() < until, "a slow reader keeps its place");
        // A little now and then: it is never silent for long.
        taken += slow.read(&mut [0; 4096]).await.unwrap_or_default();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    while let Ok(more @ 1..) = slow.read(&mut [0; 65536]).await {
        taken += more;
    }
    assert!(taken < large.len(), "its connection was closed before the end");
    assert!(rig.get("large").await.body == large, "whoever reads at once gets it all");
    rig.stop().await;
}

/// What was read ahead of slow clients had no bound but the number of requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_ahead_of_clients_has_a_budget() {
    let rig = Rig::with(Options { answer_bytes_max: 2 << 20, queue_wait: SHORT, ..Options::default() }).await;
    let large: Vec<u8> = (0..24_u32 << 20).map(|n| (n ^ n >> 9) as u8).collect();
    assert_eq!(rig.put("large", &large).await.told(), "200");
    assert_eq!(rig.put("small", b"small").await.told(), "200");
    assert!(rig.get("large").await.body == large, "a narrow window shows the same bytes");
    let range = Ask::new("GET", "/bucket/large").header("range", "bytes=1048000-3145999");
    assert!(rig.ask(range).await.body == large[1_048_000..3_146_000]);
    let mut held = vec![];
    let until = Instant::now() + Duration::from_secs(30);
    while rig.ask(Ask::new("GET", "/bucket/large").header("range", "bytes=0-99999")).await.status == 206 {
        assert!(Instant::now() < until, "{} slow readers, and no bound", held.len());
        held.push(stuck_get(&rig, "large").await);
    }
    assert!(held.len() > 8, "windows grow narrower: {}", held.len());
    assert_eq!(rig.get("small").await.text(), "small", "a small answer needs no budget");
    let refused = rig.get("large").await;
    assert_eq!((refused.told().as_str(), refused.get("retry-after")), ("503 SlowDown", Some("1")));
    assert_eq!(
        rig.ask(Ask::new("HEAD", "/bucket/large")).await.told(),
        "200",
        "what reads nothing needs nothing"
    );
    drop(held);
    let until = Instant::now() + Duration::from_secs(10);
    while rig.get("large").await.told() != "200" {
        assert!(Instant::now() < until, "it never recovers");
    }
    assert_eq!(rig.get("small").await.text(), "small");
    rig.stop().await;
}

/// Whoever may not use a bucket could find out whose it is by trying names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_expected_owner_is_compared_for_those_only_who_may_use_the_bucket() {
    let rig = Rig::new().await;
    rig.put("k", b"x").await;
    let get = |owner: &str| Ask::new("GET", "/bucket/k").header("x-amz-expected-bucket-owner", owner);
    let mut messages = vec![];
    for owner in [ACCESS_KEY, "somebody"] {
        let refused = rig.ask_as("read:other", get(owner)).await;
        assert_eq!(refused.told(), "403 AccessDenied");
        messages.push(refused.xml("Message"));
    }
    assert_eq!(messages[0], messages[1]);
    assert_eq!(rig.ask_as("read:bucket", get(ACCESS_KEY)).await.told(), "200");
    let insisted = rig.ask_as("read:bucket", get("somebody")).await;
    assert_eq!(insisted.told(), "403 AccessDenied");
    assert_ne!(insisted.xml("Message"), messages[0]);
    assert_eq!(
        rig.ask(get("\u{fc}")).await.told(),
        "403 AccessDenied",
        "what cannot be read is not the owner"
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_of_browsers_wait_their_turn_like_others() {
    let rig = Rig::with(Options { requests_max: 1, queue_wait: SHORT, ..Options::default() }).await;
    let preflight = || {
        let ask = Ask::new("OPTIONS", "/bucket/k").header("origin", "https://example.com");
        ask.header("access-control-request-method", "GET")
    };
    assert_eq!(rig.ask_raw(preflight()).await.told(), "403 AccessForbidden");
    let mut stuck = stuck_put(&rig).await;
    assert_eq!(rig.ask_raw(preflight()).await.told(), "503 SlowDown");
    let stranger = Ask::new("GET", "/bucket/%zz").header("origin", "https://example.com");
    assert_eq!(
        rig.ask_raw(stranger).await.told(),
        "400 InvalidURI",
        "without a place it is told without rules"
    );
    stuck.write_all(b"good").await.expect("open");
    assert_eq!(read(&mut stuck, false).await.told(), "200");
    assert_eq!(rig.ask_raw(preflight()).await.told(), "403 AccessForbidden");
    rig.stop().await;
}

/// A few hundred bodies that bring nothing held every place, or all windows, until their grace of half a minute was over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_bring_nothing_give_way_to_requests_that_wait() {
    let patient = || Options { queue_wait: Duration::from_secs(20), ..Options::default() };
    let places = (Options { requests_max: 4, ..patient() }, "4");
    // Four windows of the least size.
    let windows = (Options { body_bytes_max: 512 << 10, ..patient() }, "1000000");
    let story = |(options, length): (Options, &'static str)| async move {
        let rig = Rig::with(options).await;
        let mut stuck = vec![];
        for n in 1..=4 {
            let ask = Ask::new("PUT", "/bucket/stuck").header("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
            let ask = Signer::root().sign(ask.header("content-length", length), rig.address);
            stuck.push(say(&rig, &ask.wire()).await);
            wait_for_requests(&rig, n).await;
        }
        let begun = Instant::now();
        assert_eq!(rig.put("k", &[7; 200_000]).await.told(), "200", "they have the places, {length}");
        assert!(begun.elapsed() > Duration::from_secs(1), "nobody waited, {length}");
        let mut gave_way = 0;
        for socket in &mut stuck {
            // Once nobody waits any more, the others may stay.
            if let Ok(told) = tokio::time::timeout(SHORT, read(socket, false)).await {
                assert_eq!((told.told().as_str(), told.get("retry-after")), ("503 SlowDown", Some("1")));
                gave_way += 1;
            }
        }
        assert!(gave_way >= 1, "{length}");
        drop(stuck);
        assert_eq!(rig.get("stuck").await.told(), "404 NoSuchKey");
        rig.stop().await;
    };
    tokio::join!(story(places), story(windows));
}

/// Nobody has a certificate: no handshake succeeds, and none is needed.
#[derive(Debug)]
struct NoCertificate;

impl rustls::server::ResolvesServerCert for NoCertificate {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }
}

/// Clients of https were told "HTTP/1.1 503" in plain text: they called that a broken protocol.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_house_is_told_in_the_language_of_the_listener() {
    let builder =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("usual versions");
    let config = builder.with_no_client_auth().with_cert_resolver(Arc::new(NoCertificate));
    let (_speak, tls) = watch::channel(Arc::new(config));
    let options = Options { connections_max: 1, ..Options::default() };
    let rig = Rig::made(options, |parts| pangea_gateway::Parts { tls: Some(tls), ..parts }).await;
    let _only = say(&rig, b"").await;
    let mut second = TcpStream::connect(rig.address).await.expect("the gateway listens");
    let mut told = vec![];
    second.read_to_end(&mut told).await.expect("closed in order");
    assert_eq!(told, [21, 3, 3, 0, 2, 2, 80], "a fatal alert: internal error");
    rig.stop().await;
}
