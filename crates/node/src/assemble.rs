//! Putting a node together: metadata, layout, stores, transport, data path, in the order in which each needs the last.
//!
//! ```text
//! ground (directories, keys) ─▶ metadata ─▶ layout ─▶ seats ─▶ [new layout, new drives] ─▶ stores ─▶ client
//! ```
//! A new layout is durable before the drives that it names are made: a start that is cut short in between finds them
//! missing and makes others.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pangea_client::{Client, Gateways, KeyRing, NoOthers, Options as ClientOptions, Parts};
use pangea_core::chunk::Code;
use pangea_core::id::DriveId;
use pangea_core::keys::{PURPOSE_META_LOG, derive};
use pangea_core::layout::Layout;
use pangea_core::seam::{Clock as _, Disk};
use pangea_meta::{
    EmbeddedMeta, LogKey, LogKeys, Meta, MetaError, Options as MetaOptions, RemoteMeta, SeatedMeta,
    ViewPlace, WriteOptions,
};
use pangea_store::drive::OpenError;
use pangea_store::extent::{CheckpointUse, ExtentStore, Options as ExtentOptions, RecoveryReport};
use pangea_store::file_disk::FileDisk;
use pangea_store::format::superblock::Identity;
use pangea_store::port::ShardStore;
use pangea_store::threads::{ThreadsOptions, ThreadsStore};
use pangea_transport::{Endpoint, Loopback, Transport};

use crate::clock::SystemClock;
use crate::cluster::{Cluster, KeeperWay, Services, Standing, Stood, stand};
use crate::config::Options;
use crate::database;
use crate::doctor;
use crate::drives::{Absent, DriveError, META_DIRECTORY, Plan, Seat, is_of, unreachable_without};
use crate::engine::{self, Chosen, IoEngine};
use crate::entropy::SystemEntropy;
use crate::error::StartError;
use crate::ground::{Ground, key_drives};
use crate::handler::Drives;
use crate::keyfile::Ring;
use crate::pool::{CpuPool, TokioRuntime};
use crate::reshape::LogSeat;
use crate::roster::{Mounted, Roster};

mod seating;

use seating::{Settled, settle};
pub(crate) use seating::{added_setting, read_layout};

/// How often the node that keeps the metadata is asked while it is not there, and how often that is said.
const KEEPER_ASKED_EVERY: Duration = Duration::from_millis(500);
const KEEPER_SAID_EVERY: Duration = Duration::from_secs(10);
/// The SQLite view, below the first log drive's metadata directory.
pub(crate) const VIEW_FILE: &str = "view.sqlite";

/// The metadata log is zeroed ahead in steps of so many bytes: a start and its first sync stay short.
const LOG_STEP_BYTES: u64 = 1 << 20;

/// Everything that a node is made of, before it serves.
pub(crate) struct Assembly {
    pub ground: Ground,
    pub key_drives: Vec<PathBuf>,
    pub roster: Arc<Roster>,
    /// The metadata engine, if this node keeps the metadata.
    pub seated: Option<Arc<SeatedMeta>>,
    /// Where the metadata log lies.
    pub log_seats: Vec<LogSeat>,
    pub client: Client,
    pub transport: Arc<dyn Transport>,
    /// The other nodes, if there may be any.
    pub cluster: Option<Arc<Cluster>>,
    pub services: Arc<Services>,
    /// Whether a scrub must go through before everything counts as whole.
    pub refill: bool,
}

/// What carries messages, and what they are answered with.
struct Ways {
    cluster: Option<Arc<Cluster>>,
    transport: Arc<dyn Transport>,
    endpoint: Arc<Endpoint>,
    services: Arc<Services>,
}

/// Where the metadata is.
enum Kept {
    /// On these of this node's directories.
    Here(EmbeddedMeta, Vec<usize>),
    /// With another node, or in a database.
    There(Arc<dyn Meta>),
}

impl Kept {
    fn port(&self) -> &dyn Meta {
        match self {
            Self::Here(meta, _) => meta,
            Self::There(meta) => &**meta,
        }
    }
}

