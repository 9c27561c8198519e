//! Memory of chunks in flight: what sealing takes beside the plaintext, counted by the allocator.
//!
//! A chunk may take its stripe, which is n/k of it, and all together one MiB more (headers, tables). A frame that compression
//! makes lies in the memory of the stripe. What zstd itself works in is not counted: it is C's, one at a time on each thread.

use anyhow::{Result, ensure};
use bytes::BytesMut;
use pangea_core::ces::{CompressPolicy, SealChunk, SealedChunk, seal_chunk_in};
use pangea_core::chunk::Code;
use pangea_core::chunker::chunk_bytes_max;
use pangea_core::keys::DataKey;

use super::compress::text;
use super::memory::fill;
use super::pipeline::job;
use super::raw::counting;
use crate::report::{Report, Row};

const IN_FLIGHT: [usize; 3] = [1, 4, 16];
const SPARE_BYTES: usize = 1 << 20;
/// Each place seals so many chunks, one after the other, in the memory of the one before.
const CHUNKS: usize = 3;

/// Per cent of a chunk that are noise, where compression gains about the rest.
const NOISE_PERCENT: [usize; 3] = [60, 75, 90];

/// Counts, and fails if it is too much.
pub fn measure(code: Code, report: &mut Report) -> Result<()> {
    let bytes = chunk_bytes_max(code) as usize;
    let mut noise = vec![0; bytes];
    fill(&mut noise, 1);
    let partly = NOISE_PERCENT.map(|percent| (format!("noise{percent}%"), partly_noise(&noise, percent)));
    let whole = [("incompressible".to_owned(), noise), ("text".to_owned(), text(bytes))];
    for (name, plain) in whole.into_iter().chain(partly) {
        for in_flight in IN_FLIGHT {
            let extra = extra_bytes(code, &plain, in_flight);
            let allowed = bytes * usize::from(code.n()) / usize::from(code.k()) * in_flight + SPARE_BYTES;
            let row = |what: &str, value: usize| Row {
                case: format!("ROOM-{code}-{name}-{in_flight}/{what}"),
                subject: "pangea".into(),
                peer: None,
                value: value as f64 / 1e6,
                unit: "MB",
                ratio: None,
                n: 1,
            };
            report.add([row("extra", extra), row("allowed", allowed)]);
            ensure!(
                extra <= allowed,
                "{in_flight} chunks of {name} took {extra} bytes, {allowed} are allowed"
            );
        }
    }
    Ok(())
}

/// Noise with spaces in it.
fn partly_noise(noise: &[u8], percent: usize) -> Vec<u8> {
    let mut out = noise.to_vec();
    out.chunks_mut(100).for_each(|part| part.iter_mut().skip(percent).for_each(|byte| *byte = b' '));
    out
}

/// The most that was allocated beside the plaintext.
fn extra_bytes(code: Code, plain: &[u8], in_flight: usize) -> usize {
    let key = DataKey::new([7; 32]);
    let job = SealChunk { compress: CompressPolicy::DEFAULT, ..job(code, &key, plain) };
    let before = counting::restart();
    let mut places: Vec<(BytesMut, Option<SealedChunk>)> =
        (0..in_flight).map(|_| Default::default()).collect();
    for _ in 0..CHUNKS {
        for (pool, sealed) in &mut places {
            *sealed = None;
            *sealed = Some(seal_chunk_in(&job, pool));
        }
    }
    counting::peak() - before
}
