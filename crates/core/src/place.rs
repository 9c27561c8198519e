//! Placement: which drives hold the shards of a partition. Pure, and the same on every machine for ever.
//!
//! A layout's table says it (`layout::assign`). A code that has none, and every layout from before there were tables, is
//! *dealt*: weighted rendezvous hashing with domain spreading: every drive scores −weight⁻¹·log2(hash), in integers so that no
//! platform rounds differently; shards are dealt one by one to the best score among the drives that hold the fewest
//! shards of the stripe so far and whose site, rack and host do. No drive holds two while another holds none; with fewer
//! drives than shards they double up evenly. After the shards come the *stand-ins*: the order in which other drives replace an absent one.
//! (Thaler & Ravishankar 1998; weights after Schindelhauer & Schomaker 2005.)

use std::collections::BTreeMap;

use crate::id::ChunkId;
use crate::layout::{Layout, LayoutDrive, Role, Slot};

/// Where a partition's shards go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placement {
    shards: Vec<Slot>,
    stand_ins: Vec<Slot>,
    /// Where older layouts had the shards, newest first: rows like `shards`.
    former: Vec<Vec<Slot>>,
    /// Drives that are being emptied: they may hold something still.
    leaving: Vec<Slot>,
}

impl Placement {
    /// The slot of each shard, by index. A code with fewer shards uses the first ones.
    pub fn shards(&self) -> &[Slot] {
        &self.shards
    }

    /// The other drives, best first.
    pub fn stand_ins(&self) -> &[Slot] {
        &self.stand_ins
    }

    /// Where older layouts had shard `index`, newest first.
    pub fn former(&self, index: u8) -> impl Iterator<Item = Slot> + '_ {
        self.former.iter().filter_map(move |row| row.get(usize::from(index)).copied())
    }

    /// Whether some shard has another home now than an older layout gave it.
    pub fn is_moving(&self) -> bool {
        self.former.iter().any(|row| *row != self.shards)
    }

    /// The same for a stripe that was placed by older layouts, whose placements are given newest first.
    pub fn after(mut self, older: &[Placement]) -> Self {
        self.former.extend(older.iter().map(|placement| placement.shards.clone()));
        self
    }

    /// Every slot that may hold shard `index`, likeliest first: its home, its former homes, other drives.
    pub fn candidates(&self, index: u8) -> impl Iterator<Item = Slot> + '_ {
        let home = self.shards.get(usize::from(index)).copied();
        let others = self.stand_ins.iter().chain(&self.shards).chain(&self.leaving).copied();
        let mut seen: Vec<Slot> = vec![];
        home.into_iter().chain(self.former(index)).chain(others).filter(move |slot| {
            let new = !seen.contains(slot);
            seen.push(*slot);
            new
        })
    }

    /// Every slot that may take shard `index` now, best first: never a drive that is being emptied.
    pub fn takers(&self, index: u8) -> impl Iterator<Item = Slot> + '_ {
        let home = self.shards.get(usize::from(index)).copied();
        let mut seen: Vec<Slot> = vec![];
        home.into_iter().chain(self.stand_ins.iter().chain(&self.shards).copied()).filter(move |slot| {
            let new = !seen.contains(slot);
            seen.push(*slot);
            new
        })
    }
}

/// The partition of a chunk. The writer redraws `salt` until it likes the partition.
pub fn partition_of(chunk: ChunkId, salt: u16, partitions_log2: u8) -> u32 {
    let mut bytes = [0; 22];
    bytes[..16].copy_from_slice(&chunk.blob.0);
    bytes[16..20].copy_from_slice(&chunk.chunk.to_le_bytes());
    bytes[20..].copy_from_slice(&salt.to_le_bytes());
    (hash(&bytes) >> 40) as u32 >> (24 - u32::from(partitions_log2))
}

