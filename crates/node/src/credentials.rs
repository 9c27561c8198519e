//! Access keys: sealed in the metadata, opened for the gateway, the root key made or taken over at the start.
//!
//! A stored secret is sealed by `keys::seal_small` under the credentials key of the row's master generation, with
//! `pangea access key v1` and the key's id as associated data. What cannot be read denies.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use pangea_client::{Client, ClientError};
use pangea_core::cluster::NodeQuestion;
use pangea_core::keys::{PURPOSE_CREDENTIALS, derive, open_small, seal_small};
use pangea_core::meta::{AccessKeyRow, Command};
use pangea_core::seam::{Clock as _, Entropy, random};
use pangea_gateway::{Credentials, Grants, Lookup, Secret as S3Secret};

use crate::clock::SystemClock;
use crate::cluster::Cluster;
use crate::config::{RootKey, Secret};
use crate::control::{AccessKeyInfo, ControlError, CreatedAccessKey, NewAccessKey};

/// Access keys whose opened secrets are kept at hand.
const CACHED_MAX: usize = 1024;
/// In a cluster a key is read again after so long: a node that was not told of a change follows it then.
const REMEMBERED: Duration = Duration::from_secs(5);
/// Access keys of a cluster.
const KEYS_MAX: usize = 10_000;
const DESCRIPTION_BYTES_MAX: usize = 256;
const ID_CHARS: usize = 20;
const SECRET_CHARS: usize = 40;
/// Letters and digits: S3 clients and shells take them all without quoting.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789AB";
const ID_ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const ROOT_DESCRIPTION: &str = "root";

/// An access key, ready for use.
#[derive(Clone)]
struct Opened {
    secret: Secret,
    /// What it may do; `None`: everything.
    grants: Option<Arc<Grants>>,
    /// When it was read.
    at: Instant,
}

/// The gateway's view of the access keys.
pub(crate) struct AccessKeys {
    client: Client,
    opened: Mutex<Cache>,
    /// The other nodes, which remember keys, too.
    cluster: Option<Arc<Cluster>>,
}

/// Keys that were opened since the last change.
#[derive(Default)]
struct Cache {
    keys: BTreeMap<String, Opened>,
    /// Counts the changes: what was read before one is not kept after it.
    changes: u64,
}

impl AccessKeys {
    /// Over the metadata that the client uses.
    pub(crate) fn new(client: Client, cluster: Option<Arc<Cluster>>) -> Arc<Self> {
        Arc::new(Self { client, opened: Mutex::default(), cluster })
    }

    /// Makes what was changed take effect, on every node that answers. Who does not answer forgets by itself soon.
    async fn forget_everywhere(&self) {
        self.forget();
        if let Some(cluster) = &self.cluster {
            cluster.ask_all(&NodeQuestion::ForgetKeys).await;
        }
    }

    /// Makes what was changed take effect here.
    pub(crate) fn forget(&self) {
        let mut cache = self.cache();
        cache.keys.clear();
        cache.changes += 1;
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.opened.lock().expect("a map does not panic")
    }

    async fn open(&self, id: &str) -> Result<Option<Opened>, ClientError> {
        let changes = {
            let cache = self.cache();
            let fresh = |opened: &&Opened| self.cluster.is_none() || opened.at.elapsed() < REMEMBERED;
            if let Some(found) = cache.keys.get(id).filter(fresh) {
                return Ok(Some(found.clone()));
            }
            cache.changes
        };
        let Some(row) = self.client.meta().access_key(id).await.map_err(ClientError::Meta)? else {
            return Ok(None);
        };
        let damaged = || ClientError::Damaged { what: format!("access key {id}: its grants cannot be read") };
        let grants = if row.root { None } else { Some(Grants::decode(&row.grants).ok_or_else(damaged)?) };
        let secret = unseal(&self.client, id, &row)?;
        let opened = Opened { secret, grants: grants.map(Arc::new), at: Instant::now() };
        let mut cache = self.cache();
        if cache.changes == changes {
            if cache.keys.len() >= CACHED_MAX {
                cache.keys.clear();
            }
            cache.keys.insert(id.to_owned(), opened.clone());
        }
        Ok(Some(opened))
    }
}

