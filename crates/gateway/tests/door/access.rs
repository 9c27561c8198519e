//! Who may do what, through the door: every operation by keys of every kind, copy sources and lists of keys included.

use crate::http::{Answer, Ask};
use crate::rig::Rig;

/// The operations, the right that each needs on `/bucket/in/k`, and whether a bucket or a key is meant.
fn operations() -> Vec<(&'static str, &'static str, Ask)> {
    let of = |method: &str, target: &str| Ask::new(method, target).body(b"");
    let list = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>";
    vec![
        ("read", "GetObject", of("GET", "/bucket/in/k")),
        ("read", "HeadObject", of("HEAD", "/bucket/in/k")),
        ("read", "GetObjectTagging", of("GET", "/bucket/in/k?tagging")),
        ("read", "GetObjectAcl", of("GET", "/bucket/in/k?acl")),
        (
            "read",
            "GetObjectAttributes",
            of("GET", "/bucket/in/k?attributes").header("x-amz-object-attributes", "ETag"),
        ),
        ("read", "GetObject of a version", of("GET", "/bucket/in/k?versionId=null")),
        ("write", "PutObject", of("PUT", "/bucket/in/k")),
        (
            "write",
            "PutObjectTagging",
            Ask::new("PUT", "/bucket/in/k?tagging").body(b"<Tagging><TagSet></TagSet></Tagging>"),
        ),
        ("write", "DeleteObjectTagging", of("DELETE", "/bucket/in/k?tagging")),
        ("write", "PutObjectAcl", of("PUT", "/bucket/in/k?acl").header("x-amz-acl", "private")),
        ("write", "CreateMultipartUpload", of("POST", "/bucket/in/k?uploads")),
        ("write", "UploadPart", of("PUT", "/bucket/in/k?partNumber=1&uploadId=x")),
        ("write", "AbortMultipartUpload", of("DELETE", "/bucket/in/k?uploadId=x")),
        (
            "write",
            "CompleteMultipartUpload",
            Ask::new("POST", "/bucket/in/k?uploadId=x").body(list.as_bytes()),
        ),
        ("delete", "DeleteObject of a version", of("DELETE", "/bucket/in/none?versionId=null")),
        ("delete", "DeleteObject", of("DELETE", "/bucket/in/none")),
        ("list", "ListObjectsV2", of("GET", "/bucket?list-type=2&prefix=in%2F")),
        ("list", "ListObjects", of("GET", "/bucket?prefix=in%2F")),
        ("list", "ListObjectVersions", of("GET", "/bucket?versions&prefix=in%2F")),
        ("list", "ListMultipartUploads", of("GET", "/bucket?uploads&prefix=in%2F")),
        ("list", "ListParts", of("GET", "/bucket/in/k?uploadId=x")),
        (
            "manage",
            "PutBucketVersioning",
            Ask::new("PUT", "/bucket?versioning").body(b"<VersioningConfiguration/>"),
        ),
        (
            "manage",
            "PutBucketTagging",
            Ask::new("PUT", "/bucket?tagging").body(b"<Tagging><TagSet></TagSet></Tagging>"),
        ),
        ("manage", "DeleteBucketCors", of("DELETE", "/bucket?cors")),
        ("manage", "CreateBucket", of("PUT", "/bucket")),
        ("manage", "DeleteBucket", of("DELETE", "/bucket")),
        ("any", "HeadBucket", of("HEAD", "/bucket")),
        ("any", "GetBucketVersioning", of("GET", "/bucket?versioning")),
        ("any", "GetBucketTagging", of("GET", "/bucket?tagging")),
    ]
}

