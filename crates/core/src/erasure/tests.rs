//! The code against an independent implementation, and its promise for every loss.

use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert_eq, proptest};
use rusty_erasure::{Matrix, coder};

use super::{Kernel, TooFew, coefficient, encode, reconstruct, update, verify};
use crate::chunk::Code;

/// Bytes without a pattern, the same for the same seed; plain Rust, so that Miri can run it (SplitMix64).
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let word = |number: u64| {
        let mut x = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ x >> 31).to_le_bytes()
    };
    (0..).flat_map(word).take(bytes).collect()
}

fn slices(shards: &[Vec<u8>]) -> Vec<&[u8]> {
    shards.iter().map(Vec::as_slice).collect()
}

fn rooms(shards: &mut [Vec<u8>]) -> Vec<&mut [u8]> {
    shards.iter_mut().map(Vec::as_mut_slice).collect()
}

/// All n shards of random data.
fn stripe(code: Code, bytes: usize, seed: u64) -> Vec<Vec<u8>> {
    let data: Vec<Vec<u8>> = (0..code.k()).map(|i| noise(seed ^ u64::from(i) << 32, bytes)).collect();
    let mut parity = vec![vec![0xaa; bytes]; code.m().into()];
    encode(code, &slices(&data), &mut rooms(&mut parity));
    [data, parity].concat()
}

fn present(stripe: &[Vec<u8>], indices: &[u8]) -> Vec<(u8, Vec<u8>)> {
    indices.iter().map(|i| (*i, stripe[usize::from(*i)].clone())).collect()
}

/// Rebuilds every shard from those at `indices`.
fn restore(code: Code, stripe: &[Vec<u8>], indices: &[u8]) -> Result<Vec<Vec<u8>>, TooFew> {
    let present = present(stripe, indices);
    let present: Vec<(u8, &[u8])> = present.iter().map(|(i, s)| (*i, s.as_slice())).collect();
    let mut out = vec![vec![0x55; stripe[0].len()]; stripe.len()];
    let mut wanted: Vec<(u8, &mut [u8])> = (0..code.n()).zip(rooms(&mut out)).collect();
    reconstruct(code, &present, &mut wanted)?;
    Ok(out)
}

