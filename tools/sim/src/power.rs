//! Power: one machine's supply, cut in the middle of whatever its disks are doing.
//!
//! The product's engines are synchronous: between two awaits they may do a dozen disk operations. A cut counted in disk
//! operations ends them at any of those. After the cut every operation fails; the executor drops the process as soon as
//! it comes back from its poll.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const NEVER: u64 = u64::MAX;

/// What a disk operation gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Supply {
    /// Power for all of it.
    On,
    /// The power goes while it is on its way: it may be done in part.
    Going,
    /// No power at all.
    Off,
}

/// See the module.
#[derive(Debug)]
pub struct Power {
    cut: AtomicBool,
    operations_left: AtomicU64,
}

impl Default for Power {
    fn default() -> Self {
        Self { cut: AtomicBool::new(false), operations_left: AtomicU64::new(NEVER) }
    }
}

impl Power {
    /// Cuts the power at the disk operation after this many more.
    pub fn cut_after(&self, operations: u64) {
        self.operations_left.store(operations, Ordering::Relaxed);
    }

    /// Cuts it now.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// Whether it is cut.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Switches it on again, without a fuse.
    pub fn restore(&self) {
        self.cut.store(false, Ordering::Relaxed);
        self.operations_left.store(NEVER, Ordering::Relaxed);
    }

    /// Counts one disk operation.
    pub fn draw(&self) -> Supply {
        if self.is_cut() {
            return Supply::Off;
        }
        let left = self.operations_left.load(Ordering::Relaxed);
        if left == 0 {
            self.cut();
            return Supply::Going;
        }
        if left != NEVER {
            self.operations_left.store(left - 1, Ordering::Relaxed);
        }
        Supply::On
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuse_counts_operations_and_stays_blown() {
        let power = Power::default();
        assert!((0..100).all(|_| power.draw() == Supply::On));
        power.cut_after(2);
        let drawn = [power.draw(), power.draw(), power.draw(), power.draw()];
        assert_eq!(drawn, [Supply::On, Supply::On, Supply::Going, Supply::Off]);
        power.restore();
        assert_eq!(power.draw(), Supply::On);
    }
}
