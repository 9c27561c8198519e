//! Names: what a command names before anything was read.
//!
//! Owns two lists. *Brought* ids were drawn by the caller for things that do not exist yet, so their rows are taken to be
//! absent without looking, and written by an insert that fails if they are there after all. *Claims* keep commands about
//! one thing out of two batches at once: a wrong or missing claim costs a retry and nothing else.

use std::collections::BTreeSet;

use pangea_core::id::{BlobId, BucketId};
use pangea_core::meta::{Command, Content, NewBlob, Request, TableId};

/// A row's place.
pub(crate) type RowKey = (TableId, Vec<u8>);

/// Ids of things that a batch of commands brings into being.
#[derive(Default)]
pub(crate) struct Brought {
    requests: BTreeSet<[u8; 16]>,
    blobs: BTreeSet<[u8; 16]>,
}

impl Brought {
    /// What these requests bring.
    pub(crate) fn by<'a>(requests: impl Iterator<Item = &'a Request>) -> Self {
        let mut brought = Self::default();
        for request in requests {
            brought.requests.insert(request.id.0);
            let blob = match &request.command {
                Command::PutVersion { blob, .. }
                | Command::PutPart { blob, .. }
                | Command::CompleteUpload { blob, .. } => blob.as_ref(),
                Command::ReplaceContent { blob, .. } => Some(blob),
                Command::PutPack { pack, .. } | Command::MovePacked { pack, .. } => Some(&pack.blob),
                _ => None,
            };
            if let Some(NewBlob { id, spill, .. }) = blob {
                brought.blobs.insert(id.0);
                brought.blobs.extend(spill.as_ref().map(|(id, ..)| id.0));
            }
        }
        brought
    }

    /// The row whose absence makes this one's certain, if there is one.
    pub(crate) fn absent_with(&self, table: TableId, key: &[u8]) -> Option<RowKey> {
        let id = key.get(..16).and_then(|id| <[u8; 16]>::try_from(id).ok())?;
        match table {
            TableId::Outcome => self.requests.contains(&id).then(|| (table, id.to_vec())),
            // What belongs to a blob is there only if the blob is.
            TableId::Blob | TableId::Todo | TableId::Pack | TableId::PackEntry => {
                self.blobs.contains(&id).then(|| (TableId::Blob, id.to_vec()))
            }
            _ => None,
        }
    }
}

/// What a command must have for itself among the batches of this engine.
pub(crate) struct Claims {
    /// The things.
    pub(crate) keys: Vec<RowKey>,
    /// Whether it must be a batch of its own: what it changes is read by commands of other kinds.
    pub(crate) alone: bool,
}

fn head(bucket: BucketId, key: &[u8]) -> RowKey {
    (TableId::Head, [&bucket.0[..], key].concat())
}

fn blob(id: BlobId) -> RowKey {
    (TableId::Blob, id.0.to_vec())
}

/// What `request` claims.
pub(crate) fn claims(request: &Request) -> Claims {
    let mut keys = vec![(TableId::Outcome, request.id.0.to_vec())];
    let mut alone = true;
    match &request.command {
        Command::PutVersion { bucket, key, version, blob: brought, .. } => {
            keys.push(head(*bucket, key));
            if let (Content::Blob(extent), None) = (&version.content, brought) {
                keys.push(blob(extent.blob));
            }
            alone = false;
        }
        Command::DeleteVersion { bucket, key, .. }
        | Command::SetAttribute { bucket, key, .. }
        | Command::CompleteUpload { bucket, key, .. }
        | Command::AbortUpload { bucket, key, .. } => {
            keys.push(head(*bucket, key));
            alone = false;
        }
        Command::ReplaceContent { bucket, key, seen, .. } => {
            keys.extend([head(*bucket, key), blob(seen.blob)]);
            alone = false;
        }
        Command::PutPack { items, .. } => {
            keys.extend(items.iter().map(|item| head(item.bucket, &item.key)));
            alone = false;
        }
        Command::CreateUpload { upload, .. } => {
            keys.push((TableId::Upload, upload.0.to_vec()));
            alone = false;
        }
        Command::PutPart { upload, number, .. } => {
            keys.push((TableId::Part, [&upload.0[..], &number.to_be_bytes()].concat()));
            alone = false;
        }
        Command::AddTodo { chunk, .. } | Command::FinishTodo { chunk, .. } => {
            keys.push((TableId::Todo, [&chunk.blob.0[..], &chunk.chunk.to_be_bytes()].concat()));
            alone = false;
        }
        Command::MovePacked { moves, .. } => keys.extend(moves.iter().map(|item| blob(item.from.blob))),
        Command::Purge { blobs } => keys.extend(blobs.iter().map(|(id, _)| blob(*id))),
        Command::CreateBucket { .. }
        | Command::DeleteBucket { .. }
        | Command::SetVersioning { .. }
        | Command::SetCode { .. }
        | Command::SetDocument { .. }
        | Command::PutBucketKey { .. } => keys.push((TableId::Bucket, Vec::new())),
        Command::AcquireLease { .. } | Command::ReleaseLease { .. } | Command::StartGeneration { .. } => {
            keys.push((TableId::State, Vec::new()));
        }
        Command::PutAccessKey { id, .. }
        | Command::ReplaceAccessKey { id, .. }
        | Command::DeleteAccessKey { id } => keys.push((TableId::AccessKey, id.as_bytes().to_vec())),
        Command::SetSettings { settings } => {
            keys.extend(settings.iter().map(|(name, ..)| (TableId::Setting, name.as_bytes().to_vec())));
        }
        Command::SetSetting { name, .. } => keys.push((TableId::Setting, name.as_bytes().to_vec())),
        Command::Expire => keys.push((TableId::OutcomeAge, Vec::new())),
    }
    Claims { keys, alone }
}
