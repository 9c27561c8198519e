//! One source of settings: names with their values as text, and where they were given.
//!
//! Values stay text until `resolve` reads them, so that a flag, a variable and a line of the file fail with the same words.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{CONFIG, ConfigError, LISTS, SETTINGS, nearest, variable};

/// Variables that the operator commands read.
const OPERATOR_VARIABLES: [&str; 7] = [
    "PANGEA_ADMIN",
    "PANGEA_ALIAS",
    "PANGEA_BACKUP_PASSPHRASE",
    "PANGEA_CA",
    "PANGEA_CONFIG_DIR",
    "PANGEA_NEW_KEY_PASSPHRASE",
    "PANGEA_SECRET_KEY",
];
/// And those that name endpoints for them.
const HOST_VARIABLES: &str = "PANGEA_HOST_";

/// Where a layer's settings were given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// The command line.
    Flags,
    /// The environment.
    Environment,
    /// This file.
    File(PathBuf),
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Value {
    Text(String),
    List(Vec<String>),
}

/// Settings from one source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layer {
    source: Source,
    values: BTreeMap<&'static str, Value>,
}

impl Layer {
    /// No flags yet.
    pub fn flags() -> Self {
        Self { source: Source::Flags, values: BTreeMap::new() }
    }

    /// The same with a setting, if there is a value.
    pub fn with(mut self, name: &'static str, value: Option<String>) -> Self {
        if let Some(value) = value {
            self.values.insert(name, Value::Text(value));
        }
        self
    }

    /// The same with a list, unless it is empty.
    pub fn with_list(mut self, name: &'static str, values: Vec<String>) -> Self {
        if !values.is_empty() {
            self.values.insert(name, Value::List(values));
        }
        self
    }

    /// The variables that are ours, and the names of those that only look so. Lists are separated by commas.
    pub fn from_environment(variables: impl Iterator<Item = (String, String)>) -> (Self, Vec<String>) {
        let mut layer = Self { source: Source::Environment, values: BTreeMap::new() };
        let mut unknown = Vec::new();
        for (name, value) in variables.filter(|(name, _)| name.starts_with("PANGEA_")) {
            match SETTINGS.iter().find(|setting| variable(setting.name) == name) {
                Some(setting) if LISTS.contains(&setting.name) => {
                    let list = value.split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect();
                    layer.values.insert(setting.name, Value::List(list));
                }
                Some(setting) => {
                    layer.values.insert(setting.name, Value::Text(value));
                }
                None if (OPERATOR_VARIABLES.contains(&name.as_str()) || name.starts_with(HOST_VARIABLES)) => {
                }
                None => unknown.push(name),
            }
        }
        unknown.sort_unstable();
        (layer, unknown)
    }

    /// The settings of a TOML file: one flat table.
    pub fn from_toml(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Toml {
            path: path.into(),
            why: error.to_string(),
        })?;
        let mut layer = Self { source: Source::File(path.into()), values: BTreeMap::new() };
        for (key, value) in table {
            let setting = SETTINGS.iter().find(|setting| setting.name == key && key != CONFIG);
            let Some(setting) = setting else {
                let names = SETTINGS.iter().filter(|s| !s.secret && s.name != CONFIG).map(|s| s.name);
                let nearest = nearest(&key, names);
                return Err(ConfigError::UnknownKey { path: path.into(), key, nearest });
            };
            if setting.secret {
                return Err(ConfigError::SecretInFile { path: path.into(), key: setting.name });
            }
            let value =
                read_value(value, LISTS.contains(&setting.name)).ok_or_else(|| ConfigError::Invalid {
                    what: layer.place(setting.name),
                    value: String::new(),
                    wanted: if LISTS.contains(&setting.name) {
                        "a list of strings"
                    } else {
                        "a string or a number"
                    },
                })?;
            layer.values.insert(setting.name, value);
        }
        Ok(layer)
    }

    /// The value of a setting.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.values.get(name)? {
            Value::Text(text) => Some(text),
            Value::List(_) => None,
        }
    }

    /// The values of a list.
    pub fn list(&self, name: &str) -> Option<Vec<String>> {
        match self.values.get(name)? {
            Value::Text(text) => Some(vec![text.clone()]),
            Value::List(list) => Some(list.clone()),
        }
    }

    /// How people know the setting where it was given.
    pub fn place(&self, name: &str) -> String {
        match &self.source {
            Source::Flags => format!("--{}", name.replace('_', "-")),
            Source::Environment => variable(name),
            Source::File(path) => format!("`{name}` in {}", path.display()),
        }
    }
}

fn read_value(value: toml::Value, list: bool) -> Option<Value> {
    match value {
        toml::Value::String(text) => Some(Value::Text(text)),
        toml::Value::Integer(number) => Some(Value::Text(number.to_string())),
        toml::Value::Array(items) if list => {
            let texts = items.into_iter().map(|item| match item {
                toml::Value::String(text) => Some(text),
                _ => None,
            });
            texts.collect::<Option<_>>().map(Value::List)
        }
        _ => None,
    }
}
