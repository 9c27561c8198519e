//! The erasure code: every kernel and every peer, encoding and rebuilding.
//!
//! All work on the same shards. Who has the same matrix must give the same bytes before anything is timed.

use std::cell::RefCell;

use anyhow::{Context, Result, ensure};
use pangea_core::chunk::Code;
use pangea_core::erasure::Kernel;

use super::memory::{Memory, fill};
use super::plot::Line;
use super::rounds::{self, Candidate, Timed};
use crate::payload::ObjectSize;
use crate::report::Report;

/// From here on, half the rounds.
const LARGE_BYTES: usize = 16 << 20;
const SWEEP: [&str; 7] = ["16KiB", "64KiB", "256KiB", "1MiB", "4MiB", "16MiB", "64MiB"];
const MEMCPY: &str = "memcpy";

/// What is done with a stripe.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Encode,
    /// So many data shards are lost.
    Rebuild(u8),
}

/// Shards to compute from others.
#[cfg_attr(not(feature = "peers"), allow(dead_code, reason = "peers need all of it"))]
pub struct Case<'a> {
    pub code: Code,
    pub verb: Verb,
    pub shard_bytes: usize,
    /// The k shards to read, ascending, with their indices.
    pub sources: Vec<(u8, &'a [u8])>,
    /// The same without.
    pub shards: Vec<&'a [u8]>,
    /// The shards to compute.
    pub wanted: Vec<u8>,
    /// Where they go.
    pub outs: &'a RefCell<Vec<&'a mut [u8]>>,
}

/// The coefficients of each wanted shard, one a source: what the code makes of unit vectors.
#[cfg(feature = "peers")]
pub fn rows(code: Code, sources: &[(u8, &[u8])], wanted: &[u8]) -> Result<Vec<Vec<u8>>> {
    let k = sources.len();
    let units: Vec<Vec<u8>> = (0..k).map(|s| (0..k).map(|at| u8::from(at == s)).collect()).collect();
    let present: Vec<(u8, &[u8])> =
        sources.iter().zip(&units).map(|((index, _), unit)| (*index, unit.as_slice())).collect();
    let mut rows = vec![vec![0; k]; wanted.len()];
    let mut rooms: Vec<(u8, &mut [u8])> =
        wanted.iter().copied().zip(rows.iter_mut().map(Vec::as_mut_slice)).collect();
    pangea_core::erasure::reconstruct(code, &present, &mut rooms)?;
    Ok(rows)
}

/// Measures encoding and rebuilding with one code and size.
pub fn measure(code: Code, size: ObjectSize, rounds: usize, report: &mut Report) -> Result<()> {
    let most = code.m().min(code.k());
    let mut verbs = vec![(Verb::Encode, "ENCODE".to_string())];
    verbs.extend((most > 1).then(|| (Verb::Rebuild(most), format!("REBUILD{most}"))));
    verbs.push((Verb::Rebuild(1), "REBUILD1".to_string()));
    for (verb, name) in verbs {
        let (timed, bytes) = time(code, verb, size, rounds)?;
        let case = format!("{name}-{code}-{size}");
        let (own, peers): (Vec<&Timed>, Vec<&Timed>) =
            timed.iter().partition(|timed| Kernel::ALL.iter().any(|kernel| kernel.name() == timed.name));
        let chosen = own.first().context("there is always a kernel")?;
        report.add(rounds::rows(&case, chosen, "pangea", &peers, bytes));
        for peer in &peers {
            report.add(rounds::rows(&case, peer, &peer.name, &[], bytes));
        }
        let close = |peer: &&&Timed| peer.name == MEMCPY || peer.name.starts_with("isa-l");
        let close: Vec<&Timed> = peers.iter().filter(close).copied().collect();
        for kernel in &own[1..] {
            report.add(rounds::rows(&format!("{case}@{}", kernel.name), kernel, "pangea", &close, bytes));
        }
    }
    Ok(())
}

