//! Engines under test: the exam, files that are lost or broken, and power cuts at every step.

mod backup;
mod crash;
mod crash_disk;
mod drives;
mod exam;
mod rollback;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pangea_core::id::ClusterId;
use pangea_core::keys::SecretKey;
use pangea_core::meta::history::History;
use pangea_core::meta::{MemoryTables, Request, TableId, apply};
use pangea_core::seam::{Disk, Entropy};

use crate::sealed::{LogKey, LogKeys};
use crate::sqlite::{DumpedRow, ViewPlace};
use crate::{Engine, MetaError, Options, WriteOptions};

/// Bytes that never repeat.
#[derive(Default)]
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        static EVER: AtomicU64 = AtomicU64::new(1);
        let n = EVER.fetch_add(1, Ordering::Relaxed) + self.0.load(Ordering::Relaxed);
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = n.to_le_bytes()[place % 8];
        }
    }
}

fn keys() -> LogKeys {
    LogKeys { current: LogKey { generation: 1, key: SecretKey::new([7; 32]) }, older: Vec::new() }
}

fn options(drives: &[Arc<dyn Disk>], view: ViewPlace) -> Options {
    Options {
        cluster: ClusterId([1; 16]),
        keys: keys(),
        drives: drives.to_vec(),
        view,
        known_generation: 0,
        entropy: Arc::new(Counting::default()),
        write: WriteOptions { parallel: false, step_bytes: 4096 },
    }
}

fn open(drives: &[Arc<dyn Disk>]) -> Result<Engine, MetaError> {
    Engine::open(options(drives, ViewPlace::Memory))
}

/// What must survive: everything but the counters that an open itself moves and the outcomes of its own requests.
fn kept(rows: Vec<DumpedRow>) -> Vec<DumpedRow> {
    let moved = [TableId::State, TableId::Outcome, TableId::OutcomeAge];
    rows.into_iter().filter(|(table, ..)| !moved.contains(table)).collect()
}

fn kept_by(engine: &Engine) -> Vec<DumpedRow> {
    kept(engine.view().dump().expect("the view is readable"))
}

/// `steps` requests of a history.
fn requests(seed: u64, steps: usize) -> Vec<Request> {
    let (mut history, mut model) = (History::new(seed), MemoryTables::new());
    (0..steps)
        .map(|_| {
            let request = history.next(&model);
            let Ok(_) = apply(&mut model, &request);
            request
        })
        .collect()
}

/// Applies requests one group of `size` at a time.
fn run(engine: &mut Engine, requests: &[Request], size: usize) {
    for group in requests.chunks(size) {
        for answer in engine.apply_group(group.to_vec()) {
            answer.expect("committed");
        }
    }
}

/// A directory of this test's own, removed with it.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("pangea-meta-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a temporary directory can be made");
        Self(path)
    }

    fn view(&self) -> PathBuf {
        self.0.join("view.sqlite")
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
