//! A disk whose operations fail on demand: wraps the model disk, breaks what the test tells it to.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};

use pangea_core::seam::{Disk, DiskFile, Space};

use super::crash_disk::CrashDisk;
use crate::port::IoOp;

/// Decides about every operation: its kind, the file's name, the error if it is to fail.
type Rule = Box<dyn FnMut(IoOp, &str) -> Option<io::Error> + Send>;

/// See the module. Clones share one rule.
#[derive(Clone)]
pub struct BadDisk {
    inner: CrashDisk,
    rule: Arc<Mutex<Rule>>,
}

impl BadDisk {
    pub fn new(inner: CrashDisk) -> Self {
        Self { inner, rule: Arc::new(Mutex::new(Box::new(|_, _| None))) }
    }

    /// From now on this decides.
    pub fn rule(&self, rule: impl FnMut(IoOp, &str) -> Option<io::Error> + Send + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }

    /// The next `times` operations of this kind on extents fail with `kind`.
    pub fn fail(&self, op: IoOp, kind: io::ErrorKind, times: usize) {
        let mut left = times;
        self.rule(move |now, name| {
            let hit = now == op && name.starts_with("extents/") && left > 0;
            left -= usize::from(hit);
            hit.then(|| kind.into())
        });
    }

    fn ask(&self, op: IoOp, name: &str) -> io::Result<()> {
        (self.rule.lock().unwrap())(op, name).map_or(Ok(()), Err)
    }
}

impl Disk for BadDisk {
    fn open(&self, name: &str, create: Option<u64>) -> io::Result<Box<dyn DiskFile>> {
        self.ask(if create.is_some() { IoOp::Create } else { IoOp::Open }, name)?;
        let inner = self.inner.open(name, create)?;
        Ok(Box::new(BadFile { disk: self.clone(), name: name.to_owned(), inner }))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.ask(IoOp::List, dir)?;
        self.inner.list(dir)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.ask(IoOp::Remove, name)?;
        self.inner.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.ask(IoOp::Rename, from)?;
        self.inner.rename(from, to)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.ask(IoOp::SyncDir, "")?;
        self.inner.sync_dir()
    }

    fn space(&self) -> io::Result<Space> {
        self.ask(IoOp::Space, "")?;
        self.inner.space()
    }

    fn describe(&self) -> String {
        "bad disk".to_owned()
    }
}

struct BadFile {
    disk: BadDisk,
    name: String,
    inner: Box<dyn DiskFile>,
}

impl DiskFile for BadFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.ask(IoOp::Read, &self.name)?;
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.disk.ask(IoOp::Write, &self.name)?;
        self.inner.write_at(parts, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.ask(IoOp::Sync, &self.name)?;
        self.inner.sync()
    }

    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.disk.ask(IoOp::SetSize, &self.name)?;
        self.inner.set_size(size)
    }
}
