//! The simulated disk: files in memory with everything that goes wrong with real ones.
//!
//! Every file has two images: what a reader sees, and what is on the medium. Writes wait between the two until a sync; so
//! do names until `sync_dir`. `crash` decides what of it survives a power cut, `damage` is what a medium does to bytes at
//! rest and on the way. A killed process leaves everything as it is: its writes are still in the page cache.
//!
//! Operations cost virtual time, which the engine around the synchronous store collects and sleeps ([`SimDisk::take_cost`]).

mod crash;
mod damage;
pub mod image;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pangea_core::seam::{Disk, DiskFile, Space};

use crate::dice::Dice;
use crate::executor::Sim;
use crate::fault::Fault;
use crate::power::{Power, Supply};
use crate::trace::Happening;

pub use damage::{Damage, swap};
use image::{Image, pages_of};

/// What may go wrong at any operation, in thousandths, and how slow the drive is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Weather {
    /// Syncs that fail once.
    pub sync_fails: u64,
    /// Writes that fail.
    pub write_fails: u64,
    /// Writes that find no space half-way.
    pub no_space: u64,
    /// Reads that come back short.
    pub short_reads: u64,
    /// Operations that stall for seconds.
    pub stalls: u64,
    /// How many times slower than usual; 1 is healthy.
    pub slowness: u64,
}

impl Weather {
    /// Nothing goes wrong.
    pub const CLEAR: Self =
        Self { sync_fails: 0, write_fails: 0, no_space: 0, short_reads: 0, stalls: 0, slowness: 1 };
}

/// What an operation costs a healthy drive, in microseconds.
const READ_US: u64 = 80;
const WRITE_US: u64 = 15;
const SYNC_US: u64 = 600;
/// Bytes that move in a microsecond.
const BYTES_PER_US: u64 = 500;
/// A stall lasts up to this.
const STALL_US_MAX: u64 = 20_000_000;

/// See the module. Cheap to clone: all clones are one disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Inner>);

struct Inner {
    number: u32,
    sim: Sim,
    power: Arc<Power>,
    state: Mutex<State>,
}

struct State {
    capacity: u64,
    dice: Dice,
    weather: Weather,
    /// What a reader sees.
    names: BTreeMap<String, Inode>,
    /// What is on the medium.
    durable_names: BTreeMap<String, Inode>,
    waiting_names: Vec<NameChange>,
    next_inode: u64,
    armed: Option<Damage>,
    gone: bool,
    cost_us: u64,
}

#[derive(Clone)]
enum NameChange {
    Create(String, Inode),
    Remove(String),
    Rename(String, String),
}

/// A file's two images. Cheap to clone: all clones are one file.
#[derive(Clone)]
struct Inode(Arc<Mutex<Content>>);

#[derive(Clone, Default)]
struct Content {
    number: u64,
    live: Image,
    durable: Image,
    waiting: Vec<Change>,
    /// Pages that cannot be read until they are written.
    unreadable: BTreeSet<u64>,
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    SetSize(u64),
}

impl Change {
    fn describe(&self) -> String {
        match self {
            Self::Write(offset, bytes) => format!("write of {} at {offset}", bytes.len()),
            Self::SetSize(size) => format!("size {size}"),
        }
    }
}

impl NameChange {
    fn describe(&self) -> String {
        match self {
            Self::Create(name, inode) => format!("create {name} as file {}", inode.lock().number),
            Self::Remove(name) => format!("remove {name}"),
            Self::Rename(from, to) => format!("rename {from} to {to}"),
        }
    }
}

/// The contents of a disk at one moment, as its medium has them.
#[derive(Clone)]
pub struct Snapshot(BTreeMap<String, Content>);

/// One operation, for the trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
enum Op {
    Read = 1,
    Write,
    Sync,
    SetSize,
    Open,
    Create,
    Remove,
    Rename,
    SyncDir,
    List,
}

impl SimDisk {
    /// An empty disk, its choices drawn from the stream `disk-<number>`.
    pub fn new(sim: &Sim, number: u32, capacity: u64, power: Arc<Power>) -> Self {
        let state = State {
            capacity,
            dice: sim.dice(&format!("disk-{number}")),
            weather: Weather::CLEAR,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            waiting_names: Vec::new(),
            next_inode: 1,
            armed: None,
            gone: false,
            cost_us: 0,
        };
        Self(Arc::new(Inner { number, sim: sim.clone(), power, state: Mutex::new(state) }))
    }

    /// Changes what may go wrong.
    pub fn set_weather(&self, weather: Weather) {
        if weather.slowness > 1 {
            self.0.sim.fault(Fault::Slow);
        }
        self.lock().weather = weather;
    }

    /// Virtual microseconds that the operations since the last call took.
    pub fn take_cost(&self) -> u64 {
        std::mem::take(&mut self.lock().cost_us)
    }

    /// Whether its machine has power.
    pub fn has_power(&self) -> bool {
        !self.0.power.is_cut()
    }

