//! The rig: a gateway over four drives in memory, listening on loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use pangea_client::{CURRENT_EPOCH_SETTING, Client, CpuJob, KeyRing, Runtime, Task, layout_setting};
use pangea_core::chunk::Code;
use pangea_core::id::{DriveId, NodeId};
use pangea_core::keys::MasterKey;
use pangea_core::layout::{Domain, Layout, LayoutDrive, Role, Slot};
use pangea_core::meta::Command;
use pangea_core::seam::{Clock, Entropy, MonoUs, WallMs};
use pangea_core::wire::{Fault, StoreRequest, StoreResponse};
use pangea_gateway::{Credentials, Gateway, Grants, Lookup, Metrics, Options, Parts, Secret};
use pangea_meta::MemoryMeta;
use pangea_store::memory::MemoryStore;
use pangea_transport::{BoxFuture, Endpoint, Handler, Loopback};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::http::{Answer, Ask, exchange};
use crate::sign::{ACCESS_KEY, LOW_KEY, LOW_SECRET, SECRET_KEY, Signer};

const DRIVES: u8 = 4;

/// A running gateway.
pub struct Rig {
    pub address: std::net::SocketAddr,
    pub metrics: Arc<Metrics>,
    pub gateway: Arc<Gateway>,
    pub client: Client,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Rig {
    /// With usual limits.
    pub async fn new() -> Self {
        Self::with(Options { domains: vec!["s3.test".into()], ..Options::default() }).await
    }

    /// With these limits; a bucket named `bucket` is there.
    pub async fn with(options: Options) -> Self {
        Self::made(options, |parts| parts).await
    }

    /// With these limits, and parts that the test changed.
    pub async fn made(options: Options, change: impl FnOnce(Parts) -> Parts) -> Self {
        let client = client().await;
        client.create_bucket("bucket", ACCESS_KEY).await.expect("a fresh name");
        let parts = Parts {
            client: client.clone(),
            credentials: Arc::new(TwoKeys),
            token_key: [5; 32],
            region: "us-east-1".into(),
            options,
            journal: None,
            tls: None,
        };
        let gateway = Arc::new(Gateway::new(change(parts)));
        let metrics = gateway.metrics();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel();
        let serves = gateway.clone();
        let serving = tokio::spawn(async move {
            serves
                .serve(listener, async {
                    let _dropped_is_stopped_too = stopped.await.is_ok();
                })
                .await
        });
        Self { address, metrics, gateway, client, stop: Some(stop), serving }
    }

    /// Asks, signed by the root key.
    pub async fn ask(&self, ask: Ask) -> Answer {
        let signed = Signer::root().sign(ask, self.address);
        exchange(self.address, &signed).await
    }

    /// Asks, signed by a key with these grants.
    pub async fn ask_as(&self, grants: &str, ask: Ask) -> Answer {
        let signed = Signer::granted(grants).sign(ask, self.address);
        exchange(self.address, &signed).await
    }

    /// Asks as it is.
    pub async fn ask_raw(&self, ask: Ask) -> Answer {
        exchange(self.address, &ask.host(self.address)).await
    }

    /// Puts bytes.
    pub async fn put(&self, key: &str, bytes: &[u8]) -> Answer {
        self.ask(Ask::new("PUT", &format!("/bucket/{key}")).body(bytes)).await
    }

    /// Gets them.
    pub async fn get(&self, key: &str) -> Answer {
        self.ask(Ask::new("GET", &format!("/bucket/{key}"))).await
    }

    /// Stops, and waits until everything has ended.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        self.serving.await.expect("no panic").expect("the listener works");
    }
}

struct TwoKeys;

