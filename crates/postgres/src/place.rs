//! Places: where the server is, as an operator writes it.
//!
//! Owns the reading of `postgres://USER:PASSWORD@HOST[:PORT][,HOST…]/DATABASE?…`. `sslmode` and `sslrootcert` mean what
//! libpq says they mean, with one difference: where `sslmode` is not given, a server that is not on this machine must show
//! a certificate that fits its name (`verify-full`); libpq would take anything. A password is never shown.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

/// What the connection must be like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TlsMode {
    /// Never encrypted.
    Disable,
    /// Encrypted if the server can; no certificate is checked.
    Prefer,
    /// Encrypted; no certificate is checked.
    Require,
    /// Encrypted, and the certificate leads to a known root.
    VerifyCa,
    /// Encrypted, and the certificate leads to a known root and names the host.
    VerifyFull,
}

impl TlsMode {
    /// What libpq calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// Why a place cannot be used. Nothing of it repeats the URL, which holds a password.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BadPlace {
    /// Not `postgres://` or `postgresql://`.
    Scheme,
    /// The driver does not understand it; what it says.
    Malformed(String),
    /// No host is named.
    NoHost,
    /// No user is named.
    NoUser,
    /// No database is named.
    NoDatabase,
    /// `sslmode` is none of those there are.
    SslMode(String),
    /// A server that only reads cannot keep metadata.
    OnlyReading,
}

impl fmt::Display for BadPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme => {
                write!(f, "a PostgreSQL place is written postgres://USER:PASSWORD@HOST:PORT/DATABASE")
            }
            Self::Malformed(why) => write!(f, "the PostgreSQL place is malformed: {why}"),
            Self::NoHost => {
                write!(f, "the PostgreSQL place names no host: postgres://USER:PASSWORD@HOST:PORT/DATABASE")
            }
            Self::NoUser => {
                write!(f, "the PostgreSQL place names no user: postgres://USER:PASSWORD@HOST:PORT/DATABASE")
            }
            Self::NoDatabase => {
                write!(
                    f,
                    "the PostgreSQL place names no database: postgres://USER:PASSWORD@HOST:PORT/DATABASE"
                )
            }
            Self::SslMode(mode) => {
                write!(f, "sslmode={mode} is none of disable, prefer, require, verify-ca, verify-full")
            }
            Self::OnlyReading => {
                write!(f, "target_session_attrs must be read-write (the default) or any: metadata is written")
            }
        }
    }
}

impl std::error::Error for BadPlace {}

/// Where the server is, and how to reach it.
#[derive(Clone)]
pub struct Place {
    pub(crate) config: Config,
    /// What TLS the connection must have.
    pub tls: TlsMode,
    /// The file with the roots that certificates must lead to (`sslrootcert`); the composition reads it. None: the system's.
    pub root_file: Option<PathBuf>,
}

impl FromStr for Place {
    type Err = BadPlace;

    fn from_str(url: &str) -> Result<Self, BadPlace> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(BadPlace::Scheme);
        }
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut tls, mut root_file, mut rest) = (None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", mode)) => tls = Some(tls_mode(mode)?),
                Some(("sslrootcert", path)) => root_file = Some(PathBuf::from(percent_decoded(path)?)),
                _ => rest.push(pair),
            }
        }
        let plain = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
        let mut config: Config = plain.parse().map_err(|error| BadPlace::Malformed(cause(&error)))?;
        if config.get_hosts().is_empty() {
            return Err(BadPlace::NoHost);
        }
        if config.get_user().is_none() {
            return Err(BadPlace::NoUser);
        }
        if config.get_dbname().is_none_or(str::is_empty) {
            return Err(BadPlace::NoDatabase);
        }
        match config.get_target_session_attrs() {
            TargetSessionAttrs::ReadOnly => return Err(BadPlace::OnlyReading),
            _ => config.target_session_attrs(TargetSessionAttrs::ReadWrite),
        };
        let tls = tls.unwrap_or(if near(&config) { TlsMode::Prefer } else { TlsMode::VerifyFull });
        config.ssl_mode(match tls {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        });
        Ok(Self { config, tls, root_file })
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config && self.tls == other.tls && self.root_file == other.root_file
    }
}

