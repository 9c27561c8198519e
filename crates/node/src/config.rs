//! Configuration: flags over `PANGEA_*` over a TOML file over defaults, into plain [`Options`].
//!
//! Owns the one table of settings ([`SETTINGS`]) that flags, environment and file share; only this room reads the
//! environment and the file. Strict where a person wrote it: an unknown key of the file, or one given twice, is an error
//! that names the nearest valid one. Unknown `PANGEA_*` variables are only reported, because orchestrators invent them
//! (a Kubernetes service called `pangea` sets `PANGEA_PORT` everywhere).

mod cluster;
mod database;
mod explain;
mod layer;
mod limits;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use pangea_core::chunk::Code;
use pangea_gateway::Options as GatewayOptions;
use zeroize::Zeroizing;

pub use crate::engine::IoEngine;
pub use cluster::ClusterOptions;
pub use database::DatabaseOptions;
pub use explain::{Explained, explain};
pub use layer::{Layer, Source};

/// Where S3 is served unless told otherwise.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:9000";
/// Where operators knock unless told otherwise.
pub const ADMIN_LISTEN_DEFAULT: &str = "127.0.0.1:9001";
/// The region that signatures name unless told otherwise.
pub const REGION_DEFAULT: &str = "us-east-1";
/// Days in which every shard is read once.
pub const SCRUB_DAYS_DEFAULT: u32 = 30;
/// The most drives of one server.
pub const DRIVES_MAX: usize = 255;
/// What is logged by default: everything worth reading, and of requests only those that failed on our side; a line for each
/// (target `pangea::s3`) is there for the asking, as `info`.
const LOG_DEFAULT: &str = "info,pangea::s3=warn";
/// S3's bounds for an access key id, and the least for a secret that is not guessed.
const ACCESS_KEY_CHARS: std::ops::RangeInclusive<usize> = 3..=128;
const SECRET_KEY_CHARS: std::ops::RangeInclusive<usize> = 8..=256;
const ADMIN_TOKEN_CHARS_MIN: usize = 16;
const CONFIG_FILE_BYTES_MAX: u64 = 1 << 20;

/// One setting, under all its names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setting {
    /// In the file; the flag is the same with dashes, the variable `PANGEA_` and capitals.
    pub name: &'static str,
    /// Whether it is a secret: then it comes from the environment only, where neither `ps` nor a backup of the
    /// configuration shows it.
    pub secret: bool,
    /// One line for people.
    pub help: &'static str,
}

