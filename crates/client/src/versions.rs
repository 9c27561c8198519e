//! Versions: listing all of a bucket's versions, and setting what a version carries without making another.

use pangea_core::id::VersionId;
use pangea_core::meta::{Command, KeyRange, Outcome, VersionRow, VersionSelector};

use crate::client::Client;
use crate::door::ClientError;
use crate::list::{behind, group_of};
use crate::object::unexpected;

/// Rows of one scan.
const SCAN_ROWS: usize = 1000;

/// A listing of versions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListVersions {
    /// Only keys with this prefix.
    pub prefix: Vec<u8>,
    /// Keys that hold this after the prefix are rolled up; empty: none.
    pub delimiter: Vec<u8>,
    /// Only keys (and rolled-up prefixes) after this; with a version, also what is older than it in that key.
    pub after: Option<(Vec<u8>, Option<VersionSelector>)>,
    /// The most entries of a page.
    pub limit: usize,
}

/// One line of a listing of versions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VersionEntry {
    /// A key, a version of it (or a delete marker), and whether that is the current one.
    Version(Vec<u8>, VersionRow, bool),
    /// A rolled-up prefix, delimiter included.
    Prefix(Vec<u8>),
}

/// A page of a listing of versions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VersionListPage {
    /// Keys rising, the versions of a key newest first.
    pub entries: Vec<VersionEntry>,
    /// Whether more follow after the last entry.
    pub more: bool,
}

/// From where a scan goes on.
struct Position {
    range: KeyRange,
    after_seq: Option<u64>,
}

impl Client {
    /// Lists a bucket's versions, older ones and delete markers included.
    ///
    /// A version to go on after that is gone meanwhile restarts its key: a client that deletes what it was shown, page by
    /// page, misses nothing.
    pub async fn list_versions(
        &self,
        bucket: &str,
        list: ListVersions,
    ) -> Result<VersionListPage, ClientError> {
        let bucket = self.bucket(bucket).await?.id;
        let mut page = VersionListPage::default();
        let Some(mut position) = self.position(bucket, &list).await? else { return Ok(page) };
        if list.limit == 0 {
            return Ok(page);
        }
        'scan: loop {
            let rows = SCAN_ROWS.min(list.limit - page.entries.len() + 1);
            let found = self.meta().versions(bucket, position.range.clone(), position.after_seq, rows).await;
            let found = found.map_err(ClientError::Meta)?;
            for (key, row, current) in found.versions {
                if page.entries.len() >= list.limit {
                    page.more = true;
                    break 'scan;
                }
                if let Some(group) = group_of(&key, &list.prefix, &list.delimiter).map(<[u8]>::to_vec) {
                    let next = behind(&group);
                    page.entries.push(VersionEntry::Prefix(group));
                    match next {
                        Some(next) => position = from(&list, next),
                        None => break 'scan,
                    }
                    continue 'scan;
                }
                position = after(&list, key.clone(), Some(row.seq));
                page.entries.push(VersionEntry::Version(key, row, current));
            }
            if !found.more {
                break;
            }
        }
        Ok(page)
    }

    /// Where a listing begins; `None`: behind everything.
    async fn position(
        &self,
        bucket: pangea_core::id::BucketId,
        list: &ListVersions,
    ) -> Result<Option<Position>, ClientError> {
        let Some((key, version)) = &list.after else {
            return Ok(Some(Position {
                range: KeyRange { prefix: list.prefix.clone(), ..KeyRange::default() },
                after_seq: None,
            }));
        };
        if group_of(key, &list.prefix, &list.delimiter) == Some(key) {
            // The last page ended in a rolled-up prefix: go on behind all of it.
            return Ok(behind(key).map(|next| from(list, next)));
        }
        let Some(version) = version else { return Ok(Some(after(list, key.clone(), None))) };
        let found = self.meta().version(bucket, key, *version).await.map_err(ClientError::Meta)?;
        Ok(Some(match found {
            Some((row, _)) => after(list, key.clone(), Some(row.seq)),
            None => from(list, key.clone()),
        }))
    }

    /// Sets or removes an attribute of a version; its id, if the bucket ever had versioning on: (id, is the `null` version).
    pub async fn set_attribute(
        &self,
        bucket: &str,
        key: &[u8],
        version: VersionSelector,
        attribute: (String, Option<String>),
    ) -> Result<Option<(VersionId, bool)>, ClientError> {
        let bucket = self.bucket(bucket).await?.id;
        let (name, value) = attribute;
        let command = Command::SetAttribute { bucket, key: key.to_vec(), version, name, value };
        match self.command(command).await {
            Ok(Outcome::Committed { version, null, versioned }) => Ok(versioned.then_some((version, null))),
            Ok(other) => Err(unexpected(&other)),
            Err(ClientError::NoSuchKey { .. }) if version != VersionSelector::Current => {
                Err(ClientError::NoSuchVersion)
            }
            Err(error) => Err(error),
        }
    }

    /// Sets or removes a named document of a bucket.
    pub async fn set_document(
        &self,
        bucket: &str,
        document: &str,
        value: Option<Vec<u8>>,
    ) -> Result<(), ClientError> {
        let command = Command::SetDocument { name: bucket.into(), document: document.into(), value };
        self.command(command).await.map(|_| ())
    }
}

fn from(list: &ListVersions, key: Vec<u8>) -> Position {
    let range = KeyRange { prefix: list.prefix.clone(), after: None, from: Some(key) };
    Position { range, after_seq: None }
}

fn after(list: &ListVersions, key: Vec<u8>, seq: Option<u64>) -> Position {
    let range = KeyRange { prefix: list.prefix.clone(), after: Some(key), from: None };
    Position { range, after_seq: seq }
}
