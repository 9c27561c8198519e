//! The metadata engine of the simulator: the real log and SQLite view behind the port, in virtual time.
//!
//! Commands gather for a window and become one group, as in the embedded engine; then the disks' time passes. The engine
//! itself never says whether a command whose answer is lost was carried out; this wrapper loses commands before and
//! answers after, and says [`MetaError::Unknown`] to both.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use futures_channel::oneshot;
use pangea_client::Runtime;
use pangea_core::id::{BlobId, BucketId, ChunkId, UploadId};
use pangea_core::meta::{
    AccessKeyRow, BlobRow, BucketKeyRow, BucketRow, HeadPage, KeyRange, LeaseRow, Outcome, PackEntry,
    PackRow, PartRow, Request, TodoRow, UploadRow, UsageRow, VersionPage, VersionRow, VersionSelector,
};
use pangea_meta::{Answer, InlineMeta, Meta, MetaError, MetaStatus, VersionWithBlob};

use crate::dice::Dice;
use crate::disk::SimDisk;
use crate::executor::SimRuntime;
use crate::fault::Fault;

/// The longest that a command waits for others, in microseconds.
const WINDOW_US_MAX: u64 = 500;
/// The longest that a query takes.
const QUERY_US_MAX: u64 = 200;
/// Commands of one group.
const GROUP_MAX: usize = 64;

/// What goes wrong on the way, in thousandths.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MetaWeather {
    /// Commands that never arrive.
    pub commands_lost: u64,
    /// Answers that never arrive.
    pub answers_lost: u64,
}

/// See the module.
pub struct SimMeta {
    runtime: SimRuntime,
    shared: Arc<Shared>,
}

struct Shared {
    engine: InlineMeta,
    disks: Vec<SimDisk>,
    queue: Mutex<Queue>,
}

struct Queue {
    commands: Vec<(Request, oneshot::Sender<Result<Outcome, MetaError>>)>,
    writer: Option<Waker>,
    weather: MetaWeather,
    dice: Dice,
}

impl SimMeta {
    /// Takes over an open engine whose logs lie on `disks`.
    pub fn new(runtime: SimRuntime, engine: InlineMeta, disks: Vec<SimDisk>, dice: Dice) -> Self {
        let queue = Queue { commands: Vec::new(), writer: None, weather: MetaWeather::default(), dice };
        let shared = Arc::new(Shared { engine, disks, queue: Mutex::new(queue) });
        runtime.spawn("meta writer", Box::pin(write(runtime.clone(), shared.clone())));
        Self { runtime, shared }
    }

    /// Changes what goes wrong on the way.
    pub fn set_weather(&self, weather: MetaWeather) {
        self.shared.queue().weather = weather;
    }

    async fn command(&self, request: Request) -> Result<Outcome, MetaError> {
        let (lost, answer_lost) = {
            let mut queue = self.shared.queue();
            let weather = queue.weather;
            let mut strikes = |permille| permille > 0 && queue.dice.chance(permille);
            (strikes(weather.commands_lost), strikes(weather.answers_lost))
        };
        if lost {
            self.runtime.sim().fault(Fault::CommandLost);
            return Err(MetaError::Unknown);
        }
        let (sender, answer) = oneshot::channel();
        let writer = {
            let mut queue = self.shared.queue();
            queue.commands.push((request, sender));
            queue.writer.take()
        };
        writer.into_iter().for_each(Waker::wake);
        let answer = answer.await.unwrap_or(Err(MetaError::Unknown));
        if answer_lost {
            self.runtime.sim().fault(Fault::AnswerLost);
            return Err(MetaError::Unknown);
        }
        answer
    }

    async fn travel(&self) {
        let us = self.shared.queue().dice.below(QUERY_US_MAX);
        self.runtime.sim().sleep(us).await;
    }

    async fn make_snapshot(&self) -> Result<u64, MetaError> {
        self.travel().await;
        let result = self.shared.engine.snapshot().await;
        self.shared.pay(&self.runtime).await;
        result
    }
}

