//! Browsers: questions across origins, and forms.

use crate::http::{Answer, Ask};
use crate::rig::Rig;
use crate::sign::{ACCESS_KEY, LOW_KEY, LOW_SECRET, SECRET_KEY, Signer};

const RULES: &str = "<CORSConfiguration>\
    <CORSRule><ID>one</ID><AllowedOrigin>https://*.example.com</AllowedOrigin><AllowedMethod>GET</AllowedMethod>\
    <AllowedMethod>PUT</AllowedMethod><AllowedHeader>*</AllowedHeader><ExposeHeader>ETag</ExposeHeader>\
    <MaxAgeSeconds>60</MaxAgeSeconds></CORSRule>\
    <CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>HEAD</AllowedMethod></CORSRule></CORSConfiguration>";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_across_origins_are_kept_and_told() {
    let rig = Rig::new().await;
    rig.put("k", b"x").await;
    let set = rig.ask(Ask::new("PUT", "/bucket?cors").body(RULES.as_bytes())).await;
    assert_eq!(set.told(), "200", "{}", set.text());
    let kept = rig.ask(Ask::new("GET", "/bucket?cors")).await;
    assert_eq!(kept.text().matches("<CORSRule>").count(), 2);
    assert_eq!((kept.xml("ID").as_deref(), kept.xml("MaxAgeSeconds").as_deref()), (Some("one"), Some("60")));
    let preflight = |origin: &str, method: &str| {
        Ask::new("OPTIONS", "/bucket/k")
            .header("origin", origin)
            .header("access-control-request-method", method)
    };
    let virtual_host = preflight("https://a.example.com", "GET").header("host", "bucket.s3.test");
    let headers =
        preflight("https://a.example.com", "PUT").header("access-control-request-headers", "X-Amz-Date");
    let nowhere = Ask { target: "/nowhere/k".into(), ..preflight("https://a.example.com", "GET") };
    let cases = [
        (preflight("https://a.example.com", "GET"), "200", Some("https://a.example.com")),
        (
            Ask { target: virtual_host.target.replace("/bucket", ""), ..virtual_host },
            "200",
            Some("https://a.example.com"),
        ),
        (headers, "200", Some("https://a.example.com")),
        (preflight("https://a.example.com", "DELETE"), "403 AccessForbidden", None),
        (preflight("https://evil.org", "GET"), "403 AccessForbidden", None),
        (preflight("https://evil.org", "HEAD"), "200", Some("*")),
        (nowhere, "403 AccessForbidden", None),
        (Ask::new("OPTIONS", "/bucket/k"), "400 BadRequest", None),
        (Ask::new("OPTIONS", "/bucket/k").header("origin", "https://a.example.com"), "400 BadRequest", None),
    ];
    for (ask, expected, origin) in cases {
        let shown = format!("{} {:?}", ask.target, ask.headers);
        let answer = rig.ask_raw(ask).await;
        assert_eq!(answer.told(), expected, "{shown}");
        assert_eq!(answer.get("access-control-allow-origin"), origin, "{shown}");
    }
    let from = |method: &str, target: &str, origin: &str| Ask::new(method, target).header("origin", origin);
    for (ask, told, origin) in [
        (from("GET", "/bucket/k", "https://a.example.com"), "200", Some("https://a.example.com")),
        (
            from("GET", "/bucket/none", "https://a.example.com"),
            "404 NoSuchKey",
            Some("https://a.example.com"),
        ),
        (from("GET", "/bucket/k", "https://evil.org"), "200", None),
        (from("HEAD", "/bucket/k", "https://evil.org"), "200", Some("*")),
    ] {
        let answer = rig.ask(ask).await;
        assert_eq!((answer.told().as_str(), answer.get("access-control-allow-origin")), (told, origin));
        let exposed = origin.filter(|origin| *origin != "*").map(|_| "ETag");
        assert_eq!(answer.get("access-control-expose-headers"), exposed);
    }
    for bad in ["<CORSConfiguration/>", "<CORSConfiguration>", &RULES.replace("GET", "PATCH")] {
        let refused = rig.ask(Ask::new("PUT", "/bucket?cors").body(bad.as_bytes())).await;
        assert_eq!(refused.status, 400, "{bad} {}", refused.text());
    }
    assert_eq!(rig.ask(Ask::new("DELETE", "/bucket?cors")).await.told(), "204");
    assert_eq!(rig.ask_raw(preflight("https://a.example.com", "GET")).await.told(), "403 AccessForbidden");
    rig.stop().await;
}

