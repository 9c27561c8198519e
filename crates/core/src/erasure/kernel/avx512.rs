//! AVX-512 with GFNI: 64 bytes a register; a product is one affine instruction, two products and a sum one `vpternlogq`.
//!
//! Why `unsafe`: these instructions exist only as intrinsics; this is the kernel that large servers run.

use std::arch::x86_64::{
    __m512i, __mmask64, _MM_HINT_T0, _mm_prefetch, _mm512_gf2p8affine_epi64_epi8, _mm512_loadu_si512,
    _mm512_mask_storeu_epi8, _mm512_maskz_loadu_epi8, _mm512_set1_epi64, _mm512_setzero_si512,
    _mm512_storeu_si512, _mm512_ternarylogic_epi64, _mm512_xor_si512,
};

use super::Span;
use super::lanes::{self, Lanes};

/// So few streams go best in short steps, which keep loads and stores closer together.
const STREAMS_SHORT: usize = 11;

/// The truth table of a ⊕ b ⊕ c.
const XOR3: i32 = 0x96;

#[derive(Clone, Copy)]
struct Avx512(__m512i);

/// Whether this CPU has the instructions.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("gfni")
}

/// Runs a group of 1 to 8 rows.
pub(super) fn run(span: &mut Span<'_, '_, '_>) {
    assert!(is_available(), "the CPU has AVX-512 and GFNI");
    // SAFETY: it has, and a span comes from a `Task`.
    unsafe {
        // With few shards, short steps keep loads and stores closer together, and the CPU fetches ahead by itself.
        let few = span.sources.len() + span.outs.len() <= STREAMS_SHORT;
        match span.outs.len() {
            1 if few => rows::<1, 1>(span),
            2 if few => rows::<2, 2>(span),
            3 if few => rows::<3, 2>(span),
            4 if few => rows::<4, 2>(span),
            1 => rows::<1, 4>(span),
            2 => rows::<2, 4>(span),
            3 => rows::<3, 4>(span),
            4 => rows::<4, 3>(span),
            5 => rows::<5, 3>(span),
            6 => rows::<6, 2>(span),
            7 => rows::<7, 2>(span),
            rows_left => {
                assert_eq!(rows_left, 8, "a group has at most 8 rows");
                rows::<8, 2>(span);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,gfni")]
unsafe fn rows<const M: usize, const U: usize>(span: &mut Span<'_, '_, '_>) {
    // SAFETY: the features are enabled here; the rest is the caller's promise.
    unsafe { lanes::rows::<Avx512, M, U>(span) }
}

/// The lowest `bytes` (below 64) lanes.
fn mask(bytes: usize) -> __mmask64 {
    (1 << bytes) - 1
}

impl Lanes for Avx512 {
    const BYTES: usize = 64;
    const WORDS: usize = 1;
    const PAIRS: bool = true;
    const UNROLLED_ROWS_MAX: usize = 6;
    type Source = Self;
    type Factor = __m512i;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the CPU has AVX-512F.
        Self(unsafe { _mm512_setzero_si512() })
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: `from` is good for 64 bytes.
        Self(unsafe { _mm512_loadu_si512(from.cast()) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: `to` is good for 64 bytes.
        unsafe { _mm512_storeu_si512(to.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn load_part(from: *const u8, bytes: usize) -> Self {
        // SAFETY: lanes that are masked out are not touched.
        Self(unsafe { _mm512_maskz_loadu_epi8(mask(bytes), from.cast()) })
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut u8, bytes: usize) {
        // SAFETY: lanes that are masked out are not touched.
        unsafe { _mm512_mask_storeu_epi8(to.cast(), mask(bytes), self.0) }
    }

    #[inline(always)]
    unsafe fn source(self) -> Self {
        self
    }

    #[inline(always)]
    unsafe fn factor(words: *const u64) -> __m512i {
        // SAFETY: `words` is good for one word, and the CPU has AVX-512F.
        unsafe { _mm512_set1_epi64(words.read() as i64) }
    }

    #[inline(always)]
    unsafe fn add(self, source: Self, factor: __m512i) -> Self {
        // SAFETY: the CPU has AVX-512F and GFNI.
        Self(unsafe { _mm512_xor_si512(self.0, _mm512_gf2p8affine_epi64_epi8::<0>(source.0, factor)) })
    }

    #[inline(always)]
    unsafe fn add_two(self, sources: [Self; 2], factors: [__m512i; 2]) -> Self {
        // SAFETY: the CPU has AVX-512F and GFNI.
        Self(unsafe {
            let a = _mm512_gf2p8affine_epi64_epi8::<0>(sources[0].0, factors[0]);
            let b = _mm512_gf2p8affine_epi64_epi8::<0>(sources[1].0, factors[1]);
            _mm512_ternarylogic_epi64::<XOR3>(self.0, a, b)
        })
    }

    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
}
