//! One append or read on its way: requests made from borrowed memory, and none left behind.
//!
//! ```text
//! parts ─► aligned? ─ yes ─► Write, from where it lies ──┐
//!             └ no ─► copied into a buffer ─► WriteFixed ┴─► [last, linked or drained:] Fsync ─► settled
//! ```
//! Why this is sound: a `Flight` borrows the uring mutably and lives inside one call, which borrows the memory for longer
//! than that. Its drop waits until the kernel has answered every request, whatever happened (an error, a panic). Nothing
//! can forget a `Flight`: no other code ever holds one.

use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use io_uring::types::{CancelBuilder, Fixed, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{opcode, squeue};

use crate::{AppendError, BLOCK_BYTES, Uring};

/// Below this, copying is cheaper than one more request.
const BORROWED_BYTES_MIN: usize = 16 << 10;
/// The kernel is asked for answers this long before it is looked whether patience is over.
const WAIT_STEP: Duration = Duration::from_secs(1);
/// How long to leave a kernel alone that cannot take or answer requests just now.
const BREATH: Duration = Duration::from_millis(1);
/// Tags of requests that are no transfer; those carry their index.
const SYNC: u64 = u64::MAX;
const CANCEL: u64 = u64::MAX - 1;

/// A transfer: where the rest of it lies, and where it goes.
#[derive(Clone, Copy)]
struct Transfer {
    kind: Kind,
    memory: *mut u8,
    bytes: u32,
    offset: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// From memory of the caller.
    Write,
    /// From this registered buffer.
    WriteBuffer(u16),
    /// Into memory of the caller.
    Read,
}

/// Bytes of a registered buffer that were filled and not sent yet.
#[derive(Clone, Copy)]
struct Filling {
    buffer: u16,
    from: usize,
    to: usize,
}

/// See the module.
pub(crate) struct Flight<'r> {
    uring: &'r mut Uring,
    file: Fixed,
    memory_align: usize,
    transfers: Vec<Transfer>,
    /// Requests that were made and not answered.
    unanswered: u32,
    /// The last transfer, not given to the kernel yet: a sync may have to be linked to it.
    held: Option<usize>,
    filling: Option<Filling>,
    /// The failed transfer with the lowest offset.
    failed: Option<(u64, io::Error)>,
    synced: Option<Result<(), io::Error>>,
    /// Whether the sync that is on its way comes after all transfers.
    sync_covers: bool,
    cancelled: bool,
}

impl<'r> Flight<'r> {
    pub(crate) fn new(uring: &'r mut Uring, file: u32, memory_align: usize) -> Self {
        Self {
            uring,
            file: Fixed(file),
            memory_align,
            transfers: Vec::new(),
            unanswered: 0,
            held: None,
            filling: None,
            failed: None,
            synced: None,
            sync_covers: false,
            cancelled: false,
        }
    }

    /// Sends all of `parts` off. What was lent must outlive this flight: see the module.
    pub(crate) fn write(&mut self, parts: &[IoSlice<'_>], offset: u64) {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        assert!(
            offset.is_multiple_of(BLOCK_BYTES as u64) && bytes.is_multiple_of(BLOCK_BYTES),
            "whole blocks"
        );
        let mut at = offset;
        for part in parts {
            let mut rest: &[u8] = part;
            while !rest.is_empty() {
                let borrowed = self.borrowable(rest, at);
                let taken = if borrowed > 0 {
                    self.send_filling(at);
                    let memory = rest.as_ptr().cast_mut();
                    let bytes = u32::try_from(borrowed).expect("bounded in borrowable");
                    self.send(Transfer { kind: Kind::Write, memory, bytes, offset: at });
                    borrowed
                } else {
                    self.fill(rest, at)
                };
                at += taken as u64;
                rest = &rest[taken..];
            }
            if self.failed.is_some() {
                break;
            }
        }
        self.send_filling(at);
    }

    /// How much of `rest` can be written from where it lies.
    fn borrowable(&self, rest: &[u8], at: u64) -> usize {
        /// One request carries at most so many bytes; the kernel takes a little less than 2 GiB.
        const REQUEST_BYTES_MAX: usize = 1 << 30;
        let fits = rest.len() >= BORROWED_BYTES_MIN
            && at.is_multiple_of(BLOCK_BYTES as u64)
            && rest.as_ptr().addr().is_multiple_of(self.memory_align);
        if fits { rest.len().min(REQUEST_BYTES_MAX) / BLOCK_BYTES * BLOCK_BYTES } else { 0 }
    }

