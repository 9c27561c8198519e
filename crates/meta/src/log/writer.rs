//! The writer: one frame to all live drives, durable on all of them, or the drive is out.
//!
//! Owns the open log file of every drive. It does not retry: a drive whose write or sync failed once is never written to
//! again by this engine (after a failed fdatasync nothing on it may be trusted).

use std::io::{self, IoSlice};
use std::sync::Arc;

use pangea_core::id::ClusterId;
use pangea_core::seal::Sealer;
use pangea_core::seam::{Disk, DiskFile, Entropy, random};

use super::log_name;
use crate::error::MetaError;
use crate::port::LogDriveStatus;
use crate::sealed::{HEADER_BYTES, Header, Kind, LogKeys, Position, seal_frame};

/// A file is closed and the next one begun when it grew to this.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A drive that the log is kept on.
pub(crate) struct LogDrive {
    /// The drive.
    pub disk: Arc<dyn Disk>,
    /// What went wrong with it last.
    pub last_error: Option<String>,
    /// Whether it still takes part.
    pub live: bool,
    file: Option<Box<dyn DiskFile>>,
}

impl LogDrive {
    /// A drive that takes part until it fails.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, last_error: None, live: true, file: None }
    }

    /// The drive is out.
    pub fn fail(&mut self, why: &io::Error) {
        self.last_error = Some(why.to_string());
        self.live = false;
        self.file = None;
    }

    /// For `status`.
    pub fn status(&self) -> LogDriveStatus {
        LogDriveStatus { name: self.disk.describe(), ok: self.live, last_error: self.last_error.clone() }
    }
}

/// How the log is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriteOptions {
    /// Write to the drives in parallel, each from a thread of its own.
    pub parallel: bool,
    /// Files are filled with zeros ahead in steps of so many bytes: then a frame's fdatasync writes no file-system metadata.
    pub step_bytes: u64,
}

/// The file being written.
struct Current {
    sealer: Sealer,
    number: u32,
    offset: u64,
    zeroed: u64,
    frames: u32,
}

/// Appends to the log.
pub(crate) struct Writer {
    /// The drives, failed ones included.
    pub drives: Vec<LogDrive>,
    cluster: ClusterId,
    keys: LogKeys,
    entropy: Arc<dyn Entropy>,
    options: WriteOptions,
    generation: u64,
    position: Position,
    current: Option<Current>,
    /// First sequence and bytes of every file of the log, oldest first.
    files: Vec<(u64, u64)>,
}

impl Writer {
    /// A writer that goes on behind `position`, once a generation is started.
    pub fn new(
        drives: Vec<LogDrive>,
        cluster: ClusterId,
        keys: LogKeys,
        entropy: Arc<dyn Entropy>,
        options: WriteOptions,
        position: Position,
    ) -> Self {
        Self {
            drives,
            cluster,
            keys,
            entropy,
            options,
            generation: 0,
            position,
            current: None,
            files: Vec::new(),
        }
    }

    /// Where the log ends.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The generation being written.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The newest generation that was ever seen: the next one is above it.
    pub fn resume(&mut self, generation: u64, log_bytes: u64) {
        self.generation = generation;
        self.files.push((0, log_bytes)); // what was found counts until the next snapshot
    }

    /// The open file: generation and number.
    pub fn file(&self) -> (u64, u32) {
        (self.generation, self.current.as_ref().map_or(0, |file| file.number))
    }

