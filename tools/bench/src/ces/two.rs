//! Two cores at once: what a GB costs of CPU time when another core does the same, beside what it costs alone.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use bytes::BytesMut;
use pangea_core::chunk::Code;

use super::pipeline::{Chunk, read};
use super::rounds::cpu_seconds;
use crate::report::{Report, Row};
use crate::stats::median;

/// How long a round works.
const ROUND: Duration = Duration::from_millis(150);

/// Measures writing and reading, alone and by two, in turn.
pub fn measure(code: Code, rounds: usize, report: &mut Report) -> Result<()> {
    for (name, is_write) in [("WRITE", true), ("READ", false)] {
        let (mut alone, mut both, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let one = seconds_per_gb(code, is_write, 1)?;
            let two = seconds_per_gb(code, is_write, 2)?;
            alone.push(one);
            both.push(two);
            ratios.push(two / one);
        }
        let row = |subject: &str, peer: Option<&str>, seconds: &[f64], ratio| Row {
            case: format!("TWO-{name}-{code}/cpu"),
            subject: subject.into(),
            peer: peer.map(String::from),
            value: median(seconds).unwrap_or(f64::NAN),
            unit: "s/GB",
            ratio,
            n: rounds,
        };
        report.add([row("two", Some("one"), &both, median(&ratios)), row("one", None, &alone, None)]);
    }
    Ok(())
}

/// CPU seconds per GB of so many threads, each with a chunk of its own.
fn seconds_per_gb(code: Code, is_write: bool, threads: usize) -> Result<f64> {
    let work = || -> Result<(f64, usize)> {
        let (chunk, mut pool, mut opened) = (Chunk::new(code), BytesMut::new(), Vec::new());
        let mut bytes = 0;
        let mut once = || {
            if !is_write {
                return read(&chunk, &mut opened);
            }
            chunk.write(code, &mut pool);
            Ok(())
        };
        once()?;
        let (start, begun) = (cpu_seconds(), Instant::now());
        while begun.elapsed() < ROUND {
            once()?;
            bytes += chunk.bytes();
        }
        Ok((cpu_seconds() - start, bytes))
    };
    let done: Vec<(f64, usize)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined =
            threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?);
        joined.collect::<Result<_>>()
    })?;
    let (seconds, bytes) = done.iter().fold((0.0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    (bytes > 0).then(|| seconds / (bytes as f64 / 1e9)).context("a round treats a chunk")
}
