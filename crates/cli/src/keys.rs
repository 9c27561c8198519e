//! `pangea keys`: backup and rotation through a running server, restoring without one.

use std::path::Path;
use std::process::ExitCode;

use pangea_node::StartError;
use pangea_node::config::{Secret, Unseal};
use pangea_node::control::{Control as _, NewProtector, Rotation};
use pangea_node::keyfile::write_new_file;
use pangea_node::remote::wait;
use pangea_node::restore::restore_keys;

use crate::args::{KeysArgs, KeysCommand};
use crate::operate::remote;
use crate::{Failure, print, prompt};

const BACKUP_PASSPHRASE: &str = "PANGEA_BACKUP_PASSPHRASE";
const NEW_PASSPHRASE: &str = "PANGEA_NEW_KEY_PASSPHRASE";
/// Bytes of a key file that are used.
const KEY_FILE_BYTES_MAX: u64 = 1 << 20;

pub(crate) fn run(args: &KeysArgs) -> Result<ExitCode, Failure> {
    match &args.command {
        KeysCommand::Backup { admin, file } => {
            let remote = remote(admin)?;
            let passphrase = prompt::secret(BACKUP_PASSPHRASE, "passphrase of the backup", true)?;
            let backup = wait(remote.back_up_keys(passphrase.expose().to_owned()))?;
            let foreign =
                || Failure::new("the server's answer is no backup", "use the server's own version", 1);
            let bytes = unhex(&backup.hex).ok_or_else(foreign)?;
            write_new_file(file, &bytes).map_err(StartError::Key)?;
            print(&format!(
                "{} holds the master keys, sealed by the passphrase; keep both, apart from the drives\n",
                file.display()
            ));
        }
        KeysCommand::Restore { file, drives, key_file } => {
            let passphrase = prompt::secret(BACKUP_PASSPHRASE, "passphrase of the backup", false)?;
            let restored = restore_keys(file, &passphrase, drives, &unseal(key_file.as_deref())?)?;
            print(&format!(
                "cluster {}: key generation {} written to {} drives, protector: {}\n",
                restored.cluster, restored.generation, restored.copies, restored.protector
            ));
        }
        KeysCommand::Rotate { admin, passphrase, key_file, no_protection, protector_only } => {
            let protector = new_protector(*passphrase, key_file.as_deref(), *no_protection)?;
            if *protector_only && protector.is_none() {
                let advice = "name it: --passphrase, --key-file FILE or --no-protection";
                return Err(Failure::new("--protector-only without a new protector", advice, 2));
            }
            let rotation = Rotation { new_key: !*protector_only, protector };
            let done = wait(remote(admin)?.rotate_keys(rotation))?;
            print(&format!(
                "key generation {} on {} drives, protector: {}; {} bucket keys and {} access keys wrapped anew\n",
                done.generation, done.copies, done.protector, done.bucket_keys, done.access_keys
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What unseals the keys of a stopped server: the same as what a server is given.
pub(crate) fn unseal(key_file: Option<&Path>) -> Result<Unseal, Failure> {
    let passphrase = std::env::var("PANGEA_KEY_PASSPHRASE").ok().filter(|text| !text.is_empty());
    match (key_file, passphrase) {
        (None, None) => Ok(Unseal::Nothing),
        (None, Some(text)) => Ok(Unseal::Passphrase(Secret::new(text))),
        (Some(path), None) => Ok(Unseal::KeyFile(path.to_owned())),
        (Some(_), Some(_)) => {
            let what = "PANGEA_KEY_PASSPHRASE and the key file exclude each other";
            Err(Failure::new(what, "choose one of them", 2))
        }
    }
}

fn new_protector(
    passphrase: bool,
    key_file: Option<&Path>,
    no_protection: bool,
) -> Result<Option<NewProtector>, Failure> {
    if passphrase {
        let text = prompt::secret(NEW_PASSPHRASE, "new passphrase of the master key", true)?;
        return Ok(Some(NewProtector::Passphrase(text.expose().to_owned())));
    }
    if let Some(path) = key_file {
        let failed = |error: std::io::Error| {
            Failure::new(
                format!("{}: {error}", path.display()),
                "make one: head -c 32 /dev/urandom > FILE",
                4,
            )
        };
        let size = std::fs::metadata(path).map_err(failed)?.len();
        if size > KEY_FILE_BYTES_MAX {
            return Err(failed(std::io::Error::other("a key file has at most 1 MiB")));
        }
        return Ok(Some(NewProtector::KeyFile(hex(&std::fs::read(path).map_err(failed)?))));
    }
    Ok(no_protection.then_some(NewProtector::None))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
