//! `pangea mb` and `pangea rb`: making and removing buckets.

use std::process::ExitCode;

use pangea_s3client::S3Error;

use crate::Failure;
use crate::s3::name::{Name, Remote};
use crate::s3::report::Deed;
use crate::s3::words::{MbArgs, RbArgs};
use crate::s3::{Ground, advice, rm};

fn bucket(ground: &Ground, word: &str, verb: &str) -> Result<Remote, Failure> {
    let name = Name::remote(&ground.hosts, word, verb)?.has_bucket(verb)?;
    if name.key.is_empty() {
        return Ok(name);
    }
    let advice = format!("write {}/{}", name.place.alias, name.bucket);
    Err(Failure::new(format!("`{word}` is more than a bucket"), advice, 2))
}

fn deed(ground: &Ground, action: &str, name: &Remote) {
    let source = name.shown();
    ground.reporter.deed(&Deed {
        action,
        source: &source,
        target: None,
        version: None,
        bytes: None,
        dry_run: false,
    });
}

pub(crate) async fn make(ground: &Ground, args: &MbArgs) -> Result<ExitCode, Failure> {
    for word in &args.names {
        let name = bucket(ground, word, "mb")?;
        let client = &name.place.client;
        let failed = |error: S3Error| advice::of(&error, &name.place.alias, &name.shown());
        match client.create_bucket(&name.bucket, args.region.as_deref()).await {
            Err(error) if args.ignore_existing && is_mine(&name, &error).await => {}
            made => made.map_err(failed)?,
        }
        if args.with_versioning {
            client.enable_versioning(&name.bucket).await.map_err(failed)?;
        }
        deed(ground, "make", &name);
    }
    Ok(ExitCode::SUCCESS)
}

async fn is_mine(name: &Remote, error: &S3Error) -> bool {
    match error.code() {
        Some("BucketAlreadyOwnedByYou") => true,
        // Some endpoints say only that it exists: then it is mine if I may use it.
        Some("BucketAlreadyExists") => name.place.client.head_bucket(&name.bucket).await.is_ok(),
        _ => false,
    }
}

pub(crate) async fn remove(ground: &Ground, args: &RbArgs) -> Result<ExitCode, Failure> {
    for word in &args.names {
        let name = bucket(ground, word, "rb")?;
        if args.force {
            rm::empty(ground, &name).await?;
            if ground.reporter.has_failed() {
                return Ok(ground.reporter.end());
            }
        }
        let removed = name.place.client.delete_bucket(&name.bucket).await;
        removed.map_err(|error| advice::of(&error, &name.place.alias, &name.shown()))?;
        deed(ground, "remove", &name);
    }
    Ok(ExitCode::SUCCESS)
}
