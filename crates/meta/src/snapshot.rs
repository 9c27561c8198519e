//! Snapshots: all rows at one position of the log, sealed, on every log drive.
//!
//! Owns `meta/snapshot-<seq>` (bytes in `sealed`): the header's sequence and chain value are the position that the rows
//! show. A frame's payload is a run of rows in table and key order, each: table number (1 byte), key and row (u32 length
//! and bytes each). The last frame is empty and its `first` is the number of all rows, so a cut file is never taken for a
//! whole one. Frames are chained from zero. A snapshot is written under a temporary name and renamed when it is durable.

use std::io::{self, IoSlice};
use std::sync::Arc;

use pangea_core::codec::{Put, Reader};
use pangea_core::id::ClusterId;
use pangea_core::meta::{TableId, Tables};
use pangea_core::seal::Sealer;
use pangea_core::seam::{Disk, DiskFile};

use crate::error::MetaError;
use crate::log::inventory::{FoundSnapshot, read_frame};
use crate::log::walk::create;
use crate::log::writer::LogDrive;
use crate::log::{DIR, Name, TEMPORARY, log_name, snapshot_name};
use crate::sealed::{HEADER_BYTES, Header, Kind, LogKeys, Position, open_frame, seal_frame};
use crate::sqlite::{DumpedRow, Mark, SqliteTables};

/// Rows are read from the view in pages of this many.
const PAGE_ROWS: usize = 512;
/// A frame is sealed when its payload has grown to this.
const FRAME_BYTES: usize = 1 << 20;
/// How many snapshots each drive keeps.
const KEPT: usize = 2;

/// What a snapshot's header will say.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub cluster: ClusterId,
    pub keys: LogKeys,
    pub generation: u64,
    pub position: Position,
    pub salt: [u8; 32],
}

/// A snapshot that was written.
#[derive(Debug)]
pub(crate) struct Written {
    pub seq: u64,
    pub bytes: u64,
    /// Drives (by place in the list) that do not have it, and why.
    pub failed: Vec<(usize, io::Error)>,
}

struct Target {
    place: usize,
    disk: Arc<dyn Disk>,
    file: Box<dyn DiskFile>,
}

/// Writes one file to many drives; a drive that fails is left out.
struct Sink {
    targets: Vec<Target>,
    failed: Vec<(usize, io::Error)>,
    sealer: Sealer,
    offset: u64,
    frames: u32,
    rows: u64,
    chain: [u8; 32],
    payload: Vec<u8>,
    payload_rows: u32,
}

impl Sink {
    fn each(&mut self, work: impl Fn(&Target) -> io::Result<()>) {
        for target in std::mem::take(&mut self.targets) {
            match work(&target) {
                Ok(()) => self.targets.push(target),
                Err(why) => self.failed.push((target.place, why)),
            }
        }
    }

    fn add(&mut self, table: TableId, key: &[u8], row: &[u8]) {
        self.payload.put_u8(table as u8);
        self.payload.put_bytes(key);
        self.payload.put_bytes(row);
        self.payload_rows += 1;
        if self.payload.len() >= FRAME_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let (payload, count) = (std::mem::take(&mut self.payload), std::mem::take(&mut self.payload_rows));
        let (frame, chain) = seal_frame(&self.sealer, self.rows, count, self.frames, self.chain, &payload);
        let offset = self.offset;
        self.each(|target| target.file.write_at(&[IoSlice::new(&frame)], offset));
        self.chain = chain;
        self.rows += u64::from(count);
        self.frames += 1;
        self.offset += frame.len() as u64;
    }
}

