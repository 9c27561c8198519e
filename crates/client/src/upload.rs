//! Multipart uploads: every part is a blob; completing makes a list of blobs, nothing is copied.

use std::ops::Range;

use futures_util::stream::TryStreamExt;
use pangea_core::audit::Owner;
use pangea_core::id::UploadId;
use pangea_core::manifest::MANIFEST_INLINE_BYTES_MAX;
use pangea_core::md5::Md5;
use pangea_core::meta::{
    BlobBody, BucketRow, Command, Condition, Content, ETag, Extent, NewBlob, NewVersion, PartRef, PartRow,
    UploadRow,
};

use crate::blob_put::{BlobPlan, Source};
use crate::client::Client;
use crate::door::{Accept, Body, ClientError, CompletePart, Object, PartDone, PutDone, Received, UploadPart};
use crate::extents::{EXTENT_BYTES, encode_extents};
use crate::flight::InFlight;
use crate::object::{committed, merged, put_done};

/// Parts of an upload.
pub const PARTS_MAX: u16 = 10_000;
/// Every part but the last has at least so many bytes.
pub const PART_BYTES_MIN: u64 = 5 << 20;
/// Rows of one scan.
const SCAN_PARTS: usize = 1000;

/// Asked once the parts of a completion are known and before it is committed: refuses it, or adds attributes.
pub type AcceptParts =
    Box<dyn FnOnce(&UploadRow, &[(u16, PartRow)]) -> Result<Vec<(String, String)>, ClientError> + Send>;

impl Client {
    /// Starts a multipart upload.
    pub async fn create_upload(
        &self,
        bucket: &str,
        key: &[u8],
        attributes: Vec<(String, String)>,
        owner: &str,
    ) -> Result<UploadId, ClientError> {
        let bucket = self.bucket(bucket).await?.id;
        let upload = UploadId(self.inner.random());
        let row = UploadRow {
            bucket,
            key: key.to_vec(),
            created_ms: self.inner.now_ms(),
            attributes: merged(attributes, vec![]),
            owner: owner.into(),
        };
        self.inner.command(Command::CreateUpload { upload, row }).await?;
        Ok(upload)
    }

    /// The upload, if it exists for that bucket and key.
    pub async fn upload(&self, bucket: &str, key: &[u8], upload: UploadId) -> Result<UploadRow, ClientError> {
        let bucket = self.bucket(bucket).await?;
        self.upload_in(&bucket, key, upload).await
    }

    async fn upload_in(
        &self,
        bucket: &BucketRow,
        key: &[u8],
        upload: UploadId,
    ) -> Result<UploadRow, ClientError> {
        let found = self.meta().upload(bucket.id, key, upload).await.map_err(ClientError::Meta)?;
        found.ok_or(ClientError::NoSuchUpload)
    }

    /// Writes one part.
    pub async fn put_part(
        &self,
        part: UploadPart,
        body: Body,
        accept: Accept,
    ) -> Result<PartDone, ClientError> {
        let bucket = self.bucket(&part.bucket).await?;
        self.upload_in(&bucket, &part.key, part.upload).await?;
        let owner = Owner::Upload(part.upload);
        let plan = BlobPlan { bucket: &bucket, object_key: &part.key, owner, len: part.len };
        let written = self.write_blob(&plan, Source::new(body, part.len)).await?;
        let attributes = accept(&written.received).map_err(ClientError::Body)?;
        let content = written.blob.as_ref().map(|blob| Extent { blob: blob.id, offset: 0, len: blob.len });
        let row = self.part_row(content, &written.received, attributes);
        self.commit_part(&bucket, part, row, written.blob, written.flight).await
    }

