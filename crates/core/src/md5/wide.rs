//! The compression function compiled for wide registers: 16 lanes with AVX-512, 8 with AVX2, 4 with what every 64-bit CPU has.
//!
//! Why `unsafe`: the code is the same plain Rust; but calling a function that was compiled for more instructions than the
//! crate is sound only where the CPU has them, which the compiler cannot know. Sixteen streams then cost what two cost.

use super::compress::{States, compress};

/// How many streams this CPU takes at once.
pub(super) fn lanes() -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        if has_avx512() {
            return 16;
        }
        if has_avx2() {
            return 8;
        }
    }
    4
}

/// [`compress`] for 16 lanes.
pub(super) fn compress_16(states: &mut States<16>, lanes: &[&[u8]; 16], blocks: usize) {
    #[cfg(target_arch = "x86_64")]
    if has_avx512() {
        // SAFETY: the CPU has AVX-512 with BW and VL.
        return unsafe { avx512_16(states, lanes, blocks) };
    }
    compress(states, lanes, blocks);
}

/// [`compress`] for 8 lanes.
pub(super) fn compress_8(states: &mut States<8>, lanes: &[&[u8]; 8], blocks: usize) {
    #[cfg(target_arch = "x86_64")]
    if has_avx512() {
        // SAFETY: the CPU has AVX-512 with BW and VL.
        return unsafe { avx512_8(states, lanes, blocks) };
    } else if has_avx2() {
        // SAFETY: the CPU has AVX2.
        return unsafe { avx2_8(states, lanes, blocks) };
    }
    compress(states, lanes, blocks);
}

/// [`compress`] for 2 lanes.
pub(super) fn compress_2(states: &mut States<2>, lanes: &[&[u8]; 2], blocks: usize) {
    #[cfg(target_arch = "x86_64")]
    if has_avx512() {
        // SAFETY: the CPU has AVX-512 with BW and VL.
        return unsafe { avx512_2(states, lanes, blocks) };
    }
    compress(states, lanes, blocks);
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn avx512_16(states: &mut States<16>, lanes: &[&[u8]; 16], blocks: usize) {
    compress(states, lanes, blocks);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn avx512_8(states: &mut States<8>, lanes: &[&[u8]; 8], blocks: usize) {
    compress(states, lanes, blocks);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn avx512_2(states: &mut States<2>, lanes: &[&[u8]; 2], blocks: usize) {
    compress(states, lanes, blocks);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2_8(states: &mut States<8>, lanes: &[&[u8]; 8], blocks: usize) {
    compress(states, lanes, blocks);
}

#[cfg(test)]
mod tests {
    use super::super::compress::{States, compress};
    use super::{compress_8, compress_16};

    fn lanes<const N: usize>(bytes: &[u8]) -> [&[u8]; N] {
        std::array::from_fn(|lane| &bytes[lane..])
    }

    #[test]
    fn every_width_gives_each_lane_what_it_has_alone() {
        let bytes: Vec<u8> = (0..64 * 5 + 16).map(|i: u32| (i * i % 251) as u8).collect();
        let start = |word: u32, lane: usize| word.wrapping_mul(0x9e37_79b9) ^ lane as u32;
        let mut sixteen: States<16> = std::array::from_fn(|w| std::array::from_fn(|l| start(w as u32, l)));
        let mut eight: States<8> = sixteen.map(|row| *row.first_chunk().expect("16 lanes"));
        let mut four: States<4> = sixteen.map(|row| *row.first_chunk().expect("16 lanes"));
        let alone: Vec<States<1>> = (0..16)
            .map(|lane| {
                let mut state: States<1> = sixteen.map(|row| [row[lane]]);
                compress(&mut state, &[&bytes[lane..]], 5);
                state
            })
            .collect();
        compress_16(&mut sixteen, &lanes(&bytes), 5);
        compress_8(&mut eight, &lanes(&bytes), 5);
        compress(&mut four, &lanes(&bytes), 5);
        for (lane, alone) in alone.iter().enumerate() {
            let alone = alone.map(|row| row[0]);
            assert_eq!(sixteen.map(|row| row[lane]), alone, "lane {lane} of 16");
            assert!(lane >= 8 || eight.map(|row| row[lane]) == alone, "lane {lane} of 8");
            assert!(lane >= 4 || four.map(|row| row[lane]) == alone, "lane {lane} of 4");
        }
    }
}
