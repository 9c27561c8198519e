//! [`Client`]: what the data path holds, and how a caller reaches it.

use std::ops::Range;
use std::sync::Arc;

use pangea_core::chunk::Code;
use pangea_core::id::{UploadId, VersionId};
use pangea_core::meta::{BucketRow, Condition, Deleted, PartRow, UploadRow, VersionSelector};
use pangea_core::seam::{Clock, Entropy};

use crate::door::{
    Accept, Body, ClientError, CompletePart, List, ListPage, Object, PartDone, PutDone, PutObject, UploadPart,
};
use crate::runtime::Runtime;

/// What a client is made of.
pub struct Parts {
    /// The metadata engine.
    pub meta: Arc<dyn pangea_meta::Meta>,
    /// Time, tasks, CPU.
    pub runtime: Arc<dyn Runtime>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness for ids and keys.
    pub entropy: Arc<dyn Entropy>,
}

/// Numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// The code of buckets that name none.
    pub code: Code,
}

/// The data path. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    _parts: Arc<Parts>,
}

#[allow(clippy::unused_async, unused_variables, clippy::missing_errors_doc)]
impl Client {
    /// Makes a bucket.
    pub async fn create_bucket(&self, name: &str, owner: &str) -> Result<BucketRow, ClientError> {
        Err(ClientError::SlowDown)
    }

    /// The bucket of that name.
    pub async fn bucket(&self, name: &str) -> Result<BucketRow, ClientError> {
        Err(ClientError::SlowDown)
    }

    /// All buckets, by name.
    pub async fn buckets(&self) -> Result<Vec<BucketRow>, ClientError> {
        Err(ClientError::SlowDown)
    }

    /// Removes an empty bucket.
    pub async fn delete_bucket(&self, name: &str) -> Result<(), ClientError> {
        Err(ClientError::SlowDown)
    }

    /// Writes an object: nothing is visible before `accept` agreed and the commit was acknowledged.
    pub async fn put_object(&self, put: PutObject, body: Body, accept: Accept) -> Result<PutDone, ClientError> {
        Err(ClientError::SlowDown)
    }

    /// Finds an object. A delete marker is an answer too (`version.delete_marker`) when it was asked for by id.
    pub async fn object(&self, bucket: &str, key: &[u8], version: VersionSelector) -> Result<Object, ClientError> {
        Err(ClientError::SlowDown)
    }

    /// Streams a range of an object's plaintext; the range must lie inside it.
    pub fn read(&self, object: &Object, range: Range<u64>) -> Body {
        Box::pin(futures_util::stream::empty())
    }

    /// Copies by reference. `put.attributes` replace the source's.
    pub async fn copy_object(&self, from: &Object, put: PutObject) -> Result<PutDone, ClientError> {
        Err(ClientError::SlowDown)
    }

    /// Deletes a version, or hides the key.
    pub async fn delete_object(
        &self,
        bucket: &str,
        key: &[u8],
        version: VersionSelector,
        condition: Condition,
    ) -> Result<Deleted, ClientError> {
        Err(ClientError::SlowDown)
    }

    /// Lists a bucket's current objects.
    pub async fn list(&self, bucket: &str, list: List) -> Result<ListPage, ClientError> {
        Err(ClientError::SlowDown)
    }

    /// Starts a multipart upload.
    pub async fn create_upload(
        &self,
        bucket: &str,
        key: &[u8],
        attributes: Vec<(String, String)>,
        owner: &str,
    ) -> Result<UploadId, ClientError> {
        Err(ClientError::SlowDown)
    }

    /// The upload, if it exists for that bucket and key.
    pub async fn upload(&self, bucket: &str, key: &[u8], upload: UploadId) -> Result<UploadRow, ClientError> {
        Err(ClientError::SlowDown)
    }

    /// Writes one part.
    pub async fn put_part(&self, part: UploadPart, body: Body, accept: Accept) -> Result<PartDone, ClientError> {
        Err(ClientError::SlowDown)
    }

    /// Makes a part out of a range of an object, by reference where possible.
    pub async fn copy_part(
        &self,
        from: &Object,
        range: Range<u64>,
        part: UploadPart,
    ) -> Result<PartDone, ClientError> {
        Err(ClientError::SlowDown)
    }

    /// Turns an upload into a version.
    pub async fn complete_upload(
        &self,
        bucket: &str,
        key: &[u8],
        upload: UploadId,
        parts: Vec<CompletePart>,
        condition: Condition,
        accept: Box<dyn FnOnce(&UploadRow, &[(u16, PartRow)]) -> Result<Vec<(String, String)>, ClientError> + Send>,
    ) -> Result<PutDone, ClientError> {
        Err(ClientError::SlowDown)
    }

    /// Gives an upload up.
    pub async fn abort_upload(&self, bucket: &str, key: &[u8], upload: UploadId) -> Result<(), ClientError> {
        Err(ClientError::SlowDown)
    }

    /// Uploads in progress, by key and id, after a position; whether more follow.
    pub async fn uploads(
        &self,
        bucket: &str,
        prefix: &[u8],
        after: Option<(Vec<u8>, UploadId)>,
        limit: usize,
    ) -> Result<(Vec<(UploadId, UploadRow)>, bool), ClientError> {
        Err(ClientError::SlowDown)
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
        Err(ClientError::SlowDown)
    }

    /// A fresh version id (for delete markers and tests).
    pub fn draw_version(&self) -> VersionId {
        VersionId::ZERO
    }
}
