//! Reshaping: drives that come, move their data, and leave, while the node runs.
//!
//! Owns every change of the layout after the start: an operator's wishes become a plan, a plan becomes the next layout, the
//! rebalancing follows it, and an emptied drive is let go: out of the metadata log, without keys, unmounted.
//!
//! ```text
//! wish ─▶ plan (what moves, what it survives) ─▶ [format, mount] ─▶ layout ─▶ follow: rebalance ─▶ emptied ─▶ let go
//! ```

mod newcomer;
mod plan;
mod seats;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pangea_client::worker::Emptied;
use pangea_client::{Client, ClientError};
use pangea_core::chunk::Code;
use pangea_core::id::{ClusterId, NodeId};
use pangea_core::layout::{Change, Domain, Layout, LayoutDrive, Role, Slot};
use pangea_core::seam::Clock as _;
use pangea_meta::SeatedMeta;
use pangea_store::format::superblock::Identity;
use tokio::sync::Mutex;

use pangea_store::format::superblock::SUPERBLOCK_FILE;

use crate::assemble::{added_setting, mounted, open_store};
use crate::clock::SystemClock;
use crate::cluster::Cluster;
use crate::control::{ControlError, LayoutPlan, LayoutWish, WishedChange};
use crate::drives::{Action, absolute};
use crate::roster::{Mounted, Roster};
use crate::vault::Vault;
use crate::workers::{Done, Worker};
use newcomer::Newcomer;
use seats::LogSeats;
pub(crate) use seats::{LogSeat, brief};

/// How soon it looks again while a node does not know the layout yet.
const FOLLOW_SOON: Duration = Duration::from_secs(1);
/// How soon the rebalancing looks again while something is left to do.
const FOLLOW_AGAIN: Duration = Duration::from_secs(5);
/// How soon it looks again while something waits for a drive.
const FOLLOW_WAITING: Duration = Duration::from_secs(15);
/// How often it looks for something to do.
const FOLLOW_EVERY: Duration = Duration::from_secs(60);
/// Slots whose drives the repair policy drained, u16 each: they are welcome back.
const WRITTEN_OFF_SETTING: &str = "drives/written-off";

/// What the reshaper is made of.
pub(crate) struct Parts {
    pub client: Client,
    pub roster: Arc<Roster>,
    /// The metadata engine, if it runs here.
    pub seated: Option<Arc<SeatedMeta>>,
    /// The other nodes, if there may be any.
    pub nodes: Option<Arc<Cluster>>,
    pub vault: Arc<Vault>,
    pub clock: Arc<SystemClock>,
    pub cluster: ClusterId,
    pub node: NodeId,
    /// Where drives that come stand.
    pub stands: Domain,
    /// Where the metadata log lies.
    pub log_seats: Vec<LogSeat>,
    /// The code that was asked for at the start; without one it follows the number of drives.
    pub code: Option<Code>,
}

/// See the module.
pub(crate) struct Reshaper {
    parts: Parts,
    /// One change at a time.
    changing: Mutex<()>,
    /// Whether a drive came back: what it lacks is looked for.
    census: AtomicBool,
    seats: Mutex<LogSeats>,
}

impl Reshaper {
    /// Nothing changes yet.
    pub(crate) fn new(mut parts: Parts) -> Arc<Self> {
        // A drive that left must not be held on to.
        let at = std::mem::take(&mut parts.log_seats);
        let seats = Mutex::new(LogSeats { at, moved_at: None });
        Arc::new(Self { parts, changing: Mutex::default(), census: AtomicBool::new(false), seats })
    }

    /// Whether a census is to go through before everything counts as whole.
    pub(crate) fn ask_for_census(&self) {
        self.census.store(true, Ordering::Release);
    }

