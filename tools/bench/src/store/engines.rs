//! Puts through a whole engine: port, queues, hashing, group commit.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use pangea_core::chunk::ShardHeader;
use pangea_core::id::{ClusterId, DriveId};
use pangea_core::seam::Disk;
use pangea_store::conformance::{block_on, sample_id, sample_shard};
use pangea_store::drive;
use pangea_store::extent::{ExtentStore, Options};
use pangea_store::file_disk::FileDisk;
use pangea_store::format::superblock::Identity;
use pangea_store::port::ShardStore;
use pangea_store::threads::{ThreadsOptions, ThreadsStore};
use pangea_store::uring::UringDisk;

use super::{Round, cpu};

/// 4 MiB: 16 pieces of 256 KiB.
const LARGE: (u8, u8) = (8, 16);
const LARGE_BYTES: u64 = 4 << 20;
/// 4 KiB: one piece.
const SMALL: (u8, u8) = (2, 1);
/// What extents of a drive grow to.
const EXTENT_BYTES: u64 = 256 << 20;
/// Where the allocator of the product puts large buffers.
const PAGE_BYTES: usize = 4096;

/// Which engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    /// Appends through io_uring.
    Uring,
    /// Only appends of 128 KiB and more through io_uring.
    UringLargeOnly,
    /// Appends by system calls.
    Threads,
}

/// Puts `bytes` of 4 MiB shards, `depth` at a time.
pub fn large(engine: Engine, dir: &Path, bytes: u64, depth: u32) -> Result<Round> {
    puts(engine, dir, LARGE, u32::try_from(bytes / LARGE_BYTES)?, depth)
}

/// Puts `count` shards of 4 KiB, `depth` at a time.
pub fn small(engine: Engine, dir: &Path, count: u32, depth: u32) -> Result<Round> {
    puts(engine, dir, SMALL, count, depth)
}

fn puts(engine: Engine, dir: &Path, shape: (u8, u8), count: u32, depth: u32) -> Result<Round> {
    let store = open(engine, dir)?;
    // Sealing is not what is measured: one body, many ids. It lies at a page, as the product's do.
    let (header, data) = sample_shard(0, 0, shape.0, shape.1);
    let data = at_a_page(&data);
    let bytes = data.len() as u64 * u64::from(count);
    let (used, start) = (cpu(), Instant::now());
    let mut latencies = put_all(&store, &header, &data, count, depth)?;
    let (took, cpu) = (start.elapsed(), cpu().saturating_sub(used));
    block_on(store.shutdown())?;
    latencies.sort_unstable();
    let p50 = latencies.get(latencies.len() / 2).copied();
    Ok(Round { bytes, requests: u64::from(count), took, cpu, p50 })
}

fn open(engine: Engine, dir: &Path) -> Result<Arc<ThreadsStore>> {
    let plain = Arc::new(FileDisk::open(dir)?);
    let identity = Identity { cluster: ClusterId([1; 16]), drive: DriveId([2; 16]), slot: 0 };
    drive::format(plain.as_ref(), identity, 0)?;
    let disk: Arc<dyn Disk> = match engine {
        Engine::Uring => Arc::new(UringDisk::new(plain)?),
        Engine::UringLargeOnly => Arc::new(UringDisk::new(plain)?.with_direct_from(128 << 10)),
        Engine::Threads => plain,
    };
    // Extents as a drive with some gigabytes has them: a fresh one makes many small ones first.
    let options = Options { extent_bytes_min: EXTENT_BYTES, ..Options::default() };
    let (store, _) = ExtentStore::open(disk, identity, options)?;
    Ok(Arc::new(ThreadsStore::start(store, ThreadsOptions::default())?))
}

fn put_all(
    store: &Arc<ThreadsStore>,
    header: &ShardHeader,
    data: &Bytes,
    count: u32,
    depth: u32,
) -> Result<Vec<Duration>> {
    let next = AtomicU32::new(0);
    let caller = || -> Result<Vec<Duration>> {
        let mut latencies = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(latencies);
            }
            let header = ShardHeader { id: sample_id(number), ..header.clone() };
            let start = Instant::now();
            block_on(store.put(header, data.clone())).with_context(|| format!("put {number}"))?;
            latencies.push(start.elapsed());
        }
    };
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..depth).map(|_| scope.spawn(caller)).collect();
        let mut all = Vec::new();
        for caller in callers {
            all.extend(caller.join().expect("a caller does not panic")?);
        }
        Ok(all)
    })
}

fn at_a_page(data: &Bytes) -> Bytes {
    let mut memory = vec![0; data.len() + PAGE_BYTES];
    let start = memory.as_ptr().align_offset(PAGE_BYTES);
    memory[start..start + data.len()].copy_from_slice(data);
    Bytes::from(memory).slice(start..start + data.len())
}
