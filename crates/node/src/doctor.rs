//! The capability probe: what this machine offers, what was chosen because of it, and why.
//!
//! Owns the probes; `assemble` takes its choices from here, so that what `pangea doctor` says is what a server does.
//! Everything is measured or read from the kernel; what cannot be known is said so.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use pangea_core::chunk::Aead;
use serde::Serialize;

use crate::engine;

/// Appends that are timed on each directory.
const SYNCS: usize = 32;
/// Bytes of each.
const SYNC_BYTES: usize = 4096;
const PROBE_FILE: &str = ".pangea-doctor";
/// Slower than this, a spinning disk or a network is behind the directory.
const SLOW_SYNC_US: u64 = 5_000;

/// Everything that was found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The processor.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// What the kernel offers.
    pub kernel: Kernel,
    /// One for each directory that was named.
    pub drives: Vec<DriveProbe>,
    /// What a server does with it.
    pub choices: Vec<Choice>,
}

/// The processor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Cpu {
    /// The architecture.
    pub architecture: &'static str,
    /// Threads that can run at once, for this process.
    pub cores: usize,
    /// Vector and cryptography features that matter here, with whether they are there.
    pub features: Vec<(&'static str, bool)>,
}

/// Memory, in bytes; `None`: not known.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Memory {
    /// Of the machine.
    pub total_bytes: Option<u64>,
    /// That could be had now.
    pub available_bytes: Option<u64>,
    /// What this process's control group may use.
    pub limit_bytes: Option<u64>,
}

/// What the kernel offers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Kernel {
    /// Its release.
    pub release: String,
    /// Whether io_uring can be used, and why (not).
    pub io_uring: (bool, String),
    /// Whether eBPF programs can be loaded by this process, and why (not).
    pub ebpf: (bool, String),
}

/// How quickly a directory makes things durable.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DriveProbe {
    /// Which directory.
    pub path: PathBuf,
    /// The median time of a durable 4 KiB append, in microseconds.
    pub sync_us: Option<u64>,
    /// Total and available bytes of its file system.
    pub space_bytes: Option<(u64, u64)>,
    /// Why it could not be measured.
    pub error: Option<String>,
}

/// One decision.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Choice {
    /// About what.
    pub about: &'static str,
    /// What was chosen.
    pub chosen: String,
    /// Why.
    pub why: String,
}

/// Looks at the machine and at these directories.
pub fn examine(directories: &[PathBuf]) -> Report {
    let (cpu, memory, kernel) = (cpu(), memory(), kernel());
    let drives: Vec<DriveProbe> = directories.iter().map(|path| drive(path)).collect();
    let choices = choices(&cpu, &memory, &drives);
    Report { cpu, memory, kernel, drives, choices }
}

/// The cipher of new chunks on this machine.
pub fn cipher() -> Aead {
    Aead::pick(has_aes(&features()))
}

/// Threads that can run at once, for this process.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn cpu() -> Cpu {
    Cpu { architecture: std::env::consts::ARCH, cores: cores(), features: features() }
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<(&'static str, bool)> {
    use std::arch::is_x86_feature_detected as has;
    vec![
        ("ssse3", has!("ssse3")),
        ("avx2", has!("avx2")),
        ("avx512bw", has!("avx512bw")),
        ("avx512vl", has!("avx512vl")),
        ("gfni", has!("gfni")),
        ("aes", has!("aes")),
        ("vaes", has!("vaes")),
        ("pclmulqdq", has!("pclmulqdq")),
        ("vpclmulqdq", has!("vpclmulqdq")),
        ("sha", has!("sha")),
    ]
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<(&'static str, bool)> {
    use std::arch::is_aarch64_feature_detected as has;
    vec![("neon", has!("neon")), ("aes", has!("aes")), ("pmull", has!("pmull")), ("sha2", has!("sha2"))]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<(&'static str, bool)> {
    Vec::new()
}

fn has_aes(features: &[(&str, bool)]) -> bool {
    features.contains(&("aes", true))
}

fn memory() -> Memory {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = limit_files(&groups)
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok())
        .min();
    let total_bytes = meminfo_bytes(&meminfo, "MemTotal:");
    Memory {
        total_bytes,
        available_bytes: meminfo_bytes(&meminfo, "MemAvailable:"),
        // The first version of control groups says "no limit" with a number larger than any machine.
        limit_bytes: limit.filter(|limit| total_bytes.is_none_or(|total| *limit < total)),
    }
}

/// The files that may hold a memory limit of a process with these control groups: of its own groups, of those around them, and
/// of the roots that it sees.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let within = Path::new(path.trim_start_matches('/'));
        files.extend(within.ancestors().map(|group| Path::new(root).join(group).join(file)));
    }
    files
}

