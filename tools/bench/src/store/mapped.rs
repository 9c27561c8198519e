//! Reading through a mapping: what an `mmap` read path would do. The bench's only, so that it can be judged.

use std::fs::File;
use std::ptr::NonNull;
use std::{io, slice};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

/// A file's bytes, mapped for reading.
pub struct Mapped {
    start: NonNull<u8>,
    bytes: usize,
}

impl Mapped {
    /// Maps the first `bytes` of a file, which nobody cuts while the mapping lives: the bench made it and waits.
    pub fn new(file: &File, bytes: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at a place that the kernel chooses touches no memory of ours.
        let start = unsafe { mmap(std::ptr::null_mut(), bytes, ProtFlags::READ, MapFlags::SHARED, file, 0) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, bytes })
    }

    /// Has the kernel read these bytes ahead, as who knows what he wants would.
    pub fn will_need(&self, offset: usize, bytes: usize) -> io::Result<()> {
        assert!(offset + bytes <= self.bytes, "inside the mapping");
        // SAFETY: the range lies inside the mapping, and this advice changes no byte of it.
        Ok(unsafe { madvise(self.start.as_ptr().add(offset).cast(), bytes, Advice::WillNeed) }?)
    }

    /// Copies bytes out: an answer must not end in a SIGBUS when the drive fails under it.
    pub fn read(&self, into: &mut [u8], offset: usize) {
        assert!(offset + into.len() <= self.bytes, "inside the mapping");
        // SAFETY: inside the mapping, which lives as long as `self`; nobody writes the file while the bench reads it.
        into.copy_from_slice(unsafe { slice::from_raw_parts(self.start.as_ptr().add(offset), into.len()) });
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length; no reference into it lives longer than a call of `read`.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
        if let Err(error) = unmapped {
            eprintln!("a mapping stays: {error}");
        }
    }
}
