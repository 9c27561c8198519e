//! What GET and HEAD share: find the version, check the conditions, choose the bytes.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use hyper::HeaderMap;
use hyper::header::{ALLOW, ETAG, HeaderValue, IF_RANGE, LAST_MODIFIED};
use pangea_client::{Body, BodyError, Object};
use pangea_core::meta::ETag;
use s3s::dto::{self, StreamingBlob, Timestamp, TimestampFormat};
use s3s::stream::{ByteStream, RemainingLength};
use s3s::{S3Error, S3Result, s3_error};
use tokio::sync::OwnedSemaphorePermit;

use crate::adapter::Gate;
use crate::attributes::time;
use crate::auth::Call;
use crate::condition::{ReadConditions, Verdict, parse};
use crate::error::marker_headers;
use crate::names;
use crate::range::{self, Slice};
use crate::window::Read;

/// What a read wants.
pub(crate) struct Wanted {
    /// From which bucket.
    pub(crate) bucket: String,
    /// Which key.
    pub(crate) key: String,
    /// Which version of it.
    pub(crate) version: Option<String>,
    /// Under which conditions.
    pub(crate) conditions: ReadConditions,
    /// Which bytes.
    pub(crate) range: Option<dto::Range>,
    /// Or which part.
    pub(crate) part_number: Option<i32>,
    /// Only if the object is still this one; otherwise all of it.
    pub(crate) if_range: Option<String>,
}

impl Wanted {
    /// Adds what the input does not carry.
    pub(crate) fn of_headers(mut self, headers: &HeaderMap) -> Self {
        self.if_range = headers.get(IF_RANGE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        self
    }

    fn range_for(&self, etag: ETag, created_ms: u64) -> Option<dto::Range> {
        let still = match self.if_range.as_deref() {
            None => true,
            Some(tag) if tag.starts_with('"') => parse(tag.trim_matches('"')) == Some(etag),
            Some(date) => date == http_date(&time(created_ms)),
        };
        self.range.filter(|_| still)
    }
}

/// A read's wishes from an input with S3's usual fields.
macro_rules! wanted {
    ($input:expr) => {
        $crate::reading::Wanted {
            bucket: std::mem::take(&mut $input.bucket),
            key: std::mem::take(&mut $input.key),
            version: $input.version_id.take(),
            conditions: $crate::condition::ReadConditions {
                if_match: $input.if_match.take(),
                if_none_match: $input.if_none_match.take(),
                if_modified_since: $input.if_modified_since.take(),
                if_unmodified_since: $input.if_unmodified_since.take(),
            },
            range: $input.range.take(),
            part_number: $input.part_number.take(),
            if_range: None,
        }
    };
}
pub(crate) use wanted;

/// Finds what is wanted, and the bytes of it.
pub(crate) async fn find<T>(gate: &Gate, call: &Call<T>, wanted: Wanted) -> S3Result<(Object, Slice)> {
    let selector = names::version(wanted.version.as_deref())?;
    let found = gate.client.object(&wanted.bucket, wanted.key.as_bytes(), selector).await;
    let object = found.map_err(|error| call.refuse(error))?;
    let version = &object.version;
    if version.delete_marker {
        return Err(is_marker(&object));
    }
    match wanted.conditions.verdict(version.etag, version.created_ms) {
        Verdict::Proceed => {}
        Verdict::Failed => {
            return Err(s3_error!(PreconditionFailed, "At least one of the preconditions did not hold."));
        }
        Verdict::NotModified => return Err(not_modified(&object)),
    }
    let range = wanted.range_for(version.etag, version.created_ms);
    let slice = range::resolve(range, wanted.part_number, version.size, &version.part_sizes)?;
    Ok((object, slice))
}

fn http_date(date: &Timestamp) -> String {
    let mut text = Vec::new();
    let formatted = date.format(TimestampFormat::HttpDate, &mut text).is_ok();
    if formatted { String::from_utf8(text).unwrap_or_default() } else { String::new() }
}

/// The refusal to read a delete marker.
pub(crate) fn is_marker(object: &Object) -> S3Error {
    let mut refusal = s3_error!(MethodNotAllowed, "That version is a delete marker: it can only be deleted.");
    let mut headers = marker_headers(names::told_version(object.bucket.versioning, &object.version));
    headers.insert(ALLOW, HeaderValue::from_static("DELETE"));
    refusal.set_headers(headers);
    refusal
}

fn not_modified(object: &Object) -> S3Error {
    let mut refusal = s3_error!(NotModified);
    let mut headers = HeaderMap::new();
    let etag = format!("\"{}\"", object.version.etag);
    let date = http_date(&time(object.version.created_ms));
    for (name, value) in [(ETAG, etag), (LAST_MODIFIED, date)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    refusal.set_headers(headers);
    refusal
}

/// An answer's bytes. `s3s` wants streams that may be shared between threads; this one never is, so its lock is never
/// taken.
struct Reading {
    body: Mutex<Body>,
    left: u64,
    /// What it may hold of the memory for answers.
    _held: OwnedSemaphorePermit,
}

impl Stream for Reading {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let body = this.body.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let polled = body.as_mut().poll_next(cx);
        if let Poll::Ready(Some(Ok(bytes))) = &polled {
            this.left = this.left.saturating_sub(bytes.len() as u64);
        }
        polled
    }
}

impl ByteStream for Reading {
    fn remaining_length(&self) -> RemainingLength {
        usize::try_from(self.left).map_or_else(|_| RemainingLength::unknown(), RemainingLength::new_exact)
    }
}

/// The data path's stream of exactly those bytes, as `s3s` wants it.
pub(crate) fn blob(read: Read, bytes: &Range<u64>) -> StreamingBlob {
    let Read { body, held } = read;
    StreamingBlob::new(Reading { body: Mutex::new(body), left: bytes.end - bytes.start, _held: held })
}