    /// Makes a part out of a range of an object, by reference. With `through`, the source's bytes pass through that body (which
    /// may hash them), and its `accept` adds the part's attributes.
    pub async fn copy_part(
        &self,
        from: &Object,
        range: Range<u64>,
        part: UploadPart,
        through: Option<(Body, Accept)>,
    ) -> Result<PartDone, ClientError> {
        let bucket = self.bucket(&part.bucket).await?;
        self.upload_in(&bucket, &part.key, part.upload).await?;
        let len = range.end - range.start;
        let is_hashed = through.is_some();
        let (body, accept) =
            through.unwrap_or_else(|| (self.read(from, range.clone()), Box::new(|_| Ok(vec![]))));
        let same = bucket.code == from.bucket.code && bucket.region_pin == from.bucket.region_pin;
        let (Content::Blob(extent), true) = (&from.version.content, same) else {
            return self.put_part(UploadPart { len: Some(len), ..part }, body, accept).await;
        };
        // The part's entity tag is the MD5 of its bytes: they are read once, but not written again.
        let known = range == (0..from.version.size) && from.version.etag.parts == 0 && !is_hashed;
        let md5 = if known { from.version.etag.md5 } else { self.md5_of(body).await? };
        let content =
            (len > 0).then_some(Extent { blob: extent.blob, offset: extent.offset + range.start, len });
        let received = Received { len, md5 };
        let attributes = accept(&received).map_err(ClientError::Body)?;
        let row = self.part_row(content, &received, attributes);
        self.commit_part(&bucket, part, row, None, vec![]).await
    }

    async fn md5_of(&self, mut body: Body) -> Result<[u8; 16], ClientError> {
        let mut digest = Md5::new();
        while let Some(bytes) = body.try_next().await.map_err(ClientError::Body)? {
            digest.update(&bytes);
        }
        Ok(digest.finish())
    }

    fn part_row(
        &self,
        content: Option<Extent>,
        received: &Received,
        attributes: Vec<(String, String)>,
    ) -> PartRow {
        let created_ms = self.inner.now_ms();
        PartRow {
            content,
            size: received.len,
            md5: received.md5,
            created_ms,
            attributes: merged(attributes, vec![]),
        }
    }

    async fn commit_part(
        &self,
        bucket: &BucketRow,
        part: UploadPart,
        row: PartRow,
        blob: Option<NewBlob>,
        flight: Vec<InFlight>,
    ) -> Result<PartDone, ClientError> {
        let done = PartDone { part: row.clone() };
        let (bucket, number, upload) = (bucket.id, part.number, part.upload);
        let command = Command::PutPart { bucket, key: part.key, upload, number, part: row, blob };
        self.commit(command, flight).await.map(|_| done)
    }

    /// Turns an upload into a version.
    pub async fn complete_upload(
        &self,
        bucket: &str,
        key: &[u8],
        upload: UploadId,
        parts: Vec<CompletePart>,
        condition: Condition,
        accept: AcceptParts,
    ) -> Result<PutDone, ClientError> {
        let bucket = self.bucket(bucket).await?;
        let row = self.upload_in(&bucket, key, upload).await?;
        let chosen = self.chosen_parts(upload, &parts).await?;
        let added = accept(&row, &chosen)?;
        let size = chosen.iter().map(|(_, part)| part.size).sum();
        let extents: Vec<Extent> = chosen.iter().filter_map(|(_, part)| part.content).collect();
        let (content, blob, flight) = self.compose(&bucket, key, upload, extents, size).await?;
        let version = NewVersion {
            id: self.draw_version(),
            size,
            etag: etag_of_parts(&chosen),
            content,
            attributes: merged(row.attributes, added),
            part_sizes: run_lengths(chosen.iter().map(|(_, part)| part.size)),
        };
        let done = put_done(&version, self.inner.now_ms());
        let refs =
            |(number, part): &(u16, PartRow)| PartRef { number: *number, blob: part.content.map(|c| c.blob) };
        let parts = chosen.iter().map(refs).collect();
        let (bucket, key) = (bucket.id, key.to_vec());
        let command = Command::CompleteUpload { bucket, key, upload, condition, parts, version, blob };
        committed(self.commit(command, flight).await?, done)
    }

    /// The rows of the listed parts, each checked against what the client says of it.
    async fn chosen_parts(
        &self,
        upload: UploadId,
        parts: &[CompletePart],
    ) -> Result<Vec<(u16, PartRow)>, ClientError> {
        if parts.is_empty() || !parts.is_sorted_by(|a, b| a.number < b.number) {
            return Err(ClientError::InvalidPartOrder);
        }
        let mut rows = std::collections::BTreeMap::new();
        let mut after = 0;
        loop {
            let page = self.meta().parts(upload, after, SCAN_PARTS).await.map_err(ClientError::Meta)?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            rows.extend(page);
        }
        let mut chosen = Vec::with_capacity(parts.len());
        for (at, part) in parts.iter().enumerate() {
            let number = part.number;
            let row = rows.remove(&number).filter(|row| row.md5 == part.md5);
            let row = row.ok_or(ClientError::InvalidPart { number })?;
            let same = |(name, value): &(String, String)| {
                row.attributes.iter().any(|(n, v)| n == name && v == value)
            };
            if !part.checksums.iter().all(same) {
                return Err(ClientError::InvalidPart { number });
            }
            if at + 1 < parts.len() && row.size < PART_BYTES_MIN {
                return Err(ClientError::PartTooSmall { number, size: row.size });
            }
            chosen.push((number, row));
        }
        Ok(chosen)
    }

