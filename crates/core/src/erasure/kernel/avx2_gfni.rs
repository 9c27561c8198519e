//! AVX2 with GFNI: 32 bytes a register; a product is one affine instruction. For CPUs with GFNI and without AVX-512.
//!
//! Why `unsafe`: these instructions exist only as intrinsics.

use std::arch::x86_64::{
    __m256i, _MM_HINT_T0, _mm_prefetch, _mm256_gf2p8affine_epi64_epi8, _mm256_loadu_si256,
    _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_storeu_si256, _mm256_xor_si256,
};

use super::Span;
use super::lanes::{self, Lanes};

#[derive(Clone, Copy)]
struct Avx2Gfni(__m256i);

/// Whether this CPU has the instructions.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("gfni")
}

/// Runs a group of 1 to 6 rows.
pub(super) fn run(span: &mut Span<'_, '_, '_>) {
    assert!(is_available(), "the CPU has AVX2 and GFNI");
    // SAFETY: it has, and a span comes from a `Task`.
    unsafe {
        match span.outs.len() {
            1 => rows::<1, 4>(span),
            2 => rows::<2, 4>(span),
            3 => rows::<3, 2>(span),
            4 => rows::<4, 2>(span),
            5 => rows::<5, 2>(span),
            rows_left => {
                assert_eq!(rows_left, 6, "a group has at most 6 rows");
                rows::<6, 1>(span);
            }
        }
    }
}

#[target_feature(enable = "avx2,gfni")]
unsafe fn rows<const M: usize, const U: usize>(span: &mut Span<'_, '_, '_>) {
    // SAFETY: the features are enabled here; the rest is the caller's promise.
    unsafe { lanes::rows::<Avx2Gfni, M, U>(span) }
}

impl Lanes for Avx2Gfni {
    const BYTES: usize = 32;
    const WORDS: usize = 1;
    const PAIRS: bool = false;
    const UNROLLED_ROWS_MAX: usize = 6;
    type Source = Self;
    type Factor = __m256i;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the CPU has AVX.
        Self(unsafe { _mm256_setzero_si256() })
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: `from` is good for 32 bytes.
        Self(unsafe { _mm256_loadu_si256(from.cast()) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: `to` is good for 32 bytes.
        unsafe { _mm256_storeu_si256(to.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn source(self) -> Self {
        self
    }

    #[inline(always)]
    unsafe fn factor(words: *const u64) -> __m256i {
        // SAFETY: `words` is good for one word, and the CPU has AVX.
        unsafe { _mm256_set1_epi64x(words.read() as i64) }
    }

    #[inline(always)]
    unsafe fn add(self, source: Self, factor: __m256i) -> Self {
        // SAFETY: the CPU has AVX2 and GFNI.
        Self(unsafe { _mm256_xor_si256(self.0, _mm256_gf2p8affine_epi64_epi8::<0>(source.0, factor)) })
    }

    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
}
