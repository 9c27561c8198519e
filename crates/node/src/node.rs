//! A running node: its parts under one [`Control`], its background work, and its orderly end.

mod membership;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pangea_client::Client;
use pangea_core::id::{ClusterId, NodeId};
use pangea_core::seam::{Clock as _, MonoUs};
use pangea_transport::Transport;

use crate::assemble::Assembly;
use crate::backup;
use crate::checkup::Checkup;
use crate::clock::SystemClock;
use crate::cluster::{Cluster, Services, domain_of, let_go};
use crate::config::Options;
use crate::control::{
    AccessKeyInfo, Control, ControlError, CreatedAccessKey, KeyBackup, LayoutPlan, LayoutWish, MadeToken,
    MetaBackup, MetaBackupBytes, MetaBackupPart, NewAccessKey, Pass, PassReport, RecodeWish, Recoding, Reply,
    Rotated, Rotation, Status, TokenWish, WorkerStatus, WorkerWish,
};
use crate::credentials::AccessKeys;
use crate::entropy::SystemEntropy;
use crate::error::StartError;
use crate::pace::Limits;
use crate::recoder::Recoder;
use crate::reshape::{Parts as ReshaperParts, Reshaper};
use crate::roster::Roster;
use crate::status::SurvivalCache;
use crate::vault::Vault;
use crate::workers::jobs::{self, REFILL_SETTING, ScrubParts};
use crate::workers::{Worker, Workers};

/// The first look at the stripes that are not whole.
const COMPLETE_AFTER: Duration = Duration::from_secs(1);
/// The first look for a scrub that is due, and for older keys that a rotation left.
const SCRUB_AFTER: Duration = Duration::from_secs(60);
/// A node that stays up so long looks for what its predecessor left behind.
/// What every node does for its own drives.
const OWN_WORKERS: [&str; 2] = ["health", "compaction"];
/// The first look at the drives.
const HEALTH_AFTER: Duration = Duration::from_secs(2);
const UPKEEP_AFTER: Duration = Duration::from_secs(30);
const ORPHANS_AFTER: Duration = Duration::from_secs(3600);

/// See the module.
pub(crate) struct Node {
    pub(crate) options: Options,
    pub(crate) cluster: ClusterId,
    pub(crate) id: NodeId,
    pub(crate) clock: Arc<SystemClock>,
    pub(crate) started_us: MonoUs,
    pub(crate) client: Client,
    pub(crate) roster: Arc<Roster>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) access_keys: Arc<AccessKeys>,
    pub(crate) ready: Arc<AtomicBool>,
    pub(crate) refill: Arc<AtomicBool>,
    pub(crate) notes: Vec<String>,
    pub(crate) survival: Mutex<Vec<SurvivalCache>>,
    pub(crate) workers: Workers,
    /// The other nodes, if there may be any.
    pub(crate) in_cluster: Option<Arc<Cluster>>,
    pub(crate) reshaper: Arc<Reshaper>,
    transport: Arc<dyn Transport>,
    services: Arc<Services>,
    scrub: Arc<Worker>,
    rebalance: Arc<Worker>,
    recoder: Arc<Recoder>,
    recoding: Arc<Worker>,
    scrub_asked: Arc<AtomicBool>,
    completion: Arc<Worker>,
    /// Whether this node's drives lack shards, and whoever mends them was not told yet.
    lacking: Arc<AtomicBool>,
}

impl Node {
    /// Takes over what was assembled and starts the background work.
    pub(crate) async fn start(
        assembly: Assembly,
        options: Options,
        clock: Arc<SystemClock>,
    ) -> Result<Self, StartError> {
        let Assembly { ground, key_drives, roster, seated, log_seats, client, transport, .. } = assembly;
        let (services, in_cluster, refill) = (assembly.services, assembly.cluster, assembly.refill);
        let (cluster, id) = (ground.ring.cluster, ground.node_id());
        let vault = Vault::new(ground.ring, ground.unlock, ground.protector, key_drives, clock.clone());
        let is_member = in_cluster.as_ref().is_some_and(|cluster| !cluster.is_keeper());
        let lacking = Arc::new(AtomicBool::new(is_member && refill));
        let refill = !is_member && remember_refill(&client, refill).await?;
        let refill = Arc::new(AtomicBool::new(refill));
        let stands = match &in_cluster {
            Some(cluster) => cluster.member.domain.clone(),
            None => domain_of(&options.cluster.labels, id),
        };
        let scrub_asked = Arc::new(AtomicBool::new(false));
        let scrub = Worker::new("scrub", "reads every shard and mends what is wrong", clock.clone());
        let rebalance = Worker::new("rebalance", "brings data to where the layout wants it", clock.clone());
        let recoding = Worker::new("recode", "writes buckets anew under another code", clock.clone());
        let vault = Arc::new(vault);
        let reshaper = Reshaper::new(ReshaperParts {
            client: client.clone(),
            roster: roster.clone(),
            seated,
            nodes: in_cluster.clone(),
            stands,
            vault: vault.clone(),
            clock: clock.clone(),
            cluster,
            node: id,
            log_seats,
            code: options.erasure,
        });
        let recoder = Recoder::new(client.clone(), reshaper.clone(), rebalance.clone());
        let completion = Worker::new("completion", "completes stripes that are not whole", clock.clone());
        let mut node = Self {
            access_keys: AccessKeys::new(client.clone(), in_cluster.clone()),
            vault,
            started_us: clock.mono_us(),
            ready: Arc::new(AtomicBool::new(false)),
            notes: ground.notes,
            survival: Mutex::default(),
            workers: Workers::new(),
            options,
            cluster,
            id,
            clock,
            client,
            roster,
            refill,
            in_cluster,
            lacking,
            reshaper,
            transport,
            services,
            scrub,
            rebalance,
            recoder,
            recoding,
            scrub_asked,
            completion,
        };
        node.start_workers();
        node.recall_paces().await?;
        Ok(node)
    }