impl Credentials for AccessKeys {
    fn secret<'a>(&'a self, access_key: &'a str) -> Lookup<'a> {
        Box::pin(async move {
            let found = self.open(access_key).await?;
            Ok(found.map(|Opened { secret, grants, .. }| match grants {
                None => S3Secret::root(secret.expose().to_owned()),
                Some(grants) => S3Secret::granted(secret.expose().to_owned(), grants),
            }))
        })
    }
}

impl AccessKeys {
    /// Makes a key that may do what is granted.
    pub(crate) async fn create(
        &self,
        wanted: NewAccessKey,
        clock: &SystemClock,
        entropy: &dyn Entropy,
    ) -> Result<CreatedAccessKey, ControlError> {
        let refused = |why: String| ControlError::Refused { why };
        let grants = Grants::parse(&wanted.grants).map_err(|error| refused(error.to_string()))?;
        if wanted.description.len() > DESCRIPTION_BYTES_MAX
            || wanted.description.chars().any(char::is_control)
        {
            return Err(refused("a description has at most 256 bytes and no control characters".into()));
        }
        let stored = self.client.meta().access_keys().await.map_err(|error| failed(&error))?;
        if stored.len() >= KEYS_MAX {
            return Err(refused(format!("there are {KEYS_MAX} access keys: revoke some first")));
        }
        let id = draw(entropy, ID_ALPHABET, ID_CHARS);
        let secret = Secret::new(draw(entropy, ALPHABET, SECRET_CHARS));
        let row = AccessKeyRow {
            sealed_secret: Vec::new(),
            master_generation: 0,
            created_ms: clock.wall_ms(),
            description: wanted.description,
            root: false,
            grants: grants.encode(),
        };
        let row = seal(&self.client, &id, &secret, row, entropy);
        let command = Command::PutAccessKey { id: id.clone(), row };
        self.client.command(command).await.map_err(|error| failed(&error))?;
        Ok(CreatedAccessKey { id, secret: secret.expose().to_owned(), grants: grants.texts() })
    }

    /// All keys, without their secrets.
    pub(crate) async fn list(&self) -> Result<Vec<AccessKeyInfo>, ControlError> {
        let stored = self.client.meta().access_keys().await.map_err(|error| failed(&error))?;
        let info = |(id, row): (String, AccessKeyRow)| AccessKeyInfo {
            id,
            description: row.description,
            created_ms: row.created_ms,
            root: row.root,
            grants: Grants::decode(&row.grants).map(|grants| grants.texts()).unwrap_or_default(),
        };
        Ok(stored.into_iter().map(info).collect())
    }

    /// Takes a key away; it works no more once this is answered.
    pub(crate) async fn revoke(&self, id: String) -> Result<(), ControlError> {
        // An earlier try may have been carried out without an answer.
        self.forget();
        let stored = self.client.meta().access_key(&id).await.map_err(|error| failed(&error))?;
        let refused = |why: String| Err(ControlError::Refused { why });
        match stored {
            None => return refused(format!("there is no access key {id}")),
            Some(row) if row.root => {
                return refused("the root key cannot be revoked: start the server with another one".into());
            }
            Some(_) => {}
        }
        let deleted = self.client.command(Command::DeleteAccessKey { id }).await;
        self.forget_everywhere().await;
        deleted.map(drop).map_err(|error| failed(&error))
    }
}

fn failed(error: &dyn std::error::Error) -> ControlError {
    ControlError::Failed { why: error.to_string() }
}

/// A root key as it is announced.
pub(crate) struct Root {
    /// Its id.
    pub id: String,
    /// Its secret, if it was made now.
    pub made: Option<Secret>,
}

