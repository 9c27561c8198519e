//! Buckets.

use pangea_core::id::BucketId;
use pangea_core::keys::{BucketKey, KeyRef};
use pangea_core::meta::{BucketRow, Command, UsageRow, Versioning};

use crate::client::Client;
use crate::door::ClientError;

impl Client {
    /// Makes a bucket.
    pub async fn create_bucket(&self, name: &str, owner: &str) -> Result<BucketRow, ClientError> {
        let inner = &self.inner;
        let bucket = BucketRow {
            id: BucketId(inner.random()),
            name: name.into(),
            created_ms: inner.now_ms(),
            owner: owner.into(),
            code: None,
            region_pin: String::new(),
            versioning: Versioning::Off,
            key_generation: 1,
            documents: vec![],
        };
        let reference = KeyRef { bucket: bucket.id, generation: 1 };
        let bucket_key = BucketKey::new(inner.random());
        let key = inner.parts.keys.wrap_bucket_key(reference, &bucket_key, inner.random());
        inner.command(Command::CreateBucket { bucket: bucket.clone(), key }).await?;
        Ok(bucket)
    }

    /// The bucket of that name.
    pub async fn bucket(&self, name: &str) -> Result<BucketRow, ClientError> {
        let found = self.meta().bucket(name).await.map_err(ClientError::Meta)?;
        found.ok_or(ClientError::NoSuchBucket)
    }

    /// All buckets, by name.
    pub async fn buckets(&self) -> Result<Vec<BucketRow>, ClientError> {
        self.meta().buckets().await.map_err(ClientError::Meta)
    }

    /// What a bucket holds.
    pub async fn usage(&self, bucket: &BucketRow) -> Result<UsageRow, ClientError> {
        Ok(self.meta().usage(bucket.id).await.map_err(ClientError::Meta)?.unwrap_or_default())
    }

    /// Switches versioning.
    pub async fn set_versioning(&self, name: &str, versioning: Versioning) -> Result<(), ClientError> {
        self.inner.command(Command::SetVersioning { name: name.into(), versioning }).await.map(|_| ())
    }

    /// Removes an empty bucket.
    pub async fn delete_bucket(&self, name: &str) -> Result<(), ClientError> {
        self.inner.command(Command::DeleteBucket { name: name.into() }).await.map(|_| ())
    }
}
