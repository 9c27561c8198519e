//! The target for the meta log: files that rotted, were cut, swapped or lost, on one log drive or on both.
//!
//! A small history is written to two drives once. An input is a list of damages of eight bytes each: kind, drive, file, value,
//! offset (u32). Then the engine is opened. With one drive untouched nothing may be missing; with both damaged the engine says so, or
//! shows a state that really was.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use pangea_core::id::ClusterId;
use pangea_core::keys::SecretKey;
use pangea_core::meta::history::History;
use pangea_core::meta::{MemoryTables, Request, TableId, apply};
use pangea_core::seam::{Disk, DiskFile, Entropy, Space};
use pangea_meta::{Engine, LogKey, LogKeys, MetaError, Options, ViewPlace, WriteOptions};

/// Requests of each of the two lives of the history, two to a group.
const REQUESTS: usize = 12;
/// Groups after which the second life writes a snapshot.
const SNAPSHOT_AFTER: usize = 2;
/// Damages of one input that are carried out.
const DAMAGES_MAX: usize = 16;
const DAMAGE_BYTES: usize = 8;
const SECTOR_BYTES: usize = 512;

type Files = BTreeMap<String, Vec<u8>>;
type Rows = Vec<(TableId, Vec<u8>, Vec<u8>)>;

/// A drive in memory; every write is durable at once.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Files>>);

impl Shelf {
    fn with<R>(&self, work: impl FnOnce(&mut Files) -> R) -> R {
        work(&mut self.0.lock().expect("maps do not panic"))
    }
}

impl Disk for Shelf {
    fn open(&self, name: &str, create: Option<u64>) -> io::Result<Box<dyn DiskFile>> {
        self.with(|files| match (files.contains_key(name), create) {
            (true, Some(_)) => Err(io::Error::from(io::ErrorKind::AlreadyExists)),
            (false, None) => Err(io::Error::from(io::ErrorKind::NotFound)),
            (true, None) => Ok(()),
            (false, Some(size)) => {
                files.insert(name.to_owned(), vec![0; size as usize]);
                Ok(())
            }
        })?;
        Ok(Box::new(Opened { shelf: self.clone(), name: name.to_owned() }))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let below = |name: &&String| {
            dir.is_empty() || name.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
        };
        Ok(self.with(|files| files.keys().filter(below).cloned().collect()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.with(|files| files.remove(name).map(drop).ok_or(io::Error::from(io::ErrorKind::NotFound)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.with(|files| {
            let bytes = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
            files.insert(to.to_owned(), bytes);
            Ok(())
        })
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        Ok(Space { total: 1 << 30, available: 1 << 29 })
    }

    fn describe(&self) -> String {
        "shelf".to_owned()
    }
}

struct Opened {
    shelf: Shelf,
    name: String,
}

impl Opened {
    /// Works on the file's bytes; a removed file can still be read as empty.
    fn with<R>(&self, work: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        self.shelf.with(|files| match files.get_mut(&self.name) {
            Some(bytes) => work(bytes),
            None => work(&mut Vec::new()),
        })
    }
}

impl DiskFile for Opened {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|bytes| {
            let from = bytes.get(offset as usize..).and_then(|rest| rest.get(..buf.len()));
            buf.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let written: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.with(|bytes| {
            let (start, end) = (offset as usize, offset as usize + written.len());
            bytes.resize(bytes.len().max(end), 0);
            bytes[start..end].copy_from_slice(&written);
        });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.with(|bytes| bytes.len() as u64))
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.with(|bytes| bytes.resize(size as usize, 0));
        Ok(())
    }
}

/// Bytes that never repeat within a run, and are the same in every run that asks in the same order.
#[derive(Default)]
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let n = self.0.fetch_add(1, Ordering::Relaxed);
        blake3::Hasher::new().update(&n.to_le_bytes()).finalize_xof().fill(bytes);
    }
}

fn open(drives: &[Shelf; 2], known_generation: u64, entropy: Arc<dyn Entropy>) -> Result<Engine, MetaError> {
    let drive = |shelf: &Shelf| Arc::new(shelf.clone()) as Arc<dyn Disk>;
    Engine::open(Options {
        cluster: ClusterId([1; 16]),
        keys: LogKeys { current: LogKey { generation: 1, key: SecretKey::new([7; 32]) }, older: Vec::new() },
        drives: drives.iter().map(drive).collect(),
        view: ViewPlace::Memory,
        known_generation,
        entropy,
        write: WriteOptions { parallel: false, step_bytes: 4096 },
    })
}

/// What must survive: everything but what an open itself changes.
fn kept(engine: &Engine) -> Rows {
    let moved = [TableId::State, TableId::Outcome, TableId::OutcomeAge];
    let rows = engine.view().dump().expect("a view in memory is readable");
    rows.into_iter().filter(|(table, ..)| !moved.contains(table)).collect()
}

fn requests() -> Vec<Request> {
    let (mut history, mut model) = (History::new(5), MemoryTables::new());
    let mut next = || {
        let request = history.next(&model);
        let Ok(_) = apply(&mut model, &request);
        request
    };
    (0..2 * REQUESTS).map(|_| next()).collect()
}

/// The drives as the history left them, and every state that was acknowledged, in order.
struct Base {
    files: [Files; 2],
    states: Vec<Rows>,
}

fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let (drives, entropy) = ([Shelf::default(), Shelf::default()], Arc::new(Counting::default()));
        let mut states = Vec::new();
        for (life, asked) in requests().chunks(REQUESTS).enumerate() {
            let mut engine = open(&drives, life as u64, entropy.clone()).expect("opens");
            states.push(kept(&engine));
            for (step, group) in asked.chunks(2).enumerate() {
                engine
                    .apply_group(group.to_vec())
                    .into_iter()
                    .for_each(|answer| drop(answer.expect("committed")));
                states.push(kept(&engine));
                if life == 1 && step + 1 == SNAPSHOT_AFTER {
                    engine.snapshot().expect("written");
                }
            }
        }
        Base { files: drives.map(|drive| drive.with(|files| files.clone())), states }
    })
}

