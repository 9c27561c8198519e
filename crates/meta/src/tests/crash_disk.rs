//! Disks that remember every operation, so that a test can ask what a power cut would have left of all of them.
//!
//! A file's writes reach the medium at its next sync; until then each may be there, missing or torn. Creations, removals and
//! renamings reach it at the next `sync_dir`. One recorder serves several drives, so a cut hits all of them at one moment.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard};

use pangea_core::seam::{Disk, DiskFile, Space};

const SECTOR: usize = 512;

#[derive(Clone)]
enum Op {
    Create { name: String, file: usize, size: u64 },
    Write { file: usize, offset: u64, bytes: Vec<u8> },
    Sync { file: usize },
    Remove { name: String },
    Rename { from: String, to: String },
    SyncDir,
}

/// What a power cut does to whatever was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// All of it is there.
    Keep,
    /// None of it is there.
    Drop,
    /// File contents are there, names are not.
    DropNames,
    /// Of the last write only the first half of its sectors is there.
    TearFront,
    /// Of the last write only the second half is there.
    TearBack,
    /// The last write is missing, earlier ones are there.
    LoseLast,
}

pub(super) const CUTS: [Cut; 6] =
    [Cut::Keep, Cut::Drop, Cut::DropNames, Cut::TearFront, Cut::TearBack, Cut::LoseLast];

#[derive(Default)]
struct State {
    ops: Vec<(usize, Op)>,
    drives: Vec<Image>,
    failing: Vec<bool>,
}

/// A drive's content.
#[derive(Clone, Default)]
pub(super) struct Image {
    pub files: Vec<Vec<u8>>,
    pub names: BTreeMap<String, usize>,
}

impl Image {
    fn write(&mut self, file: usize, offset: u64, bytes: &[u8]) {
        let end = offset as usize + bytes.len();
        let content = &mut self.files[file];
        if content.len() < end {
            content.resize(end, 0);
        }
        content[offset as usize..end].copy_from_slice(bytes);
    }

    fn create(&mut self, name: &str, file: usize, size: u64) {
        if self.files.len() <= file {
            self.files.resize(file + 1, Vec::new());
        }
        self.files[file].resize(size as usize, 0);
        self.names.insert(name.to_owned(), file);
    }

    fn rename(&mut self, from: &str, to: &str) {
        if let Some(file) = self.names.remove(from) {
            self.names.insert(to.to_owned(), file);
        }
    }
}

/// Several drives and everything that was ever done to them.
#[derive(Clone, Default)]
pub(super) struct Recorder(Arc<Mutex<State>>);

