//! Reed–Solomon over GF(2^8): any k of k+m shards give the others back.
//!
//! The field polynomial is 0x11d and the matrix ISA-L's Cauchy matrix (parity row r, column j: inv((k + r) ^ j)), so an
//! independent crate can check every byte. Bytes are final.
//!
//! Owns the door: the functions below on the best [`Kernel`] of this CPU, and the same as methods of one that is named.
//! `solve` finds the coefficients, `plan` remembers them, `kernel` does the arithmetic. Once the plan is known nothing is
//! allocated. Pure arithmetic: knows nothing of shapes, pieces or hashes. `ces` is its only caller on the data path.

mod gf;
mod kernel;
mod plan;
mod solve;
#[cfg(test)]
mod tests;

use std::array;
use std::fmt;
use std::sync::Arc;

pub use kernel::Kernel;
use kernel::Table;
use plan::Purpose;

use crate::chunk::Code;

/// The most shards of a stripe.
const SHARDS_MAX: usize = 255;
/// Parity bytes that [`verify`] computes before it compares them; on the stack.
const VERIFY_BYTES: usize = 16 * 1024;

/// Fewer shards than the code needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooFew {
    /// Distinct shards that were given.
    pub have: u8,
    /// Shards that the code needs.
    pub need: u8,
}

impl fmt::Display for TooFew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} shards given, {} needed", self.have, self.need)
    }
}

impl std::error::Error for TooFew {}

/// The coefficient of data shard `column` in parity shard `row` (both from 0).
pub fn coefficient(code: Code, row: u8, column: u8) -> u8 {
    assert!(row < code.m() && column < code.k(), "a parity row and a data column");
    gf::inverse((code.k() + row) ^ column)
}

/// Fills the m parity shards from the k data shards.
///
/// # Panics
/// If there are not k and m of them, or lengths differ.
pub fn encode(code: Code, data: &[&[u8]], parity: &mut [&mut [u8]]) {
    Kernel::chosen().encode(code, data, parity);
}

/// Fills each of `wanted` (index and room) from any k of the `present` shards; indices are 0..k+m, as in the stripe.
///
/// Equal ranges of shards work as well as whole ones. A wanted shard that is present is copied.
///
/// # Panics
/// If an index is out of range, lengths differ, or more shards are wanted than the largest stripe has.
pub fn reconstruct(
    code: Code,
    present: &[(u8, &[u8])],
    wanted: &mut [(u8, &mut [u8])],
) -> Result<(), TooFew> {
    Kernel::chosen().reconstruct(code, present, wanted)
}

/// Brings the m parity shards up to date after data shard `index` changed from `old` to `new`.
///
/// # Panics
/// If `index` is no data shard, there are not m parity shards, or lengths differ.
pub fn update(code: Code, index: u8, old: &[u8], new: &[u8], parity: &mut [&mut [u8]]) {
    Kernel::chosen().update(code, index, old, new, parity);
}

/// Whether the parity shards are those of the data shards.
///
/// # Panics
/// As [`encode`].
pub fn verify(code: Code, data: &[&[u8]], parity: &[&[u8]]) -> bool {
    Kernel::chosen().verify(code, data, parity)
}

/// The same on a kernel of the caller's choice; each panics also if this CPU does not have it.
impl Kernel {
    /// As [`encode`].
    pub fn encode(self, code: Code, data: &[&[u8]], parity: &mut [&mut [u8]]) {
        assert_eq!(
            (data.len(), parity.len()),
            (code.k().into(), code.m().into()),
            "k data and m parity shards"
        );
        self.parity_table(code).apply(data, parity, false);
    }

    /// As [`reconstruct`].
    pub fn reconstruct(
        self,
        code: Code,
        present: &[(u8, &[u8])],
        wanted: &mut [(u8, &mut [u8])],
    ) -> Result<(), TooFew> {
        // Clearing lists for 255 shards takes longer than decoding a small chunk of a usual code.
        match usize::from(code.n()).max(wanted.len()) {
            0..=16 => self.reconstruct_within::<16>(code, present, wanted),
            17..=32 => self.reconstruct_within::<32>(code, present, wanted),
            33..=96 => self.reconstruct_within::<96>(code, present, wanted),
            _ => self.reconstruct_within::<SHARDS_MAX>(code, present, wanted),
        }
    }

