//! Recoding: what a bucket holds is written anew under its code, in the background.
//!
//! A version's bytes are read, sealed into a new blob under the bucket's code, and only once all of that is durable does the
//! version refer to it; the old blob is garbage then. So nothing is ever less redundant than it was, and clients see no
//! difference. Small objects move between packs as repacking moves them, sealed as they are.

use futures_util::stream::TryStreamExt;
use pangea_core::audit::Owner;
use pangea_core::chunk::Code;
use pangea_core::id::BlobId;
use pangea_core::meta::{BlobBody, BlobRow, BucketRow, Command, Content, Extent, KeyRange, VersionRow};

use super::Progress;
use super::repack::RepackReport;
use crate::blob_put::{BlobPlan, Source};
use crate::client::Client;
use crate::door::{Body, ClientError};
use crate::extents::decode_extents;
use crate::packer::PackPlace;

/// Versions, and packs, of one scan.
const SCAN_ROWS: usize = 256;

/// What a pass wrote anew.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecodeReport {
    /// Versions that were looked at.
    pub versions: u64,
    /// Versions that lie in a new blob, and small objects that lie in a new pack.
    pub recoded: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that could not be written whole now: a drive is absent, slow or full.
    pub waiting: u64,
    /// Those that could not be read.
    pub unreadable: u64,
}

impl Client {
    /// Writes everything in a bucket anew that lies under another code than the bucket's.
    pub async fn recode_pass(
        &self,
        bucket: &str,
        progress: Progress<'_>,
    ) -> Result<RecodeReport, ClientError> {
        let bucket = self.bucket(bucket).await?;
        let wanted = self.inner.code(bucket.code);
        let mut report = RecodeReport::default();
        if !self.layout().active().all(|drive| self.is_present(drive.slot)) {
            // What is written now would lack a shard.
            report.waiting = 1;
            return Ok(report);
        }
        let (mut range, mut after_seq) = (KeyRange::default(), None);
        loop {
            let page = self.meta().versions(bucket.id, range.clone(), after_seq, SCAN_ROWS).await;
            let page = page.map_err(ClientError::Meta)?;
            for (key, row, _) in &page.versions {
                report.versions += 1;
                if let Content::Blob(extent) = &row.content {
                    self.recode_version(&bucket, wanted, key, row, *extent, &mut report, progress).await?;
                    progress.at(report.bytes, None);
                }
            }
            let Some((key, row, _)) = page.versions.last().filter(|_| page.more) else { break };
            (range.after, after_seq) = (Some(key.clone()), Some(row.seq));
        }
        self.recode_packs(&bucket, wanted, &mut report, progress).await?;
        Ok(report)
    }

    async fn recode_version(
        &self,
        bucket: &BucketRow,
        wanted: Code,
        key: &[u8],
        row: &VersionRow,
        seen: Extent,
        report: &mut RecodeReport,
        progress: Progress<'_>,
    ) -> Result<(), ClientError> {
        let Some(blob) = self.meta().blob(seen.blob).await.map_err(ClientError::Meta)? else { return Ok(()) };
        let differs = match self.has_other_code(seen.blob, &blob, wanted).await {
            Ok(differs) => differs,
            Err(error @ ClientError::Meta(_)) => return Err(error),
            Err(error) => {
                let passes = matches!(error, ClientError::Unavailable { .. } | ClientError::SlowDown);
                report.waiting += u64::from(passes);
                report.unreadable += u64::from(!passes);
                return Ok(());
            }
        };
        if !differs {
            return Ok(());
        }
        progress.spend(2 * seen.len).await;
        match self.write_anew(bucket, key, row, seen, blob).await {
            Ok(true) => {
                report.recoded += 1;
                report.bytes += seen.len;
            }
            Ok(false) => report.waiting += 1,
            Err(error @ (ClientError::Meta(_) | ClientError::Full)) => return Err(error),
            Err(ClientError::Unavailable { .. } | ClientError::SlowDown) => report.waiting += 1,
            Err(error) => {
                tracing::warn!(bucket = bucket.name, version = %row.id, %error, "a version could not be recoded");
                report.unreadable += 1;
            }
        }
        Ok(())
    }

