//! Assignment: which drives hold the shards of every partition, so that each drive has its share by capacity, shards of a
//! partition lie in as many domains as there are, and as little as possible moves.
//!
//! A transport problem in integers. Every partition needs n seats; a drive gives at most ⌈n / drives⌉ of them, and so on up
//! the tree of domains; a drive's total is its share by capacity as far as those bounds let it. Starting from what there
//! was, seats are shifted along shortest paths from drives with too many to drives with too few: the residual paths of a
//! max-flow (Ford & Fulkerson 1956; Edmonds & Karp 1972), over drives instead of partitions, because a partition is only the
//! witness that one step of the path is possible. Nearly every path is one step, and then exactly what is too much moves.

use std::collections::{BTreeMap, VecDeque};

use super::{Domain, Layout, Slot, Table};

/// Makes the table for codes of `shards` shards over the layout's active drives. `before` says where a partition's shards
/// were (by index; slots that are gone count as vacant, an empty row as all vacant).
///
/// # Panics
/// If the layout has no active drive.
pub fn assign(layout: &Layout, shards: u8, before: impl Fn(u32) -> Vec<Slot>) -> Table {
    let tree = Tree::new(layout, shards);
    let mut seating = Seating::start(layout, &tree, shards, before);
    seating.fill();
    seating.balance();
    let slots = seating.rows.iter().flatten().map(|drive| tree.slots[usize::from(*drive)]).collect();
    Table { shards, slots }
}

const VACANT: u16 = u16::MAX;
const ROOT: usize = 0;

/// The domains with their bounds. Every partition gives every drive `base` seats; what is bounded here are the *extra* ones,
/// at most one a drive.
struct Tree {
    nodes: Vec<Domains>,
    /// The slot of each active drive.
    slots: Vec<Slot>,
    /// The node of each active drive.
    leaf: Vec<usize>,
    /// Seats that every drive has in every partition.
    base: u16,
}

struct Domains {
    parent: usize,
    children: Vec<usize>,
    drives: u64,
    weight: u64,
    /// Extra seats of one partition below here.
    extra_max: u16,
    /// Extra seats of all partitions below here.
    target: u64,
}

impl Tree {
    fn new(layout: &Layout, shards: u8) -> Self {
        let root = Domains { parent: ROOT, children: vec![], drives: 0, weight: 0, extra_max: 0, target: 0 };
        let mut tree = Self { nodes: vec![root], slots: vec![], leaf: vec![], base: 0 };
        let mut known: BTreeMap<(usize, Vec<&str>), usize> = BTreeMap::new();
        for drive in layout.active() {
            let mut at = ROOT;
            for label in labels(&drive.domain) {
                let next = tree.nodes.len();
                let node = *known.entry((at, label)).or_insert(next);
                if node == next {
                    tree.add(at);
                }
                at = node;
            }
            let leaf = tree.add(at);
            tree.slots.push(drive.slot);
            tree.leaf.push(leaf);
            let mut up = leaf;
            loop {
                tree.nodes[up].drives += 1;
                tree.nodes[up].weight += u64::from(drive.weight.max(1));
                if up == ROOT {
                    break;
                }
                up = tree.nodes[up].parent;
            }
        }
        let drives = tree.slots.len();
        assert!(drives > 0, "a layout that is assigned has an active drive");
        tree.base = u16::from(shards) / drives as u16;
        let extra = u16::from(shards) % drives as u16;
        tree.nodes[ROOT].extra_max = extra;
        tree.nodes[ROOT].target = u64::from(extra) * u64::from(layout.partitions());
        tree.divide(ROOT, u64::from(layout.partitions()));
        tree
    }

    fn add(&mut self, parent: usize) -> usize {
        let node = self.nodes.len();
        self.nodes.push(Domains { parent, children: vec![], drives: 0, weight: 0, extra_max: 0, target: 0 });
        self.nodes[parent].children.push(node);
        node
    }

