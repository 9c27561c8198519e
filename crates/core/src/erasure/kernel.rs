//! Kernels: rows of coefficients times sources, on the best instructions that the CPU has.
//!
//! Owns the choice of the kernel, the tables that it multiplies by, and the order of the walk: groups of rows whose sums fit
//! the registers; several groups in tiles, so that the sources come from the first-level cache but once. One file an
//! instruction set; `lanes` is the loop that they share; `portable` is the reference. All give the same bytes. `plan` is the
//! only caller. The only `unsafe` of this crate is below this file.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_gfni;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_endian = "little"),
    all(target_arch = "wasm32", target_feature = "simd128")
))]
mod lanes;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon;
mod portable;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128;
#[cfg(target_arch = "x86_64")]
mod ssse3;

use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

use super::gf;

/// Bytes of all sources together in one column tile, when there are several groups of rows: they stay in the first-level
/// cache (32 KiB at least) while group after group reads them.
const TILE_BYTES_ALL: usize = 29 * 1024;
/// The narrowest and the widest tile.
const TILE_BYTES_MIN: usize = 256;
const TILE_BYTES_MAX: usize = 4096;
/// How far ahead of the arithmetic each shard is fetched.
const AHEAD_BYTES: usize = 512;
/// Shards that the CPU itself fetches ahead when the loop is as quick as memory: telling it to only takes time.
const STREAMS_FEW: usize = 16;

/// An instruction set that the code can be computed with. All give the same bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kernel {
    /// x86-64 with AVX-512 and GFNI.
    Avx512Gfni,
    /// x86-64 with AVX2 and GFNI.
    Avx2Gfni,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with SSSE3.
    Ssse3,
    /// aarch64.
    Neon,
    /// wasm32, built with simd128.
    Simd128,
    /// Any CPU.
    Portable,
}

impl Kernel {
    /// All, the fastest first.
    pub const ALL: [Self; 7] = [
        Self::Avx512Gfni,
        Self::Avx2Gfni,
        Self::Avx2,
        Self::Ssse3,
        Self::Neon,
        Self::Simd128,
        Self::Portable,
    ];

