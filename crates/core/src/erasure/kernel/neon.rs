//! NEON: 16 bytes a register; a product is two table look-ups, one a nibble. For every aarch64 CPU.
//!
//! Why `unsafe`: `tbl` exists only as an intrinsic; plain Rust does not become it.

use std::arch::aarch64::{
    uint8x16_t, vandq_u8, vdupq_n_u8, veorq_u8, vld1q_u8, vqtbl1q_u8, vshrq_n_u8, vst1q_u8,
};
use std::arch::{asm, is_aarch64_feature_detected};

use super::Span;
use super::lanes::{self, Lanes};

#[derive(Clone, Copy)]
struct Neon(uint8x16_t);

/// Whether this CPU has the instructions.
pub(super) fn is_available() -> bool {
    is_aarch64_feature_detected!("neon")
}

/// Runs a group of 1 to 6 rows.
pub(super) fn run(span: &mut Span<'_, '_, '_>) {
    assert!(is_available(), "the CPU has NEON");
    // SAFETY: it has, and a span comes from a `Task`.
    unsafe {
        match span.outs.len() {
            1 => rows::<1, 4>(span),
            2 => rows::<2, 4>(span),
            3 => rows::<3, 4>(span),
            4 => rows::<4, 4>(span),
            5 => rows::<5, 2>(span),
            rows_left => {
                assert_eq!(rows_left, 6, "a group has at most 6 rows");
                rows::<6, 2>(span);
            }
        }
    }
}

#[target_feature(enable = "neon")]
unsafe fn rows<const M: usize, const U: usize>(span: &mut Span<'_, '_, '_>) {
    // SAFETY: the feature is enabled here; the rest is the caller's promise.
    unsafe { lanes::rows::<Neon, M, U>(span) }
}

impl Lanes for Neon {
    const BYTES: usize = 16;
    const WORDS: usize = 4;
    const PAIRS: bool = false;
    const UNROLLED_ROWS_MAX: usize = 0;
    /// The low and the high nibbles.
    type Source = [uint8x16_t; 2];
    /// Their products.
    type Factor = [uint8x16_t; 2];

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the CPU has NEON.
        Self(unsafe { vdupq_n_u8(0) })
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: `from` is good for 16 bytes.
        Self(unsafe { vld1q_u8(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: `to` is good for 16 bytes.
        unsafe { vst1q_u8(to, self.0) }
    }

    #[inline(always)]
    unsafe fn source(self) -> [uint8x16_t; 2] {
        // SAFETY: the CPU has NEON.
        unsafe { [vandq_u8(self.0, vdupq_n_u8(0xf)), vshrq_n_u8::<4>(self.0)] }
    }

    #[inline(always)]
    unsafe fn factor(words: *const u64) -> [uint8x16_t; 2] {
        // SAFETY: `words` is good for four words; on a little-endian CPU they are the table's bytes in order.
        unsafe { [words, words.add(2)].map(|table| vld1q_u8(table.cast())) }
    }

    #[inline(always)]
    unsafe fn add(self, [low, high]: [uint8x16_t; 2], [lows, highs]: [uint8x16_t; 2]) -> Self {
        // SAFETY: the CPU has NEON.
        Self(unsafe { veorq_u8(self.0, veorq_u8(vqtbl1q_u8(lows, low), vqtbl1q_u8(highs, high))) })
    }

    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        // SAFETY: a prefetch never faults and changes nothing that Rust knows of.
        unsafe {
            asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, preserves_flags, readonly));
        }
    }
}