    /// Bounds and targets of everything below a node, whose own are known.
    fn divide(&mut self, node: usize, partitions: u64) {
        let children = self.nodes[node].children.clone();
        if children.is_empty() {
            return;
        }
        let wanted = u64::from(self.nodes[node].extra_max);
        // The lowest level of seats at which all find one: domains that are larger because of `base` get fewer extra.
        let base = u64::from(self.base);
        let extra_at = |level: u64, drives: u64| level.saturating_sub(base * drives).min(drives);
        let mut level = 0;
        while children.iter().map(|c| extra_at(level, self.nodes[*c].drives)).sum::<u64>() < wanted {
            level += 1;
        }
        for child in &children {
            let most = extra_at(level, self.nodes[*child].drives).min(wanted);
            self.nodes[*child].extra_max = most as u16;
        }
        let weights: Vec<u64> = children.iter().map(|c| self.nodes[*c].weight).collect();
        let most: Vec<u64> =
            children.iter().map(|c| u64::from(self.nodes[*c].extra_max) * partitions).collect();
        for (child, target) in children.iter().zip(shares(self.nodes[node].target, &weights, &most)) {
            self.nodes[*child].target = target;
        }
        for child in children {
            self.divide(child, partitions);
        }
    }

    fn target(&self, drive: u16) -> u64 {
        self.nodes[self.leaf[usize::from(drive)]].target
    }

    fn drives(&self) -> impl Iterator<Item = u16> + use<> {
        0..self.slots.len() as u16
    }
}

/// The levels between the root and a drive.
fn labels(domain: &Domain) -> [Vec<&str>; 3] {
    let Domain { region, site, rack, host } = domain;
    [vec![region, site], vec![rack], vec![host]]
}

/// Divides `total` by weight, nobody getting more than its `most`; the sum is `total` if the bounds allow it.
fn shares(total: u64, weights: &[u64], most: &[u64]) -> Vec<u64> {
    let mut given = vec![0_u64; weights.len()];
    let mut open: Vec<usize> = (0..weights.len()).collect();
    let mut left = total;
    // Whoever reaches its bound leaves the rest to the others.
    loop {
        let weight: u128 = open.iter().map(|i| u128::from(weights[*i])).sum();
        let fair = |i: usize| u128::from(left) * u128::from(weights[i]) / weight.max(1);
        let Some(at) = open.iter().position(|i| fair(*i) >= u128::from(most[*i])) else { break };
        let full = open.remove(at);
        given[full] = most[full].min(left);
        left -= given[full];
        if open.is_empty() {
            return given;
        }
    }
    let weight: u128 = open.iter().map(|i| u128::from(weights[*i])).sum();
    let mut rests: Vec<(u128, usize)> = vec![];
    let whole = left;
    for i in open {
        let exact = u128::from(whole) * u128::from(weights[i]);
        given[i] = (exact / weight.max(1)) as u64;
        left -= given[i];
        rests.push((exact % weight.max(1), i));
    }
    rests.sort_unstable_by(|a, b| b.cmp(a));
    for (_, i) in rests {
        if left > 0 && given[i] < most[i] {
            given[i] += 1;
            left -= 1;
        }
    }
    given
}

/// The rows while they are made; drives by their place among the active ones.
struct Seating<'a> {
    tree: &'a Tree,
    rows: Vec<Vec<u16>>,
    before: Vec<Vec<u16>>,
    /// Extra seats of every drive in all partitions.
    extra: Vec<u64>,
}

