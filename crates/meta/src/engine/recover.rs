//! Recovery: from whatever the drives hold to an engine that may answer.
//!
//! Every open is a recovery. Owns the order of its steps:
//!
//! 1. take the inventory of all drives; nothing newer than `known_generation` must be missing;
//! 2. if the view is usable, walk the log from where it stands; else (or if it stands on no point of this log) make a new
//!    one from the newest snapshot that is whole, or from nothing if the log reaches back to the first request;
//! 3. put every live drive's copies right;
//! 4. start a new generation on all live drives. Only then may anything be answered.

use pangea_core::codec::Reader;
use pangea_core::meta::{Request, read};

use super::{Engine, Options, Progress};
use crate::error::MetaError;
use crate::log::inventory::{FoundSnapshot, Inventory};
use crate::log::snapshot_name;
use crate::log::walk::{self, WalkError, Walked};
use crate::log::writer::{LogDrive, Writer};
use crate::sealed::{FrameHead, Position};
use crate::snapshot;
use crate::sqlite::{Found, Mark, SqliteTables};

pub(super) fn open(options: Options) -> Result<Engine, MetaError> {
    let mut drives: Vec<LogDrive> = options.drives.iter().map(|disk| LogDrive::new(disk.clone())).collect();
    let inventory = Inventory::take(&mut drives, options.cluster, &options.keys)?;
    if drives.iter().all(|drive| !drive.live) {
        return Err(MetaError::Unavailable { why: "no log drive can be read".to_owned() });
    }
    let found = inventory.newest_generation();
    if found < options.known_generation {
        return Err(MetaError::Stale { found, known: options.known_generation });
    }
    let mut notes = inventory.notes.clone();
    let (view, walked) = bring_up(&options, &inventory, &mut notes)?;
    notes.extend(walked.notes.iter().cloned());
    let newest = inventory.snapshots.values().next_back();
    // A view that is nearly up to date needs little of the log, and a drive that joins needs all of it.
    let base = newest
        .map_or(Position::default(), |found| Position { seq: found.header.seq, chain: found.header.chain });
    let is_short = walk::is_missing(&inventory, base, &drives);
    let all = is_short.then(|| walk::walk(&inventory, base, |_, _, _| Ok(())).ok()).flatten();
    notes.extend(walk::heal(&inventory, all.as_ref().unwrap_or(&walked), &mut drives));
    if let Some(newest) = newest {
        notes.extend(snapshot::heal(newest, &mut drives));
    }
    let mut progress = Progress { notes, log_bytes: walked.log_bytes, ..Progress::default() };
    if let Some(newest) = newest {
        progress.snapshot_seq = newest.header.seq;
        progress.snapshot_bytes = snapshot_bytes(newest);
    }
    let applied = read::generation(&view)?;
    let mut log = Writer::new(
        drives,
        options.cluster,
        options.keys.clone(),
        options.entropy.clone(),
        options.write,
        walked.end,
    );
    let known = found.max(inventory.newest_named).max(applied).max(options.known_generation);
    log.resume(known, walked.log_bytes);
    let mut engine = Engine {
        log,
        view,
        cluster: options.cluster,
        keys: options.keys,
        entropy: options.entropy,
        place: options.view,
        stopped: None,
        status: progress,
    };
    engine.begin_generation()?;
    if is_short && all.is_none() {
        // What the log lacks, the view has: a snapshot of it is all that the drives need.
        let taken = engine.snapshot();
        let why = |error: MetaError| {
            format!("the log has gaps before the view, and no snapshot closes them: {error}")
        };
        engine.status.notes.push(match taken {
            Ok(seq) => format!("the log had gaps before the view; {} closes them", snapshot_name(seq)),
            Err(error) => why(error),
        });
    }
    Ok(engine)
}

fn snapshot_bytes(snapshot: &FoundSnapshot) -> u64 {
    snapshot.copies.iter().filter_map(|(_, file)| file.size().ok()).max().unwrap_or(0)
}

