//! Forms of every kind, cut everywhere.

use bytes::Bytes;
use futures_util::{FutureExt as _, TryStreamExt as _, stream};
use s3s::{S3Error, StdError};

use super::{boundary, read};

const GOOD: &str = "--XX\r\nContent-Disposition: form-data; name=\"Key\"\r\n\r\na/${filename}\r\n--XX\r\n\
    content-disposition: form-data; name=\"acl\"\r\nContent-Type: text/plain\r\n\r\n\r\n--XX\r\n\
    Content-Disposition: form-data; name=\"file\"; filename=\"my \\\"file\\\".txt\"\r\nContent-Type: text/x\r\n\r\n\
    one\r\n--XY\r\n--X\r\ntwo\r\n--XX\r\nContent-Disposition: form-data; name=\"submit\"\r\n\r\nUpload\r\n--XX--\r\n";

/// Fields, file name, type and bytes of a form that arrives by pieces; or the code of its refusal.
fn told(form: &str, step: usize) -> String {
    let pieces: Vec<_> =
        form.as_bytes().chunks(step).map(|piece| Ok::<_, StdError>(Bytes::copy_from_slice(piece))).collect();
    let reading = async {
        let form = read(stream::iter(pieces), "XX").await?;
        let (fields, name) = (form.fields.clone(), form.file_name.clone());
        let bytes: Result<Vec<Bytes>, StdError> = form.file.try_collect().await;
        match bytes {
            Ok(bytes) => {
                let bytes = String::from_utf8_lossy(&bytes.concat()).into_owned();
                Ok(format!("{fields:?} {name} {bytes:?}"))
            }
            Err(error) => match error.downcast::<crate::error::Refused>() {
                Ok(refused) => Err(refused.0),
                Err(other) => panic!("{other}"),
            },
        }
    };
    reading
        .now_or_never()
        .expect("nothing waits")
        .unwrap_or_else(|error: S3Error| error.code().as_str().to_owned())
}

#[test]
fn a_form_is_read_however_it_is_cut() {
    let expected =
        "[(\"key\", \"a/${filename}\"), (\"acl\", \"\")] my \"file\".txt \"one\\r\\n--XY\\r\\n--X\\r\\ntwo\"";
    for step in [1, 2, 3, 7, 50, GOOD.len()] {
        assert_eq!(told(GOOD, step), expected, "by {step}");
    }
}

#[test]
fn malformed_forms_are_refused() {
    let part = |head: &str, body: &str| format!("--XX\r\n{head}\r\n\r\n{body}\r\n");
    let field = |name: &str| part(&format!("Content-Disposition: form-data; name=\"{name}\""), "v");
    let file = field("file");
    let many: String = (0..101).map(|n| field(&n.to_string())).collect();
    let long = part("Content-Disposition: form-data; name=\"k\"", &"v".repeat(70_000));
    let cases = [
        (String::new(), "IncompleteBody"),
        ("--YY\r\n".into(), "IncompleteBody"),
        ("preamble\r\n--XX\r\n".into(), "MalformedPOSTRequest"),
        (field("key"), "IncompleteBody"),
        (format!("{}--XX--\r\n", field("key")), "InvalidArgument"),
        (format!("{}{}{file}--XX--", field("key"), field("Key")), "InvalidArgument"),
        (format!("{file}{file}--XX--"), "InvalidArgument"),
        (file.clone(), "IncompleteBody"),
        (format!("{file}--XX"), "IncompleteBody"),
        (format!("{}{file}--XX--", part("Content-Disposition: attachment", "v")), "MalformedPOSTRequest"),
        (format!("{}{file}--XX--", part("no colon", "v")), "MalformedPOSTRequest"),
        (
            format!("{}{file}--XX--", part("Content-Disposition: form-data; name=\"a", "v")),
            "MalformedPOSTRequest",
        ),
        (format!("{many}{file}--XX--"), "MaxPostPreDataLengthExceededError"),
        (format!("{long}{file}--XX--"), "MalformedPOSTRequest"),
        (format!("--XX\r\n{}", "h".repeat(10_000)), "MalformedPOSTRequest"),
        (format!("{file}--XX\r\n{}", "x".repeat(70_000)), "MalformedPOSTRequest"),
    ];
    for (form, expected) in cases {
        for step in [64, form.len().max(1)] {
            let got = told(&form, step);
            let too_long = expected == "MalformedPOSTRequest" && got == "MaxPostPreDataLengthExceededError";
            assert!(got == expected || too_long, "{got} for {:?}", &form[..form.len().min(200)]);
        }
    }
}

#[test]
fn boundaries_are_found_and_bounded() {
    let long = format!("multipart/form-data; boundary={}", "b".repeat(71));
    for (given, expected) in [
        ("multipart/form-data; boundary=abc", Some("abc")),
        ("multipart/form-data; charset=x; Boundary=\"a b\"", Some("a b")),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/form-data; boundary=a; boundary=b", None),
        ("multipart/form-data; boundary=a\u{7f}", None),
        (&long, None),
    ] {
        assert_eq!(boundary(given).ok().as_deref(), expected, "{given}");
    }
}

/// Each piece made the parser look at everything it held once more: 64 KiB in single bytes cost four thousand million looks.
#[test]
fn a_form_that_drips_costs_no_more_than_one_that_comes_at_once() {
    let field = format!("--XX\r\nContent-Disposition: form-data; name=\"k\"\r\n\r\n{}", "v".repeat(60_000));
    let file = "\r\n--XX\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n--XX\r\n";
    let form = format!("{field}{file}{}", "y".repeat(60_000));
    let begun = std::time::Instant::now();
    assert_eq!(told(&form, 1), "IncompleteBody");
    // A fraction of a second where it is linear, a minute where it is not.
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
}
