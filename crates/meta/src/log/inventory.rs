//! The inventory: which log files and snapshots lie on which drives.
//!
//! Reads headers only. A file whose header is broken is passed over and noted if nothing follows it (it was being made when
//! the machine stopped) or if another drive has it whole; otherwise it is an error, like one of another cluster, a newer
//! format or a foreign key. A drive that cannot be read is out.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;

use pangea_core::id::ClusterId;
use pangea_core::seal::Sealer;
use pangea_core::seam::DiskFile;

use super::writer::LogDrive;
use super::{DIR, Name, log_name};
use crate::error::MetaError;
use crate::sealed::{BadHeader, FrameHead, HEADER_BYTES, Header, Kind, LogKeys, SECTOR_BYTES, open_frame};

/// Files are looked through in blocks of this many bytes.
pub(crate) const SCAN_BYTES: usize = 1 << 20;

/// One log file, on all drives that have it.
pub(crate) struct FoundLog {
    pub header: Header,
    pub sealer: Sealer,
    /// Drive number and open file.
    pub copies: Vec<(usize, Box<dyn DiskFile>)>,
}

impl FoundLog {
    /// Its name on every drive.
    pub fn name(&self) -> String {
        log_name(self.header.generation, self.header.number)
    }
}

/// A snapshot, on all drives that have it; its frames were not read yet.
pub(crate) struct FoundSnapshot {
    pub header: Header,
    pub sealer: Sealer,
    /// Drive number and open file.
    pub copies: Vec<(usize, Box<dyn DiskFile>)>,
}

/// All there is.
#[derive(Default)]
pub(crate) struct Inventory {
    /// Log files by generation and number.
    pub logs: BTreeMap<(u64, u32), FoundLog>,
    /// Snapshots by sequence.
    pub snapshots: BTreeMap<u64, FoundSnapshot>,
    /// What was passed over, for people.
    pub notes: Vec<String>,
    /// The highest generation in any name, finished or not: new files must not meet old ones.
    pub newest_named: u64,
    /// Log files with content behind a broken header, and where they lie.
    rotten: Vec<((u64, u32), String)>,
    /// Files whose key check fails: of a foreign key if no file opens, rotten if another one does. The log files among them
    /// with content come with their place in the log.
    unopened: Vec<(Option<(u64, u32)>, String)>,
}

impl Inventory {
    /// Looks at all drives; those that cannot be read are out.
    pub fn take(drives: &mut [LogDrive], cluster: ClusterId, keys: &LogKeys) -> Result<Self, MetaError> {
        let mut inventory = Self::default();
        for (number, drive) in drives.iter_mut().enumerate() {
            match inventory.add_drive(number, drive, cluster, keys) {
                Ok(()) => {}
                Err(MetaError::Io { doing, source }) => {
                    inventory.notes.push(format!("{}: {doing}: {source}", drive.disk.describe()));
                    drive.fail(&source);
                    inventory.forget_drive(number);
                }
                Err(other) => return Err(other),
            }
        }
        inventory.judge_unopened()?;
        for (key, place) in &inventory.rotten {
            let Some(whole) = inventory.logs.get(key) else {
                if inventory.is_superseded(*key) {
                    inventory.notes.push(format!("{place} is broken; a newer snapshot makes it needless"));
                    continue;
                }
                let what = "its header is broken";
                return Err(MetaError::Damaged { file: place.clone(), seq: 0, what });
            };
            inventory.notes.push(format!("{place} is broken; {} other copies are not", whole.copies.len()));
        }
        Ok(inventory)
    }

    /// Whether the newest snapshot and whole log files behind this one go on without it. Should that snapshot turn out to be
    /// broken, the walk from an older one meets the gap and says so.
    fn is_superseded(&self, log: (u64, u32)) -> bool {
        let Some((snapshot_seq, _)) = self.snapshots.last_key_value() else { return false };
        let mut later = self.logs.range((Bound::Excluded(log), Bound::Unbounded));
        later.any(|(_, found)| found.header.seq <= snapshot_seq.saturating_add(1))
    }

    /// One flipped bit in a key check must not look like a foreign key while the same key opens other files.
    fn judge_unopened(&mut self) -> Result<(), MetaError> {
        let opened = !self.logs.is_empty() || !self.snapshots.is_empty();
        for (log, file) in std::mem::take(&mut self.unopened) {
            match log {
                _ if !opened => return Err(MetaError::WrongKey { file }),
                Some(key) => self.rotten.push((key, file)),
                None => self.notes.push(format!("{file} does not open and was passed over")),
            }
        }
        Ok(())
    }

    /// The newest generation that left a trace.
    pub fn newest_generation(&self) -> u64 {
        let logs = self.logs.keys().map(|(generation, _)| *generation);
        logs.chain(self.snapshots.values().map(|snapshot| snapshot.header.generation)).max().unwrap_or(0)
    }

    fn forget_drive(&mut self, number: usize) {
        for log in self.logs.values_mut() {
            log.copies.retain(|(drive, _)| *drive != number);
        }
        for snapshot in self.snapshots.values_mut() {
            snapshot.copies.retain(|(drive, _)| *drive != number);
        }
        self.logs.retain(|_, log| !log.copies.is_empty());
        self.snapshots.retain(|_, snapshot| !snapshot.copies.is_empty());
    }

