//! The peer: `fio`, writing a new reserved file with direct I/O through io_uring, with a sync after every `depth` blocks.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Round;

const BLOCK_BYTES: u64 = 4 << 20;

/// Whether it is there.
pub fn check(fio: &Path) -> Result<()> {
    let found = Command::new(fio).arg("--version").output();
    let found =
        found.with_context(|| format!("{}: the peer is not there; apt install fio", fio.display()))?;
    ensure!(found.status.success(), "{}: it does not start", fio.display());
    Ok(())
}

/// Writes `bytes` in blocks of 4 MiB, `depth` at a time.
pub fn write(fio: &Path, dir: &Path, bytes: u64, depth: u32) -> Result<Round> {
    let output = Command::new(fio)
        .args(["--name=peer", "--rw=write", "--bs=4m", "--direct=1", "--fallocate=native"])
        .args(["--ioengine=io_uring", "--fixedbufs=1", "--registerfiles=1", "--output-format=json"])
        .arg(format!("--filename={}", dir.join("fio").display()))
        .args([format!("--size={bytes}"), format!("--iodepth={depth}"), format!("--fdatasync={depth}")])
        .output()
        .with_context(|| fio.display().to_string())?;
    ensure!(output.status.success(), "fio: {}", String::from_utf8_lossy(&output.stderr).trim());
    let text = String::from_utf8_lossy(&output.stdout);
    // Some versions say something before the report.
    let report: Value = serde_json::from_str(&text[text.find('{').context("fio said nothing")?..])?;
    read(&report).context("fio's report is not understood")
}

fn read(report: &Value) -> Option<Round> {
    let job = report.get("jobs")?.get(0)?;
    let took_ms = job.get("job_runtime")?.as_f64()?;
    let bytes = job.get("write")?.get("io_bytes")?.as_u64()?;
    let share = (job.get("usr_cpu")?.as_f64()? + job.get("sys_cpu")?.as_f64()?) / 100.0;
    let took = Duration::from_secs_f64(took_ms / 1e3);
    Some(Round { bytes, requests: bytes / BLOCK_BYTES, took, cpu: took.mul_f64(share), p50: None })
}