fn code() -> impl Strategy<Value = Code> {
    let small = (1u8..20, 0u8..8);
    let any_size = (1u8..=255).prop_flat_map(|k| (proptest::strategy::Just(k), 0..=255 - k));
    proptest::prop_oneof![3 => small, 1 => any_size]
        .prop_map(|(k, m)| Code::new(k, m).expect("at most 255 shards"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_bytes_are_those_of_an_independent_crate(
        code in code(), bytes in 1usize..400, seed: u64, losses: Vec<proptest::sample::Index>,
        changed: proptest::sample::Index,
    ) {
        let stripe = stripe(code, bytes, seed);
        let (data, parity) = stripe.split_at(code.k().into());
        prop_assert_eq!(verify(code, &slices(data), &slices(parity)), true);
        if code.m() == 0 {
            return Ok(());
        }
        let oracle = coder(Matrix::cauchy(code.k().into(), code.m().into()).expect("a valid code"));
        let oracle = oracle.expect("a valid matrix");
        let mut theirs = vec![vec![0; bytes]; code.m().into()];
        oracle.encode(&slices(data), &mut rooms(&mut theirs)).expect("a valid stripe");
        prop_assert_eq!(&theirs, parity);

        let mut shards: Vec<Option<&[u8]>> = stripe.iter().map(|s| Some(s.as_slice())).collect();
        losses.iter().take(code.m().into()).for_each(|loss| shards[loss.index(stripe.len())] = None);
        let lost: Vec<usize> = (0..stripe.len()).filter(|i| shards[*i].is_none()).collect();
        let mut theirs = vec![vec![0; bytes]; lost.len()];
        // The oracle takes no empty list of losses.
        if !lost.is_empty() {
            oracle.recover(&shards, &lost, &mut rooms(&mut theirs)).expect("recoverable");
        }
        let kept: Vec<(u8, &[u8])> = (0..code.n()).zip(&shards).filter_map(|(i, s)| Some((i, (*s)?))).collect();
        let mut ours = vec![vec![0; bytes]; lost.len()];
        let mut wanted: Vec<(u8, &mut [u8])> = lost.iter().map(|i| *i as u8).zip(rooms(&mut ours)).collect();
        prop_assert_eq!(reconstruct(code, &kept, &mut wanted), Ok(()));
        prop_assert_eq!(ours, theirs);

        let changed = changed.index(code.k().into());
        let mut after = data.to_vec();
        after[changed] = noise(!seed, bytes);
        let mut updated = parity.to_vec();
        update(code, changed as u8, &data[changed], &after[changed], &mut rooms(&mut updated));
        prop_assert_eq!(verify(code, &slices(&after), &slices(&updated)), true);
        prop_assert_eq!(verify(code, &slices(data), &slices(&updated)), after[changed] == data[changed]);
    }

    #[test]
    fn any_k_shards_restore_all_and_one_fewer_is_refused(
        code in code(), bytes in 0usize..200, seed: u64, order in any::<u64>(),
    ) {
        let stripe = stripe(code, bytes, seed);
        let mut indices: Vec<u8> = (0..code.n()).collect();
        indices.sort_by_key(|i| blake3::hash(&(order ^ u64::from(*i)).to_le_bytes()).as_bytes()[..8].to_vec());
        let (enough, too_few) = (&indices[..code.k().into()], &indices[..usize::from(code.k()) - 1]);
        prop_assert_eq!(restore(code, &stripe, enough), Ok(stripe.clone()));
        prop_assert_eq!(restore(code, &stripe, too_few), Err(TooFew { have: code.k() - 1, need: code.k() }));
    }
}

#[test]
fn every_loss_of_every_small_code_is_restored() {
    for (k, m) in [(1, 0), (1, 1), (1, 3), (2, 1), (2, 2), (3, 3), (4, 2), (5, 4)] {
        let code = Code::new(k, m).expect("valid");
        let stripe = stripe(code, 130, 7);
        for mask in 0u32..1 << code.n() {
            let indices: Vec<u8> = (0..code.n()).filter(|i| mask >> i & 1 == 1).collect();
            match restore(code, &stripe, &indices) {
                Ok(restored) => {
                    assert!(indices.len() >= k.into() && restored == stripe, "{code} {indices:?}")
                }
                Err(few) => {
                    assert_eq!(few, TooFew { have: indices.len() as u8, need: k }, "{code} {indices:?}")
                }
            }
        }
    }
}

#[test]
fn a_shard_given_twice_counts_once() {
    let code = Code::new(2, 1).expect("valid");
    assert_eq!(restore(code, &stripe(code, 10, 1), &[0, 0]), Err(TooFew { have: 1, need: 2 }));
}

#[test]
fn one_data_shard_makes_scaled_copies_and_no_parity_makes_nothing() {
    let mirror = Code::new(1, 2).expect("valid");
    assert_eq!((coefficient(mirror, 0, 0), coefficient(mirror, 1, 0)), (1, 142));
    let stripe = stripe(mirror, 9, 3);
    assert_eq!(stripe[0], stripe[1]);
    encode(Code::new(3, 0).expect("valid"), &[&[1], &[2], &[3]], &mut []);
}

/// Every shard of the stripe at `offset` of an allocation of its own, so that no buffer is aligned.
fn unaligned(stripe: &[Vec<u8>], offset: usize) -> Vec<Vec<u8>> {
    stripe.iter().map(|shard| [&vec![0; offset][..], shard].concat()).collect()
}

/// What a kernel makes of the data shards (encode) and of the shards without the first m (reconstruct), from unaligned
/// buffers; and that it touches nothing else.
fn by_kernel(kernel: Kernel, code: Code, stripe: &[Vec<u8>], offset: usize) -> [Vec<Vec<u8>>; 2] {
    let (k, m, end) = (usize::from(code.k()), usize::from(code.m()), offset + stripe[0].len());
    let lost = m.min(k);
    let placed = unaligned(stripe, offset);
    let sources: Vec<&[u8]> = placed.iter().map(|shard| &shard[offset..]).collect();
    let guarded = |count: usize| vec![vec![0xa5; end + 70]; count];
    let (mut parity, mut rebuilt) = (guarded(m), guarded(lost));
    let mut rooms: Vec<&mut [u8]> = parity.iter_mut().map(|p| &mut p[offset..end]).collect();
    kernel.encode(code, &sources[..k], &mut rooms);
    let present: Vec<(u8, &[u8])> = (0..code.n()).zip(sources.iter().copied()).skip(lost).collect();
    let mut wanted: Vec<(u8, &mut [u8])> =
        (0..code.n()).zip(rebuilt.iter_mut().map(|r| &mut r[offset..end])).collect();
    assert_eq!(kernel.reconstruct(code, &present, &mut wanted), Ok(()));
    [parity, rebuilt].map(|shards| {
        let guards = |s: &Vec<u8>| s[..offset].iter().chain(&s[end..]).all(|byte| *byte == 0xa5);
        assert!(shards.iter().all(guards), "{kernel} wrote beside a shard of {} bytes", end - offset);
        shards.into_iter().map(|shard| shard[offset..end].to_vec()).collect()
    })
}

fn every_kernel_agrees(code: Code, stripe: &[Vec<u8>], offset: usize) {
    let (k, bytes) = (usize::from(code.k()), stripe[0].len());
    let lost = usize::from(code.m()).min(k);
    for kernel in Kernel::available() {
        let [parity, rebuilt] = by_kernel(kernel, code, stripe, offset);
        assert!(parity == stripe[k..], "{kernel} encodes {code}, {bytes} bytes at {offset}");
        assert!(rebuilt == stripe[..lost], "{kernel} reconstructs {code}, {bytes} bytes at {offset}");
    }
}

/// The stripe as the portable kernel makes it.
fn reference(code: Code, bytes: usize, seed: u64) -> Vec<Vec<u8>> {
    let data: Vec<Vec<u8>> = (0..code.k()).map(|i| noise(seed ^ u64::from(i) << 32, bytes)).collect();
    let mut parity = vec![vec![0; bytes]; code.m().into()];
    Kernel::Portable.encode(code, &slices(&data), &mut rooms(&mut parity));
    [data, parity].concat()
}

#[test]
fn there_is_always_a_kernel_and_the_best_is_chosen() {
    let available: Vec<Kernel> = Kernel::available().collect();
    assert_eq!((available.first(), available.last()), (Some(&Kernel::chosen()), Some(&Kernel::Portable)));
    assert!(available.is_sorted(), "the fastest first");
}

#[test]
fn every_kernel_gives_the_portable_bytes_for_every_length() {
    let code = Code::new(5, 3).expect("valid");
    let whole = reference(code, 4096, 11);
    // The code works column by column, so the stripe of a shorter shard is a prefix of a longer one's.
    for bytes in (0..=4096).step_by(if cfg!(miri) { 401 } else { 1 }) {
        let stripe: Vec<Vec<u8>> = whole.iter().map(|shard| shard[..bytes].to_vec()).collect();
        every_kernel_agrees(code, &stripe, bytes % 67);
    }
}

#[test]
fn every_kernel_gives_the_portable_bytes_for_every_number_of_rows() {
    let large: &[(u8, u8)] = if cfg!(miri) { &[] } else { &[(29, 51), (127, 128), (254, 1)] };
    let small = [(1, 1), (1, 9), (2, 5), (3, 6), (4, 7), (10, 8), (9, 9), (17, 3)];
    for (k, m) in small.into_iter().chain(large.iter().copied()) {
        let code = Code::new(k, m).expect("valid");
        for bytes in [1, 63, 1025, 2500] {
            every_kernel_agrees(code, &reference(code, bytes, 12), 3);
        }
    }
}

#[test]
fn every_kernel_gives_the_portable_bytes_for_long_unaligned_shards() {
    let code = Code::new(10, 4).expect("valid");
    let long = [(32_768, 0), (65_537, 1), (131_071, 31), (300_001, 64)];
    // Miri would take an hour.
    for (bytes, offset) in
        long.map(|(bytes, offset)| if cfg!(miri) { (bytes / 64, offset) } else { (bytes, offset) })
    {
        every_kernel_agrees(code, &reference(code, bytes, bytes as u64), offset);
    }
}

#[test]
fn every_kernel_updates_and_verifies() {
    for (k, m) in [(4, 2), (10, 4), (3, 9)] {
        let code = Code::new(k, m).expect("valid");
        for (bytes, changed) in [(1, 0), (64, 1), (257, 2), (5000, k - 1)] {
            let before = reference(code, bytes, 13);
            let mut data = before[..k.into()].to_vec();
            let old = std::mem::replace(&mut data[usize::from(changed)], noise(14, bytes));
            for kernel in Kernel::available() {
                let mut parity = before[k.into()..].to_vec();
                kernel.update(code, changed, &old, &data[usize::from(changed)], &mut rooms(&mut parity));
                assert!(kernel.verify(code, &slices(&data), &slices(&parity)), "{kernel} {code} {bytes}");
                let last = parity.len() - 1;
                parity[last][bytes - 1] ^= 0x10;
                assert!(!kernel.verify(code, &slices(&data), &slices(&parity)), "{kernel} {code} {bytes}");
            }
        }
    }
}

#[test]
fn shards_of_no_bytes_are_a_stripe_too() {
    let code = Code::new(3, 2).expect("valid");
    let nothing = stripe(code, 0, 1);
    assert_eq!(restore(code, &nothing, &[1, 3, 4]), Ok(nothing.clone()));
    assert!(verify(code, &slices(&nothing[..3]), &slices(&nothing[3..])));
    assert!(verify(Code::new(2, 0).expect("valid"), &[&[1], &[2]], &[]));
}

#[test]
fn a_shard_wanted_twice_is_given_twice() {
    let code = Code::new(2, 2).expect("valid");
    let stripe = stripe(code, 100, 2);
    let (mut a, mut b) = (vec![0; 100], vec![0; 100]);
    let present = [(2, &stripe[2][..]), (3, &stripe[3][..])];
    assert_eq!(reconstruct(code, &present, &mut [(0, &mut a[..]), (0, &mut b[..])]), Ok(()));
    assert_eq!((&a, &b), (&stripe[0], &stripe[0]));
}

#[test]
#[should_panic(expected = "this CPU does not have")]
fn a_kernel_that_is_not_there_is_refused() {
    let absent = Kernel::ALL.into_iter().find(|kernel| !kernel.is_available()).expect("no CPU has all");
    absent.encode(Code::new(1, 1).expect("valid"), &[&[1]], &mut [&mut [0]]);
}

#[test]
fn a_wrong_byte_anywhere_is_seen_by_verify() {
    let code = Code::new(4, 2).expect("valid");
    let good = stripe(code, 300, 5);
    for shard in 0..6 {
        for at in [0, 127, 128, 299] {
            let mut bad = good.clone();
            bad[shard][at] ^= 1;
            assert!(!verify(code, &slices(&bad[..4]), &slices(&bad[4..])), "shard {shard} byte {at}");
        }
    }
}

#[test]
#[should_panic(expected = "equally long")]
fn shards_of_different_lengths_are_a_mistake() {
    encode(Code::new(2, 1).expect("valid"), &[&[1, 2], &[3]], &mut [&mut [0, 0]]);
}

/// Few enough steps for an interpreter (Miri), which also sees the wide kernels' pointers where it knows their instructions.
#[test]
fn a_short_stripe_goes_there_and_back_on_every_kernel() {
    for kernel in Kernel::available() {
        for bytes in [1, 63, 65, 200] {
            let code = Code::new(3, 2).expect("a valid code");
            let data: Vec<Vec<u8>> = (1u8..=3)
                .map(|shard| (0..bytes).map(|at| shard.wrapping_mul(37) ^ at as u8).collect())
                .collect();
            let mut parity = vec![vec![0; bytes]; 2];
            kernel.encode(code, &slices(&data), &mut rooms(&mut parity));
            let present = [(1, &data[1][..]), (3, &parity[0][..]), (4, &parity[1][..])];
            let mut lost = vec![vec![0; bytes]; 2];
            let [first, last] = &mut lost[..] else { panic!("two rooms") };
            kernel
                .reconstruct(code, &present, &mut [(0, first), (2, last)])
                .expect("three of five are there");
            assert_eq!((&lost[0], &lost[1]), (&data[0], &data[2]), "{kernel} {bytes}");
        }
    }
}
