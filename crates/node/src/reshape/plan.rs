//! Plans: what a change of the layout moves, how long that takes, what the result survives, and what speaks against it.

use std::collections::BTreeMap;

use pangea_core::layout::{Layout, LayoutDrive, Moves, Role, Slot};
use pangea_core::seam::Disk as _;

use super::newcomer::Newcomer;
use super::{Reshaper, brief};
use crate::control::{LayoutPlan, PlannedDrive, Survived};
use crate::pace::Limits;

/// A drive is not filled above this by a move, in parts of a hundred of what it can take.
const FILL_PERCENT_MAX: u64 = 95;

impl Reshaper {
    /// What becomes of every drive when `layout` becomes `next`.
    pub(super) async fn plan(
        &self,
        layout: &Layout,
        next: &Layout,
        newcomers: &[Newcomer],
        pace: Limits,
    ) -> LayoutPlan {
        let moves = layout.moves(next, layout.code.n());
        let mut live = BTreeMap::new();
        let mut available = BTreeMap::new();
        for drive in self.parts.roster.mounted() {
            if let Some(Ok(status)) = brief(drive.store.status()).await {
                live.insert(Slot(drive.slot), status.live_bytes);
                available.insert(Slot(drive.slot), status.available_bytes);
            }
        }
        for newcomer in newcomers {
            let space = newcomer.directory.disk.as_ref().and_then(|disk| disk.space().ok());
            if let (Some(slot), Some(space)) = (next.slot_of(newcomer.drive), space) {
                available.insert(slot, space.available);
            }
        }
        // A drive that is not here is taken to hold what the others do: it is rebuilt.
        let usual = live.values().sum::<u64>() / live.len().max(1) as u64;
        let of_pair = |from: Slot, entries: u64| {
            let held = moves.held.get(&from).copied().unwrap_or(0).max(1);
            let bytes = live.get(&from).copied().unwrap_or(usual);
            (u128::from(bytes) * u128::from(entries) / u128::from(held)) as u64
        };
        let drives = next.drives.iter().filter(|drive| concerns(layout, drive));
        let drives: Vec<PlannedDrive> =
            drives.map(|drive| planned(layout, next, &moves, drive, &available, &of_pair)).collect();
        let bytes = moves.entries.iter().map(|((from, _), entries)| of_pair(*from, *entries)).sum();
        let survives = (survived(layout), survived(next));
        let warnings = warnings(layout, next, &drives, survives);
        let seconds = pace.bytes_per_second.map(|rate| 2 * bytes / rate.max(1));
        LayoutPlan {
            epoch: layout.epoch,
            applied: false,
            drives,
            bytes,
            seconds,
            code: (layout.code.to_string(), next.code.to_string()),
            survives,
            warnings,
        }
    }
}

/// Whether a drive of the next layout was not gone before.
fn concerns(layout: &Layout, drive: &LayoutDrive) -> bool {
    layout.drive(drive.slot).is_none_or(|known| known.role != Role::Gone)
}

fn planned(
    layout: &Layout,
    next: &Layout,
    moves: &Moves,
    drive: &LayoutDrive,
    available: &BTreeMap<Slot, u64>,
    of_pair: &impl Fn(Slot, u64) -> u64,
) -> PlannedDrive {
    let slot = drive.slot;
    let sum = |pick: &dyn Fn(Slot, Slot) -> bool| {
        let picked = moves.entries.iter().filter(|((from, to), _)| pick(*from, *to));
        picked.fold((0, 0), |(n, b), ((from, _), entries)| (n + entries, b + of_pair(*from, *entries)))
    };
    let ((came, bytes_in), (went, bytes_out)) = (sum(&|_, to| to == slot), sum(&|from, _| from == slot));
    let before = moves.held.get(&slot).copied().unwrap_or(0);
    let what = match (layout.drive(slot), next.drive(slot).map(|drive| drive.role)) {
        (None, _) => "new",
        (_, Some(Role::Draining)) => "drains",
        (_, Some(Role::Gone)) => "leaves",
        _ => "stays",
    };
    PlannedDrive {
        slot: slot.0,
        dir: drive.path.clone(),
        what: what.to_owned(),
        partitions: (before, before + came - went),
        bytes_out,
        bytes_in,
        available_bytes: available.get(&slot).copied(),
    }
}

/// What may be lost at once, with everything still readable; and writes still acknowledged.
fn survived(layout: &Layout) -> Survived {
    let code = layout.code;
    let read = layout.survival(code, code.m(), |_| true);
    let write = layout.survival(code, code.n() - code.write_quorum(), |_| true);
    Survived {
        drives: read.drives,
        hosts: read.hosts,
        racks: read.racks,
        sites: read.sites,
        writing_drives: write.drives,
    }
}

fn warnings(
    layout: &Layout,
    next: &Layout,
    drives: &[PlannedDrive],
    (before, after): (Survived, Survived),
) -> Vec<String> {
    let mut warnings = vec![];
    let (active, shards) = (next.active().count(), usize::from(next.code.n()));
    if active < shards && active < layout.active().count() {
        warnings.push(format!(
            "only {active} drives would be left for {shards} shards of code {}, so some would hold two of an object",
            next.code
        ));
    }
    if after.drives < before.drives {
        warnings.push(format!("{} drives could be lost at once instead of {}", after.drives, before.drives));
    }
    for drive in drives {
        let room = drive.available_bytes.map(|bytes| bytes / 100 * FILL_PERCENT_MAX);
        if room.is_some_and(|room| drive.bytes_in > room) {
            let (dir, come, room) = (&drive.dir, drive.bytes_in, room.unwrap_or(0));
            warnings.push(format!("{come} bytes would go to {dir}, which has room for {room}"));
        }
    }
    warnings
}
