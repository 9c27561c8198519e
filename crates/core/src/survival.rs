//! Survival: what may be lost, computed from the placements themselves and never from a promise (D4).

use crate::chunk::Code;
use crate::layout::{Layout, LayoutDrive, Slot};
use crate::place::place;

/// What may be lost at once, at every level, with all data still readable (and, separately, still writable).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Survival {
    /// Drives.
    pub drives: u16,
    /// Hosts.
    pub hosts: u16,
    /// Racks.
    pub racks: u16,
    /// Sites.
    pub sites: u16,
}

impl Layout {
    /// What every partition's stripes of this code survive when only `present` drives are left of the layout. Computed from
    /// the placements themselves: the worst partition decides. A code whose data shards are not all present survives nothing.
    pub fn survival(&self, code: Code, losable: u8, present: impl Fn(Slot) -> bool) -> Survival {
        let mut worst = Survival { drives: u16::MAX, hosts: u16::MAX, racks: u16::MAX, sites: u16::MAX };
        for partition in 0..self.partitions() {
            let Some(placement) = place(self, code.n(), partition) else { return Survival::default() };
            let lost = placement.shards().iter().filter(|slot| !present(**slot)).count();
            let left = usize::from(losable).checked_sub(lost);
            let standing: Vec<&LayoutDrive> =
                placement.shards().iter().filter(|s| present(**s)).filter_map(|s| self.drive(*s)).collect();
            worst.drives = worst.drives.min(losable_domains(left, standing.iter().map(|d| d.slot)));
            worst.hosts = worst.hosts.min(losable_domains(left, standing.iter().map(|d| &d.domain)));
            worst.racks = worst.racks.min(losable_domains(
                left,
                standing.iter().map(|d| (&d.domain.region, &d.domain.site, &d.domain.rack)),
            ));
            worst.sites = worst
                .sites
                .min(losable_domains(left, standing.iter().map(|d| (&d.domain.region, &d.domain.site))));
        }
        worst
    }
}

/// How many domains may go so that, whichever they are, at most `left` shards go with them.
fn losable_domains<D: Ord>(left: Option<usize>, domains: impl Iterator<Item = D>) -> u16 {
    let Some(left) = left else { return 0 };
    let mut domains: Vec<D> = domains.collect();
    domains.sort_unstable();
    let mut counts: Vec<usize> = domains.chunk_by(|a, b| a == b).map(<[D]>::len).collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let mut gone = 0;
    counts
        .iter()
        .take_while(|count| {
            gone += **count;
            gone <= left
        })
        .count() as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::tests::layout;

    #[test]
    fn survival_is_what_the_placements_say() {
        let code = Code::new(10, 4).expect("valid");
        // The specification's example: 5/5/4 over three sites does not survive a site.
        let three_sites = layout(15, 1, 5);
        let survives = three_sites.survival(code, code.m(), |_| true);
        assert_eq!((survives.drives, survives.sites), (4, 0));
        // Five sites: three shards at most in each.
        let five_sites = layout(15, 1, 3).survival(code, code.m(), |_| true);
        assert_eq!((five_sites.drives, five_sites.sites), (4, 1));
        // Six drives, 3+3, one of them absent.
        let six = layout(6, 6, 1);
        let code = Code::new(3, 3).expect("valid");
        assert_eq!(six.survival(code, 3, |slot| slot != Slot(2)).drives, 2);
        // Fourteen shards doubled up on seven drives.
        let seven = layout(7, 7, 1);
        let code = Code::new(10, 4).expect("valid");
        assert_eq!(seven.survival(code, 4, |_| true).drives, 2);
    }
}
