//! What the workers do: each job calls the data path, puts the result into words and says when to look again.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use pangea_client::worker::Overseer as _;
use pangea_client::{Client, ClientError};
use pangea_core::meta::Command;
use pangea_core::seam::Clock as _;
use pangea_store::port::{ShardStore, StoreError};

use super::{Done, Job, NEVER, Worker};
use crate::checkup::Checkup;
use crate::clock::SystemClock;
use crate::pace::Limits;
use crate::recoder::Recoder;
use crate::reshape::{Reshaper, brief};
use crate::roster::Roster;
use crate::vault::Vault;

/// How often the queue of stripes that are not whole is looked at.
const COMPLETE_EVERY: Duration = Duration::from_secs(5);
/// The longest pause while all of them wait for an absent drive.
const COMPLETE_EVERY_MAX: Duration = Duration::from_secs(600);
const GARBAGE_EVERY: Duration = Duration::from_secs(30);
const REPACK_EVERY: Duration = Duration::from_secs(60);
const ORPHANS_EVERY: Duration = Duration::from_secs(86_400);
const COMPACT_EVERY: Duration = Duration::from_secs(60);
/// Bytes that one step of compaction copies before other work gets its turn.
const COMPACT_STEP_BYTES: u64 = 64 << 20;
const EXPIRE_EVERY: Duration = Duration::from_secs(3600);
/// A scrub that is due is looked for so often: wall time, because it spans restarts.
const SCRUB_LOOK_EVERY: Duration = Duration::from_secs(3600);
/// A scrub that nobody waits for reads at least so many bytes a second.
const SCRUB_BYTES_PER_SECOND_MIN: u64 = 32 << 20;
const DAY_MS: u64 = 86_400_000;
/// When the last scrub ended (u64 LE, ms since 1970).
const SCRUB_SETTING: &str = "scrub/last";
/// Set while a drive is to be refilled: a scrub must go through before everything counts as whole.
pub(crate) const REFILL_SETTING: &str = "scrub/refill";

fn job<F: Future<Output = Result<Done, String>> + Send + 'static>(
    pass: impl Fn(Arc<Worker>) -> F + Send + Sync + 'static,
) -> Job {
    Box::new(move |worker| Box::pin(pass(worker)))
}

fn quiet(next: Duration) -> Result<Done, String> {
    Ok(Done { report: None, next })
}

fn words(error: ClientError) -> String {
    error.to_string()
}

/// Completes and repairs stripes that are not whole.
pub(crate) fn completion(client: Client) -> Job {
    let idle_rounds = Arc::new(AtomicU32::new(0));
    job(move |worker| {
        let (client, idle_rounds) = (client.clone(), idle_rounds.clone());
        async move {
            let first = client.meta().todos(None, 1).await.map_err(|e| e.to_string())?;
            if first.is_empty() {
                idle_rounds.store(0, Ordering::Relaxed);
                return quiet(COMPLETE_EVERY);
            }
            let report = client.complete_todos(&*worker).await.map_err(words)?;
            let rounds = if report.whole > 0 || report.shards_written > 0 {
                idle_rounds.store(0, Ordering::Relaxed);
                0
            } else {
                idle_rounds.fetch_add(1, Ordering::Relaxed) + 1
            };
            let next = (COMPLETE_EVERY * 2_u32.saturating_pow(rounds.min(16))).min(COMPLETE_EVERY_MAX);
            let text = format!(
                "{} stripes looked at: {} whole again, {} waiting for a drive, {} with too few shards; \
                 {} shards written",
                report.stripes, report.whole, report.waiting, report.lost, report.shards_written
            );
            Ok(Done { report: Some(text), next })
        }
    })
}

/// What the scrub needs beside the data path.
pub(crate) struct ScrubParts {
    pub client: Client,
    pub roster: Arc<Roster>,
    pub clock: Arc<SystemClock>,
    /// 0: only when asked.
    pub days: u32,
    /// Whether a drive is being refilled; cleared by a good pass.
    pub refill: Arc<AtomicBool>,
    /// Whether somebody asked for a pass since the last one.
    pub asked: Arc<AtomicBool>,
}

