//! What is known of a node: the answer to `status`, and the same as Prometheus text.
//!
//! Collects, computes what is survived now, and says in words why something is not as it should be. Changes nothing.

mod metrics;

use std::collections::{BTreeMap, BTreeSet};

use pangea_core::chunk::Code;
use pangea_core::cluster::Member;
use pangea_core::layout::{Domain, Layout, LayoutDrive, Role};
use pangea_core::meta::TodoRow;
use pangea_core::seam::Clock as _;
use pangea_meta::PAGE_ROWS_MAX;
use pangea_store::port::{Stopped, StoreStatus};

use crate::cluster::Cluster;
use crate::control::{
    ControlError, DriveStatus, LayoutStatus, LogDrive, MetadataStatus, NodeStatus, Status, StripeStatus,
};
use crate::node::Node;
use crate::reshape::brief;
use crate::roster::Mounted;

pub(crate) use metrics::render;

/// A drive with less room than this takes no large shard any more.
const FULL_BYTES: u64 = 16 << 20;

/// What was computed last, and of what: it walks every partition.
pub(crate) struct SurvivalCache {
    epoch: u32,
    code: Code,
    present: BTreeSet<u16>,
    losable: u8,
    drives: u16,
}

impl Node {
    /// Everything worth knowing.
    pub(crate) async fn report(&self) -> Result<Status, ControlError> {
        let layout = self.client.layout();
        let meta = self.client.meta();
        // Without the metadata, everything else is worth knowing all the more.
        let (todos, away) = match meta.todos(None, PAGE_ROWS_MAX).await {
            Ok(todos) => (todos, None),
            Err(error) => (vec![], Some(error.to_string())),
        };
        let rows: Vec<&TodoRow> = todos.iter().map(|(_, todo)| todo).collect();
        let stripes = stripes(&rows);
        let mut drives = Vec::new();
        for drive in layout.drives.iter().filter(|drive| drive.role != Role::Gone) {
            drives.push(self.drive(drive).await);
        }
        let metadata = metadata(&meta.status().await.unwrap_or_default());
        let mut not_whole_because = self.not_whole(&stripes, &drives);
        let is_away = away.is_some();
        not_whole_because.extend(away);
        // What older data lies under cannot be asked then.
        let codes = self.client.codes_used().await.unwrap_or_else(|_| vec![layout.code]);
        let (survives_drives, survives) = self.survives(&layout, &codes, &stripes);
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: self.cluster.to_string(),
            node: self.id.to_string(),
            endpoint: format!("http://{}", self.options.listen),
            region: self.options.region.clone(),
            uptime_seconds: self.clock.mono_us().saturating_sub(self.started_us) / 1_000_000,
            ready: self.ready.load(std::sync::atomic::Ordering::Acquire) && !is_away,
            whole: not_whole_because.is_empty(),
            not_whole_because,
            durability: format!(
                "an acknowledged write survives power loss: every shard {} first",
                match self.options.meta {
                    None => "and the metadata log are synced",
                    Some(_) => "is synced and PostgreSQL has committed",
                }
            ),
            layout: LayoutStatus {
                epoch: layout.epoch,
                code: layout.code.to_string(),
                write_quorum: layout.code.write_quorum(),
                partitions: layout.partitions(),
            },
            survives,
            survives_drives,
            nodes: self.nodes(&drives),
            drives,
            stripes,
            metadata,
            keys: self.vault.status().await,
            workers: self.workers.status(),
            notes: self.notes.clone(),
        })
    }

    /// The members of the cluster, by node id; none for a server on its own.
    pub(crate) fn nodes(&self, drives: &[DriveStatus]) -> Vec<NodeStatus> {
        let Some(cluster) = &self.in_cluster else { return vec![] };
        let (members, links, steward) = (cluster.members(), cluster.links(), cluster.steward());
        let node = |member: &Member| {
            let link = links.iter().find(|link| link.node == member.node);
            let pulse = cluster.pulse(member.node).map(|(pulse, _)| pulse);
            let is_this = member.node == cluster.me();
            let up = cluster.is_up(member.node);
            let id = member.node.to_string();
            let why = link.and_then(|link| link.last_error.as_ref()).filter(|_| !up).map(ToString::to_string);
            NodeStatus {
                drives: drives.iter().filter(|drive| drive.node == id).count() as u64,
                key: member.node.0.iter().map(|byte| format!("{byte:02x}")).collect(),
                node: id,
                is_this,
                keeps_metadata: members.keeper == Some(member.node),
                is_steward: steward == Some(member.node),
                state: if up { "up" } else { "down" }.to_owned(),
                reason: why,
                addresses: member.addresses.clone(),
                labels: labels(&member.domain),
                version: match &pulse {
                    _ if is_this => env!("CARGO_PKG_VERSION").to_owned(),
                    Some(pulse) => pulse.version.clone(),
                    None => String::new(),
                },
                endpoint: match &pulse {
                    _ if is_this => format!("http://{}", self.options.listen),
                    Some(pulse) => pulse.endpoint.clone(),
                    None => String::new(),
                },
                rtt_us: link.map_or(0, |link| link.rtt_us),
            }
        };
        members.all().iter().map(node).collect()
    }

    async fn drive(&self, drive: &LayoutDrive) -> DriveStatus {
        let mut status = DriveStatus {
            slot: drive.slot.0,
            drive: drive.drive.to_string(),
            node: drive.node.to_string(),
            dir: drive.path.clone(),
            state: "missing".to_owned(),
            ..DriveStatus::default()
        };
        let elsewhere = self.in_cluster.as_ref().filter(|cluster| cluster.me() != drive.node);
        match (elsewhere, self.roster.at(drive.slot)) {
            (Some(cluster), _) => fill_from_afar(&mut status, cluster, drive),
            (None, Some(mounted)) => fill(&mut status, &mounted).await,
            (None, None) => status.reason = self.roster.absence(drive.slot).map(|absent| absent.why),
        }
        if drive.role == Role::Draining {
            let was = std::mem::replace(&mut status.state, "draining".to_owned());
            let also = (was != "ok").then(|| was + ": " + status.reason.as_deref().unwrap_or_default());
            status.reason = also.or(Some("its data is moving to the other drives".to_owned()));
        }
        status
    }

    fn not_whole(&self, stripes: &StripeStatus, drives: &[DriveStatus]) -> Vec<String> {
        let mut why = Vec::new();
        if stripes.not_whole > 0 {
            let least = if stripes.more { "at least " } else { "" };
            why.push(format!("{least}{} stripes lack shards at their places", stripes.not_whole));
        }
        let moving = self.client.older_layouts().len();
        if moving > 0 {
            why.push(
                "data is on its way to where the layout wants it (see the worker `rebalance`)".to_owned(),
            );
        }
        if self.refill.load(std::sync::atomic::Ordering::Acquire) {
            why.push("a drive is being refilled: the scrub that does it has not gone through yet".to_owned());
        }
        let missing: Vec<String> = drives
            .iter()
            .filter(|d| d.state == "missing")
            .map(|d| format!("slot {} ({})", d.slot, d.dir))
            .collect();
        if !missing.is_empty() {
            why.push(format!("drives are missing: {}", missing.join(", ")));
        }
        why
    }

    /// What may be lost now, computed from the placements and from the stripes that are known to lack shards.
    /// Of the codes that data lies under, the weakest counts.
    fn survives(&self, layout: &Layout, codes: &[Code], stripes: &StripeStatus) -> (u16, String) {
        let weakest = codes.iter().map(|code| (self.survives_under(layout, *code, stripes), *code));
        let (drives, code) = weakest.min_by_key(|(drives, _)| *drives).unwrap_or((0, layout.code));
        let mut text = match (code.m(), drives) {
            (0, _) => "verification only: losing a drive loses data".to_owned(),
            (_, 0) => "nothing more may be lost now: losing one more drive may lose data".to_owned(),
            (_, 1) => "any one drive may be lost: everything stays readable".to_owned(),
            (_, n) => format!("any {n} drives may be lost: everything stays readable"),
        };
        if code != layout.code {
            text += &format!(" (because of data under code {code}: `pangea recode`)");
        }
        (drives, text)
    }

    /// What may be lost now of data under one code, computed from the placements and from the stripes that are known to lack
    /// shards.
    fn survives_under(&self, layout: &Layout, code: Code, stripes: &StripeStatus) -> u16 {
        let present = self.present_slots(layout);
        // A missing drive's shards are counted by the placement already.
        let whole_layout = layout.drives.iter().all(|d| d.role == Role::Gone || present.contains(&d.slot.0));
        let worst = stripes.by_missing.iter().map(|(missing, _)| *missing).max().unwrap_or(0);
        let losable = if whole_layout { code.m().saturating_sub(worst) } else { code.m() };
        let drives = self.survived_drives(layout, code, present, losable);
        // Where there are no other drives, what stands in lies beside another shard of its stripe: two go with one drive.
        let spare = layout.active().count() > usize::from(code.n());
        let doubled = if spare { 0 } else { stripes.most_stand_ins };
        let with_doubled = (0..=u16::from(code.m()))
            .rev()
            .find(|lost| lost + (*lost).min(u16::from(doubled)) <= u16::from(code.m().saturating_sub(worst)));
        drives.min(with_doubled.unwrap_or(0))
    }

    /// The slots whose drives are there, on any node.
    fn present_slots(&self, layout: &Layout) -> BTreeSet<u16> {
        let mut present: BTreeSet<u16> = self.roster.mounted().iter().map(|drive| drive.slot).collect();
        if let Some(cluster) = &self.in_cluster {
            let others = layout.drives.iter().filter(|drive| drive.node != cluster.me());
            let there = |drive: &&LayoutDrive| {
                cluster.is_up(drive.node) && cluster.drive_pulse(drive.node, drive.drive).is_some()
            };
            present.extend(others.filter(there).map(|drive| drive.slot.0));
        }
        present
    }

    fn survived_drives(&self, layout: &Layout, code: Code, present: BTreeSet<u16>, losable: u8) -> u16 {
        let mut cache = self.survival.lock().expect("no code panics while it holds the cache");
        let epoch = layout.epoch;
        if let Some(known) = cache.iter().find(|known| {
            (known.epoch, known.code, known.losable) == (epoch, code, losable) && known.present == present
        }) {
            return known.drives;
        }
        let drives = layout.survival(code, losable, |slot| present.contains(&slot.0)).drives;
        cache.retain(|known| known.code != code);
        cache.push(SurvivalCache { epoch, code, present, losable, drives });
        drives
    }
}