macro_rules! settings {
    ($($constant:ident $name:literal $secret:literal $help:literal;)+) => {
        $(#[doc = $help] pub const $constant: &str = $name;)+

        /// Every setting there is.
        pub const SETTINGS: &[Setting] = &[$(Setting { name: $name, secret: $secret, help: $help }),+];
    };
}

settings! {
    DRIVES "drives" false "directories, one a drive";
    LISTEN "listen" false "where S3 is served, HOST:PORT";
    ADMIN_LISTEN "admin_listen" false "where operators knock, HOST:PORT";
    CONFIG "config" false "the TOML file with these settings";
    ERASURE "erasure" false "the erasure code of new data, K+M";
    REGION "region" false "the region that S3 signatures name";
    KEY_FILE "key_file" false "a file of 32 or more bytes that seals the master key";
    KEY_PASSPHRASE "key_passphrase" true "the passphrase that seals the master key";
    ROOT_ACCESS_KEY "root_access_key" false "the root access key id";
    ROOT_SECRET_KEY "root_secret_key" true "the root secret key";
    ADMIN_TOKEN "admin_token" true "the token that operators must show";
    IO_ENGINE "io_engine" false "how drives are written: auto, uring or threads";
    SCRUB_DAYS "scrub_days" false "days in which every shard is read once, 0 for never";
    LOG "log" false "what is logged: error, warn, info, debug, trace, or a filter";
    DOMAIN "domain" false "base domains of virtual-host style requests (BUCKET.DOMAIN)";
    TLS "tls" false "`self`: https with a certificate of the server's own making";
    TLS_CERT "tls_cert" false "https: the certificate chain, PEM";
    TLS_KEY "tls_key" false "https: the certificate's key, PEM";
    NODE_LISTEN "node_listen" false "where other nodes of the cluster knock, HOST:PORT";
    ADVERTISE "advertise" false "where other nodes reach this one, HOST:PORT, if not where it listens";
    JOIN "join" false "the token that makes this node a member of a cluster";
    LABEL "label" false "where the node stands: region=NAME, site=NAME, rack=NAME, host=NAME";
    META "meta" false "where the metadata lies, if not on the drives: postgres://USER:PASSWORD@HOST/DATABASE";
    META_PATIENCE "meta_patience" false "seconds that a request waits for the database while it is away";
    REQUEST_LOG "request_log" false "where a line for every request goes: a file, or - for standard error";
    MAX_CONNECTIONS "max_connections" false "open connections; more are turned away with 503";
    MAX_CONNECTIONS_PER_ADDRESS "max_connections_per_address" false "open connections of one address, 0 for any number";
    MAX_REQUESTS "max_requests" false "requests served at once; more wait, then get 503 SlowDown";
    KEY_RATE "key_rate" false "requests a second of one access key, 0 for any number";
    QUEUE_WAIT "queue_wait" false "seconds that a request may wait for its turn";
    HEAD_TIMEOUT "head_timeout" false "seconds from a request's first byte to the end of its headers";
    IDLE_TIMEOUT "idle_timeout" false "seconds between two requests of a connection";
    BODY_GRACE "body_grace" false "seconds that a body may be as slow as it likes";
    BODY_RATE "body_rate" false "bytes a second that a body must bring after that";
    ANSWER_GRACE "answer_grace" false "seconds that a client may take its answer as slowly as it likes";
    ANSWER_RATE "answer_rate" false "bytes a second that it must take after that";
    MAX_PUT_BYTES "max_put_bytes" false "bytes of one PUT or part";
}

/// Settings that are lists: a flag that may be repeated, a variable with commas, a list in the file.
const LISTS: [&str; 4] = [DRIVES, DOMAIN, ADVERTISE, LABEL];

/// What a server is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// One directory a drive, as given; at least one, no two the same.
    pub drives: Vec<PathBuf>,
    /// Where S3 is served.
    pub listen: SocketAddr,
    /// Where operators knock.
    pub admin_listen: SocketAddr,
    /// The code of new data; `None`: by the number of drives.
    pub erasure: Option<Code>,
    /// The region that signatures name.
    pub region: String,
    /// What unseals the master key.
    pub unseal: Unseal,
    /// The root key, if it was given.
    pub root: Option<RootKey>,
    /// What operators must show; `None`: a token made at every start.
    pub admin_token: Option<Secret>,
    /// Which engine writes the drives.
    pub io_engine: IoEngine,
    /// Days in which every shard is read once; 0: never by itself.
    pub scrub_days: u32,
    /// The log filter.
    pub log: String,
    /// The node's place in a cluster.
    pub cluster: ClusterOptions,
    /// The database with the metadata; `None`: it lies on the drives.
    pub meta: Option<DatabaseOptions>,
    /// How https is spoken, if it is.
    pub tls: Tls,
    /// Where a line for every request goes, if anywhere.
    pub request_log: Option<RequestLog>,
    /// The gateway's limits.
    pub limits: GatewayOptions,
    /// Variables that look like ours and are not: named in the log.
    pub unknown_variables: Vec<String>,
}

/// A secret that a person chose: wiped on drop, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What unseals the master key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Unseal {
    /// Nothing was given.
    #[default]
    Nothing,
    /// A passphrase.
    Passphrase(Secret),
    /// A file whose bytes are the secret.
    KeyFile(PathBuf),
}

/// How https is spoken.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Tls {
    /// Not at all: plain http.
    #[default]
    Off,
    /// With a certificate that the server made for itself.
    SelfSigned,
    /// With these files.
    Files {
        /// The chain, PEM.
        cert: PathBuf,
        /// Its key, PEM.
        key: PathBuf,
    },
}

/// Where a line for every request goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RequestLog {
    /// Standard error.
    Stderr,
    /// This file, at its end.
    File(PathBuf),
}

/// Root credentials.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RootKey {
    /// The access key id.
    pub id: String,
    /// The secret.
    pub secret: Secret,
}

