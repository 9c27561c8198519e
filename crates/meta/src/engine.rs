//! The engine: log first, then the view, then the answer. One thread at a time, no clock, no runtime.
//!
//! Owns the drives' logs and the writing connection of the view. `embedded` puts a thread and readers around it; the
//! simulator drives it directly.
//!
//! ```text
//! group ─▶ frame on all live drives, durable ─▶ [drive lost: new generation on the others] ─▶ view ─▶ outcomes
//!              │ none left                            │ none left                               │ fails
//!              ▼                                      ▼                                         ▼
//!           Unknown, stopped                       Unknown, stopped                          Unknown, stopped
//! ```
//!
//! Stopped is final: the next open replays the log, so that a retry with the same request id learns the outcome.

pub(crate) mod recover;

use std::sync::Arc;

use pangea_core::codec::Put;
use pangea_core::id::{ClusterId, RequestId};
use pangea_core::meta::{Command, Outcome, Request};
use pangea_core::seam::{Disk, Entropy, random};

use crate::error::MetaError;
use crate::log::writer::{WriteOptions, Writer};
use crate::port::MetaStatus;
use crate::sealed::{LogKeys, PAYLOAD_BYTES_MAX};
use crate::snapshot::{self, Spec, Written};
use crate::sqlite::{Mark, SqliteTables, ViewPlace};

/// The largest encoded request.
pub const REQUEST_BYTES_MAX: usize = 8 << 20;
/// A snapshot is due when the log behind the last one has grown to this, or to the size of that snapshot.
pub const SNAPSHOT_LOG_BYTES_MIN: u64 = 64 << 20;
/// The most requests in a frame.
const FRAME_REQUESTS_MAX: usize = 4096;

/// What an engine is opened with.
pub struct Options {
    /// The cluster; files of another one are refused.
    pub cluster: ClusterId,
    /// The keys of the log and its snapshots.
    pub keys: LogKeys,
    /// The drives that the log is kept on, m+1 of them; each holds all of it.
    pub drives: Vec<Arc<dyn Disk>>,
    /// Where the SQLite view lies.
    pub view: ViewPlace,
    /// The newest generation that any superblock knows; 0 for a new cluster.
    pub known_generation: u64,
    /// Where salts and request ids come from.
    pub entropy: Arc<dyn Entropy>,
    /// How the log is written.
    pub write: WriteOptions,
}

/// The embedded engine, without threads.
pub struct Engine {
    log: Writer,
    view: SqliteTables,
    cluster: ClusterId,
    keys: LogKeys,
    entropy: Arc<dyn Entropy>,
    place: ViewPlace,
    stopped: Option<String>,
    status: Progress,
}

/// What the engine counts.
#[derive(Clone, Default, Debug)]
struct Progress {
    snapshot_seq: u64,
    snapshot_bytes: u64,
    log_bytes: u64,
    notes: Vec<String>,
}

/// A snapshot that can be written while the engine goes on.
pub(crate) struct SnapshotTask {
    spec: Spec,
    drives: Vec<(usize, Arc<dyn Disk>)>,
    reader: SqliteTables,
}

impl SnapshotTask {
    /// Writes it; slow.
    pub fn run(self) -> Result<Written, MetaError> {
        snapshot::write(&self.reader, &self.spec, &self.drives)
    }
}

/// Encoded requests that go into one frame.
#[derive(Default)]
struct Batch {
    requests: Vec<Request>,
    payload: Vec<u8>,
}

impl Engine {
    /// Opens the log and brings the view up to date, then starts a new generation. See `recover` for what can be wrong.
    pub fn open(options: Options) -> Result<Self, MetaError> {
        recover::open(options)
    }

    /// Makes the requests durable in order and carries them out. Outcomes are in the order of the requests; everything
    /// that is answered `Ok` is on all live log drives.
    pub fn apply_group(&mut self, requests: Vec<Request>) -> Vec<Result<Outcome, MetaError>> {
        let encoded = requests.into_iter().map(|request| {
            let mut bytes = Vec::new();
            request.encode(&mut bytes);
            (request, bytes)
        });
        self.apply_encoded(encoded.collect())
    }

