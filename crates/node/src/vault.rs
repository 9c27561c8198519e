//! The key ring of a running node: its copies on the drives, its protector, rotation and backup.
//!
//! A rotation first makes the new ring durable on every drive that keeps one, then uses it, then rewraps what older keys
//! wrapped. It can stop anywhere: old keys stay in the ring, and [`Vault::rewrap`] runs again at the next start.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use pangea_client::Client;
use pangea_core::keys::KeyRef;
use pangea_core::meta::Command;
use pangea_core::seam::{Clock as _, random};
use tokio::sync::Mutex;

use crate::admin::{hex, unhex};
use crate::clock::SystemClock;
use crate::config::Secret;
use crate::control::{ControlError, KeyBackup, KeyStatus, NewProtector, Rotated, Rotation};
use crate::credentials::reseal;
use crate::entropy::SystemEntropy;
use crate::keyfile::{KeyError, Protector, Ring, SECRET_FILE_BYTES_MIN, Unlock, write_copies};

/// Bucket keys of one scan.
const SCAN_KEYS: usize = 1000;
/// Characters of a backup's passphrase at least: the file is meant to leave the machine.
const BACKUP_PASSPHRASE_CHARS_MIN: usize = 8;

/// See the module.
pub(crate) struct Vault {
    state: Mutex<State>,
    /// The drives that keep a copy.
    drives: RwLock<Vec<PathBuf>>,
    clock: Arc<SystemClock>,
}

struct State {
    ring: Ring,
    unlock: Unlock,
    protector: Protector,
}

impl Vault {
    /// Over a ring that was read or made, and the drives that keep it.
    pub(crate) fn new(
        ring: Ring,
        unlock: Unlock,
        protector: Protector,
        drives: Vec<PathBuf>,
        clock: Arc<SystemClock>,
    ) -> Self {
        Self { state: Mutex::new(State { ring, unlock, protector }), drives: RwLock::new(drives), clock }
    }

