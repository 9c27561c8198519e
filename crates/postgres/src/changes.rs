//! Changes: what a batch wrote, as the arguments of statements.
//!
//! Owns the choice between an insert, which proves that a row was absent, and an upsert, which asks nothing; the extra
//! column of heads; and the turn from a bucket's counters to what was added to them. Tables by number and keys in order, so
//! that two transactions take their locks in the same order.

use std::collections::{BTreeMap, BTreeSet};

use pangea_core::codec::Malformed;
use pangea_core::meta::{Content, TableId, UsageRow, VersionRow};

use crate::known::Known;
use crate::names::RowKey;
use crate::session::Call;
use crate::sql;
use crate::working::{BadRow, Changes, usage_base};

/// Rows of one table for one statement.
#[derive(Default)]
struct Rows {
    keys: Vec<Vec<u8>>,
    rows: Vec<Vec<u8>>,
    blobs: Vec<Option<Vec<u8>>>,
}

#[derive(Default)]
struct TableChanges {
    inserted: Rows,
    upserted: Rows,
    removed: Vec<Vec<u8>>,
}

/// What is added to what buckets hold.
#[derive(Default)]
struct Added {
    buckets: Vec<Vec<u8>>,
    versions: Vec<i64>,
    bytes: Vec<i64>,
    heads: Vec<i64>,
    uploads: Vec<i64>,
    commits: Vec<i64>,
}

/// Everything that a batch writes.
pub(crate) struct Writes {
    tables: BTreeMap<TableId, TableChanges>,
    added: Added,
    removed_buckets: Vec<Vec<u8>>,
    slot: i64,
    requests: i64,
}

impl Rows {
    fn push(&mut self, table: TableId, key: Vec<u8>, row: Vec<u8>) -> Result<(), BadRow> {
        if table == TableId::Head {
            self.blobs.push(content_blob(&row)?);
        }
        self.keys.push(key);
        self.rows.push(row);
        Ok(())
    }

    fn call<'a>(&'a self, table: TableId, sql: &'static str) -> Option<Call<'a>> {
        if self.keys.is_empty() {
            return None;
        }
        Some(match table {
            TableId::Head => Call::new(sql, vec![&self.keys, &self.rows, &self.blobs]),
            _ => Call::new(sql, vec![&self.keys, &self.rows]),
        })
    }
}

/// The blob that a head's content lies in.
fn content_blob(row: &[u8]) -> Result<Option<Vec<u8>>, BadRow> {
    let head = VersionRow::decode(row).map_err(|why| BadRow(TableId::Head, why))?;
    Ok(match head.content {
        Content::Empty => None,
        Content::Blob(extent) => Some(extent.blob.0.to_vec()),
        Content::Packed(item) => Some(item.at.blob.0.to_vec()),
    })
}

impl Writes {
    /// The statements' arguments; `leaned`: rows that were taken to be absent.
    pub(crate) fn new(
        changes: Changes,
        known: &Known,
        leaned: &BTreeSet<RowKey>,
        slot: i64,
    ) -> Result<Self, BadRow> {
        let requests = changes.keys().filter(|(table, _)| *table == TableId::Outcome).count();
        let mut writes = Self {
            tables: BTreeMap::new(),
            added: Added::default(),
            removed_buckets: Vec::new(),
            slot,
            requests: i64::try_from(requests).unwrap_or(i64::MAX),
        };
        for (key, row) in changes {
            if key.0 == TableId::Usage {
                writes.usage(key.1, row, known)?;
                continue;
            }
            let new = leaned.contains(&key) || known.row(&key) == Some(&None);
            writes.row(key, row, new)?;
        }
        Ok(writes)
    }

    fn row(&mut self, (table, key): RowKey, row: Option<Vec<u8>>, new: bool) -> Result<(), BadRow> {
        let changes = self.tables.entry(table).or_default();
        match row {
            Some(row) if new => changes.inserted.push(table, key, row),
            Some(row) => changes.upserted.push(table, key, row),
            None if new => Ok(()),
            None => {
                changes.removed.push(key);
                Ok(())
            }
        }
    }

    /// A bucket's counters: the row itself only says that the bucket is there.
    fn usage(&mut self, bucket: Vec<u8>, row: Option<Vec<u8>>, known: &Known) -> Result<(), BadRow> {
        let decode = |row: &[u8]| UsageRow::decode(row).map_err(|why: Malformed| BadRow(TableId::Usage, why));
        let was_there = matches!(known.row(&(TableId::Usage, bucket.clone())), Some(Some(_)));
        let Some(row) = row else {
            self.removed_buckets.push(bucket.clone());
            return self.row((TableId::Usage, bucket), None, false);
        };
        let (mut from, to) = (UsageRow::default(), decode(&row)?);
        if was_there {
            from = usage_base(known, &bucket, known.commits(&bucket).unwrap_or(0));
        } else {
            self.row((TableId::Usage, bucket.clone()), Some(from.encode()), false)?;
        }
        let added = |from: u64, to: u64| to.wrapping_sub(from) as i64; // two's complement: also what was taken away
        if from == to {
            return Ok(());
        }
        self.added.buckets.push(bucket);
        self.added.versions.push(added(from.versions, to.versions));
        self.added.bytes.push(added(from.bytes, to.bytes));
        self.added.heads.push(added(from.heads, to.heads));
        self.added.uploads.push(added(from.uploads, to.uploads));
        self.added.commits.push(added(from.last_seq, to.last_seq));
        Ok(())
    }

    /// The statements, in order.
    pub(crate) fn calls(&self) -> Vec<Call<'_>> {
        let mut calls = Vec::new();
        for (table, changes) in &self.tables {
            let texts = sql::table(*table);
            if !changes.removed.is_empty() {
                calls.push(Call::new(texts.remove, vec![&changes.removed]));
            }
            calls.extend(changes.inserted.call(*table, texts.insert));
            calls.extend(changes.upserted.call(*table, texts.upsert));
        }
        let added = &self.added;
        if !added.buckets.is_empty() {
            calls.push(Call::new(
                sql::ADD_USAGE,
                vec![
                    &added.buckets,
                    &self.slot,
                    &added.versions,
                    &added.bytes,
                    &added.heads,
                    &added.uploads,
                    &added.commits,
                ],
            ));
        }
        if !self.removed_buckets.is_empty() {
            calls.push(Call::new(sql::REMOVE_USAGE, vec![&self.removed_buckets]));
        }
        // Also when it adds nothing: a kept outcome is only told after a commit of our own, which waits for the standby that
        // the commit it was made by may not have waited for.
        calls.push(Call::new(sql::ADD_APPLIED, vec![&self.slot, &self.requests]));
        calls
    }
}
