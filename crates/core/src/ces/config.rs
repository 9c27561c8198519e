//! Adaptive configuration: sizes, level, cipher and window from what a machine, its network and a file are like.
//!
//! Pure arithmetic over measured tables (`pangea-bench ces curve compress aead`, docs/benchmarks.md); they were taken on one
//! CPU, and only their shape matters. Whoever writes or reads a blob asks once, and for the level once a chunk. The format
//! allows any of these choices: readers never ask how a blob was configured.
//!
//! How the choice moves, everything else being equal; a test holds it to this:
//!
//! | when this grows | largest chunk | level | window |
//! |---|---|---|---|
//! | bandwidth | smaller or same: more of them side by side | lower or same: zstd must keep up | larger or same |
//! | latency | same | same | larger or same: more must be under way |
//! | CPU load | larger or same: less to do for each byte | lower or same | smaller or same |
//! | RAM | larger or same | same | larger or same |
//! | file | larger or same | same | larger or same |

use super::CompressPolicy;
use crate::chunk::{Aead, Code, Codec};
use crate::chunker::{self, CHUNK_BYTES_MAX, TooLong, chunk_bytes_max};

/// What a chunk of so many bytes is written at by one core, in MB/s: (10,4), AES-256-GCM, incompressible. Small chunks have
/// pieces too short for BLAKE3 to hash in parallel; large ones leave the cache.
const CURVE: [(u32, u32); 9] = [
    (16 << 10, 367),
    (64 << 10, 455),
    (256 << 10, 902),
    (1 << 20, 2556),
    (2 << 20, 3570),
    (3 << 20, 3990),
    (5 << 20, 4381),
    (16 << 20, 4188),
    (64 << 20, 3381),
];
/// What zstd compresses text at on one core, in MB/s, the highest level first.
const LEVELS: [(u8, u32); 5] = [(9, 70), (7, 96), (5, 157), (3, 278), (1, 430)];
/// Sealing by AES-256-GCM and by XChaCha20-Poly1305 on one core, in MB/s.
const GCM_MB_S: u64 = 20_960;
const XCHACHA_MB_S: u64 = 2_830;
/// Cutting a file for more cores must leave each at least so much of its best speed.
const SPEED_PERCENT_MIN: u32 = 80;
/// The smallest chunk that is cut from a longer file.
const CHUNK_BYTES_MIN: u32 = 64 << 10;
/// A file has no more chunks than this if the code allows larger ones: a manifest names every one.
const CHUNKS_MAX: u64 = 1 << 16;
/// The part of all memory for chunks in flight that one request takes at most.
const REQUESTS_MIN: u64 = 8;
/// Chunks in flight of one request.
const WINDOW_CHUNKS_MAX: usize = 16;
/// Of the CPU time that is left, the part that compression may take: the other is for everything else.
const COMPRESS_SHARE: u64 = 2;
const MB: u64 = 1_000_000;

/// What the choice depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conditions {
    /// The code of the blob.
    pub code: Code,
    /// Bytes a second at which the file comes or goes; `None`: as fast as this machine takes it.
    pub bandwidth: Option<u64>,
    /// How long a drive or its node takes to answer, in µs.
    pub latency_us: u32,
    /// How busy the cores are, in per cent; more than 100 is taken for 100.
    pub cpu_load: u8,
    /// Bytes that chunks in flight of all requests together may take.
    pub ram_bytes: u64,
    /// The length of the file, if it is known.
    pub file_bytes: Option<u64>,
    /// What the machine can do.
    pub caps: Caps,
}

/// What a machine can do, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caps {
    /// Whether the CPU has instructions for AES.
    pub has_aes: bool,
    /// Threads that seal and compress; 0 is taken for 1.
    pub cores: u16,
}

/// The choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CesConfig {
    /// The largest chunk that suits these conditions.
    pub chunk_bytes_max: u32,
    /// Plaintext bytes of every chunk but the last: what takes the fewest bytes on the drives within that.
    pub chunk_bytes: u32,
    /// Bytes of a shard of such a chunk if nothing compresses.
    pub shard_bytes: u32,
    /// zstd's level for a chunk that it pays for.
    pub compress: CompressPolicy,
    /// The cipher.
    pub aead: Aead,
    /// Plaintext bytes in flight: at least a chunk.
    pub window_bytes: u64,
}

impl CesConfig {
    /// Chooses. Fails only if the file is longer than any blob.
    pub fn choose(conditions: &Conditions) -> Result<Self, TooLong> {
        let Conditions { code, file_bytes, caps, .. } = *conditions;
        let aead = Aead::pick(caps.has_aes);
        let limit = conditions.chunk_bytes_max();
        let chunk_bytes_max = limit.min(conditions.bytes_for_each_core(limit, aead));
        let chunk_bytes = chunker::plan_within(file_bytes, code, chunk_bytes_max)?;
        let shape = chunker::fit(code, aead, Codec::Raw, chunk_bytes, chunk_bytes);
        let shard_bytes = shape.expect("a planned chunk fits").shard_bytes() as u32;
        let compress =
            CompressPolicy::Zstd { level: level(conditions.bandwidth, conditions.cpu_load, caps.cores) };
        let window_bytes = conditions.window_bytes(limit, aead).max(chunk_bytes.into());
        Ok(Self { chunk_bytes_max, chunk_bytes, shard_bytes, compress, aead, window_bytes })
    }

