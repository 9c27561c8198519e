//! PostObject: <https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html>
//!
//! A browser's form, straight to the data path: `s3s` would hold the whole file in memory and checks the policy less
//! strictly. The policy is the only thing that a form's signature covers, so every field must be named in it.

mod parts;
mod policy;

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::Stream;
use hyper::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION};
use hyper::http::request;
use hyper::{HeaderMap, Response, StatusCode, Uri};
use pangea_client::{Accept, Body, Client, PutDone, PutObject, Received};
use pangea_core::meta::Condition;
use s3s::crypto::{Checksum as _, Sha256};
use s3s::dto::{StreamingBlob, Timestamp, TimestampFormat};
use s3s::{HttpResponse, S3Result, StdError, s3_error};

use crate::access::action;
use crate::attributes::{Taken, Wishes};
use crate::auth::{Principal, Secret, authorise};
use crate::checksum::{Digests, checked};
use crate::error::{escaped, refused};
use crate::front::Doorman;
use crate::metrics::Operation;
use crate::names;
use crate::scope::Scope;
use crate::signed::{ALGORITHM, scope as check_scope};
use crate::tags::Tags;

use parts::Form;
use policy::Policy;

/// The operation's name in every table.
const NAME: &str = "PostObject";
const KEY_BYTES_MAX: usize = 1024;
/// What stands for the file's name in a key.
const FILE_NAME: &str = "${filename}";

/// A form up to its file, signed by somebody.
pub(crate) struct Posted {
    form: Form<s3s::Body>,
    principal: Principal,
    policy: Policy,
}

/// Reads a form that was posted to a bucket up to its file, and finds out who signed it.
pub(crate) async fn open(
    doorman: &Doorman,
    scope: &Arc<Scope>,
    (head, bucket): (&request::Parts, &str),
    body: s3s::Body,
) -> S3Result<Posted> {
    scope.set_operation(Operation::named(NAME));
    scope.set_target(bucket, None);
    scope.set_reached();
    if !names::is_bucket_name(bucket) {
        return Err(s3_error!(InvalidBucketName));
    }
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let boundary = parts::boundary(content_type.unwrap_or_default())?;
    let form = match parts::read(body, &boundary).await {
        Ok(form) => form,
        Err(error) => return Err(scope.fault().map_or(error, crate::error::body_fault)),
    };
    let (principal, policy) = authenticate(doorman, scope, &form).await?;
    Ok(Posted { form, principal, policy })
}

/// Does what it asks for, if its policy and its signer's grants allow that.
pub(crate) async fn carry_out(
    doorman: &Doorman,
    scope: &Arc<Scope>,
    bucket: &str,
    Posted { mut form, principal, policy }: Posted,
) -> S3Result<HttpResponse> {
    let key = form.field("key").unwrap_or_default().replace(FILE_NAME, &form.file_name);
    let named = |(name, value): &(String, String)| {
        (name.clone(), if name == "key" { key.clone() } else { value.clone() })
    };
    form.fields = form.fields.iter().map(named).collect();
    policy.check(&form.fields, bucket, &Timestamp::from(SystemTime::now()))?;
    if key.is_empty() {
        return Err(s3_error!(InvalidArgument, "Bucket POST must contain a field named 'key'."));
    }
    if key.contains('\0') {
        return Err(s3_error!(InvalidArgument, "A key must not hold NUL."));
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(s3_error!(KeyTooLongError));
    }
    let action = action(NAME).ok_or_else(|| s3_error!(NotImplemented))?;
    authorise(&doorman.client, scope, &principal, action, (bucket, &key)).await?;
    let answer = Answer::of(&form);
    let done = write(&doorman.client, scope, form, &policy, (bucket, &key)).await?;
    answer.write(&done, bucket, &key)
}

