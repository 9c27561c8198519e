//! Plans: the tables for every (kernel, code, shards read, shards wanted) that was asked for lately.
//!
//! Inverting a matrix costs more than coding a small chunk with it, and stripes of one outage all lose the same shards. So
//! tables are remembered, least recently used out first, within [`PLAN_BYTES_MAX`]. Remembering changes no result. Used by
//! the door of `erasure` only.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::SHARDS_MAX;
use super::kernel::{Kernel, Table};
use crate::chunk::Code;

/// Memory of all remembered tables and their keys. The default code's tables take half a KiB each; the largest that there
/// are, some 64 KiB to half a MiB.
const PLAN_BYTES_MAX: usize = 1 << 20;
/// Bytes of a key: kernel, code, purpose, and two lists of shards.
const KEY_BYTES_MAX: usize = 4 + 2 * SHARDS_MAX;
/// Enough for the usual codes; a small room is cleared sooner.
const KEY_BYTES_USUAL: usize = 32;

static PLANS: Mutex<Plans> = Mutex::new(Plans::new(PLAN_BYTES_MAX));

/// What a table is for. Its bytes are the key; made without allocating.
#[derive(Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// From k data shards to m parity shards.
    Encode,
    /// From a change of one data shard to the parity shards.
    Update { index: u8 },
    /// From k `sources` to any `wanted` shards, at most [`SHARDS_MAX`].
    Rebuild { sources: &'a [u8], wanted: &'a [u8] },
}

impl Purpose<'_> {
    /// Calls `then` with the key. No two questions have the same: the code says where the sources end.
    fn with_key<T>(self, kernel: Kernel, code: Code, then: impl FnOnce(&[u8]) -> T) -> T {
        let head = |purpose| [kernel as u8, code.k(), code.m(), purpose];
        match self {
            Self::Encode => then(&head(0)),
            Self::Update { index } => {
                let [a, b, c, d] = head(1);
                then(&[a, b, c, d, index])
            }
            Self::Rebuild { sources, wanted } => {
                assert_eq!(sources.len(), usize::from(code.k()), "k sources");
                let parts = [&head(2)[..], sources, wanted];
                match parts.iter().map(|part| part.len()).sum() {
                    0..=KEY_BYTES_USUAL => then(join(&parts, &mut [0; KEY_BYTES_USUAL])),
                    _ => then(join(&parts, &mut [0; KEY_BYTES_MAX])),
                }
            }
        }
    }
}

/// The parts one behind the other in `room`.
fn join<'r>(parts: &[&[u8]], room: &'r mut [u8]) -> &'r [u8] {
    let mut len = 0;
    for part in parts {
        room[len..len + part.len()].copy_from_slice(part);
        len += part.len();
    }
    &room[..len]
}

/// The table for a purpose: the remembered one, or what `make` makes.
pub(super) fn table(
    kernel: Kernel,
    code: Code,
    purpose: Purpose<'_>,
    make: impl FnOnce() -> Vec<Vec<u8>>,
) -> Arc<Table> {
    // No table is ever half made in here, so a panic elsewhere leaves nothing to fear.
    let plans = || PLANS.lock().unwrap_or_else(PoisonError::into_inner);
    purpose.with_key(kernel, code, |key| {
        if let Some(table) = plans().get(key) {
            return table;
        }
        // Made without the lock: others go on. Who makes the same at the same time does it twice.
        let table = Arc::new(Table::new(kernel, &make()));
        plans().put(key, &table);
        table
    })
}

/// Tables by key, within a number of bytes.
struct Plans {
    entries: BTreeMap<Box<[u8]>, Entry>,
    /// Of all entries.
    bytes: usize,
    bytes_max: usize,
    /// Grows with every use: the order in which tables were used.
    uses: u64,
}

struct Entry {
    table: Arc<Table>,
    used: u64,
}

