//! The cluster scenario: machines with drives, the real client on the first of them, and everything that goes wrong.
//!
//! A run is a row of lives. In each, clients work while things go wrong, and in the end processes die. Then everything
//! starts again, every key is read back *with the damage still there*, histories are checked, and the cluster has to
//! become whole before the next life.
//!
//! The *fault atlas*: in a life with a victim, that one drive is damaged in every way and finally lost, and no other drive
//! refuses a write: where drives are as few as shards, a refused shard doubles up on another drive until it is completed,
//! and its stripe survives one drive less. In a life without a victim every drive, machine and wire may fail for a while,
//! and nothing that was acknowledged is damaged. With a code that survives nothing there is never a victim.

mod check;
mod ledger;
mod worker;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pangea_client::{Client, ClientError, Runtime};
use pangea_core::chunk::Code;
use pangea_core::layout::Role;
use pangea_meta::Meta;
use pangea_store::port::ShardStore;

use crate::dice::Dice;
use crate::disk::{Damage, Snapshot, Weather};
use crate::executor::Sim;
use crate::fault::Fault;
use crate::meta::MetaWeather;
use crate::node::{BootError, Cluster, Node};
use crate::report::{Report, Scenario, Violation};
use crate::trace::Happening;
use crate::transport::{NetWeather, SimNet};
use ledger::Ledger;
use worker::{Worker, make_bucket};

/// A start that is cut short again and again succeeds at the latest after so many tries.
const BOOTS_MAX: u32 = 10;
/// How often the world looks whether a life is over.
const TICK_US: u64 = 50_000;
/// A life ends after this long at the latest.
const LIFE_TICKS_MAX: u32 = 20_000;