/// Who signed the form's policy.
async fn authenticate<S>(doorman: &Doorman, scope: &Scope, form: &Form<S>) -> S3Result<(Principal, Policy)> {
    if form.field("signature").is_some() || form.field("awsaccesskeyid").is_some() {
        return Err(s3_error!(InvalidRequest, "This signature version is not supported: use {ALGORITHM}."));
    }
    let wanted = ["policy", "x-amz-signature", "x-amz-algorithm", "x-amz-credential", "x-amz-date"];
    if wanted.iter().all(|name| form.field(name).is_none()) {
        return Err(s3_error!(AccessDenied, "Anonymous requests are not allowed: sign a policy."));
    }
    let [Some(text), Some(signature), Some(algorithm), Some(credential), Some(date)] =
        wanted.map(|name| form.field(name))
    else {
        let missing = wanted.into_iter().find(|name| form.field(name).is_none()).unwrap_or_default();
        return Err(s3_error!(InvalidArgument, "Bucket POST must contain a field named '{missing}'."));
    };
    if algorithm != ALGORITHM {
        return Err(s3_error!(InvalidRequest, "This signature version is not supported: use {ALGORITHM}."));
    }
    check_scope(credential, &doorman.region)
        .map_err(|what| s3_error!(InvalidArgument, "x-amz-credential: {what}"))?;
    let mut fields = credential.rsplitn(5, '/').skip(3);
    let (day, access_key) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
    let is_date = date.len() == 16 && date.ends_with('Z') && date.as_bytes().get(8) == Some(&b'T');
    if !is_date || date.get(..8) != Some(day) {
        return Err(s3_error!(
            InvalidArgument,
            "x-amz-date is like 20300101T000000Z, on the credential's day."
        ));
    }
    let found = doorman.keys.secret(access_key).await.map_err(|error| scope.refuse(error))?;
    let Secret { key, scope: reach } = found.ok_or_else(|| s3_error!(InvalidAccessKeyId))?;
    let expected = sign(key.expose(), day, &doorman.region, text);
    // blake3::Hash compares in constant time.
    if unhex(signature).map(blake3::Hash::from) != Some(blake3::Hash::from(expected)) {
        return Err(s3_error!(SignatureDoesNotMatch));
    }
    let principal = Principal { access_key: access_key.to_owned(), scope: reach };
    scope.set_candidate(principal.clone());
    scope.set_verified();
    doorman.rates.take(access_key)?;
    Ok((principal, Policy::parse(text)?))
}

async fn write<S>(
    client: &Client,
    scope: &Arc<Scope>,
    form: Form<S>,
    policy: &Policy,
    (bucket, key): (&str, &str),
) -> S3Result<PutDone>
where
    S: Stream<Item = Result<Bytes, StdError>> + Send + Sync + Unpin + 'static,
{
    let attributes = attributes(&form)?;
    let digests = Digests::of_headers(&checksum_headers(&form))?;
    let put = PutObject {
        bucket: bucket.to_owned(),
        key: key.as_bytes().to_vec(),
        condition: Condition::default(),
        attributes,
        len: None,
    };
    let length = policy.length();
    let (body, accept) = checked(Some(StreamingBlob::new(form.file)), digests, None);
    let accept = at_least(*length.start(), accept);
    let done = client.put_object(put, at_most(*length.end(), body), accept).await;
    done.map_err(|error| scope.refuse(error))
}

/// Breaks off where the file has more bytes than the policy allows.
fn at_most(bytes_max: u64, body: Body) -> Body {
    use futures_util::StreamExt as _;
    let mut seen = 0_u64;
    Box::pin(body.map(move |bytes| {
        let bytes = bytes?;
        seen = seen.saturating_add(bytes.len() as u64);
        if seen > bytes_max {
            let error = s3_error!(EntityTooLarge, "The policy allows at most {bytes_max} bytes.");
            return Err(refused(error));
        }
        Ok(bytes)
    }))
}

/// Refuses where it has fewer.
fn at_least(bytes_min: u64, accept: Accept) -> Accept {
    Box::new(move |received: &Received| {
        if received.len < bytes_min {
            return Err(refused(s3_error!(
                EntityTooSmall,
                "The policy asks for at least {bytes_min} bytes."
            )));
        }
        accept(received)
    })
}

fn attributes<S>(form: &Form<S>) -> S3Result<Vec<(String, String)>> {
    let text = |name: &str| form.field(name).map(str::to_owned);
    let any = |start: &str| form.fields.iter().any(|(name, _)| name.starts_with(start));
    let wishes = Wishes {
        acl: form.field("acl"),
        grants: any("x-amz-grant-"),
        lock: any("x-amz-object-lock-"),
        encryption: form.field("x-amz-server-side-encryption"),
        customer_key: any("x-amz-server-side-encryption-customer-"),
        kms: any("x-amz-server-side-encryption-aws-kms-"),
        storage_class: form.field("x-amz-storage-class"),
    };
    wishes.check()?;
    let expires = text("expires").map(|date| {
        Timestamp::parse(TimestampFormat::HttpDate, &date)
            .map_err(|_| s3_error!(InvalidArgument, "expires is not a date as in HTTP."))
    });
    let metadata = form
        .fields
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("x-amz-meta-")?.to_owned(), value.clone())));
    let headers =
        ["cache-control", "content-disposition", "content-encoding", "content-language", "content-type"];
    let readable = |name: &&str| form.field(name).is_none_or(|value| HeaderValue::try_from(value).is_ok());
    if let Some(name) = headers.iter().find(|name| !readable(name)) {
        return Err(s3_error!(InvalidArgument, "The field '{name}' is not a header value."));
    }
    let taken = Taken {
        cache_control: text("cache-control"),
        content_disposition: text("content-disposition"),
        content_encoding: text("content-encoding"),
        content_language: text("content-language"),
        // What the browser says of the file is in no policy: only the field counts.
        content_type: text("content-type"),
        expires: expires.transpose()?,
        redirect: text("x-amz-website-redirect-location"),
        metadata: Some(metadata.collect()),
        encryption: text("x-amz-server-side-encryption"),
        tagging: form.field("tagging").map(tagging).transpose()?,
    };
    taken.attributes()
}