    /// Forgets files that hold nothing behind `seq`, and gives the bytes of the others.
    pub fn bytes_behind(&mut self, seq: u64) -> u64 {
        while self.files.get(1).is_some_and(|(first, _)| *first <= seq + 1) {
            self.files.remove(0);
        }
        self.files.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Whether the open file is long enough to be closed.
    pub fn is_file_full(&self) -> bool {
        self.current.as_ref().is_some_and(|file| file.offset >= FILE_BYTES_MAX)
    }

    /// Starts a generation on the live drives. Drives that fail are out; an error means that none is left.
    pub fn start_generation(&mut self, generation: u64) -> Result<(), MetaError> {
        assert!(generation > self.generation, "generations rise");
        self.generation = generation;
        self.start_file(0)
    }

    /// Closes the file and starts the next one of the same generation. `false`: a drive was lost, start a generation.
    pub fn roll(&mut self) -> Result<bool, MetaError> {
        let live = self.live();
        let number = self.current.as_ref().map_or(0, |file| file.number + 1);
        self.start_file(number)?;
        Ok(self.live() == live)
    }

    /// Drives that still take part.
    pub fn live(&self) -> usize {
        self.drives.iter().filter(|drive| drive.live).count()
    }

    fn start_file(&mut self, number: u32) -> Result<(), MetaError> {
        let header = Header {
            kind: Kind::Log,
            key_generation: self.keys.current.generation,
            cluster: self.cluster,
            generation: self.generation,
            number,
            seq: self.position.seq + 1,
            chain: self.position.chain,
            salt: random(&*self.entropy),
        };
        let (bytes, sealer) = header.encode(&self.keys);
        let name = log_name(self.generation, number);
        let zeroed = (HEADER_BYTES as u64).max(self.options.step_bytes);
        self.each_drive(|drive| {
            let file = drive.disk.open(&name, Some(zeroed))?;
            write_zeros(&*file, 0, zeroed)?;
            file.write_at(&[IoSlice::new(&bytes)], 0)?;
            file.sync()?;
            drive.disk.sync_dir()?;
            drive.file = Some(file);
            Ok(())
        });
        if self.live() == 0 {
            self.current = None;
            return Err(MetaError::Unavailable { why: "no log drive takes writes".to_owned() });
        }
        self.files.push((self.position.seq + 1, 0));
        self.current = Some(Current { sealer, number, offset: HEADER_BYTES as u64, zeroed, frames: 0 });
        Ok(())
    }

    /// Appends one frame of `count` requests; when this returns it is durable on all live drives. `false`: a drive was lost
    /// on the way, so a generation must be started before anybody is answered.
    pub fn append(&mut self, payload: &[u8], count: u32) -> Result<bool, MetaError> {
        let Some(current) = self.current.as_mut() else {
            return Err(MetaError::Unavailable { why: "no log drive takes writes".to_owned() });
        };
        let first = self.position.seq + 1;
        let (frame, chain) =
            seal_frame(&current.sealer, first, count, current.frames, self.position.chain, payload);
        let (offset, zeroed) = (current.offset, current.zeroed);
        let end = offset + frame.len() as u64;
        // One step beyond what is needed, so that the frames to come find zeros.
        let grown = if end > zeroed { end.next_multiple_of(self.options.step_bytes.max(1)) } else { zeroed };
        (current.offset, current.zeroed, current.frames) = (end, grown, current.frames + 1);
        if let Some((_, bytes)) = self.files.last_mut() {
            *bytes += frame.len() as u64;
        }
        let live = self.live();
        self.each_drive(|drive| {
            let file = drive.file.as_ref().ok_or(io::ErrorKind::NotConnected)?;
            if grown > end {
                write_zeros(&**file, end.max(zeroed), grown)?;
            }
            file.write_at(&[IoSlice::new(&frame)], offset)?;
            file.sync()
        });
        match self.live() {
            0 => {
                self.current = None;
                Err(MetaError::Unknown)
            }
            left => {
                self.position = Position { seq: self.position.seq + u64::from(count), chain };
                Ok(left == live)
            }
        }
    }

    /// Runs `work` on every live drive, in parallel if so told; a drive on which it fails is out.
    fn each_drive(&mut self, work: impl Fn(&mut LogDrive) -> io::Result<()> + Sync) {
        let parallel = self.options.parallel;
        let mut live: Vec<&mut LogDrive> = self.drives.iter_mut().filter(|drive| drive.live).collect();
        let run = |drive: &mut LogDrive| {
            if let Err(why) = work(drive) {
                drive.fail(&why);
            }
        };
        if !parallel || live.len() < 2 {
            live.into_iter().for_each(run);
            return;
        }
        let here = live.pop();
        std::thread::scope(|scope| {
            for drive in live {
                scope.spawn(|| run(drive));
            }
            here.into_iter().for_each(run);
        });
    }
}

fn write_zeros(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut at = from;
    while at < to {
        let n = (to - at).min(ZEROS.len() as u64);
        file.write_at(&[IoSlice::new(&ZEROS[..n as usize])], at)?;
        at += n;
    }
    Ok(())
}
