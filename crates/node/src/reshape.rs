//! Reshaping: drives that come, move their data, and leave, while the node runs.
//!
//! Owns every change of the layout after the start: an operator's wishes become a plan, a plan becomes the next layout, the
//! rebalancing follows it, and an emptied drive is let go: out of the metadata log, without keys, unmounted.
//!
//! ```text
//! wish ─▶ plan (what moves, what it survives) ─▶ [format, mount] ─▶ layout ─▶ follow: rebalance ─▶ emptied ─▶ let go
//! ```

mod plan;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pangea_client::worker::Emptied;
use pangea_client::{Client, ClientError};
use pangea_core::id::{ClusterId, DriveId, NodeId};
use pangea_core::layout::{Change, Domain, Layout, NewDrive, Role, Slot};
use pangea_core::seam::{Clock as _, Disk, random};
use pangea_meta::{Meta as _, MetaError, SeatedMeta};
use pangea_store::drive::{LOCK_FILE, NEIGHBOUR_FILES};
use pangea_store::format::superblock::Identity;
use tokio::sync::Mutex;

use crate::assemble::{ADDED_DRIVES_SETTING, meta_options, mounted, open_store, view_path};
use crate::clock::SystemClock;
use crate::control::{ControlError, LayoutPlan, LayoutWish, WishedChange};
use crate::drives::{Action, Directory, Found, META_DIRECTORY, absolute, has_meta, is_untouched, look};
use crate::entropy::SystemEntropy;
use crate::ground::KEY_COPIES_MIN;
use crate::roster::{Mounted, Roster};
use crate::vault::Vault;
use crate::workers::{Done, Worker};

/// How soon the rebalancing looks again while something is left to do.
const FOLLOW_AGAIN: Duration = Duration::from_secs(5);
/// How often it looks for something to do.
const FOLLOW_EVERY: Duration = Duration::from_secs(60);
/// Slots whose drives the repair policy drained, u16 each: they are welcome back.
const WRITTEN_OFF_SETTING: &str = "drives/written-off";

/// What the reshaper is made of.
pub(crate) struct Parts {
    pub client: Client,
    pub roster: Arc<Roster>,
    pub meta: Arc<SeatedMeta>,
    pub vault: Arc<Vault>,
    pub clock: Arc<SystemClock>,
    pub cluster: ClusterId,
    pub node: NodeId,
}

/// See the module.
pub(crate) struct Reshaper {
    parts: Parts,
    /// One change at a time.
    changing: Mutex<()>,
    /// Whether a drive came back: what it lacks is looked for.
    census: AtomicBool,
}

/// A directory that becomes a drive: its id is drawn when it is looked at.
struct Newcomer {
    directory: Directory,
    action: Option<Identity>,
    drive: DriveId,
    /// Whether the directory was made to be looked at.
    made: bool,
}

impl Drop for Newcomer {
    /// Nothing came of it: a directory that was made goes again.
    fn drop(&mut self) {
        if self.made {
            self.directory.disk = None;
            // An empty directory that stays behind does no harm.
            let _ = std::fs::remove_file(self.directory.path.join(LOCK_FILE));
            let _ = std::fs::remove_dir(&self.directory.path);
        }
    }
}