/// What is wrong with the configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not TOML.
    Toml {
        /// Which.
        path: PathBuf,
        /// What the parser says, with line and column.
        why: String,
    },
    /// The file has a key that does not exist.
    UnknownKey {
        /// Which file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The nearest one that exists, if one is near.
        nearest: Option<&'static str>,
    },
    /// A secret stands in the file.
    SecretInFile {
        /// Which file.
        path: PathBuf,
        /// The key.
        key: &'static str,
    },
    /// A value that cannot be.
    Invalid {
        /// The setting as it was given, with where.
        what: String,
        /// The value; empty for secrets.
        value: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// No drive was named.
    NoDrives,
    /// A directory was named twice.
    DriveTwice {
        /// Which.
        path: PathBuf,
    },
    /// A setting without the other one that it needs.
    Needs {
        /// What was given.
        given: &'static str,
        /// What is missing.
        missing: &'static str,
    },
    /// Two settings that exclude each other.
    Excludes {
        /// One.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// The database that is to hold the metadata cannot be meant.
    Database {
        /// The setting, with where it was given.
        what: String,
        /// What is wrong with it; nothing of its text, which may hold a password.
        why: String,
    },
    /// An admin address that others can reach, without a token.
    OpenAdmin {
        /// The address.
        listen: SocketAddr,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, source } => {
                write!(f, "cannot read the configuration {}: {source}", path.display())
            }
            Self::Toml { path, why } => write!(f, "{} is not valid TOML: {why}", path.display()),
            Self::UnknownKey { path, key, nearest } => {
                write!(f, "{}: there is no setting `{key}`", path.display())?;
                nearest.map_or(Ok(()), |name| write!(f, "; did you mean `{name}`?"))
            }
            Self::SecretInFile { path, key } => {
                write!(f, "{}: `{key}` is a secret and does not belong in a file", path.display())
            }
            Self::Invalid { what, value, wanted } if value.is_empty() => write!(f, "{what} must be {wanted}"),
            Self::Invalid { what, value, wanted } => write!(f, "{what} must be {wanted}, not `{value}`"),
            Self::NoDrives => write!(f, "no drive was named"),
            Self::DriveTwice { path } => write!(f, "the drive {} was named twice", path.display()),
            Self::Needs { given, missing } => write!(f, "{given} was given without {missing}"),
            Self::Excludes { one, other } => write!(f, "{one} and {other} exclude each other"),
            Self::Database { what, why } => write!(f, "{what}: {why}"),
            Self::OpenAdmin { listen } => {
                write!(f, "the admin address {listen} can be reached by others and no operator token is set")
            }
        }
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// What to do about it, in one line.
    pub fn advice(&self) -> String {
        match self {
            Self::File { .. } => "check the path of --config and its permissions".into(),
            Self::Toml { .. } => "correct the line that is named".into(),
            Self::UnknownKey { .. } => format!("valid settings: {}", names().join(", ")),
            Self::SecretInFile { key, .. } => {
                format!("set the environment variable {} instead", variable(key))
            }
            Self::Invalid { .. } => "correct the value; `pangea server --help` shows every setting".into(),
            Self::NoDrives => "name one or more directories: pangea server ./data".into(),
            Self::DriveTwice { .. } => "every drive is a directory of its own".into(),
            Self::Needs { missing, .. } => format!("set {missing} too"),
            Self::Excludes { .. } => "choose one of them".into(),
            Self::Database { .. } => crate::database::CONFIG_ADVICE.into(),
            Self::OpenAdmin { .. } => {
                format!("set {} (16 or more characters), or listen on 127.0.0.1", variable(ADMIN_TOKEN))
            }
        }
    }
}

/// The variable of a setting.
pub fn variable(name: &str) -> String {
    format!("PANGEA_{}", name.to_ascii_uppercase())
}