    /// For reports and options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Avx512Gfni => "avx512-gfni",
            Self::Avx2Gfni => "avx2-gfni",
            Self::Avx2 => "avx2",
            Self::Ssse3 => "ssse3",
            Self::Neon => "neon",
            Self::Simd128 => "simd128",
            Self::Portable => "portable",
        }
    }

    /// Those that this CPU has, the fastest first; never empty.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|kernel| kernel.is_available())
    }

    /// The one that is used unless another is asked for: the fastest that this CPU has. Found out once.
    pub fn chosen() -> Self {
        static CHOSEN: OnceLock<Kernel> = OnceLock::new();
        *CHOSEN.get_or_init(|| Self::available().next().unwrap_or(Self::Portable))
    }

    /// Whether this CPU has it.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Gfni => avx512::is_available(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2Gfni => avx2_gfni::is_available(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::is_available(),
            #[cfg(target_arch = "x86_64")]
            Self::Ssse3 => ssse3::is_available(),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Self::Neon => neon::is_available(),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Self::Simd128 => true,
            Self::Portable => true,
            #[allow(unreachable_patterns, reason = "which arms there are depends on the target")]
            _ => false,
        }
    }

    /// The most rows whose sums fit its registers.
    const fn group_rows_max(self) -> usize {
        match self {
            Self::Avx512Gfni => 8,
            Self::Avx2Gfni | Self::Neon => 6,
            Self::Avx2 | Self::Ssse3 | Self::Simd128 => 4,
            Self::Portable => 1,
        }
    }

    /// Whether so many shards are to be fetched ahead; measured, see docs/benchmarks.md.
    const fn fetches_ahead(self, streams: usize) -> bool {
        match self {
            Self::Avx512Gfni if streams <= STREAMS_FEW => false,
            // More instructions a byte leave fewer loads under way; the CPU's own fetching does not make up for it.
            _ => true,
        }
    }

    fn run(self, span: &mut Span<'_, '_, '_>) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Gfni => avx512::run(span),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2Gfni => avx2_gfni::run(span),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::run(span),
            #[cfg(target_arch = "x86_64")]
            Self::Ssse3 => ssse3::run(span),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Self::Neon => neon::run(span),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Self::Simd128 => simd128::run(span),
            Self::Portable => portable::run(span),
            #[allow(unreachable_patterns, reason = "which arms there are depends on the target")]
            absent => panic!("{absent} is for another CPU"),
        }
    }

    /// The words that stand for a group of rows.
    fn extend_words(self, rows: &[Vec<u8>], words: &mut Vec<u64>) {
        if self == Self::Portable {
            return rows.iter().for_each(|row| words.extend(portable::row_words(row)));
        }
        for column in 0..rows.first().map_or(0, Vec::len) {
            for coefficient in rows.iter().map(|row| row[column]) {
                match self {
                    Self::Avx512Gfni | Self::Avx2Gfni => words.push(affine(coefficient)),
                    _ => words.extend(nibbles(coefficient)),
                }
            }
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Rows of coefficients, prepared for one kernel.
#[derive(Debug)]
pub(super) struct Table {
    kernel: Kernel,
    rows: usize,
    columns: usize,
    /// Group after group; in each, source after source (but portable: row after row).
    words: Box<[u64]>,
}

impl Table {
    /// Prepares rows of coefficients, one a source (1 to 255, the same in each row).
    ///
    /// # Panics
    /// If this CPU does not have the kernel.
    pub(super) fn new(kernel: Kernel, rows: &[Vec<u8>]) -> Self {
        assert!(kernel.is_available(), "this CPU does not have {kernel}");
        let columns = rows.first().map_or(0, Vec::len);
        assert!(rows.iter().all(|row| row.len() == columns), "one coefficient a source");
        let mut words = Vec::new();
        for group in groups(rows.len(), kernel.group_rows_max()) {
            kernel.extend_words(&rows[group], &mut words);
        }
        Self { kernel, rows: rows.len(), columns, words: words.into() }
    }

    /// Bytes of memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.words)
    }

    /// `outs = rows × sources`, or with `add`, `outs += rows × sources`.
    ///
    /// # Panics
    /// If there is not one source a column and one output a row, all of one length.
    pub(super) fn apply(&self, sources: &[&[u8]], outs: &mut [&mut [u8]], add: bool) {
        if let Some(mut task) = Task::new(self, sources, outs, add) {
            task.run();
        }
    }
}

/// A table, and buffers that fit it.
struct Task<'t, 's, 'o> {
    table: &'t Table,
    sources: &'s [&'s [u8]],
    outs: &'s mut [&'o mut [u8]],
    add: bool,
    /// Bytes of each source and output.
    bytes: usize,
}

/// What a kernel does at once: a group of rows over a range of the bytes.
///
/// Made by a [`Task`] only, which is what the kernels' `unsafe` builds on: `bytes` lies within every source and output.
struct Span<'t, 's, 'o> {
    sources: &'s [&'s [u8]],
    outs: &'t mut [&'o mut [u8]],
    words: &'t [u64],
    bytes: Range<usize>,
    /// How far ahead to fetch; 0 for not at all.
    #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
    ahead: usize,
    add: bool,
}

