//! A disk that remembers every operation, so that a test can ask what a power cut would have left at any of them.
//!
//! Owns the model: a file's writes reach the medium at its next sync; until then each may be there, missing or torn.
//! Creations, removals and renamings reach it at the next `sync_dir`, in order; until then all or none are there.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};

use pangea_core::seam::{Disk, DiskFile, Space};

/// The unit in which a torn write survives.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Op {
    Create { name: String, file: usize, size: u64 },
    Write { file: usize, offset: u64, bytes: Arc<Vec<u8>> },
    Resize { file: usize, size: u64 },
    Sync { file: usize },
    Remove { name: String },
    Rename { from: String, to: String },
    SyncDir,
}

impl Op {
    /// The file that it writes or resizes.
    fn file(&self) -> Option<usize> {
        match self {
            Self::Write { file, .. } | Self::Resize { file, .. } => Some(*file),
            _ => None,
        }
    }
}

/// What a power cut does to whatever was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All of it is there.
    Keep,
    /// None of it is there.
    Drop,
    /// The file operations are there, the directory's are not.
    DropDir,
    /// Of the last three writes (or less) those in the mask are there; earlier ones all are.
    Reorder(u8),
    /// The last write is there up to so many sectors out of eight parts.
    Tear(u8),
    /// The last write is there without one of its eight parts.
    Hole(u8),
}

/// Every kind of cut.
pub fn cuts() -> Vec<Cut> {
    let mut all = vec![Cut::Keep, Cut::Drop, Cut::DropDir];
    all.extend((1..7).map(Cut::Reorder));
    all.extend([1, 3, 5, 7].map(Cut::Tear));
    all.extend([0, 2, 6].map(Cut::Hole));
    all
}

#[derive(Clone, Default)]
struct State {
    log: Vec<Op>,
    files: Vec<Vec<u8>>,
    names: BTreeMap<String, usize>,
    /// The files and names that the log starts from.
    base: (Vec<Vec<u8>>, BTreeMap<String, usize>),
    total: u64,
}

/// See the module. Clones share one disk.
#[derive(Clone)]
pub struct CrashDisk(Arc<Mutex<State>>);

impl CrashDisk {
    /// An empty disk of `total` bytes.
    pub fn new(total: u64) -> Self {
        Self(Arc::new(Mutex::new(State { total, ..State::default() })))
    }

    /// How many operations it has seen.
    pub fn ops(&self) -> usize {
        self.0.lock().unwrap().log.len()
    }

    /// The disk as a power cut after the first `ops` operations leaves it. Its own log starts empty.
    pub fn after_cut(&self, ops: usize, cut: Cut) -> Self {
        let state = self.0.lock().unwrap();
        let (files, names) = image(&state, ops, cut);
        let base = (files.clone(), names.clone());
        Self(Arc::new(Mutex::new(State { log: Vec::new(), files, names, base, total: state.total })))
    }

    /// What a cut there lets survive, to tell those apart that leave different disks: whether the names do, and of the last
    /// waiting operations, the last one first, which of their eighths do.
    pub fn outcome(&self, ops: usize, cut: Cut) -> (bool, Vec<u8>) {
        let state = self.0.lock().unwrap();
        let (mut waiting, mut names_wait): (Vec<&Op>, bool) = (Vec::new(), false);
        for op in &state.log[..ops] {
            match op {
                Op::Write { .. } | Op::Resize { .. } => waiting.push(op),
                Op::Create { .. } | Op::Remove { .. } | Op::Rename { .. } => names_wait = true,
                Op::SyncDir => names_wait = false,
                Op::Sync { file } => waiting.retain(|op| op.file() != Some(*file)),
            }
        }
        let of = |(back, op): (usize, &&Op)| {
            eighths(op) & (0..8).fold(0, |all, n| all | u8::from(survives(cut, back, op, n)) << n)
        };
        let names_survive = !names_wait || !matches!(cut, Cut::Drop | Cut::DropDir);
        (names_survive, waiting.iter().rev().enumerate().map(of).collect())
    }

    /// The disk as killing the process after the first `ops` operations leaves it: everything is there, but what was not
    /// synced may still be lost in a later power cut.
    pub fn after_kill(&self, ops: usize) -> Self {
        let state = self.0.lock().unwrap();
        let (mut files, names) = image(&state, ops, Cut::Keep);
        files.resize(state.files.len(), Vec::new());
        let log = state.log[..ops].to_vec();
        Self(Arc::new(Mutex::new(State { log, files, names, base: state.base.clone(), total: state.total })))
    }

    /// Changes bytes of a file behind everybody's back.
    pub fn spoil(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock().unwrap();
        let file = state.names[name];
        change(&mut state.files[file]);
    }

    /// The names on the disk.
    pub fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().names.keys().cloned().collect()
    }
}

