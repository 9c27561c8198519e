//! Versions and tags, as clients see them.

use crate::http::{Answer, Ask};
use crate::rig::Rig;

async fn enable(rig: &Rig) {
    let on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    assert_eq!(rig.ask(Ask::new("PUT", "/bucket?versioning").body(on.as_bytes())).await.told(), "200");
}

/// All texts between such tags.
fn all(answer: &Answer, tag: &str) -> Vec<String> {
    let text = answer.text();
    let cut = |part: &str| part.split(&format!("</{tag}>")).next().unwrap_or_default().to_owned();
    text.split(&format!("<{tag}>")).skip(1).map(cut).collect()
}

fn tagging(pairs: &[(&str, &str)]) -> Vec<u8> {
    let tag = |(key, value): &(&str, &str)| format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>");
    let tags: String = pairs.iter().map(tag).collect();
    format!("<Tagging><TagSet>{tags}</TagSet></Tagging>").into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_versions_are_listed_page_by_page() {
    let rig = Rig::new().await;
    rig.put("a", b"1").await;
    enable(&rig).await;
    for (key, bytes) in [("a", "22"), ("d%2F%C3%BC", "333"), ("d%2Fy", "4444"), ("z", "5")] {
        assert_eq!(rig.put(key, bytes.as_bytes()).await.told(), "200");
    }
    assert_eq!(rig.ask(Ask::new("DELETE", "/bucket/z")).await.told(), "204");
    let whole = rig.ask(Ask::new("GET", "/bucket?versions&encoding-type=url")).await;
    assert_eq!(whole.told(), "200", "{}", whole.text());
    assert_eq!(whole.xml("IsTruncated").as_deref(), Some("false"));
    // Delete markers stand before the versions.
    assert_eq!(all(&whole, "Key"), ["z", "a", "a", "d/y", "d/%C3%BC", "z"]);
    assert_eq!(all(&whole, "Size"), ["2", "1", "4", "3", "1"]);
    assert_eq!(all(&whole, "DeleteMarker").len(), 1);
    assert_eq!(all(&whole, "IsLatest").iter().filter(|latest| *latest == "true").count(), 4);
    assert_eq!(all(&whole, "VersionId").iter().filter(|id| *id == "null").count(), 1);

    for delimiter in ["", "&delimiter=%2F"] {
        let whole = rig.ask(Ask::new("GET", &format!("/bucket?versions{delimiter}"))).await;
        let (mut seen, mut prefixes, mut position) = (vec![], vec![], String::new());
        loop {
            let target = format!("/bucket?versions&max-keys=1{delimiter}{position}");
            let page = rig.ask(Ask::new("GET", &target)).await;
            assert_eq!(page.told(), "200", "{target} {}", page.text());
            seen.extend(all(&page, "VersionId"));
            prefixes.extend(all(&page, "CommonPrefixes"));
            let Some(key) = page.xml("NextKeyMarker") else { break };
            let key = key.replace('ü', "%C3%BC").replace('/', "%2F");
            let version = page.xml("NextVersionIdMarker").unwrap_or_default();
            position = format!("&key-marker={key}&version-id-marker={version}");
        }
        let mut expected = all(&whole, "VersionId");
        expected.sort();
        seen.sort();
        assert_eq!(seen, expected, "{delimiter}");
        assert_eq!(prefixes, all(&whole, "CommonPrefixes"), "{delimiter}");
    }
    let cases = [
        ("/bucket?versions&version-id-marker=null", "400 InvalidArgument"),
        ("/bucket?versions&key-marker=a&version-id-marker=zz", "400 InvalidArgument"),
        ("/bucket?versions&max-keys=-1", "400 InvalidArgument"),
        ("/bucket?versions&encoding-type=hex", "400 InvalidArgument"),
        ("/bucket?versions&max-keys=0", "200"),
        ("/nowhere?versions", "404 NoSuchBucket"),
    ];
    for (target, expected) in cases {
        assert_eq!(rig.ask(Ask::new("GET", target)).await.told(), expected, "{target}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_belong_to_a_version_and_make_no_other() {
    let rig = Rig::new().await;
    enable(&rig).await;
    let put = Ask::new("PUT", "/bucket/k").header("x-amz-tagging", "a=1&b=x%20y").body(b"one");
    let first = rig.ask(put).await;
    let first = first.get("x-amz-version-id").expect("versioned").to_owned();
    rig.put("k", b"two").await;
    let of = |version: &str| format!("/bucket/k?tagging&versionId={version}");
    let before = all(&rig.ask(Ask::new("GET", "/bucket?versions")).await, "VersionId");
    let old = rig.ask(Ask::new("GET", &of(&first))).await;
    assert_eq!(
        (all(&old, "Key"), all(&old, "Value")),
        (vec!["a".into(), "b".into()], vec!["1".into(), "x y".into()])
    );
    assert!(all(&rig.ask(Ask::new("GET", "/bucket/k?tagging")).await, "Key").is_empty());
    let done = rig.ask(Ask::new("PUT", "/bucket/k?tagging").body(&tagging(&[("c", "3")]))).await;
    assert_eq!(done.told(), "200", "{}", done.text());
    assert_eq!(done.get("x-amz-version-id"), Some(before[0].as_str()), "the current version's");
    for method in ["GET", "HEAD"] {
        let read = rig.ask(Ask::new(method, "/bucket/k")).await;
        assert_eq!(read.get("x-amz-tagging-count"), Some("1"), "{method}");
        let old = rig.ask(Ask::new(method, &format!("/bucket/k?versionId={first}"))).await;
        assert_eq!(old.get("x-amz-tagging-count"), Some("2"), "{method}");
    }
    assert_eq!(rig.ask(Ask::new("DELETE", &of(&first))).await.told(), "204");
    assert!(all(&rig.ask(Ask::new("GET", &of(&first))).await, "Key").is_empty());
    assert_eq!(rig.get("k").await.text(), "two");
    assert_eq!(all(&rig.ask(Ask::new("GET", "/bucket?versions")).await, "VersionId"), before);
    let marker = rig.ask(Ask::new("DELETE", "/bucket/k")).await;
    let marker = marker.get("x-amz-version-id").expect("a marker").to_owned();
    let eleven: Vec<(String, String)> = (0..11).map(|n| (n.to_string(), String::new())).collect();
    let eleven: Vec<(&str, &str)> =
        eleven.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let set = |target: &str, tags: &[(&str, &str)]| Ask::new("PUT", target).body(&tagging(tags));
    let cases = [
        (Ask::new("GET", &of(&marker)), "405 MethodNotAllowed"),
        (set(&of(&marker), &[("a", "1")]), "405 MethodNotAllowed"),
        (set("/bucket/k?tagging", &[("a", "1")]), "404 NoSuchKey"),
        (Ask::new("DELETE", "/bucket/none?tagging"), "404 NoSuchKey"),
        (set("/nowhere/k?tagging", &[("a", "1")]), "404 NoSuchBucket"),
        (set(&of(&first), &[("a", "1"), ("a", "2")]), "400 InvalidTag"),
        (set(&of(&first), &[("aws:a", "1")]), "400 InvalidTag"),
        (set(&of(&first), &[("", "1")]), "400 InvalidTag"),
        (set(&of(&first), &eleven), "400 InvalidTag"),
        (Ask::new("PUT", &of(&first)).body(b"<Tagging>"), "400 MalformedXML"),
        (set(&of("00000000000000000000000000000001"), &[]), "404 NoSuchVersion"),
        (set(&of("zz"), &[]), "400 InvalidArgument"),
        (Ask::new("PUT", "/bucket/t").header("x-amz-tagging", "a=1&a=2").body(b"x"), "400 InvalidTag"),
        (Ask::new("PUT", "/bucket/t").header("x-amz-tagging", "a=%zz").body(b"x"), "400 InvalidArgument"),
        (Ask::new("GET", "/bucket/t"), "404 NoSuchKey"),
    ];
    for (ask, expected) in cases {
        let shown = format!("{} {} {}", ask.method, ask.target, String::from_utf8_lossy(&ask.body));
        assert_eq!(rig.ask(ask).await.told(), expected, "{shown}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_and_uploads_carry_tags() {
    let rig = Rig::new().await;
    rig.ask(Ask::new("PUT", "/bucket/k").header("x-amz-tagging", "a=1").body(b"one")).await;
    let copy = |to: &str| {
        Ask::new("PUT", &format!("/bucket/{to}")).header("x-amz-copy-source", "bucket/k").body(b"")
    };
    let replace = |ask: Ask| ask.header("x-amz-tagging-directive", "REPLACE");
    let cases = [
        (copy("c1"), "200", "a"),
        (replace(copy("c2")).header("x-amz-tagging", "b=2"), "200", "b"),
        (replace(copy("c3")), "200", ""),
        (copy("c4").header("x-amz-metadata-directive", "REPLACE"), "200", "a"),
        (copy("c5").header("x-amz-tagging", "b=2"), "400 InvalidArgument", ""),
        (copy("c6").header("x-amz-tagging-directive", "KEEP"), "400 InvalidArgument", ""),
        (replace(copy("k")).header("x-amz-tagging", "d=4"), "200", "d"),
    ];
    for (ask, expected, keys) in cases {
        let key = ask.target.clone();
        assert_eq!(rig.ask(ask).await.told(), expected, "{key}");
        if expected == "200" {
            let tags = rig.ask(Ask::new("GET", &format!("{key}?tagging"))).await;
            assert_eq!(all(&tags, "Key").concat(), keys, "{key}");
        }
    }
    let started = Ask::new("POST", "/bucket/up?uploads").header("x-amz-tagging", "u=1").body(b"");
    let upload = rig.ask(started).await.xml("UploadId").expect("started");
    let part = Ask::new("PUT", &format!("/bucket/up?partNumber=1&uploadId={upload}")).body(b"part");
    let etag = rig.ask(part).await.get("etag").expect("a part").to_owned();
    let list = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let done = Ask::new("POST", &format!("/bucket/up?uploadId={upload}")).body(list.as_bytes());
    assert_eq!(rig.ask(done).await.told(), "200");
    assert_eq!(all(&rig.ask(Ask::new("GET", "/bucket/up?tagging")).await, "Key"), ["u"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attributes_are_told_as_asked() {
    let rig = Rig::new().await;
    rig.ask(Ask::new("PUT", "/bucket/k").header("x-amz-checksum-crc32", "NhCmhg==").body(b"hello")).await;
    let ask = |key: &str, names: &str| {
        Ask::new("GET", &format!("/bucket/{key}?attributes")).header("x-amz-object-attributes", names)
    };
    let told = rig.ask(ask("k", "ETag,Checksum,ObjectParts,StorageClass,ObjectSize")).await;
    assert_eq!(told.told(), "200", "{}", told.text());
    assert_eq!(told.xml("ETag").as_deref(), Some("5d41402abc4b2a76b9719d911017c592"), "{}", told.text());
    assert_eq!(told.xml("ChecksumCRC32").as_deref(), Some("NhCmhg=="));
    assert_eq!(told.xml("ChecksumType").as_deref(), Some("FULL_OBJECT"));
    assert_eq!(
        (told.xml("ObjectSize").as_deref(), told.xml("StorageClass").as_deref()),
        (Some("5"), Some("STANDARD"))
    );
    assert_eq!(told.xml("ObjectParts"), None);
    let little = rig.ask(ask("k", "ObjectSize")).await;
    assert_eq!((little.xml("ETag"), little.xml("ObjectSize").as_deref()), (None, Some("5")));
    let cases = [
        (ask("none", "ETag"), "404 NoSuchKey"),
        (ask("k", "Colour"), "400 InvalidArgument"),
        (ask("k", "ETag").header("x-amz-max-parts", "-1"), "400 InvalidArgument"),
        (ask("k", "ETag").header("x-amz-part-number-marker", "10001"), "400 InvalidArgument"),
        (Ask::new("GET", "/bucket/k?attributes"), "400 InvalidRequest"),
    ];
    for (ask, expected) in cases {
        let shown = format!("{:?}", ask.headers);
        let answer = rig.ask(ask).await;
        assert_eq!(answer.told(), expected, "{shown} {}", answer.text());
    }
    rig.stop().await;
}
