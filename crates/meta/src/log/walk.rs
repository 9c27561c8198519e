//! The walk: every request behind a known position, in order, each frame from whichever drive has it whole.
//!
//! Owns the rules of what counts: a later file (by generation, then number) makes void whatever earlier files have at or
//! behind its first sequence; every frame must continue the chain. Missing frames are an error, except behind the last
//! whole frame of the last file, where writing stopped.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};

use pangea_core::seam::{Disk, DiskFile};

use super::TEMPORARY;
use super::inventory::{FoundLog, Inventory, SCAN_BYTES, read_frame};
use super::writer::LogDrive;
use crate::error::MetaError;
use crate::sealed::{FrameHead, HEADER_BYTES, Position, SECTOR_BYTES, open_frame};

/// A file that was walked through.
pub(crate) struct WalkedFile {
    key: (u64, u32),
    /// Where its last whole frame ends.
    end: u64,
    /// Where each frame lies and which copy (by place in the list of copies) gave it.
    frames: Vec<(u64, usize, usize)>,
    /// Copies that do not have all of it.
    bad: BTreeSet<usize>,
}

/// What a walk found.
pub(crate) struct Walked {
    /// Where the log ends.
    pub end: Position,
    /// The files, in order.
    pub files: Vec<WalkedFile>,
    /// What is odd, for people.
    pub notes: Vec<String>,
    /// Bytes of log behind the start.
    pub log_bytes: u64,
}

/// Why a walk failed.
#[derive(Debug)]
pub(crate) enum WalkError {
    /// The start is not a point of this history: whoever believes in it is mistaken.
    NotOurs,
    /// The log ends before the start.
    Behind(Position),
    /// The log does not reach back to the start.
    Gap(MetaError),
    /// Anything else.
    Failed(MetaError),
}

impl From<MetaError> for WalkError {
    fn from(error: MetaError) -> Self {
        Self::Failed(error)
    }
}

/// Walks from behind `start` to the end of the log; `frame` gets each payload with the position behind it.
pub(crate) fn walk(
    inventory: &Inventory,
    start: Position,
    mut frame: impl FnMut(&FrameHead, Vec<u8>, Position) -> Result<(), MetaError>,
) -> Result<Walked, WalkError> {
    let mut walked = Walked { end: start, files: Vec::new(), notes: Vec::new(), log_bytes: 0 };
    let mut position: Option<Position> = None;
    for (log, limit) in relevant(inventory, start) {
        let before = Position { seq: log.header.seq - 1, chain: log.header.chain };
        match position {
            None if before.seq > start.seq => return Err(WalkError::Gap(gap(log, start.seq))),
            None if before.seq == start.seq && before.chain != start.chain => return Err(WalkError::NotOurs),
            None => {}
            Some(at) if at == before => {}
            Some(at) if at.seq < before.seq => return Err(WalkError::Failed(gap(log, at.seq))),
            Some(at) => {
                let what = "it does not continue the file before it";
                let (file, seq) = (log.name(), at.seq + 1);
                return Err(WalkError::Failed(MetaError::Damaged { file, seq, what }));
            }
        }
        let end = walk_file(log, limit, start, before, &mut walked, &mut frame)?;
        position = Some(end);
    }
    let Some(end) = position else {
        return if start == Position::default() && inventory.snapshots.is_empty() {
            Ok(walked)
        } else {
            let file = super::snapshot_name(start.seq);
            Err(WalkError::Gap(MetaError::Gap { have_seq: start.seq, next_seq: None, file }))
        };
    };
    if end.seq < start.seq {
        return Err(WalkError::Behind(end));
    }
    walked.end = end;
    Ok(walked)
}

/// The files that have something to say behind `start`, each with the sequence at which the next ones take over.
fn relevant(inventory: &Inventory, start: Position) -> Vec<(&FoundLog, Option<u64>)> {
    let mut limit = None;
    let mut files: Vec<(&FoundLog, Option<u64>)> = Vec::new();
    for log in inventory.logs.values().rev() {
        let useful = limit.is_none_or(|limit| log.header.seq < limit && limit > start.seq + 1);
        if useful {
            files.push((log, limit));
        }
        limit = Some(limit.unwrap_or(u64::MAX).min(log.header.seq));
    }
    files.reverse();
    files
}

fn gap(log: &FoundLog, have_seq: u64) -> MetaError {
    MetaError::Gap { have_seq, next_seq: Some(log.header.seq), file: log.name() }
}

