//! Keys on the data path: the master keys that the node unsealed, and the bucket keys that they unwrap.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};

use pangea_core::audit::AuditKeys;
use pangea_core::id::{BlobId, BucketId};
use pangea_core::keys::{BucketKey, KeyRef, MasterKey, PURPOSE_BUCKET_KEYS, WrappedKey, derive};
use pangea_core::meta::BucketKeyRow;

use crate::client::Inner;
use crate::door::ClientError;

/// Bucket keys that are remembered.
const BUCKET_KEYS_MAX: usize = 4096;

/// The master keys, by generation; the newest wraps and seals, all of them open.
pub struct KeyRing {
    masters: RwLock<BTreeMap<u32, Arc<MasterKey>>>,
}

impl KeyRing {
    /// A ring of at least one master key.
    ///
    /// # Panics
    /// If there is none: a node does not start without a master key.
    pub fn new(masters: impl IntoIterator<Item = (u32, MasterKey)>) -> Self {
        let masters: BTreeMap<_, _> = masters.into_iter().map(|(g, key)| (g, Arc::new(key))).collect();
        assert!(!masters.is_empty(), "a node does not start without a master key");
        Self { masters: RwLock::new(masters) }
    }

    /// Adds a newer generation (a rotation).
    pub fn add(&self, generation: u32, master: MasterKey) {
        self.masters.write().expect("a map does not panic").insert(generation, Arc::new(master));
    }

    /// The newest master key and its generation.
    pub fn newest(&self) -> (u32, Arc<MasterKey>) {
        let masters = self.masters.read().expect("a map does not panic");
        let (generation, master) = masters.last_key_value().expect("a ring has a key");
        (*generation, master.clone())
    }

    /// The master key of a generation.
    pub fn master(&self, generation: u32) -> Option<Arc<MasterKey>> {
        self.masters.read().expect("a map does not panic").get(&generation).cloned()
    }

    /// Wraps a bucket key under the newest master key.
    pub fn wrap_bucket_key(&self, key: KeyRef, bucket_key: &BucketKey, nonce: [u8; 12]) -> BucketKeyRow {
        let (master_generation, master) = self.newest();
        let kek = derive(PURPOSE_BUCKET_KEYS, &master);
        let wrapped = WrappedKey::wrap(&kek, bucket_key.secret(), nonce, &bucket_key_aad(key));
        BucketKeyRow { master_generation, wrapped }
    }

    /// Unwraps a bucket key.
    pub fn unwrap_bucket_key(&self, key: KeyRef, row: &BucketKeyRow) -> Option<BucketKey> {
        let kek = derive(PURPOSE_BUCKET_KEYS, &*self.master(row.master_generation)?);
        Some(BucketKey(row.wrapped.unwrap(&kek, &bucket_key_aad(key)).ok()?))
    }

    /// The keys of audit records: those of the oldest generation, which is never dropped, so that every shard ever written
    /// opens with one key.
    pub fn audit(&self) -> AuditKeys {
        let masters = self.masters.read().expect("a map does not panic");
        AuditKeys::new(masters.first_key_value().expect("a ring has a key").1)
    }
}

/// Binds a wrapped bucket key to its bucket and generation.
fn bucket_key_aad(key: KeyRef) -> Vec<u8> {
    let mut aad = b"pangea bucket key v1".to_vec();
    key.encode(&mut aad);
    aad
}

/// What a bucket key seals for a blob or an item. Bound into the AAD, so that bytes sealed as one are never taken for another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sealed {
    /// The data key of a blob in chunks.
    DataKey,
    /// The bytes of an inline blob.
    Inline,
    /// The data key of an item of a pack.
    ItemKey,
}

/// The AAD of what a bucket key seals for a blob: a purpose, then the blob's id.
pub(crate) fn blob_aad(sealed: Sealed, blob: BlobId) -> Vec<u8> {
    let purpose: &[u8] = match sealed {
        Sealed::DataKey => b"pangea data key v1",
        Sealed::Inline => b"pangea inline v1",
        Sealed::ItemKey => b"pangea item key v1",
    };
    [purpose, &blob.0].concat()
}

/// Bucket keys that were unwrapped.
#[derive(Default)]
pub(crate) struct BucketKeys {
    known: Mutex<BTreeMap<(BucketId, u32), Arc<BucketKey>>>,
}

impl Inner {
    pub(crate) async fn bucket_key(&self, key: KeyRef) -> Result<Arc<BucketKey>, ClientError> {
        let at = (key.bucket, key.generation);
        if let Some(found) = self.bucket_keys.known.lock().expect("a map does not panic").get(&at) {
            return Ok(found.clone());
        }
        let row = self.parts.meta.bucket_key(key.bucket, key.generation).await.map_err(ClientError::Meta)?;
        let damaged = |what| ClientError::Damaged {
            what: format!("bucket {} key {}: {what}", key.bucket, key.generation),
        };
        let row = row.ok_or_else(|| damaged("there is none"))?;
        let opened = self.parts.keys.unwrap_bucket_key(key, &row);
        let opened = Arc::new(opened.ok_or_else(|| damaged("no master key opens it"))?);
        let mut known = self.bucket_keys.known.lock().expect("a map does not panic");
        if known.len() >= BUCKET_KEYS_MAX {
            known.clear();
        }
        known.insert(at, opened.clone());
        Ok(opened)
    }
}
