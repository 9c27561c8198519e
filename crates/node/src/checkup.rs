//! The checkup: every few seconds, is every drive there, is it the right one, does it answer, read and write?
//!
//! Owns what is believed of each drive (core's `health` decides what findings mean) and does what follows: a drive that
//! left is unmounted, one that is broken gets no new shards, one that came back is mounted and looked through, and what
//! the repair policy gives up is drained. Whatever can hang runs on a thread of its own and is given up on in time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pangea_client::Client;
use pangea_core::health::{Cause, Finding, Health, judge};
use pangea_core::id::{DriveId, NodeId};
use pangea_core::layout::{Layout, LayoutDrive, Role, Slot};
use pangea_core::seam::{Clock as _, MonoUs};
use pangea_store::format::superblock::Identity;
use pangea_store::port::Stopped;

use crate::assemble::{describe, mounted, open_store};
use crate::clock::SystemClock;
use crate::cluster::Cluster;
use crate::drives::{Directory, Found, look};
use crate::reshape::{Reshaper, brief};
use crate::roster::{Mounted, Roster};
use crate::workers::{Done, Worker};

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(4);
/// One round in so many writes to the drives.
const WRITES_EVERY: u32 = 2;
/// How long a drive may take to answer: twice this and the rounds between are below the 30 seconds that detection may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// See the module.
pub(crate) struct Checkup {
    client: Client,
    roster: Arc<Roster>,
    reshaper: Arc<Reshaper>,
    clock: Arc<SystemClock>,
    node: NodeId,
    /// The other nodes, if there may be any.
    nodes: Option<Arc<Cluster>>,
    /// Who has work when a drive comes or goes.
    wake: Vec<Arc<Worker>>,
    patients: Mutex<BTreeMap<u16, Patient>>,
    round: AtomicU32,
}

#[derive(Default)]
struct Patient {
    health: Health,
    /// Errors that were counted up to the last round.
    errors: u64,
    /// A probe that was given up on still runs.
    probing: Arc<AtomicBool>,
    /// Said once that nobody can take its data.
    told_no_room: bool,
}

/// What a probe of a path found.
enum There {
    /// Nothing that is a drive.
    Nothing,
    /// This drive, which can be mounted.
    Drive(Box<Directory>),
    /// Another drive, or something else.
    Other(String),
}

impl Checkup {
    /// Nothing is known yet but what the start found.
    pub(crate) fn new(
        client: Client,
        roster: Arc<Roster>,
        reshaper: Arc<Reshaper>,
        clock: Arc<SystemClock>,
        node: NodeId,
        nodes: Option<Arc<Cluster>>,
        wake: Vec<Arc<Worker>>,
    ) -> Arc<Self> {
        let (patients, round) = (Mutex::default(), AtomicU32::new(0));
        Arc::new(Self { client, roster, reshaper, clock, node, nodes, wake, patients, round })
    }

    fn patients(&self) -> MutexGuard<'_, BTreeMap<u16, Patient>> {
        self.patients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One round.
    pub(crate) async fn pass(&self) -> Result<Done, String> {
        let writes = self.round.fetch_add(1, Ordering::Relaxed).is_multiple_of(WRITES_EVERY);
        let layout = self.client.layout();
        let ours = layout.drives.iter().filter(|drive| drive.role != Role::Gone && drive.node == self.node);
        let looked = ours.map(|drive| self.look_at(drive, writes));
        futures_util::future::join_all(looked).await;
        self.patients().retain(|slot, _| layout.drive(Slot(*slot)).is_some_and(|d| d.role != Role::Gone));
        let report = match &self.nodes {
            Some(nodes) if !nodes.is_steward() => self.end_as_member().await?,
            Some(nodes) => {
                self.see_others(nodes, &layout).await;
                self.apply_policy().await
            }
            None => self.apply_policy().await,
        };
        Ok(Done { report, next: EVERY })
    }

    /// The steward decides what becomes of drives; their nodes let go of them.
    async fn end_as_member(&self) -> Result<Option<String>, String> {
        // Without the metadata this waits; the drives are looked at all the same.
        let lines = self.reshaper.let_go_here().await.unwrap_or_else(|error| {
            tracing::debug!(error, "drives that left are let go of later");
            vec![]
        });
        Ok((!lines.is_empty()).then(|| lines.join("; ")))
    }

