//! What must be refused, with the exact answer; and that the gateway goes on.

use std::time::{Duration, Instant};

use pangea_gateway::Options;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::http::{Ask, raw, read};
use crate::rig::Rig;
use crate::sign::{ACCESS_KEY, LOW_KEY, LOW_SECRET, SECRET_KEY, Signer, hex, sha256};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signatures() {
    let rig = Rig::new().await;
    rig.put("k", b"v").await;
    let get = || Ask::new("GET", "/bucket/k");
    let root = Signer::root();
    let elsewhere = Signer { region: "eu-west-1".into(), ..root.clone() };
    let late = Signer { skew_s: -16 * 60, ..root.clone() };
    let early = Signer { skew_s: 16 * 60, ..root.clone() };
    let at = rig.address;
    let mut other_path = root.sign(get(), at);
    other_path.target = "/bucket/j".into();
    let mut other_query = root.sign(get(), at);
    other_query.target = "/bucket/k?versionId=null".into();
    let both = root.presign(root.sign(get(), at), at, 60);
    let mut other_method = root.presign(get(), at, 60);
    other_method.method = "DELETE".into();
    let old = Signer { skew_s: -100, ..root.clone() }.presign(get(), at, 60);
    let cases = [
        (get(), "403 AccessDenied"),
        (root.sign(get(), at), "200"),
        (Signer::with("NOBODY", SECRET_KEY).sign(get(), at), "403 InvalidAccessKeyId"),
        (Signer::with(ACCESS_KEY, "wrong").sign(get(), at), "403 SignatureDoesNotMatch"),
        (Signer::with(LOW_KEY, LOW_SECRET).sign(get(), at), "403 AccessDenied"),
        (other_path, "403 SignatureDoesNotMatch"),
        (other_query, "403 SignatureDoesNotMatch"),
        (elsewhere.sign(get(), at), "400 AuthorizationHeaderMalformed"),
        (late.sign(get(), at), "403 RequestTimeTooSkewed"),
        (early.sign(get(), at), "403 RequestTimeTooSkewed"),
        (root.sign(get(), at).header("x-amz-meta-late", "1"), "403 AccessDenied"),
        (both, "400 InvalidArgument"),
        (get().header("authorization", "AWS AKID:c2ln"), "400 InvalidRequest"),
        (Ask::new("GET", "/bucket/k?AWSAccessKeyId=A&Signature=B&Expires=1"), "400 InvalidRequest"),
        (root.presign(get(), at, 60), "200"),
        (root.presign(get(), at, 0), "400 AuthorizationQueryParametersError"),
        (other_method, "403 SignatureDoesNotMatch"),
        (old, "403 AccessDenied"),
        (
            Ask::new("PUT", "/bucket/k")
                .header("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
                .header("x-amz-decoded-content-length", "1")
                .header("x-amz-trailer", "x-amz-checksum-crc32")
                .body(b"1\r\nx\r\n0\r\n\r\n"),
            "403 AccessDenied",
        ),
    ];
    for (ask, expected) in cases {
        let shown = format!("{} {} {:?}", ask.method, ask.target, ask.headers);
        let answer = rig.ask_raw(ask).await;
        assert_eq!(answer.told(), expected, "{shown} {}", answer.text());
    }
    let guessed = Signer { region: "US".into(), ..Signer::root() }.sign(get(), rig.address);
    let told = rig.ask_raw(guessed).await;
    assert_eq!(told.xml("Region").as_deref(), Some("us-east-1"), "clients that guessed sign again");
    assert_eq!(rig.get("k").await.text(), "v");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_is_closed_to_strangers_and_to_keys_without_grants() {
    let rig = Rig::new().await;
    let upload = "00000000000000000000000000000001";
    let md5 = "1B2M2Y8AsgTpgAmY7PhCfg==";
    let asks = [
        Ask::new("GET", "/"),
        Ask::new("PUT", "/fresh").body(b""),
        Ask::new("HEAD", "/bucket"),
        Ask::new("DELETE", "/bucket"),
        Ask::new("GET", "/bucket?location"),
        Ask::new("GET", "/bucket?versioning"),
        Ask::new("PUT", "/bucket?versioning").body(b""),
        Ask::new("GET", "/bucket"),
        Ask::new("GET", "/bucket?list-type=2"),
        Ask::new("GET", "/bucket?uploads"),
        Ask::new("POST", "/bucket?delete").header("content-md5", md5).body(b""),
        Ask::new("GET", "/bucket/k"),
        Ask::new("HEAD", "/bucket/k"),
        Ask::new("PUT", "/bucket/k").body(b"x"),
        Ask::new("PUT", "/bucket/k").header("x-amz-copy-source", "bucket/o").body(b""),
        Ask::new("DELETE", "/bucket/k"),
        Ask::new("POST", "/bucket/k?uploads"),
        Ask::new("PUT", &format!("/bucket/k?partNumber=1&uploadId={upload}")).body(b"x"),
        Ask::new("POST", &format!("/bucket/k?uploadId={upload}")).body(b""),
        Ask::new("GET", &format!("/bucket/k?uploadId={upload}")),
        Ask::new("DELETE", &format!("/bucket/k?uploadId={upload}")),
    ];
    for ask in asks {
        let shown = format!("{} {}", ask.method, ask.target);
        let low = Signer::with(LOW_KEY, LOW_SECRET).sign(ask.clone(), rig.address);
        for ask in [ask, low] {
            let answer = rig.ask_raw(ask).await;
            assert_eq!(answer.status, 403, "{shown} {}", answer.text());
        }
    }
    assert_eq!(rig.ask(Ask::new("HEAD", "/bucket")).await.status, 200, "nothing of that happened");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_on_the_wire() {
    let rig = Rig::new().await;
    let long = "x".repeat(40 << 10);
    let many = "x-a: b\r\n".repeat(101);
    let cases: [(String, u16); 15] = [
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into(), 400),
        ("PUT /b/k HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), 400),
        ("PUT /b/k HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n".into(), 400),
        ("PUT /b/k HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx".into(), 400),
        ("PUT /b/k HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n".into(), 400),
        ("PUT /b/k HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n".into(), 501),
        ("PUT /b/k HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\nHost: a\n\n".into(), 400),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431),
    ];
    for (wire, status) in cases {
        let answer = raw(rig.address, wire.as_bytes(), false).await;
        assert_eq!(answer.status, status, "{:?} {}", &wire[..wire.len().min(120)], answer.text());
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_not_what_they_say_leave_nothing() {
    let rig = Rig::new().await;
    let put = || Ask::new("PUT", "/bucket/k");
    let other = hex(&sha256(b"other"));
    let xml = |text: &str| Ask::new("PUT", "/bucket?versioning").body(text.as_bytes());
    let wrong_document = {
        let ask = Ask::new("PUT", "/bucket?versioning").header("x-amz-content-sha256", &other);
        ask.body(b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
    };
    let cases = [
        (put().header("x-amz-content-sha256", &other).body(b"hello"), "400 XAmzContentSHA256Mismatch"),
        (put().header("x-amz-content-sha256", "zz").body(b"hello"), "400 InvalidArgument"),
        (put().header("content-md5", "zz").body(b"hello"), "400 InvalidDigest"),
        (put().header("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==").body(b"hello"), "400 BadDigest"),
        (put().header("x-amz-checksum-crc32", "AAAAAA==").body(b"hello"), "400 BadDigest"),
        (put().header("x-amz-checksum-crc32", "zz").body(b"hello"), "400 InvalidRequest"),
        (put().header("x-amz-checksum-sha512", "zz").body(b"hello"), "400 InvalidRequest"),
        (put(), "411 MissingContentLength"),
        (put().header("x-amz-meta-a", &"x".repeat(2048)).body(b"hello"), "400 MetadataTooLarge"),
        (put().header("x-amz-storage-class", "GLACIER").body(b"hello"), "400 InvalidStorageClass"),
        (put().header("x-amz-acl", "public-read").body(b"hello"), "400 AccessControlListNotSupported"),
        (put().header("x-amz-server-side-encryption", "aws:kms").body(b"hello"), "501 NotImplemented"),
        (Ask::new("PUT", &format!("/bucket/{}", "k".repeat(1025))).body(b"x"), "400 KeyTooLongError"),
        (Ask::new("PUT", "/bucket/%FF").body(b"x"), "400 InvalidURI"),
        (Ask::new("PUT", "/bucket/%zz").body(b"x"), "400 InvalidURI"),
        (xml("<VersioningConfiguration>"), "400 MalformedXML"),
        (xml("<!DOCTYPE a [<!ENTITY b \"c\">]><VersioningConfiguration/>"), "400 MalformedXML"),
        (xml("<VersioningConfiguration/>"), "400 MalformedXML"),
        (wrong_document, "400 XAmzContentSHA256Mismatch"),
        (Ask::new("POST", "/bucket?delete").body(b"<Delete/>"), "400 InvalidRequest"),
    ];
    for (ask, expected) in cases {
        let shown = format!("{} {:?}", ask.target, ask.headers);
        let answer = rig.ask(ask).await;
        assert_eq!(answer.told(), expected, "{shown} {}", answer.text());
        assert!(answer.xml("RequestId").as_deref() == answer.get("x-amz-request-id"), "{}", answer.text());
        assert!(
            answer.xml("Resource").is_some() && answer.xml("Message").is_some_and(|text| text.len() > 10)
        );
    }
    assert_eq!(rig.ask(Ask::new("GET", "/bucket?list-type=2")).await.xml("KeyCount").as_deref(), Some("0"));
    let versioning = rig.ask(Ask::new("GET", "/bucket?versioning")).await;
    assert_eq!(versioning.xml("Status"), None, "a document with another hash did nothing");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_serves_many_requests_and_survives_early_errors() {
    let rig = Rig::new().await;
    let mut socket = TcpStream::connect(rig.address).await.expect("the gateway listens");
    for (ask, expected) in [
        (Ask::new("PUT", "/bucket/k").body(b"hello"), 200),
        (Ask::new("GET", "/bucket/none"), 404),
        (Ask::new("HEAD", "/bucket/none"), 404),
        (Ask::new("GET", "/bucket/k").header("if-none-match", "*"), 304),
        (Ask::new("GET", "/bucket/k"), 200),
    ] {
        let signed = Signer::root().sign(ask, rig.address);
        socket.write_all(&signed.wire()).await.expect("the connection is open");
        let answer = read(&mut socket, signed.method == "HEAD").await;
        assert_eq!(answer.status, expected, "{} {}", signed.method, answer.text());
        assert_eq!(answer.get("server"), Some("Pangea"));
    }
    let mut text = String::new();
    rig.metrics.render(&mut text);
    assert!(text.contains("pangea_s3_requests_total{operation=\"GetObject\",status=\"404\"} 1\n"), "{text}");
    assert!(text.contains("pangea_s3_open_connections 1\n"), "{text}");
    rig.stop().await;
}

/// botocore keeps the status of a final answer to `Expect: 100-continue` for later requests on the same connection: a
/// PUT after an empty PUT or a refused one was answered with that one's status.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_final_answer_instead_of_100_continue_ends_the_connection() {
    let rig = Rig::new().await;
    rig.put("there", b"x").await;
    let put = |key: &str| Ask::new("PUT", &format!("/bucket/{key}")).header("expect", "100-continue");
    let cases = [
        (put("k").body(b"hello"), 200, None),
        (put("k").body(b""), 200, Some("close")),
        (put("there").header("if-none-match", "*").body(b"hello"), 412, Some("close")),
        (put("%zz").body(b"hello"), 400, Some("close")),
        (Ask::new("PUT", "/bucket/k").body(b""), 200, None),
    ];
    for (ask, status, connection) in cases {
        let shown = format!("{} {:?}", ask.target, ask.headers);
        let answer = rig.ask(ask).await;
        assert_eq!((answer.status, answer.get("connection")), (status, connection), "{shown}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_end_and_good_ones_go_on() {
    let options = Options {
        head_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(600),
        body_grace: Duration::from_millis(300),
        ..Options::default()
    };
    let rig = Rig::with(options).await;
    let begun = Instant::now();
    let mut slow_head = TcpStream::connect(rig.address).await.expect("the gateway listens");
    slow_head.write_all(b"GET / HTTP/1.1\r\nHo").await.expect("open");
    let mut silent = TcpStream::connect(rig.address).await.expect("the gateway listens");
    let mut slow_body = TcpStream::connect(rig.address).await.expect("the gateway listens");
    let ask = Ask::new("PUT", "/bucket/slow").header("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    let ask = Signer::root().sign(ask.header("content-length", "100"), rig.address);
    slow_body.write_all(&ask.wire()).await.expect("open");
    slow_body.write_all(b"some").await.expect("open");
    assert_eq!(rig.put("good", b"good").await.told(), "200");
    assert_eq!(read(&mut slow_body, false).await.told(), "400 RequestTimeout");
    assert_eq!(read(&mut slow_head, false).await.status, 0, "closed");
    assert_eq!(read(&mut silent, false).await.status, 0, "closed");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(rig.get("slow").await.told(), "404 NoSuchKey");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overload_is_answered_and_ends() {
    let options = Options { requests_max: 1, queue_wait: Duration::from_millis(100), ..Options::default() };
    let rig = Rig::with(options).await;
    let mut busy = TcpStream::connect(rig.address).await.expect("the gateway listens");
    let ask = Ask::new("PUT", "/bucket/k").header("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    let mut ask = Signer::root().sign(ask.header("content-length", "4"), rig.address);
    busy.write_all(&ask.wire()).await.expect("open");
    let until = Instant::now() + Duration::from_secs(10);
    while rig.metrics.in_flight() == 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let refused = rig.get("k").await;
    assert_eq!((refused.told().as_str(), refused.get("retry-after")), ("503 SlowDown", Some("1")));
    ask.body = b"good".to_vec();
    busy.write_all(&ask.body).await.expect("open");
    assert_eq!(read(&mut busy, false).await.told(), "200");
    assert_eq!(rig.get("k").await.text(), "good");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_over_the_limit_are_turned_away() {
    let rig = Rig::with(Options { connections_max: 1, ..Options::default() }).await;
    let first = TcpStream::connect(rig.address).await.expect("the gateway listens");
    let until = Instant::now() + Duration::from_secs(10);
    let mut second = rig.ask_raw(Ask::new("GET", "/")).await;
    while second.status != 503 && Instant::now() < until {
        second = rig.ask_raw(Ask::new("GET", "/")).await;
    }
    assert_eq!((second.status, second.get("retry-after")), (503, Some("1")));
    drop(first);
    let mut third = rig.get("k").await;
    while third.status != 404 && Instant::now() < until {
        third = rig.get("k").await;
    }
    assert_eq!(third.told(), "404 NoSuchKey");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_finishes_what_runs() {
    let rig = Rig::new().await;
    let idle = TcpStream::connect(rig.address).await.expect("the gateway listens");
    let mut running = TcpStream::connect(rig.address).await.expect("the gateway listens");
    let ask = Ask::new("PUT", "/bucket/k").header("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    let ask = Signer::root().sign(ask.header("content-length", "4"), rig.address);
    running.write_all(&ask.wire()).await.expect("open");
    let until = Instant::now() + Duration::from_secs(10);
    while rig.metrics.in_flight() == 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let stopping = tokio::spawn(rig.stop());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!stopping.is_finished(), "a request is running");
    running.write_all(b"good").await.expect("open");
    assert_eq!(read(&mut running, false).await.told(), "200");
    stopping.await.expect("no panic");
    drop(idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_asks_too_often_waits_and_others_do_not() {
    let rig = Rig::with(Options { key_requests_per_second: 2, ..Options::default() }).await;
    let mut told = vec![];
    for _ in 0..6 {
        let answer = rig.get("none").await;
        assert_eq!(answer.status == 503, answer.get("retry-after") == Some("1"), "{}", answer.text());
        told.push(answer.told());
    }
    assert_eq!(told.iter().filter(|told| *told == "503 SlowDown").count(), 2, "{told:?}");
    assert_eq!(rig.ask_as("read:bucket", Ask::new("GET", "/bucket/none")).await.told(), "404 NoSuchKey");
    let stranger = Signer::with(ACCESS_KEY, "wrong").sign(Ask::new("GET", "/bucket/none"), rig.address);
    assert_eq!(rig.ask_raw(stranger).await.told(), "403 SignatureDoesNotMatch", "strangers use up no tokens");
    let until = Instant::now() + Duration::from_secs(10);
    while rig.get("none").await.status == 503 {
        assert!(Instant::now() < until, "it never recovers");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_cannot_take_all_connections() {
    let rig = Rig::with(Options { connections_per_address_max: 2, ..Options::default() }).await;
    let first = TcpStream::connect(rig.address).await.expect("the gateway listens");
    let second = TcpStream::connect(rig.address).await.expect("the gateway listens");
    let until = Instant::now() + Duration::from_secs(10);
    while rig.get("k").await.status != 503 {
        assert!(Instant::now() < until, "a third connection of one address is taken");
    }
    drop((first, second));
    while rig.get("k").await.status != 404 {
        assert!(Instant::now() < until, "it never recovers");
    }
    rig.stop().await;
}