/// Puts everything together. Must run inside tokio.
pub(crate) async fn assemble(options: &Options, clock: &Arc<SystemClock>) -> Result<Assembly, StartError> {
    let Stood { mut ground, standing } = stand(options, clock).await?;
    let roster = Arc::new(Roster::new(options.io_engine));
    let ways = open_ways(&ground, standing, &roster)?;
    let kept = open_kept(&ground, &ways, options, clock).await?;
    let Settled { plan, layout, codes } = settle(&mut ground, kept.port(), &ways, options, clock).await?;
    ground.settle(&plan, clock.wall_ms())?;
    let (port, seated, log_seats) = match kept {
        Kept::There(meta) => (meta, None, vec![]),
        Kept::Here(meta, log_drives) => {
            let (meta, chosen) = reseat(&ground, &plan, layout.code, meta, log_drives, clock)?;
            let seated = Arc::new(SeatedMeta::new(meta));
            (seated.clone() as Arc<dyn Meta>, Some(seated), log_seats(&ground, &plan, &chosen))
        }
    };
    let generation = port.status().await.map_err(StartError::Meta)?.generation;
    let key_drives = key_drives(&ground.directories, &plan, layout.code);
    ground.heal_keys(&key_drives)?;
    let Stores { mounted, absent, refill } =
        open_stores(&mut ground, plan, &layout, &codes, options.io_engine)?;
    for drive in &mounted {
        if let Err(error) = drive.store.set_generation(generation, layout.epoch).await {
            ground.notes.push(format!("{}: {error}", drive.path.display()));
        }
    }
    roster.fill(mounted, absent);
    if seated.is_some() {
        // Others may ask from now on.
        let _ = ways.services.meta.set(port.clone());
    }
    let client = connect(&ground, &roster, &ways, port, clock);
    client.refresh_layouts().await.map_err(StartError::Client)?;
    let Ways { cluster, transport, services, .. } = ways;
    Ok(Assembly {
        ground,
        key_drives,
        roster,
        seated,
        log_seats,
        client,
        transport,
        cluster,
        services,
        refill,
    })
}

/// Opens the way to other nodes, or the one to itself, and begins to answer.
fn open_ways(ground: &Ground, standing: Option<Standing>, roster: &Arc<Roster>) -> Result<Ways, StartError> {
    let services = Arc::new(Services::new(Drives::new(roster.clone())));
    let cluster = standing.map(|standing| Cluster::open(standing, &ground.ring)).transpose()?;
    let (transport, endpoint) = match &cluster {
        Some(cluster) => (cluster.tcp().clone() as Arc<dyn Transport>, cluster.endpoint.clone()),
        None => {
            let transport = Arc::new(Loopback::new(ground.node_id())) as Arc<dyn Transport>;
            (transport.clone(), Endpoint::new(transport))
        }
    };
    tokio::spawn(endpoint.clone().run(services.clone()));
    Ok(Ways { cluster, transport, endpoint, services })
}

/// Opens the metadata, or waits for the node that keeps it, or for the database.
async fn open_kept(
    ground: &Ground,
    ways: &Ways,
    options: &Options,
    clock: &SystemClock,
) -> Result<Kept, StartError> {
    if let Some(named) = &options.meta {
        return Ok(Kept::There(database::open(named, ground, clock).await?));
    }
    if let Some(cluster) = ways.cluster.as_ref().filter(|cluster| !cluster.is_keeper()) {
        let meta = RemoteMeta::new(Arc::new(KeeperWay::new(cluster.clone())));
        wait_for_keeper(&meta).await?;
        return Ok(Kept::There(Arc::new(meta)));
    }
    let wanted = 1 + usize::from(options.erasure.unwrap_or(Code::default_for(options.drives.len())).m());
    let log_drives = ground.meta_drives(wanted);
    Ok(Kept::Here(open_meta(ground, &log_drives, clock)?, log_drives))
}

