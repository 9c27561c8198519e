//! A long random history through PostgreSQL and through the embedded engine with its SQLite view, beside the reference:
//! every outcome is compared, and at the end everything that the port shows.
//!
//! `cargo run --release -p pangea-postgres --example soak -- [OPS] [SEED]`: that many requests (1,000,000) in all, in four
//! histories side by side, each in a database of its own of one server of its own. Panics with the seed on any difference.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pangea_core::id::ClusterId;
use pangea_core::keys::SecretKey;
use pangea_core::seam::{Disk, Entropy};
use pangea_meta::conformance::differential;
use pangea_meta::{InlineMeta, LogKey, LogKeys, ViewPlace, WriteOptions};
use pangea_postgres::scratch::{self, Server};
use pangea_postgres::{Options, PostgresMeta};
use pangea_store::file_disk::FileDisk;

const HISTORIES: u64 = 4;

/// Bytes that depend on a count: runs repeat.
#[derive(Default)]
struct Counting(std::sync::atomic::AtomicU64);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let n = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[place % 8] ^ place as u8;
        }
    }
}

fn postgres(url: &str) -> PostgresMeta {
    let options = Options {
        place: url.parse().expect("the URL is ours"),
        roots: None,
        cluster: ClusterId([1; 16]),
        known_generation: 0,
        now_ms: 0,
        entropy: Arc::new(Counting::default()),
        writers: 1,
        readers: 2,
        patience: Duration::from_secs(60),
    };
    PostgresMeta::open(options).unwrap_or_else(|error| panic!("{error}"))
}

fn embedded(dir: &std::path::Path) -> InlineMeta {
    std::fs::create_dir_all(dir).expect("a temporary directory can be made");
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(dir).expect("it can be opened"));
    let options = pangea_meta::Options {
        cluster: ClusterId([1; 16]),
        keys: LogKeys { current: LogKey { generation: 1, key: SecretKey::new([7; 32]) }, older: Vec::new() },
        drives: vec![disk],
        view: ViewPlace::Path(dir.join("view.sqlite")),
        known_generation: 0,
        entropy: Arc::new(Counting::default()),
        write: WriteOptions { parallel: false, step_bytes: 64 << 20 },
    };
    InlineMeta::open(options).unwrap_or_else(|error| panic!("{error}"))
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|number| number.parse::<u64>().expect("a number"));
    let ops = arguments.next().unwrap_or(1_000_000);
    let first_seed = arguments.next().unwrap_or(10_000);
    let server = Server::start(scratch::Disk::Quick);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for seed in first_seed..first_seed + HISTORIES {
            let url = server.database(&format!("seed{seed}"));
            scope.spawn(move || {
                let dir = std::env::temp_dir().join(format!("pangea-soak-{}-{seed}", std::process::id()));
                let each = usize::try_from(ops.div_ceil(HISTORIES)).expect("a number of requests");
                differential(&embedded(&dir), &postgres(&url), seed, each);
                println!("seed {seed}: {each} requests, equal; {:.0} s", begun.elapsed().as_secs_f64());
                std::fs::remove_dir_all(&dir).expect("our own directory can be removed");
            });
        }
    });
    println!("{ops} requests in {:.0} s: no difference", begun.elapsed().as_secs_f64());
}
