//! Hosts: which endpoints there are, by alias, and how each is spoken to.
//!
//! An alias is, in this order: `PANGEA_HOST_NAME` in the environment (`https://KEY:SECRET@host`, with `?region=` and
//! `?style=`); an entry of `aliases.toml`, which is readable by its owner only; `env` for what AWS_* variables say; `local`
//! for a server on this machine.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use pangea_s3client::{Client, Credentials, Endpoint, Options, Style, Trust};
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::s3::advice;
use crate::s3::words::Common;

const FILE: &str = "aliases.toml";
const VARIABLE: &str = "PANGEA_HOST_";
const REGION_DEFAULT: &str = "us-east-1";
const LOCAL_URL: &str = "http://127.0.0.1:9000";
/// Aliases that are there without being set.
pub(crate) const LOCAL: &str = "local";
pub(crate) const ENV: &str = "env";

/// `aliases.toml`.
#[derive(Serialize, Deserialize, Default, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct AliasFile {
    /// What `s3://` means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) default: Option<String>,
    #[serde(default)]
    pub(crate) alias: BTreeMap<String, Entry>,
}

/// One endpoint.
#[derive(Serialize, Deserialize, Default, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) access_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) style: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) insecure: bool,
}

/// An endpoint, ready to be asked.
pub(crate) struct Place {
    pub(crate) alias: String,
    pub(crate) client: Client,
}

/// See the module.
pub(crate) struct Hosts {
    file: AliasFile,
    variables: HashMap<String, String>,
    ca: Option<PathBuf>,
    insecure: bool,
    tries: u32,
    open: Mutex<BTreeMap<String, Arc<Place>>>,
}

impl Hosts {
    pub(crate) fn load(common: &Common) -> Result<Self, Failure> {
        let variables: HashMap<String, String> = crate::serve::environment().collect();
        let file = match config_dir(&variables) {
            Some(dir) => read_file(&dir.join(FILE))?,
            None => AliasFile::default(),
        };
        let (ca, insecure, tries) = (common.ca.clone(), common.insecure, common.tries);
        Ok(Self { file, variables, ca, insecure, tries, open: Mutex::default() })
    }

    /// Of these settings only; for tests.
    #[cfg(test)]
    pub(crate) fn of(file: AliasFile, variables: &[(&str, &str)]) -> Self {
        let variables =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { file, variables, ca: None, insecure: false, tries: 1, open: Mutex::default() }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All that can be named, with where each was said.
    pub(crate) fn all(&self) -> Result<Vec<(String, Entry, &'static str)>, Failure> {
        let mut names: Vec<String> = self.file.alias.keys().cloned().collect();
        names.extend(self.variables.keys().filter_map(|name| name.strip_prefix(VARIABLE)).map(str::to_owned));
        names.extend([LOCAL.to_owned(), ENV.to_owned()]);
        names.sort();
        names.dedup();
        let mut all = Vec::new();
        for name in names {
            if let Some((entry, source)) = self.entry(&name)? {
                all.push((name, entry, source));
            }
        }
        Ok(all)
    }

    /// What an alias stands for, and who says so.
    pub(crate) fn entry(&self, alias: &str) -> Result<Option<(Entry, &'static str)>, Failure> {
        let variable = format!("{VARIABLE}{alias}");
        let upper = format!("{VARIABLE}{}", alias.to_ascii_uppercase());
        if let Some(text) = self.variable(&variable).or_else(|| self.variable(&upper)) {
            return parse_url(text).map(|entry| Some((entry, "environment"))).map_err(|what| {
                Failure::new(
                    format!("{variable}: {what}"),
                    "write https://ACCESS_KEY:SECRET_KEY@host[?region=NAME]",
                    2,
                )
            });
        }
        if let Some(entry) = self.file.alias.get(alias) {
            return Ok(Some((entry.clone(), FILE)));
        }
        Ok(match alias {
            ENV => self.variable("AWS_ACCESS_KEY_ID").is_some().then(|| (self.aws(), "AWS_* variables")),
            LOCAL => Some((self.local(), "built in")),
            _ => None,
        })
    }

    fn text(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.variable(name)).map(str::to_owned)
    }

