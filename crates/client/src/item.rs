//! Small objects on their way in and out: sealed as items of their own, read back out of their pack.
//!
//! Every attempt draws a fresh item id and a fresh data key, which seals this item and nothing else.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use pangea_core::audit::{AuditRecord, Owner, SEALED_AUDIT_BYTES};
use pangea_core::ces::OpenError;
use pangea_core::ces::item::{ITEM_OVERHEAD_BYTES, SealItem, open_item, seal_item};
use pangea_core::chunker;
use pangea_core::id::{BlobId, ChunkId};
use pangea_core::keys::{DataKey, WrappedKey};
use pangea_core::manifest::Manifest;
use pangea_core::meta::{
    BlobBody, BlobRow, BucketRow, Content, ETag, Extent, NewVersion, PackedItem, PackedPut,
};

use crate::blob_get::{Plain, damaged, failed};
use crate::blob_put::Source;
use crate::budget::Grant;
use crate::client::Client;
use crate::digest::Digesting;
use crate::door::{Accept, ClientError, PutDone, PutObject, Received};
use crate::keyring::{Sealed, blob_aad};
use crate::object::{committed, merged, put_done};
use crate::packer::{PackPlace, Waiting};
use crate::runtime::compute;
use crate::stripe::{Opening, Stripe};

/// What opens one item.
pub(crate) struct ItemKey {
    pub(crate) id: BlobId,
    pub(crate) key: DataKey,
    pub(crate) plain_len: u32,
}

impl ItemKey {
    pub(crate) fn open(&self, sealed: &[u8]) -> Result<Bytes, OpenError> {
        open_item(self.id, &self.key, self.plain_len, sealed)
    }
}

/// A body that will share a chunk with others, with the memory that it needs on the way.
pub(crate) struct Small {
    plain: Bytes,
    grant: Grant,
}

impl Client {
    /// The whole body, if it is too large for the metadata and small enough to share a chunk.
    pub(crate) async fn take_small(
        &self,
        bucket: &BucketRow,
        source: &mut Source,
    ) -> Result<Option<Small>, ClientError> {
        let options = &self.inner.options;
        let code = self.inner.code(bucket.code);
        let item_bytes_max = chunker::chunk_bytes_max(code) as usize - ITEM_OVERHEAD_BYTES;
        let packed = options.inline_bytes_max + 1..=options.pack_bytes_max.min(item_bytes_max);
        let expected = source.expected().map(|len| usize::try_from(len).unwrap_or(usize::MAX));
        if expected.is_some_and(|len| !packed.contains(&len)) || packed.is_empty() {
            return Ok(None);
        }
        // Read first: a slow sender holds these few bytes, and no grant that others wait for.
        let plain = source.fill(packed.end() + 1).await?;
        if !packed.contains(&plain.len()) {
            source.unread(plain);
            return Ok(None);
        }
        source.check_end()?;
        // The plaintext, the sealed item, and its share of the pack's stripe.
        let (k, n) = (usize::from(code.k()), usize::from(code.n()));
        let grant = self.in_time(self.inner.budget.take(plain.len() * (3 * k + n) / k)).await?;
        Ok(Some(Small { plain, grant }))
    }

    /// Writes a small object: sealed for itself, stored and committed with whatever else is written just now.
    pub(crate) async fn put_small(
        &self,
        bucket: &BucketRow,
        put: PutObject,
        small: Small,
        accept: Accept,
    ) -> Result<PutDone, ClientError> {
        let id = self.draw_version();
        let (item, received, sealed) =
            self.seal_small_object(bucket, &put.key, Owner::Version(id), small.plain).await?;
        let added = accept(&received).map_err(ClientError::Body)?;
        let version = NewVersion {
            id,
            size: received.len,
            etag: ETag { md5: received.md5, parts: 0 },
            content: Content::Packed(item),
            attributes: merged(put.attributes, added),
            part_sizes: vec![],
        };
        let done = put_done(&version, self.inner.now_ms());
        let place = PackPlace { code: self.inner.code(bucket.code), region_pin: bucket.region_pin.clone() };
        let put = PackedPut { bucket: bucket.id, key: put.key, condition: put.condition, version };
        let outcome = self.pack(place, Waiting { put, sealed, _grant: small.grant }).await?;
        committed(outcome, done)
    }