/// A form as a browser writes it.
struct Sheet {
    signer: Signer,
    conditions: String,
    expiration: &'static str,
    fields: Vec<(String, String)>,
    file: Vec<u8>,
    file_name: &'static str,
    unsigned: bool,
}

impl Sheet {
    fn new() -> Self {
        Self {
            signer: Signer::with(ACCESS_KEY, SECRET_KEY),
            conditions: "{\"bucket\": \"bucket\"}, [\"starts-with\", \"$key\", \"up/\"]".into(),
            expiration: "2100-01-01T00:00:00Z",
            fields: vec![("key".into(), "up/k".into())],
            file: b"a file".to_vec(),
            file_name: "my file.txt",
            unsigned: false,
        }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(known, _)| known != name);
        self.fields.push((name.into(), value.into()));
        self
    }

    /// With a field that the policy allows.
    fn allowed(mut self, name: &str, value: &str) -> Self {
        self.conditions.push_str(&format!(", [\"eq\", \"${name}\", \"{value}\"]"));
        self.with(name, value)
    }

    fn condition(mut self, condition: &str) -> Self {
        self.conditions.push_str(&format!(", {condition}"));
        self
    }

    /// The form's bytes, signed.
    fn body(&self) -> Vec<u8> {
        let (credential, date) = self.signer.form_credential();
        let signing = [
            ("x-amz-algorithm", "AWS4-HMAC-SHA256".to_owned()),
            ("x-amz-credential", credential),
            ("x-amz-date", date),
        ];
        let named: String =
            signing.iter().map(|(name, value)| format!(", {{\"{name}\": \"{value}\"}}")).collect();
        let policy = format!(
            "{{\"expiration\": \"{}\", \"conditions\": [{}{named}]}}",
            self.expiration, self.conditions
        );
        let policy = base64_simd::STANDARD.encode_to_string(policy);
        let mut fields = self.fields.clone();
        if !self.unsigned {
            fields.extend(signing.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
            fields.push(("X-Amz-Signature".into(), self.signer.form_signature(&policy)));
            fields.push(("Policy".into(), policy));
        }
        // What a test gives stands in place of what would be right.
        let mut body = Vec::new();
        for (at, (name, value)) in fields.iter().enumerate() {
            if fields[..at].iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                continue;
            }
            body.extend_from_slice(
                format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
                    .as_bytes(),
            );
        }
        let head = format!(
            "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\nContent-Type: text/plain\r\n\r\n",
            self.file_name
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&self.file);
        body.extend_from_slice(b"\r\n--B--\r\n");
        body
    }

    fn ask(&self) -> Ask {
        Ask::new("POST", "/bucket")
            .header("content-type", "multipart/form-data; boundary=B")
            .body(&self.body())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_uploads_what_its_policy_allows() {
    let rig = Rig::new().await;
    let plain = rig.ask_raw(Sheet::new().ask()).await;
    assert_eq!(plain.told(), "204", "{}", plain.text());
    let got = rig.get("up/k").await;
    assert_eq!(got.text().as_str(), "a file");
    assert_ne!(
        got.get("content-type"),
        Some("text/plain"),
        "no policy covers what the browser says of the file"
    );
    let nul = rig.ask_raw(Sheet::new().with("key", "up/\0").ask()).await;
    assert_eq!(nul.status, 400, "{}", nul.text());
    assert_eq!(plain.get("etag"), got.get("etag"));

    let named = Sheet::new().with("key", "up/${filename}").allowed("success_action_status", "201");
    let named = rig.ask_raw(named.ask()).await;
    assert_eq!(
        (named.status, named.xml("Key").as_deref()),
        (201, Some("up/my file.txt")),
        "{}",
        named.text()
    );
    assert_eq!(rig.get("up/my%20file.txt").await.text(), "a file");

    let told = Sheet::new().allowed("success_action_redirect", "https://example.com/done?x=1");
    let told = rig.ask_raw(told.ask()).await;
    assert_eq!(told.status, 303);
    let place = told.get("location").expect("told where");
    assert!(place.starts_with("https://example.com/done?x=1&bucket=bucket&key=up%2Fk&etag=%22"), "{place}");

    let dressed = Sheet::new()
        .allowed("Content-Type", "image/x")
        .allowed("x-amz-meta-colour", "red")
        .allowed("acl", "private")
        .allowed("x-amz-checksum-crc32", "NhCmhg==")
        .with("x-ignore-me", "whatever")
        .condition("[\"starts-with\", \"$tagging\", \"\"]")
        .with("tagging", "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>");
    let dressed = Sheet { file: b"hello".to_vec(), ..dressed };
    let answer = rig.ask_raw(dressed.ask()).await;
    assert_eq!(answer.told(), "204", "{}", answer.text());
    let got = rig.get("up/k").await;
    assert_eq!((got.get("content-type"), got.get("x-amz-meta-colour")), (Some("image/x"), Some("red")));
    assert_eq!(got.get("x-amz-tagging-count"), Some("1"));

    let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n ^ n >> 7) as u8).collect();
    let sheet = Sheet { file: large.clone(), ..Sheet::new() };
    let sheet = sheet.condition("[\"content-length-range\", 3000000, 3000000]");
    assert_eq!(rig.ask_raw(sheet.ask()).await.told(), "204");
    assert!(rig.get("up/k").await.body == large);

    let granted = Sheet { signer: Signer::granted("write:bucket/up/"), ..Sheet::new() };
    assert_eq!(rig.ask_raw(granted.ask()).await.told(), "204");
    let mut virtual_host = Sheet::new().ask().header("host", "bucket.s3.test");
    virtual_host.target = "/".into();
    assert_eq!(rig.ask_raw(virtual_host).await.told(), "204");
    rig.stop().await;
}