impl Plans {
    const fn new(bytes_max: usize) -> Self {
        Self { entries: BTreeMap::new(), bytes: 0, bytes_max, uses: 0 }
    }

    fn get(&mut self, key: &[u8]) -> Option<Arc<Table>> {
        self.uses += 1;
        let entry = self.entries.get_mut(key)?;
        entry.used = self.uses;
        Some(Arc::clone(&entry.table))
    }

    fn put(&mut self, key: &[u8], table: &Arc<Table>) {
        let bytes = entry_bytes(key, table);
        if bytes > self.bytes_max || self.entries.contains_key(key) {
            return;
        }
        while self.bytes + bytes > self.bytes_max {
            let Some(oldest) = self.entries.iter().min_by_key(|(_, entry)| entry.used) else { break };
            let oldest = oldest.0.clone();
            if let Some(entry) = self.entries.remove(&oldest) {
                self.bytes -= entry_bytes(&oldest, &entry.table);
            }
        }
        self.bytes += bytes;
        self.entries.insert(key.into(), Entry { table: Arc::clone(table), used: self.uses });
    }
}

fn entry_bytes(key: &[u8], table: &Table) -> usize {
    key.len() + size_of::<Entry>() + size_of::<Box<[u8]>>() + table.bytes()
}

#[cfg(test)]
mod tests {
    use super::{Plans, Purpose, entry_bytes};
    use crate::chunk::Code;
    use crate::erasure::kernel::{Kernel, Table};
    use std::sync::Arc;

    fn table() -> Arc<Table> {
        Arc::new(Table::new(Kernel::Portable, &[vec![1, 2, 3]]))
    }

    #[test]
    fn what_was_not_used_for_longest_is_forgotten_when_there_is_no_room() {
        let room_for_three = 3 * entry_bytes(b"a", &table());
        let mut plans = Plans::new(room_for_three);
        for key in [b"a", b"b", b"c"] {
            assert!(plans.get(key).is_none());
            plans.put(key, &table());
        }
        assert!(plans.get(b"a").is_some());
        plans.put(b"d", &table());
        let known = [b"a", b"b", b"c", b"d"].map(|key| plans.get(key).is_some());
        assert_eq!(known, [true, false, true, true]);
        assert_eq!(plans.bytes, room_for_three);
        plans.put(b"d", &table());
        assert_eq!((plans.bytes, plans.entries.len()), (room_for_three, 3));
    }

    #[test]
    fn what_is_larger_than_all_room_is_not_kept() {
        let mut plans = Plans::new(10);
        plans.put(b"a", &table());
        assert_eq!((plans.bytes, plans.entries.len()), (0, 0));
    }

    #[test]
    fn no_two_questions_have_one_key() {
        let code = |k, m| Code::new(k, m).expect("valid");
        let rebuild = |k, m, sources, wanted| (code(k, m), Purpose::Rebuild { sources, wanted });
        let questions = [
            rebuild(2, 2, &[0, 1], &[2]),
            rebuild(2, 2, &[0, 2], &[1]),
            rebuild(2, 2, &[0, 1], &[2, 3]),
            rebuild(2, 2, &[0, 1], &[3, 2]),
            rebuild(2, 3, &[0, 1], &[2]),
            rebuild(1, 2, &[0], &[1, 2]),
            (code(2, 2), Purpose::Encode),
            (code(1, 2), Purpose::Encode),
            (code(2, 2), Purpose::Update { index: 0 }),
            (code(2, 2), Purpose::Update { index: 1 }),
            (code(1, 2), Purpose::Update { index: 0 }),
        ];
        let keys: Vec<Vec<u8>> = [Kernel::Avx2, Kernel::Portable]
            .into_iter()
            .flat_map(|kernel| questions.map(|(code, asked)| asked.with_key(kernel, code, <[u8]>::to_vec)))
            .collect();
        for (i, a) in keys.iter().enumerate() {
            assert!(!keys[..i].contains(a), "{a:?}");
        }
    }
}
