//! The peers: ISA-L, rusty_erasure, reed-solomon-erasure, reed-solomon-simd.
//!
//! Tables are made before the clock starts, for all that allow it. The last two have matrices of their own, so they get their own parity.

use anyhow::{Context, Result, anyhow, ensure};
use reed_solomon_erasure::galois_8::ReedSolomon;
use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};
use rusty_erasure::{Matrix, coder};

use super::erasure::{Case, Verb, rows};
use super::raw::isa_l::IsaL;
use super::rounds::Candidate;

/// Everybody who can do this case; `stripe` is all its shards.
pub fn candidates<'c>(case: &'c Case<'c>, stripe: &'c [&'c [u8]]) -> Result<Vec<Candidate<'c>>> {
    Ok(vec![
        isa_l(case, stripe, false)?,
        isa_l(case, stripe, true)?,
        rusty(case, stripe)?,
        vandermonde(case)?,
        leopard(case)?,
    ])
}

fn same_bytes(case: &Case<'_>, stripe: &[&[u8]], who: &str) -> Result<()> {
    let outs = case.outs.borrow();
    let same = outs.iter().zip(&case.wanted).all(|(out, index)| **out == *stripe[usize::from(*index)]);
    ensure!(same, "{who} gives other bytes");
    Ok(())
}

fn isa_l<'c>(case: &'c Case<'c>, stripe: &[&[u8]], avx2: bool) -> Result<Candidate<'c>> {
    let name = if avx2 { "isa-l-avx2" } else { "isa-l" };
    let plan = IsaL::new(case.shards.len(), &rows(case.code, &case.sources, &case.wanted)?, avx2)?;
    plan.run(&case.shards, &mut case.outs.borrow_mut())?;
    same_bytes(case, stripe, name)?;
    Ok(Candidate::new(name, move || plan.run(&case.shards, &mut case.outs.borrow_mut())))
}

fn rusty<'c>(case: &'c Case<'c>, stripe: &'c [&'c [u8]]) -> Result<Candidate<'c>> {
    const NAME: &str = "rusty_erasure";
    let matrix = Matrix::cauchy(case.code.k().into(), case.code.m().into()).context("a matrix")?;
    let coder = coder(matrix).context("a coder")?;
    let shards: Vec<Option<&[u8]>> =
        (0..).zip(stripe).map(|(index, shard)| (!case.wanted.contains(&index)).then_some(*shard)).collect();
    let present: Vec<bool> = shards.iter().map(Option::is_some).collect();
    let lost: Vec<usize> = case.wanted.iter().map(|index| usize::from(*index)).collect();
    let plan = coder.decode_plan(&present, &lost).context("a plan")?;
    let work = move || {
        let outs = &mut *case.outs.borrow_mut();
        match case.verb {
            Verb::Encode => coder.encode(&case.shards, outs).context(NAME),
            Verb::Rebuild(_) => coder.recover_with(&plan, &shards, outs).context(NAME),
        }
    };
    work()?;
    same_bytes(case, stripe, NAME)?;
    Ok(Candidate::new(NAME, work))
}

/// The data shards, whatever the case reads.
fn data(case: &Case<'_>) -> Result<Vec<Vec<u8>>> {
    let mut data = vec![vec![0; case.shard_bytes]; case.code.k().into()];
    let mut rooms: Vec<(u8, &mut [u8])> = (0..).zip(data.iter_mut().map(Vec::as_mut_slice)).collect();
    pangea_core::erasure::reconstruct(case.code, &case.sources, &mut rooms)?;
    Ok(data)
}

/// A Vandermonde matrix over the same field; its SIMD is C, compiled for one CPU.
fn vandermonde<'c>(case: &'c Case<'c>) -> Result<Candidate<'c>> {
    const NAME: &str = "reed-solomon-erasure";
    let coder = ReedSolomon::new(case.code.k().into(), case.code.m().into())
        .map_err(|error| anyhow!("{NAME}: {error:?}"))?;
    if case.verb == Verb::Encode {
        return Ok(Candidate::new(NAME, move || {
            coder
                .encode_sep(&case.shards, &mut case.outs.borrow_mut())
                .map_err(|error| anyhow!("{NAME}: {error:?}"))
        }));
    }
    let data = data(case)?;
    let mut parity = vec![vec![0; case.shard_bytes]; case.code.m().into()];
    coder.encode_sep(&data, &mut parity).map_err(|error| anyhow!("{NAME}: {error:?}"))?;
    let mut shards: Vec<(Vec<u8>, bool)> =
        data.into_iter().chain(parity).map(|shard| (shard, true)).collect();
    Ok(Candidate::new(NAME, move || {
        case.wanted.iter().for_each(|index| shards[usize::from(*index)].1 = false);
        coder.reconstruct_data(&mut shards).map_err(|error| anyhow!("{NAME}: {error:?}"))
    }))
}

/// Leopard over GF(2^16): parity stays in its own buffer, which is not copied out.
fn leopard<'c>(case: &'c Case<'c>) -> Result<Candidate<'c>> {
    const NAME: &str = "reed-solomon-simd";
    let (k, m) = (case.code.k().into(), case.code.m().into());
    let mut encoder = ReedSolomonEncoder::new(k, m, case.shard_bytes).context(NAME)?;
    if case.verb == Verb::Encode {
        return Ok(Candidate::new(NAME, move || {
            case.shards.iter().try_for_each(|shard| encoder.add_original_shard(shard)).context(NAME)?;
            let encoded = encoder.encode().context(NAME)?;
            ensure!(encoded.recovery(0).is_some(), "{NAME} gave no parity");
            Ok(())
        }));
    }
    let data = data(case)?;
    data.iter().try_for_each(|shard| encoder.add_original_shard(shard)).context(NAME)?;
    let parity: Vec<Vec<u8>> = encoder.encode().context(NAME)?.recovery_iter().map(<[u8]>::to_vec).collect();
    let mut decoder = ReedSolomonDecoder::new(k, m, case.shard_bytes).context(NAME)?;
    Ok(Candidate::new(NAME, move || {
        for (index, shard) in data.iter().enumerate().skip(case.wanted.len()) {
            decoder.add_original_shard(index, shard).context(NAME)?;
        }
        for (index, shard) in parity.iter().enumerate().take(case.wanted.len()) {
            decoder.add_recovery_shard(index, shard).context(NAME)?;
        }
        let decoded = decoder.decode().context(NAME)?;
        ensure!(decoded.restored_original(0).is_some(), "{NAME} gave nothing back");
        Ok(())
    }))
}
