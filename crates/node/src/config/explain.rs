//! What a server would be told, setting by setting, and who told it.

use super::database::META_PATIENCE_DEFAULT;
use super::{
    ADMIN_LISTEN, ADMIN_LISTEN_DEFAULT, ANSWER_GRACE, ANSWER_RATE, BODY_GRACE, BODY_RATE, ConfigError,
    GatewayOptions, HEAD_TIMEOUT, IDLE_TIMEOUT, IO_ENGINE, KEY_RATE, LISTEN, LISTEN_DEFAULT, LISTS, LOG,
    LOG_DEFAULT, Layer, MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS, MAX_PUT_BYTES, MAX_REQUESTS, META,
    META_PATIENCE, QUEUE_WAIT, REGION, REGION_DEFAULT, SCRUB_DAYS, SCRUB_DAYS_DEFAULT, SETTINGS, resolve,
    stack,
};

const NOT_SHOWN: &str = "(set, not shown)";

/// One setting as it resulted.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Explained {
    /// Its name in the file.
    pub name: &'static str,
    /// Its value; of a secret only whether there is one.
    pub value: Option<String>,
    /// Where the value was given: a flag, a variable, a line of the file, or `default`.
    pub source: String,
    /// One line for people.
    pub help: &'static str,
}

/// Explains every setting, in the table's order; and what a server would refuse about them, if it would.
///
/// # Errors
/// When the file cannot be read.
pub fn explain(
    flags: Layer,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<(Vec<Explained>, Option<ConfigError>), ConfigError> {
    let (stack, unknown) = stack(flags, environment)?;
    let one = |setting: &super::Setting| {
        let given = stack.0.iter().find_map(|layer| {
            let value = if LISTS.contains(&setting.name) {
                layer.list(setting.name)?.join(",")
            } else {
                layer.text(setting.name)?.to_owned()
            };
            Some((value, layer.place(setting.name)))
        });
        let (value, source) = match given {
            Some((_, source)) if setting.secret => (Some(NOT_SHOWN.to_owned()), source),
            // Its URL may hold a password.
            Some((url, source)) if setting.name == META => {
                (Some(crate::database::shown(&url).unwrap_or_else(|| NOT_SHOWN.to_owned())), source)
            }
            Some((value, source)) => (Some(value), source),
            None => (default(setting.name), "default".to_owned()),
        };
        Explained { name: setting.name, value, source, help: setting.help }
    };
    let explained = SETTINGS.iter().map(one).collect();
    Ok((explained, resolve(&stack, unknown).err()))
}

/// What a setting is unless it is given; `None`: nothing, or it depends on the drives.
fn default(name: &str) -> Option<String> {
    let limits = GatewayOptions::default();
    let text = match name {
        LISTEN => LISTEN_DEFAULT.to_owned(),
        ADMIN_LISTEN => ADMIN_LISTEN_DEFAULT.to_owned(),
        REGION => REGION_DEFAULT.to_owned(),
        LOG => LOG_DEFAULT.to_owned(),
        IO_ENGINE => "auto".to_owned(),
        META_PATIENCE => META_PATIENCE_DEFAULT.to_string(),
        SCRUB_DAYS => SCRUB_DAYS_DEFAULT.to_string(),
        MAX_CONNECTIONS => limits.connections_max.to_string(),
        MAX_CONNECTIONS_PER_ADDRESS => limits.connections_per_address_max.to_string(),
        MAX_REQUESTS => limits.requests_max.to_string(),
        KEY_RATE => limits.key_requests_per_second.to_string(),
        QUEUE_WAIT => limits.queue_wait.as_secs().to_string(),
        HEAD_TIMEOUT => limits.head_timeout.as_secs().to_string(),
        IDLE_TIMEOUT => limits.idle_timeout.as_secs().to_string(),
        BODY_GRACE => limits.body_grace.as_secs().to_string(),
        BODY_RATE => limits.body_rate_min.to_string(),
        ANSWER_GRACE => limits.answer_grace.as_secs().to_string(),
        ANSWER_RATE => limits.answer_rate_min.to_string(),
        MAX_PUT_BYTES => limits.put_bytes_max.to_string(),
        _ => return None,
    };
    Some(text)
}
