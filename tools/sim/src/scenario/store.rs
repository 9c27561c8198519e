//! The store scenario: one drive, some clients, and a model of every shard.
//!
//! A run is a row of lives of one process: boot (which may be cut short), check everything, work, die. Most seeds only
//! crash and fail syncs: then nothing acknowledged may be lost, ever, although there is no redundancy. The others damage
//! the medium: then shards may be missing, but never wrong.

mod model;

use std::sync::{Arc, Mutex, PoisonError};

use pangea_client::Runtime;
use pangea_core::id::{ClusterId, DriveId};
use pangea_core::seam::Disk;
use pangea_store::drive::{self, OpenError, Probe};
use pangea_store::extent::{ExtentStore, Options};
use pangea_store::format::superblock::Identity;
use pangea_store::port::{LIST_MAX, ShardStore, StoreError};

use crate::dice::Dice;
use crate::disk::{Damage, SimDisk, Weather};
use crate::executor::{ProcessId, Sim};
use crate::fault::Fault;
use crate::invariant::Invariant;
use crate::power::Power;
use crate::report::{Report, Scenario, Violation};
use crate::shards::{shard, shard_id};
use crate::store::{SimStore, WAITING_MAX};
use crate::trace::Happening;
use model::{Model, Op};

const IDENTITY: Identity = Identity { cluster: ClusterId([0xc1; 16]), drive: DriveId([0xd1; 16]), slot: 0 };
const CREATED_MS: u64 = 1_767_225_600_000;
/// A boot that is cut short again and again succeeds at the latest after so many tries.
const BOOTS_MAX: u32 = 20;
/// Damages of one life.
const DAMAGES_MAX: u32 = 6;
const COMPACT_STEPS_MAX: u32 = 10_000;
const COMPACT_BYTES: u64 = 64 << 10;

/// Runs the scenario of a seed.
pub fn run(sim: &Sim) -> Report {
    let model = Arc::new(Mutex::new(Model::default()));
    let world = World::new(sim, model.clone());
    let ended = sim.run(world.lives()).map_err(Violation::from).and_then(|ended| ended);
    let acknowledged = lock(&model).acknowledged;
    Report::new(sim, Scenario::Store, acknowledged, ended)
}

#[derive(Clone)]
struct World {
    sim: Sim,
    model: Arc<Mutex<Model>>,
    power: Arc<Power>,
    disk: SimDisk,
    options: Options,
    /// Whether this seed damages the medium.
    damaging: bool,
    shards: u32,
    first_violation: Arc<Mutex<Option<Violation>>>,
}

