//! Multipart uploads, and bodies in aws-chunked framings.

use crate::http::Ask;
use crate::rig::Rig;
use crate::sign::Signer;

const PART: usize = 5 << 20;

async fn start(rig: &Rig, headers: &[(&str, &str)]) -> String {
    let with = |ask: Ask, (name, value): &(&str, &str)| ask.header(name, value);
    let ask = headers.iter().fold(Ask::new("POST", "/bucket/big?uploads"), with);
    let answer = rig.ask(ask.header("content-type", "a/b")).await;
    assert_eq!(answer.told(), "200", "{}", answer.text());
    answer.xml("UploadId").expect("an upload has an id")
}

async fn part(rig: &Rig, id: &str, number: u32, bytes: &[u8]) -> String {
    let target = format!("/bucket/big?partNumber={number}&uploadId={id}");
    let answer = rig.ask(Ask::new("PUT", &target).body(bytes)).await;
    assert_eq!(answer.told(), "200", "{}", answer.text());
    answer.get("etag").expect("a part has a tag").to_owned()
}

fn complete(id: &str, parts: &[(u32, &str)]) -> Ask {
    let one = |(number, etag): &(u32, &str)| {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
    };
    let parts: String = parts.iter().map(one).collect();
    let xml = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    Ask::new("POST", &format!("/bucket/big?uploadId={id}")).body(xml.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_become_one_object() {
    let rig = Rig::new().await;
    let id =
        start(&rig, &[("x-amz-checksum-algorithm", "CRC32"), ("x-amz-checksum-type", "FULL_OBJECT")]).await;
    let bytes: Vec<u8> = (0..PART + 1000).map(|at| (at * 7 % 251) as u8).collect();
    let first = part(&rig, &id, 1, &bytes[..PART]).await;
    let last = part(&rig, &id, 7, &bytes[PART..]).await;
    let listed = rig.ask(Ask::new("GET", &format!("/bucket/big?uploadId={id}&max-parts=1"))).await;
    assert_eq!(listed.xml("NextPartNumberMarker").as_deref(), Some("1"), "{}", listed.text());
    assert_eq!(listed.text().matches("<ChecksumCRC32>").count(), 1, "computed though the client stated none");
    let uploads = rig.ask(Ask::new("GET", "/bucket?uploads")).await;
    assert_eq!(uploads.xml("UploadId"), Some(id.clone()));
    for (parts, expected) in [
        (vec![], "400 MalformedXML"),
        (vec![(7, last.as_str()), (1, first.as_str())], "400 InvalidPartOrder"),
        (vec![(1, first.as_str()), (1, first.as_str())], "400 InvalidPartOrder"),
        (vec![(1, last.as_str())], "400 InvalidPart"),
        (vec![(2, first.as_str())], "400 InvalidPart"),
        (vec![(1, "\"nonsense\"")], "400 InvalidPart"),
    ] {
        let answer = rig.ask(complete(&id, &parts)).await;
        assert_eq!(answer.told(), expected, "{parts:?} {}", answer.text());
    }
    let parts = [(1, first.as_str()), (7, last.as_str())];
    let wrong = complete(&id, &parts).header("x-amz-checksum-crc32", "AAAAAA==");
    assert_eq!(rig.ask(wrong).await.told(), "400 BadDigest", "stated for the whole, as for the document");
    let absent = complete(&id, &parts).header("if-match", "*");
    assert_eq!(rig.ask(absent).await.told(), "404 NoSuchKey");
    let done = rig.ask(complete(&id, &parts).header("if-none-match", "*")).await;
    assert_eq!(done.told(), "200", "{}", done.text());
    assert!(done.xml("ETag").is_some_and(|etag| etag.contains("-2")), "{}", done.text());
    let got = rig.ask(Ask::new("GET", "/bucket/big").header("x-amz-checksum-mode", "ENABLED")).await;
    assert!(got.body == bytes);
    assert_eq!((got.get("content-type"), got.get("x-amz-checksum-type")), (Some("a/b"), Some("FULL_OBJECT")));
    let crc = <s3s::crypto::Crc32 as s3s::crypto::Checksum>::checksum(&bytes);
    let crc = u32::from_be_bytes(crc);
    let told = got.get("x-amz-checksum-crc32").expect("asked for");
    assert_eq!(told, base64_of_u32(crc));
    let second = rig.ask(Ask::new("GET", "/bucket/big?partNumber=2")).await;
    assert_eq!(
        (second.status, second.body.len(), second.get("x-amz-mp-parts-count")),
        (206, 1000, Some("2"))
    );
    assert_eq!(rig.ask(complete(&id, &parts)).await.told(), "404 NoSuchUpload");
    rig.stop().await;
}

fn base64_of_u32(value: u32) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let wide = u64::from(value) << 4;
    let digits: String =
        (0..6).map(|place| char::from(DIGITS[(wide >> (30 - 6 * place) & 63) as usize])).collect();
    format!("{digits}==")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_are_refused_copied_and_given_up() {
    let rig = Rig::new().await;
    rig.put("source", b"0123456789").await;
    let id = start(&rig, &[]).await;
    let small = part(&rig, &id, 1, b"small").await;
    let copy = |range: &str| {
        let target = format!("/bucket/big?partNumber=2&uploadId={id}");
        let ask = Ask::new("PUT", &target).header("x-amz-copy-source", "bucket/source");
        ask.header("x-amz-copy-source-range", range).body(b"")
    };
    let copied = rig.ask(copy("bytes=2-4")).await;
    assert_eq!(copied.told(), "200", "{}", copied.text());
    assert_eq!(rig.ask(copy("bytes=2-40")).await.told(), "416 InvalidRange");
    assert_eq!(rig.ask(copy("bytes=2-")).await.told(), "400 InvalidArgument");
    let etag = copied.xml("ETag").expect("a part has a tag");
    let parts = [(1, small.as_str()), (2, etag.as_str())];
    assert_eq!(rig.ask(complete(&id, &parts)).await.told(), "400 EntityTooSmall");
    let done = rig.ask(complete(&id, &parts[1..])).await;
    assert_eq!(done.told(), "200", "{}", done.text());
    assert_eq!(rig.get("big").await.text(), "234");
    let id = start(&rig, &[]).await;
    let cases = [
        (
            Ask::new("PUT", &format!("/bucket/big?partNumber=0&uploadId={id}")).body(b"x"),
            "400 InvalidArgument",
        ),
        (
            Ask::new("PUT", &format!("/bucket/big?partNumber=10001&uploadId={id}")).body(b"x"),
            "400 InvalidArgument",
        ),
        (
            Ask::new("PUT", &format!("/bucket/big?partNumber=1e3&uploadId={id}")).body(b"x"),
            "400 InvalidArgument",
        ),
        (
            Ask::new("PUT", &format!("/bucket/other?partNumber=1&uploadId={id}")).body(b"x"),
            "404 NoSuchUpload",
        ),
        (Ask::new("PUT", "/bucket/big?partNumber=1&uploadId=zz").body(b"x"), "404 NoSuchUpload"),
        (Ask::new("DELETE", &format!("/bucket/big?uploadId={id}")), "204"),
        (Ask::new("DELETE", &format!("/bucket/big?uploadId={id}")), "404 NoSuchUpload"),
    ];
    for (ask, expected) in cases {
        let shown = ask.target.clone();
        let answer = rig.ask(ask).await;
        assert_eq!(answer.told(), expected, "{shown} {}", answer.text());
    }
    rig.stop().await;
}

fn streaming(kind: &str, decoded: usize) -> Ask {
    Ask::new("PUT", "/bucket/k")
        .header("x-amz-content-sha256", kind)
        .header("x-amz-decoded-content-length", &decoded.to_string())
        .header("content-encoding", "aws-chunked")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signed_chunks() {
    let rig = Rig::new().await;
    let bytes: Vec<u8> = (0..200_000_u32).map(|at| (at % 253) as u8).collect();
    let sign = |decoded: usize, length: usize| {
        let ask = streaming("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", decoded)
            .header("content-length", &length.to_string());
        Signer::root().sign_seed(ask, rig.address)
    };
    let length = sign(bytes.len(), 0).1.chunks(&bytes, 65_536).len();
    let (mut ask, seed) = sign(bytes.len(), length);
    ask.body = seed.chunks(&bytes, 65_536);
    let put = rig.ask_raw(ask.clone()).await;
    assert_eq!(put.told(), "200", "{}", put.text());
    let got = rig.get("k").await;
    assert!(got.body == bytes);
    assert_eq!(got.get("content-encoding"), None);

    let (mut forged, seed) = sign(bytes.len(), length);
    forged.body = seed.chunks(&bytes, 65_536);
    forged.body[100_000] ^= 1;
    assert_eq!(rig.ask_raw(forged).await.told(), "403 SignatureDoesNotMatch");
    let (mut cut, seed) = sign(bytes.len(), 65_536 + 85 + 2);
    cut.body = seed.chunks(&bytes, 65_536);
    cut.body.truncate(65_536 + 85 + 2);
    assert!(rig.ask_raw(cut).await.told().starts_with("400 "), "the last chunk is missing");
    assert!(rig.get("k").await.body == bytes, "nothing of that is visible");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unsigned_chunks_with_a_trailer() {
    let rig = Rig::new().await;
    let crc = "NhCmhg==";
    let ask = |body: &str, trailer: &str, decoded: usize| {
        let ask = streaming("STREAMING-UNSIGNED-PAYLOAD-TRAILER", decoded).header("x-amz-trailer", trailer);
        ask.body(body.as_bytes())
    };
    let wire = |crc: &str| format!("2\r\nhe\r\n3\r\nllo\r\n0\r\nx-amz-checksum-crc32:{crc}\r\n\r\n");
    let name = "x-amz-checksum-crc32";
    let cases = [
        (ask(&wire(crc), name, 5), "200"),
        (ask(&wire("AAAAAA=="), name, 5), "400 BadDigest"),
        (ask(&wire("zz"), name, 5), "400 MalformedTrailerError"),
        (ask("5\r\nhello\r\n0\r\n\r\n", name, 5), "400 MalformedTrailerError"),
        (ask(&wire(crc), "x-amz-checksum-sha1", 5), "400 MalformedTrailerError"),
        (ask(&wire(crc), "x-other", 5), "400 InvalidRequest"),
        (ask(&wire(crc), name, 4), "400 IncompleteBody"),
        (ask(&wire(crc), name, 6), "400 IncompleteBody"),
        (ask("5\r\nhello\r\n", name, 5), "400 IncompleteBody"),
        (ask("0x5\r\nhello\r\n0\r\n\r\n", name, 5), "400 InvalidRequest"),
        (ask("-5\r\nhello\r\n0\r\n\r\n", name, 5), "400 InvalidRequest"),
    ];
    for (ask, expected) in cases {
        let shown = String::from_utf8_lossy(&ask.body).into_owned();
        let answer = rig.ask(ask).await;
        assert_eq!(answer.told(), expected, "{shown:?} {}", answer.text());
        assert_eq!(rig.get("k").await.text(), "hello");
    }
    let chunked = {
        let ask = streaming("STREAMING-UNSIGNED-PAYLOAD-TRAILER", 5).header("x-amz-trailer", name);
        let mut ask = Signer::root().sign(ask, rig.address).header("transfer-encoding", "chunked");
        ask = ask.header("expect", "100-continue");
        let inner = wire(crc);
        ask.body = format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len()).into_bytes();
        ask
    };
    assert_eq!(rig.ask_raw(chunked).await.told(), "200", "no Content-Length at all, as SDKs do over https");
    rig.stop().await;
}

/// The checksum beside a completion is the object's, not the document's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_states_the_checksum_of_the_whole() {
    let rig = Rig::new().await;
    for (kind, stated, expected) in [
        ("FULL_OBJECT", "NhCmhg==", "200"),
        ("FULL_OBJECT", "AAAAAA==", "400 BadDigest"),
        ("COMPOSITE", "FKTmaw==-1", "200"),
        ("COMPOSITE", "AAAAAA==-1", "400 BadDigest"),
    ] {
        let start = Ask::new("POST", "/bucket/sum?uploads")
            .header("x-amz-checksum-algorithm", "CRC32")
            .header("x-amz-checksum-type", kind)
            .body(b"");
        let upload = rig.ask(start).await.xml("UploadId").expect("started");
        let part = Ask::new("PUT", &format!("/bucket/sum?partNumber=1&uploadId={upload}"));
        let etag = rig.ask(part.body(b"hello")).await.get("etag").expect("a part").to_owned();
        let list = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag>\
             <ChecksumCRC32>NhCmhg==</ChecksumCRC32></Part></CompleteMultipartUpload>"
        );
        let done = Ask::new("POST", &format!("/bucket/sum?uploadId={upload}"))
            .header("x-amz-checksum-crc32", stated)
            .header("x-amz-checksum-type", kind)
            .body(list.as_bytes());
        let done = rig.ask(done).await;
        assert_eq!(done.told(), expected, "{kind} {stated} {}", done.text());
    }
    rig.stop().await;
}
