//! `pangea recover`: the report in words.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use pangea_node::recover::{Depth, Report, Unknown, recover};

use crate::args::{CompareArgs, RecoverArgs};
use crate::keys::unseal;
use crate::operate::json;
use crate::{Failure, print};

/// Done, but something is lost.
pub(crate) const INCOMPLETE: u8 = 9;
/// How often progress is shown.
const SHOWN_EVERY: Duration = Duration::from_millis(200);

pub(crate) fn run(args: &RecoverArgs) -> Result<ExitCode, Failure> {
    let unseal = unseal(args.key_file.as_deref())?;
    let report = recover(&args.drives, &unseal, &depth(&args.compare), args.force, &mut progress())?;
    print(&if args.compare.json { json(&report)? } else { text(&report) });
    Ok(if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) })
}

/// How to compare.
pub(crate) fn depth(args: &CompareArgs) -> Depth {
    Depth { deep: args.deep, shown: args.problems, names: args.names.clone() }
}

/// Shows how many blobs were compared, if somebody looks.
pub(crate) fn progress() -> impl FnMut(u64) {
    let shows = std::io::stderr().is_terminal();
    let mut last = Instant::now();
    move |blobs| {
        if shows && last.elapsed() >= SHOWN_EVERY {
            last = Instant::now();
            // Progress is a courtesy.
            let _ = write!(std::io::stderr(), "\r{blobs} blobs compared ");
        }
    }
}

/// The report, for people.
pub(crate) fn text(report: &Report) -> String {
    let mut out = format!(
        "metadata of cluster {}: rebuilt up to request {} (generation {})\n",
        report.cluster, report.requests, report.generation
    );
    if let Some(restored) = report.restored {
        let (seq, generation) = (restored.seq, restored.generation);
        out += &format!("  it was set back to request {seq} of generation {generation}\n");
    }
    out += &format!("  {} buckets, {} blobs, {} stripes\n", report.buckets, report.blobs, report.stripes);
    out += &format!(
        "  {} whole, {} lack shards and can be rebuilt, {} have too few shards\n",
        report.whole_stripes, report.short_stripes, report.lost_stripes
    );
    let read =
        if report.deep { "every shard was read and checked" } else { "shards were looked up, not read" };
    out += &format!("  {read}\n");
    for (count, what) in [
        (report.bad_shards, "shards are wrong; the next scrub replaces them"),
        (report.unreadable_blobs, "blobs have a manifest that cannot be read"),
        (report.stray_shards, "shards belong to no stripe of their blob"),
        (report.condemned_blobs, "blobs wait to be freed"),
    ] {
        if count > 0 {
            out += &format!("  {count} {what}\n");
        }
    }
    drives(report, &mut out);
    lost(report, &mut out);
    unknown(report, &mut out);
    report.notes.iter().for_each(|note| out += &format!("  {note}\n"));
    out
}

fn drives(report: &Report, out: &mut String) {
    for (path, shards) in &report.drives {
        *out += &format!("  {}: {shards} shards\n", path.display());
    }
    for (path, why) in &report.unread {
        *out += &format!("  {}: not read: {why}\n", path.display());
    }
    for drive in &report.missing_drives {
        *out += &format!("  the drive of {drive} was not named: its shards count as missing\n");
    }
}

fn lost(report: &Report, out: &mut String) {
    for stripe in &report.lost {
        let (blob, chunk) = (&stripe.blob, stripe.chunk);
        *out +=
            &format!("    lost: blob {blob} chunk {chunk}: {} of {} shards\n", stripe.shards, stripe.needed);
    }
    if report.lost_objects > 0 || report.lost_untold {
        let some = if report.lost_untold { "at least " } else { "" };
        *out += &format!("  {some}{} versions of objects cannot be read in full:\n", report.lost_objects);
    }
    for name in &report.lost_names {
        *out +=
            &format!("    {}/{} (version {}, {} bytes)\n", name.bucket, name.key, name.version, name.bytes);
    }
}

fn unknown(report: &Report, out: &mut String) {
    if report.unknown_blobs == 0 {
        return;
    }
    let why = if report.restored.is_some() {
        "written after the state that was restored, or never acknowledged"
    } else {
        "never acknowledged"
    };
    *out += &format!(
        "  {} blobs ({} shards) on the drives are unknown to the metadata ({why}):\n",
        report.unknown_blobs, report.unknown_shards
    );
    let some = if report.unknown_untold { "at least " } else { "" };
    *out += &format!(
        "    {some}{} objects, parts and items in them; {} are all there, {} are known elsewhere\n",
        report.unknown_objects, report.unknown_complete, report.unknown_superseded
    );
    report.unknown.iter().for_each(|found| *out += &format!("    {}\n", describe(found)));
}

fn describe(found: &Unknown) -> String {
    if matches!(found.kind, "unreadable" | "pack") {
        return format!("{}: blob {}", found.kind, found.blob);
    }
    let name = match &found.key {
        Some(key) => format!("{}/{key}", found.bucket),
        None => format!("{}/(a key with hash {})", found.bucket, found.name_hash),
    };
    let bytes = found.bytes.map_or("an unknown number of".to_owned(), |bytes| bytes.to_string());
    let all = if found.complete { "" } else { ", not all of it there" };
    format!("{} {name}: {bytes} bytes, begun {} ms after 1970{all}", found.kind, found.begun_ms)
}
