//! How long `recover` takes for many small objects, and how much memory: time and peak RSS, from the log alone and from a
//! snapshot.
//!
//! `recover_scale fill DIR OBJECTS inline|chunked [snapshot]` writes through the metadata engine into the drive DIR, which a
//! server made before and left (`pangea server DIR`, then SIGTERM); `chunked` also writes one small shard for each object.
//! `recover_scale recover DIR` then does what `pangea recover DIR` does and prints what it took.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use pangea_client::KeyRing;
use pangea_core::audit::{AuditKeys, AuditRecord, Owner};
use pangea_core::ces::{CompressPolicy, SealChunk, seal_chunk};
use pangea_core::chunk::{Aead, Code};
use pangea_core::id::{BlobId, BucketId, RequestId, VersionId};
use pangea_core::keys::{BucketKey, DataKey, KeyRef, PURPOSE_META_LOG, derive};
use pangea_core::manifest::{BlobHead, ChunkEntry, Manifest};
use pangea_core::meta::{
    BlobBody, BucketRow, Command, Condition, Content, ETag, Extent, NewBlob, NewVersion, Request, Versioning,
};
use pangea_core::seam::{Disk, Entropy, random};
use pangea_meta::{Engine, LogKey, LogKeys, Options, ViewPlace, WriteOptions};
use pangea_node::config::Unseal;
use pangea_node::keyfile::{Ring, Unlock, read_copies};
use pangea_node::recover::{Depth, recover};
use pangea_store::drive::{Probe, probe};
use pangea_store::extent::{ExtentStore, Options as ExtentOptions, Write};
use pangea_store::file_disk::FileDisk;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const BUCKET: BucketId = BucketId([7; 16]);
const KEY: KeyRef = KeyRef { bucket: BUCKET, generation: 1 };
const OBJECT_BYTES: usize = 1024;
/// Requests of one frame of the log.
const GROUP: u64 = 500;

/// Random bytes from the system.
struct System;

impl Entropy for System {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the system has random bytes");
    }
}

fn id(n: u64, purpose: u8) -> [u8; 16] {
    let mut id = [purpose; 16];
    id[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    id
}

fn request(n: u64, purpose: u8, command: Command) -> Request {
    Request { id: RequestId(id(n, purpose)), now_ms: 1_700_000_000_000 + n, command }
}

fn options(dir: &Path, disk: &Arc<FileDisk>, ring: &Ring, known_generation: u64) -> Options {
    let current = ring.current();
    let key = LogKey { generation: current.number, key: derive(PURPOSE_META_LOG, &current.key) };
    Options {
        cluster: ring.cluster,
        keys: LogKeys { current: key, older: vec![] },
        drives: vec![disk.clone() as Arc<dyn Disk>],
        view: ViewPlace::Path(dir.join("meta/view.sqlite")),
        known_generation,
        entropy: Arc::new(System),
        write: WriteOptions { parallel: false, step_bytes: 16 << 20 },
    }
}

/// One object: its blob's body, and the shard that holds it.
struct Maker<'a> {
    audit: AuditKeys,
    bucket_key: &'a BucketKey,
    store: Option<ExtentStore>,
    shards: Vec<Write>,
}

impl Maker<'_> {
    fn body(&mut self, n: u64, blob: BlobId, key: &[u8]) -> Result<BlobBody, Box<dyn std::error::Error>> {
        if self.store.is_none() {
            return Ok(BlobBody::Inline { key: KEY, sealed: vec![n as u8; OBJECT_BYTES + 28] });
        }
        let data_key = DataKey::new(random(&System));
        let wrapped = pangea_core::keys::WrappedKey::wrap(
            self.bucket_key.secret(),
            data_key.secret(),
            random(&System),
            &[b"pangea data key v1".as_slice(), &blob.0].concat(),
        );
        let record = AuditRecord {
            owner: Owner::Version(VersionId(id(n, 2))),
            blob_len: Some(OBJECT_BYTES as u64),
            chunk_bytes: 1 << 20,
            created_ms: n,
            key: KEY,
            data_key: self.audit.wrap(blob, &data_key, random(&System)),
            name_hash: AuditRecord::hash_name(key),
        };
        let audit = self.audit.seal(blob, &record, random(&System));
        let code = Code::new(1, 0).ok_or("1+0 is a code")?;
        let sealed = seal_chunk(&SealChunk {
            blob,
            chunk: 0,
            key: &data_key,
            code,
            aead: Aead::Aes256Gcm,
            compress: CompressPolicy::Never,
            layout_epoch: 1,
            audit: &audit,
            plain: &vec![n as u8; OBJECT_BYTES],
        });
        let head =
            BlobHead { chunk_bytes: 1 << 20, aead: Aead::Aes256Gcm, code, key: KEY, data_key: wrapped };
        let mut manifest = Manifest::new(head);
        manifest.push(ChunkEntry { shape: sealed.shape, salt: 0, layout_epoch: 1 })?;
        for (header, data) in sealed.headers.into_iter().zip(sealed.shards) {
            self.shards.push(Write::put(header, data)?);
        }
        Ok(BlobBody::Chunked { manifest: manifest.encode() })
    }

    fn object(&mut self, n: u64) -> Result<Request, Box<dyn std::error::Error>> {
        let (blob, key) = (BlobId(id(n, 1)), format!("photos/{:02x}/{n:08}.jpg", n % 251).into_bytes());
        let body = self.body(n, blob, &key)?;
        let len = OBJECT_BYTES as u64;
        let version = NewVersion {
            id: VersionId(id(n, 2)),
            size: len,
            etag: ETag { md5: [n as u8; 16], parts: 0 },
            content: Content::Blob(Extent { blob, offset: 0, len }),
            attributes: vec![("content-type".to_owned(), "image/jpeg".to_owned())],
            part_sizes: Vec::new(),
        };
        let blob = NewBlob { id: blob, len, body, spill: None, todos: Vec::new(), layout_epoch: 1 };
        let (condition, blob) = (Condition::default(), Some(blob));
        Ok(request(n, 3, Command::PutVersion { bucket: BUCKET, key, condition, version, blob }))
    }

    fn store_shards(&mut self) -> Outcome {
        if let Some(store) = &mut self.store {
            for answer in store.commit(std::mem::take(&mut self.shards)) {
                answer?;
            }
        }
        Ok(())
    }
}