/// How a mounted drive is.
pub(crate) async fn of_mounted(mounted: &Mounted) -> DriveStatus {
    let mut status = DriveStatus::default();
    fill(&mut status, mounted).await;
    status
}

/// What another node said of its drive.
fn fill_from_afar(status: &mut DriveStatus, cluster: &Cluster, drive: &LayoutDrive) {
    let pulse = cluster.drive_pulse(drive.node, drive.drive);
    if let Some(pulse) = &pulse {
        status.state = pulse.state.clone();
        status.reason = pulse.reason.clone();
        status.capacity_bytes = pulse.capacity_bytes;
        status.available_bytes = pulse.available_bytes;
        status.live_bytes = pulse.live_bytes;
        status.garbage_bytes = pulse.garbage_bytes;
        status.shards = pulse.shards;
        status.errors = pulse.errors;
    }
    if !cluster.is_up(drive.node) {
        status.state = "missing".to_owned();
        status.reason = Some(format!("node {} does not answer", drive.node));
    } else if pulse.is_none() {
        status.reason = Some("its node does not have it".to_owned());
    }
}

async fn fill(status: &mut DriveStatus, mounted: &Mounted) {
    status.dir = mounted.path.display().to_string();
    status.engine = mounted.engine.to_owned();
    let trouble = mounted.trouble();
    status.replaced = mounted.replaces.map(|drive| drive.to_string());
    status.errors = mounted.errors.load(std::sync::atomic::Ordering::Relaxed);
    match brief(mounted.store.status()).await {
        Some(Ok(store)) => fill_from(status, &store),
        Some(Err(error)) => (status.state, status.reason) = ("failed".to_owned(), Some(error.to_string())),
        None => (status.state, status.reason) = ("silent".to_owned(), Some("it does not answer".to_owned())),
    }
    if let (Some(why), "ok" | "full") = (trouble, status.state.as_str()) {
        (status.state, status.reason) = ("failed".to_owned(), Some(why));
    }
}

