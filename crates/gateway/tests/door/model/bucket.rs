//! The model: a bucket as S3 describes it, in a few maps. Knows nothing of the server.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Whether a bucket keeps versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keeps {
    Never,
    Versions,
    Suspended,
}

/// An object, as far as clients see it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Content {
    pub body: Arc<Vec<u8>>,
    /// Without quotes.
    pub etag: String,
    pub kind: String,
    pub note: String,
    pub tags: Vec<(String, String)>,
    /// Bytes of each part, if it was uploaded in parts.
    pub parts: Vec<usize>,
}

/// A version; without content, a delete marker.
#[derive(Clone, Debug)]
pub struct Version {
    pub id: String,
    pub content: Option<Content>,
}

/// An upload in parts.
#[derive(Clone, Debug, Default)]
pub struct Upload {
    pub key: String,
    pub kind: String,
    pub note: String,
    pub parts: BTreeMap<u16, (Arc<Vec<u8>>, String)>,
}

/// See the module.
pub struct Bucket {
    pub name: String,
    pub keeps: Keeps,
    /// Newest first; never empty.
    pub keys: BTreeMap<String, Vec<Version>>,
    pub uploads: BTreeMap<String, Upload>,
}

impl Bucket {
    pub fn new(name: String) -> Self {
        Self { name, keeps: Keeps::Never, keys: BTreeMap::new(), uploads: BTreeMap::new() }
    }

    /// What a GET without a version finds.
    pub fn current(&self, key: &str) -> Option<&Content> {
        self.keys.get(key)?.first()?.content.as_ref()
    }

    /// The version with that id.
    pub fn version(&self, key: &str, id: &str) -> Option<&Version> {
        self.keys.get(key)?.iter().find(|version| version.id == id)
    }

    /// The same, to be changed.
    pub fn content_mut(&mut self, key: &str, id: Option<&str>) -> Option<&mut Content> {
        let versions = self.keys.get_mut(key)?;
        match id {
            None => versions.first_mut()?.content.as_mut(),
            Some(id) => versions.iter_mut().find(|version| version.id == id)?.content.as_mut(),
        }
    }

    /// A version becomes the newest; `told` is the id that the server drew for it, if it keeps versions.
    pub fn push(&mut self, key: &str, told: Option<&str>, content: Option<Content>) {
        let versions = self.keys.entry(key.to_owned()).or_default();
        let id = match self.keeps {
            Keeps::Never | Keeps::Suspended => "null",
            Keeps::Versions => told.expect("a versioned bucket tells ids"),
        };
        versions.retain(|version| version.id != id);
        versions.insert(0, Version { id: id.to_owned(), content });
    }

    /// What a DELETE without a version does.
    pub fn delete(&mut self, key: &str, told: Option<&str>) {
        match self.keeps {
            Keeps::Never => drop(self.keys.remove(key)),
            Keeps::Versions | Keeps::Suspended => self.push(key, told, None),
        }
    }

    /// What a DELETE of a version does.
    pub fn delete_version(&mut self, key: &str, id: &str) {
        if let Some(versions) = self.keys.get_mut(key) {
            versions.retain(|version| version.id != id);
            if versions.is_empty() {
                self.keys.remove(key);
            }
        }
    }

    /// What a listing shows: keys with sizes and tags, and what is rolled up behind the delimiter.
    pub fn listed(&self, prefix: &str, delimiter: &str, after: &str) -> (Vec<String>, Vec<String>) {
        let (mut keys, mut prefixes) = (vec![], vec![]);
        for (key, rest, content) in
            self.keys.keys().filter_map(|key| Some((key, key.strip_prefix(prefix)?, self.current(key)?)))
        {
            match rest.find(delimiter).filter(|_| !delimiter.is_empty()) {
                Some(at) => {
                    let rolled = format!("{prefix}{}", &rest[..at + delimiter.len()]);
                    // What is behind a marker may lie inside a prefix; only one that was told already is over.
                    if **key > *after && rolled != after && prefixes.last() != Some(&rolled) {
                        prefixes.push(rolled);
                    }
                }
                None if **key > *after => {
                    keys.push(format!("{key} {} \"{}\"", content.body.len(), content.etag));
                }
                None => {}
            }
        }
        (keys, prefixes)
    }

    /// What a listing of versions shows: those with content, and markers.
    pub fn listed_versions(&self, prefix: &str) -> (Vec<String>, Vec<String>) {
        let (mut versions, mut markers) = (vec![], vec![]);
        for (key, all) in self.keys.iter().filter(|(key, _)| key.starts_with(prefix)) {
            for (at, version) in all.iter().enumerate() {
                let shown = format!("{key} {} {}", version.id, at == 0);
                match &version.content {
                    Some(content) => {
                        versions.push(format!("{shown} {} \"{}\"", content.body.len(), content.etag))
                    }
                    None => markers.push(shown),
                }
            }
        }
        (versions, markers)
    }
}
