//! `pangea doctor`: the capability probe in words.

use std::process::ExitCode;

use pangea_node::doctor::{Report, examine};

use crate::args::DoctorArgs;
use crate::operate::json;
use crate::status::bytes;
use crate::{Failure, print};

pub(crate) fn run(args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let report = examine(&args.drives);
    print(&if args.json { json(&report)? } else { text(&report) });
    Ok(ExitCode::SUCCESS)
}

/// The report, for people.
pub(crate) fn text(report: &Report) -> String {
    let there: Vec<&str> =
        report.cpu.features.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
    let absent: Vec<&str> =
        report.cpu.features.iter().filter(|(_, has)| !has).map(|(name, _)| *name).collect();
    let size = |found: Option<u64>| found.map_or("not known".to_owned(), bytes);
    let yes = |found: bool| if found { "yes" } else { "no" };
    let mut out = format!("CPU       {}, {} cores\n", report.cpu.architecture, report.cpu.cores);
    out += &format!("          has {}\n", list(&there));
    out += &format!("          lacks {}\n", list(&absent));
    out += &format!(
        "Memory    {}, available {}, limit {}\n",
        size(report.memory.total_bytes),
        size(report.memory.available_bytes),
        report.memory.limit_bytes.map_or("none".to_owned(), bytes)
    );
    out += &format!("Kernel    {}\n", report.kernel.release);
    out += &format!("io_uring  {}: {}\n", yes(report.kernel.io_uring.0), report.kernel.io_uring.1);
    out += &format!("eBPF      {}: {}\n", yes(report.kernel.ebpf.0), report.kernel.ebpf.1);
    for drive in &report.drives {
        let what = match (drive.sync_us, &drive.error) {
            (Some(us), _) => format!("a durable 4 KiB append takes {us} µs"),
            (None, Some(error)) => format!("could not be measured: {error}"),
            (None, None) => "could not be measured".to_owned(),
        };
        let space = drive
            .space_bytes
            .map_or(String::new(), |(total, free)| format!(", {} free of {}", bytes(free), bytes(total)));
        out += &format!("Drive     {}: {what}{space}\n", drive.path.display());
    }
    out += "\nA server here chooses\n";
    for choice in &report.choices {
        out += &format!("  {}: {} ({})\n", choice.about, choice.chosen, choice.why);
    }
    out
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none of those that matter".to_owned() } else { names.join(" ") }
}
