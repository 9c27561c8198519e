//! A simulated node: one machine with its power, its drives, and the process that runs on them.
//!
//! [`Cluster`] owns what outlives processes: the disks, who sits in which slot, the keys. [`Cluster::boot`] is what a
//! node's start does: look at every drive, make it, adopt it or open it, recover the metadata, start the client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pangea_client::{
    CURRENT_EPOCH_SETTING, Client, KeyRing, Options as ClientOptions, Parts, Runtime, layout_setting,
};
use pangea_core::chunk::{Aead, Code, ShardHeader};
use pangea_core::id::{ClusterId, DriveId, NodeId, RequestId, ShardId};
use pangea_core::keys::{MasterKey, PURPOSE_META_LOG, derive};
use pangea_core::layout::{Change, Domain, Layout, LayoutDrive, NewDrive, Role, Slot};
use pangea_core::meta::{Command, Outcome, Request};
use pangea_core::seam::{Clock, Disk, Entropy, random};
use pangea_core::wire::{Fault as WireFault, StoreRequest, StoreResponse};
use pangea_meta::{InlineMeta, LogKey, LogKeys, Meta, MetaError, ViewPlace, WriteOptions};
use pangea_store::drive::{self, OpenError, Probe};
use pangea_store::extent::{ExtentStore, Options as StoreOptions};
use pangea_store::format::superblock::Identity;
use pangea_store::port::ShardStore;
use pangea_store::service::answer;
use pangea_transport::{BoxFuture, Endpoint, Handler, Transport};

use crate::dice::{Dice, SimEntropy};
use crate::disk::{SimDisk, swap};
use crate::executor::{ProcessId, Sim, SimRuntime};
use crate::meta::SimMeta;
use crate::power::Power;
use crate::report::Violation;
use crate::store::SimStore;
use crate::transport::SimNet;

const CREATED_MS: u64 = 1_767_225_600_000;
const META_CAPACITY: u64 = 256 << 20;
const META_STEP_BYTES: u64 = 64 << 10;
const PARTITIONS_LOG2: u8 = 6;

/// A drive: where its shards lie, and where the metadata's log lies.
#[derive(Clone)]
pub struct Drive {
    /// Extents, superblock, checkpoint.
    pub shards: SimDisk,
    /// The meta log.
    pub meta: SimDisk,
}

/// A machine.
pub struct Machine {
    /// Its name on the network.
    pub node: NodeId,
    /// Its power.
    pub power: Arc<Power>,
    /// The places where its drives hang.
    pub places: Vec<usize>,
}

/// Everything that outlives processes. Cheap to clone.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    sim: Sim,
    net: SimNet,
    id: ClusterId,
    master: [u8; 32],
    code: Code,
    /// Drives of the first layout; the others are spare.
    first: usize,
    /// Whether the first layout deals, as those from before there were tables.
    dealt: bool,
    machines: Vec<Machine>,
    drives: Vec<Drive>,
    store_options: StoreOptions,
    client_options: ClientOptions,
    entropy: Arc<dyn Entropy>,
    seats: Mutex<Seats>,
    observer: Arc<Observer>,
}

/// Who sits where.
struct Seats {
    /// The drive of each slot.
    drives: Vec<DriveId>,
    /// The slot of the drive that hangs at each place.
    slot_at: Vec<usize>,
    /// The node that each drive was last seen at.
    nodes: BTreeMap<DriveId, NodeId>,
    dice: Dice,
}

/// A process that runs.
pub struct Node {
    /// Which one.
    pub process: ProcessId,
    /// Its open drives.
    pub stores: BTreeMap<DriveId, Arc<SimStore>>,
    /// The data path and the metadata, on the machine that has them.
    pub front: Option<Front>,
}

/// What only the first machine has.
#[derive(Clone)]
pub struct Front {
    /// The data path.
    pub client: Client,
    /// The metadata.
    pub meta: Arc<SimMeta>,
}

/// Why a node did not start.
#[derive(Debug)]
pub enum BootError {
    /// The metadata engine did not open.
    Meta(MetaError),
    /// The client did not start.
    Client(pangea_client::ClientError),
}

