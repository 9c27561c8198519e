//! Layouts: which drives there are at an epoch, where they stand, and which of them hold which partition.
//!
//! A layout is immutable and encoded into the setting `layout/<epoch>`; the newest one is written, older ones stay
//! readable until nothing lies only where they say. A *slot* is a drive's place in the layout: an emptied drive that comes
//! back takes over its predecessor's slot, so placement does not move and refilling it is repair. `assign` makes the tables,
//! `change` turns wishes (add, drain, replace) into the next layout and says what they move.

mod assign;
mod change;

pub use assign::assign;
pub use change::{Change, ChangeError, Moves, NewDrive};

use crate::chunk::Code;
use crate::codec::{Malformed, Put, Reader};
use crate::id::{DriveId, NodeId};

/// The most drives of one layout.
pub const DRIVES_MAX: usize = 16_384;
/// The most partitions: 2^20.
pub const PARTITIONS_LOG2_MAX: u8 = 20;
/// Partitions of a fresh cluster: 2^12.
pub const PARTITIONS_LOG2_DEFAULT: u8 = 12;
/// Without tables.
const VERSION_DEALT: u8 = 1;
const VERSION: u8 = 2;
/// The most tables of one layout: one for each number of shards.
const TABLES_MAX: usize = 255;
/// The most entries of all tables together: an encoded layout stays far below the longest command.
pub const TABLE_ENTRIES_MAX: usize = 2 << 20;

/// A drive's place in the layout.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(pub u16);

/// What a drive is there for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Role {
    /// Holds data and takes new data.
    Active = 0,
    /// Holds data that is being moved away; takes none.
    Draining = 1,
    /// Was taken out; its slot is never used again.
    Gone = 2,
}

/// Where a drive stands. Empty labels of one level count as one and the same domain.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Domain {
    /// Region.
    pub region: String,
    /// Site (datacentre).
    pub site: String,
    /// Rack.
    pub rack: String,
    /// Host.
    pub host: String,
}

/// One drive of a layout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LayoutDrive {
    /// Its place.
    pub slot: Slot,
    /// Which drive holds the place now.
    pub drive: DriveId,
    /// The node that it hangs on.
    pub node: NodeId,
    /// Its share of the data, in GiB of capacity; at least 1.
    pub weight: u32,
    /// What it is there for.
    pub role: Role,
    /// Where it stands.
    pub domain: Domain,
    /// Where its node finds it (a directory), for people and for recognising an emptied drive.
    pub path: String,
}

/// The slots of every partition's shards, for codes of one number of shards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    shards: u8,
    /// Row after row, a partition each.
    slots: Vec<Slot>,
}

impl Table {
    /// A table of these rows, `shards` slots each.
    pub fn new(shards: u8, slots: Vec<Slot>) -> Option<Self> {
        (shards > 0 && slots.len().is_multiple_of(usize::from(shards))).then_some(Self { shards, slots })
    }

    /// How many shards its codes have.
    pub fn shards(&self) -> u8 {
        self.shards
    }

    /// The slots of a partition's shards, by index.
    pub fn row(&self, partition: u32) -> Option<&[Slot]> {
        let n = usize::from(self.shards);
        self.slots.chunks_exact(n).nth(partition as usize)
    }

    /// All rows, by partition.
    pub fn rows(&self) -> impl Iterator<Item = &[Slot]> {
        self.slots.chunks_exact(usize::from(self.shards))
    }
}

/// All drives at an epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Rises with every change.
    pub epoch: u32,
    /// log2 of the number of partitions.
    pub partitions_log2: u8,
    /// The code of buckets that name none.
    pub code: Code,
    /// By slot, rising.
    pub drives: Vec<LayoutDrive>,
    /// By number of shards, rising. Codes without a table are dealt (`place`).
    pub tables: Vec<Table>,
}

impl Layout {
    /// The table for codes of so many shards: their own, or the next wider one, of which they use the first slots (a short
    /// chunk has fewer shards than its code).
    pub fn table(&self, shards: u8) -> Option<&Table> {
        self.tables.get(self.tables.partition_point(|table| table.shards < shards))
    }

    /// The drive at a slot.
    pub fn drive(&self, slot: Slot) -> Option<&LayoutDrive> {
        let at = self.drives.binary_search_by_key(&slot, |drive| drive.slot).ok()?;
        self.drives.get(at)
    }

    /// The slot that a drive holds.
    pub fn slot_of(&self, drive: DriveId) -> Option<Slot> {
        self.drives.iter().find(|d| d.drive == drive && d.role != Role::Gone).map(|d| d.slot)
    }

    /// Drives that take new data.
    pub fn active(&self) -> impl Iterator<Item = &LayoutDrive> {
        self.drives.iter().filter(|drive| drive.role == Role::Active)
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> u32 {
        1 << self.partitions_log2
    }

    /// The bytes of the setting `layout/<epoch>`.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.drives.len() * 128);
        out.put_u8(if self.tables.is_empty() { VERSION_DEALT } else { VERSION });
        out.put_u32(self.epoch);
        out.put_u8(self.partitions_log2);
        out.put_u8(self.code.k());
        out.put_u8(self.code.m());
        out.put_u32(self.drives.len() as u32);
        for drive in &self.drives {
            out.put_u16(drive.slot.0);
            out.put_raw(&drive.drive.0);
            out.put_raw(&drive.node.0);
            out.put_u32(drive.weight);
            out.put_u8(drive.role as u8);
            let domain = &drive.domain;
            for text in [&domain.region, &domain.site, &domain.rack, &domain.host, &drive.path] {
                out.put_bytes(text.as_bytes());
            }
        }
        if !self.tables.is_empty() {
            out.put_u8(self.tables.len() as u8);
        }
        for table in &self.tables {
            out.put_u8(table.shards);
            table.slots.iter().for_each(|slot| out.put_u16(slot.0));
        }
        out
    }

