//! How fast one drive takes shards through the threads engine: 4 KiB one at a time against a bare fdatasync, 512 KiB at
//! depth 16, and reads. `cargo run --release -p pangea-store --example put_speed -- DIR` (DIR must be empty or absent).

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pangea_core::id::{ClusterId, DriveId};
use pangea_core::seam::Disk;
use pangea_store::conformance::{block_on, sample_id, sample_shard};
use pangea_store::drive;
use pangea_store::extent::{ExtentStore, Options};
use pangea_store::file_disk::FileDisk;
use pangea_store::format::superblock::Identity;
use pangea_store::port::ShardStore;
use pangea_store::threads::{ThreadsOptions, ThreadsStore};

const SMALL_PUTS: u32 = 2000;
const LARGE_PUTS: u32 = 2000;
const DEPTH: u32 = 16;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: put_speed DIR")?;
    std::fs::create_dir_all(&path)?;
    let disk = Arc::new(FileDisk::open(Path::new(&path))?);
    println!("bare write + fdatasync of 4 KiB in a reserved file: p50 {:?}", bare_sync(disk.as_ref())?);
    let identity = Identity { cluster: ClusterId([1; 16]), drive: DriveId([2; 16]), slot: 0 };
    drive::format(disk.as_ref(), identity, 0)?;
    let (engine, _) = ExtentStore::open(disk, identity, Options::default())?;
    let store = Arc::new(ThreadsStore::start(engine, ThreadsOptions::default())?);
    small_puts(store.as_ref())?;
    small_reads(store.as_ref())?;
    large_puts(&store);
    block_on(store.shutdown())?;
    Ok(())
}

fn p50(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn bare_sync(disk: &FileDisk) -> std::io::Result<Duration> {
    let file = disk.open("lock.speed", Some(16 << 20))?;
    file.sync()?;
    let block = vec![7; 4096];
    let one = |n: u64| {
        let start = Instant::now();
        file.write_at(&[IoSlice::new(&block)], n * 4096)?;
        file.sync()?;
        Ok(start.elapsed())
    };
    let times = (0..2000).map(one).collect::<std::io::Result<Vec<_>>>()?;
    disk.remove("lock.speed")?;
    Ok(p50(times))
}

fn small_puts(store: &dyn ShardStore) -> Result<(), Box<dyn std::error::Error>> {
    let mut times = Vec::new();
    for n in 0..SMALL_PUTS {
        let (header, data) = sample_shard(n, 0, 2, 1);
        let start = Instant::now();
        block_on(store.put(header, data))?;
        times.push(start.elapsed());
    }
    println!("put 4 KiB, one at a time: p50 {:?}", p50(times));
    Ok(())
}

fn small_reads(store: &dyn ShardStore) -> Result<(), Box<dyn std::error::Error>> {
    let mut times = Vec::new();
    for n in 0..SMALL_PUTS {
        let start = Instant::now();
        block_on(store.read(sample_id(n), 0..1))?;
        times.push(start.elapsed());
    }
    println!("read 4 KiB, one at a time, cached: p50 {:?}", p50(times));
    Ok(())
}

fn large_puts(store: &Arc<ThreadsStore>) {
    // Sealing is not what is measured: one body, many ids; the piece values are the same for all.
    let (header, data) = sample_shard(0, 0, 5, 16);
    let next = Arc::new(AtomicU32::new(SMALL_PUTS));
    let start = Instant::now();
    let threads: Vec<_> = (0..DEPTH)
        .map(|_| {
            let (store, next, header, data) = (store.clone(), next.clone(), header.clone(), data.clone());
            std::thread::spawn(move || {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= SMALL_PUTS + LARGE_PUTS {
                        return;
                    }
                    let mut header = header.clone();
                    header.id = sample_id(n);
                    block_on(store.put(header, data.clone())).expect("there is room");
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("every put was taken"));
    let bytes = u64::from(LARGE_PUTS) * data.len() as u64;
    let rate = bytes as f64 / start.elapsed().as_secs_f64() / 1e6;
    println!("put 512 KiB at depth {DEPTH}: {rate:.0} MB/s");
}