    /// Whether any of a blob's stripes were meant for another code.
    async fn has_other_code(&self, id: BlobId, row: &BlobRow, wanted: Code) -> Result<bool, ClientError> {
        let parts = match &row.body {
            BlobBody::Inline { .. } => return Ok(false),
            BlobBody::Chunked { .. } | BlobBody::ChunkedSpilled { .. } => {
                let manifest = self.manifest_of(id, row).await?;
                return Ok(manifest.is_some_and(|manifest| manifest.head().code != wanted));
            }
            BlobBody::Composite { parts } => parts.clone(),
            BlobBody::CompositeSpilled { list, list_len, .. } => {
                let bytes = self.read_spill(*list, *list_len, 0).await?;
                decode_extents(&bytes)
                    .map_err(|_| ClientError::Damaged { what: format!("blob {list}: a list of parts") })?
            }
        };
        for part in parts {
            let row = self.meta().blob(part.blob).await.map_err(ClientError::Meta)?;
            let Some(row) = row else { continue };
            let manifest = self.manifest_of(part.blob, &row).await?;
            if manifest.is_some_and(|manifest| manifest.head().code != wanted) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes a version's bytes into a new blob and lets the version refer to it; `false`: not now.
    async fn write_anew(
        &self,
        bucket: &BucketRow,
        key: &[u8],
        row: &VersionRow,
        seen: Extent,
        blob: BlobRow,
    ) -> Result<bool, ClientError> {
        let len = Some(seen.len);
        let plain = self.read_blob(seen.blob, blob, seen.offset..seen.offset + seen.len);
        let body: Body = Box::pin(plain.map_err(Into::into));
        let plan = BlobPlan { bucket, object_key: key, owner: Owner::Version(row.id), len };
        let written = self.write_blob(&plan, Source::new(body, len)).await?;
        let same = row.etag.parts > 0 || written.received.md5 == row.etag.md5;
        let Some(new) = written.blob.filter(|_| same) else {
            let what = format!("version {} has other bytes than its entity tag says", row.id);
            return Err(ClientError::Damaged { what });
        };
        if !new.todos.is_empty() {
            return Ok(false);
        }
        let command = Command::ReplaceContent {
            bucket: bucket.id,
            key: key.to_vec(),
            version: row.id,
            seen,
            blob: new,
        };
        match self.commit(command, written.flight).await {
            Ok(_) => Ok(true),
            // Deleted or recoded meanwhile; what was written is garbage.
            Err(ClientError::NoSuchKey { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Moves the bucket's small objects into packs of its code.
    async fn recode_packs(
        &self,
        bucket: &BucketRow,
        wanted: Code,
        report: &mut RecodeReport,
        progress: Progress<'_>,
    ) -> Result<(), ClientError> {
        let place = PackPlace { code: wanted, region_pin: bucket.region_pin.clone() };
        let bytes_max = place.pack_bytes_max() as u64;
        loop {
            let (mut moved, mut after, mut pile, mut live) = (RepackReport::default(), None, vec![], 0);
            loop {
                let page = self.meta().packs(after, SCAN_ROWS).await.map_err(ClientError::Meta)?;
                let Some((last, _)) = page.last() else { break };
                after = Some(*last);
                for (id, row) in page.into_iter().filter(|(_, row)| row.code != wanted) {
                    if live + row.live > bytes_max && !pile.is_empty() {
                        progress.spend(2 * live).await;
                        self.rewrite(&place, &pile, Some(bucket.id), &mut moved).await?;
                        (pile, live) = (vec![], 0);
                    }
                    pile.push(id);
                    live += row.live;
                }
            }
            if !pile.is_empty() {
                progress.spend(2 * live).await;
                self.rewrite(&place, &pile, Some(bucket.id), &mut moved).await?;
            }
            report.recoded += moved.items;
            report.bytes += moved.bytes;
            report.unreadable += moved.unreadable;
            progress.at(report.bytes, None);
            if moved.items == 0 {
                return Ok(());
            }
        }
    }
}