/// The field `tagging` is a document, unlike the header.
fn tagging(xml: &str) -> S3Result<String> {
    let mut reader = s3s::xml::Deserializer::new(xml.as_bytes());
    let document = <s3s::dto::Tagging as s3s::xml::Deserialize>::deserialize(&mut reader)
        .map_err(|_| s3_error!(MalformedXML, "The field 'tagging' is not a Tagging document."))?;
    let tags = Tags::of_document(&document.tag_set, crate::tags::OBJECT_TAGS_MAX)?;
    Ok(tags.kept().unwrap_or_default())
}

/// Checksums come as fields of the headers' names.
fn checksum_headers<S>(form: &Form<S>) -> HeaderMap {
    let pair = |(name, value): &(String, String)| {
        let wanted = name == "content-md5" || name.starts_with("x-amz-checksum-");
        let name = wanted.then(|| HeaderName::try_from(name.as_str()).ok()).flatten()?;
        // What no header can hold is no checksum either, and is refused as such.
        Some((name, HeaderValue::try_from(value.as_str()).unwrap_or(HeaderValue::from_static("-"))))
    };
    form.fields.iter().filter_map(pair).collect()
}

/// What the form wants to be told.
struct Answer {
    redirect: Option<String>,
    status: StatusCode,
}

impl Answer {
    fn of<S>(form: &Form<S>) -> Self {
        let redirect = form.field("success_action_redirect").or_else(|| form.field("redirect"));
        let usable = |text: &&str| {
            let uri = text.parse::<Uri>().ok();
            uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
        };
        let status = match form.field("success_action_status") {
            Some("200") => StatusCode::OK,
            Some("201") => StatusCode::CREATED,
            _ => StatusCode::NO_CONTENT,
        };
        Self { redirect: redirect.filter(usable).map(str::to_owned), status }
    }

    fn write(self, done: &PutDone, bucket: &str, key: &str) -> S3Result<HttpResponse> {
        use crate::listing::percent_encode_all as encode;
        let etag = format!("\"{}\"", done.etag);
        let place = format!("/{bucket}/{}", encode(key).replace("%2F", "/"));
        let mut headers = vec![(ETAG, etag.clone())];
        let mut answer = Response::new(s3s::Body::empty());
        if let Some((id, null)) = done.version {
            headers.push((HeaderName::from_static("x-amz-version-id"), names::version_text(id, null)));
        }
        match self.redirect {
            Some(target) => {
                let target = target.split('#').next().unwrap_or_default();
                let separator = if target.contains('?') { '&' } else { '?' };
                let (key, etag) = (encode(key), encode(&etag));
                headers.push((LOCATION, format!("{target}{separator}bucket={bucket}&key={key}&etag={etag}")));
                *answer.status_mut() = StatusCode::SEE_OTHER;
            }
            None => {
                headers.push((LOCATION, place.clone()));
                *answer.status_mut() = self.status;
                if self.status == StatusCode::CREATED {
                    let xml = format!(
                        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse><Location>{}</Location>\
                         <Bucket>{bucket}</Bucket><Key>{}</Key><ETag>{}</ETag></PostResponse>",
                        escaped(&place),
                        escaped(key),
                        escaped(&etag)
                    );
                    *answer.body_mut() = s3s::Body::from(xml);
                    headers.push((CONTENT_TYPE, "application/xml".into()));
                }
            }
        }
        for (name, value) in headers {
            let value = HeaderValue::try_from(value).map_err(|_| s3_error!(InternalError))?;
            answer.headers_mut().insert(name, value);
        }
        Ok(answer)
    }
}

/// SigV4 of a policy: there is no canonical request, the text itself is signed.
fn sign(secret: &str, day: &str, region: &str, text: &str) -> [u8; 32] {
    let mut key = hmac(format!("AWS4{secret}").as_bytes(), day.as_bytes());
    for step in [region, "s3", "aws4_request"] {
        key = hmac(&key, step.as_bytes());
    }
    hmac(&key, text.as_bytes())
}

/// HMAC-SHA-256 (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::checksum(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |pad: u8, rest: &[u8]| -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(&block.map(|byte| byte ^ pad));
        hash.update(rest);
        hash.finalize()
    };
    padded(0x5c, &padded(0x36, message))
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_is_rfc_4231s() {
        let hex = |bytes: [u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let cases: [(&[u8], &[u8], &str); 2] = [
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ];
        for (key, message, expected) in cases {
            assert_eq!(hex(hmac(key, message)), expected);
            assert_eq!(unhex(expected), Some(hmac(key, message)));
        }
    }
}