/// Reads everything: `flags` as the command line gave them, `environment` as the process has it.
pub fn load(
    flags: Layer,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Options, ConfigError> {
    let (stack, unknown_variables) = stack(flags, environment)?;
    resolve(&stack, unknown_variables)
}

/// All layers, the file that they name among them; and the variables that only look like ours.
fn stack(
    flags: Layer,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<(Stack, Vec<String>), ConfigError> {
    let (variables, unknown_variables) = Layer::from_environment(environment);
    let mut layers = vec![flags, variables];
    let file = layers.iter().find_map(|layer| layer.text(CONFIG).map(PathBuf::from));
    if let Some(path) = file {
        layers.push(Layer::from_toml(&path, &read_file(&path)?)?);
    }
    Ok((Stack(layers), unknown_variables))
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::File { path: path.to_owned(), source };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > CONFIG_FILE_BYTES_MAX {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "more than 1 MiB")));
    }
    std::fs::read_to_string(path).map_err(failed)
}

/// Layers, the strongest first.
struct Stack(Vec<Layer>);

impl Stack {
    /// The strongest value of a setting, with where it was given.
    fn find(&self, name: &'static str) -> Option<(String, &str)> {
        self.0.iter().find_map(|layer| layer.text(name).map(|text| (layer.place(name), text)))
    }

    fn parse<T>(
        &self,
        name: &'static str,
        default: T,
        wanted: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let Some((what, text)) = self.find(name) else { return Ok(default) };
        let secret = SETTINGS.iter().any(|setting| setting.name == name && setting.secret);
        let value = if secret { String::new() } else { text.to_owned() };
        parse(text).ok_or(ConfigError::Invalid { what, value, wanted })
    }

    fn optional<T>(
        &self,
        name: &'static str,
        wanted: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        self.parse(name, None, wanted, |text| parse(text).map(Some))
    }
}

fn resolve(stack: &Stack, unknown_variables: Vec<String>) -> Result<Options, ConfigError> {
    let options = Options {
        drives: drives(stack)?,
        listen: stack.parse(LISTEN, address(LISTEN_DEFAULT).expect("valid"), "HOST:PORT", address)?,
        admin_listen: stack.parse(
            ADMIN_LISTEN,
            address(ADMIN_LISTEN_DEFAULT).expect("valid"),
            "HOST:PORT",
            address,
        )?,
        erasure: stack.optional(ERASURE, "K+M with K at least 1 and K+M at most 255", Code::parse)?,
        region: stack.parse(REGION, REGION_DEFAULT.into(), "1 to 63 of a-z, 0-9 and -", region)?,
        unseal: unseal(stack)?,
        root: root(stack)?,
        admin_token: stack.optional(ADMIN_TOKEN, "16 or more visible characters", admin_token)?,
        io_engine: stack.parse(IO_ENGINE, IoEngine::default(), "auto, uring or threads", IoEngine::parse)?,
        scrub_days: stack.parse(
            SCRUB_DAYS,
            SCRUB_DAYS_DEFAULT,
            "a number of days, at most 3650",
            |text| text.parse().ok().filter(|days| *days <= 3650),
        )?,
        log: stack.parse(LOG, LOG_DEFAULT.into(), "a log filter", |text| Some(text.to_owned()))?,
        cluster: cluster::read(stack)?,
        meta: database::read(stack)?,
        tls: tls(stack)?,
        request_log: stack.optional(REQUEST_LOG, "a path, or -", |text| match text {
            "" => None,
            "-" => Some(RequestLog::Stderr),
            path => Some(RequestLog::File(path.into())),
        })?,
        limits: limits::read(stack)?,
        unknown_variables,
    };
    if !options.admin_listen.ip().is_loopback() && options.admin_token.is_none() {
        return Err(ConfigError::OpenAdmin { listen: options.admin_listen });
    }
    Ok(options)
}

fn drives(stack: &Stack) -> Result<Vec<PathBuf>, ConfigError> {
    let listed = stack.0.iter().find_map(|layer| layer.list(DRIVES));
    let drives: Vec<PathBuf> = listed.into_iter().flatten().map(PathBuf::from).collect();
    if drives.is_empty() {
        return Err(ConfigError::NoDrives);
    }
    if drives.len() > DRIVES_MAX {
        let value = drives.len().to_string();
        return Err(ConfigError::Invalid { what: "drives".into(), value, wanted: "at most 255" });
    }
    let mut seen = BTreeMap::new();
    for path in &drives {
        // The same directory under two names is one drive; one that does not exist yet has only its name.
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        if seen.insert(real, ()).is_some() {
            return Err(ConfigError::DriveTwice { path: path.clone() });
        }
    }
    Ok(drives)
}

