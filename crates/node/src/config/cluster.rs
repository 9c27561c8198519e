//! A node's place in a cluster, among the settings: where it is reached, where it stands, and the token it comes with.

use std::net::SocketAddr;

use pangea_core::cluster::{ADDRESSES_MAX, JoinToken, TEXT_BYTES_MAX};
use pangea_core::layout::Domain;

use super::{ADVERTISE, ConfigError, JOIN, LABEL, NODE_LISTEN, Stack, address};

/// What is said of the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClusterOptions {
    /// Where other nodes knock. `None`: as it was the last time; a server that never had it is on its own.
    pub listen: Option<SocketAddr>,
    /// Where other nodes reach this one, as text, the best first; empty: where it listens.
    pub advertise: Vec<String>,
    /// The token of a cluster that it shall join.
    pub join: Option<JoinToken>,
    /// Where it stands.
    pub labels: Domain,
}

/// The part of a stack of settings that is about the cluster.
pub(super) fn read(stack: &Stack) -> Result<ClusterOptions, ConfigError> {
    let listen = stack.optional(NODE_LISTEN, "HOST:PORT", address)?;
    let join = stack.optional(JOIN, "a token as `pangea cluster init` prints it, all of it", |text| {
        JoinToken::parse(text).ok()
    });
    // Whoever has a token may join: it is not repeated.
    let join = join.map_err(|error| match error {
        ConfigError::Invalid { what, wanted, .. } => {
            ConfigError::Invalid { what, value: String::new(), wanted }
        }
        other => other,
    })?;
    let advertise = list(stack, ADVERTISE);
    let wrong = advertise.iter().find(|text| !is_reachable(text));
    if let Some(value) = wrong {
        let (what, value) = ("advertise".into(), value.clone());
        return Err(ConfigError::Invalid {
            what,
            value,
            wanted: "HOST:PORT that other nodes can reach, at most 8",
        });
    }
    if advertise.len() > ADDRESSES_MAX {
        let (what, value) = ("advertise".into(), advertise.len().to_string());
        return Err(ConfigError::Invalid { what, value, wanted: "at most 8 addresses" });
    }
    Ok(ClusterOptions { listen, advertise, join, labels: labels(&list(stack, LABEL))? })
}

fn list(stack: &Stack, name: &'static str) -> Vec<String> {
    stack.0.iter().find_map(|layer| layer.list(name)).unwrap_or_default()
}

/// Whether it is `HOST:PORT` with a host that means one machine and a port that means one.
fn is_reachable(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let plain = text.len() <= TEXT_BYTES_MAX
        && !text.contains(|letter: char| letter.is_whitespace() || letter == ',');
    plain && !["", "0.0.0.0", "[::]", "::"].contains(&host) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn labels(texts: &[String]) -> Result<Domain, ConfigError> {
    let mut labels = Domain::default();
    for text in texts {
        let invalid = || ConfigError::Invalid {
            what: "label".into(),
            value: text.clone(),
            wanted: "region=NAME, site=NAME, rack=NAME or host=NAME, each once, names of a-z, A-Z, 0-9, ., - and _",
        };
        let (level, name) = text.split_once('=').ok_or_else(invalid)?;
        let place = match level {
            "region" => &mut labels.region,
            "site" => &mut labels.site,
            "rack" => &mut labels.rack,
            "host" => &mut labels.host,
            _ => return Err(invalid()),
        };
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        if !place.is_empty() || name.is_empty() || name.len() > TEXT_BYTES_MAX || !name.chars().all(plain) {
            return Err(invalid());
        }
        *place = name.to_owned();
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_name_each_level_once() {
        let read = |texts: &[&str]| labels(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        let domain = read(&["site=north", "host=n1", "rack=r.2", "region=eu-1"]).expect("valid");
        assert_eq!((domain.site.as_str(), domain.region.as_str()), ("north", "eu-1"));
        for wrong in
            [&["sight=north"][..], &["site="], &["site"], &["site=a b"], &["site=a", "site=b"], &["=x"]]
        {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_address_to_advertise_means_one_machine() {
        for good in ["node-1.example:9002", "10.0.0.1:9002", "[::1]:1"] {
            assert!(is_reachable(good), "{good}");
        }
        for wrong in
            ["", "node", "node:", "node:0", ":9002", "0.0.0.0:9002", "[::]:9002", "a b:1", "a,b:1", "n:99999"]
        {
            assert!(!is_reachable(wrong), "{wrong}");
        }
    }
}