/// How a life ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Death {
    /// The process is killed after so many polls; the power stays on.
    Killed(u64),
    /// The power is cut at a disk operation.
    PowerCut(u64),
    /// Everything is closed in good order.
    Shutdown,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    fn new(sim: &Sim, model: Arc<Mutex<Model>>) -> Self {
        let mut dice = sim.dice("world");
        let power = Arc::new(Power::default());
        let capacity = dice.between(2, 12) << 20;
        let extent_bytes_min = dice.pick(&[64 << 10, 128 << 10, 256 << 10]);
        let options = Options {
            extent_bytes_min,
            extent_bytes_max: extent_bytes_min * dice.between(1, 4),
            reserve_bytes: 256 << 10,
            checkpoint_every_bytes: dice.pick(&[32 << 10, 256 << 10, 2 << 20]),
            open_files_max: dice.between(1, 6) as usize,
            ..Options::default()
        };
        Self {
            sim: sim.clone(),
            model,
            disk: SimDisk::new(sim, 0, capacity, power.clone()),
            power,
            options,
            damaging: dice.chance(250),
            shards: dice.between(10, 150) as u32,
            first_violation: Arc::default(),
        }
    }

    async fn lives(self) -> Result<(), Violation> {
        let mut dice = self.sim.dice("lives");
        for _ in 0..dice.between(2, 7) {
            let Some((process, store)) = self.boot(&mut dice).await? else { return Ok(()) };
            self.check_all(&store).await?;
            self.live(process, &store, &mut dice).await?;
        }
        self.disk.set_weather(Weather::CLEAR);
        let Some((_, store)) = self.boot(&mut dice).await? else { return Ok(()) };
        self.check_all(&store).await?;
        self.settle(&store).await?;
        self.check_all(&store).await
    }

    /// One life: work under a weather until death.
    async fn live(
        &self,
        process: ProcessId,
        store: &Arc<SimStore>,
        dice: &mut Dice,
    ) -> Result<(), Violation> {
        self.disk.set_weather(draw_weather(dice));
        let death = dice.weighted(&[
            (40, Death::Killed(dice.clone().below(3000))),
            (50, Death::PowerCut(dice.clone().below(400))),
            (10, Death::Shutdown),
        ]);
        match death {
            Death::Killed(polls) => self.sim.kill_after(process, polls),
            Death::PowerCut(operations) => self.power.cut_after(operations),
            Death::Shutdown => {}
        }
        let workers = dice.between(1, 6);
        let done = Arc::new(Mutex::new(0));
        for number in 0..workers {
            let worker = self.clone().work(store.clone(), number, dice.u64(), done.clone());
            self.sim.runtime(process).spawn("worker", Box::pin(worker));
        }
        let mut damage_dice = Dice::new(dice.u64(), "damage");
        let mut damages = 0;
        while !self.sim.is_dead(process) && *lock(&done) < workers {
            self.sim.sleep(5_000).await;
            if self.damaging && damages < DAMAGES_MAX && damage_dice.chance(100) {
                damages += 1;
                let damage = draw_damage(&mut damage_dice);
                lock(&self.model).damaged = true;
                self.disk.damage(damage);
            }
        }
        self.disk.set_weather(Weather::CLEAR);
        if let Some(violation) = lock(&self.first_violation).take() {
            return Err(violation);
        }
        let longest = store.longest_queue();
        if longest > WAITING_MAX {
            return Err(Violation::Unbounded { what: format!("{longest} writes waited for one commit") });
        }
        self.sim.checked(Invariant::I9, 1);
        self.die(process, store, death).await
    }

    async fn die(&self, process: ProcessId, store: &Arc<SimStore>, death: Death) -> Result<(), Violation> {
        if death == Death::Shutdown && !self.sim.is_dead(process) {
            // A drive that has stopped after errors has nothing to close.
            let _ = store.shutdown().await;
        }
        if !self.sim.is_dead(process) {
            self.sim.kill(process);
        }
        if matches!(death, Death::PowerCut(_)) {
            self.sim.fault(Fault::PowerCut);
            self.disk.power_cut();
        } else {
            self.sim.fault(Fault::Killed);
        }
        self.power.restore();
        lock(&self.model).process_died();
        Ok(())
    }

    /// Starts a process on the drive; some starts are cut short. Nothing: a damaged drive says why it does not open, and
    /// goes on saying so (both superblock copies are gone, and there is no room for a new one).
    async fn boot(&self, dice: &mut Dice) -> Result<Option<(ProcessId, Arc<SimStore>)>, Violation> {
        let mut last = String::new();
        for attempt in 0..BOOTS_MAX {
            let process = self.sim.process(Some(self.power.clone()));
            self.sim.trace(Happening::Start, &[u64::from(attempt)]);
            let cut = attempt + 1 < BOOTS_MAX && dice.chance(300);
            if cut {
                self.power.cut_after(dice.below(40));
            }
            let opened = Arc::new(Mutex::new(None));
            let (slot, world) = (opened.clone(), self.clone());
            let open = async move {
                let result = world.open();
                let cost_us = world.disk.take_cost();
                world.sim.sleep(cost_us).await;
                *lock(&slot) = Some(result);
            };
            self.sim.runtime(process).spawn("boot", Box::pin(open));
            while lock(&opened).is_none() && !self.sim.is_dead(process) {
                self.sim.sleep(100).await;
            }
            let dead = self.sim.is_dead(process);
            let result = lock(&opened).take();
            match (dead, result) {
                (false, Some(Ok(engine))) if !self.power.is_cut() => {
                    self.power.restore();
                    let runtime = self.sim.runtime(process);
                    let queue_dice = Dice::new(dice.u64(), "queue");
                    let store = SimStore::new(runtime, self.disk.clone(), engine, queue_dice);
                    return Ok(Some((process, Arc::new(store))));
                }
                (_, result) => {
                    result
                        .iter()
                        .for_each(|r| last = r.as_ref().err().map_or_else(String::new, ToString::to_string));
                    if !dead {
                        self.sim.kill(process);
                    }
                    if self.power.is_cut() {
                        self.sim.fault(Fault::CutInRecovery);
                        self.disk.power_cut();
                    } else if let Some(Err(error)) = result
                        && !self.open_error_is_explained(&error)
                    {
                        return Err(Violation::Unexplained { what: format!("open: {error}") });
                    } else if lock(&self.model).damaged {
                        self.heal();
                    }
                    self.power.restore();
                }
            }
        }
        if lock(&self.model).damaged {
            return Ok(None);
        }
        Err(Violation::Unexplained { what: format!("the drive does not open: {last}") })
    }

    fn open(&self) -> Result<ExtentStore, OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        match drive::probe(disk.as_ref())? {
            Probe::Empty => {
                drive::format(disk.as_ref(), IDENTITY, CREATED_MS)?;
            }
            Probe::Damaged { .. } if lock(&self.model).damaged => {
                drive::adopt(disk.as_ref(), IDENTITY, CREATED_MS)?;
            }
            _ => {}
        }
        ExtentStore::open(disk, IDENTITY, self.options).map(|(store, _)| store)
    }

    /// Opening may fail where the medium is damaged, and then says so.
    fn open_error_is_explained(&self, error: &OpenError) -> bool {
        lock(&self.model).damaged
            && matches!(error, OpenError::Damaged { .. } | OpenError::AlreadyFormatted(_) | OpenError::Io(_))
    }

    /// What an operator does about a drive that does not open.
    fn heal(&self) {
        self.disk.heal_latent();
        self.disk.disarm();
    }

    /// A client: one operation after the other on shards that nobody else works on.
    async fn work(self, store: Arc<SimStore>, number: u64, seed: u64, done: Arc<Mutex<u64>>) {
        let mut dice = Dice::new(seed, "worker");
        for _ in 0..dice.between(20, 200) {
            self.sim.sleep(dice.below(2_000)).await;
            let n = dice.below(u64::from(self.shards)) as u32;
            let Some(op) = lock(&self.model).begin(n, &mut dice) else { continue };
            self.sim.trace(Happening::Begin, &[number, u64::from(n), op.code()]);
            let result = self.carry_out(&store, n, &op).await;
            self.sim.trace(Happening::End, &[number, u64::from(n), u64::from(result.is_ok())]);
            self.sim.tell(|| format!("worker {number}: {op:?} of shard {n} {}: {result:?}", shard_id(n)));
            self.count(&op, &result);
            let judged = lock(&self.model).end(n, &op, result);
            if let Err(violation) = judged {
                lock(&self.first_violation).get_or_insert(violation);
                break;
            }
        }
        *lock(&done) += 1;
    }

    async fn carry_out(&self, store: &SimStore, n: u32, op: &Op) -> Result<Option<u32>, StoreError> {
        match op {
            Op::Put { sealing } | Op::Conflict { sealing } => {
                let (header, data) = shard(n, *sealing);
                store.put(header, data).await.map(|()| None)
            }
            Op::Delete => store.delete(vec![shard_id(n)]).await.map(|()| None),
            Op::Read => read(store, n).await,
            Op::Compact => store.compact(COMPACT_BYTES).await.map(|_| None),
            Op::Quarantine => store.quarantine(shard_id(n)).await.map(|gone| gone.then_some(0)),
        }
    }

    /// Compares every shard, and the listing, with the model.
    async fn check_all(&self, store: &SimStore) -> Result<(), Violation> {
        self.sim.tell(|| "checking everything".to_owned());
        for n in 0..self.shards {
            let result = read(store, n).await;
            lock(&self.model).check(n, true, result)?;
            self.sim.checked(Invariant::I2, 1);
        }
        if !lock(&self.model).damaged {
            self.sim.checked(Invariant::I1, u64::from(self.shards));
        }
        let listed =
            list_all(store).await.map_err(|error| Violation::Unexplained { what: error.to_string() })?;
        let listed: Vec<_> = listed.into_iter().map(|line| line.id).collect();
        lock(&self.model).check_list(self.shards, &listed)?;
        self.sim.checked(Invariant::I3, 1);
        Ok(())
    }

    /// What the model is about to judge.
    fn count(&self, op: &Op, result: &Result<Option<u32>, StoreError>) {
        match result {
            Ok(_) if *op == Op::Read => self.sim.checked(Invariant::I2, 1),
            Ok(_) => {}
            Err(_) => self.sim.checked(Invariant::I12, 1),
        }
    }

    /// Faults have stopped: garbage goes away, and what is left on the drive is what is referenced, and little more.
    async fn settle(&self, store: &SimStore) -> Result<(), Violation> {
        let damaged = lock(&self.model).damaged;
        for _ in 0..COMPACT_STEPS_MAX {
            match store.compact(COMPACT_BYTES).await {
                Ok(compacted) if compacted.done => break,
                Ok(_) => {}
                // A drive too full to move anything keeps its garbage and says so.
                Err(StoreError::Full { .. }) => return Ok(()),
                Err(_) if damaged => return Ok(()),
                Err(error) => return Err(Violation::Unexplained { what: format!("compaction: {error}") }),
            }
        }
        let status = store.status().await.map_err(|e| Violation::Unexplained { what: e.to_string() })?;
        let percent = u64::from(self.options.garbage_percent_max);
        let slack = 3 * self.options.extent_bytes_max;
        let garbage_max = (status.live_bytes + status.garbage_bytes) * percent / 100 + slack;
        if !damaged && status.garbage_bytes > garbage_max {
            let what = format!("{} bytes of garbage beside {} live", status.garbage_bytes, status.live_bytes);
            return Err(Violation::Unbounded { what });
        }
        let used_max = status.live_bytes + status.garbage_bytes + slack + (1 << 20);
        if self.disk.used() > used_max {
            let what = format!("{} bytes on the drive for {status:?}", self.disk.used());
            return Err(Violation::Unbounded { what });
        }
        self.sim.checked(Invariant::I7, 1);
        Ok(())
    }
}

