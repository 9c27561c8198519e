//! `pangea recode`: a bucket's data under another erasure code.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use pangea_node::control::{Control as _, RecodeWish, Recoding};
use pangea_node::remote::wait;

use crate::args::RecodeArgs;
use crate::operate::{json, remote};
use crate::{Failure, print};

/// How often a waiting command asks.
const POLL: Duration = Duration::from_millis(500);

pub(crate) fn run(args: &RecodeArgs) -> Result<ExitCode, Failure> {
    let ask = |code: Option<String>| {
        let wish = RecodeWish { bucket: args.bucket.clone(), code, force: args.change.force };
        wait(remote(&args.change.admin)?.recode(wish))
            .map_err(|error| Failure::from(error).in_json_if(args.change.json))
    };
    let mut recoding = ask(args.code.clone())?;
    while args.wait && !recoding.done {
        thread::sleep(POLL);
        recoding = ask(None)?;
    }
    print(&if args.change.json { json(&recoding)? } else { text(&recoding) });
    Ok(ExitCode::SUCCESS)
}

fn text(recoding: &Recoding) -> String {
    let Recoding { bucket, code, done, survives_drives } = recoding;
    let state = match done {
        true => "all of its data lies under it",
        false => "its data is being written anew (worker `recode`)",
    };
    format!("{bucket}: code {code}, which any {survives_drives} lost drives leave readable; {state}\n")
}
