//! The extent files: their names, and a bounded set of open ones.
//!
//! Owns the only handles to `extents/*`. A file that was removed stays readable through a handle that somebody still holds.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pangea_core::seam::{Disk, DiskFile, Space};

/// The directory of the extents.
pub const EXTENT_DIR: &str = "extents";

/// The name of an extent's file.
pub fn extent_name(number: u32) -> String {
    format!("{EXTENT_DIR}/{number:08x}")
}

/// The number in an extent's file name.
pub fn parse_extent_name(name: &str) -> Option<u32> {
    let digits = name.strip_prefix(EXTENT_DIR)?.strip_prefix('/')?;
    let number = u32::from_str_radix(digits, 16).ok()?;
    (name == extent_name(number)).then_some(number)
}

/// The numbers of all extents on a drive, sorted.
pub fn list_extents(disk: &dyn Disk) -> io::Result<Vec<u32>> {
    let mut numbers: Vec<u32> = disk.list("")?.iter().filter_map(|name| parse_extent_name(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// See the module.
pub struct ExtentFiles {
    disk: Arc<dyn Disk>,
    open: Mutex<Open>,
    open_max: usize,
}

#[derive(Default)]
struct Open {
    files: BTreeMap<u32, (Arc<dyn DiskFile>, u64)>,
    ticks: u64,
}

impl ExtentFiles {
    /// Keeps at most `open_max` files open between uses.
    pub fn new(disk: Arc<dyn Disk>, open_max: usize) -> Self {
        Self { disk, open: Mutex::default(), open_max: open_max.max(1) }
    }

    /// An extent's file, opened if need be.
    pub fn get(&self, number: u32) -> io::Result<Arc<dyn DiskFile>> {
        {
            let mut open = self.lock();
            open.ticks += 1;
            let now = open.ticks;
            if let Some((file, used)) = open.files.get_mut(&number) {
                *used = now;
                return Ok(file.clone());
            }
        }
        let file: Arc<dyn DiskFile> = self.disk.open(&extent_name(number), None)?.into();
        self.keep(number, file.clone());
        Ok(file)
    }

    /// Makes an extent's file with `size` bytes reserved, durably empty and durably there.
    pub fn create(&self, number: u32, size: u64) -> io::Result<Arc<dyn DiskFile>> {
        let file: Arc<dyn DiskFile> = self.disk.open(&extent_name(number), Some(size))?.into();
        file.sync()?;
        self.disk.sync_dir()?;
        self.keep(number, file.clone());
        Ok(file)
    }

    /// Free and total bytes of the drive.
    pub fn space(&self) -> io::Result<Space> {
        self.disk.space()
    }

    /// Removes an extent's file; the caller makes it durable with `sync_dir`. One that is gone already is no error.
    pub fn remove(&self, number: u32) -> io::Result<()> {
        self.lock().files.remove(&number);
        match self.disk.remove(&extent_name(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn keep(&self, number: u32, file: Arc<dyn DiskFile>) {
        let mut open = self.lock();
        open.ticks += 1;
        let now = open.ticks;
        open.files.insert(number, (file, now));
        while open.files.len() > self.open_max {
            let oldest = open.files.iter().min_by_key(|(_, (_, used))| *used).map(|(n, _)| *n);
            open.files.remove(&oldest.expect("more than one is open"));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // The map is whole between any two statements: a panic elsewhere cannot have torn it.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_extents() {
        assert_eq!(parse_extent_name(&extent_name(0xabc)), Some(0xabc));
        for name in ["extents/abc", "extents/0000000G", "extents/00000ABC", "extents/+0000abc", "00000abc"] {
            assert_eq!(parse_extent_name(name), None, "{name}");
        }
    }
}
