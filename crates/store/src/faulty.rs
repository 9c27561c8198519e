//! A store that breaks to a plan: wraps any other and answers with errors, silence or wrong bytes, from a seed.
//!
//! The same seed and the same calls give the same faults. Faults of the medium below an engine are the simulator's disk's
//! business; this one stands for a whole bad drive, as its users see it.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pangea_core::chunk::ShardHeader;
use pangea_core::id::ShardId;

use crate::port::{Compacted, Fault, IoOp, ListedShard, ShardStore, StoreError, StoreFuture, StoreStatus};

/// Chances are counted in millionths.
const MILLION: u64 = 1_000_000;

/// What a call is, for the plan and the delay hook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// `put`
    Put,
    /// `read`
    Read,
    /// `header` and `verify`
    Check,
    /// `delete`, `quarantine`, `set_generation`, `compact`
    Change,
    /// `list` and `status`
    Look,
}

/// How often what goes wrong, in millionths of the calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FaultPlan {
    /// Any call fails with an I/O error before it reaches the store.
    pub error_ppm: u64,
    /// A put or a change reaches the store, and its answer is an I/O error all the same.
    pub lost_answer_ppm: u64,
    /// A read returns bytes with one bit flipped; `verify` calls the shard corrupt.
    pub corrupt_ppm: u64,
    /// A read, `header` or `verify` says that the shard is missing.
    pub missing_ppm: u64,
}

/// How often what went wrong so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FaultCounts {
    /// Calls altogether.
    pub calls: u64,
    /// Errors before the store.
    pub errors: u64,
    /// Errors after the store.
    pub lost_answers: u64,
    /// Flipped bits and false alarms.
    pub corrupt: u64,
    /// Shards hidden.
    pub missing: u64,
}

/// Waits before a call, as the caller's time goes (the simulator's or the real one).
pub type Delay = Arc<dyn Fn(Call) -> StoreFuture<'static, ()> + Send + Sync>;

/// See the module.
pub struct Faulty {
    inner: Arc<dyn ShardStore>,
    state: Mutex<State>,
}

struct State {
    plan: FaultPlan,
    counts: FaultCounts,
    random: u64,
    delay: Option<Delay>,
}

/// What befalls one call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Fine,
    Error,
    LostAnswer,
    Corrupt { bit: u64 },
    Missing,
}

impl Faulty {
    /// Wraps a store; without a plan nothing goes wrong.
    pub fn new(inner: Arc<dyn ShardStore>, seed: u64) -> Self {
        let state =
            State { plan: FaultPlan::default(), counts: FaultCounts::default(), random: seed, delay: None };
        Self { inner, state: Mutex::new(state) }
    }

    /// From now on this goes wrong.
    pub fn set_plan(&self, plan: FaultPlan) {
        self.lock().plan = plan;
    }

    /// From now on every call waits for this first; an error of the hook is the call's.
    pub fn set_delay(&self, delay: Option<Delay>) {
        self.lock().delay = delay;
    }

    /// What went wrong so far.
    pub fn counts(&self) -> FaultCounts {
        self.lock().counts
    }

    async fn begin(&self, call: Call) -> Result<Fate, StoreError> {
        let delay = self.lock().delay.clone();
        if let Some(delay) = delay {
            delay(call).await?;
        }
        match self.lock().draw(call) {
            Fate::Error => Err(injected(call)),
            fate => Ok(fate),
        }
    }

    async fn change<T>(&self, call: Call, work: StoreFuture<'_, T>) -> Result<T, StoreError> {
        let fate = self.begin(call).await?;
        let result = work.await;
        if fate == Fate::LostAnswer { Err(injected(call)) } else { result }
    }