/// Reads every shard and mends what is wrong.
pub(crate) fn scrub(parts: ScrubParts) -> Job {
    let parts = Arc::new(parts);
    job(move |worker| {
        let parts = parts.clone();
        async move { parts.pass(&worker).await }
    })
}

impl ScrubParts {
    async fn pass(&self, worker: &Worker) -> Result<Done, String> {
        let asked = self.asked.swap(false, Ordering::AcqRel) || self.refill.load(Ordering::Acquire);
        if !asked && !self.is_due().await? {
            return quiet(if self.days == 0 { NEVER } else { SCRUB_LOOK_EVERY });
        }
        let before = worker.pace().limits();
        // Nobody waits for it: it takes its time, unless somebody set another pace or asked for it.
        if !asked && before.bytes_per_second.is_none() {
            let bytes_per_second = Some(self.unhurried().await);
            worker.pace().set(Limits { bytes_per_second, ..before });
        }
        let hurried = worker.pace().limits();
        let report = self.client.scrub_pass(worker).await.map_err(words);
        if worker.pace().limits() == hurried {
            worker.pace().set(before);
        }
        let report = report?;
        self.set(SCRUB_SETTING, self.clock.wall_ms().to_le_bytes().to_vec()).await?;
        if self.refill.swap(false, Ordering::AcqRel) {
            self.set(REFILL_SETTING, vec![0]).await?;
        }
        let text = format!(
            "{} blobs, {} stripes read: {} bad and {} missing shards found, {} written; {} stripes wait for a \
             drive, {} have too few shards, {} blobs have an unreadable manifest",
            report.blobs,
            report.stripes,
            report.bad_shards,
            report.missing_shards,
            report.written_shards,
            report.waiting_stripes,
            report.lost_stripes,
            report.unreadable_blobs.len()
        );
        Ok(Done { report: Some(text), next: if self.days == 0 { NEVER } else { SCRUB_LOOK_EVERY } })
    }

    /// Bytes a second at which all that there is is read in half of the days it may take.
    async fn unhurried(&self) -> u64 {
        let mut live = 0;
        for drive in self.roster.mounted() {
            live +=
                brief(drive.store.status()).await.and_then(Result::ok).map_or(0, |status| status.live_bytes);
        }
        let half_ms = (u64::from(self.days) * DAY_MS / 2).max(1);
        (live / (half_ms / 1000).max(1)).max(SCRUB_BYTES_PER_SECOND_MIN)
    }

    async fn is_due(&self) -> Result<bool, String> {
        if self.days == 0 {
            return Ok(false);
        }
        let now = self.clock.wall_ms();
        let setting = self.client.meta().setting(SCRUB_SETTING).await.map_err(|e| e.to_string())?;
        let last = setting.and_then(|(_, bytes)| bytes.try_into().ok()).map(u64::from_le_bytes);
        match last {
            // A clock that was ahead must not put the scrub off for ever.
            Some(last) => Ok(last > now || now - last >= u64::from(self.days) * DAY_MS),
            None => self.set(SCRUB_SETTING, now.to_le_bytes().to_vec()).await.map(|()| false),
        }
    }

    async fn set(&self, name: &str, value: Vec<u8>) -> Result<(), String> {
        set(&self.client, name, value).await
    }
}

/// Writes a setting that only this node writes.
pub(crate) async fn set(client: &Client, name: &str, value: Vec<u8>) -> Result<(), String> {
    client.set_setting(name.to_owned(), value).await.map_err(words)
}

/// Follows the layout: moves what older ones placed, empties drained drives.
pub(crate) fn rebalance(reshaper: Arc<Reshaper>) -> Job {
    job(move |worker| {
        let reshaper = reshaper.clone();
        async move { reshaper.follow(&worker).await }
    })
}

/// Writes buckets anew under another code.
pub(crate) fn recode(recoder: Arc<Recoder>) -> Job {
    job(move |worker| {
        let recoder = recoder.clone();
        async move { recoder.pass(&worker).await }
    })
}

