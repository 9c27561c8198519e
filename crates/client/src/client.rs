//! [`Client`]: what the data path holds.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use pangea_core::chunk::{Aead, Code};
use pangea_core::id::{DriveId, NodeId, RequestId, VersionId};
use pangea_core::meta::{Command, Outcome, Refusal, Request};
use pangea_core::seam::{Clock, Entropy, random};
use pangea_meta::{Meta, MetaError};
use pangea_transport::Endpoint;

use crate::budget::Budget;
use crate::buffers::Buffers;
use crate::digest::Digests;
use crate::door::ClientError;
use crate::flight::Flight;
use crate::gateways::Gateways;
use crate::keyring::{BucketKeys, KeyRing};
use crate::latency::Latency;
use crate::layouts::Layouts;
use crate::packer::Packer;
use crate::runtime::Runtime;
use crate::tuning::Metered;
use crate::worker::Mending;

/// Tries of a command whose outcome was not heard; the request id makes them one.
const COMMAND_TRIES: u32 = 5;
const COMMAND_RETRY_US: u64 = 50_000;
/// The part of all memory for chunks that buffers which nobody uses may keep.
const BUFFERS_SHARE: usize = 4;

/// What a client is made of.
pub struct Parts {
    /// The metadata engine.
    pub meta: Arc<dyn Meta>,
    /// The way to every node's drives, this one's included.
    pub endpoint: Arc<Endpoint>,
    /// Time, tasks, CPU.
    pub runtime: Arc<dyn Runtime>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness for ids and keys.
    pub entropy: Arc<dyn Entropy>,
    /// The master keys.
    pub keys: Arc<KeyRing>,
    /// The other gateways of the cluster.
    pub gateways: Arc<dyn Gateways>,
    /// Which drives are believed to work. A wrong answer costs time, never data.
    pub present: Arc<dyn Fn(NodeId, DriveId) -> bool + Send + Sync>,
}

/// Numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// The cipher of new chunks.
    pub aead: Aead,
    /// The highest zstd level of new chunks, up to 9: a busy machine or a quick sender has lower ones. 0: no compression.
    pub compress_level: u8,
    /// Objects of at most so many bytes lie in the metadata.
    pub inline_bytes_max: usize,
    /// Larger objects of at most so many bytes share chunks with others; at most 1 MiB, 0: none does.
    pub pack_bytes_max: usize,
    /// Plaintext bytes in flight of one request, at most; how many of them are used follows the machine.
    pub window_bytes: usize,
    /// Bytes of chunks in flight of all requests together. Half of them are for plaintext that is still coming, so that
    /// slow senders can never take what finished chunks need.
    pub memory_bytes: usize,
    /// How long a drive may take to answer.
    pub drive_timeout_ms: u32,
    /// How long a stripe that has its quorum waits for the rest before they become a todo.
    pub straggler_ms: u32,
    /// How long a write waits for memory before it is refused with [`crate::ClientError::SlowDown`].
    pub memory_wait_ms: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            aead: Aead::Aes256Gcm,
            compress_level: 9,
            inline_bytes_max: 4096,
            pack_bytes_max: 128 << 10,
            window_bytes: 64 << 20,
            memory_bytes: 128 << 20,
            drive_timeout_ms: 30_000,
            straggler_ms: 1_000,
            memory_wait_ms: 30_000,
        }
    }
}

/// The data path. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) parts: Parts,
    pub(crate) options: Options,
    pub(crate) layouts: Layouts,
    pub(crate) mending: Mending,
    pub(crate) bucket_keys: BucketKeys,
    /// Memory for stripes, and for all that is not `arriving`.
    pub(crate) budget: Arc<Budget>,
    /// Memory for the plaintext of chunks that are not complete yet.
    pub(crate) arriving: Arc<Budget>,
    /// CPU jobs that were asked for and are not done.
    pub(crate) cpu_jobs: Arc<AtomicUsize>,
    /// Buffers of chunks, kept from one to the next.
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) flight: Flight,
    pub(crate) packer: Packer,
    pub(crate) digests: Arc<Digests>,
    pub(crate) read_latency: Latency,
}