    async fn seal_small_object(
        &self,
        bucket: &BucketRow,
        object_key: &[u8],
        owner: Owner,
        plain: Bytes,
    ) -> Result<(PackedItem, Received, Vec<u8>), ClientError> {
        let inner = &self.inner;
        let (key_ref, bucket_key) = self.current_key(bucket).await?;
        let id = BlobId(inner.random());
        let key = DataKey::new(inner.random());
        let aad = blob_aad(Sealed::ItemKey, id);
        let wrapped = WrappedKey::wrap(bucket_key.secret(), key.secret(), inner.random(), &aad);
        let audit_keys = inner.parts.keys.audit();
        let record = AuditRecord {
            owner,
            blob_len: Some(plain.len() as u64),
            chunk_bytes: plain.len() as u32,
            created_ms: inner.now_ms(),
            key: key_ref,
            data_key: audit_keys.wrap(id, &key, inner.random()),
            name_hash: AuditRecord::hash_name(object_key),
        };
        let audit = audit_keys.seal(id, &record, inner.random());
        let audit: [u8; SEALED_AUDIT_BYTES] = audit.try_into().expect("a sealed audit record has one length");
        let (aead, compress) = (inner.options.aead, self.compress_policy(None));
        let mut digest = Digesting::start(self);
        digest.feed(plain.clone()).await?;
        let len = plain.len() as u64;
        let job =
            move || seal_item(&SealItem { id, aead, key: &key, compress, audit: &audit, plain: &plain });
        let sealed = compute(&*inner.parts.runtime, job)
            .await
            .ok_or(ClientError::Unavailable { why: "this node is stopping".into() })?;
        let received = Received { len, md5: digest.finish().await? };
        // Where it lies is filled in when its pack is put together.
        let at = Extent { blob: BlobId::ZERO, offset: 0, len: sealed.len() as u64 };
        Ok((PackedItem { id, at, key: key_ref, wrapped }, received, sealed))
    }

    /// The key of an item, unwrapped.
    pub(crate) async fn item_key(&self, item: &PackedItem, size: u64) -> Result<ItemKey, ClientError> {
        let bucket_key = self.inner.bucket_key(item.key).await?;
        let key = item.wrapped.unwrap(bucket_key.secret(), &blob_aad(Sealed::ItemKey, item.id));
        let key = DataKey(key.map_err(|_| damaged(item.id, "its item key"))?);
        let plain_len = u32::try_from(size).map_err(|_| damaged(item.id, "its size"))?;
        Ok(ItemKey { id: item.id, key, plain_len })
    }

    /// A range of the plaintext of an item of `size` bytes; the range must lie inside it.
    pub(crate) fn read_item(&self, item: PackedItem, size: u64, pack: BlobRow, range: Range<u64>) -> Plain {
        if range.end > size {
            return failed(damaged(item.id, "a range behind its end"));
        }
        if range.is_empty() {
            return stream::empty().boxed();
        }
        let client = self.clone();
        let pin = self.inner.flight.enter(item.at.blob);
        let open = async move {
            let _pin = pin;
            let key = client.item_key(&item, size).await?;
            let plain = client.read_packed(&item.at, &pack, Opening::Item(Arc::new(key))).await?;
            Ok(plain.slice(range.start as usize..range.end as usize))
        };
        stream::once(open).boxed()
    }

    /// What `opening` makes of a slice of a pack's payload.
    pub(crate) async fn read_packed(
        &self,
        at: &Extent,
        pack: &BlobRow,
        opening: Opening,
    ) -> Result<Bytes, ClientError> {
        let BlobBody::Chunked { manifest } = &pack.body else {
            return Err(damaged(at.blob, "it is no pack"));
        };
        let manifest = Manifest::decode(manifest).map_err(|_| damaged(at.blob, "its manifest"))?;
        let end = at.offset.checked_add(at.len).ok_or_else(|| damaged(at.blob, "an item's place"))?;
        let mut chunks = manifest.locate(at.offset..end);
        // Packs have one chunk; an item never lies in two.
        let (Some((chunk, range)), None) = (chunks.next(), chunks.next()) else {
            return Err(damaged(at.blob, "an item's place"));
        };
        let entry = manifest.chunk(chunk).copied();
        let entry = entry.filter(|_| u64::from(range.end - range.start) == at.len);
        let entry = entry.ok_or_else(|| damaged(at.blob, "an item's place"))?;
        let chunk = ChunkId { blob: at.blob, chunk };
        self.get_range(Stripe { chunk, entry, opening }, range).await
    }
}