    /// What other nodes said of their drives, or did not.
    async fn see_others(&self, nodes: &Cluster, layout: &Layout) {
        // Who hears only few is rather the one that is cut off: it judges nobody.
        if !nodes.hears_most() {
            self.patients().retain(|slot, _| layout.drive(Slot(*slot)).is_some_and(|d| d.node == self.node));
            return;
        }
        let theirs = layout.drives.iter().filter(|drive| drive.role != Role::Gone && drive.node != self.node);
        for drive in theirs.filter(|drive| !nodes.is_awaited(drive.node)) {
            let (finding, why) = told(nodes, drive);
            let changed = {
                let mut patients = self.patients();
                let patient = patients.entry(drive.slot.0).or_default();
                patient.health.see(finding, self.clock.mono_us()).then(|| patient.health.out().is_none())
            };
            match changed {
                None => continue,
                Some(true) => {
                    tracing::warn!(node = %drive.node, slot = drive.slot.0, "the drive works again");
                    self.reshaper.ask_for_census();
                    if let Err(error) = self.reshaper.welcome(drive.slot).await {
                        tracing::warn!(slot = drive.slot.0, %error, "the drive goes on being drained");
                    }
                }
                Some(false) => {
                    tracing::error!(node = %drive.node, slot = drive.slot.0, "{why}: the drive is out")
                }
            }
            self.wake();
        }
    }

    async fn look_at(&self, drive: &LayoutDrive, writes: bool) {
        match self.roster.at(drive.slot) {
            Some(mounted) => self.examine(&mounted, writes).await,
            None => self.look_for(drive).await,
        }
    }

    /// Probes a drive that is mounted and does what follows.
    async fn examine(&self, drive: &Arc<Mounted>, writes: bool) {
        let errors = drive.errors.load(Ordering::Relaxed);
        let (probing, writes) = {
            let mut patients = self.patients();
            let patient = patients.entry(drive.slot).or_default();
            let news = std::mem::replace(&mut patient.errors, errors) != errors;
            (patient.probing.clone(), writes || news || patient.health != Health::default())
        };
        let (finding, why) = probe(drive, probing, writes, self.clock.wall_ms()).await;
        let changed = {
            let mut patients = self.patients();
            let patient = patients.entry(drive.slot).or_default();
            let changed = patient.health.see(finding, self.clock.mono_us());
            changed.then(|| patient.health.out())
        };
        let path = drive.path.display();
        match changed {
            None => return,
            Some(None) => {
                tracing::warn!(drive = %path, slot = drive.slot, "the drive works again");
                drive.set_trouble(None);
                drive.is_silent.store(false, Ordering::Relaxed);
            }
            Some(Some((cause @ (Cause::Gone | Cause::Other), _))) => {
                tracing::error!(drive = %path, slot = drive.slot, ?cause, "{why}: the drive is out");
                self.reshaper.unmount(drive, &why).await;
            }
            Some(Some((cause, _))) => {
                tracing::error!(drive = %path, slot = drive.slot, ?cause, "{why}: no new shards go there");
                drive.set_trouble(Some(why));
                drive.is_silent.store(cause == Cause::Silent, Ordering::Relaxed);
            }
        }
        self.wake();
    }

    fn wake(&self) {
        for worker in &self.wake {
            worker.request();
        }
    }