/// See the module.
pub fn damages(data: &[u8]) {
    let base = base();
    let (mut files, mut spoiled) = (base.files.clone(), [false; 2]);
    for damage in data.as_chunks::<DAMAGE_BYTES>().0.iter().take(DAMAGES_MAX) {
        let drive = usize::from(damage[1] % 2);
        spoiled[drive] |= spoil(&mut files[drive], damage);
    }
    let drives = files.map(|files| Shelf(Arc::new(Mutex::new(files))));
    let last = base.states.last().expect("there are states");
    match open(&drives, 2, Arc::new(Counting(AtomicU64::new(1 << 32)))) {
        Ok(engine) => {
            let shown = kept(&engine);
            let whole = spoiled != [true, true];
            assert!(!whole || shown == *last, "one drive has everything, and something is missing");
            // A file that was cut or is gone on every drive is like one that was never written. Rot is not.
            let only_rot = data.as_chunks::<DAMAGE_BYTES>().0.iter().all(|damage| damage[0] % 5 == 0);
            let allowed = if only_rot { base.states.len().saturating_sub(2) } else { 0 };
            assert!(
                base.states[allowed..].contains(&shown),
                "more than the last frame is missing, and nobody said so"
            );
        }
        Err(error) => assert!(spoiled == [true, true], "one drive has everything, and yet: {error}"),
    }
}

/// Carries one damage out; `false`: there was nothing to damage.
fn spoil(files: &mut Files, damage: &[u8; DAMAGE_BYTES]) -> bool {
    let names: Vec<String> = files.keys().cloned().collect();
    if names.is_empty() {
        return false;
    }
    let name = &names[usize::from(damage[2]) % names.len()];
    let offset = u32::from_le_bytes([damage[4], damage[5], damage[6], damage[7]]) as usize;
    let bytes = files.get_mut(name).expect("listed");
    let at = offset % bytes.len().max(1);
    match damage[0] % 5 {
        0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= damage[3].max(1)),
        1 => bytes.truncate(at),
        2 => drop(files.remove(name)),
        3 => copy_sector(bytes, usize::from(damage[3]), at / SECTOR_BYTES),
        _ => {
            let other = &names[usize::from(damage[3]) % names.len()];
            let bytes = files[other].clone();
            files.insert(name.clone(), bytes);
        }
    }
    true
}

/// A sector that was written to the wrong place.
fn copy_sector(bytes: &mut [u8], from: usize, to: usize) {
    let sectors = bytes.len() / SECTOR_BYTES;
    if sectors > 0 {
        let start = from % sectors * SECTOR_BYTES;
        bytes.copy_within(start..start + SECTOR_BYTES, to.min(sectors - 1) * SECTOR_BYTES);
    }
}

/// Inputs for [`damages`].
pub(crate) fn inputs() -> Vec<(&'static str, Vec<u8>)> {
    let damage = |kind: u8, drive: u8, file: u8, value: u8, offset: u32| {
        let mut out = vec![kind, drive, file, value];
        out.extend_from_slice(&offset.to_le_bytes());
        out
    };
    let both = |one: &dyn Fn(u8) -> Vec<u8>| [one(0), one(1)].concat();
    vec![
        ("nothing", vec![]),
        ("a_bit_of_a_frame", damage(0, 0, 0, 1, 700)),
        ("a_bit_of_the_key_check", damage(0, 0, 1, 1, 158)),
        ("a_header_on_both", both(&|drive| damage(0, drive, 1, 1, 20))),
        ("cut_on_both", both(&|drive| damage(1, drive, 1, 0, 2048))),
        ("a_lost_file", damage(2, 1, 0, 0, 0)),
        ("a_lost_snapshot_on_both", both(&|drive| damage(2, drive, 2, 0, 0))),
        ("a_sector_gone_astray", damage(3, 0, 1, 2, 1536)),
        ("one_file_under_another_name", damage(4, 1, 1, 0, 0)),
    ]
}