fn is_denied(answer: &Answer) -> bool {
    // An answer to HEAD names no code.
    answer.status == 403 && answer.xml("Code").is_none_or(|code| code == "AccessDenied")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_needs_its_right_where_it_happens() {
    let rig = Rig::new().await;
    rig.put("in/k", b"x").await;
    let mut checked = 0;
    for (right, name, ask) in operations() {
        for given in ["read", "write", "delete", "list", "manage", "all"] {
            let fits = right == given || right == "any" || given == "all";
            for (place, inside) in [
                ("bucket", true),
                ("bucket/in/", true),
                ("bucket/out/", false),
                ("other", false),
                ("@own", false),
            ] {
                let with_prefix = place.contains('/');
                if with_prefix && given == "manage" {
                    continue;
                }
                let expected = match right {
                    "any" => place.starts_with("bucket"),
                    "manage" => fits && place == "bucket",
                    _ => fits && inside,
                };
                // A key that may make buckets finds out that a name is taken.
                let taken = name == "CreateBucket" && place == "@own" && fits;
                let answer = rig.ask_as(&format!("{given}:{place}"), ask.clone()).await;
                assert_eq!(
                    !is_denied(&answer),
                    expected || taken,
                    "{name} by {given}:{place}: {}",
                    answer.told()
                );
                checked += 1;
            }
        }
        if matches!(name, "DeleteBucket" | "PutObject" | "CreateMultipartUpload") {
            rig.put("in/k", b"x").await;
        }
    }
    assert!(checked > 700, "{checked}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copy_sources_lists_of_keys_and_prefixes_are_asked_for_one_by_one() {
    let rig = Rig::new().await;
    for key in ["in/a", "out/b"] {
        rig.put(key, b"x").await;
    }
    let copy = |from: &str, to: &str| Ask::new("PUT", to).header("x-amz-copy-source", from).body(b"");
    let part = |from: &str| copy(from, "/bucket/in/c?partNumber=1&uploadId=x");
    let cases = [
        ("read,write:bucket/in/", copy("bucket/in/a", "/bucket/in/c"), "200"),
        ("read,write:bucket/in/", copy("bucket/out/b", "/bucket/in/c"), "403 AccessDenied"),
        ("read,write:bucket/in/", copy("bucket/in%2F..%2Fout/b", "/bucket/in/c"), "404 NoSuchKey"),
        ("read,write:bucket/in/", copy("nowhere/k", "/bucket/in/c"), "403 AccessDenied"),
        ("read,write:bucket/in/", copy("bucket/in/a", "/bucket/out/c"), "403 AccessDenied"),
        ("write:bucket", copy("bucket/in/a", "/bucket/in/c"), "403 AccessDenied"),
        ("read:bucket", copy("bucket/in/a", "/bucket/in/c"), "403 AccessDenied"),
        ("read,write:bucket/in/", part("bucket/out/b"), "404 NoSuchUpload"),
        ("list:bucket/in/", Ask::new("GET", "/bucket?list-type=2"), "403 AccessDenied"),
        ("list:bucket/in/", Ask::new("GET", "/bucket?list-type=2&prefix=i"), "403 AccessDenied"),
        ("list:bucket/in/", Ask::new("GET", "/bucket?prefix=in%2F&prefix=out%2F"), "403 AccessDenied"),
        ("list:bucket/in/", Ask::new("GET", "/bucket?versions&prefix=in%2Fx"), "200"),
        (
            "read:bucket",
            Ask::new("GET", "/bucket/in/a").header("x-amz-expected-bucket-owner", "ROOTKEY"),
            "200",
        ),
        (
            "read:bucket",
            Ask::new("GET", "/bucket/in/a").header("x-amz-expected-bucket-owner", "me"),
            "403 AccessDenied",
        ),
        (
            "all:bucket",
            copy("bucket/in/a", "/bucket/c").header("x-amz-source-expected-bucket-owner", "me"),
            "403 AccessDenied",
        ),
    ];
    for (grants, ask, expected) in cases {
        let shown = format!("{} {} {:?}", ask.method, ask.target, ask.headers);
        let answer = rig.ask_as(grants, ask).await;
        let told = answer.told();
        let refused_query = expected.starts_with("403") && told.starts_with("400");
        assert!(told == expected || refused_query, "{grants}: {shown}: {told} instead of {expected}");
    }
    let xml = "<Delete><Object><Key>in/a</Key></Object><Object><Key>out/b</Key></Object></Delete>";
    let md5 = base64_simd::STANDARD
        .encode_to_string(<s3s::crypto::Md5 as s3s::crypto::Checksum>::checksum(xml.as_bytes()));
    let delete = Ask::new("POST", "/bucket?delete").header("content-md5", &md5).body(xml.as_bytes());
    let answer = rig.ask_as("delete:bucket/in/", delete).await;
    assert_eq!(
        (answer.status, answer.xml("Code").as_deref()),
        (200, Some("AccessDenied")),
        "{}",
        answer.text()
    );
    assert_eq!((rig.get("in/a").await.status, rig.get("out/b").await.status), (404, 200));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_see_their_buckets_and_make_their_own() {
    let rig = Rig::new().await;
    let me = "all:@own";
    let cases = [
        (Ask::new("PUT", "/mine").body(b""), "200"),
        (Ask::new("PUT", "/mine").body(b""), "409 BucketAlreadyOwnedByYou"),
        (Ask::new("PUT", "/bucket").body(b""), "409 BucketAlreadyExists"),
        (Ask::new("PUT", "/mine/k").body(b"x"), "200"),
        (Ask::new("GET", "/mine/k"), "200"),
        (Ask::new("GET", "/mine?list-type=2"), "200"),
        (Ask::new("GET", "/bucket?list-type=2"), "403 AccessDenied"),
        (Ask::new("PUT", "/bucket/k").body(b"x"), "403 AccessDenied"),
        (Ask::new("GET", "/none?list-type=2"), "404 NoSuchBucket"),
        (Ask::new("DELETE", "/mine/k"), "204"),
    ];
    for (ask, expected) in cases {
        let shown = format!("{} {}", ask.method, ask.target);
        assert_eq!(rig.ask_as(me, ask).await.told(), expected, "{shown}");
    }
    let listed = |answer: Answer| answer.text().matches("<Bucket>").count();
    assert_eq!(listed(rig.ask_as(me, Ask::new("GET", "/")).await), 1);
    assert_eq!(listed(rig.ask_as("read:bucket/x", Ask::new("GET", "/")).await), 1);
    assert_eq!(listed(rig.ask_as("read:b* list:mi*", Ask::new("GET", "/")).await), 2);
    assert_eq!(listed(rig.ask(Ask::new("GET", "/")).await), 2);
    assert_eq!(rig.ask_as("read:@own", Ask::new("DELETE", "/mine")).await.told(), "403 AccessDenied");
    assert_eq!(rig.ask_as(me, Ask::new("DELETE", "/mine")).await.told(), "204");
    rig.stop().await;
}