/// A member can do nothing without the metadata; the node that keeps it may be starting, too.
async fn wait_for_keeper(meta: &RemoteMeta) -> Result<(), StartError> {
    let mut said = None;
    loop {
        match meta.status().await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_retryable() => {
                if said.is_none_or(|at: Instant| at.elapsed() > KEEPER_SAID_EVERY) {
                    tracing::warn!(%error, "waiting for the node that keeps the metadata");
                    said = Some(Instant::now());
                }
                tokio::time::sleep(KEEPER_ASKED_EVERY).await;
            }
            Err(error) => return Err(StartError::Meta(error)),
        }
    }
}

/// A drive that was replaced gets its copy of the metadata log now, not at the next start.
fn reseat(
    ground: &Ground,
    plan: &Plan,
    code: Code,
    meta: EmbeddedMeta,
    log_drives: Vec<usize>,
    clock: &SystemClock,
) -> Result<(EmbeddedMeta, Vec<usize>), StartError> {
    let better = ground.meta_drives(1 + usize::from(code.m())).into_iter();
    let better: Vec<usize> = better.filter(|at| !plan.left.contains(at)).collect();
    if better == log_drives {
        return Ok((meta, log_drives));
    }
    drop(meta);
    Ok((open_meta(ground, &better, clock)?, better))
}

/// The drives that the engine was opened on, in its order.
fn log_seats(ground: &Ground, plan: &Plan, chosen: &[usize]) -> Vec<LogSeat> {
    let seat = |at: &usize| {
        let directory = &ground.directories[*at];
        // A directory without a seat holds the log only until the first look at the seats.
        let drive = plan.seats.iter().find(|seat| seat.directory == *at);
        let drive = drive.map_or(DriveId::default(), |seat| seat.action.identity().drive);
        Some(LogSeat { drive, path: directory.path.clone(), disk: directory.disk.clone()? })
    };
    chosen.iter().filter_map(seat).collect()
}

fn open_meta(ground: &Ground, log_drives: &[usize], clock: &SystemClock) -> Result<EmbeddedMeta, StartError> {
    let drives: Vec<(PathBuf, Arc<dyn Disk>)> = log_drives
        .iter()
        .filter_map(|at| {
            let directory = &ground.directories[*at];
            Some((directory.path.clone(), directory.disk.clone()? as Arc<dyn Disk>))
        })
        .collect();
    let options = meta_options(&drives, &ground.ring, ground.known_generation())?;
    let started = clock.wall_ms();
    let meta = EmbeddedMeta::open(options).map_err(StartError::Meta)?;
    tracing::debug!(
        took_ms = clock.wall_ms().saturating_sub(started),
        drives = drives.len(),
        "metadata opened"
    );
    Ok(meta)
}

/// The options of an engine on these drives. The view lies where it lay, or on the first drive.
pub(crate) fn meta_options(
    drives: &[(PathBuf, Arc<dyn Disk>)],
    ring: &Ring,
    known_generation: u64,
) -> Result<MetaOptions, StartError> {
    let why = || "no drive can hold the metadata log".to_owned();
    let home = drives.iter().find(|(path, _)| view_path(path).exists()).or(drives.first());
    let home = &home.ok_or_else(|| StartError::Meta(MetaError::Unavailable { why: why() }))?.0;
    let directory = home.join(META_DIRECTORY);
    fs::create_dir_all(&directory)
        .map_err(|source| StartError::System { doing: "make the metadata directory", source })?;
    Ok(MetaOptions {
        cluster: ring.cluster,
        keys: log_keys(ring),
        drives: drives.iter().map(|(_, disk)| disk.clone()).collect(),
        view: ViewPlace::Path(view_path(home)),
        known_generation,
        entropy: Arc::new(SystemEntropy),
        write: WriteOptions { parallel: drives.len() > 1, step_bytes: LOG_STEP_BYTES },
    })
}

/// Where a drive has the view, if it has it.
pub(crate) fn view_path(drive: &Path) -> PathBuf {
    drive.join(META_DIRECTORY).join(VIEW_FILE)
}

