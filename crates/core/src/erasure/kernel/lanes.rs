//! The one loop behind all SIMD kernels: a group of rows times all sources, sums in registers.
//!
//! Owns how a stripe is walked: steps of several registers a source, then single registers, then a part of one; and how far
//! ahead it is fetched. What a register is, and how bytes are multiplied in it, is each kernel's own file. Only `kernel` uses
//! this.
//!
//! Why `unsafe`: the loop reads 14 streams at the speed of the cache. With slices the compiler checks bounds per register and
//! source, which costs more than the arithmetic; here they are checked once, by [`Task::new`](super::Task).

use super::Span;

/// Bytes of a cache line: what one prefetch brings.
const LINE_BYTES: usize = 64;

/// Sources, or pairs of them, in an unrolled block: each is loaded by instructions of its own. CPUs tell the streams that
/// they fetch ahead apart by the address of the loading instruction, so in a loop over sources all of them look like one
/// that jumps about. (Inferred; the gain is measured: docs/benchmarks.md.)
const SLOTS: usize = 8;

/// `$body` for each of at most [`SLOTS`] items, unrolled.
macro_rules! in_slots {
    ($block:expr, $item:ident => $body:block) => {
        in_slots!(@ $block, $item, $body, 0 1 2 3 4 5 6 7)
    };
    (@ $block:expr, $item:ident, $body:block, $($slot:literal)*) => {
        $(if let Some($item) = $block.get($slot) $body)*
    };
}

/// A SIMD register of bytes, and the field's arithmetic in it.
///
/// # Safety of the methods
/// The CPU must have the kernel's instructions. Pointers must be good for [`Self::BYTES`] bytes (`_part`: for `bytes` of
/// them; `factor`: for [`Self::WORDS`] words), of any alignment; `prefetch` takes any address.
pub(super) trait Lanes: Copy {
    /// Bytes in one, at most a cache line.
    const BYTES: usize;
    /// Words of the table that a coefficient takes.
    const WORDS: usize;
    /// Whether the sum of three takes one instruction, so that sources are best added in pairs.
    const PAIRS: bool;
    /// Up to how many rows the loop over the sources is unrolled ([`SLOTS`]); measured.
    const UNROLLED_ROWS_MAX: usize;
    /// A source, ready to be multiplied.
    type Source: Copy;
    /// A coefficient, ready to multiply.
    type Factor: Copy;

    unsafe fn zero() -> Self;
    unsafe fn load(from: *const u8) -> Self;
    unsafe fn store(self, to: *mut u8);
    unsafe fn source(self) -> Self::Source;
    unsafe fn factor(words: *const u64) -> Self::Factor;
    /// `self + source × factor`.
    unsafe fn add(self, source: Self::Source, factor: Self::Factor) -> Self;
    unsafe fn prefetch(at: *const u8);

    /// `self + source × factor`, for two of them.
    #[inline(always)]
    unsafe fn add_two(self, sources: [Self::Source; 2], factors: [Self::Factor; 2]) -> Self {
        // SAFETY: the caller's promise is that of both calls.
        unsafe { self.add(sources[0], factors[0]).add(sources[1], factors[1]) }
    }

    /// Loads fewer bytes than a register has; zeros behind them.
    #[inline(always)]
    unsafe fn load_part(from: *const u8, bytes: usize) -> Self {
        let mut whole = [0; LINE_BYTES];
        // SAFETY: `from` is good for `bytes`, which is less than a register and so less than `whole`.
        unsafe {
            std::ptr::copy_nonoverlapping(from, whole.as_mut_ptr(), bytes);
            Self::load(whole.as_ptr())
        }
    }

    /// Stores the first bytes of a register.
    #[inline(always)]
    unsafe fn store_part(self, to: *mut u8, bytes: usize) {
        let mut whole = [0; LINE_BYTES];
        // SAFETY: as in `load_part`.
        unsafe {
            self.store(whole.as_mut_ptr());
            std::ptr::copy_nonoverlapping(whole.as_ptr(), to, bytes);
        }
    }
}

/// Rows `M` of the span times all sources, `U` registers a source and step.
///
/// # Safety
/// The CPU must have the instructions of `V`, and the span must come from a [`Task`](super::Task).
#[inline(always)]
pub(super) unsafe fn rows<V: Lanes, const M: usize, const U: usize>(span: &mut Span<'_, '_, '_>) {
    // SAFETY: passed on.
    unsafe {
        match span.ahead {
            0 => walk::<V, M, U, false>(span),
            _ => walk::<V, M, U, true>(span),
        }
    }
}

#[inline(always)]
unsafe fn walk<V: Lanes, const M: usize, const U: usize, const AHEAD: bool>(span: &mut Span<'_, '_, '_>) {
    assert!(span.outs.len() == M && span.words.len() == M * V::WORDS * span.sources.len(), "a group's own");
    let outs: [*mut u8; M] = std::array::from_fn(|row| span.outs[row].as_mut_ptr());
    let (mut at, end) = (span.bytes.start, span.bytes.end);
    // SAFETY: sources and outputs have at least `end` bytes (`Task`), and each step stays below it; the words are those
    // that the assertion counted.
    unsafe {
        while at + U * V::BYTES <= end {
            step::<V, M, U, AHEAD>(span, &outs, at);
            at += U * V::BYTES;
        }
        while at + V::BYTES <= end {
            step::<V, M, 1, false>(span, &outs, at);
            at += V::BYTES;
        }
        if at < end {
            part::<V, M>(span, &outs, at, end - at);
        }
    }
}

