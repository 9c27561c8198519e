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

use pangea_client::{
    CURRENT_EPOCH_SETTING, Client, KeyRing, OLDER_CODES_SETTING, Options as ClientOptions, Parts, codes_used,
    layout_setting,
};
use pangea_core::chunk::Code;
use pangea_core::id::{DriveId, RequestId};
use pangea_core::keys::{PURPOSE_META_LOG, derive};
use pangea_core::layout::Layout;
use pangea_core::meta::{Command, Outcome, Request};
use pangea_core::seam::{Clock as _, Disk, random};
use pangea_meta::{
    EmbeddedMeta, LogKey, LogKeys, Meta, MetaError, Options as MetaOptions, SeatedMeta, ViewPlace,
    WriteOptions,
};
use pangea_store::drive::OpenError;
use pangea_store::extent::{CheckpointUse, ExtentStore, Options as ExtentOptions, RecoveryReport};
use pangea_store::file_disk::FileDisk;
use pangea_store::format::superblock::Identity;
use pangea_store::port::ShardStore;
use pangea_store::threads::{ThreadsOptions, ThreadsStore};
use pangea_transport::{Endpoint, Loopback, Transport};

use crate::clock::SystemClock;
use crate::config::Options;
use crate::doctor;
use crate::drives::{Absent, DriveError, META_DIRECTORY, Plan, Seat, next_layout, unreachable_without};
use crate::engine::{self, Chosen, IoEngine};
use crate::entropy::SystemEntropy;
use crate::error::StartError;
use crate::ground::{Ground, key_drives, seat};
use crate::handler::Drives;
use crate::keyfile::Ring;
use crate::pool::{CpuPool, TokioRuntime};
use crate::reshape::LogSeat;
use crate::roster::{Mounted, Roster};

/// The SQLite view, below the first log drive's metadata directory.
pub(crate) const VIEW_FILE: &str = "view.sqlite";

/// Directories of drives that were added while the server ran, a line each.
pub(crate) const ADDED_DRIVES_SETTING: &str = "drives/added";

/// The metadata log is zeroed ahead in steps of so many bytes: a start and its first sync stay short.
const LOG_STEP_BYTES: u64 = 1 << 20;

/// Everything that a node is made of, before it serves.
pub(crate) struct Assembly {
    pub ground: Ground,
    pub key_drives: Vec<PathBuf>,
    pub roster: Arc<Roster>,
    pub meta: Arc<SeatedMeta>,
    /// Where the metadata log lies.
    pub log_seats: Vec<LogSeat>,
    pub client: Client,
    pub transport: Arc<Loopback>,
    /// Whether a scrub must go through before everything counts as whole.
    pub refill: bool,
}