/// Reads a shard and checks it as a reader with a key would: the number of its sealing, or an error.
async fn read(store: &SimStore, n: u32) -> Result<Option<u32>, StoreError> {
    let id = shard_id(n);
    let header = store.header(id).await?;
    let bytes = store.read(id, 0..header.shape.pieces).await?;
    if let Some(piece) = header.first_bad_piece(0, &bytes) {
        return Err(StoreError::Corrupt { shard: id, piece: Some(piece) });
    }
    Ok(Some(model::sealing_of(n, &header, &bytes)))
}

async fn list_all(store: &SimStore) -> Result<Vec<pangea_store::port::ListedShard>, StoreError> {
    let mut all: Vec<pangea_store::port::ListedShard> = Vec::new();
    loop {
        let page = store.list(all.last().map(|line| line.id), 7).await?;
        let last = page.len() < 7;
        all.extend(page);
        if last || all.len() > LIST_MAX {
            return Ok(all);
        }
    }
}

fn draw_weather(dice: &mut Dice) -> Weather {
    let mut weather = Weather::CLEAR;
    if dice.chance(400) {
        weather.sync_fails = dice.below(40);
    }
    if dice.chance(200) {
        weather.write_fails = dice.below(40);
    }
    if dice.chance(200) {
        weather.no_space = dice.below(60);
    }
    if dice.chance(100) {
        weather.slowness = dice.pick(&[10, 100, 1000]);
    }
    if dice.chance(100) {
        weather.stalls = 3;
    }
    weather
}

fn draw_damage(dice: &mut Dice) -> Damage {
    dice.weighted(&[
        (3, Damage::LostWrite),
        (3, Damage::MisdirectedWrite),
        (3, Damage::MisdirectedRead),
        (4, Damage::BitRot),
        (2, Damage::LatentError),
        (2, Damage::SuperblockCopy),
    ])
}
