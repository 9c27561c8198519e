//! Targets for the S3 face: a whole gateway in memory behind a pipe, the same rig that the tests at its door use.
//!
//! Every target asks one thing of all that comes out: an answer, soon, and never a 500. Where a signature would stop every
//! input at the door, the target signs; where the signature is the input, nothing may be let in.

use std::cell::RefCell;
use std::time::Duration;

use pangea_core::md5::Md5;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;

use crate::http::{Answer, Ask, read};
use crate::rig::Rig;
use crate::sign::Signer;

/// Inputs after which a new rig takes over: the objects of the old one go with it.
const INPUTS_PER_RIG: u32 = 4096;
/// An answer that takes longer is a finding.
const PATIENCE: Duration = Duration::from_secs(5);
const PIPE_BYTES: usize = 256 << 10;
/// Smaller signed chunks only cost time.
const CHUNK_BYTES_MIN: usize = 40;
/// The first byte of an input chooses what is done with the rest.
const MODES: u8 = 3;

struct Stage {
    runtime: Runtime,
    rig: Option<Rig>,
    inputs: u32,
}

thread_local! {
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
}

impl Stage {
    fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().expect("a runtime");
        let rig = runtime.block_on(async {
            let rig = Rig::new().await;
            rig.put("object", &[7; 5000]).await;
            rig
        });
        Self { runtime, rig: Some(rig), inputs: 0 }
    }
}

/// Asks the gateway; signed if there is a signer. Gives the answer.
fn asked(make: impl FnOnce(&Rig) -> Ask) -> Answer {
    STAGE.with_borrow_mut(|stage| {
        let mut on = stage.take().unwrap_or_else(Stage::new);
        on.inputs += 1;
        let rig = on.rig.take().expect("put back below");
        let ask = make(&rig);
        let answer = on.runtime.block_on(exchange(&rig, &ask));
        let (method, target) = (&ask.method, &ask.target);
        assert!(!matches!(answer.status, 0 | 500), "{method} {target}: {} {}", answer.status, answer.text());
        if on.inputs < INPUTS_PER_RIG {
            on.rig = Some(rig);
            *stage = Some(on);
        } else {
            on.runtime.block_on(rig.stop());
        }
        answer
    })
}

async fn exchange(rig: &Rig, ask: &Ask) -> Answer {
    let (mut near, far) = tokio::io::duplex(PIPE_BYTES);
    let wire = ask.clone().host(rig.address).wire();
    let speaking = async {
        // An early refusal may close the pipe while the rest is still being written.
        let _may_be_refused_early = near.write_all(&wire).await.is_ok();
        let answer = read(&mut near, ask.method == "HEAD").await;
        // Only now: a peer that ends its side before the answer has gone, for a server.
        let _may_have_ended = near.shutdown().await.is_ok();
        let mut rest = Vec::new();
        // Whatever comes behind: nobody reads it, but it has to end.
        let _broken_off_is_an_end_too = near.read_to_end(&mut rest).await.is_ok();
        answer
    };
    let both = async { tokio::join!(speaking, rig.gateway.serve_stream(far)).0 };
    tokio::time::timeout(PATIENCE, both).await.expect("an answer, or the end, in time")
}

fn mode(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (first % MODES, rest))
}

