//! Endpoints: where a server is, and the address of a bucket or key in it.

use std::fmt::Write as _;

use crate::error::S3Error;

/// Where the bucket's name goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Style {
    /// Virtual-host style at AWS, path style elsewhere.
    #[default]
    Auto,
    /// `host/bucket/key`
    Path,
    /// `bucket.host/key`
    Virtual,
}

/// A server by its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    secure: bool,
    host: String,
    port: u16,
    style: Style,
}

/// One bucket or key as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// As it is connected to, without the port.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As the Host header says it: without the port that the scheme implies.
    pub(crate) authority: String,
    /// Percent-encoded.
    pub(crate) path: String,
}

impl Endpoint {
    /// Takes `http://HOST[:PORT]` or `https://…`.
    pub fn new(url: &str, style: Style) -> Result<Self, S3Error> {
        let wrong = |what: &str| S3Error::Unusable { what: format!("`{url}` is no endpoint: {what}") };
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| wrong("it begins with http:// or https://"))?;
        let secure = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(wrong("it begins with http:// or https://")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '@']) {
            return Err(wrong("it has a host and a port and nothing behind them"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong("its port is not a number"))?)
            }
            _ => (authority, if secure { 443 } else { 80 }),
        };
        let printable = host.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || !printable {
            return Err(wrong("it has no host"));
        }
        Ok(Self { secure, host: host.to_ascii_lowercase(), port, style })
    }

    /// Whether it speaks TLS.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Scheme, host and port.
    pub fn url(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}", self.authority(&self.host))
    }

    fn authority(&self, host: &str) -> String {
        match (self.secure, self.port) {
            (true, 443) | (false, 80) => host.to_owned(),
            (_, port) => format!("{host}:{port}"),
        }
    }

    fn names_buckets_in_host(&self, bucket: &str) -> bool {
        let aws = self.host.ends_with(".amazonaws.com") || self.host.ends_with(".amazonaws.com.cn");
        // A certificate for *.host does not cover a second dot.
        let fits = !(self.secure && bucket.contains('.'));
        fits && match self.style {
            Style::Virtual => true,
            Style::Path => false,
            Style::Auto => aws,
        }
    }

    pub(crate) fn address(&self, bucket: Option<&str>, key: Option<&str>) -> Address {
        let mut path = String::from("/");
        let mut host = self.host.clone();
        if let Some(bucket) = bucket {
            if self.names_buckets_in_host(bucket) {
                host = format!("{bucket}.{host}");
            } else {
                path += &encode(bucket, "");
                if key.is_some() {
                    path.push('/');
                }
            }
        }
        path += &encode(key.unwrap_or(""), "/");
        Address { authority: self.authority(&host), host, port: self.port, path }
    }
}

/// Percent-encodes everything but the unreserved characters and those of `also`.
pub(crate) fn encode(text: &str, also: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        let plain =
            byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also.as_bytes().contains(&byte);
        if plain {
            encoded.push(char::from(byte));
        } else {
            // Writing into a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// Undoes percent-encoding (of `encoding-type=url`); `None` when it is broken or no UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digits = std::str::from_utf8(&digits).ok().filter(|text| !text.starts_with('+'))?;
                u8::from_str_radix(digits, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(plain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_endpoints() {
        for (url, shown) in [
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
            ("https://S3.example/", "https://s3.example"),
            ("https://s3.example:443", "https://s3.example"),
            ("http://[::1]:9000", "http://[::1]:9000"),
            ("http://[::1]", "http://[::1]"),
        ] {
            assert_eq!(Endpoint::new(url, Style::Auto).expect(url).url(), shown);
        }
        for bad in [
            "",
            "s3.example",
            "ftp://s3.example",
            "http://",
            "http://h/path",
            "http://h:x",
            "http://u@h",
            "http://a b",
        ] {
            assert!(matches!(Endpoint::new(bad, Style::Auto), Err(S3Error::Unusable { .. })), "{bad:?}");
        }
    }

    #[test]
    fn buckets_stand_in_the_path_or_in_the_host() {
        let seen = |url, style, bucket, key| {
            let address = Endpoint::new(url, style).expect("valid").address(bucket, key);
            format!("{} {}", address.authority, address.path)
        };
        let (local, aws) = ("http://127.0.0.1:9000", "https://s3.eu-west-1.amazonaws.com");
        for (url, style, bucket, key, shown) in [
            (local, Style::Auto, None, None, "127.0.0.1:9000 /"),
            (local, Style::Auto, Some("b"), None, "127.0.0.1:9000 /b"),
            (local, Style::Auto, Some("b"), Some("a/ü b+c"), "127.0.0.1:9000 /b/a/%C3%BC%20b%2Bc"),
            ("http://s3.test:80", Style::Virtual, Some("b"), Some("k"), "b.s3.test /k"),
            (aws, Style::Auto, Some("b"), None, "b.s3.eu-west-1.amazonaws.com /"),
            (aws, Style::Auto, Some("b.c"), Some("k"), "s3.eu-west-1.amazonaws.com /b.c/k"),
            (aws, Style::Path, Some("b"), Some("//k/../x"), "s3.eu-west-1.amazonaws.com /b///k/../x"),
        ] {
            assert_eq!(seen(url, style, bucket, key), shown);
        }
    }

    #[test]
    fn names_survive_their_encoding() {
        for name in ["", "plain", "a+b c%d", "ü/\u{1}\n?&=#"] {
            assert_eq!(decode(&encode(name, "")).as_deref(), Some(name));
        }
        for bad in ["%", "%4", "%zz", "%+1", "%ff"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
