//! `ces`: the erasure code, MD5 and the whole pipeline of core, beside named peers, on one core.
//!
//! Owns the order of a run. Time is the thread's CPU time; candidates run interleaved, forward and backward, in one process;
//! values are medians over the rounds, ratios medians of the rounds' ratios. Peers with build needs of their own (C, assembly)
//! are behind the feature `peers`; the product never depends on them.

mod aead;
mod compress;
mod erasure;
mod md5;
mod memory;
#[cfg(feature = "peers")]
mod peer;
mod pipeline;
mod plot;
mod raw;
mod room;
mod rounds;
mod two;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use pangea_core::chunk::Code;
use pangea_core::erasure::Kernel;

use crate::payload::ObjectSize;
use crate::report::Report;

const ROUNDS_MAX: usize = 1000;

/// Counts for `room`; the others do not feel it.
#[global_allocator]
static ALLOCATOR: raw::counting::Counting = raw::counting::Counting;

/// What to measure, and how often.
#[derive(Args)]
pub struct Arguments {
    /// All of them unless named.
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Codes, K+M.
    #[arg(long, value_delimiter = ',', default_value = "4+2,10+4,17+3,29+51", value_parser = code)]
    code: Vec<Code>,
    /// Bytes of data in a stripe.
    #[arg(long, value_delimiter = ',', default_value = "64KiB,4MiB,64MiB")]
    size: Vec<ObjectSize>,
    /// Rounds per case; half as many from 16 MiB on.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Also measure encoding with the first code from 16 KiB to 64 MiB, and draw it into this SVG file.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// JSON rows instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Every kernel and peer: encode, rebuild m shards, rebuild one.
    Erasure,
    /// Several MD5 streams at once.
    Md5,
    /// Whole chunks: write, healthy read, degraded read.
    Pipeline,
    /// Writing whole chunks of 16 KiB to 64 MiB: the curve that sizes are chosen by.
    Curve,
    /// Compression beside plain zstd, and what trying it costs when it does not pay.
    Compress,
    /// Sealing segments with both ciphers, beside the pure-Rust crates.
    Aead,
    /// Memory of chunks in flight; fails if it is more than it may be.
    Room,
    /// CPU seconds per GB of one core alone and of two at once.
    Two,
}

/// The subcommand.
pub fn run(arguments: &Arguments) -> Result<()> {
    ensure!((1..=ROUNDS_MAX).contains(&arguments.rounds), "--rounds takes a number from 1 to {ROUNDS_MAX}");
    ensure!(arguments.size.iter().all(|size| size.bytes() > 0), "a stripe has bytes");
    eprintln!("kernels: {}", Kernel::available().map(Kernel::name).collect::<Vec<_>>().join(", "));
    let mut report = Report::new(arguments.json);
    let wanted = |part| arguments.parts.is_empty() || arguments.parts.contains(&part);
    if wanted(Part::Erasure) {
        for code in &arguments.code {
            for size in &arguments.size {
                erasure::measure(*code, *size, arguments.rounds, &mut report)?;
            }
        }
    }
    if wanted(Part::Md5) {
        md5::measure(arguments.rounds, &mut report)?;
    }
    if wanted(Part::Pipeline) {
        for code in arguments.code.iter().filter(|code| code.m() > 0) {
            pipeline::measure(*code, arguments.rounds, &mut report)?;
        }
    }
    if wanted(Part::Curve) {
        for code in arguments.code.iter().filter(|code| code.m() > 0) {
            pipeline::curve(*code, arguments.rounds, &mut report)?;
        }
    }
    if wanted(Part::Compress) {
        compress::measure(arguments.rounds, &mut report)?;
    }
    if wanted(Part::Aead) {
        aead::measure(arguments.rounds, &mut report)?;
    }
    if wanted(Part::Room) {
        for code in arguments.code.iter().filter(|code| code.m() > 0) {
            room::measure(*code, &mut report)?;
        }
    }
    if wanted(Part::Two) {
        for code in arguments.code.iter().filter(|code| code.m() > 0) {
            two::measure(*code, arguments.rounds, &mut report)?;
        }
    }
    if let Some(path) = &arguments.plot {
        let code = *arguments.code.first().context("a code to plot")?;
        let lines = erasure::sweep(code, arguments.rounds)?;
        let svg = plot::svg(&format!("RS({code}) encode, one core"), "GB/s", &lines);
        std::fs::write(path, svg).with_context(|| format!("writing {}", path.display()))?;
    }
    report.print();
    Ok(())
}

fn code(text: &str) -> Result<Code, String> {
    Code::parse(text).ok_or_else(|| format!("not a code: {text:?} (10+4)"))
}