/// The bytes in a line of `/proc/meminfo` (they are counted in KiB there).
fn meminfo_bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn kernel() -> Kernel {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    let io_uring = io_uring(&release, disabled.as_deref());
    let unprivileged = fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled").ok();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ebpf = ebpf(Path::new("/sys/fs/bpf").exists(), unprivileged.as_deref(), capabilities(&status));
    Kernel { release, io_uring, ebpf }
}

/// io_uring came with Linux 5.1; since 6.6 a switch can forbid it.
fn io_uring(release: &str, disabled: Option<&str>) -> (bool, String) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return (false, "this is not Linux, or its release is not known".into());
    };
    if (major, minor) < (5, 1) {
        return (false, format!("Linux {major}.{minor} does not have it"));
    }
    match disabled.map(str::trim) {
        Some("2") => (false, "kernel.io_uring_disabled is 2".into()),
        Some("1") => (false, "kernel.io_uring_disabled is 1: privileged processes only".into()),
        _ => (true, format!("Linux {major}.{minor} has it and does not forbid it")),
    }
}

const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_BPF: u64 = 1 << 39;

fn ebpf(mounted: bool, unprivileged_disabled: Option<&str>, capabilities: u64) -> (bool, String) {
    if !mounted {
        return (false, "/sys/fs/bpf is not there".into());
    }
    if capabilities & (CAP_BPF | CAP_SYS_ADMIN) != 0 {
        return (true, "this process has the capability".into());
    }
    match unprivileged_disabled.map(str::trim) {
        Some("0") => (true, "unprivileged programs are allowed".into()),
        _ => (false, "this process lacks CAP_BPF and unprivileged programs are forbidden".into()),
    }
}

/// The effective capabilities in `/proc/self/status`.
fn capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

fn drive(path: &Path) -> DriveProbe {
    let space_bytes =
        rustix::fs::statvfs(path).ok().map(|s| (s.f_blocks * s.f_frsize, s.f_bavail * s.f_frsize));
    let measured = time_syncs(path);
    let error = measured.as_ref().err().map(ToString::to_string);
    DriveProbe { path: path.into(), sync_us: measured.ok(), space_bytes, error }
}

/// The median of some durable appends. The file is gone afterwards.
fn time_syncs(directory: &Path) -> io::Result<u64> {
    let path = directory.join(format!("{PROBE_FILE}-{}", std::process::id()));
    let file = OpenOptions::new().append(true).create_new(true).open(&path)?;
    let times = append_all(file);
    fs::remove_file(&path)?;
    let mut times = times?;
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

fn append_all(mut file: File) -> io::Result<Vec<u64>> {
    let block = [0x5a; SYNC_BYTES];
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let start = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    Ok(times)
}

fn choices(cpu: &Cpu, memory: &Memory, drives: &[DriveProbe]) -> Vec<Choice> {
    let cipher = match Aead::pick(has_aes(&cpu.features)) {
        Aead::Aes256Gcm => ("AES-256-GCM", "the processor has AES instructions"),
        Aead::XChaCha20Poly1305 | Aead::Packed => {
            ("XChaCha20-Poly1305", "the processor has no AES instructions")
        }
    };
    let (engine, why) = drive_engine();
    let mut choices = vec![
        choice("cipher", cipher.0, cipher.1.into()),
        choice("drive engine", engine, why),
        choice("CPU pool", &format!("{} threads", cpu.cores), "one for each core".into()),
    ];
    let bytes = memory.limit_bytes.or(memory.total_bytes);
    let budget = memory_budget(bytes);
    let of = bytes.map_or("memory is not known".into(), |bytes| format!("an eighth of {}", mib(bytes)));
    choices.push(choice("chunks in flight", &mib(budget), format!("{of}, between 32 MiB and 1 GiB")));
    let why = "a small buffer in fresh memory would take 2 MiB of it, and nothing was measured to be quicker";
    choices.push(choice("huge pages", "none", why.into()));
    for drive in drives {
        let Some(sync_us) = drive.sync_us else { continue };
        let (chosen, why) = if sync_us > SLOW_SYNC_US {
            ("durable, slow", "a spinning disk or a network: small writes wait for it")
        } else {
            ("durable", "quick enough for every write to be made durable before it is acknowledged")
        };
        choices.push(choice("durability", &format!("{chosen}: {}", drive.path.display()), why.into()));
    }
    choices
}

/// What `--io-engine auto` chooses here. A ring is made for it: a filter of system calls is in no version number.
fn drive_engine() -> (&'static str, String) {
    match engine::uring_available() {
        Ok(()) => {
            (engine::URING, "io_uring works; a file system without direct writes gets `threads`".into())
        }
        Err(why) => (engine::THREADS, why),
    }
}

/// Bytes of chunks in flight on a machine (or in a control group) with so much memory.
pub(crate) fn memory_budget(bytes: Option<u64>) -> u64 {
    bytes.map_or(128 << 20, |bytes| (bytes / 8).clamp(32 << 20, 1 << 30))
}

/// The same for this machine.
pub fn memory_budget_here() -> u64 {
    let memory = memory();
    memory_budget(memory.limit_bytes.or(memory.total_bytes))
}

/// Has this process do without transparent huge pages. The allocator asks for them, and then a buffer of a few KiB in fresh
/// memory takes 2 MiB of it: under a limit of 256 MiB, a dozen slow readers that had been granted 20 MiB together took all
/// of it, and the kernel ended the server. Where it cannot be done, there are none.
pub(crate) fn forgo_huge_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay as they are");
    }
}

