//! Writing a blob: a body becomes sealed stripes, with sealing on the CPU pool, MD5 beside it, and a bounded window in flight.
//!
//! Every attempt draws a fresh blob id and a fresh data key, and seals each chunk number once; a retry is a new attempt.
//! So no nonce is ever used twice under one key.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::{Either, select};
use futures_util::stream::{FuturesOrdered, StreamExt};
use pangea_core::audit::{AuditRecord, Owner};
use pangea_core::ces::{SealChunk, seal_chunk_in};
use pangea_core::chunk::Code;
use pangea_core::chunker::{self, TooLong};
use pangea_core::id::{BlobId, ChunkId};
use pangea_core::keys::{DataKey, KeyRef, WrappedKey, seal_small};
use pangea_core::manifest::{BlobHead, ChunkEntry, Manifest};
use pangea_core::md5::Md5;
use pangea_core::meta::{BlobBody, BucketRow, NewBlob, TodoRow};

use crate::budget::Grant;
use crate::buffers::User;
use crate::client::Client;
use crate::digest::Digesting;
use crate::door::{Body, ClientError, Received};
use crate::flight::InFlight;
use crate::keyring::{Sealed, blob_aad};
use crate::runtime::compute;
use crate::tuning::bytes_a_second;

/// A blob whose shards are durable and whose row is not written yet. Dropped without a commit, it becomes garbage that
/// the collector finds.
pub(crate) struct Written {
    /// What the committing command brings along; `None`: the body was empty.
    pub(crate) blob: Option<NewBlob>,
    /// What was received.
    pub(crate) received: Received,
    /// Held until the commit was answered.
    pub(crate) flight: Vec<InFlight>,
}

/// For whom and how a blob is written.
pub(crate) struct BlobPlan<'a> {
    pub(crate) bucket: &'a BucketRow,
    pub(crate) object_key: &'a [u8],
    pub(crate) owner: Owner,
    pub(crate) len: Option<u64>,
}

/// Plaintext for which memory is asked at a time while it arrives. Little, so that many who bring next to nothing do not take
/// it all.
const ARRIVING_BYTES: usize = 64 << 10;

/// A chunk's plaintext with the memory for it and for its stripe.
struct Arrived {
    plain: Bytes,
    /// Given back once it is sealed.
    memory: Grant,
    stripe: Grant,
    /// Bytes a second at which it came, if there was time to tell.
    bandwidth: Option<u64>,
}

/// What is the same for every chunk of a blob.
struct Sealing {
    buffers: User,
    blob: BlobId,
    code: Code,
    key: DataKey,
    audit: Vec<u8>,
    chunk_bytes: u32,
}

impl Client {
    /// Writes a body as a blob: inline if it is small, else in chunks.
    pub(crate) async fn write_blob(
        &self,
        plan: &BlobPlan<'_>,
        mut source: Source,
    ) -> Result<Written, ClientError> {
        let inline_max = self.inner.options.inline_bytes_max;
        if plan.len.is_none_or(|len| len <= inline_max as u64) {
            let start = source.fill(inline_max + 1).await?;
            if start.len() <= inline_max {
                source.check_end()?;
                return self.inline_blob(plan, &start).await;
            }
            source.unread(start);
        }
        self.chunked_blob(plan, source).await
    }

    async fn inline_blob(&self, plan: &BlobPlan<'_>, bytes: &[u8]) -> Result<Written, ClientError> {
        let received = Received { len: bytes.len() as u64, md5: Md5::hash(bytes) };
        if bytes.is_empty() {
            return Ok(Written { blob: None, received, flight: vec![] });
        }
        let (key, bucket_key) = self.current_key(plan.bucket).await?;
        let id = BlobId(self.inner.random());
        let sealed =
            seal_small(bucket_key.secret(), self.inner.random(), &blob_aad(Sealed::Inline, id), bytes);
        let blob = NewBlob {
            id,
            len: received.len,
            body: BlobBody::Inline { key, sealed },
            spill: None,
            todos: vec![],
            layout_epoch: self.layout().epoch,
        };
        Ok(Written { blob: Some(blob), received, flight: vec![] })
    }

    pub(crate) async fn current_key(
        &self,
        bucket: &BucketRow,
    ) -> Result<(KeyRef, Arc<pangea_core::keys::BucketKey>), ClientError> {
        let key = KeyRef { bucket: bucket.id, generation: bucket.key_generation };
        Ok((key, self.inner.bucket_key(key).await?))
    }