/// The keys of the metadata log.
pub(crate) fn log_keys(ring: &Ring) -> LogKeys {
    let key = |generation: &crate::keyfile::Generation| LogKey {
        generation: generation.number,
        key: derive(PURPOSE_META_LOG, &generation.key),
    };
    let current = ring.current();
    let older = ring.generations().iter().filter(|generation| generation.number != current.number);
    LogKeys { current: key(current), older: older.map(key).collect() }
}

struct Stores {
    mounted: Vec<Mounted>,
    absent: Vec<Absent>,
    refill: bool,
}

/// A drive's store, as it was opened.
pub(crate) struct OpenedStore {
    pub store: Arc<dyn ShardStore>,
    pub report: RecoveryReport,
    /// The name of its engine.
    pub engine: &'static str,
    /// Why it is not the engine that was wanted.
    pub instead: Option<String>,
}

/// Opens the drives side by side; one that cannot be opened is absent, if the others are enough.
fn open_stores(
    ground: &mut Ground,
    plan: Plan,
    layout: &Layout,
    codes: &[Code],
    engine: IoEngine,
) -> Result<Stores, StartError> {
    let seats: Vec<(&Seat, Arc<FileDisk>)> = plan
        .seats
        .iter()
        .map(|seat| {
            let disk = ground.directories[seat.directory].disk().map_err(StartError::Drive)?;
            Ok((seat, disk.clone()))
        })
        .collect::<Result<_, StartError>>()?;
    let opened: Vec<Result<OpenedStore, OpenError>> = std::thread::scope(|scope| {
        let open = |(seat, disk): &(&Seat, Arc<FileDisk>)| {
            let (identity, disk) = (seat.action.identity(), disk.clone());
            scope.spawn(move || open_store(disk, identity, engine))
        };
        let threads: Vec<_> = seats.iter().map(open).collect();
        threads.into_iter().map(|thread| thread.join().expect("opening a drive does not panic")).collect()
    });
    let mut stores = Stores { mounted: Vec::new(), absent: plan.absent.clone(), refill: false };
    for (seat, opened) in plan.seats.iter().zip(opened) {
        let path = ground.directories[seat.directory].path.clone();
        let identity = seat.action.identity();
        match opened {
            Ok(opened) => {
                stores.refill |= needs_refill(seat, &opened.report);
                ground.notes.extend(describe(&path, &opened.report));
                // The same reason for sixty drives is said once.
                let new = opened.note().filter(|note| !ground.notes.contains(note));
                ground.notes.extend(new);
                let disk = ground.directories[seat.directory].disk().map_err(StartError::Drive)?.clone();
                stores.mounted.push(mounted(identity, path, disk, opened, seat.replaces));
            }
            Err(error) => stores.absent.push(Absent {
                slot: seat.slot(),
                drive: identity.drive,
                path: path.display().to_string(),
                why: error.to_string(),
            }),
        }
    }
    let present: BTreeSet<u16> = stores.mounted.iter().map(|drive| drive.slot).collect();
    // The drives of other nodes may come later.
    let node = ground.node_id();
    match unreachable_without(layout, codes, |slot| present.contains(&slot.0) || !is_of(layout, slot, node)) {
        None => Ok(stores),
        Some((code, left)) => {
            let missing =
                stores.absent.iter().map(|a| format!("slot {} ({}): {}", a.slot.0, a.path, a.why)).collect();
            let needed = code.k();
            Err(StartError::Drive(DriveError::TooFew { needed, left, missing }))
        }
    }
}

/// A drive that takes part from now on.
pub(crate) fn mounted(
    identity: Identity,
    path: PathBuf,
    disk: Arc<FileDisk>,
    opened: OpenedStore,
    replaces: Option<DriveId>,
) -> Mounted {
    Mounted {
        slot: identity.slot,
        drive: identity.drive,
        path,
        disk,
        store: opened.store,
        engine: opened.engine,
        errors: Arc::default(),
        replaces,
        takes_part: true.into(),
        is_silent: false.into(),
        trouble: None.into(),
    }
}

