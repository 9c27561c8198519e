//! Precedence of conditions, and tags of all shapes.

use std::time::{Duration, UNIX_EPOCH};

use pangea_core::meta::{Condition, ETag};
use s3s::dto::{ETagCondition, Timestamp};

use super::{FOREIGN, ReadConditions, Verdict, of_write, parse, part_md5};

const OURS: &str = "\"00000000000000000000000000000001\"";
const OTHER: &str = "\"00000000000000000000000000000002\"";

fn ours() -> ETag {
    parse(OURS.trim_matches('"')).expect("well formed")
}

fn tag(text: &str) -> Option<ETagCondition> {
    (!text.is_empty()).then(|| text.parse().expect("well formed"))
}

fn date(seconds: u64) -> Option<Timestamp> {
    (seconds > 0).then(|| Timestamp::from(UNIX_EPOCH + Duration::from_secs(seconds)))
}

#[test]
fn tags_come_before_dates_and_matches_before_mismatches() {
    use Verdict::{Failed, NotModified, Proceed};
    // If-Match, If-Unmodified-Since, If-None-Match, If-Modified-Since; the object is from second 100 (and 900 ms).
    let cases = [
        ("", 0, "", 0, Proceed),
        (OURS, 0, "", 0, Proceed),
        (OTHER, 0, "", 0, Failed),
        ("*", 0, "", 0, Proceed),
        ("W/\"00000000000000000000000000000001\"", 0, "", 0, Failed),
        ("", 100, "", 0, Proceed),
        ("", 99, "", 0, Failed),
        (OURS, 99, "", 0, Proceed),
        (OTHER, 100, "", 0, Failed),
        ("", 0, OURS, 0, NotModified),
        ("", 0, "W/\"00000000000000000000000000000001\"", 0, NotModified),
        ("", 0, OTHER, 0, Proceed),
        ("", 0, "*", 0, NotModified),
        ("", 0, "", 100, NotModified),
        ("", 0, "", 99, Proceed),
        ("", 0, OTHER, 100, Proceed),
        ("", 0, OURS, 99, NotModified),
        (OTHER, 0, OURS, 0, Failed),
        (OURS, 0, OURS, 0, NotModified),
        ("", 99, OURS, 0, Failed),
        ("\"x\", \"00000000000000000000000000000001\"", 0, "", 0, Proceed),
        ("", 0, "\"x\", \"00000000000000000000000000000001\"", 0, NotModified),
        ("", 0, "\"x\", \"y\"", 0, Proceed),
    ];
    for (if_match, unmodified, if_none_match, modified, expected) in cases {
        let conditions = ReadConditions {
            if_match: tag(if_match),
            if_none_match: tag(if_none_match),
            if_modified_since: date(modified),
            if_unmodified_since: date(unmodified),
        };
        assert_eq!(conditions.verdict(ours(), 100_900), expected, "{conditions:?}");
    }
}

#[test]
fn only_our_own_tags_are_understood() {
    let digits = "0123456789abcdef0123456789ABCDEF";
    assert_eq!(parse(digits).map(|tag| tag.parts), Some(0));
    for (parts, expected) in
        [("1", Some(1)), ("10000", Some(10_000)), ("10001", None), ("0", None), ("01", None)]
    {
        assert_eq!(parse(&format!("{digits}-{parts}")).map(|tag| tag.parts), expected, "{parts}");
    }
    for bad in
        ["", "x", "0123", "\"\"", &format!("{digits}-"), &format!("{digits}-+1"), &format!("{digits}0")]
    {
        assert_eq!(parse(bad), None, "{bad}");
    }
    assert_eq!(parse(&format!("é{}", &digits[2..])), None);
    let tag = parse(&format!("{digits}-12")).expect("well formed");
    assert_eq!(parse(&tag.to_string()), Some(tag));
}

#[test]
fn a_tag_that_cannot_be_ours_never_matches_a_write() {
    let any = ETagCondition::Any;
    let ours_condition = tag(OURS).expect("given");
    let foreign = tag("\"nonsense\"").expect("given");
    let weak = tag("W/\"00000000000000000000000000000001\"").expect("given");
    let cases = [
        (None, None, Condition::default()),
        (Some(&any), None, Condition { if_match: Some(None), if_none_match: None }),
        (None, Some(&any), Condition { if_match: None, if_none_match: Some(None) }),
        (Some(&ours_condition), None, Condition { if_match: Some(Some(ours())), if_none_match: None }),
        (Some(&foreign), None, Condition { if_match: Some(Some(FOREIGN)), if_none_match: None }),
        (Some(&weak), None, Condition { if_match: Some(Some(FOREIGN)), if_none_match: None }),
        (None, Some(&foreign), Condition { if_match: None, if_none_match: Some(Some(FOREIGN)) }),
    ];
    for (if_match, if_none_match, expected) in cases {
        assert_eq!(of_write(if_match, if_none_match), expected);
    }
    assert_eq!(parse(&FOREIGN.to_string()), None, "no client can name it either");
}

#[test]
fn a_parts_tag_is_a_plain_md5() {
    for (text, good) in [(OURS, true), ("\"00000000000000000000000000000001-2\"", false), ("\"x\"", false)] {
        assert_eq!(part_md5(&text.parse().expect("an entity tag")).is_some(), good, "{text}");
    }
}