fn fill_from(status: &mut DriveStatus, store: &StoreStatus) {
    let (state, reason) = match (&store.stopped, &store.last_fault) {
        (Some(Stopped::ReadOnly), _) => ("read-only", Some("the medium is read-only".to_owned())),
        (Some(Stopped::Failed(fault)), _) => ("failed", Some(format!("takes no writes after {fault}"))),
        (None, _) if store.available_bytes < FULL_BYTES => ("full", None),
        (None, Some(fault)) => ("ok", Some(format!("an error was survived: {fault}"))),
        (None, None) => ("ok", None),
    };
    status.state = state.to_owned();
    status.reason = reason;
    status.capacity_bytes = store.capacity_bytes;
    status.available_bytes = store.available_bytes;
    status.live_bytes = store.live_bytes;
    status.garbage_bytes = store.garbage_bytes;
    status.shards = store.shards;
    status.errors += store.damaged_records;
}

/// Labels as they are given: level=name.
fn labels(domain: &Domain) -> Vec<String> {
    let levels =
        [("region", &domain.region), ("site", &domain.site), ("rack", &domain.rack), ("host", &domain.host)];
    levels
        .into_iter()
        .filter(|(_, name)| !name.is_empty())
        .map(|(level, name)| format!("{level}={name}"))
        .collect()
}

