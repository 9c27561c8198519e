//! Scrub: are the bytes right, and are all shards there? Every shard of every blob, and what is wrong is mended on the way.

use futures_util::stream::{self, StreamExt};
use pangea_core::id::{BlobId, ChunkId};
use pangea_core::meta::{BlobRow, Command};

use super::Progress;
use super::mend::{Mended, STRIPES_AT_ONCE, stripe_bytes};
use crate::client::Client;
use crate::door::ClientError;

/// Blobs of one scan.
const SCAN_BLOBS: usize = 256;

/// What a scrub found and did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ScrubReport {
    /// Blobs looked at.
    pub blobs: u64,
    /// Stripes looked at.
    pub stripes: u64,
    /// Shards whose bytes were wrong.
    pub bad_shards: u64,
    /// Shards that were not at home.
    pub missing_shards: u64,
    /// Shards that were written to make stripes whole.
    pub written_shards: u64,
    /// Stripes that wait for an absent drive.
    pub waiting_stripes: u64,
    /// Stripes with fewer good shards than needed, as far as can be seen now.
    pub lost_stripes: u64,
    /// Blobs whose manifest could not be read.
    pub unreadable_blobs: Vec<BlobId>,
}

impl Client {
    /// Looks at every shard of every blob and mends what is wrong.
    pub async fn scrub_pass(&self, progress: Progress<'_>) -> Result<ScrubReport, ClientError> {
        let mut report = ScrubReport::default();
        let mut after = None;
        loop {
            let page = self.meta().blobs(after, SCAN_BLOBS).await.map_err(ClientError::Meta)?;
            let Some((last, _)) = page.last() else { return Ok(report) };
            after = Some(*last);
            for (id, row) in page.into_iter().filter(|(_, row)| row.refs > 0) {
                self.scrub_blob(id, &row, &mut report, progress).await?;
                progress.at(report.blobs, None);
            }
        }
    }

    async fn scrub_blob(
        &self,
        id: BlobId,
        row: &BlobRow,
        report: &mut ScrubReport,
        progress: Progress<'_>,
    ) -> Result<(), ClientError> {
        report.blobs += 1;
        let manifest = match self.manifest_of(id, row).await {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return Ok(()),
            Err(error @ (ClientError::Meta(_) | ClientError::SlowDown)) => return Err(error),
            Err(error) => {
                tracing::error!(blob = %id, %error, "a manifest cannot be read");
                report.unreadable_blobs.push(id);
                return Ok(());
            }
        };
        let chunks = (0..manifest.chunks()).filter_map(|chunk| Some((chunk, *manifest.chunk(chunk)?)));
        let mended = stream::iter(chunks)
            .map(|(chunk, entry)| async move {
                let chunk = ChunkId { blob: id, chunk };
                progress.spend(stripe_bytes(&entry)).await;
                let todo = self.meta().todo(chunk).await.map_err(ClientError::Meta)?;
                let mended = self.mend(chunk, &entry, todo.as_ref()).await?;
                self.note(chunk, todo, &mended).await?;
                Ok::<Mended, ClientError>(mended)
            })
            .buffer_unordered(STRIPES_AT_ONCE);
        let mut mended = std::pin::pin!(mended);
        while let Some(mended) = mended.next().await {
            report.add(&mended?);
        }
        Ok(())
    }

    /// Brings the stripe's entry in the queue up to date with what the scrub left.
    pub(super) async fn note(
        &self,
        chunk: ChunkId,
        todo: Option<pangea_core::meta::TodoRow>,
        mended: &Mended,
    ) -> Result<(), ClientError> {
        match (todo, mended.left.clone()) {
            (None, None) => {}
            (None, Some(todo)) => drop(self.command(Command::AddTodo { chunk, todo }).await?),
            (Some(seen), left) if left.as_ref() == Some(&seen) => {}
            (Some(seen), left) => drop(self.command(Command::FinishTodo { chunk, seen, left }).await?),
        }
        Ok(())
    }
}

impl ScrubReport {
    fn add(&mut self, mended: &Mended) {
        self.stripes += 1;
        self.bad_shards += u64::from(mended.bad);
        self.missing_shards += u64::from(mended.missing);
        self.written_shards += mended.written.len() as u64;
        self.waiting_stripes += u64::from(mended.left.is_some() && !mended.lost);
        self.lost_stripes += u64::from(mended.lost);
    }
}
