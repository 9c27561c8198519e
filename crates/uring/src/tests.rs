//! The uring at its door: what is appended is there, errors are the kernel's, and nothing in flight outlives its memory.
//! Where the machine has no io_uring there is nothing to test, and the tests say so.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::flight::Flight;
use crate::{AppendError, BLOCK_BYTES, Options, Refused, Uring};

const BLOCK: usize = BLOCK_BYTES;

/// A file that is gone when it is dropped, opened for direct writes.
struct Scratch {
    path: PathBuf,
    file: File,
}

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pangea-uring-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let mut open = OpenOptions::new();
        open.read(true).write(true).create_new(true);
        let direct = open.clone().custom_flags(libc::O_DIRECT).open(&path);
        let file = direct.or_else(|_| open.open(&path)).expect("a temporary file");
        Self { path, file }
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.path).expect("it is there")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn uring(options: Options) -> Option<Uring> {
    match Uring::open(options) {
        Ok(uring) => Some(uring),
        Err(refused) => {
            eprintln!("not tested: {refused}");
            None
        }
    }
}

/// Few and small, so that short appends meet every edge.
fn tight() -> Options {
    Options {
        requests_max: 8,
        files_max: 2,
        buffers: 2,
        buffer_bytes: 2 * BLOCK,
        patience: Duration::from_millis(100),
    }
}

/// Bytes at a block boundary, shifted by `shift`.
struct Aligned {
    memory: Vec<u8>,
    from: usize,
    len: usize,
}

impl Aligned {
    fn new(len: usize, shift: usize, seed: u8) -> Self {
        let mut memory = vec![0; len + 2 * BLOCK];
        let from = memory.as_ptr().align_offset(BLOCK) + shift;
        for (n, byte) in memory[from..from + len].iter_mut().enumerate() {
            *byte = (n >> 3) as u8 ^ n as u8 ^ seed;
        }
        Self { memory, from, len }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.from..self.from + self.len]
    }
}

#[test]
fn parts_of_any_length_and_alignment_arrive_in_order() {
    for options in [tight(), Options::default()] {
        let Some(mut uring) = uring(options) else { return };
        let scratch = Scratch::new();
        let slot = uring.register(scratch.file.as_fd()).expect("registered").expect("a free slot");
        let large = Aligned::new(50 * BLOCK, 0, 1);
        let crooked = Aligned::new(37 * BLOCK, 13, 2);
        let head = Aligned::new(300, 0, 3);
        let zeros = [0; BLOCK];
        let cases: Vec<Vec<&[u8]>> = vec![
            vec![large.bytes()],
            vec![crooked.bytes()],
            vec![head.bytes(), &zeros[300..], large.bytes()],
            vec![
                head.bytes(),
                &zeros[300..],
                crooked.bytes(),
                large.bytes(),
                b"",
                head.bytes(),
                &zeros[300..],
            ],
            (0..40).flat_map(|_| [head.bytes(), &zeros[300..], &large.bytes()[..8 * BLOCK]]).collect(),
            (0..4 * BLOCK).map(|n| &large.bytes()[n..n + 1]).collect(),
            vec![&large.bytes()[512..512 + 20 * BLOCK]],
        ];
        let (mut at, mut expected) = (0, Vec::new());
        for (number, case) in cases.iter().enumerate() {
            let parts: Vec<IoSlice<'_>> = case.iter().map(|part| IoSlice::new(part)).collect();
            uring.append(&slot, 512, &parts, at).unwrap_or_else(|error| panic!("case {number}: {error:?}"));
            expected.extend(case.concat());
            at = expected.len() as u64;
            assert!(scratch.bytes() == expected, "case {number}");
        }
        assert!(uring.busy.iter().all(|busy| *busy == 0), "every buffer is free again");
        let mut back = Aligned::new(20 * BLOCK, 0, 0);
        let range = back.from..back.from + back.len;
        uring.read(&slot, &mut back.memory[range], 3 * BLOCK as u64).expect("it is there");
        assert!(back.bytes() == &expected[3 * BLOCK..23 * BLOCK]);
        let past = uring.read(&slot, &mut vec![0; BLOCK], at + BLOCK as u64).expect_err("behind the end");
        assert!(matches!(past.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput), "{past}");
        uring.forget(slot);
    }
}

