//! Calls against a server of a few canned answers: what is tried again, and what is believed.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::{Attributes, Client, Credentials, Endpoint, Guard, Meter, Options, S3Error, Style, Trust};

/// A client of a server that gives these answers, one a connection, and what it was asked.
async fn client(answers: Vec<&'static str>) -> (Client, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let asked = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !is_whole(&request) {
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(read) => request.extend_from_slice(&buffer[..read]),
                }
            }
            asked.push(String::from_utf8_lossy(&request).into_owned());
            stream.write_all(answer.as_bytes()).await.expect("it listens");
        }
        asked
    });
    let options = Options {
        endpoint: Endpoint::new(&format!("http://127.0.0.1:{port}"), Style::Path).expect("valid"),
        credentials: Some(Credentials::new("AK", "SK", Some("TOKEN"))),
        region: "here".into(),
        trust: Trust::System,
        tries: Some(4),
    };
    (Client::new(options).expect("usable"), asked)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

const BUSY: &str = "HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\netag: \"tag\"\r\nconnection: close\r\n\r\n";
const TORN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\netag: \"tag\"\r\n\r\n1234";
const NINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\netag: \"tag\"\r\nconnection: close\r\n\
                    x-amz-checksum-crc64nvme: rosUhgp5mIg=\r\n\r\n123456789";
const WRONG: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\netag: \"tag\"\r\nconnection: close\r\n\
                     x-amz-checksum-crc64nvme: rosUhgp5mIg=\r\n\r\n123456780";

#[tokio::test]
async fn what_is_busy_or_breaks_is_asked_again() {
    for answers in [vec![FINE], vec![BUSY, FINE], vec!["", BUSY, FINE], vec![BUSY, "", BUSY, FINE]] {
        let tries = answers.len();
        let (client, asked) = client(answers).await;
        let (attributes, guard) = (Attributes::default(), Guard::default());
        let put = client.put("b", "k", "body".into(), &attributes, &guard, Meter::silent());
        assert_eq!(put.await.as_deref(), Ok("tag"));
        let asked = asked.await.expect("it served");
        assert_eq!(asked.len(), tries);
        for request in asked {
            assert!(
                request.ends_with("\r\n\r\nbody") && request.contains("x-amz-security-token: TOKEN"),
                "{request}"
            );
            let names = "SignedHeaders=host;x-amz-checksum-crc64nvme;x-amz-content-sha256;x-amz-date;x-amz-security-token";
            assert!(request.contains(names), "{request}");
        }
    }
}

#[tokio::test]
async fn it_gives_up_at_last_and_at_once_where_asking_is_useless() {
    let (client_of_four, _asked) = client(vec![BUSY; 4]).await;
    let error = client_of_four.head_bucket("b").await.expect_err("busy for ever");
    assert!(matches!(error, S3Error::Refused { status: 503, .. }), "{error}");
    let denied = "HTTP/1.1 403 Forbidden\r\ncontent-length: 61\r\ncontent-type: application/xml\r\n\r\n\
                  <Error><Code>AccessDenied</Code><Message>No</Message></Error>";
    let (client, _asked) = client(vec![denied]).await;
    assert_eq!(client.buckets().await.expect_err("denied").code(), Some("AccessDenied"));
}

#[tokio::test]
async fn another_region_is_asked_in_its_name() {
    let elsewhere =
        "HTTP/1.1 301 Moved\r\ncontent-length: 0\r\nx-amz-bucket-region: there\r\nconnection: close\r\n\r\n";
    let (client, asked) = client(vec![elsewhere, FINE, FINE]).await;
    client.head_bucket("b").await.expect("it is there");
    client.head_bucket("b").await.expect("it is remembered");
    let regions: Vec<bool> =
        asked.await.expect("it served").iter().map(|request| request.contains("/there/s3/")).collect();
    assert_eq!(regions, [false, true, true]);
}

#[tokio::test]
async fn bytes_are_believed_when_their_sum_is_right() {
    let guard = Guard::default();
    let (torn_first, _asked) = client(vec![TORN, NINE]).await;
    let (head, body) = torn_first.get("b", "k", None, &guard, 100, Meter::silent()).await.expect("whole");
    assert_eq!((head.size, &body[..]), (9, &b"123456789"[..]));
    let (wrong, _asked) = client(vec![WRONG]).await;
    let error = wrong.get("b", "k", None, &guard, 100, Meter::silent()).await.expect_err("changed");
    assert!(matches!(error, S3Error::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a_meter_takes_back_what_is_sent_again() {
    let moved = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(0));
    let seen = moved.clone();
    let meter = Meter::new(move |bytes| {
        seen.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
    });
    let (client, _asked) = client(vec![BUSY, "", FINE]).await;
    let (attributes, guard) = (Attributes::default(), Guard::default());
    let put = client.put("b", "k", "12345".into(), &attributes, &guard, meter);
    put.await.expect("at last");
    assert_eq!(moved.load(std::sync::atomic::Ordering::Relaxed), 5);
}

#[tokio::test]
async fn nobody_there_is_said_soon() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let endpoint = Endpoint::new(&format!("http://127.0.0.1:{port}"), Style::Auto).expect("valid");
    let (credentials, trust) = (None, Trust::System);
    let options = Options { endpoint, credentials, region: "here".into(), trust, tries: None };
    let client = Client::new(options).expect("usable");
    let asked = tokio::time::timeout(Duration::from_secs(10), client.buckets()).await.expect("soon");
    assert!(matches!(asked, Err(S3Error::Unreachable { .. })), "{asked:?}");
}