    /// Copies from `rest` what fits into the buffer that is being filled; sends the buffer when it is full.
    fn fill(&mut self, rest: &[u8], at: u64) -> usize {
        let room = self.uring.options.buffer_bytes;
        let mut filling = match self.filling {
            Some(filling) => filling,
            None => Filling { buffer: self.free_buffer(), from: 0, to: 0 },
        };
        let taken = rest.len().min(room - filling.to);
        self.uring.pages.fill(usize::from(filling.buffer) * room + filling.to, &rest[..taken]);
        filling.to += taken;
        self.filling = Some(filling);
        if filling.to == room {
            self.send_filling(at + taken as u64);
            self.filling = None;
            // The drive is to write while the next buffer is filled.
            self.release_held();
            self.enter(0);
        }
        taken
    }

    /// A buffer that no request uses, once there is one.
    fn free_buffer(&mut self) -> u16 {
        loop {
            if let Some(free) = self.uring.busy.iter().position(|busy| *busy == 0) {
                return u16::try_from(free).expect("buffers are counted in u16");
            }
            self.release_held();
            self.wait(1);
        }
    }

    /// Sends what was filled, up to the file's offset `end`. The rest of the buffer can still be filled.
    fn send_filling(&mut self, end: u64) {
        let Some(filling) = self.filling.filter(|filling| filling.to > filling.from) else { return };
        let bytes = filling.to - filling.from;
        self.filling = Some(Filling { from: filling.to, ..filling });
        let memory =
            self.uring.pages.at(usize::from(filling.buffer) * self.uring.options.buffer_bytes + filling.from);
        self.uring.busy[usize::from(filling.buffer)] += 1;
        self.send(Transfer {
            kind: Kind::WriteBuffer(filling.buffer),
            memory,
            bytes: u32::try_from(bytes).expect("a buffer is small"),
            offset: end - bytes as u64,
        });
    }

