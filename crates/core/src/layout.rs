//! Layouts: which drives there are at an epoch, and where they stand.
//!
//! A layout is immutable and encoded into the setting `layout/<epoch>`; the newest one is written, older ones stay
//! readable until nothing lies only where they say. A *slot* is a drive's place in the layout: a replaced drive takes
//! over its predecessor's slot, so placement does not move and refilling it is repair.

use crate::chunk::Code;
use crate::codec::{Malformed, Put, Reader};
use crate::id::{DriveId, NodeId};

/// The most drives of one layout.
pub const DRIVES_MAX: usize = 16_384;
/// The most partitions: 2^20.
pub const PARTITIONS_LOG2_MAX: u8 = 20;
/// Partitions of a fresh cluster: 2^12.
pub const PARTITIONS_LOG2_DEFAULT: u8 = 12;
const VERSION: u8 = 1;

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
}

impl Layout {
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
        out.put_u8(VERSION);
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
        out
    }

    /// Reads a layout and checks it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, "layout");
        if r.u8()? != VERSION {
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
        r.finish()?;
        Ok(Self { epoch, partitions_log2, code, drives })
    }
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
        Layout { epoch: 1, partitions_log2: 8, code, drives: (0..drives).map(drive).collect() }
    }

    #[test]
    fn a_layout_round_trips_and_every_cut_is_refused() {
        let layout = layout(3, 1, 1);
        let bytes = layout.encode();
        assert_eq!(Layout::decode(&bytes), Ok(layout));
        assert!((0..bytes.len()).all(|cut| Layout::decode(&bytes[..cut]).is_err()));
    }
}
