//! The policy of a form: what its fields may say, until when
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html>).

use std::ops::RangeInclusive;

use s3s::dto::{Timestamp, TimestampFormat};
use s3s::{S3Error, S3Result, s3_error};
use serde_json::{Map, Value};

/// Of the document, before base64.
const POLICY_BYTES_MAX: usize = 20 << 10;
const CONDITIONS_MAX: usize = 200;

/// A parsed policy.
#[derive(Debug)]
pub(crate) struct Policy {
    expires: Timestamp,
    conditions: Vec<Condition>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Condition {
    /// The field is exactly this.
    Equals(String, String),
    /// The field begins so.
    Starts(String, String),
    /// The file has so many bytes.
    Length(RangeInclusive<u64>),
}

fn invalid(what: &str) -> S3Error {
    s3_error!(InvalidPolicyDocument, "Invalid Policy: {what}.")
}

fn denied(what: &str) -> S3Error {
    s3_error!(AccessDenied, "Invalid according to Policy: {what}.")
}

impl Policy {
    /// Reads the `policy` field.
    pub(crate) fn parse(field: &str) -> S3Result<Self> {
        let bytes = base64_simd::STANDARD.decode_to_vec(field).map_err(|_| invalid("it is not base64"))?;
        if bytes.len() > POLICY_BYTES_MAX {
            return Err(invalid("it has more than 20 KiB"));
        }
        let Ok(Value::Object(document)) = serde_json::from_slice(&bytes) else {
            return Err(invalid("it is not a JSON object"));
        };
        if document.keys().any(|name| name != "expiration" && name != "conditions") {
            return Err(invalid("it holds something else than expiration and conditions"));
        }
        let expires = document.get("expiration").and_then(Value::as_str);
        let expires = expires.ok_or_else(|| invalid("it has no expiration"))?;
        let expires = Timestamp::parse(TimestampFormat::DateTime, expires)
            .map_err(|_| invalid("its expiration is not like 2030-01-01T00:00:00Z"))?;
        let conditions = document.get("conditions").and_then(Value::as_array);
        let conditions = conditions.ok_or_else(|| invalid("it has no list of conditions"))?;
        if conditions.len() > CONDITIONS_MAX {
            return Err(invalid("it has more than 200 conditions"));
        }
        Ok(Self { expires, conditions: conditions.iter().map(condition).collect::<S3Result<_>>()? })
    }

    /// Refuses what the policy does not allow; the file's length is for [`Self::length`].
    pub(crate) fn check(&self, fields: &[(String, String)], bucket: &str, now: &Timestamp) -> S3Result<()> {
        if self.expires <= *now {
            return Err(denied("Policy expired"));
        }
        let value = |name: &str| match name {
            "bucket" => Some(bucket),
            name => fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()),
        };
        for condition in &self.conditions {
            let (name, holds) = match condition {
                Condition::Equals(name, wanted) => (name, value(name) == Some(wanted)),
                Condition::Starts(name, start) => (
                    name,
                    value(name).is_some_and(|value| value.starts_with(start.as_str())) || start.is_empty(),
                ),
                Condition::Length(_) => continue,
            };
            if !holds {
                return Err(denied(&format!("Policy Condition failed for the field '{name}'")));
            }
        }
        let named = |name: &str| {
            self.conditions.iter().any(|condition| match condition {
                Condition::Equals(known, _) | Condition::Starts(known, _) => known == name,
                Condition::Length(_) => false,
            })
        };
        if let Some((name, _)) = fields.iter().find(|(name, _)| !is_exempt(name) && !named(name)) {
            return Err(denied(&format!("Extra input fields: {name}")));
        }
        if value("bucket").is_some_and(|given| fields.iter().any(|(name, v)| name == "bucket" && v != given))
        {
            return Err(denied("the field bucket names another bucket than the address"));
        }
        Ok(())
    }

    /// How many bytes the file may have: what all conditions allow.
    pub(crate) fn length(&self) -> RangeInclusive<u64> {
        self.conditions.iter().fold(0..=u64::MAX, |range, condition| match condition {
            Condition::Length(one) => *range.start().max(one.start())..=*range.end().min(one.end()),
            Condition::Equals(..) | Condition::Starts(..) => range,
        })
    }
}

/// Fields that no policy needs to name.
fn is_exempt(name: &str) -> bool {
    matches!(name, "x-amz-signature" | "policy") || name.starts_with("x-ignore-")
}

fn condition(value: &Value) -> S3Result<Condition> {
    let malformed = || invalid("a condition is not understood");
    match value {
        Value::Object(pair) => of_object(pair).ok_or_else(malformed),
        Value::Array(list) => of_list(list).ok_or_else(malformed),
        _ => Err(malformed()),
    }
}

fn of_object(pair: &Map<String, Value>) -> Option<Condition> {
    let mut pairs = pair.iter();
    match (pairs.next(), pairs.next()) {
        (Some((name, Value::String(value))), None) => {
            Some(Condition::Equals(name.to_ascii_lowercase(), value.clone()))
        }
        _ => None,
    }
}

