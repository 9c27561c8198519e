//! What must hold while nobody works: everything readable, everything whole, nothing left over, nothing past its bound.

use std::collections::BTreeSet;

use pangea_client::{Client, ClientError};
use pangea_core::id::{BlobId, ShardId};
use pangea_core::layout::Role;
use pangea_core::meta::VersionSelector;
use pangea_meta::Meta;
use pangea_store::port::{LIST_MAX, ShardStore};

use super::worker::{BUCKET, ReadError, list_all, read_and_compare};
use super::{World, empty_drained, lock, unexplained};
use crate::invariant::Invariant;
use crate::linear::ABSENT;
use crate::node::Node;
use crate::report::Violation;
use crate::store::WAITING_MAX;

/// Passes after which everything must be whole.
const MEND_PASSES_MAX: u32 = 4;
/// Compaction steps of one drive after which it must be done.
const COMPACT_STEPS_MAX: u32 = 10_000;
/// Turns of collecting and compacting after which nothing needless is left.
const GARBAGE_ROUNDS: u32 = 3;
const COMPACT_BYTES: u64 = 1 << 20;
/// Tasks that a quiet cluster may have.
const QUIET_TASKS_MAX: usize = 200;

impl World {
    /// Reads every key, closes its history with what was found, and compares the listing.
    pub(super) async fn check_reads(&self, client: &Client) -> Result<(), Violation> {
        self.sim.tell(|| "reading everything".to_owned());
        let mut expected = BTreeSet::new();
        let keys = lock(&self.ledger).keys();
        for key in keys {
            let saw = match client.object(BUCKET, &key, VersionSelector::Current).await {
                Err(ClientError::NoSuchKey { .. }) => ABSENT,
                Err(error) => return Err(unexplained("finding an object in clear weather", &error)),
                Ok(object) => {
                    let size = object.version.size;
                    match read_and_compare(client, &self.ledger, &object, 0..size).await {
                        Ok(value) => value,
                        Err(ReadError::Wrong(violation)) => return Err(violation),
                        Err(ReadError::Failed(value, error)) => {
                            let key = String::from_utf8_lossy(&key).into_owned();
                            return Err(Violation::Lost { what: format!("{key} value {value}: {error}") });
                        }
                    }
                }
            };
            lock(&self.ledger).close(&key, saw)?;
            for invariant in [Invariant::I1, Invariant::I2, Invariant::I3] {
                self.sim.checked(invariant, 1);
            }
            if saw != ABSENT {
                expected.insert((key, saw));
            }
        }
        let listed =
            list_all(client, 5).await.map_err(|error| unexplained("listing in clear weather", &error))?;
        if !listed.is_sorted() || listed.into_iter().collect::<BTreeSet<_>>() != expected {
            return Err(Violation::Inconsistent { what: "the listing is not what the keys say".to_owned() });
        }
        self.sim.checked(Invariant::I3, 1);
        Ok(())
    }

    /// Faults have stopped: after a bounded number of passes every stripe has all its shards at home.
    pub(super) async fn make_whole(&self, nodes: &[Node]) -> Result<(), Violation> {
        self.sim.tell(|| "making everything whole".to_owned());
        let front = nodes[0].front.as_ref().expect("the first machine has the front");
        let (client, quiet) = (&front.client, |_: u64, _: Option<u64>| {});
        let mut last = String::new();
        for store in nodes.iter().flat_map(|node| node.stores.values()) {
            let status = store.status().await;
            self.sim.tell(|| format!("{status:?}"));
        }
        for _ in 0..MEND_PASSES_MAX {
            // Full drives take rebuilt shards again only when what nobody needs is gone.
            self.collect(nodes).await?;
            client.complete_todos(&quiet).await.map_err(|e| unexplained("completing", &e))?;
            let moved = client.rebalance_pass(&quiet).await.map_err(|e| unexplained("rebalancing", &e))?;
            empty_drained(client).await.map_err(|e| unexplained("emptying drives", &e))?;
            self.sim.tell(|| format!("rebalance: {moved:?}"));
            let scrub = client.scrub_pass(&quiet).await.map_err(|e| unexplained("scrubbing", &e))?;
            let todos = front.meta.todos(None, 10).await.map_err(|e| unexplained("reading todos", &e))?;
            let wrong = scrub.bad_shards + scrub.missing_shards + scrub.waiting_stripes + scrub.lost_stripes;
            self.sim.tell(|| format!("scrub: {scrub:?}, {} todos", todos.len()));
            let layout = client.layout();
            let settled = client.older_layouts().is_empty()
                && layout.drives.iter().all(|drive| drive.role != Role::Draining);
            if wrong == 0 && todos.is_empty() && scrub.unreadable_blobs.is_empty() && settled {
                // Older, possibly damaged, copies of the log are no longer needed behind a snapshot.
                front.meta.snapshot().await.map_err(|e| unexplained("a snapshot", &e))?;
                self.sim.checked(Invariant::I5, 1);
                self.sim.checked(Invariant::I6, 1);
                return Ok(());
            }
            last = format!("{scrub:?}, todos {todos:?}, {moved:?}, settled {settled}");
        }
        Err(Violation::NotHealed { what: last })
    }