/// Sees every shard that is stored, and remembers what it saw.
#[derive(Default)]
pub struct Observer {
    seen: Mutex<BTreeMap<ShardId, [u8; 32]>>,
    reused: Mutex<Option<ShardId>>,
}

impl Observer {
    fn see(&self, header: &ShardHeader, data: &Bytes) {
        let hash = *blake3::hash(data).as_bytes();
        let before = lock(&self.seen).insert(header.id, hash);
        if before.is_some_and(|before| before != hash) {
            lock(&self.reused).get_or_insert(header.id);
        }
    }

    /// The first shard id that was given to two contents: then one nonce was used twice under one key.
    pub fn check(&self) -> Result<(), Violation> {
        match *lock(&self.reused) {
            Some(id) => Err(Violation::NonceReused { what: format!("shard {id} had two contents") }),
            None => Ok(()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The machines with their drives, then the spare ones of the first.
fn build(sim: &Sim, drives_of: &[usize], spares: usize, capacity: u64) -> (Vec<Machine>, Vec<Drive>) {
    let mut machines: Vec<Machine> = Vec::new();
    let mut drives = Vec::new();
    for (number, count) in drives_of.iter().enumerate() {
        let power = Arc::new(Power::default());
        let first = drives.len();
        for _ in 0..*count {
            let number = drives.len() as u32;
            drives.push(Drive {
                shards: SimDisk::new(sim, 2 * number, capacity, power.clone()),
                meta: SimDisk::new(sim, 2 * number + 1, META_CAPACITY, power.clone()),
            });
        }
        machines.push(Machine {
            node: NodeId([number as u8 + 1; 32]),
            power,
            places: (first..drives.len()).collect(),
        });
    }
    let all = drives.len();
    for number in all..all + spares {
        let (number, power) = (number as u32, machines[0].power.clone());
        drives.push(Drive {
            shards: SimDisk::new(sim, 2 * number, capacity, power.clone()),
            meta: SimDisk::new(sim, 2 * number + 1, META_CAPACITY, power),
        });
    }
    machines[0].places.extend(all..all + spares);
    (machines, drives)
}

impl Cluster {
    /// Machines with so many drives each, all empty, and spare ones at the first machine, which has the client and the
    /// metadata.
    pub fn new(
        sim: &Sim,
        net: SimNet,
        code: Code,
        drives_of: &[usize],
        spares: usize,
        capacity: u64,
        extent_bytes: u64,
    ) -> Self {
        let mut dice = sim.dice("cluster");
        let first = drives_of.iter().sum();
        let (machines, drives) = build(sim, drives_of, spares, capacity);
        let store_options = StoreOptions {
            extent_bytes_min: extent_bytes,
            extent_bytes_max: 4 * extent_bytes,
            reserve_bytes: extent_bytes,
            checkpoint_every_bytes: 4 * extent_bytes,
            open_files_max: 8,
            ..StoreOptions::default()
        };
        let client_options = ClientOptions {
            aead: if dice.chance(500) { Aead::Aes256Gcm } else { Aead::XChaCha20Poly1305 },
            compress_level: dice.below(3) as u8,
            window_bytes: 4 << 20,
            memory_bytes: 32 << 20,
            ..ClientOptions::default()
        };
        let nodes = BTreeMap::new();
        let seats = Seats {
            slot_at: (0..drives.len()).collect(),
            drives: drives.iter().map(|_| DriveId(dice.array())).collect(),
            nodes,
            dice: sim.dice("seats"),
        };
        Self(Arc::new(Inner {
            sim: sim.clone(),
            net,
            id: ClusterId(dice.array()),
            master: dice.array(),
            code,
            first,
            dealt: dice.chance(300),
            machines,
            drives,
            store_options,
            client_options,
            entropy: Arc::new(SimEntropy::new(sim.dice("entropy"))),
            seats: Mutex::new(seats),
            observer: Arc::default(),
        }))
    }

    /// The machines.
    pub fn machines(&self) -> &[Machine] {
        &self.0.machines
    }

    /// The drives by the place where they hang.
    pub fn drives(&self) -> &[Drive] {
        &self.0.drives
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// What sees every stored shard.
    pub fn observer(&self) -> &Observer {
        &self.0.observer
    }

    /// The store options: extents, reserve.
    pub fn store_options(&self) -> StoreOptions {
        self.0.store_options
    }

    /// A new, empty drive takes the place of a lost one.
    pub fn replace_drive(&self, place: usize) {
        let drive = &self.0.drives[place];
        drive.shards.renew();
        drive.meta.renew();
        let mut seats = lock(&self.0.seats);
        let slot = seats.slot_at[place];
        seats.drives[slot] = DriveId(seats.dice.array());
    }

    /// Two drives hang in each other's place from now on.
    pub fn swap_drives(&self, a: usize, b: usize) {
        let (one, other) = (&self.0.drives[a], &self.0.drives[b]);
        swap(&one.shards, &other.shards);
        swap(&one.meta, &other.meta);
        lock(&self.0.seats).slot_at.swap(a, b);
    }

    /// Starts the machine's process: everything that a node does before it serves.
    pub async fn boot(&self, machine: usize, process: ProcessId, dice: &mut Dice) -> Result<Node, BootError> {
        let inner = &self.0;
        let runtime = inner.sim.runtime(process);
        let mut stores = BTreeMap::new();
        for place in &inner.machines[machine].places {
            let disk = &inner.drives[*place].shards;
            match self.open_drive(*place) {
                Ok((identity, engine)) => {
                    crate::store::pay(&inner.sim, disk).await;
                    let queue_dice = Dice::new(dice.u64(), "queue");
                    let store = SimStore::new(runtime.clone(), disk.clone(), engine, queue_dice);
                    stores.insert(identity.drive, Arc::new(store));
                    lock(&inner.seats).nodes.insert(identity.drive, inner.machines[machine].node);
                }
                Err(error) => {
                    inner.sim.tell(|| format!("the drive at {place} does not open: {error}"));
                    crate::store::pay(&inner.sim, disk).await;
                }
            }
        }
        let transport: Arc<dyn Transport> = Arc::new(inner.net.join(inner.machines[machine].node));
        let endpoint = Endpoint::new(transport);
        let handler = Arc::new(Drives { stores: stores.clone(), observer: inner.observer.clone() });
        runtime.spawn("endpoint", Box::pin(endpoint.clone().run(handler)));
        let front = if machine == 0 {
            Some(self.start_front(&runtime, endpoint, &stores, dice).await?)
        } else {
            None
        };
        Ok(Node { process, stores, front })
    }

    /// Does what `node` does with a drive that it finds.
    fn open_drive(&self, place: usize) -> Result<(Identity, ExtentStore), OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(self.0.drives[place].shards.clone());
        let seated = {
            let seats = lock(&self.0.seats);
            let slot = seats.slot_at[place];
            Identity { cluster: self.0.id, drive: seats.drives[slot], slot: slot as u16 }
        };
        let identity = match drive::probe(disk.as_ref())? {
            Probe::Empty => drive::format(disk.as_ref(), seated, CREATED_MS)?.identity,
            Probe::Damaged { named } => {
                drive::adopt(disk.as_ref(), named.unwrap_or(seated), CREATED_MS)?.identity
            }
            // A drive is known by its id, wherever it hangs.
            Probe::Formatted(superblock) => superblock.identity,
            Probe::Foreign { names } => return Err(OpenError::Foreign { names }),
            Probe::Newer { version } => return Err(OpenError::Newer { version }),
        };
        Ok((identity, ExtentStore::open(disk, identity, self.0.store_options)?.0))
    }

    async fn start_front(
        &self,
        runtime: &SimRuntime,
        endpoint: Arc<Endpoint>,
        stores: &BTreeMap<DriveId, Arc<SimStore>>,
        dice: &mut Dice,
    ) -> Result<Front, BootError> {
        let inner = &self.0;
        let mut known_generation = 0;
        for store in stores.values() {
            // A drive that cannot say what it knows does not hold the others up.
            let status = store.status().await;
            known_generation = known_generation.max(status.map_or(0, |status| status.meta_generation));
        }
        let disks = self.log_disks();
        let key = derive(PURPOSE_META_LOG, &MasterKey::new(inner.master));
        let options = pangea_meta::Options {
            cluster: inner.id,
            keys: LogKeys { current: LogKey { generation: 1, key }, older: vec![] },
            drives: disks.iter().map(|disk| Arc::new(disk.clone()) as Arc<dyn Disk>).collect(),
            view: ViewPlace::Memory,
            known_generation,
            entropy: inner.entropy.clone(),
            write: WriteOptions { parallel: false, step_bytes: META_STEP_BYTES },
        };
        let opened = InlineMeta::open(options);
        for disk in &disks {
            crate::store::pay(&inner.sim, disk).await;
        }
        let engine = opened.map_err(BootError::Meta)?;
        let meta = Arc::new(SimMeta::new(runtime.clone(), engine, disks, Dice::new(dice.u64(), "meta")));
        self.write_layout(&meta).await.map_err(BootError::Meta)?;
        let generation = meta.status().await.map_err(BootError::Meta)?.generation;
        for store in stores.values() {
            // A drive that takes no writes stays behind; the others know.
            let _ = store.set_generation(generation, 0).await;
        }
        let here: Vec<DriveId> = stores.keys().copied().collect();
        let (own, net_seats) = (inner.machines[0].node, self.clone());
        let present = move |_, drive: DriveId| here.contains(&drive) || net_seats.is_elsewhere(drive, own);
        let parts = Parts {
            meta: meta.clone(),
            endpoint,
            runtime: Arc::new(runtime.clone()),
            clock: Arc::new(inner.sim.clone()),
            entropy: inner.entropy.clone(),
            keys: Arc::new(KeyRing::new([(1, MasterKey::new(inner.master))])),
            gateways: Arc::new(pangea_client::NoOthers),
            present: Arc::new(present),
        };
        let client = Client::new(parts, inner.client_options);
        client.refresh_layouts().await.map_err(BootError::Client)?;
        Ok(Front { client, meta })
    }

    fn is_elsewhere(&self, drive: DriveId, own: NodeId) -> bool {
        lock(&self.0.seats).nodes.get(&drive).is_some_and(|node| *node != own)
    }

    /// The log lies on the drives of the first m+1 slots of the first machine, wherever they hang in it.
    fn log_disks(&self) -> Vec<SimDisk> {
        let count = usize::from(self.0.code.m()) + 1;
        let seats = lock(&self.0.seats);
        let mut places = self.0.machines[0].places.clone();
        places.retain(|place| *place < self.0.first);
        places.sort_unstable_by_key(|place| seats.slot_at[*place]);
        places.iter().take(count).map(|place| self.0.drives[*place].meta.clone()).collect()
    }

    /// Writes a new layout if the drives are not where the newest one says.
    async fn write_layout(&self, meta: &SimMeta) -> Result<(), MetaError> {
        let current = meta.setting(CURRENT_EPOCH_SETTING).await?;
        let (revision, epoch) = match &current {
            Some((revision, bytes)) => {
                let bytes = bytes.as_slice().try_into().map_err(|_| MetaError::Closed)?;
                (*revision, u32::from_le_bytes(bytes))
            }
            None => (0, 0),
        };
        let known = meta.setting(&layout_setting(epoch)).await?;
        let known = known.and_then(|(_, bytes)| Layout::decode(&bytes).ok());
        let next = match known {
            None => self.first_layout(epoch + 1),
            Some(known) => {
                let seated = self.seated(&known);
                if seated == known.drives {
                    return Ok(());
                }
                // Another drive in the same slot moves nothing.
                Layout { epoch: epoch + 1, drives: seated, ..known }
            }
        };
        // A start that was cut short may have written it already; then it is written over by revision.
        let before = meta.setting(&layout_setting(next.epoch)).await?;
        self.set(meta, layout_setting(next.epoch), before.map_or(0, |(r, _)| r), next.encode()).await?;
        self.set(meta, CURRENT_EPOCH_SETTING.to_owned(), revision, next.epoch.to_le_bytes().to_vec()).await
    }

    async fn set(
        &self,
        meta: &SimMeta,
        name: String,
        expected: u64,
        value: Vec<u8>,
    ) -> Result<(), MetaError> {
        let id = RequestId(random(&*self.0.entropy));
        let command = Command::SetSetting { name, expected, value };
        match meta.apply(Request { id, now_ms: self.0.sim.wall_ms(), command }).await? {
            Outcome::Setting { .. } => Ok(()),
            other => Err(MetaError::Unavailable { why: format!("a setting was not written: {other:?}") }),
        }
    }

    /// The drive of a slot, as a layout names it.
    fn layout_drive(&self, slot: usize) -> LayoutDrive {
        let seats = lock(&self.0.seats);
        let drive = seats.drives[slot];
        let machine =
            self.0.machines.iter().find(|m| m.places.contains(&slot)).expect("every slot has a machine");
        let node = seats.nodes.get(&drive).copied().unwrap_or(machine.node);
        let domain = Domain { host: format!("h{}", node.0[0]), ..Domain::default() };
        let (slot, path) = (Slot(slot as u16), format!("d{slot}"));
        LayoutDrive { slot, drive, node, weight: 1, role: Role::Active, domain, path }
    }

    /// A layout's drives as they sit now.
    fn seated(&self, layout: &Layout) -> Vec<LayoutDrive> {
        let seat = |known: &LayoutDrive| {
            let LayoutDrive { drive, node, domain, .. } = self.layout_drive(usize::from(known.slot.0));
            LayoutDrive { drive, node, domain, ..known.clone() }
        };
        layout
            .drives
            .iter()
            .map(|known| if known.role == Role::Gone { known.clone() } else { seat(known) })
            .collect()
    }

    fn first_layout(&self, epoch: u32) -> Layout {
        let drives = (0..self.0.first).map(|slot| self.layout_drive(slot)).collect();
        let (partitions_log2, code) = (PARTITIONS_LOG2, self.0.code);
        let mut layout = Layout { epoch, partitions_log2, code, drives, tables: vec![] };
        if !self.0.dealt {
            layout.tabulate(None, &BTreeMap::new(), &[]);
        }
        layout
    }

    /// A change that an operator may make now: the next spare drive, one drive fewer, or one that stays after all.
    pub fn draw_change(&self, layout: &Layout, dice: &mut Dice) -> Option<Change> {
        let with = |role: Role| {
            layout.drives.iter().filter(move |d| d.role == role).map(|d| d.slot).collect::<Vec<_>>()
        };
        let (active, draining) = (with(Role::Active), with(Role::Draining));
        match dice.below(5) {
            0..2 if layout.drives.len() < self.0.drives.len() => {
                let LayoutDrive { drive, node, weight, domain, path, .. } =
                    self.layout_drive(layout.drives.len());
                Some(Change::Add(NewDrive { drive, node, weight, domain, path }))
            }
            2..4 if active.len() > usize::from(self.0.code.n()) => {
                Some(Change::Drain(active[dice.index(active.len())]))
            }
            4 if !draining.is_empty() => Some(Change::Restore(draining[dice.index(draining.len())])),
            _ => None,
        }
    }
}

/// A machine's drives behind the transport.
struct Drives {
    stores: BTreeMap<DriveId, Arc<SimStore>>,
    observer: Arc<Observer>,
}

impl Handler for Drives {
    fn handle(&self, _: NodeId, request: StoreRequest, body: Bytes) -> BoxFuture<'_, (StoreResponse, Bytes)> {
        Box::pin(async move {
            if let StoreRequest::Put { header, .. } = &request {
                self.observer.see(header, &body);
            }
            match self.stores.get(&request.drive()) {
                Some(store) => answer(store.as_ref(), request, body).await,
                None => (StoreResponse::Failed(WireFault::NoSuchDrive), Bytes::new()),
            }
        })
    }
}