/// A form that is taken, with a file of that content.
pub(crate) fn good_form(file: &[u8]) -> Ask {
    Sheet { file: file.to_vec(), ..Sheet::new() }.ask()
}

/// Forms that must be refused, with the answer.
pub(crate) fn bad_forms() -> Vec<(Ask, &'static str)> {
    [badly_signed(), badly_written()].concat()
}

/// What is wrong with who signed what.
fn badly_signed() -> Vec<(Ask, &'static str)> {
    let new = Sheet::new;
    let unsigned = |sheet: Sheet| Sheet { unsigned: true, ..sheet };
    let by = |key: &str, secret: &str| Sheet { signer: Signer::with(key, secret), ..new() };
    let may = |grants: &str| Sheet { signer: Signer::granted(grants), ..new() };
    let elsewhere = Sheet { signer: Signer { region: "mars".into(), ..Signer::root() }, ..new() };
    vec![
        (unsigned(new()).ask(), "403 AccessDenied"),
        (unsigned(new()).with("policy", "e30=").ask(), "400 InvalidArgument"),
        (unsigned(new()).with("x-amz-signature", "00").ask(), "400 InvalidArgument"),
        (unsigned(new()).with("signature", "c2ln").with("AWSAccessKeyId", "A").ask(), "400 InvalidRequest"),
        (by("NOBODY", SECRET_KEY).ask(), "403 InvalidAccessKeyId"),
        (by(ACCESS_KEY, "wrong").ask(), "403 SignatureDoesNotMatch"),
        (by(LOW_KEY, LOW_SECRET).ask(), "403 AccessDenied"),
        (may("read:bucket").ask(), "403 AccessDenied"),
        (may("write:bucket/down/").ask(), "403 AccessDenied"),
        (may("write:other").ask(), "403 AccessDenied"),
        (elsewhere.ask(), "400 InvalidArgument"),
        (new().with("x-amz-algorithm", "AWS4-ECDSA-P256-SHA256").ask(), "400 InvalidRequest"),
        (new().with("x-amz-credential", "A/B").ask(), "400 InvalidArgument"),
        (new().with("x-amz-date", "yesterday").ask(), "400 InvalidArgument"),
        (new().with("X-Amz-Signature", &"0".repeat(64)).ask(), "403 SignatureDoesNotMatch"),
        (new().with("X-Amz-Signature", "zz").ask(), "403 SignatureDoesNotMatch"),
        (new().with("Policy", "e30=").ask(), "403 SignatureDoesNotMatch"),
        (Sheet { expiration: "2020-01-01T00:00:00Z", ..new() }.ask(), "403 AccessDenied"),
        (Sheet { expiration: "soon", ..new() }.ask(), "400 InvalidPolicyDocument"),
    ]
}