    /// Garbage is collected: what is left on the drives is what is referenced, and bounded slack.
    pub(super) async fn check_garbage(&self, nodes: &[Node]) -> Result<(), Violation> {
        let front = nodes[0].front.as_ref().expect("the first machine has the front");
        self.collect(nodes).await?;
        let blobs = front.meta.blobs(None, LIST_MAX).await.map_err(|e| unexplained("listing blobs", &e))?;
        let live: BTreeSet<BlobId> =
            blobs.into_iter().filter(|(_, row)| row.refs > 0).map(|(id, _)| id).collect();
        let mut seen: BTreeSet<ShardId> = BTreeSet::new();
        for store in nodes.iter().flat_map(|node| node.stores.values()) {
            let listed = store.list(None, LIST_MAX).await.map_err(|e| unexplained("listing a drive", &e))?;
            let mut chunks = BTreeSet::new();
            if let Some(twice) = listed.iter().find(|line| !chunks.insert(line.id.chunk)) {
                let what = format!("shard {} lies beside another one of its chunk", twice.id);
                return Err(Violation::Crowded { what });
            }
            self.sim.checked(Invariant::I4, listed.len() as u64);
            for line in listed {
                if !live.contains(&line.id.chunk.blob) {
                    let row = front.meta.blob(line.id.chunk.blob).await;
                    let what = format!("shard {} belongs to nothing and is still there ({row:?})", line.id);
                    return Err(Violation::Unbounded { what });
                }
                if !seen.insert(line.id) {
                    return Err(Violation::Crowded { what: format!("shard {} lies on two drives", line.id) });
                }
            }
        }
        Ok(())
    }

    /// Repacking leaves no pack with more holes than its bound.
    pub(super) async fn check_packs(&self, nodes: &[Node]) -> Result<(), Violation> {
        let front = nodes[0].front.as_ref().expect("the first machine has the front");
        let (client, meta) = (&front.client, &front.meta);
        // Space for the packs that are to take what the emptied ones hold.
        self.collect(nodes).await?;
        let report = client.repack(&|_, _| {}).await.map_err(|e| unexplained("repacking", &e))?;
        self.sim.tell(|| format!("repack: {report:?}"));
        let packs = meta.packs(None, LIST_MAX).await.map_err(|e| unexplained("listing packs", &e))?;
        match packs.into_iter().find(|(_, pack)| (pack.len - pack.live) * 5 > pack.live) {
            Some((id, pack)) => Err(Violation::Unbounded { what: format!("pack {id}: {pack:?}") }),
            None => Ok(()),
        }
    }

    /// Frees what nobody refers to. A full drive takes tombstones again only after compaction: the two take turns.
    async fn collect(&self, nodes: &[Node]) -> Result<(), Violation> {
        let front = nodes[0].front.as_ref().expect("the first machine has the front");
        let (client, quiet) = (&front.client, |_: u64, _: Option<u64>| {});
        for _ in 0..GARBAGE_ROUNDS {
            let condemned = client.collect_condemned_before(u64::MAX, &quiet).await;
            let condemned = condemned.map_err(|e| unexplained("collecting garbage", &e))?;
            let orphans =
                client.collect_orphans(&quiet).await.map_err(|e| unexplained("collecting orphans", &e))?;
            self.sim.tell(|| format!("garbage: {condemned:?}, orphans {orphans:?}"));
            for store in nodes.iter().flat_map(|node| node.stores.values()) {
                self.check_drive(store.as_ref()).await?;
            }
            if condemned.waiting == 0 && orphans.orphans == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Compaction gives garbage back down to its bound.
    async fn check_drive(&self, store: &dyn ShardStore) -> Result<(), Violation> {
        for _ in 0..COMPACT_STEPS_MAX {
            let compacted = store.compact(COMPACT_BYTES).await.map_err(|e| unexplained("compacting", &e))?;
            if compacted.done {
                break;
            }
        }
        let status = store.status().await.map_err(|e| unexplained("asking a drive", &e))?;
        let options = self.cluster.store_options();
        let percent = u64::from(options.garbage_percent_max);
        let slack = 3 * options.extent_bytes_max;
        let garbage_max = (status.live_bytes + status.garbage_bytes) * percent / 100 + slack;
        if status.garbage_bytes > garbage_max {
            let what = format!("{} bytes of garbage beside {} live", status.garbage_bytes, status.live_bytes);
            return Err(Violation::Unbounded { what });
        }
        self.sim.checked(Invariant::I7, 1);
        Ok(())
    }

    /// A quiet cluster has few tasks, and no queue was ever longer than its bound.
    pub(super) fn check_bounds(&self, nodes: &[Node]) -> Result<(), Violation> {
        let (tasks, _) = self.sim.load();
        if tasks > QUIET_TASKS_MAX {
            return Err(Violation::Unbounded { what: format!("{tasks} tasks while nobody works") });
        }
        let longest =
            nodes.iter().flat_map(|node| node.stores.values()).map(|store| store.longest_queue()).max();
        if longest.is_some_and(|longest| longest > WAITING_MAX) {
            return Err(Violation::Unbounded { what: format!("{longest:?} writes waited for one commit") });
        }
        self.sim.checked(Invariant::I9, 2);
        Ok(())
    }
}
