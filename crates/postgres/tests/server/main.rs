//! The engine against real PostgreSQL servers of its own. See `scratch` for where they come from.

mod crash;
mod encrypted;
mod exam;
mod opening;
mod races;
mod subset;

use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pangea_core::id::{BucketId, ClusterId, RequestId, VersionId};
use pangea_core::keys::WrappedKey;
use pangea_core::meta::{
    BucketKeyRow, BucketRow, Command, Condition, Content, ETag, NewVersion, Outcome, Request, Versioning,
};
use pangea_core::seam::Entropy;
use pangea_meta::Meta;
use pangea_meta::conformance::wait;
use pangea_postgres::scratch::{Disk, Server};
use pangea_postgres::{OpenError, Options, PostgresMeta};

const CLUSTER: ClusterId = ClusterId([1; 16]);
const BUCKET: BucketId = BucketId([1; 16]);

/// The system's own randomness.
struct System;

impl Entropy for System {
    fn fill(&self, bytes: &mut [u8]) {
        let file = File::open("/dev/urandom").and_then(|mut file| file.read_exact(bytes));
        file.expect("the system has randomness");
    }
}

fn options(url: &str) -> Options {
    Options {
        place: url.parse().expect("the URL is good"),
        roots: None,
        cluster: CLUSTER,
        known_generation: 0,
        now_ms: 1_000,
        entropy: Arc::new(System),
        writers: Options::WRITERS,
        readers: Options::READERS,
        patience: Duration::from_secs(60),
    }
}

fn open(url: &str) -> PostgresMeta {
    PostgresMeta::open(options(url)).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(options: Options) -> OpenError {
    match PostgresMeta::open(options) {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

/// A server that many tests share, each with a database of its own.
fn shared() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        // It is never dropped, so it is ended with this process.
        Server::start_with(Disk::Quick, &[])
    })
}

/// A new database of the shared server.
fn database() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    shared().database(&format!("d{}", COUNT.fetch_add(1, Ordering::Relaxed)))
}

fn id(number: u64) -> [u8; 16] {
    let mut id = [7; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    id
}

fn request(number: u64, command: Command) -> Request {
    Request { id: RequestId(id(number)), now_ms: 1_000, command }
}

fn create_bucket() -> Request {
    let bucket = BucketRow {
        id: BUCKET,
        name: "exam".to_owned(),
        created_ms: 1_000,
        owner: "root".to_owned(),
        code: None,
        region_pin: String::new(),
        versioning: Versioning::Off,
        key_generation: 1,
        documents: Vec::new(),
    };
    let key = BucketKeyRow { master_generation: 1, wrapped: WrappedKey { nonce: [0; 12], sealed: [0; 48] } };
    request(u64::MAX, Command::CreateBucket { bucket, key })
}

/// An empty object, so that only the head changes.
fn put(number: u64, key: &[u8], condition: Condition) -> Request {
    let version = NewVersion {
        id: VersionId(id(number)),
        size: 0,
        etag: ETag { md5: [0; 16], parts: 0 },
        content: Content::Empty,
        attributes: Vec::new(),
        part_sizes: Vec::new(),
    };
    request(number, Command::PutVersion { bucket: BUCKET, key: key.to_vec(), condition, version, blob: None })
}

const ABSENT: Condition = Condition { if_match: None, if_none_match: Some(None) };

fn apply(meta: &dyn Meta, request: Request) -> Outcome {
    wait(meta.apply(request)).unwrap_or_else(|error| panic!("{error}"))
}
