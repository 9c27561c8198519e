//! The table of what is refused: inputs of every kind with their exact answers, and nothing visible afterwards.
//!
//! Beside it stand `bad_input` (connections, raw heads, overload) and `browsers` (forms, counted here too).

use crate::browsers::bad_forms;
use crate::http::{Ask, exchange};
use crate::rig::Rig;
use crate::sign::{ACCESS_KEY, SECRET_KEY, Signer, hex, sha256};

/// There must be so many: a case is added, never lost.
const CASES_MIN: usize = 300;

type Cases = Vec<(Ask, &'static str)>;

fn put() -> Ask {
    Ask::new("PUT", "/bucket/k").body(b"hello")
}

/// Requests that the root key signs as they are.
fn signed() -> Cases {
    [names(), queries(), headers(), digests(), documents(), parts(), copies(), conditions_and_ranges()]
        .concat()
}

fn names() -> Cases {
    let long = "a".repeat(64);
    let buckets =
        ["a", "ab", &long, "A_b", "1.2.3.4", "a..b", "-ab", "ab-", "xn--x", "x-s3alias", "x--ol-s3", "a%20b"];
    let mut cases: Cases = buckets
        .iter()
        .map(|name| (Ask::new("PUT", &format!("/{name}")).body(b""), "400 InvalidBucketName"))
        .collect();
    let key = |key: &str| Ask::new("PUT", &format!("/bucket/{key}")).body(b"x");
    cases.extend([
        (key(&"k".repeat(1025)), "400 KeyTooLongError"),
        (key(&"%C3%BC".repeat(513)), "400 KeyTooLongError"),
        (key("%FF"), "400 InvalidURI"),
        (key("%zz"), "400 InvalidURI"),
        (key("a%"), "400 InvalidURI"),
        (key("a%2"), "400 InvalidURI"),
        (key("%00"), "400 InvalidURI"),
        (key("a%00b"), "400 InvalidURI"),
        (key("%C3%28"), "400 InvalidURI"),
        (Ask::new("PUT", "/A_b/k").body(b"x"), "400 InvalidBucketName"),
        (Ask::new("PUT", "/nowhere/k").body(b"x"), "404 NoSuchBucket"),
        (Ask::new("GET", "/nowhere/k"), "404 NoSuchBucket"),
        (Ask::new("DELETE", "/nowhere/k"), "404 NoSuchBucket"),
        (Ask::new("GET", "/bucket/..%2F..%2Fetc%2Fpasswd"), "404 NoSuchKey"),
        (Ask::new("TRACE", "/bucket/k"), "405 MethodNotAllowed"),
        (Ask::new("PATCH", "/bucket/k"), "501 NotImplemented"),
        (Ask::new("POST", "/bucket/k").body(b""), "501 NotImplemented"),
    ]);
    cases
}

fn queries() -> Cases {
    let get = |query: &str| Ask::new("GET", &format!("/bucket?{query}"));
    let object = |query: &str| Ask::new("GET", &format!("/bucket/none?{query}"));
    let mut cases: Cases = vec![
        (get("list-type=2&max-keys=-1"), "400 InvalidArgument"),
        (get("list-type=2&max-keys=abc"), "400 InvalidArgument"),
        (get("list-type=2&max-keys=99999999999"), "400 InvalidArgument"),
        (get("list-type=2&encoding-type=hex"), "400 InvalidArgument"),
        (get("list-type=2&continuation-token=forged"), "400 InvalidArgument"),
        (get("max-keys=-1"), "400 InvalidArgument"),
        (get("versions&max-keys=-1"), "400 InvalidArgument"),
        (get("versions&version-id-marker=x"), "400 InvalidArgument"),
        (get("uploads&max-uploads=-1"), "400 InvalidArgument"),
        (get("uploads&encoding-type=hex"), "400 InvalidArgument"),
        (Ask::new("GET", "/?max-buckets=0"), "400 InvalidArgument"),
        (Ask::new("GET", "/?max-buckets=10001"), "400 InvalidArgument"),
        (Ask::new("GET", "/?continuation-token=forged"), "400 InvalidArgument"),
        (object("versionId=zz"), "400 InvalidArgument"),
        (object("versionId=00000000000000000000000000000000"), "400 InvalidArgument"),
        (object("versionId=00000000000000000000000000000001"), "404 NoSuchVersion"),
        (object("versionId=null"), "404 NoSuchVersion"),
        (object("partNumber=0"), "404 NoSuchKey"),
        (object("partNumber=abc"), "400 InvalidArgument"),
        (object("uploadId=zz"), "404 NoSuchUpload"),
        (object("attributes"), "400 InvalidRequest"),
    ];
    let missing = ["inventory", "analytics", "metrics", "intelligent-tiering", "metadataTable"];
    cases.extend(missing.iter().map(|name| (get(&format!("{name}&id=x")), "501 NotImplemented")));
    let unset = [
        "lifecycle",
        "policy",
        "website",
        "replication",
        "logging",
        "notification",
        "accelerate",
        "object-lock",
    ];
    let set = |name: &&str| (Ask::new("PUT", &format!("/bucket?{name}")).body(b"<X/>"), "501 NotImplemented");
    cases.extend(unset.iter().map(set));
    let of_object = ["retention", "legal-hold"];
    cases.extend(
        of_object
            .iter()
            .map(|name| (Ask::new("PUT", &format!("/bucket/k?{name}")).body(b"<X/>"), "501 NotImplemented")),
    );
    cases.push((Ask::new("POST", "/bucket/k?restore").body(b""), "501 NotImplemented"));
    cases.push((Ask::new("POST", "/bucket/k?select&select-type=2").body(b"<X/>"), "501 NotImplemented"));
    cases
}

fn headers() -> Cases {
    let with = |name: &str, value: &str| put().header(name, value);
    let tags: String = (0..11).map(|n| format!("k{n}=v&")).collect();
    vec![
        (with("x-amz-acl", "public-read"), "400 AccessControlListNotSupported"),
        (with("x-amz-acl", "authenticated-read"), "400 AccessControlListNotSupported"),
        (with("x-amz-grant-read", "id=x"), "400 AccessControlListNotSupported"),
        (with("x-amz-grant-full-control", "id=x"), "400 AccessControlListNotSupported"),
        (with("x-amz-storage-class", "GLACIER"), "400 InvalidStorageClass"),
        (with("x-amz-storage-class", "NONSENSE"), "400 InvalidStorageClass"),
        (with("x-amz-server-side-encryption", "aws:kms"), "501 NotImplemented"),
        (with("x-amz-server-side-encryption", "ROT13"), "501 NotImplemented"),
        (with("x-amz-server-side-encryption-aws-kms-key-id", "k"), "501 NotImplemented"),
        (with("x-amz-server-side-encryption-customer-algorithm", "AES256"), "501 NotImplemented"),
        (with("x-amz-object-lock-mode", "COMPLIANCE"), "501 NotImplemented"),
        (with("x-amz-object-lock-legal-hold", "ON"), "501 NotImplemented"),
        (with("x-amz-write-offset-bytes", "1"), "501 NotImplemented"),
        (with("x-amz-meta-a", &"x".repeat(2048)), "400 MetadataTooLarge"),
        (with("x-amz-tagging", "a=1&a=2"), "400 InvalidTag"),
        (with("x-amz-tagging", "aws:a=1"), "400 InvalidTag"),
        (with("x-amz-tagging", &tags), "400 InvalidTag"),
        (with("x-amz-tagging", "a=%zz"), "400 InvalidArgument"),
        (with("x-amz-expected-bucket-owner", "somebody"), "403 AccessDenied"),
        (Ask::new("PUT", "/bucket/k"), "411 MissingContentLength"),
        (put().header("range", "bytes=0-1").header("range", "bytes=1-2"), "400 InvalidArgument"),
        (put().header("x-amz-date", "20300101T000000Z"), "403 SignatureDoesNotMatch"),
        (put().header("x-amz-date", "tomorrow"), "400 InvalidRequest"),
        (Ask::new("PUT", "/bucket/k").header("content-length", "5368709121"), "400 EntityTooLarge"),
        (
            Ask::new("PUT", "/fresh").header("x-amz-bucket-object-lock-enabled", "true").body(b""),
            "501 NotImplemented",
        ),
        (
            Ask::new("PUT", "/fresh").header("x-amz-acl", "public-read").body(b""),
            "400 AccessControlListNotSupported",
        ),
    ]
}

fn digests() -> Cases {
    let with = |name: &str, value: &str| put().header(name, value);
    let other = hex(&sha256(b"other"));
    let two = put().header("x-amz-checksum-crc32", "NhCmhg==").header("x-amz-checksum-crc32c", "mnG7TA==");
    vec![
        (with("x-amz-content-sha256", &other), "400 XAmzContentSHA256Mismatch"),
        (with("x-amz-content-sha256", "zz"), "400 InvalidArgument"),
        (with("x-amz-content-sha256", ""), "400 InvalidArgument"),
        (with("x-amz-content-sha256", "STREAMING-NONSENSE"), "400 InvalidArgument"),
        (with("x-amz-content-sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"), "400 InvalidRequest"),
        (with("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), "411 MissingContentLength"),
        (with("content-md5", "zz"), "400 InvalidDigest"),
        (with("content-md5", "AAAA"), "400 InvalidDigest"),
        (with("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="), "400 BadDigest"),
        (with("x-amz-checksum-crc32", "AAAAAA=="), "400 BadDigest"),
        (with("x-amz-checksum-crc32c", "AAAAAA=="), "400 BadDigest"),
        (with("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="), "400 BadDigest"),
        (with("x-amz-checksum-sha1", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="), "400 BadDigest"),
        (with("x-amz-checksum-sha256", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), "400 BadDigest"),
        (with("x-amz-checksum-crc32", "zz"), "400 InvalidRequest"),
        (with("x-amz-checksum-sha256", "AAAAAA=="), "400 InvalidRequest"),
        (with("x-amz-checksum-sha512", "AAAAAA=="), "400 InvalidRequest"),
        (with("x-amz-sdk-checksum-algorithm", "MD2"), "400 InvalidRequest"),
        (two, "400 InvalidRequest"),
        (with("x-amz-trailer", "x-amz-checksum-md2"), "400 InvalidRequest"),
    ]
}

fn documents() -> Cases {
    let xml = |target: &str, text: &str| Ask::new("PUT", target).body(text.as_bytes());
    let versioning = |text: &str| xml("/bucket?versioning", text);
    let deep = "<a>".repeat(10_000);
    let wide: String = (0..20_000).map(|n| format!(" a{n}=\"x\"")).collect();
    let laughs = "<!DOCTYPE l [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\">]><VersioningConfiguration>&b;</VersioningConfiguration>";
    let external = "<!DOCTYPE l SYSTEM \"file:///etc/passwd\"><VersioningConfiguration/>";
    let delete = |text: &str| {
        let md5 = base64_simd::STANDARD
            .encode_to_string(<s3s::crypto::Md5 as s3s::crypto::Checksum>::checksum(text.as_bytes()));
        Ask::new("POST", "/bucket?delete").header("content-md5", &md5).body(text.as_bytes())
    };
    let many = format!("<Delete>{}</Delete>", "<Object><Key>k</Key></Object>".repeat(1001));
    vec![
        (versioning(""), "400 MissingRequestBodyError"),
        (versioning("nonsense"), "400 MalformedXML"),
        (versioning("<VersioningConfiguration>"), "400 MalformedXML"),
        (versioning("<VersioningConfiguration/>"), "400 MalformedXML"),
        (versioning("<Other/>"), "400 MalformedXML"),
        (
            versioning("<VersioningConfiguration><Status>On</Status></VersioningConfiguration>"),
            "400 MalformedXML",
        ),
        (versioning(laughs), "400 MalformedXML"),
        (versioning(external), "400 MalformedXML"),
        (versioning(&deep), "400 MalformedXML"),
        (versioning(&format!("<VersioningConfiguration{wide}>")), "400 MalformedXML"),
        (versioning("\u{feff}<"), "400 MalformedXML"),
        (Ask::new("PUT", "/bucket?versioning").body(b"\xff\xfe<\0a\0>\0"), "400 MalformedXML"),
        (Ask::new("PUT", "/bucket?versioning").header("content-length", "99999999"), "400 MalformedXML"),
        (xml("/bucket?tagging", "<Tagging/>"), "400 MalformedXML"),
        (xml("/bucket/k?tagging", "<Tagging>"), "400 MalformedXML"),
        (xml("/bucket?cors", "<CORSConfiguration/>"), "400 MalformedXML"),
        (xml("/fresh", "<CreateBucketConfiguration>"), "400 MalformedXML"),
        (
            xml(
                "/fresh",
                "<CreateBucketConfiguration><LocationConstraint>mars</LocationConstraint></CreateBucketConfiguration>",
            ),
            "400 InvalidLocationConstraint",
        ),
        (delete("<Delete></Delete>"), "400 MalformedXML"),
        (delete(&many), "400 MalformedXML"),
        (Ask::new("POST", "/bucket?delete").body(b"<Delete/>"), "400 InvalidRequest"),
        (delete("<Delete><Object></Object></Delete>"), "400 MalformedXML"),
    ]
}

fn parts() -> Cases {
    let upload = "00000000000000000000000000000001";
    let part = |number: &str, upload: &str| {
        Ask::new("PUT", &format!("/bucket/k?partNumber={number}&uploadId={upload}")).body(b"x")
    };
    let complete = |xml: &str| Ask::new("POST", &format!("/bucket/k?uploadId={upload}")).body(xml.as_bytes());
    let list = |parts: &str| complete(&format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"));
    let start = |name: &str, value: &str| Ask::new("POST", "/bucket/k?uploads").header(name, value).body(b"");
    vec![
        (part("0", upload), "400 InvalidArgument"),
        (part("10001", upload), "400 InvalidArgument"),
        (part("-1", upload), "400 InvalidArgument"),
        (part("1e3", upload), "400 InvalidArgument"),
        (part("1", upload), "404 NoSuchUpload"),
        (part("1", "zz"), "404 NoSuchUpload"),
        (part("1", ""), "404 NoSuchUpload"),
        (complete(""), "400 MalformedXML"),
        (complete("<CompleteMultipartUpload/>"), "400 MalformedXML"),
        (list("<Part><PartNumber>1</PartNumber></Part>"), "400 MalformedXML"),
        (list("<Part><PartNumber>0</PartNumber><ETag>\"x\"</ETag></Part>"), "400 InvalidArgument"),
        (list("<Part><PartNumber>1</PartNumber><ETag>\"x\"</ETag></Part>"), "400 InvalidPart"),
        (
            list("<Part><PartNumber>1</PartNumber><ETag>5d41402abc4b2a76b9719d911017c592</ETag></Part>"),
            "404 NoSuchUpload",
        ),
        (Ask::new("DELETE", &format!("/bucket/k?uploadId={upload}")), "404 NoSuchUpload"),
        (Ask::new("GET", &format!("/bucket/k?uploadId={upload}")), "404 NoSuchUpload"),
        (Ask::new("GET", &format!("/bucket/k?uploadId={upload}&max-parts=-1")), "400 InvalidArgument"),
        (start("x-amz-acl", "public-read"), "400 AccessControlListNotSupported"),
        (start("x-amz-checksum-algorithm", "MD2"), "400 InvalidRequest"),
        (start("x-amz-checksum-type", "FULL_OBJECT"), "400 InvalidRequest"),
        (
            start("x-amz-checksum-algorithm", "SHA1").header("x-amz-checksum-type", "FULL_OBJECT"),
            "400 InvalidRequest",
        ),
        (start("x-amz-tagging", "a=1&a=1"), "400 InvalidTag"),
    ]
}

fn copies() -> Cases {
    let copy = |source: &str| Ask::new("PUT", "/bucket/to").header("x-amz-copy-source", source).body(b"");
    let part = |range: &str| {
        let target = "/bucket/to?partNumber=1&uploadId=00000000000000000000000000000001";
        let ask = Ask::new("PUT", target).header("x-amz-copy-source", "bucket/there");
        ask.header("x-amz-copy-source-range", range).body(b"")
    };
    vec![
        (copy(""), "400 InvalidArgument"),
        (copy("bucket"), "400 InvalidArgument"),
        (copy("/"), "400 InvalidArgument"),
        (copy("bucket/none"), "404 NoSuchKey"),
        (copy("nowhere/k"), "404 NoSuchBucket"),
        (copy("bucket/there%252F"), "404 NoSuchKey"),
        (copy("bucket/there?versionId=zz"), "400 InvalidArgument"),
        (copy("bucket/there?versionId=00000000000000000000000000000001"), "404 NoSuchVersion"),
        (copy("bucket/there").header("x-amz-metadata-directive", "KEEP"), "400 InvalidArgument"),
        (copy("bucket/there").header("x-amz-tagging-directive", "KEEP"), "400 InvalidArgument"),
        (copy("bucket/there").header("x-amz-tagging", "a=1"), "400 InvalidArgument"),
        (copy("bucket/there").header("x-amz-copy-source-if-match", "\"x\""), "412 PreconditionFailed"),
        (copy("bucket/there").header("x-amz-source-expected-bucket-owner", "me"), "403 AccessDenied"),
        (copy("bucket/there").header("x-amz-checksum-algorithm", "MD2"), "400 InvalidRequest"),
        (
            Ask::new("PUT", "/bucket/there").header("x-amz-copy-source", "bucket/there").body(b""),
            "400 InvalidRequest",
        ),
        (part("bytes=0-0"), "404 NoSuchUpload"),
        (part("bytes=0-99"), "416 InvalidRange"),
        (part("0-1"), "400 InvalidArgument"),
        (part("bytes=1-0"), "400 InvalidArgument"),
    ]
}

fn conditions_and_ranges() -> Cases {
    let get = |name: &str, value: &str| Ask::new("GET", "/bucket/there").header(name, value);
    let write = |name: &str, value: &str| put().header(name, value);
    vec![
        (get("range", "bytes=5-2"), "416 InvalidRange"),
        (get("range", "bytes=1-"), "416 InvalidRange"),
        (get("range", "bytes=99999999999999999999-"), "416 InvalidRange"),
        (get("range", "bytes=-0"), "416 InvalidRange"),
        (get("range", "bytes=0-0,1-1"), "416 InvalidRange"),
        (get("if-match", "\"x\""), "412 PreconditionFailed"),
        (get("if-unmodified-since", "Fri, 01 Jan 2010 00:00:00 GMT"), "412 PreconditionFailed"),
        (write("if-match", "*"), "404 NoSuchKey"),
        (write("if-match", "\"x\""), "404 NoSuchKey"),
        (Ask::new("PUT", "/bucket/there").header("if-none-match", "*").body(b"x"), "412 PreconditionFailed"),
        (Ask::new("DELETE", "/bucket/there").header("if-match", "\"x\""), "412 PreconditionFailed"),
        (Ask::new("GET", "/bucket/there?partNumber=2"), "416 InvalidPartNumber"),
        (Ask::new("GET", "/bucket/there?partNumber=0"), "400 InvalidArgument"),
    ]
}

/// Requests that bring their own signature, or none, or a wrong one.
fn by_themselves(at: std::net::SocketAddr, framed_bytes: Option<u64>) -> Cases {
    [in_header(at), in_url(at), framed(at, framed_bytes)].concat()
}

fn in_header(at: std::net::SocketAddr) -> Cases {
    let root = Signer::root();
    let get = || Ask::new("GET", "/bucket/there");
    let authorised = |value: &str| {
        let hash = hex(&sha256(b""));
        let ask =
            get().host(at).header("x-amz-date", "20300101T000000Z").header("x-amz-content-sha256", &hash);
        ask.header("authorization", value)
    };
    let made = |credential: &str, headers: &str, signature: &str| {
        authorised(&format!(
            "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={headers}, Signature={signature}"
        ))
    };
    let (scope, names, zeros) = (
        "ROOTKEY/20300101/us-east-1/s3/aws4_request",
        "host;x-amz-content-sha256;x-amz-date",
        "0".repeat(64),
    );
    let by = |key: &str, secret: &str| Signer::with(key, secret).sign(get(), at);
    let region = |region: &str| Signer { region: region.into(), ..root.clone() }.sign(get(), at);
    let skewed = |skew_s: i64| Signer { skew_s, ..root.clone() }.sign(get(), at);
    let changed = |change: fn(&mut Ask)| {
        let mut ask = Signer::root().sign(get(), at);
        change(&mut ask);
        ask
    };
    let malformed = "400 AuthorizationHeaderMalformed";
    vec![
        (get(), "403 AccessDenied"),
        (authorised(""), "400 InvalidRequest"),
        (authorised("Basic cm9vdDpyb290"), "400 InvalidRequest"),
        (authorised("AWS ROOTKEY:c2ln"), "400 InvalidRequest"),
        (authorised("AWS4-HMAC-SHA1 Credential=x"), "400 InvalidRequest"),
        (authorised("AWS4-ECDSA-P256-SHA256 Credential=x"), "400 InvalidRequest"),
        (authorised("AWS4-HMAC-SHA256"), "400 InvalidRequest"),
        (authorised("AWS4-HMAC-SHA256 x"), malformed),
        (authorised(&format!("AWS4-HMAC-SHA256 Credential={scope}")), malformed),
        (authorised(&format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={names}")), malformed),
        (made("", names, &zeros), malformed),
        (made("ROOTKEY", names, &zeros), malformed),
        (made("ROOTKEY/20300101/us-east-1/s3", names, &zeros), malformed),
        (made("ROOTKEY/2030/us-east-1/s3/aws4_request", names, &zeros), malformed),
        (made("/20300101/us-east-1/s3/aws4_request", names, &zeros), malformed),
        (made("ROOTKEY/20300101/us-east-1/s3/aws5_request", names, &zeros), malformed),
        (made("ROOTKEY/20300101/us-east-1/ec2/aws4_request", names, &zeros), malformed),
        (made("ROOTKEY/20300101/mars/s3/aws4_request", names, &zeros), malformed),
        (made(scope, names, "zz"), malformed),
        (made(scope, names, &"z".repeat(64)), malformed),
        (made(scope, "x-amz-content-sha256;x-amz-date", &zeros), "403 AccessDenied"),
        (made(scope, "host", &zeros), "403 AccessDenied"),
        (by("NOBODY", SECRET_KEY), "403 InvalidAccessKeyId"),
        (by(ACCESS_KEY, "wrong"), "403 SignatureDoesNotMatch"),
        (by(ACCESS_KEY, ""), "403 SignatureDoesNotMatch"),
        (region("eu-west-1"), malformed),
        (skewed(-16 * 60), "403 RequestTimeTooSkewed"),
        (skewed(16 * 60), "403 RequestTimeTooSkewed"),
        (changed(|ask| ask.target = "/bucket/ther%66".into()), "403 SignatureDoesNotMatch"),
        (changed(|ask| ask.target = "/bucket/other".into()), "403 SignatureDoesNotMatch"),
        (changed(|ask| ask.target.push_str("?acl")), "403 SignatureDoesNotMatch"),
        (changed(|ask| ask.method = "DELETE".into()), "403 SignatureDoesNotMatch"),
        (changed(|ask| ask.headers.push(("x-amz-meta-late".into(), "1".into()))), "403 AccessDenied"),
        (changed(|ask| ask.headers.retain(|(name, _)| name != "x-amz-date")), "403 AccessDenied"),
        (changed(|ask| ask.headers.retain(|(name, _)| name != "x-amz-content-sha256")), "400 InvalidRequest"),
        (root.presign(root.sign(get(), at), at, 60), "400 InvalidArgument"),
    ]
}

fn in_url(at: std::net::SocketAddr) -> Cases {
    let root = Signer::root();
    let get = || Ask::new("GET", "/bucket/there");
    let presigned = || Signer::root().presign(get(), at, 60);
    let swapped = |from: &str, to: &str| {
        let mut ask = presigned();
        assert!(ask.target.contains(from), "{from}");
        ask.target = ask.target.replace(from, to);
        ask
    };
    let without = |name: &str| {
        let mut ask = presigned();
        let (path, query) = ask.target.split_once('?').expect("a query");
        let kept: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with(name)).collect();
        ask.target = format!("{path}?{}", kept.join("&"));
        ask
    };
    let wrong = "400 AuthorizationQueryParametersError";
    let mut cases = vec![
        (root.presign(get(), at, 0), wrong),
        (root.presign(get(), at, 604_801), wrong),
        (swapped("X-Amz-Expires=60", "X-Amz-Expires=-1"), wrong),
        (swapped("X-Amz-Expires=60", "X-Amz-Expires=abc"), wrong),
        (swapped("X-Amz-Expires=60", "X-Amz-Expires=61"), "403 SignatureDoesNotMatch"),
        (swapped("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"), "400 InvalidRequest"),
        (swapped("us-east-1", "mars"), wrong),
        (swapped("%2Fs3%2F", "%2Fec2%2F"), wrong),
        (swapped("ROOTKEY", "NOBODY"), "403 InvalidAccessKeyId"),
        (swapped("/bucket/there", "/bucket/other"), "403 SignatureDoesNotMatch"),
        (Ask { method: "DELETE".into(), ..presigned() }, "403 SignatureDoesNotMatch"),
        (Signer { skew_s: -100, ..root.clone() }.presign(get(), at, 60), "403 AccessDenied"),
        (Ask::new("GET", "/bucket/there?AWSAccessKeyId=A&Signature=B&Expires=1"), "400 InvalidRequest"),
        (presigned().header("x-amz-meta-late", "1"), "403 AccessDenied"),
    ];
    for name in ["X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders"] {
        cases.push((without(name), wrong));
    }
    cases
}

/// Framed bodies; they announce their length, or another one that they are to have.
fn framed(at: std::net::SocketAddr, framed_bytes: Option<u64>) -> Cases {
    let root = Signer::root();
    let stream = |kind: &str, target: &str, decoded: usize, body: &[u8]| {
        let ask = Ask::new("PUT", target)
            .header("x-amz-content-sha256", kind)
            .header("x-amz-decoded-content-length", &decoded.to_string())
            .header("content-encoding", "aws-chunked")
            .header("content-length", &framed_bytes.unwrap_or(body.len() as u64).to_string());
        let ask =
            if kind.ends_with("TRAILER") { ask.header("x-amz-trailer", "x-amz-checksum-crc32") } else { ask };
        Ask { body: body.to_vec(), ..root.sign(ask, at) }
    };
    let unsigned = |body: &str| stream("STREAMING-UNSIGNED-PAYLOAD-TRAILER", "/bucket/k", 5, body.as_bytes());
    let signed = |body: &str| stream("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "/bucket/k", 5, body.as_bytes());
    let zeros = "0".repeat(64);
    let mut cases = vec![
        (unsigned(""), "400 IncompleteBody"),
        (unsigned("5\r\nhello\r\n"), "400 IncompleteBody"),
        (unsigned("5\r\nhello\r\n0\r\n\r\n"), "400 MalformedTrailerError"),
        (unsigned("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"), "400 BadDigest"),
        (unsigned("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:zz\r\n\r\n"), "400 MalformedTrailerError"),
        (unsigned("5\r\nhello\r\n0\r\nx-amz-checksum-sha1:AAAA\r\n\r\n"), "400 MalformedTrailerError"),
        (unsigned("-1\r\nhello\r\n0\r\n\r\n"), "400 InvalidRequest"),
        (unsigned("0x5\r\nhello\r\n0\r\n\r\n"), "400 InvalidRequest"),
        (unsigned("8000000000000000\r\nhello\r\n"), "400 IncompleteBody"),
        (unsigned("00000000000000005\r\nhello\r\n"), "400 InvalidRequest"),
        (unsigned("zz\r\nhello\r\n"), "400 InvalidRequest"),
        (unsigned("5\nhello\n0\n\n"), "400 InvalidRequest"),
        (unsigned("5\r\nhelloX"), "400 InvalidRequest"),
        (unsigned("6\r\nhello!\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"), "400 IncompleteBody"),
        (unsigned("4\r\nhell\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"), "400 IncompleteBody"),
        (signed("5\r\nhello\r\n0\r\n\r\n"), "400 InvalidRequest"),
        (signed("5;chunk-signature=zz\r\nhello\r\n"), "400 InvalidRequest"),
        (
            signed(&format!("5;chunk-signature={zeros}\r\nhello\r\n0;chunk-signature={zeros}\r\n\r\n")),
            "403 SignatureDoesNotMatch",
        ),
        (signed(&format!("2000000;chunk-signature={zeros}\r\n")), "400 IncompleteBody"),
    ];
    // An unsigned body under a forged signature, on every route that takes one.
    for target in [
        "/bucket/k",
        "/bucket/k?partNumber=1&uploadId=x",
        "/bucket/k?tagging",
        "/bucket?versioning",
        "/fresh",
    ] {
        let mut ask = stream("STREAMING-UNSIGNED-PAYLOAD-TRAILER", target, 5, b"5\r\nhello\r\n0\r\n\r\n");
        let forged = |(name, value): (String, String)| {
            let value = if name == "authorization" {
                format!("{}{zeros}", &value[..value.len() - 64])
            } else {
                value
            };
            (name, value)
        };
        ask.headers = ask.headers.into_iter().map(forged).collect();
        let is_data = target.starts_with("/bucket/k") && !target.contains("tagging");
        cases.push((ask, if is_data { "403 SignatureDoesNotMatch" } else { "400 InvalidRequest" }));
    }
    cases
}

/// All of the table: the request, whether the root key is still to sign it, and what it is told.
pub fn every_case(at: std::net::SocketAddr, framed_bytes: Option<u64>) -> Vec<(Ask, bool, &'static str)> {
    let to_sign = signed().into_iter().map(|(ask, expected)| (ask, true, expected));
    let own = by_themselves(at, framed_bytes).into_iter().chain(bad_forms());
    to_sign.chain(own.map(|(ask, expected)| (ask, false, expected))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_in_the_table_is_refused_exactly_so_and_leaves_nothing() {
    let rig = Rig::new().await;
    rig.put("there", b"x").await;
    let cases = every_case(rig.address, None);
    assert!(cases.len() >= CASES_MIN, "only {} cases", cases.len());
    let mut wrong = vec![];
    for (ask, to_sign, expected) in cases {
        let ask = if to_sign { Signer::root().sign(ask, rig.address) } else { ask.host(rig.address) };
        let answer = exchange(rig.address, &ask).await;
        let shown: String =
            format!("{} {} {:?}", ask.method, ask.target, ask.headers).chars().take(600).collect();
        if answer.told() != expected {
            wrong.push(format!("{} instead of {expected}: {shown}", answer.told()));
        }
        let complete =
            answer.xml("RequestId").is_some() && answer.xml("Message").is_some_and(|text| text.len() > 10);
        assert!(complete || answer.status == 304, "{shown}: {}", answer.text());
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    let listed = rig.ask(Ask::new("GET", "/bucket?list-type=2")).await;
    assert_eq!(listed.text().matches("<Contents>").count(), 1, "{}", listed.text());
    let uploads = rig.ask(Ask::new("GET", "/bucket?uploads")).await;
    assert!(!uploads.text().contains("<Upload>"), "{}", uploads.text());
    let buckets = rig.ask(Ask::new("GET", "/")).await;
    assert_eq!(buckets.text().matches("<Bucket>").count(), 1, "{}", buckets.text());
    assert_eq!(rig.ask(Ask::new("GET", "/bucket?versioning")).await.xml("Status"), None);
    rig.stop().await;
}