fn create_bucket(keys: &KeyRing, bucket_key: &BucketKey) -> Request {
    let bucket = BucketRow {
        id: BUCKET,
        name: "scale".to_owned(),
        created_ms: 0,
        owner: "root".to_owned(),
        code: None,
        region_pin: String::new(),
        versioning: Versioning::Off,
        key_generation: 1,
        documents: Vec::new(),
    };
    let key = keys.wrap_bucket_key(KEY, bucket_key, random(&System));
    request(0, 4, Command::CreateBucket { bucket, key })
}

fn fill(dir: &Path, objects: u64, chunked: bool, snapshot: bool) -> Outcome {
    let unlock = Unlock::read(&Unseal::Nothing)?;
    let ring = read_copies(&[dir.to_owned()], &unlock)?.ring;
    let disk = Arc::new(FileDisk::open(dir)?);
    let Probe::Formatted(superblock) = probe(disk.as_ref())? else { return Err("it is no drive".into()) };
    let keys = KeyRing::new(ring.generations().iter().map(|made| (made.number, made.key.clone())));
    let bucket_key = BucketKey::new(random(&System));
    let store = if chunked {
        let drive = disk.clone() as Arc<dyn Disk>;
        Some(ExtentStore::open(drive, superblock.identity, ExtentOptions::default())?.0)
    } else {
        None
    };
    let mut maker = Maker { audit: keys.audit(), bucket_key: &bucket_key, store, shards: vec![] };
    let mut engine = Engine::open(options(dir, &disk, &ring, superblock.meta_generation))?;
    let apply = |engine: &mut Engine, group: Vec<Request>| -> Outcome {
        engine.apply_group(group).into_iter().try_for_each(|answer| answer.map(drop)).map_err(Into::into)
    };
    apply(&mut engine, vec![create_bucket(&keys, &bucket_key)])?;
    let start = Instant::now();
    let mut n = 0;
    while n < objects {
        let group: Vec<Request> =
            (n..(n + GROUP).min(objects)).map(|n| maker.object(n)).collect::<Result<_, _>>()?;
        n += group.len() as u64;
        maker.store_shards()?;
        apply(&mut engine, group)?;
    }
    println!("{objects} objects written in {:.1} s", start.elapsed().as_secs_f64());
    if snapshot {
        let start = Instant::now();
        let seq = engine.snapshot()?;
        println!("snapshot of request {seq} in {:.1} s", start.elapsed().as_secs_f64());
    }
    println!("log to replay: {} MiB", engine.status().log_bytes >> 20);
    engine.close()?;
    if let Some(mut store) = maker.store {
        store.shutdown()?;
    }
    Ok(())
}

/// The most memory that this process ever had, in MiB.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib >> 10)
}

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["fill", dir, objects, kind, ref rest @ ..] => {
            fill(Path::new(dir), objects.parse()?, kind == "chunked", rest == ["snapshot"])
        }
        ["recover", dir, ref rest @ ..] => {
            let depth = Depth { deep: rest == ["deep"], shown: 20, names: None };
            let (start, directories) = (Instant::now(), [PathBuf::from(dir)]);
            let mut first = None;
            let mut progress = |_| {
                first.get_or_insert_with(|| start.elapsed());
            };
            let report = recover(&directories, &Unseal::Nothing, &depth, false, &mut progress)?;
            let rebuilt = first.map_or(0.0, |time| time.as_secs_f64());
            println!(
                "{} requests, {} blobs, {} whole stripes, {} lost, {} unknown blobs",
                report.requests,
                report.blobs,
                report.whole_stripes,
                report.lost_stripes,
                report.unknown_blobs
            );
            println!(
                "compared for the first time after {rebuilt:.1} s, all done after {:.1} s, peak RSS {} MiB",
                start.elapsed().as_secs_f64(),
                peak_mib().unwrap_or(0)
            );
            Ok(())
        }
        _ => Err("recover_scale fill DIR OBJECTS inline|chunked [snapshot] | recover DIR [deep]".into()),
    }
}