/// The writer: gathers, applies, pays, answers; until its process dies.
async fn write(runtime: SimRuntime, shared: Arc<Shared>) {
    loop {
        poll_fn(|cx| {
            let mut queue = shared.queue();
            if queue.commands.is_empty() {
                queue.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        let window_us = shared.queue().dice.below(WINDOW_US_MAX);
        runtime.sim().sleep(window_us).await;
        let (requests, senders): (Vec<Request>, Vec<_>) = {
            let mut queue = shared.queue();
            let len = queue.commands.len().min(GROUP_MAX);
            queue.commands.drain(..len).unzip()
        };
        let answers = shared.engine.with_engine(|engine| engine.apply_group(requests));
        shared.pay(&runtime).await;
        match answers {
            Ok(answers) => {
                for (sender, answer) in senders.into_iter().zip(answers) {
                    // Whoever asked may have gone.
                    let _ = sender.send(answer);
                }
            }
            // Senders are dropped: nobody knows.
            Err(_) => drop(senders),
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as the slowest log drive took; for ever if the power is gone.
    async fn pay(&self, runtime: &SimRuntime) {
        if self.disks.iter().any(|disk| !disk.has_power()) {
            std::future::pending::<()>().await;
        }
        let slowest_us = self.disks.iter().map(SimDisk::take_cost).max().unwrap_or(0);
        runtime.sim().sleep(slowest_us).await;
    }
}

/// Queries go to the engine as they are, after a short way.
macro_rules! queries {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(fn $name<'a>(&'a self, $($argument: $type),*) -> Answer<'a, $answer> {
            Box::pin(async move {
                self.travel().await;
                self.shared.engine.$name($($argument),*).await
            })
        })*
    };
}

impl Meta for SimMeta {
    fn apply(&self, request: Request) -> Answer<'_, Outcome> {
        Box::pin(self.command(request))
    }

    fn snapshot(&self) -> Answer<'_, u64> {
        Box::pin(self.make_snapshot())
    }

    queries! {
        bucket(name: &'a str) -> Option<BucketRow>;
        buckets() -> Vec<BucketRow>;
        bucket_key(bucket: BucketId, generation: u32) -> Option<BucketKeyRow>;
        bucket_keys(after: Option<(BucketId, u32)>, limit: usize) -> Vec<(BucketId, u32, BucketKeyRow)>;
        usage(bucket: BucketId) -> Option<UsageRow>;
        head(bucket: BucketId, key: &'a [u8]) -> Option<VersionRow>;
        version(bucket: BucketId, key: &'a [u8], selector: VersionSelector) -> Option<(VersionRow, bool)>;
        head_with_blob(bucket: BucketId, key: &'a [u8], selector: VersionSelector) -> Option<VersionWithBlob>;
        heads(bucket: BucketId, range: KeyRange, limit: usize) -> HeadPage;
        versions(bucket: BucketId, range: KeyRange, after_seq: Option<u64>, limit: usize) -> VersionPage;
        blob(blob: BlobId) -> Option<BlobRow>;
        blobs(after: Option<BlobId>, limit: usize) -> Vec<(BlobId, BlobRow)>;
        packs(after: Option<BlobId>, limit: usize) -> Vec<(BlobId, PackRow)>;
        pack_entries(pack: BlobId, after: Option<PackEntry>, limit: usize) -> Vec<(PackEntry, u64)>;
        condemned(after: Option<(u64, BlobId)>, limit: usize) -> Vec<(u64, BlobId)>;
        upload(bucket: BucketId, key: &'a [u8], upload: UploadId) -> Option<UploadRow>;
        uploads(
            bucket: BucketId, after: Option<(Vec<u8>, UploadId)>, prefix: &'a [u8], limit: usize
        ) -> Vec<(UploadId, UploadRow)>;
        parts(upload: UploadId, after: u16, limit: usize) -> Vec<(u16, PartRow)>;
        todo(chunk: ChunkId) -> Option<TodoRow>;
        todos(after: Option<ChunkId>, limit: usize) -> Vec<(ChunkId, TodoRow)>;
        lease(name: &'a str) -> Option<LeaseRow>;
        access_key(id: &'a str) -> Option<AccessKeyRow>;
        access_keys() -> Vec<(String, AccessKeyRow)>;
        setting(name: &'a str) -> Option<(u64, Vec<u8>)>;
        status() -> MetaStatus;
    }
}
