//! How long a command takes: a 4 KiB inline put through the embedded engine, against a bare fdatasync in the same directory.
//!
//! `cargo run --release -p pangea-meta --example latency -- DIR [COMMANDS]`. Prints medians; writes below DIR and removes it.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pangea_core::id::{BlobId, BucketId, ClusterId, RequestId, VersionId};
use pangea_core::keys::{KeyRef, SecretKey, WrappedKey};
use pangea_core::meta::{
    BlobBody, BucketKeyRow, BucketRow, Command, Condition, Content, ETag, Extent, NewBlob, NewVersion,
    Request, VersionSelector, Versioning,
};
use pangea_core::seam::{Disk, DiskFile, Entropy, Space};
use pangea_meta::conformance::wait;
use pangea_meta::{EmbeddedMeta, LogKey, LogKeys, Meta, Options, ViewPlace, WriteOptions};

const BUCKET: BucketId = BucketId([1; 16]);
const IN_FLIGHT: u64 = 64;

struct Directory(PathBuf);

struct OpenFile(File);

impl Disk for Directory {
    fn open(&self, name: &str, create: Option<u64>) -> io::Result<Box<dyn DiskFile>> {
        let path = self.0.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let file = OpenOptions::new().read(true).write(true).create_new(create.is_some()).open(path)?;
        if let Some(size) = create {
            file.set_len(size)?;
        }
        Ok(Box::new(OpenFile(file)))
    }
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(self.0.join(dir))?;
        entries.map(|entry| Ok(format!("{dir}/{}", entry?.file_name().to_string_lossy()))).collect()
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.0.join(name))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.0.join(from), self.0.join(to))
    }
    fn sync_dir(&self) -> io::Result<()> {
        File::open(self.0.join("meta"))?.sync_all()
    }
    fn space(&self) -> io::Result<Space> {
        Ok(Space::default())
    }
    fn describe(&self) -> String {
        self.0.display().to_string()
    }
}

impl DiskFile for OpenFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }
    fn write_at(&self, parts: &[IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        for part in parts {
            self.0.write_all_at(part, offset)?;
            offset += part.len() as u64;
        }
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
    fn set_size(&self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }
}

/// Never the same bytes twice; a measurement needs no secrets.
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let n = self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        bytes.iter_mut().zip(n.iter().cycle()).for_each(|(byte, n)| *byte = *n);
    }
}

/// Scattered ids, as random ones would be.
fn id(n: u64, purpose: u8) -> [u8; 16] {
    let mut id = [purpose; 16];
    id[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    id
}

fn key(n: u64) -> Vec<u8> {
    format!("photos/{:02x}/{n:08}.jpg", n % 251).into_bytes()
}

fn put(n: u64) -> Request {
    let blob = BlobId(id(n, 1));
    let body =
        BlobBody::Inline { key: KeyRef { bucket: BUCKET, generation: 1 }, sealed: vec![n as u8; 4096 + 28] };
    let version = NewVersion {
        id: VersionId(id(n, 2)),
        size: 4096,
        etag: ETag { md5: [n as u8; 16], parts: 0 },
        content: Content::Blob(Extent { blob, offset: 0, len: 4096 }),
        attributes: vec![("content-type".to_owned(), "image/jpeg".to_owned())],
        part_sizes: Vec::new(),
    };
    let blob = NewBlob { id: blob, len: 4096, body, spill: None, todos: Vec::new(), layout_epoch: 0 };
    let command = Command::PutVersion {
        bucket: BUCKET,
        key: key(n),
        condition: Condition::default(),
        version,
        blob: Some(blob),
    };
    Request { id: RequestId(id(n, 3)), now_ms: n, command }
}

fn create_bucket() -> Request {
    let bucket = BucketRow {
        id: BUCKET,
        name: "bench".to_owned(),
        created_ms: 0,
        owner: "root".to_owned(),
        code: None,
        region_pin: String::new(),
        versioning: Versioning::Off,
        key_generation: 1,
        documents: Vec::new(),
    };
    let key = BucketKeyRow { master_generation: 1, wrapped: WrappedKey { nonce: [0; 12], sealed: [0; 48] } };
    Request { id: RequestId(id(0, 4)), now_ms: 0, command: Command::CreateBucket { bucket, key } }
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6;
    format!("p50 {:.1} µs, p99 {:.1} µs", at(50), at(99))
}

fn timed(n: u64, mut work: impl FnMut(u64)) -> Vec<Duration> {
    (0..n)
        .map(|n| {
            let start = Instant::now();
            work(n);
            start.elapsed()
        })
        .collect()
}

fn bare_sync(dir: &std::path::Path, n: u64) -> io::Result<Vec<Duration>> {
    let file = File::create(dir.join("bare"))?;
    let zeros = vec![0; 8192 * n as usize];
    file.write_all_at(&zeros, 0)?;
    file.sync_all()?;
    let block = [7; 4608];
    let mut failed = None;
    let times = timed(n, |n| {
        let written = file.write_all_at(&block, n * 4608).and_then(|()| file.sync_data());
        failed = failed.take().or(written.err());
    });
    failed.map_or(Ok(times), Err)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().map_or_else(std::env::temp_dir, PathBuf::from).join("pangea-meta-latency");
    let commands: u64 = args.next().map_or(Ok(300), |n| n.parse())?;
    std::fs::create_dir_all(&dir)?;
    println!("bare 4.5 KiB write + fdatasync    {}", percentiles(bare_sync(&dir, commands)?));
    let options = Options {
        cluster: ClusterId([1; 16]),
        keys: LogKeys { current: LogKey { generation: 1, key: SecretKey::new([1; 32]) }, older: Vec::new() },
        drives: vec![Arc::new(Directory(dir.join("drive")))],
        view: ViewPlace::Path(dir.join("view.sqlite")),
        known_generation: 0,
        entropy: Arc::new(Counting(AtomicU64::new(1))),
        write: WriteOptions { parallel: true, step_bytes: 4 << 20 },
    };
    let meta = Arc::new(EmbeddedMeta::open(options)?);
    wait(meta.apply(create_bucket()))?;
    let alone = timed(commands, |n| {
        wait(meta.apply(put(n))).expect("the measured engine works");
    });
    println!("put of 4 KiB inline, one at a time {}", percentiles(alone));

    let (start, each) = (Instant::now(), commands * 4 / IN_FLIGHT + 1);
    std::thread::scope(|scope| {
        for worker in 0..IN_FLIGHT {
            let meta = meta.clone();
            scope.spawn(move || {
                for n in 0..each {
                    wait(meta.apply(put(commands + worker * each + n))).expect("the measured engine works");
                }
            });
        }
    });
    let total = each * IN_FLIGHT;
    println!(
        "64 in flight                       {:.0} commands/s",
        total as f64 / start.elapsed().as_secs_f64()
    );

    let written = commands + total;
    let heads = timed(20_000, |n| {
        let key = key(n * 7919 % written);
        wait(meta.head(BUCKET, &key)).expect("readable").expect("it was put");
    });
    println!("head                               {}", percentiles(heads));
    let whole = timed(20_000, |n| {
        let key = key(n * 7919 % written);
        wait(meta.head_with_blob(BUCKET, &key, VersionSelector::Current))
            .expect("readable")
            .expect("it was put");
    });
    println!("head with its inline blob          {}", percentiles(whole));
    let start = Instant::now();
    let snapshot = wait(meta.snapshot())?;
    println!("snapshot of {snapshot} requests       {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    drop(meta);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