fn choice(about: &'static str, chosen: &str, why: String) -> Choice {
    Choice { about, chosen: chosen.to_owned(), why }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn the_kernel_is_read_as_it_speaks() {
        for (release, disabled, available) in [
            ("6.12.0-1-amd64", Some("0\n"), true),
            ("6.12.0-1-amd64", Some("1\n"), false),
            ("6.12.0-1-amd64", Some("2\n"), false),
            ("5.10.0", None, true),
            ("4.19.0", None, false),
            ("", None, false),
        ] {
            assert_eq!(io_uring(release, disabled).0, available, "{release} {disabled:?}");
        }
        let status = "Name:\tx\nCapEff:\t0000008000000000\n";
        assert_eq!(capabilities(status), CAP_BPF);
        assert!(ebpf(true, Some("2"), CAP_BPF).0 && ebpf(true, Some("0"), 0).0);
        assert!(!ebpf(true, Some("2"), 0).0 && !ebpf(false, Some("0"), CAP_BPF).0);
        assert_eq!(meminfo_bytes("MemTotal:       2048 kB\n", "MemTotal:"), Some(2 << 20));
        assert_eq!(meminfo_bytes("MemTotal:       many\n", "MemTotal:"), None);
    }

    /// A server in a group of its own took the whole machine's memory for its own.
    #[test]
    fn memory_limits_of_all_groups_around_are_looked_at() {
        let files = |groups| -> Vec<String> {
            limit_files(groups).iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(
            files("0::/a.slice/b\n"),
            [
                "/sys/fs/cgroup/a.slice/b/memory.max",
                "/sys/fs/cgroup/a.slice/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert_eq!(
            files("9:cpu:/x\n4:memory:/x\n"),
            ["/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        );
        assert!(files("nonsense").is_empty());
    }

    #[test]
    fn the_memory_budget_stays_within_its_bounds() {
        assert_eq!(memory_budget(None), 128 << 20);
        assert_eq!(memory_budget(Some(1 << 20)), 32 << 20);
        assert_eq!(memory_budget(Some(1 << 30)), 128 << 20);
        assert_eq!(memory_budget(Some(1 << 40)), 1 << 30);
    }

    #[test]
    fn a_directory_is_timed_and_left_as_it_was() {
        let scratch = Scratch::new("doctor");
        let report = examine(&[scratch.path().to_owned(), scratch.path().join("missing")]);
        assert!(report.drives[0].sync_us.is_some() && report.drives[0].error.is_none());
        assert!(report.drives[1].sync_us.is_none() && report.drives[1].error.is_some());
        assert_eq!(fs::read_dir(scratch.path()).expect("there").count(), 0);
        assert!(report.choices.iter().any(|choice| choice.about == "cipher"));
    }
}
