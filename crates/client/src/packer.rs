//! Packing: small objects that are written at about the same time share a chunk, one durable write and one commit.
//!
//! As with group commit, nobody waits for company while nothing is being written; what arrives during a write goes with
//! the next one, after two milliseconds at the latest, or as soon as it fills a chunk.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Mutex;

use bytes::{Bytes, BytesMut};
use futures_channel::oneshot;
use pangea_core::audit::{AuditRecord, Owner};
use pangea_core::ces::{CompressPolicy, SealChunk, seal_chunk};
use pangea_core::chunk::{Aead, Code};
use pangea_core::chunker;
use pangea_core::id::{BlobId, ChunkId};
use pangea_core::keys::{DataKey, KeyRef, WrappedKey};
use pangea_core::manifest::{BlobHead, ChunkEntry, Manifest};
use pangea_core::meta::{BlobBody, Command, Content, ItemOutcome, NewBlob, NewPack, Outcome, PackedPut};
use pangea_meta::MetaError;

use crate::budget::Grant;
use crate::client::{Client, refused};
use crate::door::ClientError;
use crate::flight::{InFlight, Undecided};
use crate::object::unexpected;
use crate::runtime::compute;

/// How long an item waits for others while an earlier pack is being written.
const GATHER_US: u64 = 2_000;
/// The most items of one pack: what they add to the metadata stays far below the longest command.
const PACK_ITEMS_MAX: usize = 1000;
/// The most bytes of keys and attributes that the items of one pack bring into the metadata.
const PACK_WORDS_MAX: usize = 2 << 20;
/// In place of the key that a pack does not have: its items have keys of their own, and no code seals or opens by this one.
pub(crate) static NO_KEY: DataKey = DataKey::new([0; 32]);

/// What items must have in common to share a pack.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct PackPlace {
    pub(crate) code: Code,
    pub(crate) region_pin: String,
}

impl PackPlace {
    /// The most payload in one pack.
    pub(crate) fn pack_bytes_max(&self) -> usize {
        chunker::chunk_bytes_max(self.code) as usize
    }
}

/// A sealed item and the put that it belongs to.
pub(crate) struct Waiting {
    /// Where the item lies is filled in here.
    pub(crate) put: PackedPut,
    pub(crate) sealed: Vec<u8>,
    /// The memory of all that, until it is stored.
    pub(crate) _grant: Grant,
}

impl Waiting {
    /// Bytes of its key and attributes.
    fn words(&self) -> usize {
        let attributes = self.put.version.attributes.iter().map(|(name, value)| name.len() + value.len());
        self.put.key.len() + attributes.sum::<usize>()
    }
}

type Answer = oneshot::Sender<Result<Outcome, ClientError>>;

/// The items that wait, by place.
#[derive(Default)]
pub(crate) struct Packer {
    queues: Mutex<BTreeMap<PackPlace, Queue>>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<(Waiting, Answer)>,
    bytes: usize,
    /// Packs that are being written.
    writers: u32,
    /// Whether a timer will look after those who wait.
    timed: bool,
}

/// What whoever queued an item has to start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Start {
    Writer,
    Timer,
    Nothing,
}

impl Packer {
    fn push(&self, place: &PackPlace, item: Waiting, answer: Answer) -> Start {
        let mut queues = self.queues.lock().expect("no code panics while it holds the queues");
        let queue = queues.entry(place.clone()).or_default();
        queue.bytes += item.sealed.len();
        queue.waiting.push((item, answer));
        let is_full = queue.bytes >= place.pack_bytes_max() || queue.waiting.len() >= PACK_ITEMS_MAX;
        if queue.writers == 0 || is_full {
            queue.writers += 1;
            return Start::Writer;
        }
        if std::mem::replace(&mut queue.timed, true) { Start::Nothing } else { Start::Timer }
    }