fn tls(stack: &Stack) -> Result<Tls, ConfigError> {
    let path = |name| stack.optional(name, "a path", |text| (!text.is_empty()).then(|| PathBuf::from(text)));
    let own = stack.optional(TLS, "`self`, or nothing", |text| (text == "self").then_some(()))?;
    match (own, path(TLS_CERT)?, path(TLS_KEY)?) {
        (None, None, None) => Ok(Tls::Off),
        (Some(()), None, None) => Ok(Tls::SelfSigned),
        (None, Some(cert), Some(key)) => Ok(Tls::Files { cert, key }),
        (Some(()), ..) => Err(ConfigError::Excludes { one: TLS, other: TLS_CERT }),
        (None, Some(_), None) => Err(ConfigError::Needs { given: TLS_CERT, missing: TLS_KEY }),
        (None, None, Some(_)) => Err(ConfigError::Needs { given: TLS_KEY, missing: TLS_CERT }),
    }
}

fn unseal(stack: &Stack) -> Result<Unseal, ConfigError> {
    let passphrase = stack.optional(KEY_PASSPHRASE, "at least one character", |text| {
        (!text.is_empty()).then(|| Secret::new(text))
    })?;
    let key_file =
        stack.optional(KEY_FILE, "a path", |text| (!text.is_empty()).then(|| PathBuf::from(text)))?;
    match (passphrase, key_file) {
        (None, None) => Ok(Unseal::Nothing),
        (Some(passphrase), None) => Ok(Unseal::Passphrase(passphrase)),
        (None, Some(path)) => Ok(Unseal::KeyFile(path)),
        (Some(_), Some(_)) => Err(ConfigError::Excludes { one: KEY_PASSPHRASE, other: KEY_FILE }),
    }
}

fn root(stack: &Stack) -> Result<Option<RootKey>, ConfigError> {
    let id = stack.optional(ROOT_ACCESS_KEY, "3 to 128 letters, digits, - and _", |text| {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        (plain && ACCESS_KEY_CHARS.contains(&text.len())).then(|| text.to_owned())
    })?;
    let secret = stack.optional(ROOT_SECRET_KEY, "8 to 256 visible ASCII characters", |text| {
        let visible = text.bytes().all(|b| b.is_ascii_graphic());
        (visible && SECRET_KEY_CHARS.contains(&text.len())).then(|| Secret::new(text))
    })?;
    match (id, secret) {
        (None, None) => Ok(None),
        (Some(id), Some(secret)) => Ok(Some(RootKey { id, secret })),
        (Some(_), None) => {
            Err(ConfigError::Needs { given: "PANGEA_ROOT_ACCESS_KEY", missing: "PANGEA_ROOT_SECRET_KEY" })
        }
        (None, Some(_)) => {
            Err(ConfigError::Needs { given: "PANGEA_ROOT_SECRET_KEY", missing: "PANGEA_ROOT_ACCESS_KEY" })
        }
    }
}

fn admin_token(text: &str) -> Option<Secret> {
    let visible = text.bytes().all(|b| b.is_ascii_graphic());
    (visible && text.len() >= ADMIN_TOKEN_CHARS_MIN).then(|| Secret::new(text))
}

fn region(text: &str) -> Option<String> {
    let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    (plain && (1..=63).contains(&text.len())).then(|| text.to_owned())
}

/// `HOST:PORT`; a host name is looked up, and only its first address counts. `:PORT` alone means every address.
fn address(text: &str) -> Option<SocketAddr> {
    if let Some(port) = text.strip_prefix(':') {
        return Some(SocketAddr::new(IpAddr::from([0, 0, 0, 0]), port.parse().ok()?));
    }
    text.to_socket_addrs().ok()?.next()
}

fn names() -> Vec<&'static str> {
    SETTINGS.iter().filter(|s| !s.secret && s.name != CONFIG).map(|s| s.name).collect()
}

/// The nearest of `names`, if it is near enough to be what was meant.
pub(crate) fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let best = names.map(|name| (distance(word, name), name)).min()?;
    (best.0 <= word.len().max(best.1.len()) / 3 + 1).then_some(best.1)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