impl Reshaper {
    /// Nothing changes yet.
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self { parts, changing: Mutex::default(), census: AtomicBool::new(false) })
    }

    /// Whether a census is to go through before everything counts as whole.
    pub(crate) fn ask_for_census(&self) {
        self.census.store(true, Ordering::Release);
    }

    /// Plans a change, and makes it so if that is wished. `rebalance` is woken and sets the pace.
    pub(crate) async fn change(
        &self,
        wish: LayoutWish,
        rebalance: &Worker,
    ) -> Result<LayoutPlan, ControlError> {
        let _one = self.changing.lock().await;
        let layout = self.parts.client.layout();
        if let Some(epoch) = wish.epoch.filter(|epoch| *epoch != layout.epoch) {
            let now = layout.epoch;
            return Err(refused(format!(
                "the plan is of layout epoch {epoch}, but it is {now} now: plan again"
            )));
        }
        let (changes, newcomers) = self.read_wishes(&layout, &wish.changes)?;
        let widths = self.widths().await.map_err(failed)?;
        let next = layout.changed(&changes, &widths).map_err(refused)?;
        let mut plan = self.plan(&layout, &next, &newcomers, rebalance.pace().limits()).await;
        if !wish.apply {
            return Ok(plan);
        }
        if !plan.warnings.is_empty() && !wish.force {
            let why = plan.warnings.join("; ");
            return Err(refused(format!("{why} (--force does it all the same)")));
        }
        self.make_so(&next, newcomers).await?;
        plan.applied = true;
        rebalance.request();
        Ok(plan)
    }

    /// Numbers of shards that buckets' own codes have.
    async fn widths(&self) -> Result<Vec<u8>, ClientError> {
        let buckets = self.parts.client.meta().buckets().await.map_err(ClientError::Meta)?;
        Ok(buckets.iter().filter_map(|bucket| bucket.code).map(|code| code.n()).collect())
    }

    fn read_wishes(
        &self,
        layout: &Layout,
        wishes: &[WishedChange],
    ) -> Result<(Vec<Change>, Vec<Newcomer>), ControlError> {
        let (mut changes, mut newcomers) = (vec![], vec![]);
        if wishes.is_empty() {
            return Err(refused("no change was named"));
        }
        for wish in wishes {
            changes.push(match wish {
                WishedChange::Add { dir } => Change::Add(self.newcomer(layout, dir, &mut newcomers)?),
                WishedChange::Replace { drive, dir } => {
                    let old = find(layout, drive)?;
                    Change::Replace { old, new: self.newcomer(layout, dir, &mut newcomers)? }
                }
                WishedChange::Drain { drive } => Change::Drain(find(layout, drive)?),
                WishedChange::Restore { drive } => Change::Restore(find(layout, drive)?),
                WishedChange::Weight { drive, gib } => Change::Reweigh(find(layout, drive)?, *gib),
                WishedChange::Code { code } => {
                    let parsed = pangea_core::chunk::Code::parse(code);
                    Change::Code(parsed.ok_or_else(|| refused(format!("`{code}` is no code like 10+4")))?)
                }
            });
        }
        Ok((changes, newcomers))
    }

    /// Looks at a directory that shall become a drive; nothing is written yet.
    fn newcomer(
        &self,
        layout: &Layout,
        dir: &str,
        newcomers: &mut Vec<Newcomer>,
    ) -> Result<NewDrive, ControlError> {
        let path = PathBuf::from(dir);
        if !path.is_absolute() {
            return Err(refused(format!("`{dir}`: name the directory by its absolute path")));
        }
        let named = |known: &Newcomer| absolute(&known.directory.path) == absolute(&path);
        let here = self.parts.roster.mounted().iter().any(|drive| absolute(&drive.path) == absolute(&path));
        if here || newcomers.iter().any(named) {
            return Err(refused(format!("{dir} is a drive of this server already")));
        }
        let mut found = look(std::slice::from_ref(&path)).map_err(refused)?;
        let mut directory = found.remove(0);
        let made = directory.found == Found::NoDirectory;
        directory.ensure().map_err(refused)?;
        let mut newcomer = Newcomer { directory, action: None, drive: DriveId::default(), made };
        let (action, drive) = self.what_to_do(layout, &newcomer.directory)?;
        (newcomer.action, newcomer.drive) = (action, drive);
        let new = NewDrive {
            drive,
            node: self.parts.node,
            weight: newcomer.directory.weight(),
            domain: Domain { host: self.parts.node.to_string(), ..Domain::default() },
            path: absolute(&path).display().to_string(),
        };
        newcomers.push(newcomer);
        Ok(new)
    }

    /// Whether a directory is initialised, or opened as a drive that an earlier, unfinished change made of it.
    fn what_to_do(
        &self,
        layout: &Layout,
        directory: &Directory,
    ) -> Result<(Option<Identity>, DriveId), ControlError> {
        let path = directory.path.display();
        match &directory.found {
            Found::Empty | Found::Leftover => Ok((None, DriveId(random(&SystemEntropy)))),
            Found::Formatted(identity) if identity.cluster != self.parts.cluster => {
                Err(refused(format!("{path} is a drive of another cluster; empty it first if that is gone")))
            }
            Found::Formatted(identity) => match layout.drives.iter().find(|d| d.drive == identity.drive) {
                None if is_untouched(directory) => Ok((Some(*identity), identity.drive)),
                Some(known) if known.role == Role::Gone => Err(refused(format!(
                    "{path} was a drive of this cluster and left it; empty the directory to use it again"
                ))),
                Some(known) => Err(refused(format!(
                    "{path} holds the drive of slot {}: it is taken back by itself when it is well",
                    known.slot.0
                ))),
                None => Err(refused(format!("{path} holds shards of a drive that the layout does not know"))),
            },
            Found::Damaged(_) => {
                Err(refused(format!("{path} holds a drive without a readable superblock; empty it first")))
            }
            Found::NoDirectory => Err(refused(format!("{path} does not exist"))),
            Found::Unusable(error) => Err(refused(format!("{path}: {error}"))),
        }
    }

    /// Formats and mounts what is new, then installs the layout.
    async fn make_so(&self, next: &Layout, newcomers: Vec<Newcomer>) -> Result<(), ControlError> {
        let generation = self.parts.meta.status().await.map_err(failed)?.generation;
        let mut added = vec![];
        for mut newcomer in newcomers {
            let slot = next.slot_of(newcomer.drive).ok_or_else(|| failed("the new drive has no slot"))?;
            let identity = Identity { cluster: self.parts.cluster, drive: newcomer.drive, slot: slot.0 };
            let action = newcomer.action.map_or(Action::Format(identity), Action::Open);
            let now_ms = self.parts.clock.wall_ms();
            newcomer.directory.settle(&action, now_ms).map_err(failed)?;
            newcomer.made = false;
            let disk = newcomer.directory.disk().map_err(failed)?.clone();
            let (store, _) = open_store(disk.clone() as Arc<dyn Disk>, action.identity()).map_err(failed)?;
            store.set_generation(generation, next.epoch).await.map_err(failed)?;
            let path = newcomer.directory.path.clone();
            added.push(absolute(&path));
            let identity = Identity { slot: slot.0, ..action.identity() };
            self.parts.roster.mount(mounted(identity, path, disk, store, None));
        }
        self.remember_added(&added, &[]).await.map_err(failed)?;
        if let Err(error) = self.parts.client.install_layout(next).await {
            for path in &added {
                let mounted = self.parts.roster.mounted();
                if let Some(drive) = mounted.iter().find(|drive| absolute(&drive.path) == *path) {
                    self.unmount(drive, "it could not be added").await;
                    self.parts.roster.forget(Slot(drive.slot));
                }
            }
            return Err(failed(error));
        }
        tracing::info!(epoch = next.epoch, "the layout changed");
        Ok(())
    }

    /// Keeps the list of directories that the command line need not name.
    async fn remember_added(&self, added: &[PathBuf], gone: &[PathBuf]) -> Result<(), ClientError> {
        let client = &self.parts.client;
        let setting = client.meta().setting(ADDED_DRIVES_SETTING).await.map_err(ClientError::Meta)?;
        let text = setting.map(|(_, bytes)| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let mut paths: Vec<PathBuf> = text.lines().map(PathBuf::from).collect();
        paths.retain(|path| !gone.contains(path) && !added.contains(path));
        paths.extend_from_slice(added);
        let lines: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        client.set_setting(ADDED_DRIVES_SETTING.to_owned(), lines.join("\n").into_bytes()).await
    }

    /// One pass of the rebalancing: moves, retires, lets emptied drives go.
    pub(crate) async fn follow(&self, worker: &Worker) -> Result<Done, String> {
        let client = &self.parts.client;
        let words = |error: ClientError| error.to_string();
        let mut lines = vec![];
        if self.census.swap(false, Ordering::AcqRel) {
            let found =
                client.census_pass(worker).await.inspect_err(|_| self.ask_for_census()).map_err(words)?;
            lines.push(format!(
                "census of {} stripes: {} shards brought home, {} stripes mended, {} wait for a drive",
                found.stripes, found.moved_shards, found.mended, found.waiting
            ));
        }
        if !client.older_layouts().is_empty() {
            worker.expect(self.bytes_to_move().await);
            let moved = client.rebalance_pass(worker).await.map_err(words)?;
            lines.push(format!(
                "{} shards ({} bytes) moved, {} stripes mended, {} stripes wait for a drive, {} blobs have an \
                 unreadable manifest",
                moved.moved_shards, moved.moved_bytes, moved.mended, moved.waiting, moved.unreadable
            ));
        }
        lines.extend(self.let_go(worker).await.map_err(words)?);
        lines.extend(self.seat_log().await?);
        let draining = client.layout().drives.iter().any(|drive| drive.role == Role::Draining);
        let more = draining || !client.older_layouts().is_empty();
        let report = (!lines.is_empty()).then(|| lines.join("; "));
        Ok(Done { report, next: if more { FOLLOW_AGAIN } else { FOLLOW_EVERY } })
    }

    /// Bytes that lie elsewhere than the current layout wants them, as far as the layouts tell.
    async fn bytes_to_move(&self) -> u64 {
        let client = &self.parts.client;
        let layout = client.layout();
        let oldest = client.older_layouts().first().and_then(|epoch| client.layout_at(*epoch));
        let Some(oldest) = oldest else { return 0 };
        let moves = oldest.moves(&layout, layout.code.n());
        let mut bytes = 0;
        for drive in self.parts.roster.mounted() {
            let live = drive.store.status().await.map_or(0, |status| status.live_bytes);
            bytes += moves.bytes_from(Slot(drive.slot), live);
        }
        bytes
    }

    /// Takes drained drives out once they are empty.
    async fn let_go(&self, worker: &Worker) -> Result<Vec<String>, ClientError> {
        let client = &self.parts.client;
        let layout = client.layout();
        let draining = layout.drives.iter().filter(|drive| drive.role == Role::Draining);
        let mut lines = vec![];
        for drive in draining {
            // Nothing else may change the layout at the same time.
            let _one = self.changing.lock().await;
            match client.empty_drive(drive.slot, worker).await? {
                Emptied::Holding(_) => continue,
                Emptied::Removed | Emptied::RemovedUnseen => {}
            }
            lines.push(format!("{} holds nothing any more and left the cluster", drive.path));
            lines.extend(self.seat_log().await.unwrap_or_else(Some));
            if let Some(mounted) = self.parts.roster.at(drive.slot) {
                lines.extend(self.forget_keys(&mounted).await);
                self.unmount(&mounted, "it was drained").await;
            }
            self.parts.roster.forget(drive.slot);
            self.remember_added(&[], &[PathBuf::from(&drive.path)]).await?;
            self.note_written_off(&[], &[drive.slot]).await?;
        }
        Ok(lines)
    }

    /// Takes the keys from a drive that leaves, and gives them to others first.
    async fn forget_keys(&self, leaving: &Mounted) -> Option<String> {
        let layout = self.parts.client.layout();
        let wanted = KEY_COPIES_MIN.max(usize::from(layout.code.m()) + 1);
        let mut keepers = self.parts.vault.keepers();
        keepers.retain(|path| *path != leaving.path);
        for drive in self.workers_of(&layout) {
            if keepers.len() < wanted && !keepers.contains(&drive.path) && drive.slot != leaving.slot {
                keepers.push(drive.path.clone());
            }
        }
        if let Err(error) = self.parts.vault.keep_on(keepers).await {
            return Some(format!("the key stays on {}: {error}", leaving.path.display()));
        }
        for name in NEIGHBOUR_FILES {
            // Most of them were never there.
            let _ = std::fs::remove_file(leaving.path.join(name));
        }
        None
    }

    /// Drives that take data and work, by slot.
    fn workers_of(&self, layout: &Layout) -> Vec<Arc<Mounted>> {
        let active = |drive: &Arc<Mounted>| {
            layout.drive(Slot(drive.slot)).is_some_and(|known| known.role == Role::Active)
        };
        let works = |drive: &Arc<Mounted>| drive.takes_part.load(Ordering::Relaxed);
        self.parts.roster.mounted().into_iter().filter(|drive| active(drive) && works(drive)).collect()
    }

    /// Unmounts a drive: whoever uses it still ends with an error.
    pub(crate) async fn unmount(&self, drive: &Arc<Mounted>, why: &str) {
        self.parts.roster.take_out(drive.drive, why.to_owned());
        let drive = drive.clone();
        // One that hangs must not hold up whoever noticed.
        tokio::spawn(async move {
            if let Err(error) = drive.store.shutdown().await {
                tracing::warn!(drive = %drive.path.display(), %error, "the drive was not closed cleanly");
            }
        });
    }

    /// Keeps the metadata log on m+1 drives that work and stay. Says what changed.
    async fn seat_log(&self) -> Result<Option<String>, String> {
        let layout = self.parts.client.layout();
        let wanted = 1 + usize::from(layout.code.m());
        let all = self.parts.roster.mounted();
        let holds: Vec<Arc<Mounted>> = all.iter().filter(|drive| has_meta(&drive.path)).cloned().collect();
        let status = self.parts.meta.status().await.map_err(|error| error.to_string())?;
        let out = status.log_drives.iter().filter(|drive| !drive.ok).count();
        let working = self.workers_of(&layout);
        let is_in = |list: &[Arc<Mounted>], drive: &Arc<Mounted>| list.iter().any(|d| d.slot == drive.slot);
        let mut chosen: Vec<Arc<Mounted>> =
            holds.iter().filter(|drive| is_in(&working, drive)).cloned().collect();
        let stays = chosen.len() == holds.len() && out == 0;
        if stays && chosen.len() >= wanted {
            return Ok(None);
        }
        for drive in &working {
            if chosen.len() < wanted && !is_in(&chosen, drive) {
                chosen.push(drive.clone());
            }
        }
        let same = chosen.len() == holds.len() && holds.iter().all(|drive| is_in(&chosen, drive));
        if chosen.is_empty() || (same && out == 0) {
            return Ok(None);
        }
        // What was failing may fail again at once: only another set of drives is worth a change.
        if same {
            return Ok(None);
        }
        self.reseat(holds, chosen).await
    }

    async fn reseat(
        &self,
        holds: Vec<Arc<Mounted>>,
        chosen: Vec<Arc<Mounted>>,
    ) -> Result<Option<String>, String> {
        let meta = self.parts.meta.clone();
        // A short log makes the change quick; without a snapshot it is only slower.
        let _ = meta.snapshot().await;
        let generation = meta.status().await.map_err(|error| error.to_string())?.generation;
        let ring = self.parts.vault.ring().await;
        let (old, new) = (holds.clone(), chosen.clone());
        let moved = tokio::task::spawn_blocking(move || {
            let view = old.iter().map(|drive| view_path(&drive.path)).find(|path| path.exists());
            let options = |moved: bool| {
                let drives = if moved { &new } else { &old };
                let drives: Vec<(PathBuf, Arc<dyn Disk>)> = drives
                    .iter()
                    .map(|drive| (drive.path.clone(), drive.disk.clone() as Arc<dyn Disk>))
                    .collect();
                let why = |error: crate::StartError| MetaError::Unavailable { why: error.to_string() };
                meta_options(&drives, &ring, generation).map_err(why)
            };
            meta.reseat(options, view.as_deref())
        });
        let moved = moved.await.map_err(|error| error.to_string())?;
        moved.map_err(|error| format!("the metadata log could not be moved: {error}"))?;
        let generation = self.parts.meta.status().await.map_err(|error| error.to_string())?.generation;
        let epoch = self.parts.client.layout().epoch;
        for drive in self.parts.roster.mounted() {
            if let Err(error) = drive.store.set_generation(generation, epoch).await {
                tracing::warn!(drive = %drive.path.display(), %error, "the superblock was not updated");
            }
        }
        for drive in holds.iter().filter(|drive| chosen.iter().all(|other| other.slot != drive.slot)) {
            // It is of the past; what cannot be removed is refused by its generation.
            let _ = std::fs::remove_dir_all(drive.path.join(META_DIRECTORY));
        }
        let names: Vec<String> = chosen.iter().map(|drive| drive.path.display().to_string()).collect();
        Ok(Some(format!("the metadata log lies on {} now", names.join(", "))))
    }

    /// The repair policy gives drives up: their data is made whole elsewhere.
    pub(crate) async fn write_off(&self, slots: &[Slot]) -> Result<(), ControlError> {
        let _one = self.changing.lock().await;
        let layout = self.parts.client.layout();
        let changes: Vec<Change> = slots.iter().map(|slot| Change::Drain(*slot)).collect();
        let widths = self.widths().await.map_err(failed)?;
        let next = layout.changed(&changes, &widths).map_err(refused)?;
        self.note_written_off(slots, &[]).await.map_err(failed)?;
        self.make_so(&next, vec![]).await
    }

    /// A drive that was given up is back before its data was all made whole elsewhere: it stays.
    pub(crate) async fn welcome(&self, slot: Slot) -> Result<(), ControlError> {
        let client = &self.parts.client;
        let draining = client.layout().drive(slot).is_some_and(|drive| drive.role == Role::Draining);
        if !draining || !self.written_off().await.map_err(failed)?.contains(&slot) {
            return Ok(());
        }
        let _one = self.changing.lock().await;
        let widths = self.widths().await.map_err(failed)?;
        let next = client.layout().changed(&[Change::Restore(slot)], &widths).map_err(refused)?;
        self.make_so(&next, vec![]).await?;
        self.note_written_off(&[], &[slot]).await.map_err(failed)
    }

    async fn written_off(&self) -> Result<Vec<Slot>, ClientError> {
        let setting =
            self.parts.client.meta().setting(WRITTEN_OFF_SETTING).await.map_err(ClientError::Meta)?;
        let bytes = setting.map(|(_, bytes)| bytes).unwrap_or_default();
        Ok(bytes.chunks_exact(2).map(|two| Slot(u16::from_le_bytes([two[0], two[1]]))).collect())
    }

    async fn note_written_off(&self, more: &[Slot], fewer: &[Slot]) -> Result<(), ClientError> {
        let mut slots = self.written_off().await?;
        slots.retain(|slot| !more.contains(slot) && !fewer.contains(slot));
        slots.extend_from_slice(more);
        let bytes = slots.iter().flat_map(|slot| slot.0.to_le_bytes()).collect();
        self.parts.client.set_setting(WRITTEN_OFF_SETTING.to_owned(), bytes).await
    }
}

/// The drive that an operator means: by slot, by directory, or by the start of its id.
fn find(layout: &Layout, named: &str) -> Result<Slot, ControlError> {
    let here = || layout.drives.iter().filter(|drive| drive.role != Role::Gone);
    let path = absolute(Path::new(named));
    let by_path = here().find(|drive| Path::new(&drive.path) == path || drive.path == named);
    let by_slot = named.parse().ok().and_then(|slot| here().find(|drive| drive.slot == Slot(slot)));
    let mut by_id = here().filter(|drive| named.len() >= 6 && drive.drive.to_string().starts_with(named));
    let by_id = by_id.next().filter(|_| by_id.next().is_none());
    let found = by_path.or(by_slot).or(by_id).map(|drive| drive.slot);
    found.ok_or_else(|| {
        let known: Vec<String> = here().map(|drive| format!("{} ({})", drive.slot.0, drive.path)).collect();
        refused(format!("there is no drive `{named}`; the drives are {}", known.join(", ")))
    })
}

fn refused(why: impl ToString) -> ControlError {
    ControlError::Refused { why: why.to_string() }
}

fn failed(why: impl ToString) -> ControlError {
    ControlError::Failed { why: why.to_string() }
}