    async fn chunked_blob(&self, plan: &BlobPlan<'_>, mut source: Source) -> Result<Written, ClientError> {
        let code = self.inner.code(plan.bucket.code);
        let config = self.tuned(code, plan.len).map_err(too_long)?;
        let chunk_bytes = config.chunk_bytes;
        let (sealing, head) = self.begin(plan, code, chunk_bytes).await?;
        let sealing = Arc::new(sealing);
        let flight = self.inner.flight.enter_writing(sealing.blob);
        let mut landed = Landed { manifest: Manifest::new(head), todos: vec![], oldest_epoch: u32::MAX };
        let mut stripes = FuturesOrdered::new();
        let window = self.window(&config, chunk_bytes);
        let mut digest = Digesting::start(self);
        for chunk in 0_u32.. {
            // Earlier stripes make progress while the next chunk is read.
            let next = {
                let mut next = std::pin::pin!(self.next_chunk(&mut source, chunk_bytes, code));
                loop {
                    if stripes.is_empty() {
                        break next.await?;
                    }
                    match select(next.as_mut(), stripes.next()).await {
                        Either::Left((chunk, _)) => break chunk?,
                        Either::Right((stripe, _)) => landed.absorb(sealing.blob, stripe)?,
                    }
                }
            };
            let Some(arrived) = next else { break };
            digest.feed(arrived.plain.clone()).await?;
            stripes.push_back(self.seal_and_put(sealing.clone(), chunk, arrived));
            while stripes.len() >= window {
                landed.absorb(sealing.blob, stripes.next().await)?;
            }
        }
        while !stripes.is_empty() {
            landed.absorb(sealing.blob, stripes.next().await)?;
        }
        source.check_end()?;
        let received = Received { len: source.received, md5: digest.finish().await? };
        self.conclude(plan, sealing.blob, landed, received, flight).await
    }

    /// Draws the blob's id and key and everything that hangs on them.
    async fn begin(
        &self,
        plan: &BlobPlan<'_>,
        code: Code,
        chunk_bytes: u32,
    ) -> Result<(Sealing, BlobHead), ClientError> {
        let inner = &self.inner;
        let (key_ref, bucket_key) = self.current_key(plan.bucket).await?;
        let blob = BlobId(inner.random());
        let key = DataKey::new(inner.random());
        let data_key = WrappedKey::wrap(
            bucket_key.secret(),
            key.secret(),
            inner.random(),
            &blob_aad(Sealed::DataKey, blob),
        );
        let audit_keys = inner.parts.keys.audit();
        let record = AuditRecord {
            owner: plan.owner,
            blob_len: plan.len,
            chunk_bytes,
            created_ms: inner.now_ms(),
            key: key_ref,
            data_key: audit_keys.wrap(blob, &key, inner.random()),
            name_hash: AuditRecord::hash_name(plan.object_key),
        };
        let audit = audit_keys.seal(blob, &record, inner.random());
        let head = BlobHead { chunk_bytes, aead: inner.options.aead, code, key: key_ref, data_key };
        Ok((Sealing { buffers: inner.buffers.user(), blob, code, key, audit, chunk_bytes }, head))
    }

    /// The next chunk; `None` at the end. Memory is taken as its bytes come, so that a slow sender holds what it sent and no
    /// more, and for its stripe when it is complete.
    async fn next_chunk(
        &self,
        source: &mut Source,
        chunk_bytes: u32,
        code: Code,
    ) -> Result<Option<Arrived>, ClientError> {
        if source.at_end().await? {
            return Ok(None);
        }
        let clock = &self.inner.parts.clock;
        let mut memory = self.inner.arriving.nothing();
        let (start_us, mut paused_us) = (clock.mono_us(), 0);
        let mut gathering = source.gather(chunk_bytes as usize);
        let plain = loop {
            let wanted = gathering.len_next().next_multiple_of(ARRIVING_BYTES).min(chunk_bytes as usize);
            let asked_us = clock.mono_us();
            self.in_time(memory.grow_to(wanted)).await?;
            paused_us += clock.mono_us().saturating_sub(asked_us);
            if let Some(plain) = gathering.go_on(source).await? {
                break plain;
            }
        };
        let took_us = clock.mono_us().saturating_sub(start_us).saturating_sub(paused_us);
        let bandwidth = bytes_a_second(plain.len(), took_us);
        let stripe_bytes = chunk_bytes as usize * usize::from(code.n()) / usize::from(code.k());
        let stripe = self.in_time(self.inner.budget.take(stripe_bytes)).await?;
        Ok(Some(Arrived { plain, memory, stripe, bandwidth }))
    }

