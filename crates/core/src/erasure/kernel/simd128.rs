//! WebAssembly's simd128: 16 bytes a register; a product is two table look-ups, one a nibble.
//!
//! There is nothing to detect: a module either contains these instructions or does not, so this kernel exists only when the
//! build enables them (`-C target-feature=+simd128`).
//!
//! Why `unsafe`: loads and stores take pointers, as in the other kernels; `swizzle` exists only as an intrinsic.

use std::arch::wasm32::{
    u8x16_shr, u8x16_splat, u8x16_swizzle, v128, v128_and, v128_load, v128_store, v128_xor,
};

use super::Span;
use super::lanes::{self, Lanes};

#[derive(Clone, Copy)]
struct Simd128(v128);

/// Runs a group of 1 to 4 rows.
pub(super) fn run(span: &mut Span<'_, '_, '_>) {
    // SAFETY: the module has the instructions, and a span comes from a `Task`.
    unsafe {
        match span.outs.len() {
            1 => lanes::rows::<Simd128, 1, 2>(span),
            2 => lanes::rows::<Simd128, 2, 2>(span),
            3 => lanes::rows::<Simd128, 3, 2>(span),
            rows_left => {
                assert_eq!(rows_left, 4, "a group has at most 4 rows");
                lanes::rows::<Simd128, 4, 2>(span);
            }
        }
    }
}

impl Lanes for Simd128 {
    const BYTES: usize = 16;
    const WORDS: usize = 4;
    const PAIRS: bool = false;
    const UNROLLED_ROWS_MAX: usize = 0;
    /// The low and the high nibbles.
    type Source = [v128; 2];
    /// Their products.
    type Factor = [v128; 2];

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self(u8x16_splat(0))
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: `from` is good for 16 bytes.
        Self(unsafe { v128_load(from.cast()) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: `to` is good for 16 bytes.
        unsafe { v128_store(to.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn source(self) -> [v128; 2] {
        [v128_and(self.0, u8x16_splat(0xf)), u8x16_shr(self.0, 4)]
    }

    #[inline(always)]
    unsafe fn factor(words: *const u64) -> [v128; 2] {
        // SAFETY: `words` is good for four words; wasm is little-endian, so they are the table's bytes in order.
        unsafe { [words, words.add(2)].map(|table| v128_load(table.cast())) }
    }

    #[inline(always)]
    unsafe fn add(self, [low, high]: [v128; 2], [lows, highs]: [v128; 2]) -> Self {
        Self(v128_xor(self.0, v128_xor(u8x16_swizzle(lows, low), u8x16_swizzle(highs, high))))
    }

    /// There is no such instruction.
    #[inline(always)]
    unsafe fn prefetch(_at: *const u8) {}
}