impl<'t, 's, 'o> Task<'t, 's, 'o> {
    /// Checks the buffers. `None` if there is nothing to write.
    fn new(
        table: &'t Table,
        sources: &'s [&'s [u8]],
        outs: &'s mut [&'o mut [u8]],
        add: bool,
    ) -> Option<Self> {
        assert_eq!(outs.len(), table.rows, "one output a row");
        let bytes = outs.first()?.len();
        assert_eq!(sources.len(), table.columns, "one source a column");
        assert!(sources.iter().all(|s| s.len() == bytes), "shards of a stripe are equally long");
        assert!(outs.iter().all(|o| o.len() == bytes), "shards of a stripe are equally long");
        Some(Self { table, sources, outs, add, bytes })
    }

    fn run(&mut self) {
        let table = self.table;
        let one_group = table.rows <= table.kernel.group_rows_max();
        let tile = if one_group { self.bytes.max(1) } else { tile_bytes(table.columns) };
        let words_of_row = table.words.len() / table.rows;
        let ahead = table.kernel.fetches_ahead(table.columns + table.rows);
        for start in (0..self.bytes).step_by(tile) {
            let bytes = start..self.bytes.min(start + tile);
            for group in groups(table.rows, table.kernel.group_rows_max()) {
                // The first group of a tile fetches the next tile; what the others read is there.
                let ahead = match group.start {
                    0 if one_group && ahead => AHEAD_BYTES,
                    0 if !one_group => tile,
                    _ => 0,
                };
                let words = &table.words[group.start * words_of_row..group.end * words_of_row];
                let outs = &mut self.outs[group];
                let (sources, bytes) = (self.sources, bytes.clone());
                table.kernel.run(&mut Span { sources, outs, words, bytes, ahead, add: self.add });
            }
        }
    }
}

/// Cuts rows into groups of at most `rows_max`, as equal as can be.
fn groups(rows: usize, rows_max: usize) -> impl Iterator<Item = Range<usize>> {
    let count = rows.div_ceil(rows_max);
    (0..count).map(move |group| group * rows / count..(group + 1) * rows / count)
}

/// The width of a tile, whole cache lines.
fn tile_bytes(columns: usize) -> usize {
    (TILE_BYTES_ALL / columns.max(1)).clamp(TILE_BYTES_MIN, TILE_BYTES_MAX) & !63
}

/// The bit matrix of a multiplication, as GFNI wants it: the input bits that feed output bit i, in byte 7 − i.
fn affine(coefficient: u8) -> u64 {
    let mut matrix = [0u8; 8];
    for input in 0..8 {
        let product = gf::multiply(coefficient, 1 << input);
        for output in (0..8).filter(|output| product >> output & 1 == 1) {
            matrix[7 - output] |= 1 << input;
        }
    }
    u64::from_le_bytes(matrix)
}

/// The products of the sixteen low nibbles, then those of the sixteen high ones.
fn nibbles(coefficient: u8) -> [u64; 4] {
    std::array::from_fn(|word| {
        let shift = if word < 2 { 0 } else { 4 };
        let first = word as u8 % 2 * 8;
        u64::from_le_bytes(std::array::from_fn(|i| gf::multiply(coefficient, (first + i as u8) << shift)))
    })
}

#[cfg(test)]
mod tests {
    use super::{affine, gf, groups, nibbles, tile_bytes};

    #[test]
    fn groups_cover_all_rows_and_differ_by_one_at_most() {
        for rows in 0..=255 {
            for rows_max in [1, 4, 6, 8] {
                let groups: Vec<_> = groups(rows, rows_max).collect();
                assert_eq!(
                    groups.iter().cloned().flatten().collect::<Vec<_>>(),
                    (0..rows).collect::<Vec<_>>()
                );
                let sizes = groups.iter().map(ExactSizeIterator::len);
                let (least, most) = (sizes.clone().min().unwrap_or(0), sizes.max().unwrap_or(0));
                assert!(most <= rows_max && most - least <= 1, "{rows} rows by {rows_max}: {groups:?}");
            }
        }
    }

    #[test]
    fn tiles_are_whole_lines() {
        assert_eq!([1, 29, 255].map(tile_bytes), [4096, 1024, 256]);
        assert!((1..=255).all(|columns| tile_bytes(columns).is_multiple_of(64)));
    }

    #[test]
    fn tables_multiply() {
        for coefficient in 0..=255 {
            let (matrix, table) = (affine(coefficient).to_le_bytes(), nibbles(coefficient));
            let at = |nibble: u8| table[usize::from(nibble) / 8].to_le_bytes()[usize::from(nibble) % 8];
            for byte in 0..=255 {
                let product = gf::multiply(coefficient, byte);
                assert_eq!(at(byte & 15) ^ at(16 + (byte >> 4)), product);
                let bit = |i: usize| ((matrix[7 - i] & byte).count_ones() as u8 & 1) << i;
                assert_eq!((0..8).map(bit).sum::<u8>(), product);
            }
        }
    }
}