    /// Chunks in flight.
    pub fn window_chunks(&self) -> usize {
        let chunks = self.window_bytes / u64::from(self.chunk_bytes.max(1));
        usize::try_from(chunks).unwrap_or(WINDOW_CHUNKS_MAX).clamp(1, WINDOW_CHUNKS_MAX)
    }
}

/// The highest zstd level that keeps up with so many bytes a second on what is left of the CPU; 1 if none does, or if the
/// bandwidth is not known.
pub fn level(bandwidth: Option<u64>, cpu_load: u8, cores: u16) -> u8 {
    let Some(bandwidth) = bandwidth else { return 1 };
    let keeps_up =
        |mb_s: u32| u64::from(mb_s) * MB / 100 * spare_percent(cpu_load, cores) / COMPRESS_SHARE >= bandwidth;
    LEVELS.iter().find(|(_, mb_s)| keeps_up(*mb_s)).map_or(1, |(level, _)| *level)
}

/// Bytes a second that one core writes in chunks of so many bytes; between the measured sizes in a straight line.
fn write_bytes_s(chunk_bytes: u32, aead: Aead) -> u64 {
    let after = CURVE.iter().position(|(bytes, _)| *bytes > chunk_bytes).unwrap_or(CURVE.len());
    let (below, above) = (CURVE[after.saturating_sub(1)], CURVE[after.min(CURVE.len() - 1)]);
    let part = u64::from(chunk_bytes.clamp(below.0, above.0) - below.0);
    let span = u64::from(above.0 - below.0).max(1);
    let gcm = (u64::from(below.1) * (span - part) + u64::from(above.1) * part) / span;
    match aead {
        // The time of a byte, with one cipher's share taken out and the other's put in.
        Aead::XChaCha20Poly1305 => MB * MB / (MB / gcm + MB / XCHACHA_MB_S - MB / GCM_MB_S),
        Aead::Aes256Gcm | Aead::Packed => gcm * MB,
    }
}

/// What is left of the cores, in hundredths of one.
fn spare_percent(cpu_load: u8, cores: u16) -> u64 {
    u64::from(100 - cpu_load.min(100)) * u64::from(cores.max(1))
}

impl Conditions {
    fn spare_cores(&self) -> u64 {
        (spare_percent(self.cpu_load, self.caps.cores) / 100).max(1)
    }

    /// Plaintext that one request may have in flight: a chunk takes its plaintext and its stripe.
    fn request_bytes_max(&self) -> u64 {
        let (k, n) = (u64::from(self.code.k()), u64::from(self.code.n()));
        (self.ram_bytes / REQUESTS_MIN).saturating_mul(k) / (k + n)
    }

    /// The largest chunk that there is room for, unless the file would have too many of them.
    fn chunk_bytes_max(&self) -> u32 {
        let at_least =
            self.file_bytes.map_or(0, |bytes| bytes.div_ceil(CHUNKS_MAX)).max(CHUNK_BYTES_MIN.into());
        let bytes = self.request_bytes_max().max(at_least).min(CHUNK_BYTES_MAX.into()) as u32;
        bytes.min(chunk_bytes_max(self.code))
    }

    /// How small chunks must be for as many cores as the bandwidth needs, and never so small that they are slow.
    fn bytes_for_each_core(&self, limit: u32, aead: Aead) -> u32 {
        let (Some(file), Some(bandwidth)) = (self.file_bytes, self.bandwidth) else { return u32::MAX };
        let lanes = bandwidth.div_ceil(write_bytes_s(limit, aead)).clamp(1, self.spare_cores());
        let best = CURVE.iter().map(|point| point.1).max().unwrap_or(0);
        let quick = CURVE.iter().find(|point| point.1 * 100 >= best * SPEED_PERCENT_MIN);
        let each = u32::try_from(file.div_ceil(lanes)).unwrap_or(u32::MAX);
        each.max(quick.map_or(0, |point| point.0))
    }

    /// A chunk for each core that is left, one that waits for its drives, and what is under way meanwhile, twice.
    fn window_bytes(&self, limit: u32, aead: Aead) -> u64 {
        let cores = self.spare_cores();
        let bandwidth = self.bandwidth.unwrap_or(write_bytes_s(limit, aead).saturating_mul(cores));
        let under_way = (u128::from(bandwidth) * u128::from(self.latency_us) * 2 / u128::from(MB)) as u64;
        let wanted = under_way.saturating_add((cores + 1).saturating_mul(limit.into()));
        wanted.min(self.request_bytes_max()).max(limit.into())
    }
}

#[cfg(test)]
mod tests;
