//! Damage: what a medium does to bytes that it said were safe.
//!
//! Outside the fault atlas nothing of this may happen to more drives at once than the code can lose; inside it, acked
//! data must survive. The simulator's worlds keep that account; here the damage is only done.

use std::collections::BTreeMap;

use crate::executor::Sim;
use crate::fault::Fault;

use super::image::PAGE_BYTES;
use super::{Change, Content, SimDisk, Snapshot, State};

/// The file whose two copies [`Damage::SuperblockCopy`] is about.
const SUPERBLOCK: &str = "superblock";
/// Where its second copy lies.
const SECOND_COPY_PAGE: u64 = 16;

/// What may happen to a drive's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// The next sync of a data file says yes to a write that it forgets.
    LostWrite,
    /// The next write to a data file lands elsewhere in it.
    MisdirectedWrite,
    /// The next read of a file comes from elsewhere in it.
    MisdirectedRead,
    /// A bit changes, somewhere.
    BitRot,
    /// A page cannot be read any more, somewhere.
    LatentError,
    /// One copy of the superblock becomes noise.
    SuperblockCopy,
    /// The drive is gone, with all it held.
    Gone,
}

impl SimDisk {
    /// Does it now, or at the next operation that fits.
    pub fn damage(&self, damage: Damage) {
        let sim = self.0.sim.clone();
        let mut state = self.lock();
        match damage {
            Damage::LostWrite | Damage::MisdirectedWrite | Damage::MisdirectedRead => {
                state.armed = Some(damage)
            }
            Damage::BitRot => strike(&mut state, &sim, Fault::BitRot, |content, page, roll| {
                let bit = (roll % (PAGE_BYTES * 8)) as usize;
                content.live.flip(page, bit);
                content.durable.flip(page, bit);
            }),
            Damage::LatentError => strike(&mut state, &sim, Fault::LatentError, |content, page, _| {
                content.unreadable.insert(page);
            }),
            Damage::SuperblockCopy => {
                let page = if state.dice.chance(500) { 0 } else { SECOND_COPY_PAGE };
                let noise: [u8; 512] = state.dice.array();
                if let Some(inode) = state.names.get(SUPERBLOCK) {
                    let mut content = inode.lock();
                    content.live.write(&noise, page * PAGE_BYTES);
                    content.durable.write(&noise, page * PAGE_BYTES);
                    sim.fault(Fault::SuperblockCopy);
                }
            }
            Damage::Gone => {
                sim.fault(Fault::DriveLost);
                state.gone = true;
                state.names.clear();
                state.durable_names.clear();
                state.waiting_names.clear();
            }
        }
    }

    /// An empty drive takes the place of one that is gone.
    pub fn renew(&self) {
        self.replace(Snapshot(BTreeMap::new()));
    }

    /// Disarms damage that has not struck.
    pub fn disarm(&self) {
        self.lock().armed = None;
    }

    /// Whether the drive is gone.
    pub fn is_gone(&self) -> bool {
        self.lock().gone
    }

    /// Makes every page readable again, as a replaced cable does.
    pub fn heal_latent(&self) {
        self.lock().names.values().for_each(|inode| inode.lock().unreadable.clear());
    }
}

/// Hits a random page that was ever written, of a random file.
fn strike(state: &mut State, sim: &Sim, fault: Fault, hit: impl Fn(&mut Content, u64, u64)) {
    let places: Vec<(String, u64)> = state
        .names
        .iter()
        .filter(|(name, _)| *name != SUPERBLOCK)
        .flat_map(|(name, inode)| inode.lock().durable.written().into_iter().map(|page| (name.clone(), page)))
        .collect();
    if places.is_empty() {
        return;
    }
    let (name, page) = &places[state.dice.index(places.len())];
    let roll = state.dice.u64();
    hit(&mut state.names[name].lock(), *page, roll);
    sim.fault(fault);
}

/// Where a read really reads.
pub(super) fn read_from(state: &mut State, sim: &Sim, content: &Content, offset: u64, len: usize) -> u64 {
    if state.armed != Some(Damage::MisdirectedRead) {
        return offset;
    }
    elsewhere(state, content, offset, len).map_or(offset, |other| {
        state.armed = None;
        sim.fault(Fault::MisdirectedRead);
        other
    })
}

/// Where a write really goes, if not where it should.
pub(super) fn write_to(
    state: &mut State,
    sim: &Sim,
    name: &str,
    content: &Content,
    offset: u64,
    len: usize,
) -> Option<u64> {
    if state.armed != Some(Damage::MisdirectedWrite) || name == SUPERBLOCK {
        return None;
    }
    let other = elsewhere(state, content, offset, len)?;
    state.armed = None;
    sim.fault(Fault::MisdirectedWrite);
    Some(other)
}

/// Which of the waiting writes a sync forgets.
pub(super) fn loses_write(state: &mut State, sim: &Sim, name: &str, content: &Content) -> Option<usize> {
    if state.armed != Some(Damage::LostWrite) || name == SUPERBLOCK {
        return None;
    }
    let writes: Vec<usize> = (0..content.waiting.len())
        .filter(|number| matches!(content.waiting[*number], Change::Write(..)))
        .collect();
    if writes.is_empty() {
        return None;
    }
    state.armed = None;
    sim.fault(Fault::LostWrite);
    Some(state.dice.pick(&writes))
}

/// Another page-aligned place in the file that holds as much.
fn elsewhere(state: &mut State, content: &Content, offset: u64, len: usize) -> Option<u64> {
    let places = (content.live.size().checked_sub(len as u64)?) / PAGE_BYTES + 1;
    let other = state.dice.below(places) * PAGE_BYTES + offset % PAGE_BYTES;
    (other != offset && other + len as u64 <= content.live.size()).then_some(other)
}

/// Gives two drives each other's contents.
pub fn swap(a: &SimDisk, b: &SimDisk) {
    let (of_a, of_b) = (a.snapshot(), b.snapshot());
    a.replace(of_b);
    b.replace(of_a);
    a.0.sim.fault(Fault::Swapped);
}
