//! MD5's compression function over N streams at once, in plain Rust on arrays.
//!
//! Every step does the same to N lanes; compiled for a CPU with wide registers, a step is five instructions for all of them
//! (`wide` does that). With one lane it is the ordinary function.

/// The four words of N streams: word by word, lane by lane.
pub(super) type States<const N: usize> = [[u32; N]; 4];

/// The most lanes.
pub(super) const LANES_MAX: usize = 16;
/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = 64;
/// Words of a block.
const WORDS: usize = 16;
const STEPS: usize = 64;

/// What each round rotates by, over and over.
const ROTATIONS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// The integer part of 2^32 × |sin(i + 1)|, from RFC 1321.
const SINES: [u32; STEPS] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

/// Takes the first `blocks` blocks of each lane's bytes into its state.
#[inline(always)]
pub(super) fn compress<const N: usize>(states: &mut States<N>, lanes: &[&[u8]; N], blocks: usize) {
    // Known constants would be added last, behind the value that the next step waits for. Hidden, they are added to the
    // input while that value is still under way, which is a quarter faster.
    let sines = std::hint::black_box(&SINES);
    for block in 0..blocks {
        let mut words = [[0; WORDS]; N];
        for (words, bytes) in words.iter_mut().zip(lanes) {
            let bytes: &[u8; BLOCK_BYTES] =
                bytes[block * BLOCK_BYTES..].first_chunk().expect("so many blocks");
            for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *word = u32::from_le_bytes(*bytes);
            }
        }
        take(states, &transposed(&words), sines);
    }
}

/// Lane by lane becomes word by word. N is a power of two.
///
/// Merging the two halves of all words, one from each in turn, moves the top bit of a word's place to the bottom; after
/// log2(N) times the lane is at the bottom. A merge is a shuffle of whole registers, which compilers see.
#[inline(always)]
fn transposed<const N: usize>(words: &[[u32; WORDS]; N]) -> [[u32; N]; WORDS] {
    let half = N * WORDS / 2;
    let mut from = [0; WORDS * LANES_MAX];
    from[..2 * half].copy_from_slice(words.as_flattened());
    for _ in 0..N.ilog2() {
        let mut to = [0; WORDS * LANES_MAX];
        for i in 0..half {
            (to[2 * i], to[2 * i + 1]) = (from[i], from[half + i]);
        }
        from = to;
    }
    let mut out = [[0; N]; WORDS];
    out.as_flattened_mut().copy_from_slice(&from[..2 * half]);
    out
}

#[inline(always)]
fn take<const N: usize>(states: &mut States<N>, words: &[[u32; N]; WORDS], sines: &[u32; STEPS]) {
    let [mut a, mut b, mut c, mut d] = *states;
    macro_rules! step {
        ($i:literal) => {{
            const ROUND: usize = $i / 16;
            const WORD: usize = [$i, 5 * $i + 1, 3 * $i + 5, 7 * $i][ROUND] % WORDS;
            let mut next = [0; N];
            for lane in 0..N {
                next[lane] = mix::<ROUND>(
                    [a[lane], b[lane], c[lane], d[lane]],
                    words[WORD][lane].wrapping_add(sines[$i]),
                    ROTATIONS[ROUND][$i % 4],
                );
            }
            (a, d, c, b) = (d, c, b, next);
        }};
    }
    macro_rules! steps {
        ($($i:literal)*) => { $(step!($i);)* };
    }
    steps!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
    steps!(32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63);
    for (state, sum) in states.iter_mut().zip([a, b, c, d]) {
        for lane in 0..N {
            state[lane] = state[lane].wrapping_add(sum[lane]);
        }
    }
}

/// One lane of one step: the new b.
#[inline(always)]
fn mix<const ROUND: usize>([a, b, c, d]: [u32; 4], input: u32, rotation: u32) -> u32 {
    let sum = a.wrapping_add(input);
    let sum = match ROUND {
        0 => sum.wrapping_add(d ^ (b & (c ^ d))),
        // The two halves share no bit, so they may be added one by one: b, which is known last, waits for less.
        1 => sum.wrapping_add(c & !d).wrapping_add(b & d),
        2 => sum.wrapping_add(b ^ (c ^ d)),
        _ => sum.wrapping_add(c ^ (b | !d)),
    };
    sum.rotate_left(rotation).wrapping_add(b)
}