    async fn check<T>(&self, id: ShardId, work: StoreFuture<'_, T>) -> Result<T, StoreError> {
        match self.begin(Call::Check).await? {
            Fate::Missing => Err(StoreError::Missing(id)),
            Fate::Corrupt { .. } => Err(StoreError::Corrupt { shard: id, piece: None }),
            Fate::Fine | Fate::Error | Fate::LostAnswer => work.await,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn draw(&mut self, call: Call) -> Fate {
        self.counts.calls += 1;
        let reads = matches!(call, Call::Read | Call::Check);
        let changes = matches!(call, Call::Put | Call::Change);
        if self.chance(self.plan.error_ppm) {
            self.counts.errors += 1;
            return Fate::Error;
        }
        if changes && self.chance(self.plan.lost_answer_ppm) {
            self.counts.lost_answers += 1;
            return Fate::LostAnswer;
        }
        if reads && self.chance(self.plan.missing_ppm) {
            self.counts.missing += 1;
            return Fate::Missing;
        }
        if reads && self.chance(self.plan.corrupt_ppm) {
            self.counts.corrupt += 1;
            return Fate::Corrupt { bit: self.next() };
        }
        Fate::Fine
    }

    fn chance(&mut self, ppm: u64) -> bool {
        self.next() % MILLION < ppm
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough for dice.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn injected(call: Call) -> StoreError {
    let op = if matches!(call, Call::Put | Call::Change) { IoOp::Write } else { IoOp::Read };
    StoreError::Io(Fault { op, kind: std::io::ErrorKind::Other, os: None })
}

fn flipped(bytes: &Bytes, bit: u64) -> Bytes {
    let mut bytes = bytes.to_vec();
    if !bytes.is_empty() {
        let at = bit as usize % (bytes.len() * 8);
        bytes[at / 8] ^= 1 << (at % 8);
    }
    Bytes::from(bytes)
}

impl ShardStore for Faulty {
    fn put(&self, header: ShardHeader, data: Bytes) -> StoreFuture<'_, ()> {
        Box::pin(self.change(Call::Put, self.inner.put(header, data)))
    }

    fn read(&self, id: ShardId, pieces: Range<u8>) -> StoreFuture<'_, Bytes> {
        Box::pin(async move {
            match self.begin(Call::Read).await? {
                Fate::Missing => Err(StoreError::Missing(id)),
                Fate::Corrupt { bit } => self.inner.read(id, pieces).await.map(|bytes| flipped(&bytes, bit)),
                Fate::Fine | Fate::Error | Fate::LostAnswer => self.inner.read(id, pieces).await,
            }
        })
    }

    fn header(&self, id: ShardId) -> StoreFuture<'_, ShardHeader> {
        Box::pin(self.check(id, self.inner.header(id)))
    }

    fn verify(&self, id: ShardId) -> StoreFuture<'_, ()> {
        Box::pin(self.check(id, self.inner.verify(id)))
    }

    fn delete(&self, ids: Vec<ShardId>) -> StoreFuture<'_, ()> {
        Box::pin(self.change(Call::Change, self.inner.delete(ids)))
    }

    fn list(&self, after: Option<ShardId>, limit: usize) -> StoreFuture<'_, Vec<ListedShard>> {
        Box::pin(async move {
            self.begin(Call::Look).await?;
            self.inner.list(after, limit).await
        })
    }

    fn quarantine(&self, id: ShardId) -> StoreFuture<'_, bool> {
        Box::pin(self.change(Call::Change, self.inner.quarantine(id)))
    }

    fn status(&self) -> StoreFuture<'_, StoreStatus> {
        Box::pin(async move {
            self.begin(Call::Look).await?;
            self.inner.status().await
        })
    }

    fn set_generation(&self, meta_generation: u64, layout_epoch: u32) -> StoreFuture<'_, ()> {
        Box::pin(self.change(Call::Change, self.inner.set_generation(meta_generation, layout_epoch)))
    }

    fn compact(&self, budget_bytes: u64) -> StoreFuture<'_, Compacted> {
        Box::pin(self.change(Call::Change, self.inner.compact(budget_bytes)))
    }

    fn shutdown(&self) -> StoreFuture<'_, ()> {
        self.inner.shutdown()
    }
}