fn image(state: &State, ops: usize, cut: Cut) -> (Vec<Vec<u8>>, BTreeMap<String, usize>) {
    let (mut files, mut names) = state.base.clone();
    files.resize(state.files.len(), Vec::new());
    let (mut pending, mut pending_dir): (Vec<&Op>, Vec<&Op>) = (Vec::new(), Vec::new());
    for op in &state.log[..ops] {
        match op {
            Op::Write { .. } | Op::Resize { .. } => pending.push(op),
            Op::Create { file, size, .. } => {
                files[*file] = vec![0; *size as usize];
                pending_dir.push(op);
            }
            Op::Remove { .. } | Op::Rename { .. } => pending_dir.push(op),
            Op::SyncDir => pending_dir.drain(..).for_each(|op| apply_dir(op, &mut names)),
            Op::Sync { file } => {
                let of_file = |op: &Op| op.file() == Some(*file);
                pending.iter().filter(|op| of_file(op)).for_each(|op| apply(op, &mut files, |_| true));
                pending.retain(|op| !of_file(op));
            }
        }
    }
    if !matches!(cut, Cut::Drop | Cut::DropDir) {
        pending_dir.iter().for_each(|op| apply_dir(op, &mut names));
    }
    for (back, op) in pending.iter().enumerate().map(|(i, op)| (pending.len() - 1 - i, op)) {
        if survives(cut, back, op, 0) || matches!(op, Op::Write { .. }) {
            apply(op, &mut files, |eighth| survives(cut, back, op, eighth));
        }
    }
    (files, names)
}

/// Whether an eighth of a waiting operation survives a cut; it is the last one but `back`. A resizing is whole or not there.
fn survives(cut: Cut, back: usize, op: &Op, eighth: u8) -> bool {
    match cut {
        Cut::Keep | Cut::DropDir => true,
        Cut::Drop => false,
        Cut::Reorder(mask) if back < 3 => mask >> back & 1 == 1,
        Cut::Tear(_) | Cut::Hole(_) if matches!(op, Op::Resize { .. }) => true,
        Cut::Tear(part) if back == 0 => eighth < part,
        Cut::Hole(part) if back == 0 => eighth != part,
        Cut::Reorder(_) | Cut::Tear(_) | Cut::Hole(_) => true,
    }
}

/// The eighths that an operation has: a short write has fewer.
fn eighths(op: &Op) -> u8 {
    let sectors = match op {
        Op::Write { bytes, .. } => bytes.len().div_ceil(SECTOR),
        _ => 1,
    };
    (0..sectors).fold(0, |all, n| all | 1 << (n * 8 / sectors))
}

fn apply_dir(op: &Op, names: &mut BTreeMap<String, usize>) {
    match op {
        Op::Create { name, file, .. } => {
            names.insert(name.clone(), *file);
        }
        Op::Remove { name } => {
            names.remove(name);
        }
        Op::Rename { from, to } => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        Op::Write { .. } | Op::Resize { .. } | Op::Sync { .. } | Op::SyncDir => unreachable!("not a name's"),
    }
}

/// Applies the sectors of a write whose part (of eight) `survives`.
fn apply(op: &Op, files: &mut [Vec<u8>], survives: impl Fn(u8) -> bool) {
    match op {
        Op::Resize { file, size } => files[*file].resize(*size as usize, 0),
        Op::Write { file, offset, bytes } => {
            let sectors = bytes.len().div_ceil(SECTOR);
            for (n, sector) in bytes.chunks(SECTOR).enumerate() {
                if survives((n * 8 / sectors) as u8) {
                    let at = *offset as usize + n * SECTOR;
                    let target = &mut files[*file];
                    target.resize(target.len().max(at + sector.len()), 0);
                    target[at..at + sector.len()].copy_from_slice(sector);
                }
            }
        }
        _ => unreachable!("not a file's"),
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for CrashDisk {
    fn open(&self, name: &str, create: Option<u64>) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.0.lock().unwrap();
        let file = match create {
            None => *state.names.get(name).ok_or_else(not_found)?,
            Some(size) => {
                if state.names.contains_key(name) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                let used: usize = state.names.values().map(|f| state.files[*f].len()).sum();
                if used as u64 + size > state.total {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                let file = state.files.len();
                state.files.push(vec![0; size as usize]);
                state.names.insert(name.to_owned(), file);
                state.log.push(Op::Create { name: name.to_owned(), file, size });
                file
            }
        };
        Ok(Box::new(CrashFile { disk: self.clone(), file }))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let below =
            |name: &String| dir.is_empty() || name.strip_prefix(dir).is_some_and(|n| n.starts_with('/'));
        Ok(self.names().into_iter().filter(below).collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.names.remove(name).ok_or_else(not_found)?;
        state.log.push(Op::Remove { name: name.to_owned() });
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let file = state.names.remove(from).ok_or_else(not_found)?;
        state.names.insert(to.to_owned(), file);
        state.log.push(Op::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.0.lock().unwrap().log.push(Op::SyncDir);
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        let state = self.0.lock().unwrap();
        let used: usize = state.names.values().map(|f| state.files[*f].len()).sum();
        Ok(Space { total: state.total, available: state.total.saturating_sub(used as u64) })
    }

    fn describe(&self) -> String {
        "crash disk".to_owned()
    }
}

struct CrashFile {
    disk: CrashDisk,
    file: usize,
}

impl DiskFile for CrashFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.0.lock().unwrap();
        let start = offset as usize;
        let bytes = state.files[self.file].get(start..start + buf.len());
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let mut state = self.disk.0.lock().unwrap();
        let op = Op::Write { file: self.file, offset, bytes: Arc::new(bytes) };
        apply(&op, &mut state.files, |_| true);
        state.log.push(op);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.0.lock().unwrap().log.push(Op::Sync { file: self.file });
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().unwrap().files[self.file].len() as u64)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        let op = Op::Resize { file: self.file, size };
        apply(&op, &mut state.files, |_| true);
        state.log.push(op);
        Ok(())
    }
}