    fn aws(&self) -> Entry {
        let region = self.text(&["AWS_REGION", "AWS_DEFAULT_REGION"]);
        let of_region =
            || format!("https://s3.{}.amazonaws.com", region.as_deref().unwrap_or(REGION_DEFAULT));
        Entry {
            url: self.text(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]).unwrap_or_else(of_region),
            access_key: self.text(&["AWS_ACCESS_KEY_ID"]),
            secret_key: self.text(&["AWS_SECRET_ACCESS_KEY"]),
            session_token: self.text(&["AWS_SESSION_TOKEN"]),
            region,
            ca: self.text(&["AWS_CA_BUNDLE"]).map(PathBuf::from),
            ..Entry::default()
        }
    }

    /// The server that `pangea server` starts with the same variables.
    fn local(&self) -> Entry {
        let url = self.variable("PANGEA_LISTEN").map(|listen| format!("http://{listen}"));
        let root = self.text(&["PANGEA_ROOT_ACCESS_KEY"]).zip(self.text(&["PANGEA_ROOT_SECRET_KEY"]));
        let (access_key, secret_key) = root.unzip();
        let region = self.text(&["PANGEA_REGION"]);
        Entry {
            url: url.unwrap_or_else(|| LOCAL_URL.to_owned()),
            access_key,
            secret_key,
            region,
            ..Entry::default()
        }
    }

    /// What `s3://` means.
    pub(crate) fn default_alias(&self) -> String {
        if let Some(name) = self.variable("PANGEA_ALIAS").or(self.file.default.as_deref()) {
            return name.to_owned();
        }
        let only = self.file.alias.keys().next().filter(|_| self.file.alias.len() == 1);
        match (self.variable("AWS_ACCESS_KEY_ID"), only) {
            (Some(_), _) => ENV.to_owned(),
            (None, Some(only)) => only.clone(),
            (None, None) => LOCAL.to_owned(),
        }
    }

    /// Whether this is an alias at all.
    pub(crate) fn knows(&self, alias: &str) -> bool {
        is_alias_name(alias) && !matches!(self.entry(alias), Ok(None))
    }

    /// Whether somebody set it.
    pub(crate) fn is_set(&self, alias: &str) -> bool {
        !matches!(self.entry(alias), Ok(Some((_, "built in" | "AWS_* variables"))))
    }

    /// The endpoint of an alias.
    pub(crate) fn place(&self, alias: &str) -> Result<Arc<Place>, Failure> {
        if let Some(place) = self.open.lock().expect("a map does not panic").get(alias) {
            return Ok(place.clone());
        }
        let Some((entry, _)) = self.entry(alias)? else {
            let advice = format!(
                "set it with `pangea alias set {alias} URL ACCESS_KEY`; `pangea alias list` shows all"
            );
            return Err(Failure::new(format!("there is no alias `{alias}`"), advice, 2));
        };
        if alias == LOCAL && entry.access_key.is_none() {
            let advice = "run `pangea alias make` beside the server (it makes an access key and keeps it), or set \
                          PANGEA_ROOT_ACCESS_KEY and PANGEA_ROOT_SECRET_KEY";
            return Err(Failure::new("the alias `local` has no access key yet", advice, 2));
        }
        let place = Arc::new(Place { alias: alias.to_owned(), client: self.client(&entry, alias)? });
        self.open.lock().expect("a map does not panic").insert(alias.to_owned(), place.clone());
        Ok(place)
    }

    pub(crate) fn client(&self, entry: &Entry, alias: &str) -> Result<Client, Failure> {
        let style = match entry.style.as_deref() {
            None | Some("auto") => Style::Auto,
            Some("path") => Style::Path,
            Some("virtual") => Style::Virtual,
            Some(other) => {
                let what = format!("alias {alias}: `{other}` is no style");
                return Err(Failure::new(what, "say auto, path or virtual", 2));
            }
        };
        let trust = match self.ca.as_ref().or(entry.ca.as_ref()) {
            _ if self.insecure || entry.insecure => Trust::Anything,
            None => Trust::System,
            Some(path) => Trust::With(fs::read(path).map_err(|error| {
                Failure::new(
                    format!("{}: {error}", path.display()),
                    "name the CA's certificate, a PEM file",
                    2,
                )
            })?),
        };
        let endpoint = Endpoint::new(&entry.url, style).map_err(|error| advice::of(&error, alias, ""))?;
        let credentials = entry.access_key.as_deref().zip(entry.secret_key.as_deref());
        let credentials =
            credentials.map(|(key, secret)| Credentials::new(key, secret, entry.session_token.as_deref()));
        let region = entry.region.clone().unwrap_or_else(|| REGION_DEFAULT.to_owned());
        let options = Options { endpoint, credentials, region, trust, tries: Some(self.tries) };
        Client::new(options).map_err(|error| advice::of(&error, alias, ""))
    }

    /// Stores what `change` makes of the aliases.
    pub(crate) fn change(&self, change: impl FnOnce(&mut AliasFile)) -> Result<PathBuf, Failure> {
        let Some(dir) = config_dir(&self.variables) else {
            return Err(Failure::new(
                "there is no directory for settings",
                "set HOME or PANGEA_CONFIG_DIR",
                2,
            ));
        };
        let path = dir.join(FILE);
        let mut file = read_file(&path)?;
        change(&mut file);
        let text = toml::to_string_pretty(&file)
            .map_err(|error| Failure::new(error.to_string(), "please report this", 1))?;
        let failed = |error: std::io::Error| {
            Failure::new(
                format!("{}: {error}", path.display()),
                "make it writable, or set PANGEA_CONFIG_DIR",
                1,
            )
        };
        write_private(&dir, &path, &text).map_err(failed)?;
        Ok(path)
    }

    /// Where unfinished uploads are remembered.
    pub(crate) fn state_dir(&self) -> Option<PathBuf> {
        if let Some(dir) = self.variable("PANGEA_CONFIG_DIR") {
            return Some(Path::new(dir).join("uploads"));
        }
        let state = self.variable("XDG_STATE_HOME").map(PathBuf::from);
        let state = state.or_else(|| Some(Path::new(self.variable("HOME")?).join(".local/state")))?;
        Some(state.join("pangea/uploads"))
    }
}

