//! Memory tables: the reference that every other engine is compared with.
//!
//! Owns nothing but ordered maps of the encoded rows, so two states are equal exactly when their bytes are.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;

use super::tables::{RawRow, TableId, Tables};
use crate::codec::Malformed;

/// Tables in memory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemoryTables {
    tables: BTreeMap<TableId, BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl MemoryTables {
    /// Empty tables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every row of every table, by table number and key: what a snapshot holds.
    pub fn dump(&self) -> impl Iterator<Item = (TableId, &[u8], &[u8])> {
        self.tables.iter().flat_map(|(id, rows)| rows.iter().map(|(k, v)| (*id, k.as_slice(), v.as_slice())))
    }

    /// How many rows a table has.
    pub fn rows(&self, table: TableId) -> usize {
        self.tables.get(&table).map_or(0, BTreeMap::len)
    }
}

impl Tables for MemoryTables {
    type Error = Infallible;

    fn get_raw(&self, table: TableId, key: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.tables.get(&table).and_then(|rows| rows.get(key)).cloned())
    }

    fn put_raw(&mut self, table: TableId, key: &[u8], row: &[u8]) -> Result<(), Infallible> {
        self.tables.entry(table).or_default().insert(key.to_vec(), row.to_vec());
        Ok(())
    }

    fn remove_raw(&mut self, table: TableId, key: &[u8]) -> Result<(), Infallible> {
        if let Some(rows) = self.tables.get_mut(&table) {
            rows.remove(key);
            if rows.is_empty() {
                self.tables.remove(&table); // equal states have equal maps
            }
        }
        Ok(())
    }

    fn scan_raw(
        &self,
        table: TableId,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<RawRow>, Infallible> {
        let Some(rows) = self.tables.get(&table) else { return Ok(Vec::new()) };
        if to.is_some_and(|to| to <= from) {
            return Ok(Vec::new());
        }
        let range = (Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded));
        Ok(rows.range::<[u8], _>(range).take(limit).map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    fn malformed(table: TableId, why: Malformed) -> Infallible {
        unreachable!(
            "{}: {why}: rows in memory were encoded by us, or checked where a snapshot was read",
            table.name()
        )
    }
}