fn of_list(list: &[Value]) -> Option<Condition> {
    let [Value::String(kind), first, second] = list else { return None };
    let kind = kind.to_ascii_lowercase();
    if kind == "content-length-range" {
        let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
        let (low, high) = (number(first)?, number(second)?);
        return (low <= high).then_some(Condition::Length(low..=high));
    }
    let name = first.as_str()?.strip_prefix('$')?.to_ascii_lowercase();
    let value = second.as_str()?.to_owned();
    match kind.as_str() {
        "eq" => Some(Condition::Equals(name, value)),
        "starts-with" => Some(Condition::Starts(name, value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2030-01-01T00:00:00Z";

    fn told(policy: &str, fields: &[(&str, &str)]) -> String {
        let fields: Vec<_> = fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let now = Timestamp::parse(TimestampFormat::DateTime, NOW).expect("a date");
        let field = base64_simd::STANDARD.encode_to_string(policy);
        Policy::parse(&field)
            .and_then(|policy| policy.check(&fields, "b", &now).map(|()| policy.length()))
            .map_or_else(|error| error.code().as_str().to_owned(), |length| format!("{length:?}"))
    }

    fn with(conditions: &str) -> String {
        format!("{{\"expiration\": \"2031-01-01T00:00:00Z\", \"conditions\": [{conditions}]}}")
    }

    #[test]
    #[allow(clippy::type_complexity)] // a table of cases spells its type out
    fn conditions_decide() {
        let any = format!("0..={}", u64::MAX);
        let key: &[(&str, &str)] = &[("key", "a/b")];
        let cases: [(&str, &[(&str, &str)], &str); 22] = [
            ("", &[], &any),
            ("", key, "AccessDenied"),
            ("{\"key\": \"a/b\"}", key, &any),
            ("{\"Key\": \"a/b\"}", key, &any),
            ("{\"key\": \"a\"}", key, "AccessDenied"),
            ("{\"key\": \"a/b\", \"acl\": \"x\"}", key, "InvalidPolicyDocument"),
            ("{\"key\": 7}", key, "InvalidPolicyDocument"),
            ("[\"eq\", \"$key\", \"a/b\"]", key, &any),
            ("[\"eq\", \"key\", \"a/b\"]", key, "InvalidPolicyDocument"),
            ("[\"starts-with\", \"$key\", \"a/\"]", key, &any),
            ("[\"starts-with\", \"$key\", \"b/\"]", key, "AccessDenied"),
            ("[\"starts-with\", \"$key\", \"\"]", key, &any),
            ("[\"starts-with\", \"$key\", \"\"], [\"starts-with\", \"$x\", \"y\"]", key, "AccessDenied"),
            ("[\"ends-with\", \"$key\", \"b\"]", key, "InvalidPolicyDocument"),
            ("{\"bucket\": \"b\"}, {\"key\": \"a/b\"}", key, &any),
            ("{\"bucket\": \"c\"}, {\"key\": \"a/b\"}", key, "AccessDenied"),
            ("{\"bucket\": \"b\"}", &[("bucket", "c")], "AccessDenied"),
            ("", &[("x-ignore-me", "1"), ("policy", "p"), ("x-amz-signature", "s")], &any),
            ("[\"content-length-range\", 1, 10], [\"content-length-range\", \"5\", 20]", &[], "5..=10"),
            ("[\"content-length-range\", 10, 1]", &[], "InvalidPolicyDocument"),
            ("[\"content-length-range\", -1, 1]", &[], "InvalidPolicyDocument"),
            ("[\"content-length-range\", 1]", &[], "InvalidPolicyDocument"),
        ];
        for (conditions, fields, expected) in cases {
            assert_eq!(told(&with(conditions), fields), expected, "{conditions} {fields:?}");
        }
    }

    #[test]
    fn documents_are_strict() {
        let long = with(&format!("{{\"x-ignore-a\": \"{}\"}}", "v".repeat(POLICY_BYTES_MAX)));
        for (policy, expected) in [
            ("", "InvalidPolicyDocument"),
            ("[]", "InvalidPolicyDocument"),
            ("{}", "InvalidPolicyDocument"),
            ("{\"expiration\": \"2031-01-01T00:00:00Z\"}", "InvalidPolicyDocument"),
            ("{\"conditions\": []}", "InvalidPolicyDocument"),
            ("{\"EXPIRATION\": \"2031-01-01T00:00:00Z\", \"conditions\": []}", "InvalidPolicyDocument"),
            ("{\"expiration\": \"tomorrow\", \"conditions\": []}", "InvalidPolicyDocument"),
            ("{\"expiration\": 7, \"conditions\": []}", "InvalidPolicyDocument"),
            ("{\"expiration\": \"2031-01-01T00:00:00Z\", \"conditions\": {}}", "InvalidPolicyDocument"),
            ("{\"expiration\": \"2030-01-01T00:00:00Z\", \"conditions\": []}", "AccessDenied"),
            ("{\"expiration\": \"2029-01-01T00:00:00.000Z\", \"conditions\": []}", "AccessDenied"),
            (&long, "InvalidPolicyDocument"),
        ] {
            assert_eq!(told(policy, &[]), expected, "{}", &policy[..policy.len().min(80)]);
        }
        assert!(Policy::parse("%%%").is_err());
    }
}
