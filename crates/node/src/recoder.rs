//! The recoder: buckets whose data is to be written anew under another code, and the passes that do it.
//!
//! Owns the list of those buckets, a setting, so that a recoding goes on after a restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pangea_client::{Client, ClientError};
use pangea_core::chunk::Code;
use pangea_core::meta::Command;

use crate::control::{ControlError, RecodeWish, Recoding};
use crate::reshape::Reshaper;
use crate::workers::{Done, Worker};

/// Buckets that are being recoded: their names, a line each.
const RECODING_SETTING: &str = "recode/buckets";
/// How soon a bucket is looked at again that could not all be recoded.
const AGAIN: Duration = Duration::from_secs(60);
/// After a recoding: what it left is garbage, and seen to be gone, in so many looks.
const CENSUSES: u32 = 3;
const CENSUS_AGAIN: Duration = Duration::from_secs(90);
/// How often it is looked whether there is one.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// See the module.
pub(crate) struct Recoder {
    client: Client,
    reshaper: Arc<Reshaper>,
    /// Who takes the census that sees old codes go.
    rebalance: Arc<Worker>,
    /// Held while the list changes.
    listing: tokio::sync::Mutex<()>,
    /// Censuses still to be asked for: parts of an old upload go only after the upload itself.
    censuses: AtomicU32,
}

impl Recoder {
    /// Over a data path.
    pub(crate) fn new(client: Client, reshaper: Arc<Reshaper>, rebalance: Arc<Worker>) -> Arc<Self> {
        let (listing, censuses) = Default::default();
        Arc::new(Self { client, reshaper, rebalance, listing, censuses })
    }

    /// Sets a bucket's code and queues it, or tells how far it is.
    pub(crate) async fn ask(&self, wish: RecodeWish, worker: &Worker) -> Result<Recoding, ControlError> {
        let failed = |error: ClientError| ControlError::Failed { why: error.to_string() };
        let refused = |why: String| ControlError::Refused { why };
        let bucket = self.client.bucket(&wish.bucket).await.map_err(|error| refused(error.to_string()))?;
        let layout = self.client.layout();
        let mut code = bucket.code.unwrap_or(layout.code);
        let survived = |code: Code| layout.survival(code, code.m(), |_| true).drives;
        if let Some(text) = &wish.code {
            let wanted =
                Code::parse(text).ok_or_else(|| refused(format!("`{text}` is no code like 10+4")))?;
            let (before, after) = (survived(code), survived(wanted));
            if after < before && !wish.force {
                let why = format!(
                    "under {wanted} any {after} drives may be lost instead of {before} (--force does it all the same)"
                );
                return Err(refused(why));
            }
            self.client.keep_older_code(code).await.map_err(failed)?;
            let command = Command::SetCode { name: bucket.name.clone(), code: Some(wanted) };
            self.client.command(command).await.map_err(failed)?;
            code = wanted;
            let _alone = self.listing.lock().await;
            let mut names = self.buckets().await.map_err(failed)?;
            if !names.contains(&bucket.name) {
                names.push(bucket.name.clone());
                self.remember(&names).await.map_err(failed)?;
            }
            worker.request();
        }
        let done = !self.buckets().await.map_err(failed)?.contains(&bucket.name);
        Ok(Recoding { bucket: bucket.name, code: code.to_string(), done, survives_drives: survived(code) })
    }

    /// One pass over every bucket in the list.
    pub(crate) async fn pass(&self, worker: &Worker) -> Result<Done, String> {
        let words = |error: ClientError| error.to_string();
        let names = self.buckets().await.map_err(words)?;
        if names.is_empty() {
            let left = self.censuses.load(Ordering::Relaxed);
            if left == 0 {
                return Ok(Done { report: None, next: LOOK_EVERY });
            }
            self.censuses.store(left - 1, Ordering::Relaxed);
            self.reshaper.ask_for_census();
            self.rebalance.request();
            return Ok(Done { report: None, next: CENSUS_AGAIN });
        }
        let (mut lines, mut done_with) = (vec![], vec![]);
        for name in names {
            let code = self.client.bucket(&name).await.ok().map(|bucket| bucket.code);
            match self.client.recode_pass(&name, worker).await {
                Err(ClientError::NoSuchBucket) => done_with.push((name, None)),
                Err(error) => lines.push(format!("{name}: {error}")),
                Ok(done) => {
                    lines.push(format!(
                        "{name}: {} of {} versions written anew ({} bytes), {} wait for a drive, {} cannot be read",
                        done.recoded, done.versions, done.bytes, done.waiting, done.unreadable
                    ));
                    // What was written meanwhile has the new code already.
                    if done.waiting == 0 {
                        done_with.push((name, code));
                    }
                }
            }
        }
        let left = self.forget(&done_with).await.map_err(words)?;
        self.censuses.store(CENSUSES, Ordering::Relaxed);
        let next = if left.is_empty() { CENSUS_AGAIN } else { AGAIN };
        Ok(Done { report: Some(lines.join("; ")), next })
    }

    /// Takes buckets off the list, unless they were given another code since; gives what is left.
    async fn forget(&self, done_with: &[(String, Option<Option<Code>>)]) -> Result<Vec<String>, ClientError> {
        let _alone = self.listing.lock().await;
        let mut left = vec![];
        for name in self.buckets().await? {
            let now = self.client.bucket(&name).await.ok().map(|bucket| bucket.code);
            if !done_with.contains(&(name.clone(), now)) {
                left.push(name);
            }
        }
        self.remember(&left).await?;
        Ok(left)
    }

    async fn buckets(&self) -> Result<Vec<String>, ClientError> {
        let setting = self.client.meta().setting(RECODING_SETTING).await.map_err(ClientError::Meta)?;
        let text = setting.map(|(_, bytes)| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        Ok(text.lines().map(str::to_owned).collect())
    }

    async fn remember(&self, names: &[String]) -> Result<(), ClientError> {
        self.client.set_setting(RECODING_SETTING.to_owned(), names.join("\n").into_bytes()).await
    }
}