    /// Looks whether an absent drive is back.
    async fn look_for(&self, drive: &LayoutDrive) {
        let (path, id) = (PathBuf::from(&drive.path), drive.drive);
        let probing = {
            let mut patients = self.patients();
            let patient = patients.entry(drive.slot.0).or_default();
            if patient.health.out().is_none() {
                patient.health = Health::out_since(Cause::Gone, self.clock.mono_us());
            }
            patient.probing.clone()
        };
        let found = aside(probing, move || what_is_at(&path, id)).await;
        let Some(There::Drive(directory)) = found else {
            if let Some(There::Other(_)) = found {
                self.patients()
                    .entry(drive.slot.0)
                    .or_default()
                    .health
                    .see(Finding::Other, self.clock.mono_us());
            }
            return;
        };
        match self.mount(drive, *directory).await {
            Ok(()) => {
                self.patients().remove(&drive.slot.0);
                tracing::warn!(drive = %drive.path, slot = drive.slot.0, "the drive is back");
                self.reshaper.ask_for_census();
                if let Err(error) = self.reshaper.welcome(drive.slot).await {
                    tracing::warn!(slot = drive.slot.0, %error, "the drive goes on being drained");
                }
                self.wake();
            }
            Err(why) => {
                tracing::warn!(drive = %drive.path, slot = drive.slot.0, why, "the drive is back but unusable")
            }
        }
    }

    async fn mount(&self, drive: &LayoutDrive, directory: Directory) -> Result<(), String> {
        let Found::Formatted(identity) = directory.found else { return Err("it is no drive".into()) };
        let disk = directory.disk().map_err(|error| error.to_string())?.clone();
        let path = directory.path.clone();
        let (given, engine) = (disk.clone(), self.roster.engine());
        let opened = tokio::task::spawn_blocking(move || open_store(given, identity, engine)).await;
        let opened = opened.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        for note in describe(&path, &opened.report).into_iter().chain(opened.note()) {
            tracing::warn!("{note}");
        }
        let generation = self.client.meta().status().await.map_err(|e| e.to_string())?.generation;
        if directory.meta_generation < generation {
            tracing::warn!(drive = %drive.path, "the drive is older than the metadata: all that it lacks is looked for");
        }
        let layout = self.client.layout();
        if layout.slot_of(identity.drive) != Some(drive.slot) {
            return Err("it left the cluster meanwhile".into());
        }
        opened.store.set_generation(generation, layout.epoch).await.map_err(|e| e.to_string())?;
        let identity = Identity { slot: drive.slot.0, ..identity };
        self.roster.mount(mounted(identity, path, disk, opened, None));
        Ok(())
    }

    /// Those of them that hang on one node: the next ones have to wait until it is known what became of these.
    fn of_one_node(&self, slots: &[Slot]) -> Vec<Slot> {
        let layout = self.client.layout();
        let node = |slot: &Slot| layout.drive(*slot).map(|drive| drive.node);
        let first = slots.first().and_then(node);
        slots.iter().copied().filter(|slot| node(slot) == first).collect()
    }

    /// Lets the repair policy decide; says what it did.
    async fn apply_policy(&self) -> Option<String> {
        let now = self.clock.mono_us();
        let out: Vec<(Slot, Cause, MonoUs)> = {
            let patients = self.patients();
            // One that was found well just now is not given up before it is known which it is.
            let sure = patients.iter().filter(|(_, patient)| !patient.health.may_be_back());
            let out = sure.filter_map(|(slot, patient)| Some((*slot, patient.health.out()?)));
            out.map(|(slot, (cause, since))| (Slot(slot), cause, since)).collect()
        };
        if out.is_empty() {
            return None;
        }
        let layout = self.client.layout();
        let verdict = tokio::task::spawn_blocking(move || judge(&layout, &out, now)).await.ok()?;
        for slot in &verdict.no_room {
            let mut patients = self.patients();
            let patient = patients.entry(slot.0).or_default();
            if !std::mem::replace(&mut patient.told_no_room, true) {
                tracing::warn!(
                    slot = slot.0,
                    "no other drive can take the place of this one: add or replace a drive"
                );
            }
        }
        if verdict.write_off.is_empty() {
            return None;
        }
        let giving_up = self.of_one_node(&verdict.write_off);
        let slots: Vec<u16> = giving_up.iter().map(|slot| slot.0).collect();
        match self.reshaper.write_off(&giving_up).await {
            Ok(()) => {
                tracing::error!(?slots, "drives are given up: their data is made whole on the others");
                Some(format!("drives in slots {slots:?} were given up: their data is made whole elsewhere"))
            }
            Err(error) => {
                tracing::error!(?slots, %error, "drives could not be given up");
                None
            }
        }
    }
}

