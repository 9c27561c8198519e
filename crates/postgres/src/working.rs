//! Working tables: what `apply` and the queries see while rows are still being fetched.
//!
//! Owns the guess. A row that was not read is answered from a hint, or as if it were not there, and noted; whoever runs a
//! pass fetches all that was noted and runs it again. A pass that noted nothing saw only what is really there, and its
//! result counts; every other result is thrown away. `apply` is pure, so running it again costs microseconds, and what one
//! command needs is fetched in one to three round trips.
//!
//! Also owns how a bucket's counters are kept without a row that all writers would wait for. Commands only ever add to
//! them, so `apply` is shown counters that stand high in the middle, and what it added is found by subtracting. Only
//! `last_seq` is used as a value: it must be above that of every version of the key. It is the sum of all commits, read
//! just before the transaction, or the highest number on a head that the attempt has read, whichever is higher.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use pangea_core::codec::Malformed;
use pangea_core::meta::{RawRow, TableId, Tables, UsageRow, VersionRow};

use crate::known::{Hints, Known, Range};
use crate::names::{Brought, RowKey};

/// What counters are shown as: far from both ends.
const MIDDLE: u64 = 1 << 62;

/// A stored row is not what its format says.
#[derive(Debug)]
pub(crate) struct BadRow(pub(crate) TableId, pub(crate) Malformed);

/// What a pass asked for and did not get, and what it took for granted.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) rows: BTreeSet<RowKey>,
    pub(crate) scans: BTreeMap<Range, usize>,
    pub(crate) buckets: BTreeSet<Vec<u8>>,
    /// Rows that were taken to be absent: each must be inserted, or read.
    pub(crate) leaned: BTreeSet<RowKey>,
}

/// Changed rows; none: removed.
pub(crate) type Changes = BTreeMap<RowKey, Option<Vec<u8>>>;

/// What may be guessed.
pub(crate) struct Guess<'a> {
    pub(crate) hints: &'a Hints,
    /// None: nothing is taken to be absent.
    pub(crate) brought: Option<&'a Brought>,
}

/// The tables of one pass.
pub(crate) struct Working<'a> {
    known: &'a Known,
    guess: Option<Guess<'a>>,
    changes: Changes,
    notes: RefCell<Notes>,
}

impl<'a> Working<'a> {
    /// Nothing changed yet.
    pub(crate) fn new(known: &'a Known, guess: Option<Guess<'a>>) -> Self {
        Self { known, guess, changes: Changes::new(), notes: RefCell::default() }
    }

    /// What the pass left.
    pub(crate) fn finish(self) -> (Changes, Notes) {
        (self.changes, self.notes.into_inner())
    }

    fn absent_with(&self, table: TableId, key: &[u8]) -> Option<RowKey> {
        self.guess
            .as_ref()
            .and_then(|guess| guess.brought)
            .and_then(|brought| brought.absent_with(table, key))
    }

    /// The row before this pass changed anything.
    fn base(&self, key: RowKey) -> Option<Vec<u8>> {
        if let Some(row) = self.known.row(&key) {
            return row.clone();
        }
        let mut notes = self.notes.borrow_mut();
        if let Some(proof) = self.absent_with(key.0, &key.1) {
            // The proof itself may have been read meanwhile.
            match self.known.row(&proof) {
                Some(None) => return None,
                Some(Some(_)) => {}
                None => {
                    notes.leaned.insert(proof);
                    return None;
                }
            }
        }
        let may_lean = self.guess.as_ref().is_some_and(|guess| guess.brought.is_some());
        if may_lean && self.known.was_absent(&key) {
            notes.leaned.insert(key);
            return None;
        }
        if key.0 == TableId::Blob && may_lean {
            notes.rows.insert((TableId::State, Vec::new())); // a blob that is let go is marked with the generation
        }
        let hint = self.known.before(&key).cloned();
        let hint = hint.or_else(|| self.guess.as_ref().and_then(|guess| guess.hints.get(&key)));
        notes.rows.insert(key);
        hint
    }