/// Where the layout has `shards` shards of a partition: by its table, or dealt to its active drives; `None` if it has none.
pub fn place(layout: &Layout, shards: u8, partition: u32) -> Option<Placement> {
    let mut drives: Vec<(u64, &LayoutDrive)> = layout
        .drives
        .iter()
        .filter(|drive| drive.role == Role::Active)
        .map(|drive| (cost(drive, partition), drive))
        .collect();
    drives.sort_unstable_by_key(|(cost, drive)| (*cost, drive.slot));
    if drives.is_empty() {
        return None;
    }
    let placed = match layout.table(shards).and_then(|table| table.row(partition)) {
        Some(row) => row.iter().take(usize::from(shards)).copied().collect(),
        None => deal(&drives, shards),
    };
    let stand_ins = drives.iter().map(|(_, d)| d.slot).filter(|slot| !placed.contains(slot)).collect();
    let leaving = layout.drives.iter().filter(|drive| drive.role == Role::Draining);
    Some(Placement {
        shards: placed,
        stand_ins,
        former: vec![],
        leaving: leaving.map(|drive| drive.slot).collect(),
    })
}

/// Deals shards one by one to drives that stand in the order of their cost.
fn deal(drives: &[(u64, &LayoutDrive)], shards: u8) -> Vec<Slot> {
    let mut load = Load::default();
    let mut placed = Vec::with_capacity(usize::from(shards));
    for _ in 0..shards {
        // Ties go to the lowest cost: `min_by_key` keeps the first of equals.
        let (_, best) = drives.iter().min_by_key(|(_, drive)| load.of(drive)).expect("there is a drive");
        load.add(best);
        placed.push(best.slot);
    }
    placed
}

/// Shards of the stripe so far, in each domain.
#[derive(Default)]
struct Load<'a> {
    sites: BTreeMap<(&'a str, &'a str), u8>,
    racks: BTreeMap<(&'a str, &'a str, &'a str), u8>,
    hosts: BTreeMap<(&'a str, &'a str, &'a str, &'a str), u8>,
    drives: BTreeMap<Slot, u8>,
}

impl<'a> Load<'a> {
    fn of(&self, drive: &'a LayoutDrive) -> [u8; 4] {
        let d = &drive.domain;
        let count = |found: Option<&u8>| found.copied().unwrap_or(0);
        [
            count(self.drives.get(&drive.slot)),
            count(self.sites.get(&(&*d.region, &*d.site))),
            count(self.racks.get(&(&*d.region, &*d.site, &*d.rack))),
            count(self.hosts.get(&(&*d.region, &*d.site, &*d.rack, &*d.host))),
        ]
    }

    fn add(&mut self, drive: &'a LayoutDrive) {
        let d = &drive.domain;
        *self.sites.entry((&d.region, &d.site)).or_default() += 1;
        *self.racks.entry((&d.region, &d.site, &d.rack)).or_default() += 1;
        *self.hosts.entry((&d.region, &d.site, &d.rack, &d.host)).or_default() += 1;
        *self.drives.entry(drive.slot).or_default() += 1;
    }
}

/// −log2(u) / weight for a uniform u in (0, 1], in 2^-32 units scaled by 2^14 over the weight: lower is better.
fn cost(drive: &LayoutDrive, partition: u32) -> u64 {
    let mut bytes = [0; 6];
    bytes[..2].copy_from_slice(&drive.slot.0.to_le_bytes());
    bytes[2..].copy_from_slice(&partition.to_le_bytes());
    let uniform = hash(&bytes) | 1;
    (neg_log2(uniform) << 14) / u64::from(drive.weight.max(1))
}

/// −log2(x / 2^64) with 32 fractional bits, by repeated squaring.
fn neg_log2(x: u64) -> u64 {
    let zeros = x.leading_zeros();
    // The mantissa in [1, 2), 63 fractional bits.
    let mut mantissa = x << zeros;
    let mut fraction = 0_u64;
    for _ in 0..32 {
        let square = u128::from(mantissa) * u128::from(mantissa);
        let two = square >> 127 == 1;
        fraction = fraction << 1 | u64::from(two);
        mantissa = if two { (square >> 64) as u64 } else { (square >> 63) as u64 };
    }
    ((u64::from(zeros) + 1) << 32) - fraction
}