fn walk_file(
    log: &FoundLog,
    limit: Option<u64>,
    start: Position,
    before: Position,
    walked: &mut Walked,
    frame: &mut impl FnMut(&FrameHead, Vec<u8>, Position) -> Result<(), MetaError>,
) -> Result<Position, WalkError> {
    let key = (log.header.generation, log.header.number);
    let mut file = WalkedFile { key, end: HEADER_BYTES as u64, frames: Vec::new(), bad: BTreeSet::new() };
    let mut at = before;
    while limit.is_none_or(|limit| at.seq + 1 < limit) {
        let Some((head, payload, bytes_len, chain)) = best_copy(log, &mut file, at)? else { break };
        let next = Position { seq: at.seq + u64::from(head.count), chain };
        file.end += bytes_len as u64;
        if next.seq > start.seq {
            walked.log_bytes += bytes_len as u64;
            frame(&head, payload, next)?;
        } else if next.seq == start.seq && next.chain != start.chain {
            return Err(WalkError::NotOurs);
        }
        if at.seq < start.seq && next.seq > start.seq {
            return Err(WalkError::NotOurs); // groups are applied whole, so nobody can stand within one
        }
        at = next;
    }
    match limit {
        Some(limit) if at.seq + 1 < limit && ends_cleanly(log, &file) => {
            let (have_seq, next_seq) = (at.seq, Some(limit));
            let file = "the next log file that is there".to_owned();
            return Err(WalkError::Failed(MetaError::Gap { have_seq, next_seq, file }));
        }
        Some(limit) if at.seq + 1 != limit => {
            let what = "a frame is missing or broken on every drive";
            return Err(WalkError::Failed(MetaError::Damaged { file: log.name(), seq: at.seq + 1, what }));
        }
        Some(_) => {}
        None => check_tail(log, &file, at, &mut walked.notes)?,
    }
    walked.files.push(file);
    Ok(at)
}

/// The last request of the log, from its newest file alone; `None` without a log.
pub(crate) fn end_of(inventory: &Inventory) -> Option<Position> {
    let log = inventory.logs.values().next_back()?;
    let key = (log.header.generation, log.header.number);
    let mut file = WalkedFile { key, end: HEADER_BYTES as u64, frames: Vec::new(), bad: BTreeSet::new() };
    let mut at = Position { seq: log.header.seq - 1, chain: log.header.chain };
    while let Ok(Some((head, _, bytes_len, chain))) = best_copy(log, &mut file, at) {
        file.end += bytes_len as u64;
        at = Position { seq: at.seq + u64::from(head.count), chain };
    }
    Some(at)
}

type Frame = (FrameHead, Vec<u8>, usize, [u8; 32]);

/// The next frame, from the first copy that has it whole; copies that differ are noted as bad.
fn best_copy(log: &FoundLog, file: &mut WalkedFile, at: Position) -> Result<Option<Frame>, WalkError> {
    let number = file.frames.len() as u32;
    let read: Vec<Option<Vec<u8>>> =
        log.copies.iter().map(|(_, copy)| read_frame(&**copy, file.end).ok().flatten()).collect();
    let fits = |head: &FrameHead| {
        head.number == number && head.first == at.seq + 1 && head.chain == at.chain && head.count > 0
    };
    let whole = read.iter().enumerate().find_map(|(copy, bytes)| {
        let bytes = bytes.as_ref()?;
        let (head, payload, chain) = open_frame(&log.sealer, bytes)?;
        fits(&head).then_some((copy, bytes, head, payload, chain))
    });
    let Some((copy, bytes, head, payload, chain)) = whole else { return Ok(None) };
    for (other, found) in read.iter().enumerate() {
        if found.as_ref() != Some(bytes) {
            file.bad.insert(other);
        }
    }
    file.frames.push((file.end, bytes.len(), copy));
    Ok(Some((head, payload, bytes.len(), chain)))
}

/// Behind the last whole frame of the last file there may be a torn one, but never a whole later one: that one was
/// written only after the one before was durable.
fn check_tail(
    log: &FoundLog,
    file: &WalkedFile,
    at: Position,
    notes: &mut Vec<String>,
) -> Result<(), MetaError> {
    let number = file.frames.len() as u32;
    let (mut readable, mut unreadable) = (0, None);
    for (_, copy) in &log.copies {
        match scan_tail(log, &**copy, file.end, number) {
            Ok(Tail::Clean) => readable += 1,
            Ok(Tail::Torn) => {
                readable += 1;
                notes.push(format!(
                    "{}: the frame behind request {} is not whole on a drive; it was never acknowledged, or it rotted",
                    log.name(),
                    at.seq
                ));
            }
            Ok(Tail::LaterFrame) => {
                let what = "a frame is missing or broken on every drive, and later ones are there";
                return Err(MetaError::Damaged { file: log.name(), seq: at.seq + 1, what });
            }
            // What was acknowledged is on every drive that the file was written to: one readable end is enough.
            Err(source) => {
                notes.push(format!("{}: its end cannot be read on a drive: {source}", log.name()));
                unreadable = Some(source);
            }
        }
    }
    match unreadable {
        Some(source) if readable == 0 => {
            Err(MetaError::Io { doing: "reading the end of the meta log", source })
        }
        _ => Ok(()),
    }
}

