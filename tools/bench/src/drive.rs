//! `drive`: what a directory's drive can do, so that a server's numbers can be held against it.
//!
//! Two figures: an append of 4 KiB with its `fdatasync`, and a long sequential write. The bytes are incompressible. The
//! two files it writes are removed again.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use crate::payload::{ObjectSize, Payloads};
use crate::report::{Report, Row};
use crate::stats::percentile;

const APPENDS_MAX: usize = 2000;
const PROBE_APPENDS: usize = 200;
const APPENDING: Duration = Duration::from_secs(5);
const SEQUENTIAL_BYTES_MAX: u64 = 1 << 30;
const SEQUENTIAL: Duration = Duration::from_secs(20);

/// What to measure.
#[derive(Args)]
pub struct Arguments {
    /// A directory on the drive.
    dir: PathBuf,
    /// JSON rows instead of a table.
    #[arg(long)]
    json: bool,
}

/// A drive's own figures.
pub struct Drive {
    /// Latency of a 4 KiB append with fdatasync, nanoseconds, sorted.
    pub appends_ns: Vec<u64>,
    /// MB/s (10⁶) of a sequential write with one fdatasync at its end.
    pub sequential_mb_s: f64,
}

/// The subcommand.
pub fn run(arguments: &Arguments) -> Result<()> {
    let drive = measure(&arguments.dir)?;
    let mut report = Report::new(arguments.json);
    report.add(drive.rows());
    report.print();
    Ok(())
}

/// Measures the drive of a directory; at most 25 s and 1 GiB.
pub fn measure(dir: &Path) -> Result<Drive> {
    let payloads = Payloads::new(0);
    let path = dir.join(format!("pangea-bench-drive-{}", std::process::id()));
    let outcome = appends(&path, &payloads, APPENDS_MAX)
        .and_then(|appends_ns| Ok(Drive { appends_ns, sequential_mb_s: sequential(&path, &payloads)? }));
    let removed = fs::remove_file(&path);
    let drive = outcome.with_context(|| format!("measuring {}", dir.display()))?;
    removed.with_context(|| format!("removing {}", path.display()))?;
    Ok(drive)
}

/// Milliseconds of the median appending fdatasync, quickly: for a round between the rounds of servers.
pub fn probe(dir: &Path, payloads: &Payloads) -> Result<f64> {
    let path = dir.join("append-probe");
    let samples = appends(&path, payloads, PROBE_APPENDS);
    fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    let median = percentile(&samples?, 0.5).context("the drive answered no append in time")?;
    Ok(median as f64 / 1e6)
}

fn appends(path: &Path, payloads: &Payloads, count: usize) -> Result<Vec<u64>> {
    let size: ObjectSize = "4KiB".parse()?;
    let mut file = File::create(path)?;
    let (mut samples, begun) = (Vec::with_capacity(count), Instant::now());
    while samples.len() < count && begun.elapsed() < APPENDING {
        let page = payloads.object(samples.len() as u64, size);
        let start = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        samples.push(start.elapsed().as_nanos() as u64);
    }
    samples.sort_unstable();
    Ok(samples)
}

fn sequential(path: &Path, payloads: &Payloads) -> Result<f64> {
    let size: ObjectSize = "1MiB".parse()?;
    let mut file = File::create(path)?;
    let (mut written, begun) = (0, Instant::now());
    while written < SEQUENTIAL_BYTES_MAX && begun.elapsed() < SEQUENTIAL {
        file.write_all(&payloads.object(written / size.bytes(), size))?;
        written += size.bytes();
    }
    file.sync_data()?;
    Ok(written as f64 / 1e6 / begun.elapsed().as_secs_f64())
}

impl Drive {
    /// Milliseconds of one appending fdatasync.
    fn append_ms(&self, share: f64) -> f64 {
        percentile(&self.appends_ns, share).map_or(0.0, |ns| ns as f64 / 1e6)
    }

    /// As report rows of the subject `drive`.
    pub fn rows(&self) -> Vec<Row> {
        let row = |case: &str, value, unit, n| Row {
            case: case.to_string(),
            subject: "drive".to_string(),
            peer: None,
            value,
            unit,
            ratio: None,
            n,
        };
        vec![
            row("DRIVE-append-fdatasync-4KiB/p50", self.append_ms(0.5), "ms", self.appends_ns.len()),
            row("DRIVE-append-fdatasync-4KiB/p99", self.append_ms(0.99), "ms", self.appends_ns.len()),
            row("DRIVE-sequential-write/throughput", self.sequential_mb_s, "MB/s", 1),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_does_not_exist_is_named() {
        let error = measure(Path::new("/nonexistent/dir")).err().expect("no such directory");
        assert!(format!("{error:#}").contains("/nonexistent/dir"));
    }
}