    fn start_workers(&mut self) {
        let client = || self.client.clone();
        let worker = |name, about| Worker::new(name, about, self.clock.clone());
        let scrub = jobs::scrub(ScrubParts {
            client: client(),
            roster: self.roster.clone(),
            clock: self.clock.clone(),
            days: self.options.scrub_days,
            refill: self.refill.clone(),
            asked: self.scrub_asked.clone(),
        });
        let scrub_after = if self.refill.load(Ordering::Acquire) { COMPLETE_AFTER } else { SCRUB_AFTER };
        let completion = self.completion.clone();
        let wake = vec![completion.clone(), self.rebalance.clone()];
        let checkup = Checkup::new(
            client(),
            self.roster.clone(),
            self.reshaper.clone(),
            self.clock.clone(),
            self.id,
            self.in_cluster.clone(),
            wake,
        );
        let health = worker("health", "looks whether every drive is there and well");
        let garbage = worker("garbage", "frees what nothing refers to any more");
        let repack = worker("repack", "closes the holes of deleted small objects and merges small packs");
        let compaction = worker("compaction", "gives the space of deleted shards back");
        let orphans = worker("orphans", "deletes shards of writes that were never finished");
        let expiry = worker("expiry", "forgets kept outcomes and leases after a day");
        let rewrap = worker("key-rewrapping", "wraps under the newest master key what an older one wrapped");
        let all = [
            (completion, COMPLETE_AFTER, jobs::completion(client())),
            (health, HEALTH_AFTER, jobs::health(checkup)),
            (self.rebalance.clone(), COMPLETE_AFTER, jobs::rebalance(self.reshaper.clone())),
            (self.recoding.clone(), UPKEEP_AFTER, jobs::recode(self.recoder.clone())),
            (self.scrub.clone(), scrub_after, scrub),
            (garbage, UPKEEP_AFTER, jobs::garbage(client())),
            (repack, UPKEEP_AFTER, jobs::repack(client())),
            (compaction, UPKEEP_AFTER, jobs::compaction(self.roster.clone())),
            (orphans, ORPHANS_AFTER, jobs::orphans(client())),
            (expiry, UPKEEP_AFTER, jobs::expiry(client())),
            (rewrap, SCRUB_AFTER, jobs::rewrap(client(), self.vault.clone())),
        ];
        // What only one node may do, the steward does: the node that keeps the metadata, or they take turns.
        let is_member = self.in_cluster.as_ref().is_some_and(|cluster| !cluster.is_keeper());
        let turns = self.in_cluster.as_ref().and_then(|cluster| cluster.turns());
        for (worker, first, job) in all {
            let own = OWN_WORKERS.contains(&worker.name());
            match &turns {
                Some(turn) if !own => self.workers.add_in_turn(worker, first, job, turn.clone()),
                None if is_member && !own => {}
                _ => self.workers.add(worker, first, job),
            }
        }
    }

    /// The paces that operators set before.
    async fn recall_paces(&self) -> Result<(), StartError> {
        for worker in self.workers.all() {
            let setting = self.client.meta().setting(&pace_setting(worker.name())).await;
            let limits = setting.map_err(StartError::Meta)?.and_then(|(_, bytes)| Limits::decode(&bytes));
            limits.into_iter().for_each(|limits| worker.pace().set(limits));
        }
        Ok(())
    }

    async fn set_pace(&self, wish: WorkerWish) -> Result<WorkerStatus, ControlError> {
        let Some(worker) = self.workers.find(&wish.name) else {
            let names: Vec<&str> = self.workers.all().iter().map(|worker| worker.name()).collect();
            let why = format!("there is no worker `{}`; there are {}", wish.name, names.join(", "));
            return Err(ControlError::Refused { why });
        };
        let mut limits = worker.pace().limits();
        limits.paused = wish.paused.unwrap_or(limits.paused);
        if let Some(rate) = wish.bytes_per_second {
            limits.bytes_per_second = (rate > 0).then_some(rate);
        }
        if limits != worker.pace().limits() {
            let saved = jobs::set(&self.client, &pace_setting(worker.name()), limits.encode()).await;
            saved.map_err(|why| ControlError::Failed { why })?;
            worker.pace().set(limits);
        }
        if wish.run {
            worker.request();
        }
        Ok(worker.status())
    }