/// As a header's value or a part of an address could hold it; single spaces, as they are signed.
fn line(data: &[u8], spaces: bool) -> String {
    let shown = data.iter().map(|byte| char::from(*byte));
    let text: String = shown.filter(|c| c.is_ascii_graphic() || spaces && *c == ' ').collect();
    text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn base64(bytes: &[u8]) -> String {
    base64_simd::STANDARD.encode_to_string(bytes)
}

/// A signature in the header, in the query, or any query under a good signature. Nobody gets in with a made-up one.
pub fn sigv4(data: &[u8]) {
    let (mode, rest) = mode(data);
    let get = |target: &str| Ask::new("GET", target);
    let answer = match mode {
        0 => asked(|_| {
            get("/bucket/object")
                .header("x-amz-date", "20300101T000000Z")
                .header("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
                .header("authorization", &line(rest, true))
        }),
        1 => asked(|_| get(&format!("/bucket/object?{}", line(rest, false)))),
        _ => {
            asked(|rig| Signer::root().sign(get(&format!("/bucket/?{}", line(rest, false))), rig.address));
            return;
        }
    };
    assert!(!(200..300).contains(&answer.status), "let in without a signature: {}", answer.status);
}

/// A body in aws-chunked framing: unsigned, signed but wrong, and signed as it should be, which must be taken.
pub fn chunked(data: &[u8]) {
    let (mode, rest) = mode(data);
    let (length, rest) = rest.split_first().map_or((0, rest), |(first, rest)| (usize::from(*first), rest));
    let put = |kind: &str, decoded: usize| {
        Ask::new("PUT", "/bucket/chunked")
            .header("x-amz-content-sha256", kind)
            .header("x-amz-decoded-content-length", &decoded.to_string())
    };
    let signed = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
    let unsigned = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    match mode {
        0 => asked(|rig| {
            let ask = put(unsigned, length).header("x-amz-trailer", "x-amz-checksum-crc32");
            Signer::root().sign(ask.body(rest), rig.address)
        }),
        1 => asked(|rig| Signer::root().sign(put(signed, length).body(rest), rig.address)),
        _ => {
            let answer = asked(|rig| {
                let (mut ask, seed) = Signer::root().sign_seed(put(signed, rest.len()), rig.address);
                ask = ask.body(&seed.chunks(rest, CHUNK_BYTES_MIN + length * 64));
                ask
            });
            assert_eq!(answer.status, 200, "well signed: {}", answer.text());
            answer
        }
    };
}

/// Where documents go: method, target.
const DOCUMENTS: [(&str, &str); 17] = [
    ("POST", "/bucket?delete"),
    ("PUT", "/bucket?tagging"),
    ("PUT", "/bucket?cors"),
    ("PUT", "/bucket?versioning"),
    ("PUT", "/bucket?encryption"),
    ("PUT", "/bucket?ownershipControls"),
    ("PUT", "/bucket?publicAccessBlock"),
    ("PUT", "/bucket?requestPayment"),
    ("PUT", "/bucket?acl"),
    ("PUT", "/bucket?lifecycle"),
    ("PUT", "/another"),
    ("PUT", "/bucket/object?tagging"),
    ("PUT", "/bucket/object?acl"),
    ("PUT", "/bucket/object?retention"),
    ("PUT", "/bucket/object?legal-hold"),
    ("POST", "/bucket/object?uploadId=AAAA"),
    ("POST", "/bucket/object?restore"),
];

/// Every document that S3 takes, by the first byte.
pub fn xml(data: &[u8]) {
    let Some((first, document)) = data.split_first() else { return };
    let (method, target) = DOCUMENTS[usize::from(*first) % DOCUMENTS.len()];
    asked(|rig| {
        let ask = Ask::new(method, target).header("content-md5", &base64(&Md5::hash(document)));
        Signer::root().sign(ask.body(document), rig.address)
    });
}

/// A browser's form: any bytes, any policy under a good signature, or any fields behind good ones.
pub fn form(data: &[u8]) {
    let (mode, rest) = mode(data);
    let signer = Signer::root();
    let (credential, date) = signer.form_credential();
    let field = |name: &str, value: &str| {
        format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let head = |policy: &str| {
        let signature = signer.form_signature(policy);
        [
            ("key", "form"),
            ("policy", policy),
            ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
            ("x-amz-credential", &credential),
            ("x-amz-date", &date),
            ("x-amz-signature", &signature),
        ]
        .map(|(name, value)| field(name, value))
        .concat()
    };
    let file =
        "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nbytes\r\n--B--\r\n";
    let all = r#"{"expiration":"2999-01-01T00:00:00Z","conditions":[["starts-with","$key",""]]}"#;
    let body = match mode {
        0 => rest.to_vec(),
        1 => [head(&base64(rest)).as_bytes(), file.as_bytes()].concat(),
        _ => [head(&base64(all.as_bytes())).as_bytes(), rest, file.as_bytes()].concat(),
    };
    asked(|_| {
        Ask::new("POST", "/bucket").header("content-type", "multipart/form-data; boundary=B").body(&body)
    });
}

/// `Range` and `If-Range` of a read, source and range of a copy: four lines.
pub fn range(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n').map(|part| line(part, true));
    let mut next = || lines.next().unwrap_or_default();
    let (range, if_range, source, source_range) = (next(), next(), next(), next());
    let signed = |ask: Ask| asked(|rig| Signer::root().sign(ask, rig.address));
    let read =
        signed(Ask::new("GET", "/bucket/object").header("range", &range).header("if-range", &if_range));
    assert!(matches!(read.status, 200 | 206 | 400 | 416), "a read answered {}", read.told());
    assert!(read.status != 206 || read.body.len() <= 5000, "more than there is");
    signed(Ask::new("PUT", "/bucket/copy").header("x-amz-copy-source", &source));
    signed(
        Ask::new("PUT", "/bucket/copy?partNumber=1&uploadId=AAAA")
            .header("x-amz-copy-source", "bucket/object")
            .header("x-amz-copy-source-range", &source_range),
    );
}
