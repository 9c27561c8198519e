//! The portable kernel: rows of coefficients times sources, in plain Rust that compilers vectorise.
//!
//! Multiplication by a constant is done bit by bit, from the top (Horner): add up the sources whose coefficient has the
//! bit, double the sum, go on. Seven doublings serve a whole row, however many sources it has, and every step is a shift,
//! an `and` or an `xor` of whole blocks, which needs no table and no shuffle instruction.

use super::gf::FOLD;

/// Bytes of every source that are worked on at once: eight 128-bit registers, and k of them fit the first-level cache.
const BLOCK_BYTES: usize = 128;

type Block = [u8; BLOCK_BYTES];

/// Which sources to add for each bit of each row.
pub(super) struct Plan {
    rows: Vec<[Vec<u8>; 8]>,
}

impl Plan {
    /// Prepares rows of coefficients, one a source (at most 255).
    pub(super) fn new(rows: &[Vec<u8>]) -> Self {
        let sources = |row: &[u8], bit: usize| {
            (0..=u8::MAX).zip(row).filter(|(_, c)| (**c >> bit) & 1 == 1).map(|(source, _)| source).collect()
        };
        Self { rows: rows.iter().map(|row| std::array::from_fn(|bit| sources(row, bit))).collect() }
    }

    /// `outs = rows × sources`.
    pub(super) fn apply(&self, sources: &[&[u8]], outs: &mut [&mut [u8]]) {
        self.run(sources, outs, |out, product| out.copy_from_slice(product));
    }

    /// `outs += rows × sources`.
    pub(super) fn add(&self, sources: &[&[u8]], outs: &mut [&mut [u8]]) {
        self.run(sources, outs, |out, product| out.iter_mut().zip(product).for_each(|(o, p)| *o ^= p));
    }

    fn run(&self, sources: &[&[u8]], outs: &mut [&mut [u8]], store: impl Fn(&mut [u8], &[u8])) {
        let Some(bytes) = outs.first().map(|out| out.len()) else { return };
        assert_eq!(outs.len(), self.rows.len(), "one output a row");
        assert!(sources.iter().all(|s| s.len() == bytes), "shards of a stripe are equally long");
        assert!(outs.iter().all(|o| o.len() == bytes), "shards of a stripe are equally long");
        let mut blocks: Vec<Block> = vec![[0; BLOCK_BYTES]; sources.len()];
        for start in (0..bytes).step_by(BLOCK_BYTES) {
            let end = bytes.min(start + BLOCK_BYTES);
            for (block, source) in blocks.iter_mut().zip(sources) {
                block[..end - start].copy_from_slice(&source[start..end]);
            }
            for (row, out) in self.rows.iter().zip(outs.iter_mut()) {
                let product = product(row, &blocks);
                store(&mut out[start..end], &product[..end - start]);
            }
        }
    }
}

/// One row times one block of every source.
fn product(row: &[Vec<u8>; 8], blocks: &[Block]) -> Block {
    let mut sum = [0; BLOCK_BYTES];
    for sources in row.iter().rev() {
        double(&mut sum);
        for source in sources {
            let block = &blocks[usize::from(*source)];
            for i in 0..BLOCK_BYTES {
                sum[i] ^= block[i];
            }
        }
    }
    sum
}

/// Multiplies every byte by two: shift, and fold the bit that fell out.
#[inline]
fn double(block: &mut Block) {
    for byte in block {
        let fell_out = 0u8.wrapping_sub(*byte >> 7);
        *byte = (*byte << 1) ^ (fell_out & FOLD);
    }
}