    async fn seal_and_put(
        &self,
        sealing: Arc<Sealing>,
        chunk: u32,
        arrived: Arrived,
    ) -> Result<(ChunkEntry, Option<TodoRow>), ClientError> {
        let inner = &self.inner;
        let Arrived { plain, memory, stripe, bandwidth } = arrived;
        assert!(plain.len() <= sealing.chunk_bytes as usize, "a chunk is cut where it is read");
        let id = ChunkId { blob: sealing.blob, chunk };
        let layout_epoch = self.layout().epoch;
        let aead = inner.options.aead;
        let compress = self.compress_policy(bandwidth);
        let job = move || {
            let (blob, code, key, audit) = (sealing.blob, sealing.code, &sealing.key, &sealing.audit[..]);
            let plain = &plain[..];
            let job = SealChunk { blob, chunk, code, aead, key, compress, layout_epoch, audit, plain };
            sealing.buffers.with_stripe(|room| {
                let sealed = seal_chunk_in(&job, room);
                // With what a compressed stripe leaves of its memory.
                let bytes = sealed.shards.iter().map(Bytes::len).sum::<usize>() + room.capacity();
                (sealed, bytes)
            })
        };
        let sealed = compute(&*inner.parts.runtime, job).await;
        let sealed = sealed.ok_or(ClientError::Unavailable { why: "this node is stopping".into() })?;
        drop(memory);
        let shape = sealed.shape;
        // A short chunk has fewer shards, and is looked for as what it is.
        let (salt, layout_epoch, placement) = self.place_new(shape.code, id)?;
        let todo = self.put_stripe(sealed, &placement).await?;
        drop(stripe);
        Ok((ChunkEntry { shape, salt, layout_epoch }, todo))
    }

    /// Turns the manifest into the row that the commit writes, spilling it into a blob of its own if it is large.
    async fn conclude(
        &self,
        plan: &BlobPlan<'_>,
        id: BlobId,
        landed: Landed,
        received: Received,
        flight: InFlight,
    ) -> Result<Written, ClientError> {
        let Landed { manifest, mut todos, oldest_epoch } = landed;
        let mut layout_epoch = oldest_epoch.min(self.layout().epoch);
        let encoded = manifest.encode();
        let mut flights = vec![flight];
        let (body, spill) = if manifest.spills() {
            let manifest_len = encoded.len() as u32;
            let written = self.write_spill(plan, encoded).await?;
            let spilled = written.blob.expect("a manifest that spills is not empty");
            if spilled.spill.is_some() {
                // Terabytes in one blob on very few drives: parts of an upload are far smaller.
                return Err(too_long(TooLong { bytes: received.len }));
            }
            flights.extend(written.flight);
            layout_epoch = layout_epoch.min(spilled.layout_epoch);
            todos.extend(spilled.todos);
            let body = BlobBody::ChunkedSpilled { manifest: spilled.id, manifest_len };
            (body, Some((spilled.id, spilled.len, spilled.body)))
        } else {
            (BlobBody::Chunked { manifest: encoded }, None)
        };
        let blob = NewBlob { id, len: received.len, body, spill, todos, layout_epoch };
        Ok(Written { blob: Some(blob), received, flight: flights })
    }

    /// Writes a manifest or list that is too large for its row as the content of a blob in chunks.
    pub(crate) async fn write_spill(
        &self,
        plan: &BlobPlan<'_>,
        bytes: Vec<u8>,
    ) -> Result<Written, ClientError> {
        let len = Some(bytes.len() as u64);
        let body: Body = Box::pin(futures_util::stream::iter([Ok(Bytes::from(bytes))]));
        let plan = BlobPlan { bucket: plan.bucket, object_key: plan.object_key, owner: plan.owner, len };
        Box::pin(self.chunked_blob(&plan, Source::new(body, len))).await
    }
}

/// Stripes that are durable, in order.
struct Landed {
    manifest: Manifest,
    todos: Vec<(ChunkId, TodoRow)>,
    oldest_epoch: u32,
}

