//! The gateway's limits among the settings: numbers with their bounds.

use std::time::Duration;

use pangea_gateway::Options as GatewayOptions;

use super::{
    ANSWER_GRACE, ANSWER_RATE, BODY_GRACE, BODY_RATE, ConfigError, DOMAIN, HEAD_TIMEOUT, IDLE_TIMEOUT,
    KEY_RATE, MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS, MAX_PUT_BYTES, MAX_REQUESTS, QUEUE_WAIT, Stack,
};

const DOMAINS_MAX: usize = 16;
const DOMAIN_CHARS_MAX: usize = 190;

/// The limits that a stack of settings gives; what it does not say is as the gateway has it.
pub(super) fn read(stack: &Stack) -> Result<GatewayOptions, ConfigError> {
    let default = GatewayOptions::default();
    let count = |name, default: usize, least: usize| {
        stack.parse(name, default, "a number, at most 1000000", move |text| {
            text.parse().ok().filter(|number| (least..=1_000_000).contains(number))
        })
    };
    let seconds = |name, default: Duration| {
        stack.parse(name, default, "seconds, 1 to 86400", |text| {
            text.parse().ok().filter(|seconds| (1..=86_400).contains(seconds)).map(Duration::from_secs)
        })
    };
    let per_second = |name, default| {
        stack.parse(name, default, "a number, at most 1000000000", |text| {
            text.parse().ok().filter(|number| *number <= 1_000_000_000)
        })
    };
    let rate = |name, default| per_second(name, u32::try_from(default).unwrap_or(0)).map(u64::from);
    Ok(GatewayOptions {
        domains: domains(stack)?,
        connections_max: count(MAX_CONNECTIONS, default.connections_max, 1)?,
        connections_per_address_max: count(
            MAX_CONNECTIONS_PER_ADDRESS,
            default.connections_per_address_max,
            0,
        )?,
        requests_max: count(MAX_REQUESTS, default.requests_max, 1)?,
        key_requests_per_second: per_second(KEY_RATE, default.key_requests_per_second)?,
        queue_wait: seconds(QUEUE_WAIT, default.queue_wait)?,
        head_timeout: seconds(HEAD_TIMEOUT, default.head_timeout)?,
        idle_timeout: seconds(IDLE_TIMEOUT, default.idle_timeout)?,
        body_grace: seconds(BODY_GRACE, default.body_grace)?,
        body_rate_min: rate(BODY_RATE, default.body_rate_min)?,
        answer_grace: seconds(ANSWER_GRACE, default.answer_grace)?,
        answer_rate_min: rate(ANSWER_RATE, default.answer_rate_min)?,
        put_bytes_max: stack.parse(MAX_PUT_BYTES, default.put_bytes_max, "bytes, 1 to 5 GiB", |text| {
            text.parse().ok().filter(|bytes| (1..=5 << 30).contains(bytes))
        })?,
        ..default
    })
}

fn domains(stack: &Stack) -> Result<Vec<String>, ConfigError> {
    let listed = stack.0.iter().find_map(|layer| layer.list(DOMAIN).map(|list| (layer.place(DOMAIN), list)));
    let Some((what, list)) = listed else { return Ok(Vec::new()) };
    let is_name = |name: &String| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
        (1..=DOMAIN_CHARS_MAX).contains(&name.len())
            && name.bytes().all(plain)
            && !name.starts_with('.')
            && !name.ends_with('.')
    };
    if let Some(value) = list.iter().find(|name| !is_name(name)).cloned() {
        return Err(ConfigError::Invalid { what, value, wanted: "a host name without port" });
    }
    if list.len() > DOMAINS_MAX {
        let value = list.len().to_string();
        return Err(ConfigError::Invalid { what, value, wanted: "at most 16 host names" });
    }
    Ok(list)
}