fn config_dir(variables: &HashMap<String, String>) -> Option<PathBuf> {
    let variable = |name: &str| variables.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("PANGEA_CONFIG_DIR")
        .or_else(|| variable("XDG_CONFIG_HOME").map(|dir| dir.join("pangea")))
        .or_else(|| variable("HOME").map(|dir| dir.join(".config/pangea")))
}

/// The names that an alias may have.
pub(crate) fn is_alias_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !name.is_empty() && name.len() <= 64 && !name.starts_with('-') && name.bytes().all(plain)
}

fn read_file(path: &Path) -> Result<AliasFile, Failure> {
    let failed =
        |what: String, advice: String| Failure::new(format!("{}: {what}", path.display()), advice, 2);
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(AliasFile::default()),
        Err(error) => return Err(failed(error.to_string(), "make it readable to you".into())),
    };
    let mode = fs::metadata(path).map_or(0, |meta| meta.mode());
    if mode & 0o077 != 0 {
        let advice =
            format!("chmod 600 {}, and change its secrets if somebody may have read them", path.display());
        return Err(failed(
            format!("it holds secrets and others may open it (mode {:o})", mode & 0o777),
            advice,
        ));
    }
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count().max(1));
        // The message alone: the library's own display quotes the line, which may be a secret.
        failed(
            format!("line {line}: {}", error.message()),
            "mend it, or remove it and set the aliases again".into(),
        )
    })
}

/// Replaces a file as a whole; others never may read it.
pub(crate) fn write_private(dir: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    fs::create_dir_all(dir)?;
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".new-{}", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// Reads `https://KEY:SECRET[:TOKEN]@host[:port][?region=NAME&style=NAME]`.
pub(crate) fn parse_url(text: &str) -> Result<Entry, String> {
    let (scheme, rest) = text.split_once("://").ok_or("it begins with http:// or https://")?;
    let (rest, options) = rest.rsplit_once('?').unwrap_or((rest, ""));
    let (who, host) = rest.rsplit_once('@').map_or((None, rest), |(who, host)| (Some(who), host));
    let mut entry = Entry { url: format!("{scheme}://{host}"), ..Entry::default() };
    if let Some(who) = who {
        let mut words = who.splitn(3, ':').map(str::to_owned);
        entry.access_key = words.next();
        entry.secret_key = Some(words.next().ok_or("it has an access key without a secret")?);
        entry.session_token = words.next();
    }
    for option in options.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("region", value)) => entry.region = Some(value.to_owned()),
            Some(("style", value)) => entry.style = Some(value.to_owned()),
            _ => return Err("behind the ? there are region= and style= only".into()),
        }
    }
    Ok(entry)
}
