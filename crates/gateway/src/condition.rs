//! Conditions: entity tags, and when a read or a copy goes ahead (RFC 9110 §13.2.2).
//!
//! Conditions of writes are only translated here; they are decided in the commit.

use hyper::HeaderMap;
use hyper::header::{IF_MATCH, IF_NONE_MATCH};
use pangea_core::meta::{Condition, ETag};
use s3s::dto::{self, ETagCondition, Timestamp, TimestampFormat};
use s3s::{S3Result, s3_error};

use crate::options::PART_NUMBER_MAX;

/// A tag that no object has: stands for every tag that cannot be ours. (Ours count at most 10,000 parts.)
const FOREIGN: ETag = ETag { md5: [0; 16], parts: u16::MAX };

/// What a condition on a read says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Go ahead.
    Proceed,
    /// The client has it already (304 on reads, 412 on copies).
    NotModified,
    /// 412.
    Failed,
}

/// The conditions of a read, or those of a copy on its source.
#[derive(Clone, Default, Debug)]
pub(crate) struct ReadConditions {
    /// `If-Match`.
    pub(crate) if_match: Option<ETagCondition>,
    /// `If-None-Match`.
    pub(crate) if_none_match: Option<ETagCondition>,
    /// `If-Modified-Since`.
    pub(crate) if_modified_since: Option<Timestamp>,
    /// `If-Unmodified-Since`.
    pub(crate) if_unmodified_since: Option<Timestamp>,
}

impl ReadConditions {
    /// Decides for an object with that tag and time. Tags take precedence over dates; dates have whole seconds.
    pub(crate) fn verdict(&self, etag: ETag, created_ms: u64) -> Verdict {
        let modified_s = i128::from(created_ms / 1000);
        let failed = match (&self.if_match, &self.if_unmodified_since) {
            (Some(tags), _) => !strong_match(tags, etag),
            (None, Some(date)) => modified_s > seconds(date),
            (None, None) => false,
        };
        if failed {
            return Verdict::Failed;
        }
        let unchanged = match (&self.if_none_match, &self.if_modified_since) {
            (Some(tags), _) => weak_match(tags, etag),
            (None, Some(date)) => modified_s <= seconds(date),
            (None, None) => false,
        };
        if unchanged { Verdict::NotModified } else { Verdict::Proceed }
    }
}

/// Whole seconds since 1970. `s3s` shows a timestamp through formatting or through `time` only; this needs neither.
fn seconds(date: &Timestamp) -> i128 {
    let mut text = Vec::new();
    let formatted = date.format(TimestampFormat::EpochSeconds, &mut text).is_ok();
    let text = std::str::from_utf8(&text).unwrap_or_default();
    let whole = text.split('.').next().unwrap_or_default();
    // A date that cannot be said is treated as the epoch: the condition then costs a transfer, never a wrong answer.
    if formatted { whole.parse().unwrap_or(0) } else { 0 }
}

fn strong_match(condition: &ETagCondition, etag: ETag) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(dto::ETag::Weak(_)) => false,
        ETagCondition::ETag(dto::ETag::Strong(text)) => tags(text).any(|tag| tag == Some(etag)),
    }
}

fn weak_match(condition: &ETagCondition, etag: ETag) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(dto::ETag::Weak(text) | dto::ETag::Strong(text)) => {
            tags(text).any(|tag| tag == Some(etag))
        }
    }
}

/// The tags in a header value without its outermost quotes; a list (`a", "b`) keeps its inner ones.
fn tags(text: &str) -> impl Iterator<Item = Option<ETag>> + '_ {
    text.split(',').map(|tag| {
        let tag = tag.trim();
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        parse(tag.trim_matches('"'))
    })
}

/// An entity tag of ours, without quotes: 32 hex digits, and the number of parts if there were any.
pub(crate) fn parse(text: &str) -> Option<ETag> {
    let (digits, parts) = match text.split_once('-') {
        None => (text, 0),
        Some((digits, parts)) => {
            let canonical = !parts.starts_with(['0', '+']);
            let parts = parts.parse::<u16>().ok().filter(|parts| canonical && *parts <= PART_NUMBER_MAX)?;
            (digits, parts)
        }
    };
    let mut md5 = [0; 16];
    if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in md5.iter_mut().zip((0..32).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some(ETag { md5, parts })
}

/// The tag as `s3s` prints it.
pub(crate) fn told(etag: ETag) -> dto::ETag {
    dto::ETag::Strong(etag.to_string())
}

/// The MD5 of a part's tag as a client repeats it.
pub(crate) fn part_md5(etag: &dto::ETag) -> Option<[u8; 16]> {
    parse(etag.value().trim_matches('"')).filter(|etag| etag.parts == 0).map(|etag| etag.md5)
}

/// A write's conditions, for the commit to decide. A tag that cannot be ours never matches.
pub(crate) fn of_write(if_match: Option<&ETagCondition>, if_none_match: Option<&ETagCondition>) -> Condition {
    let one = |condition: &ETagCondition| match condition {
        ETagCondition::Any => None,
        ETagCondition::ETag(dto::ETag::Strong(text)) => Some(parse(text).unwrap_or(FOREIGN)),
        ETagCondition::ETag(dto::ETag::Weak(_)) => Some(FOREIGN),
    };
    Condition { if_match: if_match.map(one), if_none_match: if_none_match.map(one) }
}

/// The same, from raw headers, for operations whose input does not carry them.
pub(crate) fn of_headers(headers: &HeaderMap) -> S3Result<Condition> {
    let parse = |name| match headers.get(name) {
        None => Ok(None),
        Some(value) => ETagCondition::parse_http_header(value.as_bytes())
            .map(Some)
            .map_err(|_| s3_error!(InvalidArgument, "An entity tag in a condition is malformed.")),
    };
    Ok(of_write(parse(IF_MATCH)?.as_ref(), parse(IF_NONE_MATCH)?.as_ref()))
}

#[cfg(test)]
#[path = "condition_tests.rs"]
mod tests;
