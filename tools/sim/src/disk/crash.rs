//! What survives: the legal states of a disk after a power cut, and after a sync that failed.
//!
//! Between two syncs a drive may write any sector of any waiting write, in any order. Names follow the order of a
//! journal most of the time, and none some of the time.

use std::collections::BTreeMap;

use crate::dice::Dice;
use crate::executor::Sim;
use crate::fault::Fault;

use super::image::{Image, PAGE_BYTES};
use super::{Change, Content, Inode, NameChange, State};

const SECTOR_BYTES: usize = 512;

/// How a write that waited fares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Kept,
    Lost,
    /// Some units of this many bytes survive.
    Holes(usize),
    /// The first bytes survive, cut at a unit of this many.
    Prefix(usize),
}

/// Decides what the medium holds after a power cut, and forgets everything else.
pub(super) fn settle(state: &mut State, sim: &Sim) {
    let names = surviving_names(state, sim);
    for inode in names.values() {
        let mut content = inode.lock();
        let content = &mut *content;
        sim.tell(|| format!("file {} after the cut", content.number));
        let waiting = std::mem::take(&mut content.waiting);
        survive(&mut content.durable, waiting, &mut state.dice, Some(sim));
        content.live = content.durable.clone();
    }
    state.durable_names = names.clone();
    state.names = names;
    state.waiting_names.clear();
    state.cost_us = 0;
}

/// A sync that failed: some of what waited is on the medium, readers still see all of it, and nothing waits any more.
pub(super) fn fail_sync(content: &mut Content, dice: &mut Dice) {
    let waiting = std::mem::take(&mut content.waiting);
    survive(&mut content.durable, waiting, dice, None);
}

fn surviving_names(state: &mut State, sim: &Sim) -> BTreeMap<String, Inode> {
    let mut names = state.durable_names.clone();
    let waiting = std::mem::take(&mut state.waiting_names);
    let in_order = state.dice.chance(700);
    let kept = state.dice.index(waiting.len() + 1);
    let mut dropped: Vec<String> = Vec::new();
    for (number, change) in waiting.into_iter().enumerate() {
        let touched: Vec<&String> = match &change {
            NameChange::Create(name, _) | NameChange::Remove(name) => vec![name],
            NameChange::Rename(from, to) => vec![from, to],
        };
        let keep = if in_order {
            number < kept
        } else {
            // What rests on a change that is gone is gone too.
            !touched.iter().any(|name| dropped.contains(name)) && state.dice.chance(600)
        };
        if !keep {
            dropped.extend(touched.into_iter().cloned());
            sim.fault(Fault::NameLost);
            sim.tell(|| format!("lost: {}", change.describe()));
            continue;
        }
        match change {
            NameChange::Create(name, inode) => {
                names.insert(name, inode);
            }
            NameChange::Remove(name) => {
                names.remove(&name);
            }
            NameChange::Rename(from, to) => {
                if let Some(inode) = names.remove(&from) {
                    names.insert(to, inode);
                }
            }
        }
    }
    names
}

/// Applies what survives of the waiting changes.
fn survive(image: &mut Image, mut waiting: Vec<Change>, dice: &mut Dice, sim: Option<&Sim>) {
    let count = |fault| sim.iter().for_each(|sim| sim.fault(fault));
    let writes: Vec<usize> =
        (0..waiting.len()).filter(|number| matches!(waiting[*number], Change::Write(..))).collect();
    if writes.len() > 1 && dice.chance(500) {
        let mut order = writes.clone();
        dice.shuffle(&mut order);
        if order != writes {
            let shuffled: Vec<Change> = order.iter().map(|number| waiting[*number].clone()).collect();
            writes.iter().zip(shuffled).for_each(|(number, change)| waiting[*number] = change);
        }
    }
    let mood = dice.index(4);
    let mut gap = false;
    for change in waiting {
        let unit = if dice.chance(500) { SECTOR_BYTES } else { PAGE_BYTES as usize };
        let fate = match mood {
            0 => Fate::Kept,
            1 => Fate::Lost,
            _ => dice.weighted(&[
                (30, Fate::Kept),
                (30, Fate::Lost),
                (20, Fate::Holes(unit)),
                (20, Fate::Prefix(unit)),
            ]),
        };
        sim.iter().for_each(|sim| sim.tell(|| format!("{fate:?}: {}", change.describe())));
        // What came later is there, what came before is not.
        if gap && fate != Fate::Lost {
            count(Fault::Reordered);
        }
        gap |= fate == Fate::Lost;
        match change {
            Change::SetSize(size) => {
                if fate != Fate::Lost {
                    image.set_size(size);
                }
            }
            Change::Write(offset, bytes) => match fate {
                Fate::Kept => image.write(&bytes, offset),
                Fate::Lost => count(Fault::UnsyncedLost),
                Fate::Holes(unit) => {
                    count(Fault::Torn);
                    let mut at = offset;
                    for part in bytes.chunks(unit) {
                        if dice.chance(500) {
                            image.write(part, at);
                        }
                        at += part.len() as u64;
                    }
                }
                Fate::Prefix(unit) => {
                    count(Fault::Torn);
                    let units = dice.index(bytes.len().div_ceil(unit) + 1);
                    image.write(&bytes[..bytes.len().min(units * unit)], offset);
                }
            },
        }
    }
}
