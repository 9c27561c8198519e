//! `pangea key`: access keys of a running server.

use std::process::ExitCode;

use pangea_node::control::{AccessKeyInfo, Control as _, CreatedAccessKey, NewAccessKey};
use pangea_node::remote::wait;

use crate::args::{KeyArgs, KeyCommand};
use crate::operate::{json, remote};
use crate::{Failure, print};

pub(crate) fn run(args: &KeyArgs) -> Result<ExitCode, Failure> {
    match &args.command {
        KeyCommand::Create { admin, grant, description, json: for_programs } => {
            let wanted = NewAccessKey { description: description.clone(), grants: grant.clone() };
            let made = wait(remote(admin)?.create_access_key(wanted))?;
            print(&if *for_programs { json(&made)? } else { created(&made) });
        }
        KeyCommand::List { admin, json: for_programs } => {
            let keys = wait(remote(admin)?.access_keys())?;
            print(&if *for_programs { json(&keys)? } else { list(&keys) });
        }
        KeyCommand::Revoke { admin, ids } => {
            let remote = remote(admin)?;
            for id in ids {
                wait(remote.revoke_access_key(id.clone()))?;
                print(&format!("{id} is revoked\n"));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What is shown of a new key, once.
pub(crate) fn created(made: &CreatedAccessKey) -> String {
    let CreatedAccessKey { id, secret, grants } = made;
    format!(
        "access key  {id}\nsecret key  {secret}   (shown only now: keep it)\nmay         {}\n",
        grants.join(" ")
    )
}

/// One line a key.
pub(crate) fn list(keys: &[AccessKeyInfo]) -> String {
    let width = keys.iter().map(|key| key.id.len()).max().unwrap_or(0);
    let line = |key: &AccessKeyInfo| {
        let may = match key.grants.join(" ") {
            _ if key.root => "everything".to_owned(),
            grants if grants.is_empty() => "nothing".to_owned(),
            grants => grants,
        };
        let about =
            if key.description.is_empty() { String::new() } else { format!("  ({})", key.description) };
        format!("{:width$}  {may}{about}\n", key.id)
    };
    keys.iter().map(line).collect()
}