#[inline(always)]
unsafe fn step<V: Lanes, const M: usize, const U: usize, const AHEAD: bool>(
    span: &Span<'_, '_, '_>,
    outs: &[*mut u8; M],
    at: usize,
) {
    // SAFETY: the caller has `U` registers left behind `at`, in all sources and outputs; word indices are below
    // `M × WORDS × sources`.
    unsafe {
        let mut sums = [[V::zero(); U]; M];
        if span.add {
            for row in 0..M {
                sums[row] = std::array::from_fn(|u| V::load(outs[row].add(at + u * V::BYTES)));
            }
        }
        if AHEAD {
            // A store to a line that is far away holds up all that follow.
            outs.iter().for_each(|out| fetch::<V, U>(out.wrapping_add(at + span.ahead)));
        }
        let mut words = span.words.as_ptr();
        let slots = if M <= V::UNROLLED_ROWS_MAX { SLOTS } else { 1 };
        let (pairs, rest) = if V::PAIRS { span.sources.as_chunks::<2>() } else { (&[][..], span.sources) };
        for block in pairs.chunks(slots) {
            in_slots!(block, pair => {
                add_pair::<V, M, U, AHEAD>(&mut sums, pair, words, at, span.ahead);
                words = words.add(2 * M * V::WORDS);
            });
        }
        for block in rest.chunks(slots) {
            in_slots!(block, source => {
                add_one::<V, M, U, AHEAD>(&mut sums, source, words, at, span.ahead);
                words = words.add(M * V::WORDS);
            });
        }
        for (sums, out) in sums.iter().zip(outs) {
            for (u, sum) in sums.iter().enumerate() {
                sum.store(out.add(at + u * V::BYTES));
            }
        }
    }
}

/// Adds two sources' step to the sums.
///
/// # Safety
/// As [`step`]; `words` are those of the two.
#[inline(always)]
unsafe fn add_pair<V: Lanes, const M: usize, const U: usize, const AHEAD: bool>(
    sums: &mut [[V; U]; M],
    pair: &[&[u8]; 2],
    words: *const u64,
    at: usize,
    ahead: usize,
) {
    // SAFETY: passed on.
    unsafe {
        let [a, b] = [pair[0].as_ptr().add(at), pair[1].as_ptr().add(at)];
        if AHEAD {
            fetch::<V, U>(a.wrapping_add(ahead));
            fetch::<V, U>(b.wrapping_add(ahead));
        }
        let a: [V::Source; U] = std::array::from_fn(|u| V::load(a.add(u * V::BYTES)).source());
        let b: [V::Source; U] = std::array::from_fn(|u| V::load(b.add(u * V::BYTES)).source());
        for (row, sums) in sums.iter_mut().enumerate() {
            let factors = [V::factor(words.add(row * V::WORDS)), V::factor(words.add((M + row) * V::WORDS))];
            for u in 0..U {
                sums[u] = sums[u].add_two([a[u], b[u]], factors);
            }
        }
    }
}

/// As [`add_pair`], one source.
///
/// # Safety
/// As [`step`]; `words` are the source's.
#[inline(always)]
unsafe fn add_one<V: Lanes, const M: usize, const U: usize, const AHEAD: bool>(
    sums: &mut [[V; U]; M],
    source: &[u8],
    words: *const u64,
    at: usize,
    ahead: usize,
) {
    // SAFETY: passed on.
    unsafe {
        let source = source.as_ptr().add(at);
        if AHEAD {
            fetch::<V, U>(source.wrapping_add(ahead));
        }
        let source: [V::Source; U] = std::array::from_fn(|u| V::load(source.add(u * V::BYTES)).source());
        for (row, sums) in sums.iter_mut().enumerate() {
            let factor = V::factor(words.add(row * V::WORDS));
            for u in 0..U {
                sums[u] = sums[u].add(source[u], factor);
            }
        }
    }
}

/// The last bytes, fewer than a register.
#[inline(always)]
unsafe fn part<V: Lanes, const M: usize>(
    span: &Span<'_, '_, '_>,
    outs: &[*mut u8; M],
    at: usize,
    bytes: usize,
) {
    // SAFETY: the caller has `bytes` left behind `at`, fewer than a register; words as in `step`.
    unsafe {
        let mut sums = [V::zero(); M];
        if span.add {
            sums = std::array::from_fn(|row| V::load_part(outs[row].add(at), bytes));
        }
        for (number, source) in span.sources.iter().enumerate() {
            let source = V::load_part(source.as_ptr().add(at), bytes).source();
            for (row, sum) in sums.iter_mut().enumerate() {
                let factor = V::factor(span.words.as_ptr().add((number * M + row) * V::WORDS));
                *sum = sum.add(source, factor);
            }
        }
        for (sum, out) in sums.iter().zip(outs) {
            sum.store_part(out.add(at), bytes);
        }
    }
}

/// Fetches the lines of `U` registers.
#[inline(always)]
unsafe fn fetch<V: Lanes, const U: usize>(at: *const u8) {
    for line in (0..U * V::BYTES).step_by(LINE_BYTES) {
        // SAFETY: a prefetch takes any address; the caller has the instructions.
        unsafe { V::prefetch(at.wrapping_add(line)) };
    }
}
