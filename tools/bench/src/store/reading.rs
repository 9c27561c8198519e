//! Ways to read a record: through the page cache, past it by system call or io_uring, and through a mapping.
//!
//! Cold rounds begin after the file was dropped from the page cache; warm ones after it was read once. One reader, random
//! order, into memory that is kept.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pangea_uring::{Options, Uring};
use rustix::fs::{Advice, OFlags, fadvise};

use super::mapped::Mapped;
use super::{Arguments, Round, Subjects, compare, cpu};
use crate::payload::{ObjectSize, Payloads};
use crate::report::Report;

const FILE_BYTES: u64 = 512 << 20;
const PAGE_BYTES: usize = 4096;
/// Reads of a round, at the most.
const READS_MAX: u64 = 8192;

#[derive(Clone, Copy)]
enum Way {
    Cached,
    Direct,
    Uring,
    Mapped,
}

/// Measures all ways, warm and cold, for large and small records.
pub fn measure(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let path = arguments.dir.join(format!("pangea-bench-reads-{}", std::process::id()));
    let outcome = make(&path).and_then(|()| {
        for (size, name) in [(4 << 20, "4MiB"), (64 << 10, "64KiB"), (4 << 10, "4KiB")] {
            for warm in [true, false] {
                let temperature = if warm { "warm" } else { "cold" };
                let way = |way| {
                    let path = &path;
                    Box::new(move |_: &Path| read_all(way, path, size, warm))
                };
                let subjects: Subjects<'_> = vec![
                    ("cached", way(Way::Cached)),
                    ("direct", way(Way::Direct)),
                    ("uring", way(Way::Uring)),
                    ("mmap", way(Way::Mapped)),
                ];
                compare(arguments, &format!("READ-{name}-{temperature}"), &subjects, report)?;
            }
        }
        Ok(())
    });
    fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    outcome
}

fn make(path: &Path) -> Result<()> {
    let payloads = Payloads::new(1);
    let size: ObjectSize = "4MiB".parse()?;
    let file = File::create(path).with_context(|| format!("making {}", path.display()))?;
    for number in 0..FILE_BYTES / size.bytes() {
        file.write_all_at(&payloads.object(number, size), number * size.bytes())?;
    }
    Ok(file.sync_all()?)
}

fn read_all(way: Way, path: &Path, size: usize, warm: bool) -> Result<Round> {
    let flags = match way {
        Way::Direct | Way::Uring => OFlags::DIRECT,
        Way::Cached | Way::Mapped => OFlags::empty(),
    };
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let mut memory = vec![0; size + PAGE_BYTES];
    let start = memory.as_ptr().align_offset(PAGE_BYTES);
    let room = &mut memory[start..start + size];
    temper(path, warm)?;
    let mut reader = Reader::new(way, &file)?;
    let places = FILE_BYTES / size as u64;
    let reads = places.min(READS_MAX);
    let mut latencies = Vec::new();
    let (used, begun) = (cpu(), Instant::now());
    for number in 0..reads {
        // An odd factor visits every place once, in no order that the kernel would read ahead.
        let place = number.wrapping_mul(0x9e37_79b1) % places;
        let start = Instant::now();
        reader.read(room, place * size as u64)?;
        latencies.push(start.elapsed());
    }
    let (took, cpu) = (begun.elapsed(), cpu().saturating_sub(used));
    latencies.sort_unstable();
    let p50: Option<Duration> = latencies.get(latencies.len() / 2).copied();
    Ok(Round { bytes: reads * size as u64, requests: reads, took, cpu, p50 })
}

/// Puts the file into the page cache, or out of it.
fn temper(path: &Path, warm: bool) -> Result<()> {
    let file = File::open(path)?;
    if warm {
        let mut room = vec![0; 4 << 20];
        let mut at = 0;
        while at < FILE_BYTES {
            file.read_exact_at(&mut room, at)?;
            at += room.len() as u64;
        }
        return Ok(());
    }
    Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
}

enum Reader<'a> {
    Call(&'a File),
    Uring(Box<(Uring, pangea_uring::Slot)>),
    Mapped(Mapped),
}

impl<'a> Reader<'a> {
    fn new(way: Way, file: &'a File) -> Result<Self> {
        Ok(match way {
            Way::Cached | Way::Direct => Self::Call(file),
            Way::Uring => {
                let mut uring = Uring::open(Options::default())?;
                let slot = uring.register(file.as_fd())?.context("a free slot")?;
                Self::Uring(Box::new((uring, slot)))
            }
            Way::Mapped => Self::Mapped(Mapped::new(file, usize::try_from(FILE_BYTES)?)?),
        })
    }

    fn read(&mut self, room: &mut [u8], offset: u64) -> Result<()> {
        match self {
            Self::Call(file) => Ok(file.read_exact_at(room, offset)?),
            Self::Uring(both) => Ok(both.0.read(&both.1, room, offset)?),
            Self::Mapped(mapped) => {
                let offset = usize::try_from(offset)?;
                mapped.will_need(offset, room.len())?;
                mapped.read(room, offset);
                Ok(())
            }
        }
    }
}
