//! `pangea alias`: names for endpoints, kept in a file that only its owner may read.

use std::process::ExitCode;

use pangea_node::control::{Control as _, NewAccessKey};
use serde::Serialize;

use crate::s3::hosts::{AliasFile, ENV, Entry, LOCAL, is_alias_name};
use crate::s3::words::{AliasArgs, AliasCommand, AliasMakeArgs, AliasSetArgs};
use crate::s3::{Ground, advice};
use crate::{Failure, operate, prompt};

/// Where a secret may be given without a terminal.
const SECRET: &str = "PANGEA_SECRET_KEY";

/// An alias as it is shown.
#[derive(Serialize)]
pub(crate) struct Shown<'a> {
    alias: &'a str,
    url: &'a str,
    access_key: Option<&'a str>,
    region: Option<&'a str>,
    source: &'a str,
    default: bool,
}

pub(crate) async fn run(ground: &Ground, args: &AliasArgs) -> Result<ExitCode, Failure> {
    match &args.command {
        AliasCommand::Set(args) => set(ground, args).await,
        AliasCommand::Make(args) => make(ground, args).await,
        AliasCommand::List { .. } => list(ground),
        AliasCommand::Remove { name, .. } => {
            let mut there = false;
            ground.hosts.change(|file| {
                there = file.alias.remove(name).is_some();
                file.default.take_if(|default| default == name);
            })?;
            if !there {
                let advice = "`pangea alias list` shows what is set";
                return Err(Failure::new(format!("the alias `{name}` is not set"), advice, 1));
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn checked_name(name: &str) -> Result<(), Failure> {
    if is_alias_name(name) && name != ENV {
        return Ok(());
    }
    let what = format!("`{name}` cannot be an alias");
    Err(Failure::new(what, "use letters, digits, - and _; `env` is what the AWS_* variables say", 2))
}

async fn set(ground: &Ground, args: &AliasSetArgs) -> Result<ExitCode, Failure> {
    checked_name(&args.name)?;
    let mut entry = Entry {
        url: args.url.trim_end_matches('/').to_owned(),
        region: Some(args.region.clone()),
        style: Some(args.style.clone()).filter(|style| style != "auto"),
        insecure: args.common.insecure,
        ..Entry::default()
    };
    if let Some(ca) = &args.common.ca {
        let absolute = std::fs::canonicalize(ca);
        let failed =
            |error| Failure::new(format!("{}: {error}", ca.display()), "name a PEM file that is there", 2);
        entry.ca = Some(absolute.map_err(failed)?);
    }
    if let Some(access_key) = &args.access_key {
        entry.access_key = Some(access_key.clone());
        entry.secret_key = Some(prompt::secret(SECRET, "secret key", false)?.expose().to_owned());
    }
    let client = ground.hosts.client(&entry, &args.name)?;
    if !args.no_check {
        match client.buckets().await {
            // A key that may not list buckets may still be a good one.
            Ok(_) => {}
            Err(error) if error.code() == Some("AccessDenied") && entry.access_key.is_some() => {}
            Err(error) if entry.access_key.is_none() && error.code().is_some() => {}
            Err(error) => {
                let mut failure = advice::of(&error, &args.name, "");
                failure.advice =
                    format!("nothing was stored; {} (--no-check stores all the same)", failure.advice);
                return Err(failure);
            }
        }
    }
    store(ground, &args.name, entry, args.default)
}

fn store(ground: &Ground, name: &str, entry: Entry, default: bool) -> Result<ExitCode, Failure> {
    let change = |file: &mut AliasFile| {
        file.alias.insert(name.to_owned(), entry.clone());
        if default {
            file.default = Some(name.to_owned());
        }
    };
    let path = ground.hosts.change(change)?;
    let text = format!("{name} is {}; kept in {}\n", entry.url, path.display());
    ground.reporter.answer(&shown(name, &entry, "aliases.toml", default), &text);
    Ok(ExitCode::SUCCESS)
}

async fn make(ground: &Ground, args: &AliasMakeArgs) -> Result<ExitCode, Failure> {
    checked_name(&args.name)?;
    let remote = operate::remote(&args.admin)?;
    let status = remote.status().await?;
    let description = format!("alias {}", args.name);
    let made = remote.create_access_key(NewAccessKey { description, grants: args.grant.clone() }).await?;
    let entry = Entry {
        url: status.endpoint.clone(),
        access_key: Some(made.id),
        secret_key: Some(made.secret),
        region: Some(status.region),
        ..Entry::default()
    };
    store(ground, &args.name, entry, args.name == LOCAL)
}

fn shown<'a>(alias: &'a str, entry: &'a Entry, source: &'a str, default: bool) -> Shown<'a> {
    let (access_key, region) = (entry.access_key.as_deref(), entry.region.as_deref());
    Shown { alias, url: &entry.url, access_key, region, source, default }
}

/// All aliases, in columns.
pub(crate) fn list(ground: &Ground) -> Result<ExitCode, Failure> {
    let (all, default) = (ground.hosts.all()?, ground.hosts.default_alias());
    let width = all.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    for (name, entry, source) in &all {
        let is_default = *name == default;
        let who = entry.access_key.as_deref().unwrap_or("no access key");
        let mark = if is_default { ", s3://" } else { "" };
        let text = format!("{name:width$}  {}  {who}  ({source}{mark})\n", entry.url);
        ground.reporter.answer(&shown(name, entry, source, is_default), &text);
    }
    Ok(ExitCode::SUCCESS)
}
