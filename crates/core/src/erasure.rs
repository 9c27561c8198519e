//! Reed–Solomon over GF(2^8): any k of k+m shards give the others back.
//!
//! The field polynomial is 0x11d and the matrix ISA-L's Cauchy matrix (parity row r, column j: inv((k + r) ^ j)), so an
//! independent crate can check every byte. API and bytes are final; the kernel underneath may be replaced by SIMD ones.
//! Pure arithmetic: knows nothing of shapes, pieces or hashes. `ces` is its only caller on the data path.

mod gf;
mod kernel;
mod solve;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::chunk::Code;
use kernel::Plan;

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
    assert_eq!((data.len(), parity.len()), (code.k().into(), code.m().into()), "k data and m parity shards");
    let rows: Vec<Vec<u8>> = (0..code.m()).map(|r| parity_row(code, r)).collect();
    Plan::new(&rows).apply(data, parity);
}

/// Fills each of `wanted` (index and room) from any k of the `present` shards; indices are 0..k+m, as in the stripe.
///
/// Equal ranges of shards work as well as whole ones. A wanted shard that is present is copied.
///
/// # Panics
/// If an index is out of range or lengths differ.
pub fn reconstruct(
    code: Code,
    present: &[(u8, &[u8])],
    wanted: &mut [(u8, &mut [u8])],
) -> Result<(), TooFew> {
    let mut by_index: Vec<Option<&[u8]>> = vec![None; code.n().into()];
    for (index, shard) in present {
        by_index[usize::from(*index)].get_or_insert(shard);
    }
    let sources = solve::choose(code, |index| by_index[usize::from(index)].is_some());
    if sources.len() < code.k().into() {
        return Err(TooFew { have: sources.len() as u8, need: code.k() });
    }
    let (mut rows, mut outs) = (Vec::new(), Vec::new());
    let system = solve::System::new(code, &sources);
    for (index, out) in wanted.iter_mut() {
        assert!(*index < code.n(), "an index of the stripe");
        match by_index[usize::from(*index)] {
            Some(shard) => out.copy_from_slice(shard),
            None => {
                rows.push(system.row(*index));
                outs.push(&mut **out);
            }
        }
    }
    let shards: Vec<&[u8]> = sources.iter().filter_map(|i| by_index[usize::from(*i)]).collect();
    Plan::new(&rows).apply(&shards, &mut outs);
    Ok(())
}

/// Brings the m parity shards up to date after data shard `index` changed from `old` to `new`.
///
/// # Panics
/// If `index` is no data shard, there are not m parity shards, or lengths differ.
pub fn update(code: Code, index: u8, old: &[u8], new: &[u8], parity: &mut [&mut [u8]]) {
    assert_eq!(parity.len(), usize::from(code.m()), "m parity shards");
    assert!(index < code.k(), "a data shard");
    assert_eq!(old.len(), new.len(), "a shard keeps its length");
    let rows: Vec<Vec<u8>> = (0..code.m()).map(|r| vec![coefficient(code, r, index); 2]).collect();
    Plan::new(&rows).add(&[old, new], parity);
}

/// Whether the parity shards are those of the data shards.
///
/// # Panics
/// As [`encode`].
pub fn verify(code: Code, data: &[&[u8]], parity: &[&[u8]]) -> bool {
    let mut fresh: Vec<Vec<u8>> = parity.iter().map(|p| vec![0; p.len()]).collect();
    let mut rooms: Vec<&mut [u8]> = fresh.iter_mut().map(Vec::as_mut_slice).collect();
    encode(code, data, &mut rooms);
    fresh.iter().zip(parity).all(|(a, b)| a == b)
}

fn parity_row(code: Code, row: u8) -> Vec<u8> {
    (0..code.k()).map(|column| coefficient(code, row, column)).collect()
}
