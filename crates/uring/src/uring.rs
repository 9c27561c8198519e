//! The uring itself: set up, tried, its files and buffers registered.
//!
//! Owns the kernel's uring and what is registered with it. What goes through it is `flight`'s business.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use io_uring::{IoUring, opcode};

use crate::flight::Flight;
use crate::pages::Pages;
use crate::{AppendError, BLOCK_BYTES, Options, Refused};

/// The fewest requests that a uring takes: two that are linked, and what cancels them.
const REQUESTS_MIN: u32 = 8;

/// See the module. One thread at a time uses it; which one does not matter.
pub struct Uring {
    // In this order: the kernel lets go of the pages before they are freed.
    pub(crate) kernel: IoUring,
    pub(crate) pages: Pages,
    pub(crate) options: Options,
    /// Requests that hold a part of each buffer.
    pub(crate) busy: Vec<u32>,
    free_slots: Vec<u32>,
    /// Tells slots of different urings apart.
    number: u64,
}

/// A registered file: the uring keeps it open until it is given back with [`Uring::forget`].
#[derive(Debug)]
pub struct Slot {
    pub(crate) index: u32,
    uring: u64,
}

impl Uring {
    /// Makes a uring and tries it.
    pub fn open(options: Options) -> Result<Self, Refused> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let bytes = options.buffer_bytes * usize::from(options.buffers);
        assert!(bytes > 0 && options.buffer_bytes.is_multiple_of(BLOCK_BYTES), "buffers of whole blocks");
        let requests = options.requests_max.max(REQUESTS_MIN);
        let kernel = set_up(requests).map_err(Refused::Setup)?;
        if !kernel.params().is_feature_ext_arg() || !kernel.params().is_feature_nodrop() {
            return Err(Refused::Lacks("waiting with a time limit (Linux 5.11)"));
        }
        kernel
            .submitter()
            .register_files_sparse(options.files_max)
            .map_err(|_| Refused::Lacks("a table of files that is filled later (Linux 5.19)"))?;
        let pages = Pages::new(bytes);
        register_buffers(&kernel, &pages, &options)
            .map_err(|error| Refused::LockedMemory { needed: bytes, error })?;
        let busy = vec![0; usize::from(options.buffers)];
        let free_slots = (0..options.files_max).rev().collect();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let options = Options { requests_max: requests, ..options };
        let mut uring = Self { kernel, pages, options, busy, free_slots, number };
        uring.try_it().map_err(Refused::Trial)?;
        Ok(uring)
    }

    /// A request that does nothing: a filter may allow making a uring and forbid entering it.
    fn try_it(&mut self) -> io::Result<()> {
        // SAFETY: it names no memory.
        unsafe { self.kernel.submission().push(&opcode::Nop::new().build()) }.expect("the uring is empty");
        self.kernel.submit_and_wait(1)?;
        let answer = self.kernel.completion().next().ok_or(io::ErrorKind::TimedOut)?;
        if answer.result() < 0 { Err(io::Error::from_raw_os_error(-answer.result())) } else { Ok(()) }
    }

    /// Registers a file. `None`: as many are registered as there may be.
    pub fn register(&mut self, file: BorrowedFd<'_>) -> io::Result<Option<Slot>> {
        let Some(index) = self.free_slots.pop() else { return Ok(None) };
        match self.kernel.submitter().register_files_update(index, &[file.as_raw_fd()]) {
            Ok(_) => Ok(Some(Slot { index, uring: self.number })),
            Err(error) => {
                self.free_slots.push(index);
                Err(error)
            }
        }
    }

    /// Lets go of a file.
    pub fn forget(&mut self, slot: Slot) {
        assert_eq!(slot.uring, self.number, "a slot of this uring");
        // A slot that could not be emptied is not used again; what it holds is closed with the uring.
        if self.kernel.submitter().register_files_update(slot.index, &[-1]).is_ok() {
            self.free_slots.push(slot.index);
        }
    }

    /// Writes all of `parts`, one after the other, from `offset`, and makes the file durable.
    ///
    /// The file was opened for direct writes; offset and sum of lengths are multiples of [`BLOCK_BYTES`]. Parts that lie at
    /// multiples of `memory_align` (what the file system asks of memory) and at block boundaries of the file are written
    /// from where they are; everything else is copied into registered buffers.
    pub fn append(
        &mut self,
        slot: &Slot,
        memory_align: usize,
        parts: &[IoSlice<'_>],
        offset: u64,
    ) -> Result<(), AppendError> {
        assert_eq!(slot.uring, self.number, "a slot of this uring");
        let mut flight = Flight::new(self, slot.index, memory_align.max(1));
        flight.write(parts, offset);
        flight.sync()
    }

    /// Fills `into` from `offset`: memory, length and offset as the file wants them for direct reads.
    pub fn read(&mut self, slot: &Slot, into: &mut [u8], offset: u64) -> io::Result<()> {
        assert_eq!(slot.uring, self.number, "a slot of this uring");
        let mut flight = Flight::new(self, slot.index, 1);
        flight.read(into, offset)
    }
}

/// A uring whose completions wait for us instead of interrupting, where the kernel knows that.
fn set_up(requests: u32) -> io::Result<IoUring> {
    match IoUring::builder().setup_coop_taskrun().build(requests) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => IoUring::builder().build(requests),
        other => other,
    }
}

fn register_buffers(kernel: &IoUring, pages: &Pages, options: &Options) -> io::Result<()> {
    let buffer = |n: u16| libc::iovec {
        iov_base: pages.at(usize::from(n) * options.buffer_bytes).cast(),
        iov_len: options.buffer_bytes,
    };
    let buffers: Vec<libc::iovec> = (0..options.buffers).map(buffer).collect();
    // SAFETY: the pages are valid for as long as the uring is: they are its neighbours in `Uring`, and dropped after it.
    unsafe { kernel.submitter().register_buffers(&buffers) }
}