impl<'a> Seating<'a> {
    /// Keeps what may stay.
    fn start(layout: &Layout, tree: &'a Tree, shards: u8, before: impl Fn(u32) -> Vec<Slot>) -> Self {
        let by_slot: BTreeMap<Slot, u16> = tree.slots.iter().copied().zip(0..).collect();
        let mut seating = Self { tree, rows: vec![], before: vec![], extra: vec![0; tree.slots.len()] };
        for partition in 0..layout.partitions() {
            let mut was: Vec<u16> = before(partition)
                .iter()
                .take(usize::from(shards))
                .map(|slot| by_slot.get(slot).copied().unwrap_or(VACANT))
                .collect();
            was.resize(usize::from(shards), VACANT);
            seating.rows.push(vec![VACANT; usize::from(shards)]);
            for (index, drive) in was.iter().enumerate().filter(|(_, drive)| **drive != VACANT) {
                seating.seat_if_allowed(partition as usize, index, *drive);
            }
            seating.before.push(was);
        }
        seating
    }

    fn seats(&self, row: usize, drive: u16) -> u16 {
        self.rows[row].iter().filter(|held| **held == drive).count() as u16
    }

    fn seat_if_allowed(&mut self, row: usize, index: usize, drive: u16) -> bool {
        let seats = self.seats(row, drive);
        if seats > self.tree.base || (seats == self.tree.base && !self.has_room(row, drive, None)) {
            return false;
        }
        self.extra[usize::from(drive)] += u64::from(seats == self.tree.base);
        self.rows[row][index] = drive;
        true
    }

    /// Whether the bounds allow `drive` an extra seat in a row, when `leaving` gives up its own.
    fn has_room(&self, row: usize, drive: u16, leaving: Option<u16>) -> bool {
        let tree = self.tree;
        let mut node = tree.leaf[usize::from(drive)];
        loop {
            let below = |other: u16| {
                let mut up = tree.leaf[usize::from(other)];
                while up != node && up != ROOT {
                    up = tree.nodes[up].parent;
                }
                up == node
            };
            let held =
                self.extra_drives(row).filter(|other| Some(*other) != leaving && below(*other)).count();
            if held >= usize::from(tree.nodes[node].extra_max) {
                return false;
            }
            if node == ROOT {
                return true;
            }
            node = tree.nodes[node].parent;
        }
    }