/// Runs the scenario of a seed.
pub fn run(sim: &Sim) -> Report {
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let world = World::new(sim, ledger.clone());
    let ended = sim.run(world.lives()).map_err(Violation::from).and_then(|ended| ended);
    let acknowledged = lock(&ledger).acknowledged;
    Report::new(sim, Scenario::Cluster, acknowledged, ended)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct World {
    sim: Sim,
    net: SimNet,
    cluster: Cluster,
    ledger: Arc<Mutex<Ledger>>,
    /// Whether this seed damages drives; never with a code that survives no loss.
    damaging: bool,
    keys: u64,
}

/// Who is damaged in a life, and how it goes on at its end.
struct Victim {
    slot: usize,
    /// What the drive held when the life began.
    before: (Snapshot, Snapshot),
    end: VictimEnd,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum VictimEnd {
    Stays,
    Replaced,
    RolledBack,
    Swapped,
}

/// How the first machine's process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Death {
    Killed(u64),
    PowerCut(u64),
    /// When its clients are done.
    Late,
}

impl World {
    fn new(sim: &Sim, ledger: Arc<Mutex<Ledger>>) -> Self {
        let mut dice = sim.dice("world");
        let net = SimNet::new(sim, sim.runtime(sim.process(None)));
        let shape: &[usize] = dice.weighted(&[
            (10, [1].as_slice()),
            (10, [2].as_slice()),
            (15, [3].as_slice()),
            (20, [4].as_slice()),
            (20, [6].as_slice()),
            (15, [4, 3].as_slice()),
            (10, [3, 2, 2].as_slice()),
        ]);
        let drives = shape.iter().sum();
        let code = Code::default_for(drives);
        // The log needs m+1 drives on the first machine.
        let m = code.m().min(shape[0] as u8 - 1);
        let code = Code::new(drives as u8 - m, m).expect("a code");
        let capacity = dice.between(24, 64) << 20;
        let extent_bytes = dice.pick(&[256 << 10, 1 << 20]);
        let spares = dice.below(3) as usize;
        let cluster = Cluster::new(sim, net.clone(), code, shape, spares, capacity, extent_bytes);
        let damaging = code.m() > 0 && dice.chance(700);
        let keys = dice.between(2, 12);
        Self { sim: sim.clone(), net, cluster, ledger, damaging, keys }
    }

    async fn lives(self) -> Result<(), Violation> {
        let mut dice = self.sim.dice("lives");
        let nodes = self.boot_all(&mut dice).await?;
        let mut nodes = nodes;
        make_bucket(self.client(&nodes)).await.map_err(|e| unexplained("making the bucket", &e))?;
        for _ in 0..dice.between(1, 4) {
            let victim = if self.log_is_whole(&nodes).await? { self.choose_victim(&mut dice) } else { None };
            nodes = self.live(nodes, victim.as_ref(), &mut dice).await?;
            self.end_life(nodes, victim, &mut dice);
            nodes = self.boot_all(&mut dice).await?;
            let client = self.client(&nodes).clone();
            self.check_reads(&client).await?;
            self.make_whole(&nodes).await?;
        }
        self.check_reads(&self.client(&nodes).clone()).await?;
        self.check_packs(&nodes).await?;
        // A pack is written like anything else: it may have doubled up on the way.
        self.make_whole(&nodes).await?;
        self.check_garbage(&nodes).await?;
        self.check_reads(&self.client(&nodes).clone()).await?;
        self.check_bounds(&nodes)
    }

    fn client<'a>(&self, nodes: &'a [Node]) -> &'a Client {
        &nodes[0].front.as_ref().expect("the first machine has the front").client
    }

    /// Whether every log drive takes part. One that does not (a header that cannot be read) is still damaged: somebody
    /// exchanges the bad sectors, and until the next start no other drive may be a victim.
    async fn log_is_whole(&self, nodes: &[Node]) -> Result<bool, Violation> {
        let front = nodes[0].front.as_ref().expect("the first machine has the front");
        let status = front.meta.status().await.map_err(|e| unexplained("asking the metadata", &e))?;
        let whole = status.log_drives.iter().all(|drive| drive.ok);
        if !whole {
            self.cluster.drives().iter().for_each(|drive| drive.meta.heal_latent());
        }
        Ok(whole)
    }

    fn choose_victim(&self, dice: &mut Dice) -> Option<Victim> {
        if !self.damaging || dice.chance(200) {
            return None;
        }
        let slot = dice.index(self.cluster.drives().len());
        let drive = &self.cluster.drives()[slot];
        let before = (drive.shards.snapshot(), drive.meta.snapshot());
        let end = dice.weighted(&[
            (50, VictimEnd::Stays),
            (20, VictimEnd::Replaced),
            (20, VictimEnd::RolledBack),
            (10, VictimEnd::Swapped),
        ]);
        Some(Victim { slot, before, end })
    }

    /// Clients work while things go wrong, until the first machine's process is dead or they are done.
    async fn live(
        &self,
        mut nodes: Vec<Node>,
        victim: Option<&Victim>,
        dice: &mut Dice,
    ) -> Result<Vec<Node>, Violation> {
        self.set_weather(&nodes, victim.map(|victim| victim.slot), dice);
        let death = match dice.below(10) {
            0..4 => Death::Killed(dice.between(10, 20_000)),
            4..8 => Death::PowerCut(dice.below(3_000)),
            _ => Death::Late,
        };
        let process = nodes[0].process;
        match death {
            Death::Killed(polls) => self.sim.kill_after(process, polls),
            Death::PowerCut(operations) => self.cluster.machines()[0].power.cut_after(operations),
            Death::Late => {}
        }
        let workers = dice.between(1, 5);
        let done = Arc::new(Mutex::new(0));
        for number in 0..workers {
            self.spawn_worker(&nodes, number, done.clone(), dice);
        }
        self.spawn_janitor(&nodes, dice);
        for _ in 0..LIFE_TICKS_MAX {
            if self.sim.is_dead(process) || *lock(&done) == workers {
                break;
            }
            self.sim.sleep(TICK_US).await;
            if let Some(victim) = victim
                && dice.chance(60)
            {
                self.hurt(victim, dice);
            }
            if victim.is_none() {
                self.trouble_others(&mut nodes, dice).await?;
            }
        }
        match lock(&self.ledger).violation.take() {
            Some(violation) => Err(violation),
            None => self.cluster.observer().check().map(|()| nodes),
        }
    }

    fn set_weather(&self, nodes: &[Node], victim: Option<usize>, dice: &mut Dice) {
        for (slot, drive) in self.cluster.drives().iter().enumerate() {
            let mut weather = draw_weather(dice);
            if victim.is_some_and(|victim| victim != slot) {
                weather = Weather { slowness: weather.slowness.min(10), ..Weather::CLEAR };
            }
            drive.shards.set_weather(weather);
            drive.meta.set_weather(Weather { no_space: 0, ..weather });
        }
        self.net.set_weather(NetWeather {
            delay_us: dice.between(1, 1_500),
            lost: if victim.is_none() && dice.chance(300) { dice.below(10) } else { 0 },
            late: if dice.chance(300) { dice.below(10) } else { 0 },
        });
        if let Some(front) = &nodes[0].front
            && dice.chance(500)
        {
            let weather = MetaWeather { commands_lost: dice.below(50), answers_lost: dice.below(50) };
            front.meta.set_weather(weather);
        }
        if dice.chance(100) {
            let minutes = dice.between(1, 20) as i64;
            self.sim.jump_wall(if dice.chance(500) { minutes } else { -minutes } * 60_000);
        }
    }

    fn spawn_worker(&self, nodes: &[Node], number: u64, done: Arc<Mutex<u64>>, dice: &mut Dice) {
        let worker = Worker {
            sim: self.sim.clone(),
            client: self.client(nodes).clone(),
            ledger: self.ledger.clone(),
            dice: Dice::new(dice.u64(), "worker"),
            keys: self.keys,
            number,
        };
        let operations = dice.between(5, 40);
        let task = async move {
            worker.work(operations).await;
            *lock(&done) += 1;
        };
        self.sim.runtime(nodes[0].process).spawn("worker", Box::pin(task));
    }

    /// The background work of a node, in no particular order.
    fn spawn_janitor(&self, nodes: &[Node], dice: &mut Dice) {
        let front = nodes[0].front.clone().expect("the first machine has the front");
        let stores: Vec<_> = nodes.iter().flat_map(|node| node.stores.values().cloned()).collect();
        let (sim, mut dice) = (self.sim.clone(), Dice::new(dice.u64(), "janitor"));
        let cluster = self.cluster.clone();
        let task = async move {
            loop {
                sim.sleep(dice.below(2_000_000)).await;
                let quiet = |_: u64, _: Option<u64>| {};
                // Under faults every pass may fail; the next one goes on where it stopped.
                match dice.below(12) {
                    0 => drop(front.client.collect_garbage(&quiet).await),
                    1 => drop(front.client.collect_orphans(&quiet).await),
                    2 => drop(front.client.complete_todos(&quiet).await),
                    3 => drop(front.client.scrub_pass(&quiet).await),
                    4 => drop(front.meta.snapshot().await),
                    5 => drop(front.client.repack(&quiet).await),
                    6..9 => reshape(&sim, &cluster, &front.client, &mut dice).await,
                    9 => drop(front.client.rebalance_pass(&quiet).await),
                    10 => drop(empty_drained(&front.client).await),
                    _ => drop(stores[dice.index(stores.len())].compact(1 << 20).await),
                }
            }
        };
        self.sim.runtime(nodes[0].process).spawn("janitor", Box::pin(task));
    }

    /// Damages the victim's shards or its copy of the metadata's log.
    fn hurt(&self, victim: &Victim, dice: &mut Dice) {
        let drive = &self.cluster.drives()[victim.slot];
        let damage = dice.weighted(&[
            (3, Damage::LostWrite),
            (3, Damage::MisdirectedWrite),
            (3, Damage::MisdirectedRead),
            (4, Damage::BitRot),
            (2, Damage::LatentError),
            (2, Damage::SuperblockCopy),
            (1, Damage::Gone),
        ]);
        match damage {
            Damage::Gone if victim.end == VictimEnd::Replaced => {
                drive.shards.damage(damage);
                drive.meta.damage(damage);
            }
            Damage::Gone => {}
            Damage::SuperblockCopy => drive.shards.damage(damage),
            _ if dice.chance(700) => drive.shards.damage(damage),
            _ => drive.meta.damage(damage),
        }
    }

    /// The other machines: partitions, deaths, restarts.
    async fn trouble_others(&self, nodes: &mut [Node], dice: &mut Dice) -> Result<(), Violation> {
        for (machine, node) in nodes.iter_mut().enumerate().skip(1) {
            let (front, other) = (self.cluster.machines()[0].node, self.cluster.machines()[machine].node);
            match dice.below(400) {
                0 => self.net.partition(front, other, dice.chance(500)),
                1..10 => self.net.heal(),
                10 => {
                    self.kill(machine, node, dice.chance(500));
                    self.sim.sleep(dice.below(5_000_000)).await;
                    *node = self.boot(machine, dice).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn kill(&self, machine: usize, node: &Node, power_cut: bool) {
        if !self.sim.is_dead(node.process) {
            self.sim.kill(node.process);
        }
        let machine = &self.cluster.machines()[machine];
        if power_cut || machine.power.is_cut() {
            self.sim.fault(Fault::PowerCut);
            for place in &machine.places {
                self.cluster.drives()[*place].shards.power_cut();
                self.cluster.drives()[*place].meta.power_cut();
            }
        } else {
            self.sim.fault(Fault::Killed);
        }
        machine.power.restore();
    }

    /// Everything dies, the weather clears, and the victim meets its end.
    fn end_life(&self, nodes: Vec<Node>, victim: Option<Victim>, dice: &mut Dice) {
        let all_lose_power = dice.chance(500);
        for (machine, node) in nodes.iter().enumerate() {
            self.kill(machine, node, all_lose_power);
        }
        self.net.set_weather(NetWeather::CALM);
        self.net.heal();
        for drive in self.cluster.drives() {
            for disk in [&drive.shards, &drive.meta] {
                disk.set_weather(Weather::CLEAR);
                disk.disarm();
            }
        }
        let Some(Victim { slot, before, end }) = victim else { return };
        let drive = &self.cluster.drives()[slot];
        self.sim.tell(|| format!("victim {slot}: {end:?}"));
        match end {
            _ if drive.shards.is_gone() => self.cluster.replace_drive(slot),
            VictimEnd::Stays => {}
            VictimEnd::Replaced => {
                self.sim.fault(Fault::DriveLost);
                self.cluster.replace_drive(slot);
            }
            VictimEnd::RolledBack => {
                self.sim.fault(Fault::Rollback);
                drive.shards.replace(before.0);
                drive.meta.replace(before.1);
            }
            VictimEnd::Swapped => self.swap_with_neighbour(slot),
        }
    }

    /// Two drives of one machine change places.
    fn swap_with_neighbour(&self, place: usize) {
        let machine = self.cluster.machines().iter().find(|machine| machine.places.contains(&place));
        let other = machine.and_then(|machine| machine.places.iter().find(|other| **other != place));
        other.iter().for_each(|other| self.cluster.swap_drives(place, **other));
    }

    /// Starts every machine, the first one last.
    async fn boot_all(&self, dice: &mut Dice) -> Result<Vec<Node>, Violation> {
        let mut nodes = Vec::new();
        for machine in (0..self.cluster.machines().len()).rev() {
            nodes.push(self.boot(machine, dice).await?);
        }
        nodes.reverse();
        Ok(nodes)
    }

    /// Starts a machine; some starts are cut short.
    async fn boot(&self, machine: usize, dice: &mut Dice) -> Result<Node, Violation> {
        let power = &self.cluster.machines()[machine].power;
        for attempt in 0..BOOTS_MAX {
            let process = self.sim.process(Some(power.clone()));
            self.sim.trace(Happening::Start, &[machine as u64, u64::from(attempt)]);
            if attempt + 1 < BOOTS_MAX && dice.chance(200) {
                power.cut_after(dice.below(150));
            }
            let booted = Arc::new(Mutex::new(None));
            let (slot, cluster) = (booted.clone(), self.cluster.clone());
            let mut boot_dice = Dice::new(dice.u64(), "boot");
            let task = async move {
                let result = cluster.boot(machine, process, &mut boot_dice).await;
                *lock(&slot) = Some(result);
            };
            self.sim.runtime(process).spawn("boot", Box::pin(task));
            while lock(&booted).is_none() && !self.sim.is_dead(process) {
                self.sim.sleep(1_000).await;
            }
            let result = lock(&booted).take();
            match result {
                Some(Ok(node)) if !power.is_cut() && !self.sim.is_dead(process) => {
                    power.restore();
                    return Ok(node);
                }
                Some(Err(error)) if !power.is_cut() => {
                    return Err(Violation::Unexplained { what: format!("start: {error:?}") });
                }
                _ => {
                    self.sim.fault(Fault::CutInRecovery);
                    power.cut();
                    self.kill_process(machine, process);
                }
            }
        }
        Err(Violation::Unexplained { what: "a machine does not start".to_owned() })
    }

    fn kill_process(&self, machine: usize, process: crate::executor::ProcessId) {
        let node = Node { process, stores: std::collections::BTreeMap::new(), front: None };
        self.kill(machine, &node, true);
    }
}

fn unexplained(doing: &str, error: &dyn std::fmt::Display) -> Violation {
    Violation::Unexplained { what: format!("{doing}: {error}") }
}

impl std::fmt::Display for BootError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Meta(error) => write!(f, "metadata: {error}"),
            Self::Client(error) => write!(f, "client: {error}"),
        }
    }
}