    /// Fills `into` from the file.
    pub(crate) fn read(&mut self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = u32::try_from(into.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.send(Transfer { kind: Kind::Read, memory: into.as_mut_ptr(), bytes, offset });
        self.release_held();
        self.settle();
        self.failed.take().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Makes everything durable and says how all of it went.
    pub(crate) fn sync(mut self) -> Result<(), AppendError> {
        // Sent along with the writes; a second time only if one of them was short, and the rest had to follow.
        for _ in 0..2 {
            if self.failed.is_none() {
                let alone = self.unanswered == 0;
                let last = self.held.take();
                match last {
                    Some(last) if alone => self.push(last, squeue::Flags::IO_LINK),
                    Some(last) => self.push(last, squeue::Flags::empty()),
                    None => {}
                }
                let ordered = if alone { squeue::Flags::empty() } else { squeue::Flags::IO_DRAIN };
                self.push_sync(ordered);
            }
            self.release_held();
            self.settle();
            if let Some((_, error)) = self.failed.take() {
                return Err(AppendError::Write(error));
            }
            match self.synced.take() {
                Some(Ok(())) => return Ok(()),
                Some(Err(error)) if error.raw_os_error() != Some(libc::ECANCELED) || self.cancelled => {
                    return Err(AppendError::Sync(timed_out(error)));
                }
                Some(Err(_)) | None => {}
            }
        }
        Err(AppendError::Sync(io::ErrorKind::Interrupted.into()))
    }

    fn send(&mut self, transfer: Transfer) {
        self.release_held();
        self.transfers.push(transfer);
        self.held = Some(self.transfers.len() - 1);
    }

    fn release_held(&mut self) {
        if let Some(held) = self.held.take() {
            self.push(held, squeue::Flags::empty());
        }
    }

    fn push(&mut self, index: usize, flags: squeue::Flags) {
        let Transfer { kind, memory, bytes, offset } = self.transfers[index];
        let entry = match kind {
            Kind::Write => opcode::Write::new(self.file, memory, bytes).offset(offset).build(),
            Kind::WriteBuffer(buffer) => {
                opcode::WriteFixed::new(self.file, memory, bytes, buffer).offset(offset).build()
            }
            Kind::Read => opcode::Read::new(self.file, memory, bytes).offset(offset).build(),
        };
        self.push_entry(&entry.flags(flags).user_data(index as u64));
    }

    fn push_sync(&mut self, flags: squeue::Flags) {
        let entry = opcode::Fsync::new(self.file).flags(FsyncFlags::DATASYNC).build();
        self.push_entry(&entry.flags(flags).user_data(SYNC));
        self.sync_covers = true;
    }

    /// Gives a request to the uring, once there is room. One place is kept for what cancels.
    fn push_entry(&mut self, entry: &squeue::Entry) {
        while self.unanswered + 1 >= self.uring.options.requests_max {
            self.wait(1);
        }
        // SAFETY: the memory that it names is valid until it is answered. Buffers belong to the uring, which outlives this
        // flight, and are not filled while `busy` counts them. Memory of the caller is borrowed for the whole call, and
        // this flight does not end, not even by a panic, before all requests are answered. A read's memory is borrowed
        // exclusively.
        unsafe { self.uring.kernel.submission().push(entry) }.expect("fewer requests than places");
        self.unanswered += 1;
    }

    /// Waits until nothing is on its way.
    fn settle(&mut self) {
        while self.unanswered > 0 {
            self.wait(self.unanswered);
        }
    }

    /// Waits for some answers and takes all that are there. Never gives up, but cancels when patience is over.
    fn wait(&mut self, answers: u32) {
        let wanted = self.unanswered.saturating_sub(answers);
        let started = Instant::now();
        while self.unanswered > wanted {
            self.enter(self.unanswered - wanted);
            self.take_answers();
            if !self.cancelled && self.unanswered > wanted && started.elapsed() >= self.uring.options.patience
            {
                self.cancelled = true;
                let entry = opcode::AsyncCancel2::new(CancelBuilder::any()).build().user_data(CANCEL);
                self.cancel(&entry);
            }
        }
    }

    fn cancel(&mut self, entry: &squeue::Entry) {
        // SAFETY: it names no memory.
        if unsafe { self.uring.kernel.submission().push(entry) }.is_ok() {
            self.unanswered += 1;
        }
    }

    /// Hands over what was pushed and waits a step for so many answers.
    fn enter(&mut self, answers: u32) {
        let step = Timespec::from(WAIT_STEP.min(self.uring.options.patience));
        let done = if answers == 0 {
            self.uring.kernel.submit()
        } else {
            let args = SubmitArgs::new().timespec(&step);
            self.uring.kernel.submitter().submit_with_args(answers as usize, &args)
        };
        match done.map_err(|error| error.raw_os_error()) {
            Ok(_) | Err(Some(libc::ETIME | libc::EINTR)) => {}
            // Out of memory or of places for answers, for now. What was given to the kernel is answered all the same.
            Err(_) => std::thread::sleep(BREATH),
        }
    }

    fn take_answers(&mut self) {
        let answers: Vec<(u64, i32)> =
            self.uring.kernel.completion().map(|answer| (answer.user_data(), answer.result())).collect();
        for (tag, result) in answers {
            self.unanswered -= 1;
            match tag {
                CANCEL => {}
                SYNC => self.sync_answered(result),
                index => self.answered(usize::try_from(index).expect("it was a usize"), result),
            }
        }
    }

    fn sync_answered(&mut self, result: i32) {
        self.synced = match outcome(result) {
            Ok(_) => self.sync_covers.then_some(Ok(())),
            Err(error) => Some(Err(error)),
        };
    }

    fn answered(&mut self, index: usize, result: i32) {
        let transfer = &mut self.transfers[index];
        let error = match outcome(result) {
            Ok(done) if done == transfer.bytes => None,
            Ok(0) if transfer.kind == Kind::Read => Some(io::ErrorKind::UnexpectedEof.into()),
            Ok(0) => Some(io::ErrorKind::WriteZero.into()),
            Ok(done) => {
                transfer.memory = transfer.memory.wrapping_add(done as usize);
                transfer.bytes -= done;
                transfer.offset += u64::from(done);
                return self.again(index);
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR | libc::EAGAIN) => return self.again(index),
                _ => Some(timed_out(error)),
            },
        };
        let offset = transfer.offset;
        self.give_back(index);
        if let Some(error) = error
            && self.failed.as_ref().is_none_or(|(first, _)| offset < *first)
        {
            self.failed = Some((offset, error));
        }
    }

    /// The rest of a transfer, unless it does not matter any more.
    fn again(&mut self, index: usize) {
        if self.failed.is_some() || self.cancelled {
            let offset = self.transfers[index].offset;
            self.failed.get_or_insert((offset, io::ErrorKind::TimedOut.into()));
            return self.give_back(index);
        }
        self.sync_covers = false;
        self.synced = self.synced.take().filter(Result::is_err);
        self.push(index, squeue::Flags::empty());
    }

    fn give_back(&mut self, index: usize) {
        if let Kind::WriteBuffer(buffer) = self.transfers[index].kind {
            self.uring.busy[usize::from(buffer)] -= 1;
        }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            // It was never pushed: the kernel does not know of it.
            self.give_back(held);
        }
        self.settle();
    }
}

fn outcome(result: i32) -> io::Result<u32> {
    u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(result.saturating_neg()))
}

/// What was cancelled was cancelled by us, for taking too long.
fn timed_out(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(libc::ECANCELED) { io::ErrorKind::TimedOut.into() } else { error }
}