    /// Ends it: background work first, then the drives, each with a checkpoint. What fails is in the log; nothing
    /// acknowledged is lost either way.
    pub(crate) async fn stop(&self) {
        self.workers.stop().await;
        let_go(self).await;
        for drive in self.roster.mounted() {
            if let Err(error) = drive.store.shutdown().await {
                tracing::warn!(drive = %drive.path.display(), %error, "the drive was not closed cleanly");
            }
        }
        self.transport.close();
    }

    /// The directory that the operator token is kept in.
    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.roster.mounted().first().map(|drive| drive.path.clone())
    }
}

/// The setting that keeps a worker's pace.
fn pace_setting(worker: &str) -> String {
    format!("worker/{worker}")
}

/// Whether a drive is to be refilled: because of this start, or of an earlier one that did not come to it.
async fn remember_refill(client: &Client, refill: bool) -> Result<bool, StartError> {
    if refill {
        let failed = |why| StartError::Meta(pangea_meta::MetaError::Unavailable { why });
        jobs::set(client, REFILL_SETTING, vec![1]).await.map_err(failed)?;
        return Ok(true);
    }
    let setting = client.meta().setting(REFILL_SETTING).await.map_err(StartError::Meta)?;
    Ok(setting.is_some_and(|(_, bytes)| bytes == [1]))
}

impl Control for Node {
    fn status(&self) -> Reply<'_, Status> {
        Box::pin(self.report())
    }

    fn scrub(&self) -> Reply<'_, Pass> {
        Box::pin(async {
            self.refuse_elsewhere("a scrub")?;
            self.scrub_asked.store(true, Ordering::Release);
            Ok(Pass { pass: self.scrub.request() })
        })
    }

    fn pass(&self, pass: u64) -> Reply<'_, PassReport> {
        let why = || format!("there was no scrub {pass} since the server started");
        let report = self.scrub.report(pass).ok_or_else(|| ControlError::Refused { why: why() });
        Box::pin(std::future::ready(report))
    }

    fn rotate_keys(&self, rotation: Rotation) -> Reply<'_, Rotated> {
        Box::pin(async move {
            self.refuse_in_cluster("a rotation of keys")?;
            let rotated = self.vault.rotate(&self.client, rotation).await;
            self.access_keys.forget();
            rotated
        })
    }

    fn back_up_keys(&self, passphrase: String) -> Reply<'_, KeyBackup> {
        Box::pin(self.vault.back_up(passphrase))
    }

    fn back_up_meta(&self) -> Reply<'_, MetaBackup> {
        Box::pin(async {
            self.refuse_in_database()?;
            self.refuse_elsewhere("a backup of the metadata")?;
            backup::begin(&self.client, &self.roster, &self.vault).await
        })
    }

    fn read_meta_backup(&self, wanted: MetaBackupPart) -> Reply<'_, MetaBackupBytes> {
        Box::pin(backup::part(&self.roster, wanted))
    }

    fn create_access_key(&self, wanted: NewAccessKey) -> Reply<'_, CreatedAccessKey> {
        Box::pin(self.access_keys.create(wanted, &self.clock, &SystemEntropy))
    }

    fn access_keys(&self) -> Reply<'_, Vec<AccessKeyInfo>> {
        Box::pin(self.access_keys.list())
    }

    fn revoke_access_key(&self, id: String) -> Reply<'_, ()> {
        Box::pin(self.access_keys.revoke(id))
    }

    fn change_layout(&self, wish: LayoutWish) -> Reply<'_, LayoutPlan> {
        Box::pin(self.reshaper.change(wish, &self.rebalance))
    }

    fn recode(&self, wish: RecodeWish) -> Reply<'_, Recoding> {
        Box::pin(async move {
            self.refuse_elsewhere("a recode")?;
            self.recoder.ask(wish, &self.recoding).await
        })
    }

    fn make_join_token(&self, wish: TokenWish) -> Reply<'_, MadeToken> {
        Box::pin(self.make_token(wish))
    }

    fn cut_off(&self, nodes: Vec<String>) -> Reply<'_, ()> {
        Box::pin(std::future::ready(self.cut(&nodes)))
    }

    fn remove_node(&self, node: String) -> Reply<'_, ()> {
        Box::pin(self.remove(node))
    }

    fn set_worker(&self, wish: WorkerWish) -> Reply<'_, WorkerStatus> {
        Box::pin(self.set_pace(wish))
    }
}
