//! The rig: a client over D drives in memory, on a runtime of plain threads. Drives can be taken away, emptied and rotted.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, TryStreamExt};
use pangea_client::{
    Body, BodyError, CURRENT_EPOCH_SETTING, Client, ClientError, CpuJob, KeyRing, Options, Parts, PutDone,
    PutObject, Runtime, Task, layout_setting,
};
use pangea_core::chunk::Code;
use pangea_core::id::{DriveId, NodeId};
use pangea_core::keys::MasterKey;
use pangea_core::layout::{Domain, Layout, LayoutDrive, NewDrive, Role, Slot};
use pangea_core::meta::{Command, Condition, VersionSelector};
use pangea_core::seam::{Clock, Entropy, MonoUs, WallMs};
use pangea_core::wire::{Fault, StoreRequest, StoreResponse};
use pangea_meta::MemoryMeta;
use pangea_store::memory::MemoryStore;
use pangea_store::port::ShardStore;
use pangea_transport::conformance::block_on;
use pangea_transport::{BoxFuture, Endpoint, Handler, Loopback};

/// A cluster of one node.
pub struct Rig {
    pub client: Client,
    pub drives: Arc<Drives>,
}

/// The drives, and which of them are away.
pub struct Drives {
    stores: Mutex<Vec<Arc<MemoryStore>>>,
    ids: Vec<DriveId>,
    away: Mutex<BTreeSet<usize>>,
}

impl Rig {
    /// `drives` drives and the default code for so many.
    pub fn new(drives: usize) -> Self {
        Self::with_code(drives, Code::default_for(drives))
    }

    /// `drives` drives and this code.
    pub fn with_code(drives: usize, code: Code) -> Self {
        Self::with_spares(drives, 0, code)
    }

    /// As many drives, and some more that the layout does not know yet.
    pub fn with_spares(drives: usize, spares: usize, code: Code) -> Self {
        Self::with_options(drives, spares, code, Options::default())
    }

    /// The same, with these numbers but for the drives' timeouts.
    pub fn with_options(drives: usize, spares: usize, code: Code, options: Options) -> Self {
        let (node, drives_known) = (NodeId([1; 32]), drives);
        let ids: Vec<DriveId> = (0..drives + spares).map(|n| DriveId([n as u8 + 1; 16])).collect();
        let stores = ids.iter().map(|id| Arc::new(MemoryStore::new(*id, 1 << 34))).collect();
        let drives = Arc::new(Drives { stores: Mutex::new(stores), ids, away: Mutex::default() });
        let endpoint = Endpoint::new(Arc::new(Loopback::new(node)));
        let run = endpoint.clone().run(drives.clone());
        std::thread::spawn(move || block_on(run));
        let seen = drives.clone();
        let parts = Parts {
            meta: Arc::new(MemoryMeta::new()),
            endpoint,
            runtime: Arc::new(Threads { start: Instant::now() }),
            clock: Arc::new(Threads { start: Instant::now() }),
            entropy: Arc::new(Counting(AtomicU64::new(1))),
            keys: Arc::new(KeyRing::new([(1, MasterKey::new([9; 32]))])),
            gateways: Arc::new(pangea_client::NoOthers),
            present: Arc::new(move |_, id| seen.is_present(id)),
        };
        let options = Options { straggler_ms: 50, drive_timeout_ms: 2000, ..options };
        let client = Client::new(parts, options);
        let rig = Self { client, drives };
        rig.lay_out(drives_known, code);
        rig.run(rig.client.create_bucket("b", "me")).expect("a fresh name");
        rig
    }

    /// Waits for a future.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        block_on(future)
    }

    /// Puts `bytes` under `key`.
    pub fn put(&self, key: &str, bytes: &[u8]) -> Result<PutDone, ClientError> {
        self.put_if(key, bytes, Condition::default())
    }

    /// Puts if a condition holds.
    pub fn put_if(&self, key: &str, bytes: &[u8], condition: Condition) -> Result<PutDone, ClientError> {
        let put = PutObject {
            bucket: "b".into(),
            key: key.into(),
            condition,
            attributes: vec![("content-type".into(), "x/y".into())],
            len: Some(bytes.len() as u64),
        };
        self.run(self.client.put_object(put, body(bytes, 10_000), Box::new(|_| Ok(vec![]))))
    }

    /// Reads all of `key`.
    pub fn get(&self, key: &str) -> Result<Vec<u8>, ClientError> {
        let object = self.run(self.client.object("b", key.as_bytes(), VersionSelector::Current))?;
        let size = object.version.size;
        self.collect(self.client.read(&object, 0..size))
    }

    /// Reads a range of `key`.
    pub fn get_range(&self, key: &str, range: std::ops::Range<u64>) -> Result<Vec<u8>, ClientError> {
        let object = self.run(self.client.object("b", key.as_bytes(), VersionSelector::Current))?;
        self.collect(self.client.read(&object, range))
    }

    fn collect(&self, body: Body) -> Result<Vec<u8>, ClientError> {
        let gather = |mut all: Vec<u8>, more: Bytes| async move {
            all.extend_from_slice(&more);
            Ok(all)
        };
        let read: Result<Vec<u8>, BodyError> = self.run(body.try_fold(vec![], gather));
        read.map_err(|error| match error.downcast::<ClientError>() {
            Ok(error) => *error,
            Err(error) => ClientError::Body(error),
        })
    }

    fn lay_out(&self, drives: usize, code: Code) {
        let domain = Domain::default();
        let drive = |(slot, id): (usize, &DriveId)| LayoutDrive {
            slot: Slot(slot as u16),
            drive: *id,
            node: NodeId([1; 32]),
            weight: 1,
            role: Role::Active,
            domain: domain.clone(),
            path: String::new(),
        };
        let drives = self.drives.ids[..drives].iter().enumerate().map(drive).collect();
        let layout = Layout { epoch: 1, partitions_log2: 8, code, drives, tables: vec![] };
        let set = |name: String, value: Vec<u8>| Command::SetSetting { name, expected: 0, value };
        self.run(async {
            self.client.command(set(layout_setting(1), layout.encode())).await.expect("a fresh setting");
            let current = set(CURRENT_EPOCH_SETTING.into(), 1_u32.to_le_bytes().to_vec());
            self.client.command(current).await.expect("a fresh setting");
            self.client.refresh_layouts().await.expect("what was just written");
        });
    }
}