    /// `apply_group` for requests that were encoded already.
    pub(crate) fn apply_encoded(
        &mut self,
        requests: Vec<(Request, Vec<u8>)>,
    ) -> Vec<Result<Outcome, MetaError>> {
        let mut answers = Vec::with_capacity(requests.len());
        let mut batch = Batch::default();
        for (request, bytes) in requests {
            if bytes.len() > REQUEST_BYTES_MAX {
                self.commit(std::mem::take(&mut batch), &mut answers);
                answers.push(Err(MetaError::TooLarge { bytes: bytes.len(), bytes_max: REQUEST_BYTES_MAX }));
                continue;
            }
            let full = batch.payload.len() + bytes.len() + 4 > PAYLOAD_BYTES_MAX;
            if full || batch.requests.len() == FRAME_REQUESTS_MAX {
                self.commit(std::mem::take(&mut batch), &mut answers);
            }
            batch.payload.put_bytes(&bytes);
            batch.requests.push(request);
        }
        self.commit(batch, &mut answers);
        answers
    }

    /// The tables as of the last group.
    pub fn view(&self) -> &SqliteTables {
        &self.view
    }

    /// Whether the log has grown so long that a snapshot should be taken.
    pub fn snapshot_due(&self) -> bool {
        self.stopped.is_none()
            && self.status.log_bytes > SNAPSHOT_LOG_BYTES_MIN.max(self.status.snapshot_bytes)
    }

    /// Writes a snapshot here and now; gives the sequence it holds.
    pub fn snapshot(&mut self) -> Result<u64, MetaError> {
        let seq = self.log.position().seq;
        if self.status.snapshot_seq == seq {
            return Ok(seq);
        }
        let spec = self.prepare_snapshot()?;
        let drives = self.live_disks();
        let written = snapshot::write(&self.view, &spec, &drives)?;
        self.finish_snapshot(&written);
        Ok(written.seq)
    }

    /// The first half of a snapshot: closes the log file, so that the log behind it begins with a file of its own, and pins
    /// a reader to the state of now. `None`: the newest snapshot is of now, or the view has no readers.
    pub(crate) fn begin_snapshot(&mut self) -> Result<Option<SnapshotTask>, MetaError> {
        let ViewPlace::Path(path) = self.place.clone() else { return Ok(None) };
        if self.status.snapshot_seq == self.log.position().seq {
            return Ok(None);
        }
        let spec = self.prepare_snapshot()?;
        let reader = SqliteTables::open_reader(&path)?;
        reader.pin()?;
        Ok(Some(SnapshotTask { spec, drives: self.live_disks(), reader }))
    }

    /// The second half: what was written makes older files needless.
    pub(crate) fn finish_snapshot(&mut self, written: &Written) {
        for (place, why) in &written.failed {
            if let Some(drive) = self.log.drives.get_mut(*place) {
                drive.last_error = Some(why.to_string());
            }
        }
        self.status.snapshot_seq = written.seq;
        self.status.snapshot_bytes = written.bytes;
        self.status.log_bytes = self.log.bytes_behind(written.seq);
        let keep_from = self.log.file();
        for drive in self.log.drives.iter_mut().filter(|drive| drive.live) {
            // What cannot be removed now is removed after the next snapshot.
            if let Err(why) = snapshot::prune(&*drive.disk, self.cluster, &self.keys, keep_from) {
                drive.last_error = Some(why.to_string());
            }
        }
    }

    /// How the engine does.
    pub fn status(&self) -> MetaStatus {
        MetaStatus {
            engine: "embedded",
            generation: self.log.generation(),
            applied_seq: self.log.position().seq,
            log_drives: self.log.drives.iter().map(|drive| drive.status()).collect(),
            snapshot_seq: self.status.snapshot_seq,
            log_bytes: self.status.log_bytes,
            recovery_notes: self.status.notes.clone(),
        }
    }

    /// Writes the view back into its main file; the engine may be dropped afterwards, as at any time.
    pub fn close(self) -> Result<(), MetaError> {
        Ok(self.view.checkpoint()?)
    }

    fn live_disks(&self) -> Vec<(usize, Arc<dyn Disk>)> {
        let drives = self.log.drives.iter().enumerate().filter(|(_, drive)| drive.live);
        drives.map(|(place, drive)| (place, drive.disk.clone())).collect()
    }