    fn usage(&self, key: RowKey) -> Option<Vec<u8>> {
        let bucket = key.1.clone();
        self.base(key)?;
        let commits = self.known.commits(&bucket);
        if commits.is_none() {
            self.notes.borrow_mut().buckets.insert(bucket.clone());
        }
        Some(usage_base(self.known, &bucket, commits.unwrap_or(0)).encode())
    }

    fn changed(&self, table: TableId, from: &[u8], to: Option<&[u8]>) -> Vec<(&[u8], Option<&Vec<u8>>)> {
        self.changes
            .range((Bound::Included((table, from.to_vec())), Bound::Unbounded))
            .take_while(|((of, key), _)| *of == table && to.is_none_or(|to| key.as_slice() < to))
            .map(|((_, key), row)| (key.as_slice(), row.as_ref()))
            .collect()
    }

    fn scan_base(&self, range: Range, limit: usize) -> Vec<RawRow> {
        if let Some(rows) = self.known.scan(&range, limit) {
            return rows.to_vec();
        }
        let within =
            range.to.as_ref().is_some_and(|to| range.from.len() > 16 && to.starts_with(&range.from[..16]));
        let alone = range.from.len() == 16 && range.to.as_ref().is_some_and(|to| *to == next(&range.from));
        if let Some(proof) = self.absent_with(range.table, &range.from).filter(|_| within || alone) {
            match self.known.row(&proof) {
                Some(None) => return Vec::new(),
                Some(Some(_)) => {}
                None => {
                    self.notes.borrow_mut().leaned.insert(proof);
                    return Vec::new();
                }
            }
        }
        let mut notes = self.notes.borrow_mut();
        let noted = notes.scans.entry(range).or_insert(limit);
        *noted = limit.max(*noted);
        Vec::new()
    }
}

/// The first key behind all that start with `prefix`; the same if there is none.
fn next(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while end.last() == Some(&0xff) {
        end.pop();
    }
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

/// The counters that `apply` is shown for a bucket that is there.
pub(crate) fn usage_base(known: &Known, bucket: &[u8], commits: u64) -> UsageRow {
    let heads = known.rows_from(TableId::Head, bucket).take_while(|(key, _)| key.starts_with(bucket));
    let highest = heads.filter_map(|(_, row)| VersionRow::decode(row).ok()).map(|head| head.seq).max();
    UsageRow {
        versions: MIDDLE,
        bytes: MIDDLE,
        heads: MIDDLE,
        uploads: MIDDLE,
        last_seq: commits.max(highest.unwrap_or(0)),
    }
}

impl Tables for Working<'_> {
    type Error = BadRow;

    fn get_raw(&self, table: TableId, key: &[u8]) -> Result<Option<Vec<u8>>, BadRow> {
        let key = (table, key.to_vec());
        if let Some(row) = self.changes.get(&key) {
            return Ok(row.clone());
        }
        Ok(if table == TableId::Usage { self.usage(key) } else { self.base(key) })
    }

    fn put_raw(&mut self, table: TableId, key: &[u8], row: &[u8]) -> Result<(), BadRow> {
        self.changes.insert((table, key.to_vec()), Some(row.to_vec()));
        Ok(())
    }

    fn remove_raw(&mut self, table: TableId, key: &[u8]) -> Result<(), BadRow> {
        self.changes.insert((table, key.to_vec()), None);
        Ok(())
    }

    fn scan_raw(
        &self,
        table: TableId,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<RawRow>, BadRow> {
        if to.is_some_and(|to| to <= from) {
            return Ok(Vec::new());
        }
        let changed = self.changed(table, from, to);
        let range = Range { table, from: from.to_vec(), to: to.map(<[u8]>::to_vec) };
        // Every removed row may hide one of the base's, so that many more are read.
        let rows = self.scan_base(range, limit.saturating_add(changed.len()));
        if changed.is_empty() {
            return Ok(rows);
        }
        let mut merged: BTreeMap<Vec<u8>, Vec<u8>> = rows.into_iter().collect();
        for (key, row) in changed {
            match row {
                Some(row) => drop(merged.insert(key.to_vec(), row.clone())),
                None => drop(merged.remove(key)),
            }
        }
        Ok(merged.into_iter().take(limit).collect())
    }

    fn malformed(table: TableId, why: Malformed) -> BadRow {
        BadRow(table, why)
    }
}