/// An operator changes the layout; who was quicker, or a fault, may refuse it.
async fn reshape(sim: &Sim, cluster: &Cluster, client: &Client, dice: &mut Dice) {
    let layout = client.layout();
    let Some(change) = cluster.draw_change(&layout, dice) else { return };
    let Ok(next) = layout.changed(&[change], &[]) else { return };
    if client.install_layout(&next).await.is_ok() {
        sim.fault(Fault::Reshaped);
    }
}

/// Takes drained drives out that hold nothing any more.
pub(super) async fn empty_drained(client: &Client) -> Result<(), ClientError> {
    let layout = client.layout();
    for drive in layout.drives.iter().filter(|drive| drive.role == Role::Draining) {
        client.empty_drive(drive.slot, &|_: u64, _: Option<u64>| {}).await?;
    }
    Ok(())
}

fn draw_weather(dice: &mut Dice) -> Weather {
    let mut weather = Weather::CLEAR;
    if dice.chance(150) {
        weather.sync_fails = dice.below(20);
    }
    if dice.chance(100) {
        weather.write_fails = dice.below(20);
    }
    if dice.chance(100) {
        weather.no_space = dice.below(40);
    }
    if dice.chance(80) {
        weather.short_reads = dice.below(20);
    }
    if dice.chance(80) {
        weather.slowness = dice.pick(&[10, 100, 1000]);
    }
    if dice.chance(80) {
        weather.stalls = 3;
    }
    weather
}