    fn add_drive(
        &mut self,
        number: usize,
        drive: &LogDrive,
        cluster: ClusterId,
        keys: &LogKeys,
    ) -> Result<(), MetaError> {
        let io = |source| MetaError::Io { doing: "looking for the meta log", source };
        let names = match drive.disk.list(DIR) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed.map_err(io)?,
        };
        for listed in names {
            let (kind, name) = match Name::parse(&listed) {
                Name::Log(generation, file) => (Kind::Log, log_name(generation, file)),
                Name::Snapshot(seq) => (Kind::Snapshot, super::snapshot_name(seq)),
                Name::Temporary | Name::Foreign => continue,
            };
            if let Name::Log(generation, _) = Name::parse(&listed) {
                self.newest_named = self.newest_named.max(generation);
            }
            let file = drive.disk.open(&name, None).map_err(io)?;
            let place = format!("{} on {}", name, drive.disk.describe());
            let decoded = match read_header(&*file).map_err(io)? {
                Some(bytes) => Header::decode(&bytes, kind, cluster, keys),
                None => Err(BadHeader::Broken),
            };
            match decoded {
                Ok((header, sealer)) => self.add_file(number, header, sealer, file, &place)?,
                Err(BadHeader::WrongKey) => {
                    let log = match Name::parse(&listed) {
                        Name::Log(generation, number) if has_content(&*file).map_err(io)? => {
                            Some((generation, number))
                        }
                        _ => None,
                    };
                    self.unopened.push((log, place));
                }
                Err(bad) => match (bad.fatal(&place), Name::parse(&listed)) {
                    (Some(error), _) => return Err(error),
                    (None, Name::Log(generation, file_number)) if has_content(&*file).map_err(io)? => {
                        self.rotten.push(((generation, file_number), place));
                    }
                    (None, _) => self.notes.push(format!("{place} was never finished and was passed over")),
                },
            }
        }
        Ok(())
    }

    fn add_file(
        &mut self,
        drive: usize,
        header: Header,
        sealer: Sealer,
        file: Box<dyn DiskFile>,
        place: &str,
    ) -> Result<(), MetaError> {
        let copies = vec![(drive, file)];
        match header.kind {
            Kind::Log => {
                let key = (header.generation, header.number);
                let found = FoundLog { header, sealer, copies };
                match self.logs.remove(&key) {
                    Some(known) => {
                        let merged = merge(known, found, place, &mut self.notes)?;
                        self.logs.insert(key, merged);
                    }
                    None => drop(self.logs.insert(key, found)),
                }
            }
            Kind::Snapshot => {
                if let Some(known) = self.snapshots.get_mut(&header.seq) {
                    if known.header == header {
                        known.copies.extend(copies);
                    } else {
                        self.notes
                            .push(format!("{place} is another snapshot of the same request; passed over"));
                    }
                } else {
                    self.snapshots.insert(header.seq, FoundSnapshot { header, sealer, copies });
                }
            }
        }
        Ok(())
    }
}

/// Two drives may tell different stories about one generation: the machine stopped while it began on one drive, and the
/// other began it anew without that drive. A generation is answered from only after its first frame, so a file without a
/// second one holds nothing that anybody was told, and gives way.
fn merge(
    mut known: FoundLog,
    found: FoundLog,
    place: &str,
    notes: &mut Vec<String>,
) -> Result<FoundLog, MetaError> {
    if known.header == found.header {
        known.copies.extend(found.copies);
        return Ok(known);
    }
    let what = "two drives have different logs of one generation: each served without the other";
    let damaged = MetaError::Damaged { file: place.to_owned(), seq: found.header.seq, what };
    notes.push(format!("{place} and another drive began one generation apart; the one that served is kept"));
    match (known.was_served(), found.was_served()) {
        (true, true) => Err(damaged),
        (false, true) => Ok(found),
        (true | false, false) => Ok(known),
    }
}

impl FoundLog {
    /// Whether any copy has a second frame.
    fn was_served(&self) -> bool {
        let frame_end = |file: &dyn DiskFile, at: u64| {
            let bytes = read_frame(file, at).ok().flatten()?;
            open_frame(&self.sealer, &bytes).map(|(head, ..)| at + head.frame_bytes() as u64)
        };
        self.header.number > 0
            || self.copies.iter().any(|(_, file)| {
                let second = frame_end(&**file, HEADER_BYTES as u64);
                second.is_some_and(|at| frame_end(&**file, at).is_some())
            })
    }
}

/// The bytes that claim to be a frame at `at`, padding included; `None`: nothing does.
pub(crate) fn read_frame(file: &dyn DiskFile, at: u64) -> io::Result<Option<Vec<u8>>> {
    let size = file.size()?;
    if at + SECTOR_BYTES as u64 > size {
        return Ok(None);
    }
    let mut bytes = vec![0; SECTOR_BYTES];
    file.read_at(&mut bytes, at)?;
    let Some(head) = FrameHead::decode(&bytes) else { return Ok(None) };
    let len = head.frame_bytes();
    if at + len as u64 > size {
        return Ok(None);
    }
    bytes.resize(len, 0);
    file.read_at(&mut bytes[SECTOR_BYTES..], at + SECTOR_BYTES as u64)?;
    Ok(Some(bytes))
}

/// Whether anything but zeros lies behind the header.
fn has_content(file: &dyn DiskFile) -> io::Result<bool> {
    let size = file.size()?;
    let mut at = HEADER_BYTES as u64;
    let mut block = vec![0; SCAN_BYTES];
    while at < size {
        let n = (size - at).min(SCAN_BYTES as u64) as usize;
        file.read_at(&mut block[..n], at)?;
        if block[..n].iter().any(|byte| *byte != 0) {
            return Ok(true);
        }
        at += n as u64;
    }
    Ok(false)
}

fn read_header(file: &dyn DiskFile) -> io::Result<Option<[u8; HEADER_BYTES]>> {
    if file.size()? < HEADER_BYTES as u64 {
        return Ok(None);
    }
    let mut bytes = [0; HEADER_BYTES];
    file.read_at(&mut bytes, 0)?;
    Ok(Some(bytes))
}
