//! `pangea stat`: what is known of an object, a bucket or a file.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use pangea_s3client::{Head, Moment};
use serde::Serialize;

use crate::Failure;
use crate::s3::ls::printable;
use crate::s3::name::{Name, Remote};
use crate::s3::parts::of_file;
use crate::s3::walk::{self, At};
use crate::s3::words::StatArgs;
use crate::s3::{Ground, advice};
use crate::status::bytes;

/// Everything, in the order in which it is shown.
#[derive(Serialize, Default)]
pub(crate) struct Known {
    pub(crate) name: String,
    /// object, marker, bucket, file or directory.
    pub(crate) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) modified: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) etag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latest: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) versioning: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) checksums: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) meta: BTreeMap<String, String>,
}

impl Known {
    pub(crate) fn text(&self) -> String {
        let mut out = format!("{}\n", printable(&self.name));
        // Writing into a string cannot fail.
        let mut line = |name: &str, value: &str| out += &format!("  {name:12}  {}\n", printable(value));
        line("kind", self.kind);
        if let Some(size) = self.bytes {
            line("size", &if size < 1024 { bytes(size) } else { format!("{} ({size} bytes)", bytes(size)) });
        }
        let latest = self.latest.map(|latest| if latest { "yes" } else { "no" }.to_owned());
        for (name, value) in [
            ("modified", &self.modified),
            ("etag", &self.etag),
            ("version", &self.version),
            ("latest", &latest),
            ("type", &self.content_type),
            ("class", &self.class),
            ("region", &self.region),
            ("versioning", &self.versioning),
        ] {
            if let Some(value) = value {
                line(name, value);
            }
        }
        for (name, value) in self.headers.iter().chain(&self.checksums) {
            line(name, value);
        }
        for (name, value) in &self.meta {
            line("metadata", &format!("{name}={value}"));
        }
        out
    }
}

pub(crate) fn of_object(name: String, head: Head) -> Known {
    let checksums = head.proofs.into_iter().map(|proof| (proof.algorithm.name().to_owned(), proof.value));
    Known {
        name,
        kind: "object",
        bytes: Some(head.size),
        modified: head.modified.map(Moment::iso),
        etag: Some(head.etag).filter(|etag| !etag.is_empty()),
        version: head.version,
        content_type: head.attributes.content_type,
        class: head.attributes.class,
        headers: head.attributes.headers.into_iter().collect(),
        checksums: checksums.collect(),
        meta: head.attributes.meta.into_iter().collect(),
        ..Known::default()
    }
}

pub(crate) async fn run(ground: &Ground, args: &StatArgs) -> Result<ExitCode, Failure> {
    for word in &args.names {
        let known = match Name::parse(&ground.hosts, word)? {
            Name::Stdio => return Err(Failure::new("`-` has no properties", "name an object", 2)),
            Name::Local(path) => of_path(&path)?,
            Name::Remote(name) => {
                let name = name.has_bucket("stat")?;
                if args.versions {
                    show_versions(ground, &name.has_key("stat")?).await?;
                    continue;
                }
                let found =
                    if name.key.is_empty() { of_bucket(&name).await } else { head(&name, args).await };
                found.map_err(|error| advice::of(&error, &name.place.alias, &name.shown()))?
            }
        };
        ground.reporter.answer(&known, &known.text());
    }
    Ok(ExitCode::SUCCESS)
}

async fn head(name: &Remote, args: &StatArgs) -> Result<Known, pangea_s3client::S3Error> {
    let head = name.place.client.head(&name.bucket, &name.key, args.version_id.as_deref()).await?;
    Ok(of_object(name.shown(), head))
}

async fn of_bucket(name: &Remote) -> Result<Known, pangea_s3client::S3Error> {
    let client = &name.place.client;
    let region = client.head_bucket(&name.bucket).await?;
    // Not every endpoint knows versions.
    let versioning =
        client.versioning(&name.bucket).await.ok().map(|state| state.unwrap_or("never enabled".into()));
    Ok(Known { name: name.shown(), kind: "bucket", region, versioning, ..Known::default() })
}

async fn show_versions(ground: &Ground, name: &Remote) -> Result<(), Failure> {
    let mut entries = walk::objects(name, true);
    let mut found = false;
    while let Some(entry) = entries.recv().await {
        let At::Object(listed) = entry?.at else { continue };
        // Behind the key itself come the keys that begin with it.
        if listed.key != name.key {
            break;
        }
        found = true;
        let known = Known {
            name: name.shown(),
            kind: if listed.marker { "marker" } else { "object" },
            bytes: (!listed.marker).then_some(listed.size),
            modified: listed.modified.map(Moment::iso),
            etag: Some(listed.etag).filter(|etag| !etag.is_empty()),
            version: listed.version,
            latest: Some(listed.latest),
            ..Known::default()
        };
        ground.reporter.answer(&known, &known.text());
    }
    if found {
        return Ok(());
    }
    let advice =
        format!("`pangea ls -r --versions {}/{}` shows what was there", name.place.alias, name.bucket);
    Err(Failure::new(format!("{}: it has no versions", name.shown()), advice, 1))
}

fn of_path(path: &Path) -> Result<Known, Failure> {
    let meta = std::fs::metadata(path).map_err(|error| of_file(path, &error))?;
    Ok(Known {
        name: path.display().to_string(),
        kind: if meta.is_dir() { "directory" } else { "file" },
        bytes: meta.is_file().then_some(meta.len()),
        modified: meta.modified().ok().map(|time| Moment::from_system(time).iso()),
        ..Known::default()
    })
}
