//! Objects: put, find, read, copy, delete.

use std::ops::Range;

use futures_util::stream::{StreamExt, TryStreamExt};
use pangea_core::audit::Owner;
use pangea_core::meta::{
    Command, Condition, Content, Deleted, ETag, Extent, NewVersion, Outcome, VersionRow, VersionSelector,
};

use crate::blob_put::{BlobPlan, Source};
use crate::client::Client;
use crate::door::{Accept, Body, ClientError, Object, PutDone, PutObject};

impl Client {
    /// Writes an object: nothing is visible before `accept` agreed and the commit was acknowledged.
    pub async fn put_object(
        &self,
        put: PutObject,
        body: Body,
        accept: Accept,
    ) -> Result<PutDone, ClientError> {
        let bucket = self.bucket(&put.bucket).await?;
        self.check_early(bucket.id, &put.key, &put.condition).await?;
        let mut source = Source::new(body, put.len);
        if let Some(small) = self.take_small(&bucket, &mut source).await? {
            return self.put_small(&bucket, put, small, accept).await;
        }
        let id = self.draw_version();
        let plan =
            BlobPlan { bucket: &bucket, object_key: &put.key, owner: Owner::Version(id), len: put.len };
        let written = self.write_blob(&plan, source).await?;
        let added = accept(&written.received).map_err(ClientError::Body)?;
        let content = match &written.blob {
            None => Content::Empty,
            Some(blob) => Content::Blob(Extent { blob: blob.id, offset: 0, len: blob.len }),
        };
        let version = NewVersion {
            id,
            size: written.received.len,
            etag: ETag { md5: written.received.md5, parts: 0 },
            content,
            attributes: merged(put.attributes, added),
            part_sizes: vec![],
        };
        let done = put_done(&version, self.inner.now_ms());
        let (bucket, condition) = (bucket.id, put.condition);
        let command = Command::PutVersion { bucket, key: put.key, condition, version, blob: written.blob };
        committed(self.commit(command, written.flight).await?, done)
    }

    /// Finds an object. A delete marker is an answer too (`version.delete_marker`) when it was asked for by id.
    pub async fn object(
        &self,
        bucket: &str,
        key: &[u8],
        version: VersionSelector,
    ) -> Result<Object, ClientError> {
        let bucket = self.bucket(bucket).await?;
        let found = self.meta().head_with_blob(bucket.id, key, version).await.map_err(ClientError::Meta)?;
        match found {
            None if version == VersionSelector::Current => Err(ClientError::NoSuchKey { marker: None }),
            None => Err(ClientError::NoSuchVersion),
            Some((row, ..)) if row.delete_marker && version == VersionSelector::Current => {
                Err(ClientError::NoSuchKey { marker: Some(row.id) })
            }
            Some((version, current, blob)) => {
                Ok(Object { bucket, key: key.to_vec(), version, current, blob })
            }
        }
    }

    /// Streams a range of an object's plaintext; the range must lie inside it.
    pub fn read(&self, object: &Object, range: Range<u64>) -> Body {
        let plain = match (&object.version.content, &object.blob) {
            (Content::Empty, _) => futures_util::stream::empty().boxed(),
            (Content::Blob(extent), Some(row)) if range.end <= extent.len => {
                let range = extent.offset + range.start..extent.offset + range.end;
                self.read_blob(extent.blob, row.clone(), range)
            }
            (Content::Packed(item), Some(row)) => {
                self.read_item(item.clone(), object.version.size, row.clone(), range)
            }
            (Content::Blob(_) | Content::Packed(_), _) => {
                let what = format!("version {} has no readable content for {range:?}", object.version.id);
                futures_util::stream::iter([Err(ClientError::Damaged { what })]).boxed()
            }
        };
        Box::pin(plain.map_err(Into::into))
    }

