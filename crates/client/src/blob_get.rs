//! Reading a blob: a range of its plaintext as a stream, with a bounded window of chunks fetched ahead.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use pangea_core::id::{BlobId, ChunkId};
use pangea_core::keys::{DataKey, open_small};
use pangea_core::manifest::Manifest;
use pangea_core::meta::{BlobBody, BlobRow, Extent};

use crate::client::Client;
use crate::door::ClientError;
use crate::extents::decode_extents;
use crate::flight::InFlight;
use crate::keyring::{Sealed, blob_aad};
use crate::stripe::{Opening, Stripe};

/// Pieces of plaintext, in order.
pub(crate) type Plain = BoxStream<'static, Result<Bytes, ClientError>>;

/// The most chunks fetched ahead.
const AHEAD_MAX: usize = 8;
/// Composites hold blobs in chunks, never composites; a spilled list or manifest is never spilled again.
const DEPTH_MAX: u8 = 2;

impl Client {
    /// A range of a blob's plaintext; the range must lie inside it.
    pub(crate) fn read_blob(&self, id: BlobId, row: BlobRow, range: Range<u64>) -> Plain {
        self.read_blob_at(id, row, range, 0)
    }

    fn read_blob_at(&self, id: BlobId, row: BlobRow, range: Range<u64>, depth: u8) -> Plain {
        if range.is_empty() {
            return stream::empty().boxed();
        }
        if range.end > row.len || depth > DEPTH_MAX {
            return failed(ClientError::Damaged {
                what: format!("blob {id}: {range:?} of {} bytes", row.len),
            });
        }
        let client = self.clone();
        let pin = self.inner.flight.enter(id);
        let open = async move {
            match row.body {
                BlobBody::Inline { key, sealed } => {
                    let bucket_key = client.inner.bucket_key(key).await?;
                    let opened = open_small(bucket_key.secret(), &blob_aad(Sealed::Inline, id), &sealed);
                    let plain = Bytes::from(opened.map_err(|_| damaged(id, "inline bytes do not open"))?);
                    let range = range.start as usize..range.end as usize;
                    let slice = plain.get(range.clone()).map(|_| plain.slice(range));
                    let slice = slice.ok_or_else(|| damaged(id, "inline bytes are too few"))?;
                    Ok(stream::iter([Ok(slice)]).boxed())
                }
                BlobBody::Chunked { manifest } => client.read_chunks(id, &manifest, range, pin).await,
                BlobBody::ChunkedSpilled { manifest, manifest_len } => {
                    let manifest = client.read_spill(manifest, manifest_len, depth).await?;
                    client.read_chunks(id, &manifest, range, pin).await
                }
                BlobBody::Composite { parts } => Ok(client.read_parts(parts, range, depth, pin)),
                BlobBody::CompositeSpilled { list, list_len, .. } => {
                    let list = client.read_spill(list, list_len, depth).await?;
                    let parts = decode_extents(&list).map_err(|_| damaged(id, "its list of parts"))?;
                    Ok(client.read_parts(parts, range, depth, pin))
                }
            }
        };
        stream::once(open).try_flatten().boxed()
    }

    /// The decoded manifest of a blob in chunks; `None` for other kinds.
    pub(crate) async fn manifest_of(
        &self,
        id: BlobId,
        row: &BlobRow,
    ) -> Result<Option<Manifest>, ClientError> {
        let bytes = match &row.body {
            BlobBody::Chunked { manifest } => manifest.clone(),
            BlobBody::ChunkedSpilled { manifest, manifest_len } => {
                self.read_spill(*manifest, *manifest_len, 0).await?
            }
            BlobBody::Inline { .. } | BlobBody::Composite { .. } | BlobBody::CompositeSpilled { .. } => {
                return Ok(None);
            }
        };
        Manifest::decode(&bytes).map(Some).map_err(|_| damaged(id, "its manifest"))
    }

    /// The content of a blob that holds a spilled manifest or list.
    pub(crate) async fn read_spill(&self, id: BlobId, len: u32, depth: u8) -> Result<Vec<u8>, ClientError> {
        let row = self.meta().blob(id).await.map_err(ClientError::Meta)?;
        let row = row.ok_or_else(|| damaged(id, "a spilled manifest is gone"))?;
        let mut plain = self.read_blob_at(id, row, 0..u64::from(len), depth + 1);
        let mut bytes = Vec::with_capacity(len as usize);
        while let Some(more) = plain.try_next().await? {
            bytes.extend_from_slice(&more);
        }
        Ok(bytes)
    }

    async fn read_chunks(
        &self,
        id: BlobId,
        manifest: &[u8],
        range: Range<u64>,
        pin: InFlight,
    ) -> Result<Plain, ClientError> {
        let manifest = Manifest::decode(manifest).map_err(|_| damaged(id, "its manifest"))?;
        let head = manifest.head();
        let bucket_key = self.inner.bucket_key(head.key).await?;
        let key = head
            .data_key
            .unwrap(bucket_key.secret(), &blob_aad(Sealed::DataKey, id))
            .map_err(|_| damaged(id, "its data key"))?;
        let key = Arc::new(DataKey(key));
        let config =
            self.tuned(head.code, Some(range.end - range.start)).map_err(|_| damaged(id, "its length"))?;
        let ahead = self.window(&config, head.chunk_bytes).min(AHEAD_MAX);
        let client = self.clone();
        let pin = Arc::new(pin);
        let chunks = manifest.locate(range);
        let fetch = move |(chunk, range): (u32, Range<u32>)| {
            let (client, key, pin) = (client.clone(), key.clone(), pin.clone());
            let entry = manifest.chunk(chunk).copied();
            async move {
                let _pin = pin;
                let entry = entry.ok_or_else(|| damaged(id, "its manifest is too short"))?;
                client
                    .get_range(
                        Stripe { chunk: ChunkId { blob: id, chunk }, entry, opening: Opening::Segments(key) },
                        range,
                    )
                    .await
            }
        };
        Ok(stream::iter(chunks).map(fetch).buffered(ahead).boxed())
    }

    /// The parts of a composite that a range touches, one after the other.
    fn read_parts(&self, parts: Vec<Extent>, range: Range<u64>, depth: u8, pin: InFlight) -> Plain {
        let mut start = 0_u64;
        let mut slices = vec![];
        for part in parts {
            let (from, to) = (range.start.max(start), range.end.min(start.saturating_add(part.len)));
            if from < to {
                let offset = part.offset + (from - start);
                slices.push(Extent { blob: part.blob, offset, len: to - from });
            }
            start = start.saturating_add(part.len);
        }
        let client = self.clone();
        let pin = Arc::new(pin);
        stream::iter(slices)
            .then(move |slice| {
                let (client, pin) = (client.clone(), pin.clone());
                async move {
                    let _pin = pin;
                    let row = client.meta().blob(slice.blob).await.map_err(ClientError::Meta)?;
                    let row = row.ok_or_else(|| damaged(slice.blob, "a part is gone"))?;
                    Ok(client.read_blob_at(
                        slice.blob,
                        row,
                        slice.offset..slice.offset + slice.len,
                        depth + 1,
                    ))
                }
            })
            .try_flatten()
            .boxed()
    }
}

pub(crate) fn failed(error: ClientError) -> Plain {
    stream::iter([Err(error)]).boxed()
}

pub(crate) fn damaged(blob: BlobId, what: &str) -> ClientError {
    ClientError::Damaged { what: format!("blob {blob}: {what}") }
}