    /// Drives with an extra seat in a row.
    fn extra_drives(&self, row: usize) -> impl Iterator<Item = u16> + '_ {
        let (seats, base) = (&self.rows[row], usize::from(self.tree.base));
        let nth = move |at: usize| seats[..at].iter().filter(|held| **held == seats[at]).count();
        (0..seats.len()).filter(move |at| seats[*at] != VACANT && nth(*at) == base).map(|at| seats[at])
    }

    /// Fills the vacant seats: with drives that lack one of their own, then with those furthest below their share.
    fn fill(&mut self) {
        for row in 0..self.rows.len() {
            for index in 0..self.rows[row].len() {
                if self.rows[row][index] != VACANT {
                    continue;
                }
                let lacking = self.tree.drives().find(|drive| self.seats(row, *drive) < self.tree.base);
                let chosen = lacking.or_else(|| self.neediest(row));
                let chosen = chosen.expect("bounds leave room for every seat of a partition");
                let seated = self.seat_if_allowed(row, index, chosen);
                assert!(seated, "the chosen drive has room");
            }
        }
    }

    /// The drive with room in a row that is furthest below its share, in parts of it; ties are spread over the rows.
    fn neediest(&self, row: usize) -> Option<u16> {
        let count = self.tree.slots.len() as u64;
        let need = |drive: &u16| {
            let (have, target) = (self.extra[usize::from(*drive)], self.tree.target(*drive));
            let filled = (u128::from(have) << 32) / u128::from(target.max(1));
            (filled, (u64::from(*drive) + count - row as u64 % count) % count)
        };
        self.tree
            .drives()
            .filter(|drive| self.seats(row, *drive) <= self.tree.base && self.has_room(row, *drive, None))
            .min_by_key(need)
    }

    /// Shifts seats from drives above their share to drives below it.
    fn balance(&mut self) {
        let over = |s: &Self, d: u16| s.extra[usize::from(d)] > s.tree.target(d);
        let under = |s: &Self, d: u16| s.extra[usize::from(d)] < s.tree.target(d);
        for from in self.tree.drives() {
            for to in self.tree.drives() {
                let mut row = 0;
                while over(self, from) && under(self, to) {
                    let Some(found) = self.witness(from, to, row) else { break };
                    self.shift(found, from, to);
                    row = found + 1;
                }
            }
        }
        while let Some(from) = self.tree.drives().find(|drive| over(self, *drive)) {
            let Some(path) = self.path(from) else { break };
            for step in path.windows(2) {
                // A step may have used the row that the next one was found with: then another shows it.
                let Some(row) = self.witness(step[0], step[1], 0) else { break };
                self.shift(row, step[0], step[1]);
            }
        }
    }

    /// A row, at or after `start`, in which a seat can go from one drive to another; first those whose seat is new anyway.
    fn witness(&self, from: u16, to: u16, start: usize) -> Option<usize> {
        let fits = |row: &usize| {
            let base = self.tree.base;
            self.seats(*row, from) > base
                && self.seats(*row, to) <= base
                && self.has_room(*row, to, Some(from))
        };
        let moved = |row: &usize| {
            let pairs = self.rows[*row].iter().zip(&self.before[*row]);
            pairs.into_iter().any(|(now, was)| (*now == from && *was != from) || (*was == to && *now != to))
        };
        let rows = start..self.rows.len();
        rows.clone().filter(moved).find(fits).or_else(|| rows.clone().find(fits))
    }

    /// Gives a seat of a row to another drive: the one that it had before, or one that is new, or the last.
    fn shift(&mut self, row: usize, from: u16, to: u16) {
        let held = |at: &usize| self.rows[row][*at] == from;
        let all = 0..self.rows[row].len();
        let before = &self.before[row];
        let seat = all
            .clone()
            .filter(held)
            .find(|at| before[*at] == to)
            .or_else(|| all.clone().filter(held).find(|at| before[*at] != from))
            .or_else(|| all.rev().find(held));
        let seat = seat.expect("a drive gives only a seat that it has");
        self.rows[row][seat] = to;
        self.extra[usize::from(from)] -= 1;
        self.extra[usize::from(to)] += 1;
    }

    /// The shortest row of steps from a drive to one below its share.
    fn path(&self, from: u16) -> Option<Vec<u16>> {
        let mut came = vec![None; self.tree.slots.len()];
        let mut queue = VecDeque::from([from]);
        while let Some(at) = queue.pop_front() {
            if at != from && self.extra[usize::from(at)] < self.tree.target(at) {
                let mut path = vec![at];
                while let Some(last) = came[usize::from(path[path.len() - 1])] {
                    path.push(last);
                }
                path.reverse();
                return Some(path);
            }
            for next in self.tree.drives() {
                if next != from && came[usize::from(next)].is_none() && self.witness(at, next, 0).is_some() {
                    came[usize::from(next)] = Some(at);
                    queue.push_back(next);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::layout::Role;
    use crate::layout::tests::layout;

    fn counts(table: &Table) -> BTreeMap<Slot, u64> {
        let mut counts = BTreeMap::new();
        table.rows().flatten().for_each(|slot| *counts.entry(*slot).or_default() += 1);
        counts
    }

    fn moved(from: &Table, to: &Table) -> usize {
        from.rows().flatten().zip(to.rows().flatten()).filter(|(a, b)| a != b).count()
    }

    #[test]
    fn every_drive_gets_its_share_and_no_partition_two_shards_on_one_drive_while_another_has_none() {
        for (drives, shards) in
            [(1, 1), (2, 2), (3, 3), (6, 6), (7, 6), (14, 14), (20, 14), (5, 6), (3, 14), (60, 14)]
        {
            let mut layout = layout(drives, 1, 100);
            for (at, drive) in layout.drives.iter_mut().enumerate() {
                drive.weight = 100 + 10 * (at as u32 % 5);
            }
            let table = assign(&layout, shards, |_| vec![]);
            let (low, high) = (u16::from(shards) / drives, u16::from(shards).div_ceil(drives));
            for row in table.rows() {
                for drive in &layout.drives {
                    let held = row.iter().filter(|slot| **slot == drive.slot).count() as u16;
                    assert!((low..=high).contains(&held), "{drives} drives, {shards} shards: {held}");
                }
            }
            if drives > u16::from(shards) {
                let weight: u32 = layout.drives.iter().map(|drive| drive.weight).sum();
                let counts = counts(&table);
                for drive in &layout.drives {
                    let fair = 256.0 * f64::from(shards) * f64::from(drive.weight) / f64::from(weight);
                    let held = counts.get(&drive.slot).copied().unwrap_or(0) as f64;
                    // A drive holds one shard of a partition at most.
                    assert!((held - fair.min(256.0)).abs() <= 2.0 || fair > 230.0, "{held} for {fair}");
                }
            }
        }
    }

    #[test]
    fn domains_are_used_evenly_and_weights_bow_to_that() {
        let mut layout = layout(20, 1, 5);
        layout.drives[0].weight = 1000;
        let table = assign(&layout, 14, |_| vec![]);
        for row in table.rows() {
            for site in 0..4_u16 {
                let held = row.iter().filter(|slot| slot.0 / 5 == site).count();
                assert!((2..=4).contains(&held), "{held} of a partition in one site");
            }
        }
        assert_eq!(counts(&table)[&Slot(0)], 256, "the large drive takes one shard of every partition");
    }

    #[test]
    fn growing_and_shrinking_move_what_they_must_and_little_more() {
        for (drives, shards) in [(4_u16, 4_u8), (6, 6), (14, 14), (15, 14), (30, 14)] {
            let old = layout(drives, 1, 100);
            let before = assign(&old, shards, |_| vec![]);
            let grown = layout(drives + 1, 1, 100);
            let after = assign(&grown, shards, |p| before.row(p).expect("a row").to_vec());
            let needed = counts(&after)[&Slot(drives)] as usize;
            assert!(needed > 0);
            assert_eq!(moved(&before, &after), needed, "{drives} drives: only the new one's share moves");
            let mut drained = grown.clone();
            drained.drives[1].role = Role::Draining;
            let last = assign(&drained, shards, |p| after.row(p).expect("a row").to_vec());
            let held = counts(&after)[&Slot(1)] as usize;
            assert!(!counts(&last).contains_key(&Slot(1)));
            assert!(
                moved(&after, &last) * 10 <= held * 11,
                "at most a tenth more than the drained drive held"
            );
        }
    }

    #[test]
    fn a_change_of_many_weights_at_once_still_ends_at_the_shares() {
        let mut old = layout(12, 2, 3);
        let before = assign(&old, 6, |_| vec![]);
        for (at, drive) in old.drives.iter_mut().enumerate() {
            drive.weight = [50, 400, 100, 20][at % 4];
        }
        let tree = Tree::new(&old, 6);
        let after = assign(&old, 6, |p| before.row(p).expect("a row").to_vec());
        let counts = counts(&after);
        for (at, slot) in tree.slots.iter().enumerate() {
            assert_eq!(counts.get(slot).copied().unwrap_or(0), tree.target(at as u16), "{slot:?}");
        }
        for row in after.rows() {
            assert_eq!(row.iter().collect::<BTreeSet<_>>().len(), 6);
        }
    }

    #[test]
    fn the_same_wishes_give_the_same_table_everywhere() {
        let table = assign(&layout(5, 1, 2), 3, |_| vec![]);
        let slots: Vec<u16> = table.rows().take(4).flatten().map(|slot| slot.0).collect();
        expect_test::expect!["[0, 2, 4, 1, 3, 4, 2, 4, 0, 3, 1, 4]"].assert_eq(&format!("{slots:?}"));
    }
}