    /// The timer rang: whether a writer must be started.
    fn rang(&self, place: &PackPlace) -> bool {
        let mut queues = self.queues.lock().expect("no code panics while it holds the queues");
        let Some(queue) = queues.get_mut(place) else { return false };
        queue.timed = false;
        let wanted = !queue.waiting.is_empty();
        queue.writers += u32::from(wanted);
        wanted
    }

    /// What a writer writes next: as many as fit one pack, in order. If there is nothing, it is a writer no more.
    fn take(&self, place: &PackPlace) -> Vec<(Waiting, Answer)> {
        let mut queues = self.queues.lock().expect("no code panics while it holds the queues");
        let Entry::Occupied(mut entry) = queues.entry(place.clone()) else { return vec![] };
        let queue = entry.get_mut();
        let (mut bytes, mut words) = (0, 0);
        let fitting = queue.waiting.iter().take(PACK_ITEMS_MAX).take_while(|(item, _)| {
            bytes += item.sealed.len();
            words += item.words();
            bytes <= place.pack_bytes_max() && (words <= PACK_WORDS_MAX || words == item.words())
        });
        let count = fitting.count();
        let batch: Vec<_> = queue.waiting.drain(..count).collect();
        queue.bytes -= batch.iter().map(|(item, _)| item.sealed.len()).sum::<usize>();
        if batch.is_empty() {
            queue.writers -= 1;
            if queue.writers == 0 && !queue.timed {
                entry.remove();
            }
        }
        batch
    }
}

impl Client {
    /// Stores and commits an item together with others. The answer is that of a put.
    pub(crate) async fn pack(&self, place: PackPlace, item: Waiting) -> Result<Outcome, ClientError> {
        let (answer, answered) = oneshot::channel();
        match self.inner.packer.push(&place, item, answer) {
            Start::Writer => self.spawn_pack_writer(place),
            Start::Timer => {
                let client = self.clone();
                let wait = async move {
                    let inner = &client.inner;
                    inner.parts.runtime.sleep_until(inner.parts.clock.mono_us() + GATHER_US).await;
                    if inner.packer.rang(&place) {
                        client.spawn_pack_writer(place);
                    }
                };
                self.inner.parts.runtime.spawn("pack timer", Box::pin(wait));
            }
            Start::Nothing => {}
        }
        // Only a node that stops drops its tasks; then nobody knows whether the commit was written.
        answered.await.unwrap_or(Err(ClientError::Meta(MetaError::Unknown)))
    }

    fn spawn_pack_writer(&self, place: PackPlace) {
        let client = self.clone();
        let write = async move {
            loop {
                let batch = client.inner.packer.take(&place);
                if batch.is_empty() {
                    return;
                }
                client.write_pack(&place, batch).await;
            }
        };
        self.inner.parts.runtime.spawn("pack writer", Box::pin(write));
    }

    /// Writes one pack and answers everybody in it.
    async fn write_pack(&self, place: &PackPlace, mut batch: Vec<(Waiting, Answer)>) {
        batch.retain(|(_, answer)| !answer.is_canceled());
        if batch.is_empty() {
            return;
        }
        let id = BlobId(self.inner.random());
        let mut payload = BytesMut::with_capacity(batch.iter().map(|(item, _)| item.sealed.len()).sum());
        let (mut puts, mut answers, mut grants) = (vec![], vec![], vec![]);
        for (Waiting { mut put, sealed, _grant }, answer) in batch {
            if let Content::Packed(item) = &mut put.version.content {
                (item.at.blob, item.at.offset) = (id, payload.len() as u64);
            }
            payload.extend_from_slice(&sealed);
            puts.push(put);
            answers.push(answer);
            grants.push(_grant);
        }
        let outcomes = self.commit_pack(place, id, payload.freeze(), puts).await;
        drop(grants);
        // Whoever does not listen any more has gone away.
        match outcomes {
            Ok(outcomes) => {
                for (answer, outcome) in answers.into_iter().zip(outcomes) {
                    let _ = answer.send(match outcome {
                        ItemOutcome::Committed { version, null, versioned } => {
                            Ok(Outcome::Committed { version, null, versioned })
                        }
                        ItemOutcome::Refused(refusal) => Err(refused(refusal)),
                    });
                }
            }
            Err(error) => answers.into_iter().for_each(|answer| drop(answer.send(Err(for_each_of(&error))))),
        }
    }