/// What another node's drive is like, as far as it is known here.
fn told(nodes: &Cluster, drive: &LayoutDrive) -> (Finding, String) {
    if !nodes.is_up(drive.node) {
        return (Finding::Gone, "its node does not answer".to_owned());
    }
    match nodes.drive_pulse(drive.node, drive.drive) {
        None => (Finding::Gone, "its node does not have it".to_owned()),
        Some(pulse) if pulse.takes_part => (Finding::Well, String::new()),
        Some(pulse) => {
            let finding = match pulse.state.as_str() {
                "silent" => Finding::Silent,
                "read-only" => Finding::ReadOnly,
                _ => Finding::Failing,
            };
            (finding, pulse.reason.unwrap_or(pulse.state))
        }
    }
}

/// What is wrong with a mounted drive, and in words.
async fn probe(drive: &Arc<Mounted>, probing: Arc<AtomicBool>, writes: bool, mark: u64) -> (Finding, String) {
    let given = drive.clone();
    let looked = aside(probing, move || {
        match given.disk.is_at(&given.path) {
            Ok(true) => {}
            Ok(false) => {
                return match what_is_at(&given.path, given.drive) {
                    There::Other(what) => (Finding::Other, what),
                    _ => (Finding::Gone, "its directory is not there any more".to_owned()),
                };
            }
            Err(error) => return (Finding::Failing, format!("its directory cannot be looked at: {error}")),
        }
        match if writes { given.disk.touch(mark) } else { Ok(()) } {
            Ok(()) => (Finding::Well, String::new()),
            Err(error) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
                (Finding::ReadOnly, "its file system is read-only".to_owned())
            }
            // A full drive reads and deletes on; puts are told by the store.
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => (Finding::Well, String::new()),
            Err(error) => (Finding::Failing, format!("it fails to write: {error}")),
        }
    })
    .await;
    match looked {
        None => (Finding::Silent, format!("it does not answer within {} s", PATIENCE.as_secs())),
        Some((Finding::Well, _)) => match brief(drive.store.status()).await.map(|s| s.map(|s| s.stopped)) {
            None => (Finding::Silent, "its store does not answer".to_owned()),
            Some(Ok(None)) => (Finding::Well, String::new()),
            Some(Ok(Some(Stopped::ReadOnly))) => {
                (Finding::ReadOnly, "its file system is read-only".to_owned())
            }
            Some(Ok(Some(Stopped::Failed(fault)))) => {
                (Finding::Failing, format!("it takes no writes after {fault}"))
            }
            Some(Err(error)) => (Finding::Failing, error.to_string()),
        },
        Some(found) => found,
    }
}

fn what_is_at(path: &Path, drive: DriveId) -> There {
    let mut found = match look(&[path.to_path_buf()]) {
        Ok(found) => found,
        Err(error) => return There::Other(error.to_string()),
    };
    let Some(directory) = found.pop() else { return There::Nothing };
    match &directory.found {
        Found::Formatted(identity) if identity.drive == drive => There::Drive(Box::new(directory)),
        Found::Formatted(identity) => There::Other(format!("drive {} is in its place", identity.drive)),
        Found::Damaged(_) => There::Other("a drive without a readable superblock is in its place".to_owned()),
        Found::NoDirectory | Found::Empty | Found::Leftover | Found::Unusable(_) => There::Nothing,
    }
}

/// Runs what may hang on a thread of its own; `None`: it did not end in time, or an earlier one has not ended yet.
async fn aside<T: Send + 'static>(
    running: Arc<AtomicBool>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    if running.swap(true, Ordering::AcqRel) {
        return None;
    }
    let (sender, result) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("pangea-checkup".into()).stack_size(256 << 10);
    let done = running.clone();
    let spawned = thread.spawn(move || {
        let found = work();
        done.store(false, Ordering::Release);
        // Whoever asked may have given up.
        let _ = sender.send(found);
    });
    if spawned.is_err() {
        running.store(false, Ordering::Release);
        return None;
    }
    tokio::time::timeout(PATIENCE, result).await.ok()?.ok()
}