/// Writes what `view` shows, which must be the state at `spec.position`, to the live drives.
pub(crate) fn write(
    view: &SqliteTables,
    spec: &Spec,
    drives: &[(usize, Arc<dyn Disk>)],
) -> Result<Written, MetaError> {
    let header = Header {
        kind: Kind::Snapshot,
        key_generation: spec.keys.current.generation,
        cluster: spec.cluster,
        generation: spec.generation,
        number: 0,
        seq: spec.position.seq,
        chain: spec.position.chain,
        salt: spec.salt,
    };
    let (bytes, sealer) = header.encode(&spec.keys);
    let name = snapshot_name(spec.position.seq);
    let temporary = format!("{name}{TEMPORARY}");
    let mut sink = Sink {
        targets: Vec::new(),
        failed: Vec::new(),
        sealer,
        offset: HEADER_BYTES as u64,
        frames: 0,
        rows: 0,
        chain: [0; 32],
        payload: Vec::new(),
        payload_rows: 0,
    };
    for (place, disk) in drives {
        match create(&**disk, &temporary, HEADER_BYTES as u64) {
            Ok(file) => sink.targets.push(Target { place: *place, disk: disk.clone(), file }),
            Err(why) => sink.failed.push((*place, why)),
        }
    }
    sink.each(|target| target.file.write_at(&[IoSlice::new(&bytes)], 0));
    for table in TableId::ALL {
        let mut from = Vec::new();
        loop {
            let rows = view.scan_raw(*table, &from, None, PAGE_ROWS)?;
            rows.iter().for_each(|(key, row)| sink.add(*table, key, row));
            let Some((last, _)) = rows.last().filter(|_| rows.len() == PAGE_ROWS) else { break };
            from.clone_from(last);
            from.push(0); // the smallest key above it
        }
    }
    if sink.payload_rows > 0 {
        sink.flush();
    }
    sink.flush(); // the empty frame that ends it
    sink.each(|target| {
        target.file.sync()?;
        target.disk.rename(&temporary, &name)?;
        target.disk.sync_dir()
    });
    if sink.targets.is_empty() {
        let source = sink.failed.pop().map_or(io::ErrorKind::NotConnected.into(), |(_, why)| why);
        return Err(MetaError::Io { doing: "writing a metadata snapshot", source });
    }
    Ok(Written { seq: spec.position.seq, bytes: sink.offset, failed: sink.failed })
}

/// Fills an empty view from a snapshot, each frame from whichever copy has it whole.
pub(crate) fn load(snapshot: &FoundSnapshot, view: &mut SqliteTables) -> Result<(), MetaError> {
    read(snapshot, |page| Ok(view.load(&page)?))?;
    let position = Position { seq: snapshot.header.seq, chain: snapshot.header.chain };
    view.finish(&Mark { cluster: snapshot.header.cluster, position })?;
    Ok(())
}

/// Gives all rows of a snapshot, a frame's at a time, and says how many they are and where the last frame ends.
pub(crate) fn read(
    snapshot: &FoundSnapshot,
    mut page: impl FnMut(Vec<DumpedRow>) -> Result<(), MetaError>,
) -> Result<(u64, u64), MetaError> {
    let seq = snapshot.header.seq;
    let damaged = |what| MetaError::Damaged { file: snapshot_name(seq), seq, what };
    let (mut at, mut number, mut rows, mut chain) = (HEADER_BYTES as u64, 0, 0u64, [0; 32]);
    loop {
        let whole = snapshot.copies.iter().find_map(|(_, file)| {
            let bytes = read_frame(&**file, at).ok().flatten()?;
            let (head, payload, next) = open_frame(&snapshot.sealer, &bytes)?;
            let fits = head.number == number && head.first == rows && head.chain == chain;
            fits.then_some((head, payload, next))
        });
        let (head, payload, next) =
            whole.ok_or_else(|| damaged("a frame is missing or broken on every drive"))?;
        at += head.frame_bytes() as u64;
        if head.count == 0 {
            return Ok((rows, at));
        }
        let decoded =
            decode_rows(&payload, head.count).ok_or_else(|| damaged("a frame's rows cannot be read"))?;
        page(decoded)?;
        (number, chain) = (number + 1, next);
        rows += u64::from(head.count);
    }
}

