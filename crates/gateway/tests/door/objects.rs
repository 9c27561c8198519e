//! Objects and buckets, as clients see them.

// A table of cases spells its type out.
#![allow(clippy::type_complexity)]

use std::sync::Arc;

use crate::http::{Answer, Ask};
use crate::rig::Rig;
use crate::sign::Signer;

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(step).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_come_back_exactly_whatever_their_number() {
    let rig = Rig::new().await;
    for size in [0, 1, 4096, 4097, 100_000, (5 << 20) + 1] {
        let bytes = noise(size);
        let put = rig.put("dir/key", &bytes).await;
        assert_eq!(put.told(), "200", "{size}: {}", put.text());
        let got = rig.get("dir/key").await;
        assert_eq!((got.status, got.body.len()), (200, size));
        assert!(got.body == bytes, "{size}");
        assert_eq!(got.get("etag"), put.get("etag"));
        assert_eq!(got.get("accept-ranges"), Some("bytes"));
        assert_eq!(got.get("x-amz-version-id"), None, "never versioned");
        let head = rig.ask(Ask::new("HEAD", "/bucket/dir/key")).await;
        assert_eq!((head.status, head.get("content-length")), (200, Some(size.to_string().as_str())));
    }
    assert_eq!(rig.put("hello", b"hello").await.get("etag"), Some("\"5d41402abc4b2a76b9719d911017c592\""));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_and_conditions_of_reads() {
    let rig = Rig::new().await;
    rig.put("k", b"0123456789").await;
    let etag = "\"781e5e245d69b566979b86e28d23f2c7\"";
    let cases: [(&[(&str, &str)], &str, &str); 14] = [
        (&[("range", "bytes=2-4")], "206", "234"),
        (&[("range", "bytes=-3")], "206", "789"),
        (&[("range", "bytes=8-100")], "206", "89"),
        (&[("range", "bytes=10-")], "416 InvalidRange", ""),
        (&[("range", "bytes=5-2")], "416 InvalidRange", ""),
        (&[("range", "bytes=0-1,3-4")], "416 InvalidRange", ""),
        (&[("range", "bytes=2-4"), ("if-range", etag)], "206", "234"),
        (&[("range", "bytes=2-4"), ("if-range", "\"x\"")], "200", "0123456789"),
        (&[("if-match", etag)], "200", "0123456789"),
        (&[("if-match", "\"x\"")], "412 PreconditionFailed", ""),
        (&[("if-none-match", etag)], "304", ""),
        (&[("if-none-match", "\"x\"")], "200", "0123456789"),
        (&[("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT")], "304", ""),
        (&[("if-unmodified-since", "Fri, 01 Jan 2010 00:00:00 GMT")], "412 PreconditionFailed", ""),
    ];
    for (headers, told, body) in cases {
        for method in ["GET", "HEAD"] {
            let with = |ask: Ask, (name, value): &(&str, &str)| ask.header(name, value);
            let answer = rig.ask(headers.iter().fold(Ask::new(method, "/bucket/k"), with)).await;
            if method == "HEAD" {
                assert_eq!(Some(answer.status.to_string().as_str()), told.split(' ').next(), "{headers:?}");
                continue;
            }
            assert_eq!(answer.told(), told, "{headers:?}");
            if answer.status < 300 {
                assert_eq!(answer.text(), body, "{headers:?}");
            }
            match answer.status {
                206 => assert!(answer.get("content-range").is_some_and(|range| range.ends_with("/10"))),
                304 => assert_eq!(answer.get("etag"), Some(etag)),
                _ => {}
            }
        }
    }
    let part = rig.ask(Ask::new("GET", "/bucket/k?partNumber=2")).await;
    assert_eq!(part.told(), "416 InvalidPartNumber");
    rig.stop().await;
}

/// As S3 answers since every object there is encrypted; SDKs' users look for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_object_says_that_it_is_encrypted() {
    let rig = Rig::new().await;
    let copied = Ask::new("PUT", "/bucket/copy").header("x-amz-copy-source", "bucket/k").body(b"");
    let asked = Ask::new("PUT", "/bucket/k").header("x-amz-server-side-encryption", "AES256").body(b"x");
    let plain = Ask::new("PUT", "/bucket/k").body(b"x");
    let upload = Ask::new("POST", "/bucket/k?uploads").body(b"");
    let (get, head) = (Ask::new("GET", "/bucket/copy"), Ask::new("HEAD", "/bucket/k"));
    for ask in [asked, plain, copied, upload, get, head] {
        let (shown, answer) = (format!("{} {}", ask.method, ask.target), rig.ask(ask).await);
        assert_eq!(
            (answer.status, answer.get("x-amz-server-side-encryption")),
            (200, Some("AES256")),
            "{shown}"
        );
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_and_metadata_travel_with_the_object() {
    let rig = Rig::new().await;
    let put = Ask::new("PUT", "/bucket/k")
        .header("content-type", "text/x")
        .header("content-encoding", "gzip, aws-chunked")
        .header("cache-control", "no-store")
        .header("expires", "Fri, 01 Jan 2100 00:00:00 GMT")
        .header("x-amz-meta-colour", "red")
        .header("x-amz-checksum-crc32", "NhCmhg==")
        .body(b"hello");
    let done = rig.ask(put.clone()).await;
    assert_eq!((done.told().as_str(), done.get("x-amz-checksum-crc32")), ("200", Some("NhCmhg==")));
    let check = |answer: &Answer| {
        for (name, value) in [
            ("content-type", "text/x"),
            ("content-encoding", "gzip"),
            ("cache-control", "no-store"),
            ("expires", "Fri, 01 Jan 2100 00:00:00 GMT"),
            ("x-amz-meta-colour", "red"),
        ] {
            assert_eq!(answer.get(name), Some(value));
        }
    };
    let got = rig.get("k").await;
    check(&got);
    assert_eq!(got.get("x-amz-checksum-crc32"), None, "only when asked for");
    let asked = Ask::new("GET", "/bucket/k").header("x-amz-checksum-mode", "ENABLED");
    assert_eq!(rig.ask(asked.clone()).await.get("x-amz-checksum-crc32"), Some("NhCmhg=="));
    let ranged = rig.ask(asked.header("range", "bytes=0-1")).await;
    assert_eq!(ranged.get("x-amz-checksum-crc32"), None, "it is not of these bytes");
    let target = "/bucket/k?response-content-type=a%2Fb&response-cache-control=max-age%3D1";
    for method in ["GET", "HEAD"] {
        let answer = rig.ask(Ask::new(method, target)).await;
        assert_eq!(
            (answer.get("content-type"), answer.get("cache-control")),
            (Some("a/b"), Some("max-age=1"))
        );
    }
    let copy = |directive: &str| {
        let ask = Ask::new("PUT", "/bucket/copy")
            .header("x-amz-copy-source", "bucket/k")
            .header("content-type", "a/b");
        ask.header("x-amz-metadata-directive", directive).body(b"")
    };
    assert_eq!(rig.ask(copy("COPY")).await.told(), "200");
    check(&rig.get("copy").await);
    assert_eq!(rig.ask(copy("REPLACE")).await.told(), "200");
    let replaced = rig.ask(Ask::new("HEAD", "/bucket/copy").header("x-amz-checksum-mode", "ENABLED")).await;
    assert_eq!((replaced.get("content-type"), replaced.get("x-amz-meta-colour")), (Some("a/b"), None));
    assert_eq!(replaced.get("x-amz-checksum-crc32"), Some("NhCmhg=="), "the bytes are the same");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_under_conditions() {
    let rig = Rig::new().await;
    let put = |name: &str, value: &str| Ask::new("PUT", "/bucket/k").header(name, value).body(b"new");
    let etag = "\"22af645d1859cb5ca6da0c484f1f37ea\"";
    let delete = |value: &str| Ask::new("DELETE", "/bucket/k").header("if-match", value);
    let cases = [
        (put("if-match", "*"), "404 NoSuchKey"),
        (put("if-none-match", "*"), "200"),
        (put("if-none-match", "*"), "412 PreconditionFailed"),
        (put("if-match", etag), "200"),
        (put("if-match", "\"nonsense\""), "412 PreconditionFailed"),
        (put("if-none-match", etag), "412 PreconditionFailed"),
        (put("if-none-match", "\"nonsense\""), "200"),
        (delete("\"nonsense\""), "412 PreconditionFailed"),
        (delete(etag), "204"),
    ];
    for (ask, expected) in cases {
        let shown = format!("{:?} {:?}", ask.method, ask.headers);
        assert_eq!(rig.ask(ask).await.told(), expected, "{shown}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_creators_one_wins() {
    let rig = Arc::new(Rig::new().await);
    for round in 0..5 {
        let target = format!("/bucket/race-{round}");
        let racers: Vec<_> = (0..20)
            .map(|racer: u32| {
                let (rig, target) = (rig.clone(), target.clone());
                let body = racer.to_string();
                tokio::spawn(async move {
                    let ask = Ask::new("PUT", &target).header("if-none-match", "*").body(body.as_bytes());
                    (rig.ask(ask).await.status, body)
                })
            })
            .collect();
        let mut winners = vec![];
        for racer in racers {
            let (status, body) = racer.await.expect("no panic");
            match status {
                200 => winners.push(body),
                412 => {}
                other => panic!("status {other}"),
            }
        }
        assert_eq!(winners.len(), 1);
        assert_eq!(rig.get(&format!("race-{round}")).await.text(), winners[0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_check_their_source() {
    let rig = Rig::new().await;
    rig.put("a%20b%2Bc", b"hello").await;
    let copy = |source: &str| Ask::new("PUT", "/bucket/to").header("x-amz-copy-source", source).body(b"");
    let etag = "\"5d41402abc4b2a76b9719d911017c592\"";
    let to_itself =
        Ask::new("PUT", "/bucket/a%20b%2Bc").header("x-amz-copy-source", "bucket/a%20b%2Bc").body(b"");
    let cases = [
        (copy("bucket/a%20b%2Bc"), "200"),
        (copy("/bucket/a%20b+c"), "200"),
        (copy("bucket/a%2520b%2Bc"), "404 NoSuchKey"),
        (copy("bucket/none"), "404 NoSuchKey"),
        (copy("elsewhere/k"), "404 NoSuchBucket"),
        (copy("bucket"), "400 InvalidArgument"),
        (copy("bucket/a%20b%2Bc?versionId=zz"), "400 InvalidArgument"),
        (copy("bucket/a%20b%2Bc").header("x-amz-copy-source-if-match", etag), "200"),
        (copy("bucket/a%20b%2Bc").header("x-amz-copy-source-if-none-match", etag), "412 PreconditionFailed"),
        (copy("bucket/a%20b%2Bc").header("if-none-match", "*"), "412 PreconditionFailed"),
        (to_itself.clone(), "400 InvalidRequest"),
        (to_itself.header("x-amz-metadata-directive", "REPLACE"), "200"),
    ];
    for (ask, expected) in cases {
        let shown = format!("{:?}", ask.headers);
        let answer = rig.ask(ask).await;
        assert_eq!(answer.told(), expected, "{shown} {}", answer.text());
    }
    assert_eq!(rig.get("to").await.text(), "hello");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_page_roll_up_and_encode() {
    let rig = Rig::new().await;
    for key in ["a", "b%2Fx", "b%2Fy", "c%20d", "e%2Bf", "foo", "foo%2Fbar"] {
        assert_eq!(rig.put(key, b"1").await.told(), "200");
    }
    let all = rig.ask(Ask::new("GET", "/bucket?list-type=2&encoding-type=url&fetch-owner=true")).await;
    let keys = |answer: &Answer| -> Vec<String> {
        let text = answer.text();
        let cut = |part: &str| part.split("</Key>").next().unwrap_or_default().to_owned();
        text.split("<Key>").skip(1).map(cut).collect()
    };
    assert_eq!(keys(&all), ["a", "b/x", "b/y", "c%20d", "e%2Bf", "foo", "foo/bar"]);
    assert_eq!(all.xml("KeyCount").as_deref(), Some("7"));
    assert_eq!(all.xml("IsTruncated").as_deref(), Some("false"));
    assert!(all.xml("Owner").is_some());

    let (mut seen, mut prefixes, mut token) = (vec![], 0, String::new());
    loop {
        let target = format!("/bucket/?list-type=2&delimiter=%2F&max-keys=2{token}");
        let page = rig.ask(Ask::new("GET", &target)).await;
        assert_eq!(page.told(), "200", "{}", page.text());
        seen.extend(keys(&page));
        prefixes += page.text().matches("<CommonPrefixes>").count();
        match page.xml("NextContinuationToken") {
            Some(next) => token = format!("&continuation-token={next}"),
            None => break,
        }
    }
    assert_eq!((seen, prefixes), (["a", "c d", "e+f", "foo"].map(String::from).to_vec(), 2));

    let first = rig.ask(Ask::new("GET", "/bucket?list-type=2&max-keys=1")).await;
    let token = first.xml("NextContinuationToken").expect("there is more");
    let cases = [
        (format!("/bucket?list-type=2&continuation-token={token}"), "200"),
        (format!("/bucket?list-type=2&prefix=b&continuation-token={token}"), "400 InvalidArgument"),
        (format!("/bucket?list-type=2&continuation-token=x{token}"), "400 InvalidArgument"),
        ("/bucket?list-type=2&max-keys=-1".into(), "400 InvalidArgument"),
        ("/bucket?list-type=2&max-keys=abc".into(), "400 InvalidArgument"),
        ("/bucket?list-type=2&max-keys=0".into(), "200"),
        ("/bucket?delimiter=&marker=b%2Fx".into(), "200"),
        ("/nowhere?list-type=2".into(), "404 NoSuchBucket"),
        ("/nowhere?list-type=2&max-keys=0".into(), "404 NoSuchBucket"),
    ];
    for (target, expected) in cases {
        assert_eq!(rig.ask(Ask::new("GET", &target)).await.told(), expected, "{target}");
    }
    let v1 = rig.ask(Ask::new("GET", "/bucket?marker=b%2Fx&prefix=b&delimiter=")).await;
    assert_eq!(keys(&v1), ["b/y"]);
    let after = rig.ask(Ask::new("GET", "/bucket?list-type=2&start-after=e%2Bf")).await;
    assert_eq!(keys(&after), ["foo", "foo/bar"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_keys_are_deleted_at_once_each_with_its_own_answer() {
    let rig = Rig::new().await;
    for key in ["a", "b", "c"] {
        rig.put(key, b"1").await;
    }
    let delete = |xml: &str| {
        let md5 = base64(&<s3s::crypto::Md5 as s3s::crypto::Checksum>::checksum(xml.as_bytes()));
        Ask::new("POST", "/bucket?delete").header("content-md5", &md5).body(xml.as_bytes())
    };
    let xml = "<Delete><Object><Key>a</Key></Object><Object><Key>none</Key></Object><Object><Key>b</Key>\
               <ETag>\"x\"</ETag></Object></Delete>";
    let answer = rig.ask(delete(xml)).await;
    assert_eq!(answer.told(), "200", "{}", answer.text());
    let count = |text: &str, tag: &str| text.matches(&format!("<{tag}>")).count();
    assert_eq!(
        (count(&answer.text(), "Deleted"), count(&answer.text(), "Error")),
        (2, 1),
        "{}",
        answer.text()
    );
    assert_eq!(answer.xml("Code").as_deref(), Some("PreconditionFailed"));
    let quiet = "<Delete><Quiet>true</Quiet><Object><Key>b</Key></Object></Delete>";
    assert_eq!(count(&rig.ask(delete(quiet)).await.text(), "Deleted"), 0);
    assert_eq!(rig.get("b").await.told(), "404 NoSuchKey");
    let object = "<Object><Key>k</Key></Object>";
    let full = format!("<Delete>{}</Delete>", object.repeat(1000));
    assert_eq!(rig.ask(delete(&full)).await.told(), "200");
    let over = format!("<Delete>{}</Delete>", object.repeat(1001));
    assert_eq!(rig.ask(delete(&over)).await.told(), "400 MalformedXML");
    assert_eq!(rig.ask(delete("<Delete></Delete>")).await.told(), "400 MalformedXML");
    let mut wrong = delete(quiet);
    wrong.body[10] ^= 1;
    assert_eq!(rig.ask(wrong).await.told(), "400 BadDigest");
    rig.stop().await;
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let word =
            three.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buckets_come_and_go() {
    let rig = Rig::new().await;
    let constraint = |place: &str| {
        format!(
            "<CreateBucketConfiguration><LocationConstraint>{place}</LocationConstraint></CreateBucketConfiguration>"
        )
    };
    let cases = [
        (Ask::new("PUT", "/second").body(b""), "200"),
        (Ask::new("PUT", "/second").body(b""), "409 BucketAlreadyOwnedByYou"),
        (Ask::new("PUT", "/third").body(constraint("us-east-1").as_bytes()), "200"),
        (Ask::new("PUT", "/fourth").body(constraint("mars").as_bytes()), "400 InvalidLocationConstraint"),
        (Ask::new("PUT", "/Upper").body(b""), "400 InvalidBucketName"),
        (Ask::new("PUT", "/x-s3alias").body(b""), "400 InvalidBucketName"),
        (Ask::new("GET", "/second?location"), "200"),
        (Ask::new("GET", "/none?location"), "404 NoSuchBucket"),
        (Ask::new("PUT", "/second/k").body(b"1"), "200"),
        (Ask::new("DELETE", "/second"), "409 BucketNotEmpty"),
        (Ask::new("DELETE", "/second/k"), "204"),
        (Ask::new("DELETE", "/second/k"), "204"),
        (Ask::new("DELETE", "/second"), "204"),
        (Ask::new("DELETE", "/second"), "404 NoSuchBucket"),
        (Ask::new("GET", "/bucket?inventory"), "501 NotImplemented"),
        (Ask::new("PUT", "/bucket?policy").body(b"{}"), "501 NotImplemented"),
    ];
    for (ask, expected) in cases {
        let shown = format!("{} {}", ask.method, ask.target);
        let answer = rig.ask(ask).await;
        assert_eq!(answer.told(), expected, "{shown} {}", answer.text());
    }
    let policy = rig.ask(Ask::new("PUT", "/bucket?policy").body(b"{}")).await;
    assert!(policy.xml("Message").is_some_and(|text| text.contains("PutBucketPolicy")), "{}", policy.text());
    let list = rig.ask(Ask::new("GET", "/")).await;
    assert_eq!(list.text().matches("<Bucket>").count(), 2, "{}", list.text());
    let head = rig.ask(Ask::new("HEAD", "/bucket")).await;
    assert_eq!((head.status, head.get("x-amz-bucket-region")), (200, Some("us-east-1")));
    assert_eq!(rig.ask(Ask::new("HEAD", "/none")).await.status, 404);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_are_told_only_where_there_are_any() {
    let rig = Rig::new().await;
    rig.put("k", b"old").await;
    let enable = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    assert_eq!(rig.ask(Ask::new("PUT", "/bucket?versioning").body(enable.as_bytes())).await.told(), "200");
    let status = rig.ask(Ask::new("GET", "/bucket?versioning")).await;
    assert_eq!(status.xml("Status").as_deref(), Some("Enabled"));
    assert_eq!(rig.get("k").await.get("x-amz-version-id"), Some("null"));
    let put = rig.put("k", b"new").await;
    let version = put.get("x-amz-version-id").expect("told now").to_owned();
    let old = rig.get("k?versionId=null").await;
    assert_eq!((old.status, old.text().as_str()), (200, "old"));
    let deleted = rig.ask(Ask::new("DELETE", "/bucket/k")).await;
    assert_eq!(deleted.get("x-amz-delete-marker"), Some("true"));
    let marker = deleted.get("x-amz-version-id").expect("the marker's").to_owned();
    let gone = rig.get("k").await;
    assert_eq!((gone.told().as_str(), gone.get("x-amz-delete-marker")), ("404 NoSuchKey", Some("true")));
    let of_marker = rig.get(&format!("k?versionId={marker}")).await;
    assert_eq!((of_marker.told().as_str(), of_marker.get("allow")), ("405 MethodNotAllowed", Some("DELETE")));
    assert_eq!(rig.get(&format!("k?versionId={version}")).await.text(), "new");
    let unknown = rig.get("k?versionId=00000000000000000000000000000001").await;
    assert_eq!(unknown.told(), "404 NoSuchVersion");
    let zero = rig.get("k?versionId=00000000000000000000000000000000").await;
    assert_eq!(zero.told(), "400 InvalidArgument");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_opaque_and_both_address_styles_reach_them() {
    let rig = Rig::new().await;
    for key in ["..%2F..%2Fetc%2Fpasswd", "%2Fa%2F%2Fb", ".", "a%2F.%2Fb", "%C3%BC%2B%20", "a//b"] {
        let bytes = key.as_bytes();
        let put = rig.put(key, bytes).await;
        assert_eq!(put.told(), "200", "{key} {}", put.text());
        assert_eq!(rig.get(key).await.body, bytes, "{key}");
    }
    let virtual_host = Ask::new("GET", "/.").header("host", "bucket.s3.test");
    assert_eq!(rig.ask(virtual_host).await.text(), ".");
    let presigned = Signer::root().presign(Ask::new("GET", "/bucket/."), rig.address, 60);
    assert_eq!(rig.ask_raw(presigned).await.text(), ".");
    let presigned = Signer::root().presign(Ask::new("PUT", "/bucket/pre"), rig.address, 60);
    assert_eq!(rig.ask_raw(presigned.body(b"signed")).await.told(), "200");
    assert_eq!(rig.get("pre").await.text(), "signed");
    rig.stop().await;
}
