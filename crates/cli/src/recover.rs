//! `pangea recover`: the report in words.

use std::process::ExitCode;

use pangea_node::recover::{Report, recover};

use crate::args::RecoverArgs;
use crate::keys::unseal;
use crate::operate::json;
use crate::{Failure, print};

/// Done, but something is lost.
const INCOMPLETE: u8 = 9;

pub(crate) fn run(args: &RecoverArgs) -> Result<ExitCode, Failure> {
    let report = recover(&args.drives, &unseal(args.key_file.as_deref())?)?;
    print(&if args.json { json(&report)? } else { text(&report) });
    Ok(if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) })
}

/// The report, for people.
pub(crate) fn text(report: &Report) -> String {
    let mut out = format!(
        "metadata of cluster {}: rebuilt up to request {} (generation {})\n",
        report.cluster, report.requests, report.generation
    );
    out += &format!("  {} buckets, {} blobs, {} stripes\n", report.buckets, report.blobs, report.stripes);
    out += &format!(
        "  {} whole, {} lack shards and can be rebuilt, {} have too few shards\n",
        report.whole_stripes, report.short_stripes, report.lost_stripes
    );
    if report.spilled_blobs > 0 {
        let count = report.spilled_blobs;
        out += &format!("  {count} blobs have their manifest in shards: a scrub compares them\n");
    }
    for (path, shards) in &report.drives {
        out += &format!("  {}: {shards} shards\n", path.display());
    }
    for (path, why) in &report.unread {
        out += &format!("  {}: not read: {why}\n", path.display());
    }
    if report.unknown_blobs > 0 {
        let count = report.unknown_blobs;
        out += &format!(
            "  {count} blobs on the drives are unknown to the metadata (never acknowledged, or freed):\n"
        );
        report.unknown.iter().for_each(|line| out += &format!("    {line}\n"));
    }
    report.notes.iter().for_each(|note| out += &format!("  {note}\n"));
    out
}