/// GB/s of everybody's encoding against the size of the stripe.
pub fn sweep(code: Code, rounds: usize) -> Result<Vec<Line>> {
    let mut lines: Vec<Line> = Vec::new();
    for size in SWEEP {
        let size: ObjectSize = size.parse()?;
        let (timed, bytes) = time(code, Verb::Encode, size, rounds)?;
        for (number, timed) in timed.iter().enumerate() {
            if lines.len() == number {
                lines.push(Line { name: timed.name.clone(), points: Vec::new() });
            }
            lines[number].points.push((size.bytes(), timed.rate(bytes)));
        }
    }
    Ok(lines)
}

/// Times everybody; also the number of data bytes that a call treats.
fn time(code: Code, verb: Verb, size: ObjectSize, rounds: usize) -> Result<(Vec<Timed>, usize)> {
    let (k, m, n) = (usize::from(code.k()), usize::from(code.m()), usize::from(code.n()));
    let shard_bytes = usize::try_from(size.bytes())?.div_ceil(k).next_multiple_of(64);
    let bytes = shard_bytes * k;
    let wanted: Vec<u8> = match verb {
        Verb::Encode => (code.k()..code.n()).collect(),
        Verb::Rebuild(lost) => (0..lost).collect(),
    };
    let mut memory = Memory::new(n + k + 2 * wanted.len(), shard_bytes);
    let mut cutter = memory.cut();
    let mut stripe = cutter.shards(n, shard_bytes)?;
    let (data, parity) = stripe.split_at_mut(k);
    (0..).zip(data.iter_mut()).for_each(|(seed, shard)| fill(shard, seed));
    let plain: Vec<&[u8]> = data.iter().map(|shard| &**shard).collect();
    Kernel::Portable.encode(code, &plain, parity);
    let stripe: Vec<&[u8]> = stripe.into_iter().map(|shard| &*shard).collect();
    let present = (0..code.n()).zip(stripe.iter().copied()).filter(|(index, _)| !wanted.contains(index));
    let sources: Vec<(u8, &[u8])> = present.take(k).collect();
    let mut copies = cutter.shards(k, shard_bytes)?;
    let mut pairs: Vec<(u8, &mut [u8])> =
        wanted.iter().copied().zip(cutter.shards(wanted.len(), shard_bytes)?).collect();
    let outs = RefCell::new(cutter.shards(wanted.len(), shard_bytes)?);
    let shards = sources.iter().map(|(_, shard)| *shard).collect();
    let case = Case { code, verb, shard_bytes, sources, shards, wanted, outs: &outs };
    ensure!(m > 0, "a code without parity has nothing to measure");

    let pairs = RefCell::new(&mut pairs);
    let mut candidates: Vec<Candidate<'_>> =
        Kernel::available().map(|kernel| own(kernel, &case, &pairs)).collect();
    #[cfg(feature = "peers")]
    candidates.extend(super::peer::candidates(&case, &stripe)?);
    candidates.push(Candidate::new(MEMCPY, || {
        copies.iter_mut().zip(&case.shards).for_each(|(copy, shard)| copy.copy_from_slice(shard));
        Ok(())
    }));
    let rounds = if bytes >= LARGE_BYTES { rounds.div_ceil(2) } else { rounds };
    Ok((rounds::run(&mut candidates, rounds)?, bytes))
}

/// A kernel of ours.
fn own<'c>(
    kernel: Kernel,
    case: &'c Case<'c>,
    pairs: &'c RefCell<&mut Vec<(u8, &mut [u8])>>,
) -> Candidate<'c> {
    Candidate::new(kernel.name(), move || {
        match case.verb {
            Verb::Encode => kernel.encode(case.code, &case.shards, &mut case.outs.borrow_mut()),
            Verb::Rebuild(_) => kernel.reconstruct(case.code, &case.sources, &mut pairs.borrow_mut())?,
        }
        Ok(())
    })
}
