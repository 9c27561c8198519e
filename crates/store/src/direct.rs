//! Direct writes: large runs of whole blocks go to the drive past the page cache.
//!
//! A shard is read back seldom and later, so a copy of it in the page cache costs memory traffic (three CPU seconds a
//! gigabyte were measured on a virtual machine) and pushes out what is read often. Only [`file_disk`](crate::file_disk)
//! uses this room; a file system that refuses direct I/O is written through the cache as before. Durability is the same:
//! the caller syncs either way.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// What direct I/O wants offsets, lengths and memory aligned to: the largest that drives and file systems ask for.
const ALIGNMENT: usize = 4096;
/// Writes below this go through the page cache: one copy of little is cheaper than waiting for the drive twice.
pub(crate) const DIRECT_BYTES_MIN: usize = 128 << 10;
/// Bytes that are gathered for one write.
const STAGING_BYTES: usize = 1 << 20;

/// One file's way past the page cache.
#[derive(Default)]
pub(crate) struct Direct {
    /// Opened at the first large write; `None` inside: it could not be.
    file: OnceLock<Option<File>>,
    /// Opened, but refused at a write.
    refused: AtomicBool,
}

/// Aligned memory for the writes of one drive, made at the first one.
#[derive(Default)]
pub(crate) struct Staging {
    bytes: Mutex<Vec<u8>>,
}

impl Direct {
    /// Whether a write is of the kind that goes past the cache.
    pub(crate) fn suits(parts: &[IoSlice<'_>], offset: u64) -> bool {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        bytes >= DIRECT_BYTES_MIN
            && bytes.is_multiple_of(ALIGNMENT)
            && offset.is_multiple_of(ALIGNMENT as u64)
    }

    /// Writes all of `parts`; `Ok(false)`: this file cannot be written so, and nothing that counts was written.
    pub(crate) fn write(
        &self,
        reopen: impl FnOnce() -> Option<File>,
        staging: &Staging,
        parts: &[IoSlice<'_>],
        offset: u64,
    ) -> io::Result<bool> {
        let Some(file) = self.file.get_or_init(reopen) else { return Ok(false) };
        if self.refused.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let mut memory = staging.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        memory.resize(STAGING_BYTES + ALIGNMENT, 0);
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        let room = &mut memory[start..start + STAGING_BYTES];
        let (mut filled, mut at) = (0, offset);
        for part in parts {
            let mut rest: &[u8] = part;
            while !rest.is_empty() {
                let more = rest.len().min(room.len() - filled);
                room[filled..filled + more].copy_from_slice(&rest[..more]);
                rest = &rest[more..];
                filled += more;
                if filled == room.len() {
                    if !self.put(file, room, at)? {
                        return Ok(false);
                    }
                    at += filled as u64;
                    filled = 0;
                }
            }
        }
        self.put(file, &room[..filled], at)
    }

    /// Writes whole blocks.
    fn put(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<bool> {
        match file.write_all_at(bytes, offset) {
            Ok(()) => Ok(true),
            Err(error) if is_refusal(&error) => {
                self.refused.store(true, Ordering::Relaxed);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether an error of a direct write says that this file cannot be written so.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::INVAL.raw_os_error())
}

/// Opens the file that `known` is once more, for direct reads and writes. By name, because an open file's flags are shared with its
/// readers; if the name means another file by now, there are no direct writes.
pub(crate) fn reopen(root: &OwnedFd, name: &str, known: &File) -> Option<File> {
    let flags = OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(root, name, flags, Mode::empty()).ok()?;
    let (ours, theirs) = (rustix::fs::fstat(&file).ok()?, rustix::fs::fstat(known).ok()?);
    (ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino).then(|| File::from(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_disk::FileDisk;
    use pangea_core::seam::Disk;

    #[test]
    fn what_is_written_past_the_cache_is_read_through_it_and_neighbours_stay() {
        let root = std::env::temp_dir().join(format!("pangea-direct-{}", std::process::id()));
        std::fs::create_dir(&root).expect("a fresh name");
        let disk = FileDisk::open(&root).expect("a fresh directory");
        let file = disk.open("extents/00000000", Some(16 << 20)).expect("a fresh file");
        let bytes: Vec<u8> = (0..3_u32 << 20).map(|n| (n ^ n >> 9) as u8).collect();
        // In odd slices, across the staging's end, with small writes before, between and behind.
        let parts: Vec<IoSlice<'_>> = bytes.chunks(70_001).map(IoSlice::new).collect();
        assert!(Direct::suits(&parts, 8192));
        for round in 0..2_u64 {
            let at = 8192 + round * (4 << 20);
            file.write_at(&[IoSlice::new(&[7; 4096])], at - 4096).expect("room");
            file.write_at(&parts, at).expect("room");
            file.write_at(&[IoSlice::new(&[9; 100])], at + bytes.len() as u64).expect("room");
            file.sync().expect("synced");
            let mut read = vec![0; bytes.len() + 4196];
            file.read_at(&mut read, at - 4096).expect("it is there");
            assert!(read[..4096] == [7; 4096] && read[4096..4096 + bytes.len()] == bytes[..]);
            assert!(read[4096 + bytes.len()..] == [9; 100]);
        }
        assert!(
            !Direct::suits(&parts, 100) && !Direct::suits(&parts[1..], 8192),
            "whole blocks at block boundaries"
        );
        drop((file, disk));
        std::fs::remove_dir_all(&root).expect("ours");
    }
}