impl Drives {
    /// Takes a drive away: it answers nothing until it is brought back.
    pub fn take_away(&self, drive: usize) {
        self.away.lock().expect("plain data").insert(drive);
    }

    /// Brings it back as it was.
    pub fn bring_back(&self, drive: usize) {
        self.away.lock().expect("plain data").remove(&drive);
    }

    /// Replaces its content by nothing.
    pub fn empty(&self, drive: usize) {
        let fresh = Arc::new(MemoryStore::new(self.ids[drive], 1 << 34));
        self.stores.lock().expect("plain data")[drive] = fresh;
    }

    /// What a layout calls a drive.
    pub fn as_new(&self, drive: usize) -> NewDrive {
        let (id, node) = (self.ids[drive], NodeId([1; 32]));
        NewDrive { drive: id, node, weight: 1, domain: Domain::default(), path: String::new() }
    }

    /// The store of a drive.
    pub fn store(&self, drive: usize) -> Arc<MemoryStore> {
        self.stores.lock().expect("plain data")[drive].clone()
    }

    /// How many shards lie on each drive.
    pub fn shards(&self) -> Vec<u64> {
        (0..self.ids.len()).map(|d| block_on(self.store(d).status()).expect("memory").shards).collect()
    }

    fn is_present(&self, id: DriveId) -> bool {
        let drive = self.ids.iter().position(|known| *known == id);
        drive.is_some_and(|drive| !self.away.lock().expect("plain data").contains(&drive))
    }
}

impl Handler for Drives {
    fn handle(&self, _: NodeId, request: StoreRequest, body: Bytes) -> BoxFuture<'_, (StoreResponse, Bytes)> {
        Box::pin(async move {
            let drive = self.ids.iter().position(|id| *id == request.drive());
            match drive.filter(|_| self.is_present(request.drive())) {
                Some(drive) => pangea_store::service::answer(&*self.store(drive), request, body).await,
                None => (StoreResponse::Failed(Fault::NoSuchDrive), Bytes::new()),
            }
        })
    }
}

/// A body in slices.
pub fn body(bytes: &[u8], slice: usize) -> Body {
    let slices: Vec<Result<Bytes, BodyError>> =
        bytes.chunks(slice).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
    Box::pin(stream::iter(slices))
}

/// Bytes that do not compress.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..len.div_ceil(8)).flat_map(|_| next().to_le_bytes()).take(len).collect()
}

/// Entropy that never repeats, for tests.
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let seed = self.0.fetch_add(1, Ordering::Relaxed);
        bytes.copy_from_slice(&noise(bytes.len(), seed.wrapping_mul(0x2545_f491_4f6c_dd1d)));
    }
}

struct Threads {
    start: Instant,
}

impl Clock for Threads {
    fn mono_us(&self) -> MonoUs {
        self.start.elapsed().as_micros() as u64
    }
    fn wall_ms(&self) -> WallMs {
        1_700_000_000_000 + self.mono_us() / 1000
    }
}

impl Runtime for Threads {
    fn spawn(&self, _: &'static str, task: Task) {
        std::thread::spawn(move || block_on(task));
    }

    fn sleep_until(&self, at: MonoUs) -> Task {
        Box::pin(Sleep { at: self.start + Duration::from_micros(at), waiting: false })
    }

    fn cpu(&self, job: CpuJob) {
        job();
    }
}

struct Sleep {
    at: Instant,
    waiting: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let left = self.at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Poll::Ready(());
        }
        if !self.waiting {
            self.waiting = true;
            let waker = cx.waker().clone();
            std::thread::spawn(move || {
                std::thread::sleep(left);
                waker.wake();
            });
        }
        Poll::Pending
    }
}