impl Landed {
    fn absorb(
        &mut self,
        blob: BlobId,
        stripe: Option<Result<(ChunkEntry, Option<TodoRow>), ClientError>>,
    ) -> Result<(), ClientError> {
        let (entry, todo) = stripe.expect("asked only while stripes are out")?;
        let id = ChunkId { blob, chunk: self.manifest.chunks() };
        self.oldest_epoch = self.oldest_epoch.min(entry.layout_epoch);
        self.manifest.push(entry).map_err(|e| ClientError::Damaged { what: format!("manifest: {e:?}") })?;
        self.todos.extend(todo.map(|todo| (id, todo)));
        Ok(())
    }
}

/// A body that is read in slices of any size, and whose length is watched.
pub(crate) struct Source {
    body: Body,
    expected: Option<u64>,
    received: u64,
    rest: Bytes,
    ended: bool,
}

impl Source {
    pub(crate) fn new(body: Body, expected: Option<u64>) -> Self {
        Self { body, expected, received: 0, rest: Bytes::new(), ended: false }
    }

    /// The length that was announced.
    pub(crate) fn expected(&self) -> Option<u64> {
        self.expected
    }

    /// The next `bytes` bytes, fewer at the end only. One copy, unless a single buffer of the body has them all.
    pub(crate) async fn fill(&mut self, bytes: usize) -> Result<Bytes, ClientError> {
        if self.at_end().await? {
            return Ok(Bytes::new());
        }
        let mut gathering = self.gather(bytes);
        loop {
            if let Some(all) = gathering.go_on(self).await? {
                return Ok(all);
            }
        }
    }

    /// Begins to gather `bytes` bytes; some are here already, unless this is the end.
    fn gather(&self, bytes: usize) -> Gathering {
        Gathering { wanted: bytes, gathered: BytesMut::new(), next: self.rest.len().min(bytes) }
    }

    /// Puts bytes that were taken back in front.
    pub(crate) fn unread(&mut self, bytes: Bytes) {
        if self.rest.is_empty() {
            self.rest = bytes;
        } else {
            let mut all = BytesMut::with_capacity(bytes.len() + self.rest.len());
            all.extend_from_slice(&bytes);
            all.extend_from_slice(&self.rest);
            self.rest = all.freeze();
        }
    }

    /// How much to reserve for `bytes`: no more than the body can still bring.
    fn room(&self, bytes: usize) -> usize {
        let left = self.expected.map_or(u64::MAX, |expected| expected.saturating_sub(self.received));
        bytes.min(usize::try_from(left).unwrap_or(usize::MAX).saturating_add(self.rest.len()))
    }

    /// Whether everything was taken; reads on if that is not known yet.
    async fn at_end(&mut self) -> Result<bool, ClientError> {
        while self.rest.is_empty() && !self.ended {
            match self.body.next().await {
                Some(bytes) => {
                    self.rest = bytes.map_err(ClientError::Body)?;
                    self.received += self.rest.len() as u64;
                    if let Some(expected) = self.expected
                        && self.received > expected
                    {
                        return Err(ClientError::WrongLength { expected, received: self.received });
                    }
                }
                None => self.ended = true,
            }
        }
        Ok(self.rest.is_empty())
    }

    pub(crate) fn check_end(&self) -> Result<(), ClientError> {
        match self.expected {
            Some(expected) if expected != self.received => {
                Err(ClientError::WrongLength { expected, received: self.received })
            }
            _ => Ok(()),
        }
    }
}

/// Bytes of a body that are put together, one buffer of the body at a time.
struct Gathering {
    wanted: usize,
    gathered: BytesMut,
    /// Bytes that are here and come next.
    next: usize,
}

impl Gathering {
    /// How many there will be after the next step.
    fn len_next(&self) -> usize {
        self.gathered.len() + self.next
    }

    /// Takes what is here and waits for what comes next. `Some` once all are there, or the body has ended.
    async fn go_on(&mut self, source: &mut Source) -> Result<Option<Bytes>, ClientError> {
        if self.gathered.is_empty() && self.next == self.wanted {
            return Ok(Some(source.rest.split_to(self.wanted)));
        }
        if self.gathered.is_empty() {
            self.gathered.reserve(source.room(self.wanted));
        }
        self.gathered.extend_from_slice(&source.rest.split_to(self.next));
        if self.gathered.len() == self.wanted || source.at_end().await? {
            return Ok(Some(std::mem::take(&mut self.gathered).freeze()));
        }
        self.next = source.rest.len().min(self.wanted - self.gathered.len());
        Ok(None)
    }
}

fn too_long(TooLong { bytes }: TooLong) -> ClientError {
    ClientError::WrongLength { expected: chunker::BLOB_BYTES_MAX, received: bytes }
}