    /// Reads a layout and checks it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, "layout");
        let version = r.u8()?;
        if version != VERSION && version != VERSION_DEALT {
            return Err(Malformed { what: "layout version" });
        }
        let (epoch, partitions_log2) = (r.u32()?, r.u8()?);
        let code = Code::new(r.u8()?, r.u8()?).ok_or(r.malformed())?;
        let count = r.count(75)?;
        if partitions_log2 > PARTITIONS_LOG2_MAX || count > DRIVES_MAX {
            return Err(r.malformed());
        }
        let drives = (0..count).map(|_| decode_drive(&mut r)).collect::<Result<Vec<_>, _>>()?;
        if !drives.is_sorted_by(|a, b| a.slot < b.slot) {
            return Err(r.malformed());
        }
        let mut layout = Self { epoch, partitions_log2, code, drives, tables: vec![] };
        if version == VERSION {
            layout.tables = decode_tables(&mut r, &layout)?;
        }
        r.finish()?;
        Ok(layout)
    }
}

fn decode_tables(r: &mut Reader<'_>, layout: &Layout) -> Result<Vec<Table>, Malformed> {
    let count = usize::from(r.u8()?);
    let mut tables: Vec<Table> = Vec::with_capacity(count);
    let mut entries = 0;
    for _ in 0..count {
        let shards = r.u8()?;
        let wanted = usize::from(shards) << layout.partitions_log2;
        entries += wanted;
        let rising = tables.last().is_none_or(|last| last.shards < shards);
        if shards == 0 || !rising || entries > TABLE_ENTRIES_MAX {
            return Err(r.malformed());
        }
        let bytes = r.take(2 * wanted)?;
        let slots: Vec<Slot> =
            bytes.chunks_exact(2).map(|two| Slot(u16::from_le_bytes([two[0], two[1]]))).collect();
        let is_known = |slot: &Slot| layout.drives.binary_search_by_key(slot, |drive| drive.slot).is_ok();
        if !slots.iter().all(is_known) {
            return Err(r.malformed());
        }
        tables.push(Table { shards, slots });
    }
    if tables.is_empty() || tables.len() > TABLES_MAX { Err(r.malformed()) } else { Ok(tables) }
}

fn decode_drive(r: &mut Reader<'_>) -> Result<LayoutDrive, Malformed> {
    let slot = Slot(r.u16()?);
    let (drive, node, weight) = (DriveId(r.array()?), NodeId(r.array()?), r.u32()?);
    let role = match r.u8()? {
        0 => Role::Active,
        1 => Role::Draining,
        2 => Role::Gone,
        _ => return Err(r.malformed()),
    };
    let mut text = || r.str().map(str::to_owned);
    let domain = Domain { region: text()?, site: text()?, rack: text()?, host: text()? };
    let path = text()?;
    Ok(LayoutDrive { slot, drive, node, weight: weight.max(1), role, domain, path })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A layout of `drives` equal drives, `per_host` on each host, `hosts_per_site` hosts a site.
    pub(crate) fn layout(drives: u16, per_host: u16, hosts_per_site: u16) -> Layout {
        let drive = |slot: u16| {
            let host = slot / per_host;
            let domain = Domain {
                site: format!("s{}", host / hosts_per_site),
                host: format!("h{host}"),
                ..Domain::default()
            };
            let mut id = [0; 16];
            id[..2].copy_from_slice(&slot.to_le_bytes());
            LayoutDrive {
                slot: Slot(slot),
                drive: DriveId(id),
                node: NodeId::default(),
                weight: 100,
                role: Role::Active,
                domain,
                path: format!("d{slot}"),
            }
        };
        let code = Code::default_for(usize::from(drives));
        Layout {
            epoch: 1,
            partitions_log2: 8,
            code,
            drives: (0..drives).map(drive).collect(),
            tables: vec![],
        }
    }

    #[test]
    fn a_layout_round_trips_and_every_cut_is_refused() {
        let mut layout = layout(3, 1, 1);
        for tables in [vec![], vec![assign(&layout, 2, |_| vec![]), assign(&layout, 3, |_| vec![])]] {
            layout.tables = tables;
            let bytes = layout.encode();
            assert_eq!(Layout::decode(&bytes), Ok(layout.clone()));
            assert!((0..bytes.len()).all(|cut| Layout::decode(&bytes[..cut]).is_err()));
        }
    }

    #[test]
    fn a_table_that_names_an_unknown_slot_is_refused() {
        let mut layout = layout(3, 1, 1);
        layout.tables = vec![Table::new(1, vec![Slot(7); 256]).expect("whole rows")];
        assert!(Layout::decode(&layout.encode()).is_err());
    }
}