    fn prepare_snapshot(&mut self) -> Result<Spec, MetaError> {
        self.check_running()?;
        let position = self.log.position();
        let rolled = self.log.roll().and_then(|all| if all { Ok(()) } else { self.begin_generation() });
        if let Err(error) = rolled {
            self.stop(&error.to_string());
            return Err(error);
        }
        // A drive lost while rolling began a generation behind `position`: then the state of now is a request further.
        let position = if self.log.position().seq == position.seq { position } else { self.log.position() };
        Ok(Spec {
            cluster: self.cluster,
            keys: self.keys.clone(),
            generation: self.log.generation(),
            position,
            salt: random(&*self.entropy),
        })
    }

    fn check_running(&self) -> Result<(), MetaError> {
        match &self.stopped {
            Some(why) => Err(MetaError::Unavailable { why: why.clone() }),
            None => Ok(()),
        }
    }

    fn stop(&mut self, why: &str) {
        self.stopped.get_or_insert_with(|| why.to_owned());
    }

    /// Carries one frame's requests out and pushes an answer for each.
    fn commit(&mut self, batch: Batch, answers: &mut Vec<Result<Outcome, MetaError>>) {
        let count = batch.requests.len();
        if count == 0 {
            return;
        }
        if let Err(error) = self.check_running() {
            answers.push(Err(error));
            let again = (1..count).map(|_| self.check_running().map(|()| Outcome::Done));
            answers.extend(again.collect::<Vec<_>>());
            return;
        }
        match self.commit_frame(&batch) {
            Ok(outcomes) => answers.extend(outcomes.into_iter().map(Ok)),
            Err(error) => {
                self.stop(&error.to_string());
                answers.extend((0..count).map(|_| Err(MetaError::Unknown)));
            }
        }
    }

    fn commit_frame(&mut self, batch: &Batch) -> Result<Vec<Outcome>, MetaError> {
        let whole = self.log.append(&batch.payload, batch.requests.len() as u32)?;
        let mark = Mark { cluster: self.cluster, position: self.log.position() };
        // The view follows only when the frame is safe: on every drive, or behind it a generation without the failed one.
        let started = if whole { Vec::new() } else { self.append_generation()? };
        let outcomes = self.apply_to_view(&batch.requests, &mark)?;
        for (request, mark) in started {
            self.apply_to_view(&[request], &mark)?;
        }
        if self.log.is_file_full() && !self.log.roll()? {
            self.begin_generation()?;
        }
        self.status.log_bytes = self.log.bytes_behind(self.status.snapshot_seq);
        Ok(outcomes)
    }

    /// Starts a generation and carries its first request out.
    pub(crate) fn begin_generation(&mut self) -> Result<(), MetaError> {
        for (request, mark) in self.append_generation()? {
            self.apply_to_view(&[request], &mark)?;
        }
        Ok(())
    }

    /// Starts a generation on the drives that are left, again if one more is lost on the way. Gives the requests that say so.
    fn append_generation(&mut self) -> Result<Vec<(Request, Mark)>, MetaError> {
        let mut started = Vec::new();
        loop {
            let generation = self.log.generation() + 1;
            let live = self.log.start_generation(generation).map(|()| self.log.live())?;
            let command = Command::StartGeneration { generation };
            let request = Request { id: RequestId(random(&*self.entropy)), now_ms: 0, command };
            let (mut bytes, mut payload) = (Vec::new(), Vec::new());
            request.encode(&mut bytes);
            payload.put_bytes(&bytes);
            let whole = self.log.append(&payload, 1)?;
            started.push((request, Mark { cluster: self.cluster, position: self.log.position() }));
            if whole && self.log.live() == live {
                return Ok(started);
            }
        }
    }

    fn apply_to_view(&mut self, requests: &[Request], mark: &Mark) -> Result<Vec<Outcome>, MetaError> {
        self.view.apply_group(requests, mark).map_err(|error| {
            let corrupt = error.is_corrupt();
            let error = MetaError::from(error);
            if corrupt {
                self.stop(&format!("{error}; the next start rebuilds the view"));
                mark_for_rebuild(&self.place);
            }
            error
        })
    }
}

/// Best effort: a view that is not marked is found corrupt again, and stops the engine again.
fn mark_for_rebuild(place: &ViewPlace) {
    if let ViewPlace::Path(path) = place {
        let mut aside = path.clone().into_os_string();
        aside.push(".corrupt");
        let _ = std::fs::rename(path, aside);
    }
}