    /// The power came back after a cut: what survived is what is there.
    pub fn power_cut(&self) {
        self.0.sim.trace(Happening::PowerCut, &[u64::from(self.0.number)]);
        crash::settle(&mut self.lock(), &self.0.sim);
    }

    /// What the medium holds now.
    pub fn snapshot(&self) -> Snapshot {
        let copy = |inode: &Inode| {
            let content = inode.lock();
            Content { live: content.durable.clone(), waiting: Vec::new(), ..content.clone() }
        };
        Snapshot(self.lock().durable_names.iter().map(|(name, inode)| (name.clone(), copy(inode))).collect())
    }

    /// Puts other contents in the place of this disk's: an old copy, another drive's, or nothing.
    pub fn replace(&self, contents: Snapshot) {
        let names: BTreeMap<String, Inode> = contents
            .0
            .into_iter()
            .map(|(name, content)| (name, Inode(Arc::new(Mutex::new(content)))))
            .collect();
        let mut state = self.lock();
        state.durable_names = names.clone();
        state.names = names;
        state.waiting_names.clear();
        state.armed = None;
        state.gone = false;
    }

    /// Bytes of all files, as a reader sees them.
    pub fn used(&self) -> u64 {
        self.lock().used()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an operation; an error if there is no power, or no drive.
    fn begin(&self, op: Op, name: &str, facts: [u64; 3]) -> io::Result<MutexGuard<'_, State>> {
        self.0.sim.tell(|| format!("disk {}: {op:?} {name} {facts:?}", self.0.number));
        self.0
            .sim
            .trace(Happening::Disk, &[op as u64, u64::from(self.0.number), facts[0], facts[1], facts[2]]);
        match self.0.power.draw() {
            Supply::On => {}
            Supply::Going => return Err(io::Error::new(io::ErrorKind::NotConnected, "the power goes")),
            Supply::Off => return Err(io::Error::other("no power")),
        }
        let mut state = self.lock();
        if state.gone {
            return Err(io::Error::other("no drive"));
        }
        let (base, bytes) = match op {
            Op::Read => (READ_US, facts[2]),
            Op::Write => (WRITE_US, facts[2]),
            Op::Sync | Op::SyncDir | Op::Create => (SYNC_US, 0),
            Op::SetSize | Op::Open | Op::Remove | Op::Rename | Op::List => (WRITE_US, 0),
        };
        let mut cost_us = (base + bytes / BYTES_PER_US) * state.weather.slowness;
        let stalls = state.weather.stalls;
        if stalls > 0 && state.dice.chance(stalls) {
            self.0.sim.fault(Fault::Stall);
            cost_us += state.dice.below(STALL_US_MAX);
        }
        state.cost_us += cost_us;
        Ok(state)
    }
}

impl State {
    fn used(&self) -> u64 {
        self.names.values().map(|inode| inode.lock().live.size()).sum()
    }

    fn fresh(&mut self, size: u64) -> Inode {
        let number = self.next_inode;
        self.next_inode += 1;
        let mut live = Image::default();
        live.set_size(size);
        let waiting = vec![Change::SetSize(size)];
        Inode(Arc::new(Mutex::new(Content { number, live, waiting, ..Content::default() })))
    }

    /// Rolls one of the faults that the weather makes.
    fn strikes(&mut self, permille: u64) -> bool {
        permille > 0 && self.dice.chance(permille)
    }
}

impl Inode {
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, name.to_owned())
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space left on the simulated drive")
}

fn broken() -> io::Error {
    io::Error::other("the simulated drive reports an error")
}