impl Recorder {
    /// Drives with these contents.
    pub fn new(images: Vec<Image>) -> Self {
        let failing = vec![false; images.len()];
        Self(Arc::new(Mutex::new(State { ops: Vec::new(), drives: images, failing })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("disks do not panic")
    }

    pub fn drives(&self) -> Vec<Arc<dyn Disk>> {
        (0..self.lock().drives.len()).map(|n| self.drive(n)).collect()
    }

    pub fn drive(&self, number: usize) -> Arc<dyn Disk> {
        Arc::new(Drive { recorder: self.clone(), number })
    }

    /// Operations so far.
    pub fn ops(&self) -> usize {
        self.lock().ops.len()
    }

    /// From now on everything on that drive fails.
    pub fn fail(&self, number: usize, failing: bool) {
        self.lock().failing[number] = failing;
    }

    /// What the drives hold now.
    pub fn images(&self) -> Vec<Image> {
        self.lock().drives.clone()
    }

    /// What the drives hold after a power cut behind the first `count` operations; all of them began empty.
    pub fn cut(&self, count: usize, cut: Cut) -> Vec<Image> {
        let empty = vec![Image::default(); self.lock().drives.len()];
        self.cut_from(&empty, count, cut)
    }

    /// The same for drives that began with these contents.
    pub fn cut_from(&self, base: &[Image], count: usize, cut: Cut) -> Vec<Image> {
        let state = self.lock();
        (0..state.drives.len())
            .map(|drive| {
                let ops = state.ops[..count].iter().filter(|(d, _)| *d == drive).map(|(_, op)| op.clone());
                after_cut(base[drive].clone(), &ops.collect::<Vec<_>>(), cut)
            })
            .collect()
    }

    /// Changes a file of a drive from outside.
    pub fn edit(&self, drive: usize, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        let image = &mut state.drives[drive];
        let file = image.names[name];
        change(&mut image.files[file]);
    }

    /// Removes a file of a drive from outside.
    pub fn lose(&self, drive: usize, name: &str) {
        self.lock().drives[drive].names.remove(name).expect("the file was there");
    }

    /// The files of a drive, with this prefix.
    pub fn names(&self, drive: usize, prefix: &str) -> Vec<String> {
        let state = self.lock();
        state.drives[drive].names.keys().filter(|name| name.starts_with(prefix)).cloned().collect()
    }
}

fn after_cut(mut image: Image, ops: &[Op], cut: Cut) -> Image {
    let last = |wanted: &dyn Fn(&Op) -> bool| ops.iter().rposition(wanted);
    let names_until = last(&|op| matches!(op, Op::SyncDir)).map_or(0, |at| at + 1);
    let last_write = last(&|op| matches!(op, Op::Write { .. }));
    for (at, op) in ops.iter().enumerate() {
        let names_there = at < names_until || !matches!(cut, Cut::Drop | Cut::DropNames);
        match op {
            Op::Create { name, file, size } => {
                image.create(name, *file, *size);
                if !names_there {
                    image.names.remove(name);
                }
            }
            Op::Remove { name } if names_there => drop(image.names.remove(name)),
            Op::Rename { from, to } if names_there => image.rename(from, to),
            Op::Write { file, offset, bytes } => {
                let synced = ops[at..].iter().any(|op| matches!(op, Op::Sync { file: f } if f == file));
                let half = (bytes.len() / 2).next_multiple_of(SECTOR).min(bytes.len());
                let torn = Some(at) == last_write && !synced;
                match cut {
                    Cut::Drop if !synced => {}
                    Cut::LoseLast if torn => {}
                    Cut::TearFront if torn => image.write(*file, *offset, &bytes[..half]),
                    Cut::TearBack if torn => image.write(*file, *offset + half as u64, &bytes[half..]),
                    _ => image.write(*file, *offset, bytes),
                }
            }
            Op::Remove { .. } | Op::Rename { .. } | Op::Sync { .. } | Op::SyncDir => {}
        }
    }
    image
}

struct Drive {
    recorder: Recorder,
    number: usize,
}

impl Drive {
    fn act<R>(&self, f: impl FnOnce(&mut Image) -> io::Result<(R, Option<Op>)>) -> io::Result<R> {
        let mut state = self.recorder.lock();
        if state.failing[self.number] {
            return Err(io::Error::other("the drive is gone"));
        }
        let (done, op) = f(&mut state.drives[self.number])?;
        state.ops.extend(op.map(|op| (self.number, op)));
        Ok(done)
    }
}

impl Disk for Drive {
    fn open(&self, name: &str, create: Option<u64>) -> io::Result<Box<dyn DiskFile>> {
        let file = self.act(|image| match create {
            None => Ok((*image.names.get(name).ok_or(io::ErrorKind::NotFound)?, None)),
            Some(_) if image.names.contains_key(name) => Err(io::ErrorKind::AlreadyExists.into()),
            Some(size) => {
                let file = image.files.len();
                image.create(name, file, size);
                Ok((file, Some(Op::Create { name: name.to_owned(), file, size })))
            }
        })?;
        Ok(Box::new(File { drive: Self { recorder: self.recorder.clone(), number: self.number }, file }))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.act(|image| {
            Ok((image.names.keys().filter(|name| name.starts_with(dir)).cloned().collect(), None))
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.act(|image| {
            image.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
            Ok(((), Some(Op::Remove { name: name.to_owned() })))
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.act(|image| {
            image.rename(from, to);
            Ok(((), Some(Op::Rename { from: from.to_owned(), to: to.to_owned() })))
        })
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.act(|_| Ok(((), Some(Op::SyncDir))))
    }

    fn space(&self) -> io::Result<Space> {
        Ok(Space::default())
    }

    fn describe(&self) -> String {
        format!("drive {}", self.number)
    }
}

struct File {
    drive: Drive,
    file: usize,
}

impl DiskFile for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.drive.act(|image| {
            let range = offset as usize..offset as usize + buf.len();
            let bytes = image.files[self.file].get(range).ok_or(io::ErrorKind::UnexpectedEof)?;
            buf.copy_from_slice(bytes);
            Ok(((), None))
        })
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.drive.act(|image| {
            image.write(self.file, offset, &bytes);
            Ok(((), Some(Op::Write { file: self.file, offset, bytes })))
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.drive.act(|_| Ok(((), Some(Op::Sync { file: self.file }))))
    }

    fn size(&self) -> io::Result<u64> {
        self.drive.act(|image| Ok((image.files[self.file].len() as u64, None)))
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.drive.act(|image| {
            image.files[self.file].resize(size as usize, 0);
            Ok(((), None)) // the log never resizes; recorded nowhere
        })
    }
}
