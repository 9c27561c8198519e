//! Names: what a word on the command line means.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Failure;
use crate::s3::hosts::{Hosts, Place};

const SCHEME: &str = "s3://";

/// See the module.
#[derive(Clone)]
pub(crate) enum Name {
    /// `-`
    Stdio,
    Local(PathBuf),
    Remote(Remote),
}

/// An endpoint, a bucket, an object or the beginning of many.
#[derive(Clone)]
pub(crate) struct Remote {
    pub(crate) place: Arc<Place>,
    /// Empty: the endpoint itself.
    pub(crate) bucket: String,
    /// Empty: the bucket itself.
    pub(crate) key: String,
}

impl Name {
    pub(crate) fn parse(hosts: &Hosts, word: &str) -> Result<Self, Failure> {
        if word == "-" {
            return Ok(Self::Stdio);
        }
        let (alias, rest) = match word.strip_prefix(SCHEME) {
            Some(rest) => (hosts.default_alias(), rest),
            None => {
                let (first, rest) = word.split_once('/').unwrap_or((word, ""));
                // What is merely built in gives way to a file of that name.
                let is_alias = hosts.knows(first) && (hosts.is_set(first) || !Path::new(first).exists());
                if !is_alias {
                    return if word.is_empty() {
                        Err(Failure::new("an empty name", "name a file or ALIAS/BUCKET/KEY", 2))
                    } else {
                        Ok(Self::Local(PathBuf::from(word)))
                    };
                }
                (first.to_owned(), rest)
            }
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() && !key.is_empty() {
            return Err(Failure::new(format!("`{word}` has no bucket"), "write ALIAS/BUCKET/KEY", 2));
        }
        let place = hosts.place(&alias)?;
        Ok(Self::Remote(Remote { place, bucket: bucket.to_owned(), key: key.to_owned() }))
    }

    /// Of an endpoint; a local path is an error that names the verb.
    pub(crate) fn remote(hosts: &Hosts, word: &str, verb: &str) -> Result<Remote, Failure> {
        match Self::parse(hosts, word)? {
            Self::Remote(remote) => Ok(remote),
            _ => {
                let advice =
                    "write ALIAS/BUCKET/KEY or s3://BUCKET/KEY; `pangea alias list` shows the aliases";
                Err(Failure::new(
                    format!("`{word}` is a local path, and {verb} works on endpoints"),
                    advice,
                    2,
                ))
            }
        }
    }
}

impl Remote {
    /// The same place, another key.
    pub(crate) fn with_key(&self, key: impl Into<String>) -> Self {
        Self { key: key.into(), ..self.clone() }
    }

    /// As it would be written on the command line.
    pub(crate) fn shown(&self) -> String {
        let mut text = self.place.alias.clone();
        for part in [&self.bucket, &self.key] {
            if !part.is_empty() {
                text = format!("{text}/{part}");
            }
        }
        text
    }

    pub(crate) fn has_bucket(self, verb: &str) -> Result<Self, Failure> {
        if self.bucket.is_empty() {
            let what = format!("`{}` names no bucket", self.shown());
            return Err(Failure::new(what, format!("write `pangea {verb} {}/BUCKET`", self.place.alias), 2));
        }
        Ok(self)
    }

    pub(crate) fn has_key(self, verb: &str) -> Result<Self, Failure> {
        let whole = self.has_bucket(verb)?;
        if whole.key.is_empty() {
            let what = format!("`{}` is a bucket", whole.shown());
            return Err(Failure::new(
                what,
                "name an object in it, or use -r for everything below, where there is one",
                2,
            ));
        }
        Ok(whole)
    }

    /// The key as a directory: nothing, or ending with one `/`.
    pub(crate) fn as_directory(&self) -> Self {
        if self.key.is_empty() || self.key.ends_with('/') {
            return self.clone();
        }
        self.with_key(format!("{}/", self.key))
    }
}

/// A path below `top` for the rest of a key; nothing when the key cannot be one there.
pub(crate) fn below(top: &Path, rest: &str) -> Result<PathBuf, Failure> {
    let mut path = top.to_owned();
    for part in rest.trim_end_matches('/').split('/') {
        if part.is_empty() || part == "." || part == ".." || part.contains('\0') {
            let what = format!("the key `{rest}` cannot be a path: it has the part `{part}`");
            return Err(Failure::new(what, "copy it by itself to a name of your choice", 1));
        }
        path.push(part);
    }
    Ok(path)
}
