//! Bucket settings: those that are kept, those that are always the same, those that are never there.

use crate::http::Ask;
use crate::rig::Rig;

fn put(target: &str, xml: &str) -> Ask {
    Ask::new("PUT", target).body(xml.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_answered_as_aws_does() {
    let rig = Rig::new().await;
    rig.put("k", b"x").await;
    let cases = [
        ("GET", "/bucket?policy", "404 NoSuchBucketPolicy"),
        ("GET", "/bucket?policyStatus", "404 NoSuchBucketPolicy"),
        ("DELETE", "/bucket?policy", "204"),
        ("GET", "/bucket?lifecycle", "404 NoSuchLifecycleConfiguration"),
        ("DELETE", "/bucket?lifecycle", "204"),
        ("GET", "/bucket?website", "404 NoSuchWebsiteConfiguration"),
        ("DELETE", "/bucket?website", "204"),
        ("GET", "/bucket?replication", "404 ReplicationConfigurationNotFoundError"),
        ("DELETE", "/bucket?replication", "204"),
        ("GET", "/bucket?object-lock", "404 ObjectLockConfigurationNotFoundError"),
        ("GET", "/bucket/k?retention", "400 InvalidRequest"),
        ("GET", "/bucket/k?legal-hold", "400 InvalidRequest"),
        ("GET", "/bucket?tagging", "404 NoSuchTagSet"),
        ("GET", "/bucket?cors", "404 NoSuchCORSConfiguration"),
        ("GET", "/bucket?logging", "200"),
        ("GET", "/bucket?notification", "200"),
        ("GET", "/bucket?accelerate", "200"),
        ("GET", "/bucket?requestPayment", "200"),
        ("GET", "/bucket?encryption", "200"),
        ("DELETE", "/bucket?encryption", "204"),
        ("GET", "/bucket?ownershipControls", "200"),
        ("GET", "/bucket?publicAccessBlock", "200"),
        ("GET", "/bucket?location", "200"),
        ("GET", "/bucket?inventory", "501 NotImplemented"),
        ("GET", "/bucket/k?torrent", "501 NotImplemented"),
        ("PUT", "/bucket?lifecycle", "501 NotImplemented"),
        ("PUT", "/bucket?policy", "501 NotImplemented"),
    ];
    for (method, target, expected) in cases {
        let answer = rig.ask(Ask::new(method, target).body(b"")).await;
        assert_eq!(answer.told(), expected, "{method} {target} {}", answer.text());
        if expected.starts_with("501") {
            continue;
        }
        let nowhere = target.replacen("/bucket", "/nowhere", 1);
        let answer = rig.ask(Ask::new(method, &nowhere).body(b"")).await;
        assert_eq!(answer.told(), "404 NoSuchBucket", "{method} {nowhere} {}", answer.text());
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_always_so_can_be_asked_for_and_nothing_else() {
    let rig = Rig::new().await;
    rig.put("k", b"x").await;
    let encryption = |algorithm: &str| {
        let xml = format!(
            "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>{algorithm}\
             </SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
        );
        put("/bucket?encryption", &xml)
    };
    let ownership = |kind: &str| {
        let xml = format!(
            "<OwnershipControls><Rule><ObjectOwnership>{kind}</ObjectOwnership></Rule></OwnershipControls>"
        );
        put("/bucket?ownershipControls", &xml)
    };
    let blocked = |last: bool| {
        let xml = format!(
            "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true\
             </IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>{last}\
             </RestrictPublicBuckets></PublicAccessBlockConfiguration>"
        );
        put("/bucket?publicAccessBlock", &xml)
    };
    let payer = |who: &str| {
        put(
            "/bucket?requestPayment",
            &format!("<RequestPaymentConfiguration><Payer>{who}</Payer></RequestPaymentConfiguration>"),
        )
    };
    let cases = [
        (encryption("AES256"), "200"),
        (encryption("aws:kms"), "501 NotImplemented"),
        (encryption("ROT13"), "400 MalformedXML"),
        (ownership("BucketOwnerEnforced"), "200"),
        (ownership("ObjectWriter"), "501 NotImplemented"),
        (ownership("Nobody"), "400 MalformedXML"),
        (blocked(true), "200"),
        (blocked(false), "501 NotImplemented"),
        (payer("BucketOwner"), "200"),
        (payer("Requester"), "501 NotImplemented"),
        (payer("Nobody"), "400 MalformedXML"),
    ];
    for (ask, expected) in cases {
        let shown = format!("{} {}", ask.target, String::from_utf8_lossy(&ask.body));
        let answer = rig.ask(ask).await;
        assert_eq!(answer.told(), expected, "{shown} {}", answer.text());
    }
    let told = rig.ask(Ask::new("GET", "/bucket?encryption")).await;
    assert_eq!(told.xml("SSEAlgorithm").as_deref(), Some("AES256"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_has_full_control_and_nobody_else_any() {
    let rig = Rig::new().await;
    rig.put("k", b"x").await;
    let grant = |id: &str, permission: &str| {
        format!(
            "<AccessControlPolicy><AccessControlList><Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
             xsi:type=\"CanonicalUser\"><ID>{id}</ID></Grantee><Permission>{permission}</Permission></Grant>\
             </AccessControlList></AccessControlPolicy>"
        )
    };
    let canned = |target: &str, acl: &str| Ask::new("PUT", target).header("x-amz-acl", acl).body(b"");
    let cases = [
        (canned("/bucket?acl", "private"), "200"),
        (canned("/bucket?acl", "public-read"), "400 AccessControlListNotSupported"),
        (canned("/bucket/k?acl", "bucket-owner-full-control"), "200"),
        (canned("/bucket/k?acl", "public-read-write"), "400 AccessControlListNotSupported"),
        (canned("/bucket/none?acl", "private"), "404 NoSuchKey"),
        (
            canned("/bucket?acl", "private").header("x-amz-grant-read", "id=you"),
            "400 AccessControlListNotSupported",
        ),
        (put("/bucket?acl", &grant("ROOTKEY", "FULL_CONTROL")), "200"),
        (put("/bucket/k?acl", &grant("ROOTKEY", "FULL_CONTROL")), "200"),
        (put("/bucket?acl", &grant("you", "FULL_CONTROL")), "400 AccessControlListNotSupported"),
        (put("/bucket?acl", &grant("ROOTKEY", "READ")), "400 AccessControlListNotSupported"),
    ];
    for (ask, expected) in cases {
        let shown = format!("{} {:?} {}", ask.target, ask.headers, String::from_utf8_lossy(&ask.body));
        let answer = rig.ask(ask).await;
        assert_eq!(answer.told(), expected, "{shown} {}", answer.text());
    }
    for target in ["/bucket?acl", "/bucket/k?acl"] {
        let acl = rig.ask(Ask::new("GET", target)).await;
        assert_eq!(acl.xml("Permission").as_deref(), Some("FULL_CONTROL"), "{}", acl.text());
        assert_eq!(acl.text().matches("<Grant>").count(), 1);
        assert_eq!(acl.text().matches("<ID>ROOTKEY</ID>").count(), 2);
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bucket_tags_are_kept() {
    let rig = Rig::new().await;
    let tags = |n: usize| {
        let tags: String = (0..n).map(|n| format!("<Tag><Key>k{n}</Key><Value>v</Value></Tag>")).collect();
        put("/bucket?tagging", &format!("<Tagging><TagSet>{tags}</TagSet></Tagging>"))
    };
    for (ask, expected) in [
        (tags(50), "200"),
        (tags(51), "400 InvalidTag"),
        (put("/bucket?tagging", "<Tagging/>"), "400 MalformedXML"),
        (put("/nowhere?tagging", "<Tagging><TagSet></TagSet></Tagging>"), "404 NoSuchBucket"),
    ] {
        let answer = rig.ask(ask).await;
        assert_eq!(answer.told(), expected, "{}", answer.text());
    }
    let kept = rig.ask(Ask::new("GET", "/bucket?tagging")).await;
    assert_eq!(kept.text().matches("<Tag>").count(), 50);
    assert_eq!(rig.ask(Ask::new("DELETE", "/bucket?tagging")).await.told(), "204");
    assert_eq!(rig.ask(Ask::new("GET", "/bucket?tagging")).await.told(), "404 NoSuchTagSet");
    rig.stop().await;
}