    /// As [`reconstruct`], for at most N shards.
    fn reconstruct_within<const N: usize>(
        self,
        code: Code,
        present: &[(u8, &[u8])],
        wanted: &mut [(u8, &mut [u8])],
    ) -> Result<(), TooFew> {
        let mut by_index: [Option<&[u8]>; N] = [None; N];
        for (index, shard) in present {
            assert!(*index < code.n(), "an index of the stripe");
            by_index[usize::from(*index)].get_or_insert(shard);
        }
        let (mut sources, mut shards) = ([0; N], [&[][..]; N]);
        let mut have = 0;
        // Data first: the fewer of them are missing, the smaller is the system to solve.
        let known = (0..=u8::MAX).zip(&by_index).filter_map(|(index, shard)| Some((index, (*shard)?)));
        for (index, shard) in known.take(code.k().into()) {
            (sources[have], shards[have]) = (index, shard);
            have += 1;
        }
        if have < code.k().into() {
            return Err(TooFew { have: have as u8, need: code.k() });
        }
        assert!(wanted.len() <= N, "no stripe has more shards");
        let mut missing = [0; N];
        let mut rooms: [&mut [u8]; N] = array::from_fn(|_| &mut [][..]);
        let mut lacking = 0;
        for (index, room) in wanted.iter_mut() {
            assert!(*index < code.n(), "an index of the stripe");
            match by_index[usize::from(*index)] {
                Some(shard) => room.copy_from_slice(shard),
                None => {
                    (missing[lacking], rooms[lacking]) = (*index, room);
                    lacking += 1;
                }
            }
        }
        if lacking > 0 {
            let (sources, wanted) = (&sources[..have], &missing[..lacking]);
            let purpose = Purpose::Rebuild { sources, wanted };
            let table = plan::table(self, code, purpose, || solve::rows(code, sources, wanted));
            table.apply(&shards[..have], &mut rooms[..lacking], false);
        }
        Ok(())
    }

    /// As [`update`].
    pub fn update(self, code: Code, index: u8, old: &[u8], new: &[u8], parity: &mut [&mut [u8]]) {
        assert_eq!(parity.len(), usize::from(code.m()), "m parity shards");
        assert!(index < code.k(), "a data shard");
        assert_eq!(old.len(), new.len(), "a shard keeps its length");
        let rows = || (0..code.m()).map(|row| vec![coefficient(code, row, index); 2]).collect();
        let table = plan::table(self, code, Purpose::Update { index }, rows);
        table.apply(&[old, new], parity, true);
    }

    /// As [`verify`].
    pub fn verify(self, code: Code, data: &[&[u8]], parity: &[&[u8]]) -> bool {
        assert_eq!(
            (data.len(), parity.len()),
            (code.k().into(), code.m().into()),
            "k data and m parity shards"
        );
        let bytes = data[0].len();
        assert!(data.iter().chain(parity).all(|s| s.len() == bytes), "shards of a stripe are equally long");
        if parity.is_empty() {
            return true;
        }
        let table = self.parity_table(code);
        let mut fresh = [0; VERIFY_BYTES];
        let width = (VERIFY_BYTES / parity.len()) & !63;
        (0..bytes).step_by(width).all(|start| {
            let part = start..bytes.min(start + width);
            let mut sources = [&[][..]; SHARDS_MAX];
            sources.iter_mut().zip(data).for_each(|(source, shard)| *source = &shard[part.clone()]);
            let mut rooms: [&mut [u8]; SHARDS_MAX] = array::from_fn(|_| &mut [][..]);
            rooms.iter_mut().zip(fresh.chunks_exact_mut(part.len())).for_each(|(room, part)| *room = part);
            let rooms = &mut rooms[..parity.len()];
            table.apply(&sources[..data.len()], rooms, false);
            rooms.iter().zip(parity).all(|(room, shard)| **room == shard[part.clone()])
        })
    }

    fn parity_table(self, code: Code) -> Arc<Table> {
        let rows = || (0..code.m()).map(|row| parity_row(code, row)).collect();
        plan::table(self, code, Purpose::Encode, rows)
    }
}

fn parity_row(code: Code, row: u8) -> Vec<u8> {
    (0..code.k()).map(|column| coefficient(code, row, column)).collect()
}