impl Disk for SimDisk {
    fn open(&self, name: &str, create: Option<u64>) -> io::Result<Box<dyn DiskFile>> {
        let op = if create.is_some() { Op::Create } else { Op::Open };
        let mut state = self.begin(op, name, [name.len() as u64, create.unwrap_or(0), 0])?;
        let inode = match (state.names.get(name).cloned(), create) {
            (Some(_), Some(_)) => return Err(io::Error::from(io::ErrorKind::AlreadyExists)),
            (Some(inode), None) => inode,
            (None, None) => return Err(missing(name)),
            (None, Some(size)) => {
                if state.used() + size > state.capacity {
                    return Err(full());
                }
                let inode = state.fresh(size);
                state.names.insert(name.to_owned(), inode.clone());
                state.waiting_names.push(NameChange::Create(name.to_owned(), inode.clone()));
                inode
            }
        };
        Ok(Box::new(SimFile { disk: self.clone(), inode, name: name.to_owned() }))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let state = self.begin(Op::List, dir, [0; 3])?;
        let within =
            |name: &&String| dir.is_empty() || name.strip_prefix(dir).is_some_and(|n| n.starts_with('/'));
        Ok(state.names.keys().filter(within).cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.begin(Op::Remove, name, [name.len() as u64, 0, 0])?;
        state.names.remove(name).ok_or_else(|| missing(name))?;
        state.waiting_names.push(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.begin(Op::Rename, to, [from.len() as u64, to.len() as u64, 0])?;
        let inode = state.names.remove(from).ok_or_else(|| missing(from))?;
        state.names.insert(to.to_owned(), inode);
        state.waiting_names.push(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.begin(Op::SyncDir, "", [0; 3])?;
        let sync_fails = state.weather.sync_fails;
        if state.strikes(sync_fails) {
            self.0.sim.fault(Fault::SyncFailed);
            return Err(broken());
        }
        state.durable_names = state.names.clone();
        state.waiting_names.clear();
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        let state = self.lock();
        if state.gone {
            return Err(io::Error::other("no drive"));
        }
        Ok(Space { total: state.capacity, available: state.capacity.saturating_sub(state.used()) })
    }

    fn describe(&self) -> String {
        format!("disk {}", self.0.number)
    }
}

struct SimFile {
    disk: SimDisk,
    inode: Inode,
    name: String,
}

impl SimFile {
    fn number(&self) -> u64 {
        self.inode.lock().number
    }

    /// Puts bytes where readers see them and into the queue for the medium.
    fn place(content: &mut Content, bytes: Vec<u8>, offset: u64) {
        content.live.write(&bytes, offset);
        for page in pages_of(offset, bytes.len()) {
            content.unreadable.remove(&page);
        }
        content.waiting.push(Change::Write(offset, bytes));
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.begin(Op::Read, &self.name, [self.number(), offset, buf.len() as u64])?;
        let sim = &self.disk.0.sim;
        let content = self.inode.lock();
        if offset + buf.len() as u64 > content.live.size() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let short_reads = state.weather.short_reads;
        if state.strikes(short_reads) {
            sim.fault(Fault::ShortRead);
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        if pages_of(offset, buf.len()).any(|page| content.unreadable.contains(&page)) {
            return Err(broken());
        }
        let from = damage::read_from(&mut state, sim, &content, offset, buf.len());
        content.live.read(buf, from);
        Ok(())
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut bytes: Vec<u8> = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        let begun = self.disk.begin(Op::Write, &self.name, [self.number(), offset, bytes.len() as u64]);
        let sim = &self.disk.0.sim;
        let mut content = self.inode.lock();
        let mut state = match begun {
            Ok(state) => state,
            Err(error) => {
                if error.kind() == io::ErrorKind::NotConnected {
                    Self::place(&mut content, bytes, offset);
                }
                return Err(error);
            }
        };
        let weather = state.weather;
        let grows = (offset + bytes.len() as u64).saturating_sub(content.live.size());
        let size = content.live.size();
        drop(content);
        let is_full = grows > 0 && state.used() + grows > state.capacity;
        let mut content = self.inode.lock();
        debug_assert_eq!(size, content.live.size(), "one thread");
        if is_full || state.strikes(weather.no_space) {
            sim.fault(Fault::NoSpace);
            bytes.truncate(state.dice.index(bytes.len()));
            Self::place(&mut content, bytes, offset);
            return Err(full());
        }
        if state.strikes(weather.write_fails) {
            sim.fault(Fault::WriteFailed);
            bytes.truncate(state.dice.index(bytes.len()));
            Self::place(&mut content, bytes, offset);
            return Err(broken());
        }
        match damage::write_to(&mut state, sim, &self.name, &content, offset, bytes.len()) {
            Some(elsewhere) => Self::place(&mut content, bytes, elsewhere),
            None => Self::place(&mut content, bytes, offset),
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.begin(Op::Sync, &self.name, [self.number(), 0, 0])?;
        let sim = &self.disk.0.sim;
        let mut content = self.inode.lock();
        let sync_fails = state.weather.sync_fails;
        if state.strikes(sync_fails) {
            sim.fault(Fault::SyncFailed);
            crash::fail_sync(&mut content, &mut state.dice);
            return Err(broken());
        }
        let lost = damage::loses_write(&mut state, sim, &self.name, &content);
        content.make_durable(lost);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.inode.lock().live.size())
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        let state = self.disk.begin(Op::SetSize, &self.name, [self.number(), size, 0])?;
        let before = self.inode.lock().live.size();
        if size > before && state.used() + (size - before) > state.capacity {
            return Err(full());
        }
        let mut content = self.inode.lock();
        content.live.set_size(size);
        content.waiting.push(Change::SetSize(size));
        Ok(())
    }
}

impl Content {
    /// Everything that waits goes to the medium, except the write with that number.
    fn make_durable(&mut self, lost: Option<usize>) {
        for (number, change) in std::mem::take(&mut self.waiting).into_iter().enumerate() {
            match change {
                Change::SetSize(size) => self.durable.set_size(size),
                Change::Write(offset, bytes) if Some(number) == lost => {
                    // The drive said yes and forgot; a later read from the medium tells.
                    self.durable.grow(offset + bytes.len() as u64);
                    pages_of(offset, bytes.len()).for_each(|page| self.live.share_page(page, &self.durable));
                }
                Change::Write(offset, bytes) => {
                    self.durable.grow(offset + bytes.len() as u64);
                    pages_of(offset, bytes.len()).for_each(|page| self.durable.share_page(page, &self.live));
                }
            }
        }
    }
}