fn hash(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(blake3::hash(bytes).as_bytes()[..8].try_into().expect("a hash has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::BlobId;
    use crate::layout::tests::layout;

    #[test]
    fn the_logarithm_is_one() {
        for x in [1_u64, 3, 1 << 20, u64::MAX / 3, u64::MAX] {
            let exact = 64.0 - (x as f64).log2();
            assert!((neg_log2(x) as f64 / 4_294_967_296.0 - exact).abs() < 1e-6, "{x}");
        }
    }

    #[test]
    fn shards_lie_on_distinct_drives_while_there_are_enough_and_double_up_evenly_after() {
        for (drives, shards, at_most) in
            [(14, 14, 1), (20, 14, 1), (6, 6, 1), (5, 6, 2), (7, 14, 2), (1, 3, 3)]
        {
            let layout = layout(drives, 1, 4);
            for partition in 0..256 {
                let placement = place(&layout, shards, partition).expect("there are drives");
                assert_eq!(placement.shards().len(), usize::from(shards));
                for drive in &layout.drives {
                    let held = placement.shards().iter().filter(|s| **s == drive.slot).count();
                    assert!(held <= at_most, "{drives} drives, {shards} shards: {held} on one");
                }
                let all = placement.stand_ins().len()
                    + placement.shards().iter().collect::<std::collections::BTreeSet<_>>().len();
                assert_eq!(all, usize::from(drives));
                assert_eq!(placement.candidates(0).count(), usize::from(drives));
            }
        }
    }

    #[test]
    fn shards_spread_over_sites_first() {
        let layout = layout(20, 1, 5);
        for partition in 0..256 {
            let placement = place(&layout, 14, partition).expect("there are drives");
            for site in 0..4_u16 {
                let held = placement.shards().iter().filter(|s| s.0 / 5 == site).count();
                assert!((3..=4).contains(&held));
            }
        }
    }

    #[test]
    fn load_follows_the_weight_and_growth_moves_little() {
        let mut grown = layout(10, 1, 100);
        grown.partitions_log2 = 12;
        grown.drives[9].weight = 200;
        let mut counts = [0_u32; 10];
        let before: Vec<_> = (0..4096).map(|p| place(&grown, 1, p).expect("drives").shards()[0]).collect();
        before.iter().for_each(|slot| counts[usize::from(slot.0)] += 1);
        let fair = 4096.0 / 11.0;
        assert!((f64::from(counts[9]) / fair - 2.0).abs() < 0.3, "{counts:?}");
        assert!(counts[..9].iter().all(|c| (f64::from(*c) / fair - 1.0).abs() < 0.25), "{counts:?}");
        let mut eleven = layout(11, 1, 100);
        eleven.drives[9].weight = 200;
        let moved =
            (0..4096).filter(|p| place(&eleven, 1, *p).expect("drives").shards()[0] != before[*p as usize]);
        assert!(moved.count() < 4096 / 12 * 13 / 10, "only the new drive's share moves");
    }

    #[test]
    fn placement_never_changes() {
        // Golden: data written today must be found for ever.
        let slots: Vec<u16> =
            place(&layout(20, 1, 5), 14, 7).expect("drives").shards().iter().map(|s| s.0).collect();
        expect_test::expect!["[18, 8, 4, 13, 17, 9, 1, 11, 7, 2, 10, 16, 12, 3]"]
            .assert_eq(&format!("{slots:?}"));
        let partitions: Vec<u32> =
            (0..4).map(|c| partition_of(ChunkId { blob: BlobId([9; 16]), chunk: c }, 1, 12)).collect();
        expect_test::expect!["[3142, 2591, 3839, 1048]"].assert_eq(&format!("{partitions:?}"));
    }
}