    /// Whether a census was asked for; the caller sees to it from now on.
    pub(crate) fn take_census(&self) -> bool {
        self.census.swap(false, Ordering::AcqRel)
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
        let (mut changes, newcomers) = self.read_wishes(&layout, &wish.changes)?;
        let widths = self.widths().await.map_err(failed)?;
        let mut next = layout.changed(&changes, &widths).map_err(refused)?;
        if let Some(code) = self.code_that_follows(&layout, &next) {
            changes.push(Change::Code(code));
            next = layout.changed(&changes, &widths).map_err(refused)?;
        }
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

    /// As long as the code always followed the number of drives, it goes on doing so when drives come.
    fn code_that_follows(&self, layout: &Layout, next: &Layout) -> Option<Code> {
        let by_count = |layout: &Layout| Code::default_for(layout.active().count());
        let grows = next.active().count() > layout.active().count();
        let follows =
            self.parts.code.is_none() && layout.code == by_count(layout) && next.code == layout.code;
        (grows && follows).then(|| by_count(next)).filter(|code| *code != layout.code)
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
                    let old = find(layout, self.parts.node, drive)?;
                    Change::Replace { old, new: self.newcomer(layout, dir, &mut newcomers)? }
                }
                WishedChange::Drain { drive } => Change::Drain(find(layout, self.parts.node, drive)?),
                WishedChange::Restore { drive } => Change::Restore(find(layout, self.parts.node, drive)?),
                WishedChange::Weight { drive, gib } => {
                    Change::Reweigh(find(layout, self.parts.node, drive)?, *gib)
                }
                WishedChange::Code { code } => {
                    let parsed = Code::parse(code);
                    Change::Code(parsed.ok_or_else(|| refused(format!("`{code}` is no code like 10+4")))?)
                }
            });
        }
        Ok((changes, newcomers))
    }

    /// Formats and mounts what is new, then installs the layout. What cannot be ends as it began.
    async fn make_so(&self, next: &Layout, newcomers: Vec<Newcomer>) -> Result<(), ControlError> {
        let mut added = vec![];
        let Err(error) = self.try_make_so(next, newcomers, &mut added).await else {
            tracing::info!(epoch = next.epoch, "the layout changed");
            return Ok(());
        };
        // Whatever was heard of it, the layout may be in force.
        if let Err(error) = self.parts.client.refresh_layouts().await {
            tracing::warn!(%error, "the layouts could not be read");
            return Err(failed(error));
        }
        let layout = self.parts.client.layout();
        for path in &added {
            let mounted = self.parts.roster.mounted();
            let Some(drive) = mounted.iter().find(|drive| absolute(&drive.path) == *path) else { continue };
            if layout.slot_of(drive.drive).is_none() {
                self.unmount(drive, "it could not be added").await;
                self.parts.roster.forget(Slot(drive.slot));
                // So that it may be added again; nothing was ever stored there.
                let _ = std::fs::remove_file(path.join(SUPERBLOCK_FILE));
            }
        }
        Err(error)
    }

    async fn try_make_so(
        &self,
        next: &Layout,
        newcomers: Vec<Newcomer>,
        added: &mut Vec<PathBuf>,
    ) -> Result<(), ControlError> {
        let generation = self.parts.client.meta().status().await.map_err(failed)?.generation;
        for mut newcomer in newcomers {
            let slot = next.slot_of(newcomer.drive).ok_or_else(|| failed("the new drive has no slot"))?;
            let identity = Identity { cluster: self.parts.cluster, drive: newcomer.drive, slot: slot.0 };
            newcomer
                .directory
                .settle(&Action::Format(identity), self.parts.clock.wall_ms())
                .map_err(failed)?;
            newcomer.made = false;
            let disk = newcomer.directory.disk().map_err(failed)?.clone();
            let engine = self.parts.roster.engine();
            let opened = open_store(disk.clone(), identity, engine).map_err(failed)?;
            let store = opened.store.clone();
            let path = newcomer.directory.path.clone();
            added.push(absolute(&path));
            self.parts.roster.mount(mounted(identity, path, disk, opened, None));
            store.set_generation(generation, next.epoch).await.map_err(failed)?;
        }
        self.remember_added(added, &[]).await.map_err(failed)?;
        let code = self.parts.client.layout().code;
        if code != next.code {
            self.parts.client.keep_older_code(code).await.map_err(failed)?;
        }
        self.parts.client.install_layout(next).await.map_err(failed)
    }

    /// The setting with this node's own directories.
    fn added_setting(&self) -> String {
        let member = self.parts.nodes.as_ref().is_some_and(|nodes| !nodes.is_keeper());
        added_setting(member.then_some(self.parts.node))
    }

    /// Keeps the list of directories that the command line need not name.
    async fn remember_added(&self, added: &[PathBuf], gone: &[PathBuf]) -> Result<(), ClientError> {
        let client = &self.parts.client;
        let name = self.added_setting();
        let setting = client.meta().setting(&name).await.map_err(ClientError::Meta)?;
        let text = setting.map(|(_, bytes)| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let mut paths: Vec<PathBuf> = text.lines().map(PathBuf::from).collect();
        paths.retain(|path| !gone.contains(path) && !added.contains(path));
        paths.extend_from_slice(added);
        let lines: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        client.set_setting(name, lines.join("\n").into_bytes()).await
    }

    /// One pass of the rebalancing: moves, retires, lets emptied drives go.
    pub(crate) async fn follow(&self, worker: &Worker) -> Result<Done, String> {
        let client = &self.parts.client;
        let words = |error: ClientError| error.to_string();
        let mut lines: Vec<String> = self.seat_log().await?.into_iter().collect();
        if self.census.swap(false, Ordering::AcqRel) {
            let found =
                client.census_pass(worker).await.inspect_err(|_| self.ask_for_census()).map_err(words)?;
            lines.push(format!(
                "census of {} stripes: {} shards brought home, {} stripes mended, {} wait for a drive",
                found.stripes, found.moved_shards, found.mended, found.waiting
            ));
        }
        if !self.all_follow() {
            // Who does not know the layout yet would look where nothing lies any more.
            let report = (!lines.is_empty()).then(|| lines.join("; "));
            return Ok(Done { report, next: FOLLOW_SOON });
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
        lines.extend(self.let_go(worker).await?);
        let draining = client.layout().drives.iter().any(|drive| drive.role == Role::Draining);
        let next = match (draining, client.older_layouts().is_empty()) {
            // What waits for a drive waits longer: every look walks all there is.
            (_, false) => FOLLOW_WAITING,
            (true, true) => FOLLOW_AGAIN,
            (false, true) => FOLLOW_EVERY,
        };
        Ok(Done { report: (!lines.is_empty()).then(|| lines.join("; ")), next })
    }

    /// Whether all nodes that answer know the current layout.
    fn all_follow(&self) -> bool {
        let epoch = self.parts.client.layout().epoch;
        self.parts.nodes.as_ref().is_none_or(|nodes| nodes.all_know(epoch))
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
            let live =
                brief(drive.store.status()).await.and_then(Result::ok).map_or(0, |status| status.live_bytes);
            bytes += moves.bytes_from(Slot(drive.slot), live);
        }
        bytes
    }

    /// Takes drained drives out once they are empty, and lets go of all that left.
    async fn let_go(&self, worker: &Worker) -> Result<Vec<String>, String> {
        let client = &self.parts.client;
        let words = |error: ClientError| error.to_string();
        let mut lines = vec![];
        let layout = client.layout();
        for drive in layout.drives.iter().filter(|drive| drive.role == Role::Draining) {
            if self.is_back(drive).await.map_err(words)? {
                // It was given up and answers again: it stays.
                self.welcome(drive.slot).await.map_err(|error| error.to_string())?;
                continue;
            }
            // Nothing else may change the layout at the same time.
            let _one = self.changing.lock().await;
            lines.extend(self.seat_log().await?);
            if self.holds_log(drive.drive).await {
                continue;
            }
            if !matches!(client.empty_drive(drive.slot, worker).await.map_err(words)?, Emptied::Holding(_)) {
                lines.push(format!("{} holds nothing any more and left the cluster", drive.path));
            }
        }
        lines.extend(self.let_go_here().await?);
        Ok(lines)
    }

    /// Lets go of this node's drives that left the cluster.
    pub(crate) async fn let_go_here(&self) -> Result<Vec<String>, String> {
        let _one = self.changing.lock().await;
        let mut lines = vec![];
        let layout = self.parts.client.layout();
        for drive in self.parts.roster.mounted() {
            if layout.slot_of(drive.drive).is_none() {
                lines.extend(self.forget_keys(&drive).await);
                self.unmount(&drive, "it was drained").await;
            }
        }
        for drive in layout.drives.iter().filter(|drive| drive.role == Role::Gone) {
            self.parts.roster.forget(drive.slot);
        }
        self.forget_gone(&layout).await.map_err(|error| error.to_string())?;
        Ok(lines)
    }

    /// Takes drives that left off the lists.
    async fn forget_gone(&self, layout: &Layout) -> Result<(), ClientError> {
        let here = |drive: &&LayoutDrive| drive.node == self.parts.node;
        let gone = || layout.drives.iter().filter(|drive| drive.role == Role::Gone).filter(here);
        let taken = |path: &str| layout.drives.iter().any(|d| d.role != Role::Gone && d.path == path);
        let paths: Vec<PathBuf> =
            gone().filter(|drive| !taken(&drive.path)).map(|drive| PathBuf::from(&drive.path)).collect();
        let slots: Vec<Slot> = gone().map(|drive| drive.slot).collect();
        self.remember_added(&[], &paths).await?;
        self.note_written_off(&[], &slots).await
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

    /// Whether a drive of another node was given up, and is well now.
    async fn is_back(&self, drive: &LayoutDrive) -> Result<bool, ClientError> {
        let Some(nodes) = self.parts.nodes.as_ref().filter(|nodes| nodes.me() != drive.node) else {
            return Ok(false);
        };
        Ok(nodes.takes_part(drive.node, drive.drive) && self.written_off().await?.contains(&drive.slot))
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

/// The drive that an operator means: by slot, by directory on this node, or by the start of its id.
fn find(layout: &Layout, node: NodeId, named: &str) -> Result<Slot, ControlError> {
    let here = || layout.drives.iter().filter(|drive| drive.role != Role::Gone);
    let path = absolute(Path::new(named));
    let mut of_node = here().filter(|drive| drive.node == node);
    let by_path = of_node.find(|drive| Path::new(&drive.path) == path || drive.path == named);
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
