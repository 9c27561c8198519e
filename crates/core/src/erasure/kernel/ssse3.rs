//! SSSE3: 16 bytes a register; a product is two table look-ups, one a nibble. For x86 CPUs without AVX2.
//!
//! Why `unsafe`: `pshufb` exists only as an intrinsic; plain Rust does not become it.

use std::arch::x86_64::{
    __m128i, _MM_HINT_T0, _mm_and_si128, _mm_loadu_si128, _mm_prefetch, _mm_set1_epi8, _mm_setzero_si128,
    _mm_shuffle_epi8, _mm_srli_epi64, _mm_storeu_si128, _mm_xor_si128,
};

use super::Span;
use super::lanes::{self, Lanes};

#[derive(Clone, Copy)]
struct Ssse3(__m128i);

/// Whether this CPU has the instructions.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("ssse3")
}

/// Runs a group of 1 to 4 rows.
pub(super) fn run(span: &mut Span<'_, '_, '_>) {
    assert!(is_available(), "the CPU has SSSE3");
    // SAFETY: it has, and a span comes from a `Task`.
    unsafe {
        match span.outs.len() {
            1 => rows::<1, 2>(span),
            2 => rows::<2, 2>(span),
            3 => rows::<3, 2>(span),
            rows_left => {
                assert_eq!(rows_left, 4, "a group has at most 4 rows");
                rows::<4, 2>(span);
            }
        }
    }
}

#[target_feature(enable = "ssse3")]
unsafe fn rows<const M: usize, const U: usize>(span: &mut Span<'_, '_, '_>) {
    // SAFETY: the feature is enabled here; the rest is the caller's promise.
    unsafe { lanes::rows::<Ssse3, M, U>(span) }
}

impl Lanes for Ssse3 {
    const BYTES: usize = 16;
    const WORDS: usize = 4;
    const PAIRS: bool = false;
    const UNROLLED_ROWS_MAX: usize = 2;
    /// The low and the high nibbles.
    type Source = [__m128i; 2];
    /// Their products.
    type Factor = [__m128i; 2];

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the CPU has SSE2.
        Self(unsafe { _mm_setzero_si128() })
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: `from` is good for 16 bytes.
        Self(unsafe { _mm_loadu_si128(from.cast()) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: `to` is good for 16 bytes.
        unsafe { _mm_storeu_si128(to.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn source(self) -> [__m128i; 2] {
        // SAFETY: the CPU has SSSE3.
        unsafe {
            let nibble = _mm_set1_epi8(0xf);
            [_mm_and_si128(self.0, nibble), _mm_and_si128(_mm_srli_epi64::<4>(self.0), nibble)]
        }
    }

    #[inline(always)]
    unsafe fn factor(words: *const u64) -> [__m128i; 2] {
        // SAFETY: `words` is good for four words, and the CPU has SSSE3.
        unsafe { [words, words.add(2)].map(|table| _mm_loadu_si128(table.cast())) }
    }

    #[inline(always)]
    unsafe fn add(self, [low, high]: [__m128i; 2], [lows, highs]: [__m128i; 2]) -> Self {
        // SAFETY: the CPU has SSSE3.
        Self(unsafe {
            let product = _mm_xor_si128(_mm_shuffle_epi8(lows, low), _mm_shuffle_epi8(highs, high));
            _mm_xor_si128(self.0, product)
        })
    }

    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
}