/// The place for people: hosts and database, no password.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://")?;
        let ports = self.config.get_ports();
        for (at, host) in self.config.get_hosts().iter().enumerate() {
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
            let comma = if at == 0 { "" } else { "," };
            match host {
                Host::Tcp(name) => write!(f, "{comma}{name}:{port}")?,
                #[cfg(unix)]
                Host::Unix(path) => write!(f, "{comma}{}:{port}", path.display())?,
            }
        }
        write!(f, "/{}", self.config.get_dbname().unwrap_or_default())
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} sslmode={}", self.tls.name())
    }
}

fn tls_mode(mode: &str) -> Result<TlsMode, BadPlace> {
    let all = [TlsMode::Disable, TlsMode::Prefer, TlsMode::Require, TlsMode::VerifyCa, TlsMode::VerifyFull];
    all.into_iter().find(|known| known.name() == mode).ok_or_else(|| BadPlace::SslMode(mode.to_owned()))
}

/// Whether all hosts are this machine.
fn near(config: &Config) -> bool {
    config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    })
}

/// The driver's reason without the text that it was about.
fn cause(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn percent_decoded(text: &str) -> Result<String, BadPlace> {
    let malformed = || BadPlace::Malformed("sslrootcert is not percent-encoded UTF-8".to_owned());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit =
                |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16)).ok_or_else(malformed);
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            bytes.push((high * 16 + low) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_and_shown_without_its_password() {
        let url = "postgres://pangea:secret@a.example:5433,b.example/meta?sslmode=verify-ca&sslrootcert=/etc/ca%20x.pem";
        let place: Place = url.parse().expect("it is well formed");
        assert_eq!(format!("{place:?}"), "postgres://a.example:5433,b.example:5432/meta sslmode=verify-ca");
        assert_eq!(place.root_file, Some(PathBuf::from("/etc/ca x.pem")));
        assert_eq!(place.config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
    }

    #[test]
    fn only_a_near_server_may_go_without_a_certificate() {
        for (url, mode) in [
            ("postgres://u@localhost/d", TlsMode::Prefer),
            ("postgres://u@127.0.0.1,[::1]/d", TlsMode::Prefer),
            ("postgresql://u@%2Frun%2Fpostgresql/d", TlsMode::Prefer),
            ("postgres://u@db.example/d", TlsMode::VerifyFull),
            ("postgres://u@127.0.0.1,db.example/d", TlsMode::VerifyFull),
            ("postgres://u@db.example/d?sslmode=disable", TlsMode::Disable),
        ] {
            assert_eq!(url.parse::<Place>().map(|place| place.tls), Ok(mode), "{url}");
        }
    }

    #[test]
    fn a_bad_place_is_told_apart() {
        for (url, bad) in [
            ("mysql://u@h/d", BadPlace::Scheme),
            ("postgres:///d?user=u", BadPlace::NoHost),
            ("postgres://h/d", BadPlace::NoUser),
            ("postgres://u@h", BadPlace::NoDatabase),
            ("postgres://u@h/d?sslmode=maybe", BadPlace::SslMode("maybe".to_owned())),
            ("postgres://u@h/d?target_session_attrs=read-only", BadPlace::OnlyReading),
        ] {
            assert_eq!(url.parse::<Place>().map(|_| ()), Err(bad), "{url}");
        }
        assert!(matches!("postgres://u@h:notaport/d".parse::<Place>(), Err(BadPlace::Malformed(_))));
        assert!(matches!("postgres://u@h/d?nonsense=1".parse::<Place>(), Err(BadPlace::Malformed(_))));
    }
}