impl Client {
    /// A client over its parts. [`Client::refresh_layouts`] must have succeeded once before it reads or writes.
    pub fn new(mut parts: Parts, options: Options) -> Self {
        let cpu_jobs = Arc::new(AtomicUsize::new(0));
        parts.runtime = Arc::new(Metered::new(parts.runtime, cpu_jobs.clone()));
        let inner = Inner {
            layouts: Layouts::default(),
            mending: Mending::default(),
            bucket_keys: BucketKeys::default(),
            budget: Budget::new(options.memory_bytes / 2),
            arriving: Budget::new(options.memory_bytes / 2),
            cpu_jobs,
            buffers: Arc::new(Buffers::new(options.memory_bytes / BUFFERS_SHARE)),
            flight: Flight::default(),
            packer: Packer::default(),
            digests: Arc::default(),
            read_latency: Latency::default(),
            parts,
            options,
        };
        Self { inner: Arc::new(inner) }
    }

    /// A fresh version id (for delete markers and tests).
    pub fn draw_version(&self) -> VersionId {
        VersionId(self.inner.random())
    }

    /// The master keys.
    pub fn keys(&self) -> &KeyRing {
        &self.inner.parts.keys
    }

    /// The numbers of the writes that wait for memory for their next chunk, in order, up to the next number that will be
    /// given. Those that wait for long wait for others, who have memory and wait for the bytes to fill it with.
    pub fn waiting_for_memory(&self) -> std::ops::Range<u64> {
        self.inner.arriving.line()
    }

    /// The metadata engine.
    pub fn meta(&self) -> &Arc<dyn Meta> {
        &self.inner.parts.meta
    }

    /// Runs a metadata command; a lost answer is asked for again under the same request id.
    pub async fn command(&self, command: Command) -> Result<Outcome, ClientError> {
        self.inner.command(command).await
    }
}

impl Inner {
    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        random(&*self.parts.entropy)
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.parts.clock.wall_ms()
    }

    pub(crate) async fn command(&self, command: Command) -> Result<Outcome, ClientError> {
        let request = Request { id: RequestId(self.random()), now_ms: self.now_ms(), command };
        let mut tries = 0;
        loop {
            match self.parts.meta.apply(request.clone()).await {
                Ok(Outcome::Refused(refusal)) => return Err(refused(refusal)),
                Ok(outcome) => return Ok(outcome),
                Err(MetaError::Unknown) if tries < COMMAND_TRIES => {
                    tries += 1;
                    let wait = self.parts.clock.mono_us() + COMMAND_RETRY_US * u64::from(tries);
                    self.parts.runtime.sleep_until(wait).await;
                }
                // An earlier try may have been carried out: what became of a later one does not tell.
                Err(_) if tries > 0 => return Err(ClientError::Meta(MetaError::Unknown)),
                Err(error) => return Err(ClientError::Meta(error)),
            }
        }
    }

    /// The code of a bucket's new chunks.
    pub(crate) fn code(&self, bucket: Option<Code>) -> Code {
        bucket.unwrap_or_else(|| self.layouts.current().code)
    }
}

pub(crate) fn refused(refusal: Refusal) -> ClientError {
    match refusal {
        Refusal::NoSuchBucket => ClientError::NoSuchBucket,
        Refusal::BucketExists { owner } => ClientError::BucketExists { owner },
        Refusal::BucketNotEmpty => ClientError::BucketNotEmpty,
        Refusal::NoSuchKey => ClientError::NoSuchKey { marker: None },
        Refusal::NoSuchUpload => ClientError::NoSuchUpload,
        Refusal::InvalidPart { number } => ClientError::InvalidPart { number },
        Refusal::InvalidPartOrder => ClientError::InvalidPartOrder,
        Refusal::PreconditionFailed => ClientError::PreconditionFailed,
        Refusal::NoSuchBlob => ClientError::NoSuchKey { marker: None },
        Refusal::StaleEpoch { oldest } => ClientError::Unavailable {
            why: format!("the layout moved on to epoch {oldest} during the write"),
        },
        Refusal::LeaseHeld(_) => ClientError::SlowDown,
        Refusal::SettingChanged { revision } => ClientError::Unavailable {
            why: format!("a setting was changed by somebody else (revision {revision})"),
        },
        Refusal::StaleGeneration { current } => {
            ClientError::Unavailable { why: format!("a newer server took over (generation {current})") }
        }
        Refusal::Invalid(why) => {
            ClientError::Damaged { what: format!("a command that contradicts itself: {why}") }
        }
    }
}