    /// The content that the parts make together, and the blob that it needs, if any.
    async fn compose(
        &self,
        bucket: &BucketRow,
        key: &[u8],
        upload: UploadId,
        extents: Vec<Extent>,
        size: u64,
    ) -> Result<(Content, Option<NewBlob>, Vec<InFlight>), ClientError> {
        match extents.as_slice() {
            [] => return Ok((Content::Empty, None, vec![])),
            [only] => return Ok((Content::Blob(*only), None, vec![])),
            _ => {}
        }
        let id = pangea_core::id::BlobId(self.inner.random());
        let flight = self.inner.flight.enter(id);
        let mut blob = NewBlob {
            id,
            len: size,
            body: BlobBody::Composite { parts: vec![] },
            spill: None,
            todos: vec![],
            layout_epoch: self.layout().epoch,
        };
        let mut flights = vec![flight];
        if extents.len() * EXTENT_BYTES <= MANIFEST_INLINE_BYTES_MAX - EXTENT_BYTES {
            blob.body = BlobBody::Composite { parts: extents };
        } else {
            let list = encode_extents(&extents);
            let list_len = list.len() as u32;
            let plan = BlobPlan { bucket, object_key: key, owner: Owner::Upload(upload), len: None };
            let written = self.write_spill(&plan, list).await?;
            let spilled = written.blob.expect("a list that spills is not empty");
            flights.extend(written.flight);
            blob.body =
                BlobBody::CompositeSpilled { list: spilled.id, list_len, parts: extents.len() as u32 };
            blob.todos = spilled.todos;
            blob.layout_epoch = spilled.layout_epoch;
            blob.spill = Some((spilled.id, spilled.len, spilled.body));
        }
        Ok((Content::Blob(Extent { blob: id, offset: 0, len: size }), Some(blob), flights))
    }

    /// Gives an upload up.
    pub async fn abort_upload(&self, bucket: &str, key: &[u8], upload: UploadId) -> Result<(), ClientError> {
        let bucket = self.bucket(bucket).await?.id;
        self.inner.command(Command::AbortUpload { bucket, key: key.to_vec(), upload }).await.map(|_| ())
    }

    /// Uploads in progress, by key and id, after a position; whether more follow.
    pub async fn uploads(
        &self,
        bucket: &str,
        prefix: &[u8],
        after: Option<(Vec<u8>, UploadId)>,
        limit: usize,
    ) -> Result<(Vec<(UploadId, UploadRow)>, bool), ClientError> {
        let bucket = self.bucket(bucket).await?.id;
        let mut found =
            self.meta().uploads(bucket, after, prefix, limit + 1).await.map_err(ClientError::Meta)?;
        let more = found.len() > limit;
        found.truncate(limit);
        Ok((found, more))
    }

    /// An upload's parts after a number; whether more follow.
    pub async fn parts(
        &self,
        bucket: &str,
        key: &[u8],
        upload: UploadId,
        after: u16,
        limit: usize,
    ) -> Result<(Vec<(u16, PartRow)>, bool), ClientError> {
        self.upload(bucket, key, upload).await?;
        let mut found = self.meta().parts(upload, after, limit + 1).await.map_err(ClientError::Meta)?;
        let more = found.len() > limit;
        found.truncate(limit);
        Ok((found, more))
    }
}

/// MD5 of the parts' MD5s, and their number.
fn etag_of_parts(parts: &[(u16, PartRow)]) -> ETag {
    let mut digest = Md5::new();
    parts.iter().for_each(|(_, part)| digest.update(&part.md5));
    ETag { md5: digest.finish(), parts: parts.len() as u16 }
}

fn run_lengths(sizes: impl Iterator<Item = u64>) -> Vec<(u64, u32)> {
    let mut runs: Vec<(u64, u32)> = vec![];
    for size in sizes {
        match runs.last_mut() {
            Some((last, count)) if *last == size => *count += 1,
            _ => runs.push((size, 1)),
        }
    }
    runs
}