#[test]
fn an_error_of_the_kernel_is_the_error_of_the_append() {
    let Some(mut uring) = uring(tight()) else { return };
    let scratch = Scratch::new();
    let read_only = File::open(&scratch.path).expect("it is there");
    let slot = uring.register(read_only.as_fd()).expect("registered").expect("a free slot");
    let bytes = Aligned::new(40 * BLOCK, 0, 1);
    let full = OpenOptions::new().write(true).open("/dev/full").expect("every Linux has it");
    let full_slot = uring.register(full.as_fd()).expect("registered").expect("a free slot");
    for crooked in [0, 1] {
        let bytes = &bytes.bytes()[crooked..crooked + 30 * BLOCK];
        let refused = uring.append(&slot, 512, &[IoSlice::new(bytes)], 0).expect_err("not open for writing");
        let AppendError::Write(error) = refused else { panic!("{refused:?}") };
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        let refused = uring.append(&full_slot, 512, &[IoSlice::new(bytes)], 0).expect_err("always full");
        let AppendError::Write(error) = refused else { panic!("{refused:?}") };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
    uring.forget(slot);
    uring.forget(full_slot);
    let slot = uring.register(scratch.file.as_fd()).expect("registered").expect("a free slot");
    uring.append(&slot, 512, &[IoSlice::new(bytes.bytes())], 0).expect("the uring goes on");
    assert!(scratch.bytes() == bytes.bytes());
}

#[test]
fn a_device_that_cannot_sync_says_so_after_the_write() {
    let Some(mut uring) = uring(tight()) else { return };
    let null = OpenOptions::new().write(true).open("/dev/null").expect("every Linux has it");
    let slot = uring.register(null.as_fd()).expect("registered").expect("a free slot");
    let bytes = Aligned::new(10 * BLOCK, 0, 1);
    let parts = [IoSlice::new(bytes.bytes()), IoSlice::new(&bytes.bytes()[1..=BLOCK])];
    for parts in [&parts[..1], &parts[..]] {
        let refused = uring.append(&slot, 512, parts, 0).expect_err("it has no fsync");
        let AppendError::Sync(error) = refused else { panic!("{refused:?}") };
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }
}

#[test]
fn a_file_beyond_the_table_is_not_registered_until_another_is_given_back() {
    let Some(mut uring) = uring(tight()) else { return };
    let scratch = Scratch::new();
    let mut register = || uring.register(scratch.file.as_fd()).expect("registered");
    let (first, second) = (register().expect("free"), register().expect("free"));
    assert!(register().is_none());
    uring.forget(first);
    let third = uring.register(scratch.file.as_fd()).expect("registered").expect("free again");
    uring.forget(second);
    uring.forget(third);
}

#[test]
fn more_locked_memory_than_there_may_be_is_refused_and_named() {
    let huge = Options { buffers: 2, buffer_bytes: 2 << 30, ..Options::default() };
    // One buffer is at most 1 GiB, whoever asks.
    match Uring::open(huge) {
        Err(Refused::LockedMemory { needed, .. }) => assert_eq!(needed, 4 << 30),
        Err(other) => eprintln!("not tested: {other}"),
        Ok(_) => panic!("4 GiB were registered"),
    }
}

/// The write end of a pipe that nobody reads: what is written there is in flight for ever.
fn stuck() -> (io::PipeReader, io::PipeWriter) {
    io::pipe().expect("a pipe")
}

#[test]
fn what_does_not_come_back_is_cancelled_when_patience_is_over() {
    let Some(mut uring) = uring(tight()) else { return };
    let (reader, writer) = stuck();
    let slot = uring.register(writer.as_fd()).expect("registered").expect("a free slot");
    let bytes = Aligned::new(256 * BLOCK, 0, 1);
    let started = Instant::now();
    let refused = uring.append(&slot, 512, &[IoSlice::new(bytes.bytes())], 0).expect_err("nobody reads");
    let AppendError::Write(error) = refused else { panic!("{refused:?}") };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    assert!(started.elapsed() >= tight().patience);
    drop(reader);
    uring.forget(slot);
    let scratch = Scratch::new();
    let slot = uring.register(scratch.file.as_fd()).expect("registered").expect("a free slot");
    uring.append(&slot, 512, &[IoSlice::new(bytes.bytes())], 0).expect("the uring goes on");
    assert!(scratch.bytes() == bytes.bytes());
}

#[test]
fn a_flight_that_ends_in_a_panic_has_settled_before_its_memory_is_gone() {
    let Some(mut uring) = uring(tight()) else { return };
    let (_reader, writer) = stuck();
    let slot = uring.register(writer.as_fd()).expect("registered").expect("a free slot");
    let bytes = Aligned::new(256 * BLOCK, 0, 1);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut flight = Flight::new(&mut uring, slot.index, 512);
        flight.write(&[IoSlice::new(bytes.bytes()), IoSlice::new(&bytes.bytes()[..BLOCK])], 0);
        panic!("while requests are on their way");
    }));
    assert!(panicked.is_err());
    assert!(uring.kernel.completion().next().is_none(), "every answer was taken");
    assert!(uring.busy.iter().all(|busy| *busy == 0), "and every buffer given back");
}

#[test]
fn two_rings_write_two_files_from_two_threads() {
    let threads: Vec<_> = (0..2u8)
        .map(|seed| {
            std::thread::spawn(move || {
                let Some(mut uring) = uring(Options::default()) else { return };
                let scratch = Scratch::new();
                scratch.file.set_len(0).expect("empty");
                let slot = uring.register(scratch.file.as_fd()).expect("registered").expect("a free slot");
                let bytes = Aligned::new(64 * BLOCK, 0, seed);
                for n in 0..20 {
                    let parts = [IoSlice::new(bytes.bytes())];
                    uring.append(&slot, 512, &parts, n * bytes.len as u64).expect("room");
                }
                let mut back = vec![0; bytes.len];
                let plain = File::open(&scratch.path).expect("it is there");
                plain.read_exact_at(&mut back, 19 * bytes.len as u64).expect("it is there");
                assert!(back == bytes.bytes());
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no thread panicked"));
}
