//! Virtual-host style: `bucket.DOMAIN` names the bucket in the Host header. Every other host is path style.

use s3s::S3Result;
use s3s::host::{S3Host, VirtualHost};

/// The base domains, lower case, without port.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    domains: Vec<String>,
}

impl Hosts {
    /// Takes the domains that the operator named.
    pub(crate) fn new(domains: &[String]) -> Self {
        Self { domains: domains.iter().map(|domain| domain.to_ascii_lowercase()).collect() }
    }

    /// The bucket in a Host header, if it names one.
    pub(crate) fn bucket(&self, host: &str) -> Option<String> {
        if self.domains.is_empty() {
            return None;
        }
        let name = match host.rsplit_once(':') {
            Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        let name = name.to_ascii_lowercase();
        self.domains.iter().find_map(|domain| {
            let bucket = name.strip_suffix(domain.as_str())?.strip_suffix('.')?;
            (!bucket.is_empty()).then(|| bucket.to_owned())
        })
    }
}

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let parsed = VirtualHost::new(host);
        Ok(match self.bucket(host) {
            Some(bucket) => parsed.with_bucket(bucket),
            None => parsed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_below_a_domain_name_a_bucket() {
        let hosts = Hosts::new(&["S3.example.com".into(), "localhost".into()]);
        let cases = [
            ("s3.example.com", None),
            ("b.s3.example.com", Some("b")),
            ("B.c.s3.EXAMPLE.com:9000", Some("b.c")),
            ("xs3.example.com", None),
            (".s3.example.com", None),
            ("b.localhost:9000", Some("b")),
            ("localhost:9000", None),
            ("127.0.0.1:9000", None),
            ("[::1]:9000", None),
            ("other.org", None),
        ];
        for (host, expected) in cases {
            assert_eq!(hosts.bucket(host).as_deref(), expected, "{host}");
        }
        assert_eq!(Hosts::new(&[]).bucket("b.s3.example.com"), None);
    }
}
