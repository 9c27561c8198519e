//! Known: the rows that were read for one attempt, and what is guessed about others.
//!
//! Three kinds, of falling strength. *Rows* and *scans* were read inside the transaction: the server guarantees that they
//! stand as they are when it commits. *Absent* keys were looked at just before it: an insert proves them, or they are read
//! again inside. *Hints* are what was there some time ago: they only help to guess what will be asked for next.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use pangea_core::meta::{RawRow, TableId};

use crate::names::RowKey;

/// The most rows that are remembered between attempts.
const HINTS_MAX: usize = 4096;

/// A range of keys of one table.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Range {
    pub(crate) table: TableId,
    pub(crate) from: Vec<u8>,
    /// The first key behind it; none: no end.
    pub(crate) to: Option<Vec<u8>>,
}

struct Scanned {
    limit: usize,
    rows: Vec<RawRow>,
}

/// What is known in one attempt.
#[derive(Default)]
pub(crate) struct Known {
    rows: BTreeMap<RowKey, Option<Vec<u8>>>,
    scans: BTreeMap<Range, Scanned>,
    absent: BTreeSet<RowKey>,
    before: BTreeMap<RowKey, Vec<u8>>,
    commits: BTreeMap<Vec<u8>, u64>,
}

impl Known {
    /// Whether nothing was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.scans.is_empty()
    }

    /// A row that was read; none: not read. Inner none: not there.
    pub(crate) fn row(&self, key: &RowKey) -> Option<&Option<Vec<u8>>> {
        self.rows.get(key)
    }

    /// The rows of a table that were read and are there, with keys at or above `from`.
    pub(crate) fn rows_from(&self, table: TableId, from: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.rows
            .range((table, from.to_vec())..)
            .take_while(move |((of, _), _)| *of == table)
            .filter_map(|((_, key), row)| row.as_ref().map(|row| (key.as_slice(), row.as_slice())))
    }

    /// A row was read, or was found to be missing.
    pub(crate) fn learn(&mut self, key: RowKey, row: Option<Vec<u8>>) {
        self.rows.insert(key, row);
    }

    /// At most `limit` rows of a range that was read that far.
    pub(crate) fn scan(&self, range: &Range, limit: usize) -> Option<&[RawRow]> {
        let scanned = self.scans.get(range)?;
        let all = scanned.rows.len() < scanned.limit;
        (limit <= scanned.limit || all).then(|| &scanned.rows[..limit.min(scanned.rows.len())])
    }

    /// A range was read.
    pub(crate) fn learn_scan(&mut self, range: Range, limit: usize, rows: Vec<RawRow>) {
        self.scans.insert(range, Scanned { limit, rows });
    }

    /// Whether it was missing just before the transaction.
    pub(crate) fn was_absent(&self, key: &RowKey) -> bool {
        self.absent.contains(key)
    }

    /// It was missing just before the transaction.
    pub(crate) fn learn_absent(&mut self, key: RowKey) {
        self.absent.insert(key);
    }

    /// What it was just before the transaction.
    pub(crate) fn before(&self, key: &RowKey) -> Option<&Vec<u8>> {
        self.before.get(key)
    }

    /// It was this just before the transaction.
    pub(crate) fn learn_before(&mut self, key: RowKey, row: Vec<u8>) {
        self.before.insert(key, row);
    }

    /// How many versions were committed to a bucket, if that was asked.
    pub(crate) fn commits(&self, bucket: &[u8]) -> Option<u64> {
        self.commits.get(bucket).copied()
    }

    /// That many were.
    pub(crate) fn learn_commits(&mut self, bucket: Vec<u8>, commits: u64) {
        self.commits.insert(bucket, commits);
    }

    /// What is worth remembering for later attempts.
    fn lasting(&self) -> impl Iterator<Item = (&RowKey, &Option<Vec<u8>>)> {
        self.rows.iter().filter(|((table, _), _)| is_quiet(*table))
    }
}

/// Tables that are read by most commands and changed by few.
fn is_quiet(table: TableId) -> bool {
    matches!(
        table,
        TableId::Bucket | TableId::BucketName | TableId::Usage | TableId::Setting | TableId::State
    )
}

/// Rows of former attempts, shared by all lanes. Never trusted.
#[derive(Default)]
pub(crate) struct Hints(Mutex<HashMap<RowKey, Vec<u8>>>);

impl Hints {
    /// What stood there, when somebody last looked.
    pub(crate) fn get(&self, key: &RowKey) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Remembers what an attempt saw and changed.
    pub(crate) fn remember(&self, known: &Known, changes: &BTreeMap<RowKey, Option<Vec<u8>>>) {
        let mut hints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hints.len() > HINTS_MAX {
            hints.clear();
        }
        let changed = changes.iter().filter(|((table, _), _)| is_quiet(*table));
        for (key, row) in known.lasting().chain(changed) {
            match row {
                Some(row) if hints.get(key) != Some(row) => drop(hints.insert(key.clone(), row.clone())),
                Some(_) => {}
                None => drop(hints.remove(key)),
            }
        }
    }
}
