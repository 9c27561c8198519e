//! The coefficients that turn k shards into any other shard of the stripe.
//!
//! With L data shards among the missing only an L×L system is inverted, not a k×k one. Used by the door when `plan` does not
//! know the answer.

use super::{coefficient, gf, parity_row};
use crate::chunk::Code;

/// For each of the `missing` shards, its coefficients, one a source; the k `sources` are ascending.
pub(super) fn rows(code: Code, sources: &[u8], missing: &[u8]) -> Vec<Vec<u8>> {
    let system = System::new(code, sources);
    missing.iter().map(|index| system.row(*index)).collect()
}

/// A solved stripe: every lost data shard as a combination of the chosen sources.
struct System<'a> {
    code: Code,
    sources: &'a [u8],
    /// The lost data shards and, for each, one coefficient a source.
    lost: Vec<(u8, Vec<u8>)>,
}

impl<'a> System<'a> {
    /// Solves for the data shards that are not among the k `sources` (ascending).
    fn new(code: Code, sources: &'a [u8]) -> Self {
        let data = sources.partition_point(|i| *i < code.k());
        let (data, parity) = sources.split_at(data);
        let lost: Vec<u8> = (0..code.k()).filter(|i| data.binary_search(i).is_err()).collect();
        let square: Vec<Vec<u8>> = parity
            .iter()
            .map(|p| lost.iter().map(|l| coefficient(code, p - code.k(), *l)).collect())
            .collect();
        let inverse = invert(square);
        // A lost shard is Σ over parities p of inverse[p] · (p − the present data's share of p).
        let combine = |solved: &Vec<u8>| {
            let share = |d: &u8| {
                parity.iter().zip(solved).fold(0, |sum, (p, factor)| {
                    sum ^ gf::multiply(*factor, coefficient(code, p - code.k(), *d))
                })
            };
            data.iter().map(share).chain(solved.iter().copied()).collect()
        };
        let lost = lost.iter().copied().zip(inverse.iter().map(combine)).collect();
        Self { code, sources, lost }
    }

    /// The coefficients, one a source, of shard `index`, which is not among the sources.
    fn row(&self, index: u8) -> Vec<u8> {
        if index < self.code.k() {
            let found = self.lost.iter().find(|(lost, _)| *lost == index);
            return found.expect("a data shard is a source or lost").1.clone();
        }
        let parity = parity_row(self.code, index - self.code.k());
        let mut row: Vec<u8> =
            self.sources.iter().map(|s| parity.get(usize::from(*s)).copied().unwrap_or(0)).collect();
        for (lost, coefficients) in &self.lost {
            let factor = parity[usize::from(*lost)];
            row.iter_mut().zip(coefficients).for_each(|(sum, c)| *sum ^= gf::multiply(factor, *c));
        }
        row
    }
}

/// The inverse of a square matrix by Gauss–Jordan elimination.
///
/// # Panics
/// If it is singular; no square part of a Cauchy matrix is.
fn invert(mut matrix: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let size = matrix.len();
    for (number, row) in matrix.iter_mut().enumerate() {
        row.extend((0..size).map(|column| u8::from(column == number)));
    }
    for column in 0..size {
        let pivot = (column..size).find(|r| matrix[*r][column] != 0).expect("Cauchy parts are regular");
        matrix.swap(column, pivot);
        let scale = gf::inverse(matrix[column][column]);
        matrix[column].iter_mut().for_each(|x| *x = gf::multiply(*x, scale));
        let pivot_row = matrix[column].clone();
        for (number, row) in matrix.iter_mut().enumerate() {
            let factor = row[column];
            if number != column && factor != 0 {
                row.iter_mut().zip(&pivot_row).for_each(|(x, p)| *x ^= gf::multiply(factor, *p));
            }
        }
    }
    matrix.into_iter().map(|row| row[size..].to_vec()).collect()
}