/// Sees to it that there is exactly one root key: the given one, or the stored one, or a new one.
pub(crate) async fn ensure_root(
    client: &Client,
    given: Option<&RootKey>,
    clock: &SystemClock,
    entropy: &dyn Entropy,
) -> Result<Root, ClientError> {
    let stored = client.meta().access_keys().await.map_err(ClientError::Meta)?;
    let mut roots = stored.into_iter().filter(|(_, row)| row.root).peekable();
    let Some(given) = given else {
        if let Some((id, _)) = roots.peek() {
            return Ok(Root { id: id.clone(), made: None });
        }
        let root = RootKey {
            id: draw(entropy, ID_ALPHABET, ID_CHARS),
            secret: Secret::new(draw(entropy, ALPHABET, SECRET_CHARS)),
        };
        put_root(client, &root, clock, entropy).await?;
        return Ok(Root { id: root.id, made: Some(root.secret) });
    };
    let mut known = false;
    for (id, row) in roots {
        // One that cannot be opened any more is replaced like any other.
        if id == given.id && unseal(client, &id, &row).is_ok_and(|secret| secret == given.secret) {
            known = true;
        } else if id != given.id {
            client.command(Command::DeleteAccessKey { id }).await?;
        }
    }
    if !known {
        put_root(client, given, clock, entropy).await?;
    }
    Ok(Root { id: given.id.clone(), made: None })
}

async fn put_root(
    client: &Client,
    root: &RootKey,
    clock: &SystemClock,
    entropy: &dyn Entropy,
) -> Result<(), ClientError> {
    let row = AccessKeyRow {
        sealed_secret: Vec::new(),
        master_generation: 0,
        created_ms: clock.wall_ms(),
        description: ROOT_DESCRIPTION.into(),
        root: true,
        grants: Vec::new(),
    };
    let row = seal(client, &root.id, &root.secret, row, entropy);
    client.command(Command::PutAccessKey { id: root.id.clone(), row }).await.map(drop)
}

/// The row with the secret sealed under the newest master key.
fn seal(
    client: &Client,
    id: &str,
    secret: &Secret,
    row: AccessKeyRow,
    entropy: &dyn Entropy,
) -> AccessKeyRow {
    let (master_generation, master) = client.keys().newest();
    let key = derive(PURPOSE_CREDENTIALS, &master);
    let sealed_secret = seal_small(&key, random(entropy), &aad(id), secret.expose().as_bytes());
    AccessKeyRow { sealed_secret, master_generation, ..row }
}

fn unseal(client: &Client, id: &str, row: &AccessKeyRow) -> Result<Secret, ClientError> {
    let damaged = |what: &str| ClientError::Damaged { what: format!("access key {id}: {what}") };
    let master = client.keys().master(row.master_generation);
    let master = master.ok_or_else(|| damaged("the master key that sealed it is not in the ring"))?;
    let key = derive(PURPOSE_CREDENTIALS, &master);
    let plain =
        open_small(&key, &aad(id), &row.sealed_secret).map_err(|_| damaged("its secret does not open"))?;
    String::from_utf8(plain).map(Secret::new).map_err(|_| damaged("its secret is not text"))
}

/// Seals anew every secret that an older master key sealed. Can be repeated and resumed at any point. A key that is revoked or
/// replaced meanwhile is left as it then is.
pub(crate) async fn reseal(client: &Client, entropy: &dyn Entropy) -> Result<u64, ClientError> {
    let newest = client.keys().newest().0;
    let mut resealed = 0;
    for (id, row) in client.meta().access_keys().await.map_err(ClientError::Meta)? {
        if row.master_generation < newest {
            let secret = unseal(client, &id, &row)?;
            let seen = row.clone();
            let row = seal(client, &id, &secret, row, entropy);
            match client.command(Command::ReplaceAccessKey { id, seen, row }).await {
                Ok(_) => resealed += 1,
                Err(ClientError::PreconditionFailed) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(resealed)
}

fn aad(id: &str) -> Vec<u8> {
    [b"pangea access key v1".as_slice(), id.as_bytes()].concat()
}

/// Random text. Alphabets have a power of two of letters, so every letter is taken by whole bits (two stand twice in the
/// longer one: 40 characters keep more than 235 bits).
fn draw(entropy: &dyn Entropy, alphabet: &[u8], chars: usize) -> String {
    (0..chars).map(|_| char::from(alphabet[usize::from(random::<1>(entropy)[0]) % alphabet.len()])).collect()
}