fn stripes(todos: &[&TodoRow]) -> StripeStatus {
    let mut by_missing: BTreeMap<u8, u64> = BTreeMap::new();
    let (mut stand_ins, mut most_stand_ins) = (0, 0);
    for todo in todos {
        // A shard that a stand-in keeps is not missing, only away from home.
        let kept = |index: &u8| todo.stand_ins.iter().any(|(kept, _)| kept == index);
        let missing = todo.missing.iter().filter(|index| !kept(index)).count();
        *by_missing.entry(u8::try_from(missing).unwrap_or(u8::MAX)).or_default() += 1;
        stand_ins += todo.stand_ins.len() as u64;
        most_stand_ins = most_stand_ins.max(u8::try_from(todo.stand_ins.len()).unwrap_or(u8::MAX));
    }
    StripeStatus {
        not_whole: todos.len() as u64,
        more: todos.len() >= PAGE_ROWS_MAX,
        by_missing: by_missing.into_iter().collect(),
        stand_ins,
        most_stand_ins,
    }
}

fn metadata(status: &pangea_meta::MetaStatus) -> MetadataStatus {
    let drive = |drive: &pangea_meta::LogDriveStatus| LogDrive {
        name: drive.name.clone(),
        ok: drive.ok,
        last_error: drive.last_error.clone(),
    };
    MetadataStatus {
        engine: status.engine.to_owned(),
        generation: status.generation,
        applied: status.applied_seq,
        snapshot: status.snapshot_seq,
        log_bytes: status.log_bytes,
        log_drives: status.log_drives.iter().map(drive).collect(),
        notes: status.recovery_notes.clone(),
    }
}
