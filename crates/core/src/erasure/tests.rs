//! The code against an independent implementation, and its promise for every loss.

use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert_eq, proptest};
use rusty_erasure::{Matrix, coder};

use super::{TooFew, coefficient, encode, reconstruct, update, verify};
use crate::chunk::Code;

/// Bytes without a pattern, the same for the same seed.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
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
