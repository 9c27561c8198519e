//! Advice: what an endpoint's errors mean for whoever typed the command.

use pangea_s3client::S3Error;

use crate::Failure;

/// Exit codes; see the table in the help.
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NO_ANSWER: u8 = 7;
const NOT_ALLOWED: u8 = 8;

/// An error about `name` (as on the command line) at `alias`.
pub(crate) fn of(error: &S3Error, alias: &str, name: &str) -> Failure {
    let what = if name.is_empty() { format!("{alias}: {error}") } else { format!("{name}: {error}") };
    let (advice, code) = match error {
        S3Error::Refused { code, status, .. } => refused(code, *status, alias, name),
        S3Error::Unreachable { .. } => {
            (format!("is it running, and is the address of `{alias}` right? `pangea alias list` shows it"), NO_ANSWER)
        }
        S3Error::Tls { why, .. } if why.contains("UnknownIssuer") || why.contains("certificate") => {
            ("name the CA or the certificate that you trust: --ca FILE (or --insecure, if nobody sits between)".into(), NO_ANSWER)
        }
        S3Error::Tls { .. } => (format!("does it speak https? see the URL in `pangea alias list` ({alias})"), NO_ANSWER),
        S3Error::Broken { .. } | S3Error::Late { .. } => {
            ("run the same command again: what was copied stays, parts of large files too".into(), NO_ANSWER)
        }
        S3Error::Garbled { .. } => (format!("is the address of `{alias}` that of an S3 endpoint?"), FAILED),
        S3Error::Corrupt { .. } => ("copy it again; if it stays so, the stored object is damaged".into(), FAILED),
        S3Error::Unusable { .. } => (format!("set it right with `pangea alias set {alias} URL ACCESS_KEY`"), USAGE),
    };
    Failure::new(what, advice, code)
}

fn refused(code: &str, status: u16, alias: &str, name: &str) -> (String, u8) {
    let bucket = name.splitn(3, '/').take(2).collect::<Vec<_>>().join("/");
    match code {
        "NoSuchBucket" => {
            (format!("make it with `pangea mb {bucket}`; `pangea ls {alias}` shows those there are"), FAILED)
        }
        "NoSuchKey" | "NotFound" | "NoSuchVersion" => {
            (format!("`pangea ls -r {bucket}` shows what is there; --versions shows what was"), FAILED)
        }
        "BucketAlreadyExists" => ("bucket names are shared with others here: choose another".into(), FAILED),
        "BucketAlreadyOwnedByYou" => {
            ("it is yours already; --ignore-existing takes that for success".into(), FAILED)
        }
        "BucketNotEmpty" => (format!("`pangea rb --force {bucket}` removes what is in it, too"), FAILED),
        "InvalidBucketName" => ("3 to 63 lower-case letters, digits, dots and dashes".into(), USAGE),
        "PreconditionFailed" | "ConditionalRequestConflict" => {
            ("it is there already, or was changed meanwhile; nothing was overwritten".into(), FAILED)
        }
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidClientTokenId" => (
            format!(
                "the access key or secret of `{alias}` is wrong: `pangea alias set {alias} URL ACCESS_KEY`"
            ),
            NOT_ALLOWED,
        ),
        "RequestTimeTooSkewed" => ("set this machine's clock".into(), NOT_ALLOWED),
        "AuthorizationHeaderMalformed" => {
            (format!("the region of `{alias}` is wrong: `pangea alias set … --region NAME`"), NOT_ALLOWED)
        }
        "ExpiredToken" | "InvalidToken" => ("get a new session token".into(), NOT_ALLOWED),
        "EntityTooLarge" => ("choose a smaller --part-size".into(), FAILED),
        "InsufficientStorage" | "XMinioStorageFull" => {
            ("the endpoint is full: make room there".into(), FAILED)
        }
        "SlowDown" | "ServiceUnavailable" | "TooManyRequests" => {
            ("it is busy: try again later, or with a lower --parallel".into(), FAILED)
        }
        _ if status == 403 => (format!("the access key of `{alias}` may not do this to {name}"), NOT_ALLOWED),
        _ if status == 501 || status == 405 => ("this endpoint cannot do it".into(), FAILED),
        _ if status >= 500 => {
            ("the endpoint has trouble: look at its log, and run the same command again".into(), FAILED)
        }
        _ => ("change the command; nothing was done".into(), FAILED),
    }
}