/// Whether nothing lies behind the last whole frame of any copy: then files are missing, not frames.
fn ends_cleanly(log: &FoundLog, file: &WalkedFile) -> bool {
    let number = file.frames.len() as u32;
    log.copies.iter().all(|(_, copy)| matches!(scan_tail(log, &**copy, file.end, number), Ok(Tail::Clean)))
}

enum Tail {
    Clean,
    Torn,
    LaterFrame,
}

fn scan_tail(log: &FoundLog, file: &dyn DiskFile, from: u64, number: u32) -> io::Result<Tail> {
    let size = file.size()?;
    let (mut at, mut tail) = (from, Tail::Clean);
    let mut block = vec![0; SCAN_BYTES];
    while at < size {
        let n = (size - at).min(SCAN_BYTES as u64) as usize;
        file.read_at(&mut block[..n], at)?;
        for (index, sector) in block[..n].chunks(SECTOR_BYTES).enumerate() {
            if sector.iter().all(|byte| *byte == 0) {
                continue;
            }
            tail = Tail::Torn;
            let later = FrameHead::decode(sector).is_some_and(|head| head.number > number);
            let place = at + (index * SECTOR_BYTES) as u64;
            if later
                && read_frame(file, place)?.is_some_and(|bytes| open_frame(&log.sealer, &bytes).is_some())
            {
                return Ok(Tail::LaterFrame);
            }
        }
        at += n as u64;
    }
    Ok(tail)
}

/// Whether a live drive lacks a file of the log behind `start`.
pub(crate) fn is_missing(inventory: &Inventory, start: Position, drives: &[LogDrive]) -> bool {
    let has = |log: &FoundLog, number: usize| log.copies.iter().any(|(drive, _)| *drive == number);
    let live = |(_, drive): &(usize, &LogDrive)| drive.live;
    relevant(inventory, start)
        .iter()
        .any(|(log, _)| drives.iter().enumerate().filter(live).any(|(number, _)| !has(log, number)))
}

/// Puts right the copies of the walked files: every live drive has all of them afterwards. A drive that cannot take them is
/// out.
pub(crate) fn heal(inventory: &Inventory, walked: &Walked, drives: &mut [LogDrive]) -> Vec<String> {
    let mut notes = Vec::new();
    for file in &walked.files {
        let Some(log) = inventory.logs.get(&file.key) else { continue };
        for (number, drive) in drives.iter_mut().enumerate().filter(|(_, drive)| drive.live) {
            let copy = log.copies.iter().position(|(drive, _)| *drive == number);
            if copy.is_some_and(|copy| !file.bad.contains(&copy)) {
                continue;
            }
            match rewrite(log, file, drive) {
                Ok(()) => notes.push(format!("{} was put right on {}", log.name(), drive.disk.describe())),
                Err(why) => {
                    notes.push(format!(
                        "{} cannot be put right on {}: {why}",
                        log.name(),
                        drive.disk.describe()
                    ));
                    drive.fail(&why);
                }
            }
        }
    }
    notes
}

fn rewrite(log: &FoundLog, file: &WalkedFile, drive: &LogDrive) -> io::Result<()> {
    let name = log.name();
    let temporary = format!("{name}{TEMPORARY}");
    let target = create(&*drive.disk, &temporary, file.end)?;
    let mut header = vec![0; HEADER_BYTES];
    // Every listed copy's header was checked.
    let (_, first) = log.copies.first().ok_or(io::ErrorKind::NotFound)?;
    first.read_at(&mut header, 0)?;
    target.write_at(&[IoSlice::new(&header)], 0)?;
    for (at, len, copy) in &file.frames {
        let mut bytes = vec![0; *len];
        log.copies[*copy].1.read_at(&mut bytes, *at)?;
        target.write_at(&[IoSlice::new(&bytes)], *at)?;
    }
    target.sync()?;
    drive.disk.rename(&temporary, &name)?;
    drive.disk.sync_dir()
}

/// Makes a temporary file, over one that an earlier attempt may have left.
pub(crate) fn create(disk: &dyn Disk, name: &str, size: u64) -> io::Result<Box<dyn DiskFile>> {
    match disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    disk.open(name, Some(size))
}
