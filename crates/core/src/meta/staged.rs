//! Staged tables: the changes of one command, seen by that command and by nobody else until it succeeds.
//!
//! Owns the rule that a refused command changes nothing: `apply` runs every command on staged tables and takes the changes
//! over only when it was not refused.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::tables::{RawRow, TableId, Tables};
use crate::codec::Malformed;

/// A change: the new row, or `None` for a removed one.
pub(super) type Change = ((TableId, Vec<u8>), Option<Vec<u8>>);

/// Tables with one command's changes on top.
pub(super) struct Staged<'a, T> {
    base: &'a T,
    changes: BTreeMap<(TableId, Vec<u8>), Option<Vec<u8>>>,
}

impl<'a, T: Tables> Staged<'a, T> {
    /// No changes yet.
    pub fn new(base: &'a T) -> Self {
        Self { base, changes: BTreeMap::new() }
    }

    /// Throws the changes away.
    pub fn clear(&mut self) {
        self.changes.clear();
    }

    /// The changes, by table and key.
    pub fn into_changes(self) -> impl Iterator<Item = Change> {
        self.changes.into_iter()
    }

    fn changed(&self, table: TableId, from: &[u8], to: Option<&[u8]>) -> Vec<(&[u8], Option<&Vec<u8>>)> {
        self.changes
            .range((Bound::Included((table, from.to_vec())), Bound::Unbounded))
            .take_while(|((t, key), _)| *t == table && to.is_none_or(|to| key.as_slice() < to))
            .map(|((_, key), row)| (key.as_slice(), row.as_ref()))
            .collect()
    }
}

impl<T: Tables> Tables for Staged<'_, T> {
    type Error = T::Error;

    fn get_raw(&self, table: TableId, key: &[u8]) -> Result<Option<Vec<u8>>, T::Error> {
        if self.changes.is_empty() {
            return self.base.get_raw(table, key);
        }
        match self.changes.get(&(table, key.to_vec())) {
            Some(row) => Ok(row.clone()),
            None => self.base.get_raw(table, key),
        }
    }

    fn put_raw(&mut self, table: TableId, key: &[u8], row: &[u8]) -> Result<(), T::Error> {
        self.changes.insert((table, key.to_vec()), Some(row.to_vec()));
        Ok(())
    }

    fn remove_raw(&mut self, table: TableId, key: &[u8]) -> Result<(), T::Error> {
        self.changes.insert((table, key.to_vec()), None);
        Ok(())
    }

    fn scan_raw(
        &self,
        table: TableId,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<RawRow>, T::Error> {
        let changed = self.changed(table, from, to);
        // Every removed row may hide one of the base's, so that many more are read.
        let rows = self.base.scan_raw(table, from, to, limit.saturating_add(changed.len()))?;
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

    fn malformed(table: TableId, why: Malformed) -> T::Error {
        T::malformed(table, why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::MemoryTables;

    #[test]
    fn a_scan_sees_what_was_staged_and_no_more_than_asked() {
        let mut base = MemoryTables::new();
        for key in [b"a", b"c", b"e", b"g"] {
            let Ok(()) = base.put_raw(TableId::Lease, key, b"base");
        }
        let mut staged = Staged::new(&base);
        let Ok(()) = staged.remove_raw(TableId::Lease, b"a");
        let Ok(()) = staged.put_raw(TableId::Lease, b"d", b"staged");
        let Ok(()) = staged.put_raw(TableId::Setting, b"b", b"elsewhere");
        let keys = |limit, to| {
            let Ok(rows) = staged.scan_raw(TableId::Lease, b"a", to, limit);
            rows.into_iter().map(|(k, _)| k[0] as char).collect::<String>()
        };
        assert_eq!(
            (keys(9, None), keys(2, None), keys(9, Some(&b"e"[..]))),
            ("cdeg".into(), "cd".into(), "cd".into())
        );
    }
}
