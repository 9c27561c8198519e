//! The running server's side of a backup: a snapshot of now, and its bytes.

use std::io;
use std::sync::Arc;

use pangea_client::Client;
use pangea_core::seam::{Disk as _, DiskFile};
use pangea_meta::backup::{CheckedSnapshot, snapshot_file};

use crate::admin::hex;
use crate::assemble::log_keys;
use crate::control::{ControlError, MetaBackup, MetaBackupBytes, MetaBackupPart};
use crate::roster::{Mounted, Roster};
use crate::vault::Vault;

/// Bytes of one part: twice as many in an answer.
const PART_BYTES: u64 = 4 << 20;
/// Bytes that are hashed at a time.
const HASH_BYTES: usize = 1 << 20;

/// Takes a snapshot and checks it. Writers go on: the snapshot is written beside them.
pub(crate) async fn begin(
    client: &Client,
    roster: &Roster,
    vault: &Vault,
) -> Result<MetaBackup, ControlError> {
    let seq = client.meta().snapshot().await.map_err(|error| failed(&error))?;
    let ring = vault.ring().await;
    let drives = roster.mounted();
    let checked = tokio::task::spawn_blocking(move || {
        let (cluster, keys) = (ring.cluster, log_keys(&ring));
        let mut why = "no drive has the snapshot".to_owned();
        for drive in drives {
            let Ok(file) = drive.disk.open(&snapshot_file(seq), None) else { continue };
            let name = format!("{} on {}", snapshot_file(seq), drive.path.display());
            let hash = hash(&*file);
            match (CheckedSnapshot::read(file, &name, cluster, &keys), hash) {
                (Ok(snapshot), Ok((hash, bytes))) => {
                    return Ok(MetaBackup {
                        cluster: hex(&cluster.0),
                        generation: snapshot.generation(),
                        seq,
                        rows: snapshot.rows,
                        bytes,
                        hash: hex(&hash),
                    });
                }
                (Err(error), _) => why = error.to_string(),
                (_, Err(error)) => why = format!("{name}: {error}"),
            }
        }
        Err(ControlError::Failed { why })
    });
    checked.await.map_err(|error| failed(&error))?
}

fn hash(file: &dyn DiskFile) -> io::Result<([u8; 32], u64)> {
    let (size, mut at) = (file.size()?, 0);
    let (mut hasher, mut block) = (blake3::Hasher::new(), vec![0; HASH_BYTES]);
    while at < size {
        let len = (size - at).min(HASH_BYTES as u64) as usize;
        file.read_at(&mut block[..len], at)?;
        hasher.update(&block[..len]);
        at += len as u64;
    }
    Ok((*hasher.finalize().as_bytes(), size))
}

/// Some bytes of that snapshot.
pub(crate) async fn part(roster: &Roster, wanted: MetaBackupPart) -> Result<MetaBackupBytes, ControlError> {
    let drives = roster.mounted();
    let read = tokio::task::spawn_blocking(move || {
        let name = snapshot_file(wanted.seq);
        let read = |drive: Arc<Mounted>| read_part(&*drive.disk.open(&name, None)?, wanted.offset);
        let mut why = None;
        for drive in drives {
            match read(drive) {
                Ok(bytes) => return Ok(MetaBackupBytes { hex: hex(&bytes) }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => why = Some(error.to_string()),
            }
        }
        let gone = "newer snapshots took its place meanwhile; begin the backup again";
        Err(ControlError::Failed { why: why.unwrap_or_else(|| gone.to_owned()) })
    });
    read.await.map_err(|error| failed(&error))?
}

fn read_part(file: &dyn DiskFile, offset: u64) -> io::Result<Vec<u8>> {
    let left = file.size()?.checked_sub(offset).filter(|left| *left > 0);
    let len = left.ok_or(io::ErrorKind::UnexpectedEof)?.min(PART_BYTES);
    let mut bytes = vec![0; len as usize];
    file.read_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn failed(error: &dyn std::error::Error) -> ControlError {
    ControlError::Failed { why: error.to_string() }
}