/// What is wrong with what the form says.
fn badly_written() -> Vec<(Ask, &'static str)> {
    let new = Sheet::new;
    let typed = |content_type: &str| {
        Ask::new("POST", "/bucket").header("content-type", content_type).body(&new().body())
    };
    let cut = |bytes: usize| {
        let body = new().body();
        Ask::new("POST", "/bucket")
            .header("content-type", "multipart/form-data; boundary=B")
            .body(&body[..body.len() - bytes])
    };
    let range =
        |low: u64, high: u64| new().condition(&format!("[\"content-length-range\", {low}, {high}]")).ask();
    vec![
        (new().condition("[\"frobs\", \"$key\", \"x\"]").ask(), "400 InvalidPolicyDocument"),
        (new().condition("{").ask(), "400 InvalidPolicyDocument"),
        (new().condition("{\"bucket\": \"other\"}").ask(), "403 AccessDenied"),
        (new().condition("{\"acl\": \"private\"}").ask(), "403 AccessDenied"),
        (new().with("x-amz-meta-extra", "1").ask(), "403 AccessDenied"),
        (new().with("key", "down/k").ask(), "403 AccessDenied"),
        (new().with("key", "").ask(), "403 AccessDenied"),
        (Sheet { file_name: "../../x", ..new().with("key", "${filename}") }.ask(), "403 AccessDenied"),
        (new().with("key", &format!("up/{}", "k".repeat(1030))).ask(), "400 KeyTooLongError"),
        (new().with("bucket", "other").ask(), "403 AccessDenied"),
        (range(0, 5), "400 EntityTooLarge"),
        (range(7, 100), "400 EntityTooSmall"),
        (range(9, 8), "400 InvalidPolicyDocument"),
        (new().allowed("acl", "public-read").ask(), "400 AccessControlListNotSupported"),
        (new().allowed("x-amz-storage-class", "GLACIER").ask(), "400 InvalidStorageClass"),
        (new().allowed("x-amz-checksum-crc32", "AAAAAA==").ask(), "400 BadDigest"),
        (new().allowed("x-amz-checksum-crc32", "zz").ask(), "400 InvalidRequest"),
        (new().allowed("content-md5", "zz").ask(), "400 InvalidDigest"),
        (new().allowed("tagging", "<Tagging>").ask(), "400 MalformedXML"),
        (new().allowed("expires", "never").ask(), "400 InvalidArgument"),
        (typed("multipart/form-data"), "400 MalformedPOSTRequest"),
        (typed("multipart/form-data; boundary=C"), "400 IncompleteBody"),
        (cut(7), "400 IncompleteBody"),
        (cut(200), "400 IncompleteBody"),
        (Ask { target: "/bucket/k".into(), ..new().ask() }, "405 MethodNotAllowed"),
        (
            Ask {
                target: "/nowhere".into(),
                ..Sheet { conditions: "[\"starts-with\", \"$key\", \"\"]".into(), ..new() }.ask()
            },
            "404 NoSuchBucket",
        ),
        (Ask { target: "/Bad_Name".into(), ..new().ask() }, "400 InvalidBucketName"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_forms_leave_nothing() {
    let rig = Rig::new().await;
    for (ask, expected) in bad_forms() {
        let shown = String::from_utf8_lossy(&ask.body).into_owned();
        let answer: Answer = rig.ask_raw(ask).await;
        assert_eq!(answer.told(), expected, "{} {shown}", answer.text());
    }
    let left = rig.ask(Ask::new("GET", "/bucket?list-type=2")).await;
    assert_eq!(left.xml("KeyCount").as_deref(), Some("0"), "{}", left.text());
    rig.stop().await;
}