/// The view at the end of the log, and the walk that brought it there.
fn bring_up(
    options: &Options,
    inventory: &Inventory,
    notes: &mut Vec<String>,
) -> Result<(SqliteTables, Walked), MetaError> {
    let why = match SqliteTables::find(&options.view, options.cluster)? {
        Found::Rebuild(why) => why,
        Found::Usable(mut view, mark) => match replay(inventory, options, &mut view, mark.position) {
            Ok(walked) => return Ok((view, walked)),
            Err(WalkError::Behind(end)) => {
                return Err(MetaError::LogLost { view_seq: mark.position.seq, log_seq: end.seq });
            }
            // The view follows the log, so a view that is no point of it has seen requests that the log lost.
            Err(WalkError::NotOurs) => {
                let what =
                    "the view shows another history than the log: a log drive is missing or was rolled back";
                let file = "the metadata view".to_owned();
                return Err(MetaError::Damaged { file, seq: mark.position.seq, what });
            }
            Err(WalkError::Gap(_)) if inventory.logs.is_empty() => {
                return Err(MetaError::LogLost { view_seq: mark.position.seq, log_seq: 0 });
            }
            Err(WalkError::Gap(_) | WalkError::Failed(MetaError::Gap { .. })) => {
                "the log no longer reaches back to the view".to_owned()
            }
            Err(WalkError::Failed(MetaError::Damaged { .. })) => {
                "the log behind the view is damaged".to_owned()
            }
            Err(WalkError::Failed(MetaError::View { why })) => format!("the view failed: {why}"),
            Err(WalkError::Failed(error)) => return Err(error),
        },
    };
    // Should nothing reach the end of the log, the view is perhaps the best there is: it stays where it was.
    SqliteTables::set_aside(&options.view)?;
    let (view, walked, from) = match rebuild(options, inventory, notes) {
        Ok(rebuilt) => rebuilt,
        Err(error) => {
            SqliteTables::bring_back(&options.view)?;
            return Err(error);
        }
    };
    SqliteTables::forget_aside(&options.view)?;
    if walked.end.seq > 0 {
        notes.push(format!("{why}; it was rebuilt from {from} and {} requests", walked.end.seq));
    }
    Ok((view, walked))
}

/// A new view, from the newest snapshot that is whole.
fn rebuild(
    options: &Options,
    inventory: &Inventory,
    notes: &mut Vec<String>,
) -> Result<(SqliteTables, Walked, String), MetaError> {
    let mut last_error = None;
    for (seq, found) in inventory.snapshots.iter().rev() {
        let start = Position { seq: *seq, chain: found.header.chain };
        let mut view = fresh(options)?;
        let built = snapshot::load(found, &mut view)
            .map_err(WalkError::Failed)
            .and_then(|()| replay(inventory, options, &mut view, start));
        match built.map_err(|error| describe(error, *seq)) {
            Ok(walked) => return Ok((view, walked, snapshot_name(*seq))),
            Err(error @ (MetaError::Damaged { .. } | MetaError::Gap { .. })) => {
                notes.push(format!("{} was passed over: {error}", snapshot_name(*seq)));
                last_error.get_or_insert(error);
            }
            Err(other) => return Err(other),
        }
    }
    let mut view = fresh(options)?;
    view.finish(&Mark { cluster: options.cluster, position: Position::default() })?;
    match replay(inventory, options, &mut view, Position::default()) {
        Ok(walked) => Ok((view, walked, "nothing".to_owned())),
        Err(error) => Err(last_error.unwrap_or_else(|| describe(error, 0))),
    }
}

fn fresh(options: &Options) -> Result<SqliteTables, MetaError> {
    SqliteTables::remove(&options.view)?;
    Ok(SqliteTables::create(&options.view)?)
}

fn describe(error: WalkError, seq: u64) -> MetaError {
    let damaged = |what| MetaError::Damaged { file: snapshot_name(seq), seq, what };
    match error {
        WalkError::NotOurs => damaged("it is not a point of the log's history"),
        WalkError::Behind(_) => damaged("the log ends before it"),
        WalkError::Gap(error) | WalkError::Failed(error) => error,
    }
}

/// Applies everything behind `start` to the view, a frame at a time.
fn replay(
    inventory: &Inventory,
    options: &Options,
    view: &mut SqliteTables,
    start: Position,
) -> Result<Walked, WalkError> {
    walk::walk(inventory, start, |head, payload, position| {
        let requests = decode_requests(head, &payload)?;
        view.apply_group(&requests, &Mark { cluster: options.cluster, position })?;
        Ok(())
    })
}

fn decode_requests(head: &FrameHead, payload: &[u8]) -> Result<Vec<Request>, MetaError> {
    let mut r = Reader::new(payload, "log frame");
    let mut requests = Vec::new();
    // The frame's tag was good, so what cannot be read was written by a version that knows more.
    let newer = |_| MetaError::NewerFormat { file: format!("request {}", head.first), version: u16::MAX };
    for _ in 0..head.count {
        requests.push(Request::decode(r.bytes().map_err(newer)?).map_err(newer)?);
    }
    r.finish().map_err(newer)?;
    Ok(requests)
}
