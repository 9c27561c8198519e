//! The portable kernel: plain Rust that compilers vectorise. It needs no table and no shuffle instruction.
//!
//! Multiplication by a constant is done bit by bit, from the top (Horner): add up the sources whose coefficient has the
//! bit, double the sum, go on. Seven doublings serve a whole row, however many sources it has, and every step is a shift,
//! an `and` or an `xor` of whole blocks. The reference that every other kernel is held to.

use super::Span;
use crate::erasure::gf::FOLD;

/// Bytes of every source that are worked on at once: eight 128-bit registers, and k of them fit the first-level cache.
const BLOCK_BYTES: usize = 128;
/// Words of a set of up to 255 sources.
const SET_WORDS: usize = 4;
/// Words of a row: for each bit of a coefficient, from the lowest, the sources whose coefficient has it.
pub(super) const ROW_WORDS: usize = 8 * SET_WORDS;

type Block = [u8; BLOCK_BYTES];

/// The words of a row of coefficients.
pub(super) fn row_words(row: &[u8]) -> [u64; ROW_WORDS] {
    let mut words = [0; ROW_WORDS];
    for (source, coefficient) in row.iter().enumerate() {
        for bit in (0..8).filter(|bit| coefficient >> bit & 1 == 1) {
            words[bit * SET_WORDS + source / 64] |= 1 << (source % 64);
        }
    }
    words
}

/// Runs one row.
pub(super) fn run(span: &mut Span<'_, '_, '_>) {
    let [out] = span.outs else { panic!("a group is one row") };
    for start in span.bytes.clone().step_by(BLOCK_BYTES) {
        let end = span.bytes.end.min(start + BLOCK_BYTES);
        let product = product(span.words, span.sources, start, end);
        let out = &mut out[start..end];
        if span.add {
            out.iter_mut().zip(product).for_each(|(byte, sum)| *byte ^= sum);
        } else {
            out.copy_from_slice(&product[..end - start]);
        }
    }
}

/// One row times the bytes from `start` to `end` (at most a block) of every source.
fn product(words: &[u64], sources: &[&[u8]], start: usize, end: usize) -> Block {
    let mut sum = [0; BLOCK_BYTES];
    for sets in words.chunks_exact(SET_WORDS).rev() {
        double(&mut sum);
        for (first, set) in (0..).step_by(64).zip(sets) {
            let mut left = *set;
            while left != 0 {
                add(&mut sum, &sources[first + left.trailing_zeros() as usize][start..end]);
                left &= left - 1;
            }
        }
    }
    sum
}

#[inline]
fn add(sum: &mut Block, source: &[u8]) {
    match source.first_chunk::<BLOCK_BYTES>() {
        // A fixed length is what makes this a few wide instructions.
        Some(whole) => sum.iter_mut().zip(whole).for_each(|(s, byte)| *s ^= byte),
        None => sum.iter_mut().zip(source).for_each(|(s, byte)| *s ^= byte),
    }
}

/// Multiplies every byte by two: shift, and fold the bit that fell out.
#[inline]
fn double(block: &mut Block) {
    for byte in block {
        let fell_out = 0u8.wrapping_sub(*byte >> 7);
        *byte = (*byte << 1) ^ (fell_out & FOLD);
    }
}