/// Looks after the drives: who is there, who works, whose data is to be made whole elsewhere.
pub(crate) fn health(checkup: Arc<Checkup>) -> Job {
    job(move |_| {
        let checkup = checkup.clone();
        async move { checkup.pass().await }
    })
}

/// Frees blobs that nothing refers to any more.
pub(crate) fn garbage(client: Client) -> Job {
    job(move |worker| {
        let client = client.clone();
        async move {
            let first = client.meta().condemned(None, 1).await.map_err(|e| e.to_string())?;
            if first.is_empty() {
                return quiet(GARBAGE_EVERY);
            }
            let report = client.collect_garbage(&*worker).await.map_err(words)?;
            let text = format!(
                "{} blobs freed ({} shards deleted), {} waiting",
                report.blobs, report.shards, report.waiting
            );
            Ok(Done { report: (report.blobs > 0).then_some(text), next: GARBAGE_EVERY })
        }
    })
}

/// Moves small objects out of packs that are mostly holes, and merges small packs.
pub(crate) fn repack(client: Client) -> Job {
    job(move |worker| {
        let client = client.clone();
        async move {
            let report = client.repack(&*worker).await.map_err(words)?;
            let text = format!(
                "{} small objects ({} bytes) moved from {} packs into {}; {} packs could not be read",
                report.items, report.bytes, report.emptied, report.written, report.unreadable
            );
            let is_news = report.written > 0 || report.unreadable > 0;
            Ok(Done { report: is_news.then_some(text), next: REPACK_EVERY })
        }
    })
}

/// Deletes shards that crashed writes left.
pub(crate) fn orphans(client: Client) -> Job {
    job(move |worker| {
        let client = client.clone();
        async move {
            let report = client.collect_orphans(&*worker).await.map_err(words)?;
            let text = format!("{} shards of writes that were never finished deleted", report.orphans);
            Ok(Done { report: Some(text), next: ORPHANS_EVERY })
        }
    })
}

/// Gives the space of deleted shards back to the drives.
pub(crate) fn compaction(roster: Arc<Roster>) -> Job {
    job(move |worker| {
        let roster = roster.clone();
        async move {
            let (mut freed, mut moved, mut failure) = (0, 0, None);
            for drive in roster.mounted() {
                // A broken drive must not keep the others from it.
                let compacted = compact(drive.store.as_ref(), &worker, &mut freed, &mut moved).await;
                failure = compacted.err().or(failure);
            }
            if let Some(error) = failure {
                return Err(error.to_string());
            }
            let text = format!("{freed} bytes given back, {moved} bytes copied for it");
            Ok(Done { report: (freed > 0 || moved > 0).then_some(text), next: COMPACT_EVERY })
        }
    })
}

async fn compact(
    store: &dyn ShardStore,
    worker: &Worker,
    freed: &mut u64,
    moved: &mut u64,
) -> Result<(), StoreError> {
    loop {
        let step = store.compact(COMPACT_STEP_BYTES).await?;
        worker.spend(2 * step.moved_bytes).await;
        *freed += step.freed_bytes;
        *moved += step.moved_bytes;
        worker.progress(*freed, None);
        if step.done {
            return Ok(());
        }
    }
}

/// Forgets outcomes and leases that are over.
pub(crate) fn expiry(client: Client) -> Job {
    job(move |_| {
        let client = client.clone();
        async move {
            client.command(Command::Expire).await.map_err(words)?;
            quiet(EXPIRE_EVERY)
        }
    })
}

/// Finishes a key rotation that an earlier process did not finish.
pub(crate) fn rewrap(client: Client, vault: Arc<Vault>) -> Job {
    job(move |_| {
        let (client, vault) = (client.clone(), vault.clone());
        async move {
            let (buckets, access) = vault.rewrap(&client).await.map_err(|e| e.to_string())?;
            let text = format!("{buckets} bucket keys and {access} access keys wrapped anew");
            Ok(Done { report: (buckets + access > 0).then_some(text), next: NEVER })
        }
    })
}
