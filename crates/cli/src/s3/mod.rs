//! The verbs for buckets and objects, of any S3 endpoint.
//!
//! | room | owns |
//! |---|---|
//! | `words` | the command line's words |
//! | `hosts` `name` | aliases; what a name on the command line means |
//! | `filter` | which names, sizes and ages are meant |
//! | `walk` | files and objects below a name, in bytewise order |
//! | `report` | what is printed: lines, JSON, progress |
//! | `advice` | errors with what to do next |
//! | `carry` `upload` `download` `relay` `parts` `resume` | moving one object; going on after an interruption |
//! | `media` | media types by file extension |
//! | `alias` `bucket` `ls` `cp` `sync` `rm` `cat` `stat` `du` `find` | one verb each (`cp` is also `mv`, `bucket` is `mb` and `rb`) |

pub(crate) mod advice;
pub(crate) mod alias;
mod bucket;
mod carry;
mod cat;
mod cp;
mod download;
mod du;
mod filter;
mod find;
mod hosts;
mod ls;
mod media;
mod name;
mod parts;
mod relay;
mod report;
mod resume;
mod rm;
mod stat;
mod sync;
#[cfg(test)]
mod tests;
mod upload;
mod walk;
pub(crate) mod words;

use std::process::ExitCode;
use std::sync::Arc;

use crate::Failure;
use crate::s3::hosts::Hosts;
use crate::s3::report::Reporter;
use crate::s3::words::{Common, Verb};

/// What every verb stands on.
pub(crate) struct Ground {
    pub(crate) hosts: Hosts,
    pub(crate) reporter: Arc<Reporter>,
}

/// Runs one verb to its end.
pub(crate) fn run(verb: &Verb) -> Result<ExitCode, Failure> {
    let common = verb.common();
    let failed = |error: std::io::Error| Failure::new(format!("no threads: {error}"), "try again", 1);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed);
    let ended = runtime.and_then(|runtime| runtime.block_on(carry_out(verb, common)));
    ended.map_err(|failure| failure.in_json_if(common.json))
}

async fn carry_out(verb: &Verb, common: &Common) -> Result<ExitCode, Failure> {
    let ground = Ground { hosts: Hosts::load(common)?, reporter: Arc::new(Reporter::new(common)) };
    match verb {
        Verb::Alias(args) => alias::run(&ground, args).await,
        Verb::Mb(args) => bucket::make(&ground, args).await,
        Verb::Rb(args) => bucket::remove(&ground, args).await,
        Verb::Ls(args) => ls::run(&ground, args).await,
        Verb::Cp(args) => cp::run(&ground, args, false).await,
        Verb::Mv(args) => cp::run(&ground, args, true).await,
        Verb::Sync(args) => sync::run(&ground, args).await,
        Verb::Rm(args) => rm::run(&ground, args).await,
        Verb::Cat(args) => cat::run(&ground, args).await,
        Verb::Stat(args) => stat::run(&ground, args).await,
        Verb::Du(args) => du::run(&ground, args).await,
        Verb::Find(args) => find::run(&ground, args).await,
    }
}