impl OpenedStore {
    /// What a person should know of the engine.
    pub(crate) fn note(&self) -> Option<String> {
        let why = self.instead.as_ref()?;
        Some(format!("drives are written by the engine {}, not through io_uring: {why}", self.engine))
    }
}

/// Opens a formatted drive under the engine that was asked for, or the one that can be had.
pub(crate) fn open_store(
    disk: Arc<FileDisk>,
    identity: Identity,
    engine: IoEngine,
) -> Result<OpenedStore, OpenError> {
    let Chosen { disk, name, instead } = engine::choose(disk, engine);
    let (store, report) = ExtentStore::open(disk, identity, ExtentOptions::default())?;
    let threads = ThreadsStore::start(store, ThreadsOptions::default());
    let fault = |error| OpenError::Io(pangea_store::port::Fault::new(pangea_store::port::IoOp::Open, &error));
    Ok(OpenedStore { store: Arc::new(threads.map_err(fault)?), report, engine: name, instead })
}

/// Whether shards may be missing that nobody has noted: then only a census finds them.
fn needs_refill(seat: &Seat, report: &RecoveryReport) -> bool {
    let adopted = matches!(seat.action, crate::drives::Action::Adopt(_));
    let lost = !report.lost.is_empty()
        || matches!(report.checkpoint, CheckpointUse::Damaged | CheckpointUse::AheadOfExtents);
    seat.replaces.is_some() || adopted || lost
}

pub(crate) fn describe(path: &Path, report: &RecoveryReport) -> Vec<String> {
    let path = path.display();
    let mut notes = Vec::new();
    if report.superblock_healed {
        notes.push(format!("{path}: one copy of the superblock was damaged and was written again"));
    }
    if report.damage_count > 0 {
        let count = report.damage_count;
        notes.push(format!(
            "{path}: {count} stretches of extents hold no whole record (torn by a crash, or rotten)"
        ));
    }
    if !report.lost.is_empty() {
        notes.push(format!("{path}: shards that were on it are gone; they are being looked for and rebuilt"));
    }
    match report.checkpoint {
        CheckpointUse::Used | CheckpointUse::Missing => {}
        CheckpointUse::Damaged => {
            notes.push(format!("{path}: the checkpoint was damaged; all extents were read"))
        }
        CheckpointUse::AheadOfExtents => notes.push(format!("{path}: extents are shorter than they were")),
    }
    notes
}

/// The data path over this node's own drives, and those of the other nodes.
fn connect(
    ground: &Ground,
    roster: &Arc<Roster>,
    ways: &Ways,
    meta: Arc<dyn Meta>,
    clock: &Arc<SystemClock>,
) -> Client {
    let pool = CpuPool::new(doctor::cores());
    let runtime = TokioRuntime::new(tokio::runtime::Handle::current(), clock.clone(), pool);
    let keys = ground.ring.generations().iter().map(|generation| (generation.number, generation.key.clone()));
    let seen = roster.clone();
    let others = ways.cluster.clone();
    let gateways: Arc<dyn Gateways> = match &ways.cluster {
        Some(cluster) => cluster.clone(),
        None => Arc::new(NoOthers),
    };
    let parts = Parts {
        meta,
        endpoint: ways.endpoint.clone(),
        runtime: Arc::new(runtime),
        clock: clock.clone(),
        entropy: Arc::new(SystemEntropy),
        keys: Arc::new(KeyRing::new(keys)),
        gateways,
        present: Arc::new(move |node, drive| match &others {
            Some(cluster) if node != cluster.me() => cluster.takes_part(node, drive),
            _ => seen.takes_part(drive),
        }),
    };
    let memory_bytes = usize::try_from(doctor::memory_budget_here()).unwrap_or(usize::MAX);
    let options = ClientOptions { aead: doctor::cipher(), memory_bytes, ..ClientOptions::default() };
    Client::new(parts, options)
}