    /// The drives that keep a copy of the ring.
    pub(crate) fn keepers(&self) -> Vec<PathBuf> {
        self.drives.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The ring.
    pub(crate) async fn ring(&self) -> Ring {
        self.state.lock().await.ring.clone()
    }

    /// Keeps the ring on these drives from now on: it is written to them first. Copies elsewhere are the caller's to remove.
    pub(crate) async fn keep_on(&self, drives: Vec<PathBuf>) -> Result<(), KeyError> {
        let state = self.state.lock().await;
        let unlock = if state.protector == Protector::None { Unlock::Nothing } else { state.unlock.clone() };
        let (ring, wanted) = (state.ring.clone(), drives.clone());
        let written = tokio::task::spawn_blocking(move || {
            let bytes = ring.seal(&unlock, &SystemEntropy)?;
            write_copies(wanted.iter().map(PathBuf::as_path), &bytes)
        });
        match written.await {
            Ok(written) => written?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
        *self.drives.write().unwrap_or_else(PoisonError::into_inner) = drives;
        Ok(())
    }

    /// What is shown.
    pub(crate) async fn status(&self) -> KeyStatus {
        let state = self.state.lock().await;
        KeyStatus {
            protector: state.protector.name().to_owned(),
            generation: state.ring.current().number,
            copies: self.keepers().len() as u64,
            text: describe(state.protector).to_owned(),
        }
    }

    /// See [`crate::control::Control::rotate_keys`].
    pub(crate) async fn rotate(&self, client: &Client, rotation: Rotation) -> Result<Rotated, ControlError> {
        let mut state = self.state.lock().await;
        let unlock = match rotation.protector {
            Some(new) => unlock_for(new)?,
            // A file in the clear opens whatever was given; what protects it stays.
            None if state.protector == Protector::None => Unlock::Nothing,
            None => state.unlock.clone(),
        };
        let now_ms = self.clock.wall_ms();
        let next = if rotation.new_key {
            state.ring.rotated(now_ms, &SystemEntropy)
        } else {
            Some(state.ring.touched())
        };
        let next = next.ok_or_else(|| refused(&KeyError::RingFull))?;
        let (ring, key, drives) = (next.clone(), unlock.clone(), self.keepers());
        // Stretching a passphrase and syncing drives take their time.
        let written = tokio::task::spawn_blocking(move || {
            let bytes = ring.seal(&key, &SystemEntropy)?;
            write_copies(drives.iter().map(PathBuf::as_path), &bytes)
        });
        written.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        (state.protector, state.unlock, state.ring) = (unlock.protector(), unlock, next);
        let current = state.ring.current();
        client.keys().add(current.number, current.key.clone());
        let (bucket_keys, access_keys) = self.rewrap(client).await?;
        Ok(Rotated {
            generation: current.number,
            protector: state.protector.name().to_owned(),
            bucket_keys,
            access_keys,
            copies: self.keepers().len() as u64,
        })
    }

    /// Wraps under the newest master key whatever an older one wrapped; says how many bucket keys and access keys.
    pub(crate) async fn rewrap(&self, client: &Client) -> Result<(u64, u64), ControlError> {
        let newest = client.keys().newest().0;
        let (mut after, mut rewrapped) = (None, 0);
        loop {
            let page = client.meta().bucket_keys(after, SCAN_KEYS).await.map_err(|error| failed(&error))?;
            let Some((bucket, generation, _)) = page.last() else { break };
            after = Some((*bucket, *generation));
            for (bucket, generation, row) in
                page.into_iter().filter(|(.., row)| row.master_generation < newest)
            {
                let key = KeyRef { bucket, generation };
                let opened = client.keys().unwrap_bucket_key(key, &row);
                let why = || format!("bucket {bucket}, key {generation}: no master key opens it");
                let opened = opened.ok_or_else(|| ControlError::Failed { why: why() })?;
                let key = client.keys().wrap_bucket_key(key, &opened, random(&SystemEntropy));
                let command = Command::PutBucketKey { bucket, generation, key };
                client.command(command).await.map_err(|error| failed(&error))?;
                rewrapped += 1;
            }
        }
        let access_keys = reseal(client, &SystemEntropy).await.map_err(|error| failed(&error))?;
        Ok((rewrapped, access_keys))
    }

    /// See [`crate::control::Control::back_up_keys`].
    pub(crate) async fn back_up(&self, passphrase: String) -> Result<KeyBackup, ControlError> {
        if passphrase.chars().count() < BACKUP_PASSPHRASE_CHARS_MIN {
            let why = format!("a backup's passphrase has at least {BACKUP_PASSPHRASE_CHARS_MIN} characters");
            return Err(ControlError::Refused { why });
        }
        let ring = self.state.lock().await.ring.clone();
        let unlock = Unlock::Passphrase(Secret::new(passphrase));
        let sealed = tokio::task::spawn_blocking(move || ring.seal(&unlock, &SystemEntropy));
        let bytes = sealed.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        Ok(KeyBackup { hex: hex(&bytes) })
    }
}

/// What to know about a protector, in a sentence.
pub(crate) fn describe(protector: Protector) -> &'static str {
    match protector {
        Protector::None => {
            "not protected: whoever has the drives has the key; protect it with `pangea keys rotate --passphrase` or \
             `--key-file FILE`"
        }
        Protector::Passphrase => {
            "sealed by a passphrase; without it, and without a backup, nothing can be read"
        }
        Protector::KeyFile => "sealed by a key file; without it, and without a backup, nothing can be read",
    }
}

fn unlock_for(new: NewProtector) -> Result<Unlock, ControlError> {
    let refuse = |why: String| Err(ControlError::Refused { why });
    match new {
        NewProtector::None => Ok(Unlock::Nothing),
        NewProtector::Passphrase(text) if text.is_empty() => refuse("the passphrase is empty".into()),
        NewProtector::Passphrase(text) => Ok(Unlock::Passphrase(Secret::new(text))),
        NewProtector::KeyFile(text) => match unhex(&text) {
            Some(bytes) if bytes.len() >= SECRET_FILE_BYTES_MIN => Ok(Unlock::from_secret(&bytes)),
            _ => refuse(format!("a key file has at least {SECRET_FILE_BYTES_MIN} bytes")),
        },
    }
}

fn refused(error: &dyn std::error::Error) -> ControlError {
    ControlError::Refused { why: error.to_string() }
}

fn failed(error: &dyn std::error::Error) -> ControlError {
    ControlError::Failed { why: error.to_string() }
}
