//! Compression beside plain zstd at the same level, and what trying it costs when it does not pay.
//!
//! The text is made here, so that every run has the same: words of a vocabulary, the frequent ones far more often, as in a
//! language. Plain zstd keeps its context from call to call and writes into memory that is there already.

use anyhow::{Context, Result, ensure};
use bytes::BytesMut;
use pangea_core::ces::{CompressPolicy, compress_chunk, seal_chunk_in};
use pangea_core::chunk::Code;
use pangea_core::chunker::chunk_bytes_max;
use pangea_core::keys::DataKey;

use super::memory::fill;
use super::pipeline::job;
use super::rounds::{self, Candidate};
use crate::report::{Report, Row};

const LEVELS: [u8; 5] = [1, 3, 5, 7, 9];
const WORDS: u64 = 8192;
const KEY: [u8; 32] = [7; 32];

/// Measures text at several levels, and incompressible chunks written with and without a try.
pub fn measure(rounds: usize, report: &mut Report) -> Result<()> {
    let code = Code::new(10, 4).context("a code")?;
    let bytes = chunk_bytes_max(code) as usize;
    let plain = text(bytes);
    for level in LEVELS {
        at_level(&plain, level, rounds, report)?;
    }
    for level in [1, 9] {
        skipping(code, bytes, level, rounds, report)?;
    }
    Ok(())
}

fn at_level(plain: &[u8], level: u8, rounds: usize, report: &mut Report) -> Result<()> {
    let mut frame = vec![0; plain.len()];
    let mut zstd = zstd::bulk::Compressor::new(level.into())?;
    let mut compressed = 0;
    let mut candidates = [
        Candidate::new("pangea", || {
            let frame = compress_chunk(plain, CompressPolicy::Zstd { level }).context("text compresses")?;
            compressed = frame.len();
            Ok(())
        }),
        Candidate::new("zstd", || {
            ensure!(zstd.compress_to_buffer(plain, &mut frame)? > 0, "a frame");
            Ok(())
        }),
    ];
    let timed = rounds::run(&mut candidates, rounds)?;
    drop(candidates);
    let case = format!("COMPRESS-text-{level}");
    report.add(rounds::rows(&case, &timed[0], "pangea", &[&timed[1]], plain.len()));
    report.add(rounds::rows(&case, &timed[1], "zstd", &[], plain.len()));
    report.add([Row {
        case: format!("{case}/gain"),
        subject: "pangea".into(),
        peer: None,
        value: plain.len() as f64 / compressed as f64,
        unit: "count",
        ratio: None,
        n: 1,
    }]);
    Ok(())
}

/// Whole writes of incompressible chunks; the ratio says what is left of the speed.
fn skipping(code: Code, bytes: usize, level: u8, rounds: usize, report: &mut Report) -> Result<()> {
    let mut plain = vec![0; bytes];
    fill(&mut plain, 1);
    let key = DataKey::new(KEY);
    let (mut tried, mut never) = (BytesMut::new(), BytesMut::new());
    let seal = |compress, pool: &mut BytesMut| {
        let job = pangea_core::ces::SealChunk { compress, ..job(code, &key, &plain) };
        std::hint::black_box(seal_chunk_in(&job, pool));
        Ok(())
    };
    let mut candidates = [
        Candidate::new("tried", || seal(CompressPolicy::Zstd { level }, &mut tried)),
        Candidate::new("never", || seal(CompressPolicy::Never, &mut never)),
    ];
    let timed = rounds::run(&mut candidates, rounds)?;
    let case = format!("SKIP-incompressible-{level}");
    report.add(rounds::rows(&case, &timed[0], "pangea", &[&timed[1]], bytes));
    report.add(rounds::rows(&case, &timed[1], "never", &[], bytes));
    Ok(())
}

/// Text of so many bytes, the same every time.
pub fn text(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    };
    let word = |random: &mut dyn FnMut() -> u64| -> Vec<u8> {
        let letters = 2 + random() % 9;
        (0..letters)
            .map(|_| b"etaoinshrdlucmfwypvbgkjqxz"[(random() % 26 * (random() % 26) / 26) as usize])
            .collect()
    };
    let words: Vec<Vec<u8>> = (0..WORDS).map(|_| word(&mut random)).collect();
    let mut out = Vec::with_capacity(bytes + 16);
    while out.len() < bytes {
        // The rank's logarithm is even: word 2n comes half as often as word n.
        let rank = (WORDS as f64).powf(random() as f64 / f64::from(u32::MAX)) - 1.0;
        out.extend_from_slice(&words[rank as usize % words.len()]);
        out.extend_from_slice(if random().is_multiple_of(12) { b".\n" } else { b" " });
    }
    out.truncate(bytes);
    out
}