/// Puts everything together. Must run inside tokio.
pub(crate) async fn assemble(options: &Options, clock: &Arc<SystemClock>) -> Result<Assembly, StartError> {
    let mut ground = crate::ground::prepare(options, clock)?;
    let wanted = 1 + usize::from(options.erasure.unwrap_or(Code::default_for(options.drives.len())).m());
    let log_drives = ground.meta_drives(wanted);
    let meta = open_meta(&ground, &log_drives, clock)?;
    let layout = read_layout(&meta).await?;
    ground.look_at_added(&added_drives(&meta).await?, layout.as_ref());
    let codes = match &layout {
        Some(layout) => codes_used(&meta, layout).await.map_err(StartError::Meta)?,
        None => vec![],
    };
    let plan = seat(ground.ring.cluster, layout.as_ref(), &codes, &ground.directories);
    let plan = plan.map_err(StartError::Drive)?;
    for seat in &plan.seats {
        // Its capacity must be known before the layout names it.
        ground.directories[seat.directory].ensure().map_err(StartError::Drive)?;
    }
    let next = next_layout(layout.as_ref(), &plan, &ground.weights(), ground.node_id(), options.erasure);
    if layout.as_ref() != Some(&next) {
        if let Some(old) = layout.filter(|old| old.code != next.code) {
            keep_older_code(&meta, old.code, clock).await?;
        }
        write_layout(&meta, &next, clock).await?;
    }
    ground.settle(&plan, clock.wall_ms())?;
    // A drive that was replaced gets its copy of the metadata log now, not at the next start.
    let better: Vec<usize> = ground
        .meta_drives(1 + usize::from(next.code.m()))
        .into_iter()
        .filter(|at| !plan.left.contains(at))
        .collect();
    let meta = if better == log_drives {
        meta
    } else {
        drop(meta);
        open_meta(&ground, &better, clock)?
    };
    let log_seats = log_seats(&ground, &plan, &better);
    let generation = meta.status().await.map_err(StartError::Meta)?.generation;
    let key_drives = key_drives(&ground.directories, &plan, next.code);
    ground.heal_keys(&key_drives)?;
    let Stores { mounted, absent, refill } =
        open_stores(&mut ground, plan, &next, &codes, options.io_engine)?;
    for drive in &mounted {
        if let Err(error) = drive.store.set_generation(generation, next.epoch).await {
            ground.notes.push(format!("{}: {error}", drive.path.display()));
        }
    }
    let roster = Arc::new(Roster::new(mounted, absent, options.io_engine));
    let meta = Arc::new(SeatedMeta::new(meta));
    let (client, transport) = connect(&ground, &roster, meta.clone(), clock);
    client.refresh_layouts().await.map_err(StartError::Client)?;
    Ok(Assembly { ground, key_drives, roster, meta, log_seats, client, transport, refill })
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

/// The directories that were added to the running server: the command line need not name them.
pub(crate) async fn added_drives(meta: &dyn Meta) -> Result<Vec<PathBuf>, StartError> {
    let setting = meta.setting(ADDED_DRIVES_SETTING).await.map_err(StartError::Meta)?;
    let text = setting.map(|(_, bytes)| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    Ok(text.lines().map(PathBuf::from).collect())
}

/// The current layout; `None` before the first was written.
pub(crate) async fn read_layout(meta: &dyn Meta) -> Result<Option<Layout>, StartError> {
    let damaged =
        |what| StartError::Meta(MetaError::Damaged { file: CURRENT_EPOCH_SETTING.into(), seq: 0, what });
    let Some((_, bytes)) = meta.setting(CURRENT_EPOCH_SETTING).await.map_err(StartError::Meta)? else {
        return Ok(None);
    };
    let epoch = u32::from_le_bytes(bytes.try_into().map_err(|_| damaged("the current epoch is no u32"))?);
    let setting = meta.setting(&layout_setting(epoch)).await.map_err(StartError::Meta)?;
    let (_, bytes) = setting.ok_or_else(|| damaged("the current layout is not there"))?;
    Layout::decode(&bytes).map(Some).map_err(|_| damaged("the current layout cannot be read"))
}

/// Writes a layout, then makes it the current one.
async fn write_layout(meta: &dyn Meta, layout: &Layout, clock: &SystemClock) -> Result<(), StartError> {
    write_setting(meta, layout_setting(layout.epoch), layout.encode(), clock).await?;
    write_setting(meta, CURRENT_EPOCH_SETTING.to_owned(), layout.epoch.to_le_bytes().to_vec(), clock).await
}

/// What was written under the code until now stays under it.
async fn keep_older_code(meta: &dyn Meta, code: Code, clock: &SystemClock) -> Result<(), StartError> {
    let known = meta.setting(OLDER_CODES_SETTING).await.map_err(StartError::Meta)?;
    let mut bytes = known.map(|(_, bytes)| bytes).unwrap_or_default();
    if !bytes.chunks_exact(2).any(|known| known == [code.k(), code.m()]) {
        bytes.extend([code.k(), code.m()]);
        write_setting(meta, OLDER_CODES_SETTING.to_owned(), bytes, clock).await?;
    }
    Ok(())
}

async fn write_setting(
    meta: &dyn Meta,
    name: String,
    value: Vec<u8>,
    clock: &SystemClock,
) -> Result<(), StartError> {
    let seen = meta.setting(&name).await.map_err(StartError::Meta)?;
    let expected = seen.map_or(0, |(revision, _)| revision);
    let command = Command::SetSetting { name, expected, value };
    let request = Request { id: RequestId(random(&SystemEntropy)), now_ms: clock.wall_ms(), command };
    match meta.apply(request).await.map_err(StartError::Meta)? {
        Outcome::Setting { .. } => Ok(()),
        // Nobody else writes before this node serves; whatever it is, the setting is not there.
        _ => {
            let why = "a setting was refused".into();
            Err(StartError::Meta(MetaError::Unavailable { why }))
        }
    }
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
    match unreachable_without(layout, codes, |slot| present.contains(&slot.0)) {
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

/// The data path over this node's own drives.
fn connect(
    ground: &Ground,
    roster: &Arc<Roster>,
    meta: Arc<SeatedMeta>,
    clock: &Arc<SystemClock>,
) -> (Client, Arc<Loopback>) {
    let transport = Arc::new(Loopback::new(ground.node_id()));
    let endpoint = Endpoint::new(transport.clone() as Arc<dyn Transport>);
    tokio::spawn(endpoint.clone().run(Arc::new(Drives::new(roster.clone()))));
    let seen = roster.clone();
    let pool = CpuPool::new(doctor::cores());
    let runtime = TokioRuntime::new(tokio::runtime::Handle::current(), clock.clone(), pool);
    let keys = ground.ring.generations().iter().map(|generation| (generation.number, generation.key.clone()));
    let parts = Parts {
        meta,
        endpoint,
        runtime: Arc::new(runtime),
        clock: clock.clone(),
        entropy: Arc::new(SystemEntropy),
        keys: Arc::new(KeyRing::new(keys)),
        present: Arc::new(move |drive| seen.takes_part(drive)),
        gateways: Arc::new(pangea_client::NoOthers),
    };
    let memory_bytes = usize::try_from(doctor::memory_budget_here()).unwrap_or(usize::MAX);
    let options = ClientOptions { aead: doctor::cipher(), memory_bytes, ..ClientOptions::default() };
    (Client::new(parts, options), transport)
}