impl Credentials for TwoKeys {
    fn secret<'a>(&'a self, access_key: &'a str) -> Lookup<'a> {
        let secret = match access_key {
            ACCESS_KEY => Some(Secret::root(SECRET_KEY.into())),
            LOW_KEY => Some(Secret::granted(LOW_SECRET.into(), Arc::default())),
            // A key is named after its grants.
            _ => access_key.strip_prefix("may-").map(|hex| {
                let digits = hex.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).expect("hex"));
                let bytes = digits.map(|two| u8::from_str_radix(two, 16).expect("hex")).collect();
                let grants = String::from_utf8(bytes).expect("text");
                let grants: Vec<&str> = grants.split(' ').collect();
                let grants = Grants::parse(&grants).expect("the test's own grants");
                Secret::granted(LOW_SECRET.into(), Arc::new(grants))
            }),
        };
        Box::pin(std::future::ready(Ok(secret)))
    }
}

async fn client() -> Client {
    let node = NodeId([1; 32]);
    let ids: Vec<DriveId> = (1..=DRIVES).map(|n| DriveId([n; 16])).collect();
    let drives = Arc::new(Drives(ids.iter().map(|id| (*id, MemoryStore::new(*id, 1 << 34))).collect()));
    let endpoint = Endpoint::new(Arc::new(Loopback::new(node)));
    tokio::spawn(endpoint.clone().run(drives));
    let shell = Arc::new(Shell { start: Instant::now(), drawn: AtomicU64::new(1) });
    let parts = pangea_client::Parts {
        meta: Arc::new(MemoryMeta::new()),
        endpoint,
        runtime: shell.clone(),
        clock: shell.clone(),
        entropy: shell,
        keys: Arc::new(KeyRing::new([(1, MasterKey::new([9; 32]))])),
        gateways: Arc::new(pangea_client::NoOthers),
        present: Arc::new(|_, _| true),
    };
    let client = Client::new(parts, pangea_client::Options::default());
    let drive = |(slot, id): (usize, &DriveId)| LayoutDrive {
        slot: Slot(slot as u16),
        drive: *id,
        node,
        weight: 1,
        role: Role::Active,
        domain: Domain::default(),
        path: String::new(),
    };
    let drives: Vec<_> = ids.iter().enumerate().map(drive).collect();
    let layout = Layout {
        epoch: 1,
        partitions_log2: 8,
        code: Code::default_for(drives.len()),
        drives,
        tables: vec![],
    };
    let set = |name: String, value: Vec<u8>| Command::SetSetting { name, expected: 0, value };
    client.command(set(layout_setting(1), layout.encode())).await.expect("a fresh setting");
    let current = set(CURRENT_EPOCH_SETTING.into(), 1_u32.to_le_bytes().to_vec());
    client.command(current).await.expect("a fresh setting");
    client.refresh_layouts().await.expect("what was just written");
    client
}

struct Drives(Vec<(DriveId, MemoryStore)>);

impl Handler for Drives {
    fn handle(&self, _: NodeId, request: StoreRequest, body: Bytes) -> BoxFuture<'_, (StoreResponse, Bytes)> {
        Box::pin(async move {
            match self.0.iter().find(|(id, _)| *id == request.drive()) {
                Some((_, store)) => pangea_store::service::answer(store, request, body).await,
                None => (StoreResponse::Failed(Fault::NoSuchDrive), Bytes::new()),
            }
        })
    }
}

/// Time, tasks and randomness of the test.
struct Shell {
    start: Instant,
    drawn: AtomicU64,
}

impl Clock for Shell {
    fn mono_us(&self) -> MonoUs {
        self.start.elapsed().as_micros() as u64
    }

    fn wall_ms(&self) -> WallMs {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        now.as_millis() as u64
    }
}

impl Entropy for Shell {
    fn fill(&self, bytes: &mut [u8]) {
        for slice in bytes.chunks_mut(8) {
            let drawn = self.drawn.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            slice.copy_from_slice(&(drawn ^ drawn >> 31).to_le_bytes()[..slice.len()]);
        }
    }
}

impl Runtime for Shell {
    fn spawn(&self, _: &'static str, task: Task) {
        tokio::spawn(task);
    }

    fn sleep_until(&self, at: MonoUs) -> Task {
        let until = self.start + Duration::from_micros(at);
        Box::pin(tokio::time::sleep_until(until.into()))
    }

    fn cpu(&self, job: CpuJob) {
        tokio::task::spawn_blocking(job);
    }
}