    /// Copies by reference; rewrites only where the target bucket's code or region differs. `put.attributes` replace the
    /// source's.
    pub async fn copy_object(&self, from: &Object, put: PutObject) -> Result<PutDone, ClientError> {
        let bucket = self.bucket(&put.bucket).await?;
        if bucket.code != from.bucket.code || bucket.region_pin != from.bucket.region_pin {
            let body = self.read(from, 0..from.version.size);
            let len = Some(from.version.size);
            return self.put_object(PutObject { len, ..put }, body, Box::new(|_| Ok(vec![]))).await;
        }
        let mut version = NewVersion {
            id: self.draw_version(),
            size: from.version.size,
            etag: from.version.etag,
            content: from.version.content.clone(),
            attributes: merged(put.attributes, vec![]),
            part_sizes: from.version.part_sizes.clone(),
        };
        let done = put_done(&version, self.inner.now_ms());
        let (bucket, key, condition) = (bucket.id, put.key, put.condition);
        loop {
            let (key, condition) = (key.clone(), condition.clone());
            let command =
                Command::PutVersion { bucket, key, condition, version: version.clone(), blob: None };
            match self.inner.command(command).await {
                Err(error @ ClientError::NoSuchKey { .. }) => match self.moved(from, &version.content).await?
                {
                    Some(content) => version.content = content,
                    None => return Err(error),
                },
                outcome => return committed(outcome?, done),
            }
        }
    }

    /// Where the bytes of a small object are now, if its pack was emptied since they were found at `was`.
    async fn moved(&self, object: &Object, was: &Content) -> Result<Option<Content>, ClientError> {
        let selector = VersionSelector::Id(object.version.id);
        let found = self.meta().version(object.bucket.id, &object.key, selector).await;
        let content = found.map_err(ClientError::Meta)?.map(|(row, _)| row.content);
        Ok(content.filter(|content| matches!(content, Content::Packed(_)) && content != was))
    }

    /// Deletes a version, or hides the key.
    pub async fn delete_object(
        &self,
        bucket: &str,
        key: &[u8],
        version: VersionSelector,
        condition: Condition,
    ) -> Result<Deleted, ClientError> {
        let bucket = self.bucket(bucket).await?.id;
        let marker = self.draw_version();
        let command = Command::DeleteVersion { bucket, key: key.to_vec(), condition, version, marker };
        match self.inner.command(command).await? {
            Outcome::Deleted(deleted) => Ok(deleted),
            other => Err(unexpected(&other)),
        }
    }

    /// Refuses a write whose condition already fails, before its body is read. The commit decides.
    async fn check_early(
        &self,
        bucket: pangea_core::id::BucketId,
        key: &[u8],
        condition: &Condition,
    ) -> Result<(), ClientError> {
        if *condition == Condition::default() {
            return Ok(());
        }
        let head = self.meta().head(bucket, key).await.map_err(ClientError::Meta)?;
        let head = head.filter(|row| !row.delete_marker);
        let matches = |wanted: &Option<ETag>, head: &VersionRow| wanted.is_none_or(|etag| etag == head.etag);
        match (&condition.if_match, &head) {
            (Some(_), None) => return Err(ClientError::NoSuchKey { marker: None }),
            (Some(wanted), Some(head)) if !matches(wanted, head) => {
                return Err(ClientError::PreconditionFailed);
            }
            _ => {}
        }
        match (&condition.if_none_match, &head) {
            (Some(unwanted), Some(head)) if matches(unwanted, head) => Err(ClientError::PreconditionFailed),
            _ => Ok(()),
        }
    }
}

/// Attributes sorted by name; an added one wins.
pub(crate) fn merged(base: Vec<(String, String)>, added: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut all: std::collections::BTreeMap<String, String> = base.into_iter().collect();
    all.extend(added);
    all.into_iter().collect()
}

pub(crate) fn put_done(version: &NewVersion, created_ms: u64) -> PutDone {
    PutDone {
        etag: version.etag,
        version: None,
        created_ms,
        size: version.size,
        attributes: version.attributes.clone(),
    }
}

pub(crate) fn committed(outcome: Outcome, done: PutDone) -> Result<PutDone, ClientError> {
    match outcome {
        Outcome::Committed { version, null, versioned } => {
            Ok(PutDone { version: versioned.then_some((version, null)), ..done })
        }
        other => Err(unexpected(&other)),
    }
}

pub(crate) fn unexpected(outcome: &Outcome) -> ClientError {
    ClientError::Damaged { what: format!("the metadata engine answered {outcome:?}") }
}