    async fn commit_pack(
        &self,
        place: &PackPlace,
        id: BlobId,
        payload: Bytes,
        items: Vec<PackedPut>,
    ) -> Result<Vec<ItemOutcome>, ClientError> {
        let (pack, flight) = self.store_pack(place, id, payload).await?;
        let (asked, undecided) = (items.len(), Undecided::new(vec![flight]));
        let outcome = self.inner.command(Command::PutPack { pack, items }).await;
        undecided.settle(&outcome);
        match outcome? {
            Outcome::Items(outcomes) if outcomes.len() == asked => Ok(outcomes),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes a pack's payload durable; its row comes with the commit.
    pub(crate) async fn store_pack(
        &self,
        place: &PackPlace,
        id: BlobId,
        payload: Bytes,
    ) -> Result<(NewPack, InFlight), ClientError> {
        let inner = &self.inner;
        let flight = inner.flight.enter_writing(id);
        let chunk = ChunkId { blob: id, chunk: 0 };
        let layout_epoch = self.layout().epoch;
        let len = payload.len() as u64;
        let chunk_bytes = payload.len() as u32;
        let record = AuditRecord {
            owner: Owner::Pack,
            blob_len: Some(len),
            chunk_bytes,
            created_ms: inner.now_ms(),
            key: KeyRef::NONE,
            data_key: WrappedKey::NONE,
            name_hash: [0; 16],
        };
        let audit = inner.parts.keys.audit().seal(id, &record, inner.random());
        let code = place.code;
        let job = move || {
            seal_chunk(&SealChunk {
                blob: id,
                chunk: 0,
                code,
                aead: Aead::Packed,
                key: &NO_KEY,
                compress: CompressPolicy::Never,
                layout_epoch,
                audit: &audit,
                plain: &payload,
            })
        };
        let sealed = compute(&*inner.parts.runtime, job).await;
        let sealed = sealed.ok_or(ClientError::Unavailable { why: "this node is stopping".into() })?;
        let shape = sealed.shape;
        let (salt, layout_epoch, placement) = self.place_new(shape.code, chunk)?;
        let todo = self.put_stripe(sealed, &placement).await?;
        let head =
            BlobHead { chunk_bytes, aead: Aead::Packed, code, key: KeyRef::NONE, data_key: WrappedKey::NONE };
        let mut manifest = Manifest::new(head);
        manifest
            .push(ChunkEntry { shape, salt, layout_epoch })
            .map_err(|e| ClientError::Damaged { what: format!("manifest: {e:?}") })?;
        let blob = NewBlob {
            id,
            len,
            body: BlobBody::Chunked { manifest: manifest.encode() },
            spill: None,
            todos: todo.into_iter().map(|todo| (chunk, todo)).collect(),
            layout_epoch,
        };
        Ok((NewPack { blob, code, region_pin: place.region_pin.clone() }, flight))
    }
}

/// The error of a pack, for one of those in it.
fn for_each_of(error: &ClientError) -> ClientError {
    match error {
        ClientError::SlowDown => ClientError::SlowDown,
        ClientError::Full => ClientError::Full,
        ClientError::Unavailable { why } => ClientError::Unavailable { why: why.clone() },
        ClientError::Meta(MetaError::Unknown) => ClientError::Meta(MetaError::Unknown),
        ClientError::Meta(MetaError::Closed) => ClientError::Meta(MetaError::Closed),
        ClientError::Meta(MetaError::Unavailable { why }) => {
            ClientError::Meta(MetaError::Unavailable { why: why.clone() })
        }
        other => ClientError::Damaged { what: other.to_string() },
    }
}