fn decode_rows(payload: &[u8], count: u32) -> Option<Vec<DumpedRow>> {
    let mut r = Reader::new(payload, "snapshot rows");
    let mut rows = Vec::new();
    for _ in 0..count {
        let table = TableId::from_u8(r.u8().ok()?)?;
        rows.push((table, r.bytes().ok()?.to_vec(), r.bytes().ok()?.to_vec()));
    }
    r.finish().ok()?;
    Some(rows)
}

/// Gives the newest snapshot to every live drive that lacks it.
pub(crate) fn heal(snapshot: &FoundSnapshot, drives: &mut [LogDrive]) -> Vec<String> {
    let mut notes = Vec::new();
    let name = snapshot_name(snapshot.header.seq);
    for (number, drive) in drives.iter_mut().enumerate().filter(|(_, drive)| drive.live) {
        if snapshot.copies.iter().any(|(has, _)| *has == number) {
            continue;
        }
        let Some((_, from)) = snapshot.copies.first() else { continue };
        match copy(&**from, &name, &*drive.disk) {
            Ok(()) => notes.push(format!("{name} was copied to {}", drive.disk.describe())),
            Err(why) => {
                notes.push(format!("{name} cannot be copied to {}: {why}", drive.disk.describe()));
                drive.last_error = Some(why.to_string()); // the log is what acknowledges; a snapshot can wait
            }
        }
    }
    notes
}

pub(crate) fn copy(from: &dyn DiskFile, name: &str, to: &dyn Disk) -> io::Result<()> {
    let temporary = format!("{name}{TEMPORARY}");
    let size = from.size()?;
    let file = create(to, &temporary, size)?;
    let (mut at, mut block) = (0, vec![0; FRAME_BYTES]);
    while at < size {
        let n = (size - at).min(FRAME_BYTES as u64) as usize;
        from.read_at(&mut block[..n], at)?;
        file.write_at(&[IoSlice::new(&block[..n])], at)?;
        at += n as u64;
    }
    file.sync()?;
    to.rename(&temporary, name)?;
    to.sync_dir()
}

/// Removes from one drive all snapshots but the newest two, the log files that end before the older of those begins, and
/// what was never finished. Only what is listed is removed; `keep_from` (generation and number) and later files never are.
pub(crate) fn prune(
    disk: &dyn Disk,
    cluster: ClusterId,
    keys: &LogKeys,
    keep_from: (u64, u32),
) -> io::Result<()> {
    let names: Vec<Name> = disk.list(DIR)?.iter().map(|listed| Name::parse(listed)).collect();
    let mut snapshots: Vec<u64> = names
        .iter()
        .filter_map(|name| if let Name::Snapshot(seq) = name { Some(*seq) } else { None })
        .collect();
    snapshots.sort_unstable();
    let Some(first_kept) = snapshots.len().checked_sub(KEPT) else { return Ok(()) };
    let floor = snapshots[first_kept];
    for seq in &snapshots[..first_kept] {
        disk.remove(&snapshot_name(*seq))?;
    }
    let mut logs: Vec<(u64, u32)> = names
        .iter()
        .filter_map(|name| {
            if let Name::Log(generation, number) = name { Some((*generation, *number)) } else { None }
        })
        .collect();
    logs.sort_unstable();
    for pair in logs.windows(2) {
        let ([old, next], Some(begins)) = (pair, begins(disk, pair[1], cluster, keys)?) else { continue };
        // Everything in `old` is at or before the snapshot that will always be there to start from.
        if *next <= keep_from && begins <= floor + 1 {
            disk.remove(&log_name(old.0, old.1))?;
        }
    }
    disk.sync_dir()
}

/// The first sequence of a log file, if its header is whole.
fn begins(disk: &dyn Disk, log: (u64, u32), cluster: ClusterId, keys: &LogKeys) -> io::Result<Option<u64>> {
    let file = disk.open(&log_name(log.0, log.1), None)?;
    let mut bytes = [0; HEADER_BYTES];
    file.read_at(&mut bytes, 0)?;
    Ok(Header::decode(&bytes, Kind::Log, cluster, keys).ok().map(|(header, _)| header.seq))
}
