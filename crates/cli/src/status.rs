//! A server's status in words and columns.

use std::fmt::Write as _;

use pangea_node::control::{DriveStatus, Status, WorkerStatus};

/// Everything, for people.
pub(crate) fn text(status: &Status) -> String {
    let mut out = String::new();
    let ready = if status.ready { "ready" } else { "not ready" };
    let cluster = &status.cluster[..status.cluster.len().min(8)];
    line(
        &mut out,
        format_args!(
            "pangea {}, cluster {cluster}, up {}, {ready}",
            status.version,
            duration(status.uptime_seconds)
        ),
    );
    line(&mut out, format_args!("S3        {} (region {})", status.endpoint, status.region));
    match &status.not_whole_because[..] {
        [] => line(&mut out, format_args!("Data      whole: every stripe has all its shards")),
        [first, rest @ ..] => {
            line(&mut out, format_args!("Data      NOT WHOLE: {first}"));
            rest.iter().for_each(|why| line(&mut out, format_args!("          {why}")));
        }
    }
    for (missing, stripes) in &status.stripes.by_missing {
        line(&mut out, format_args!("          {stripes} stripes lack {missing} shards"));
    }
    line(&mut out, format_args!("Survives  {}", status.survives));
    line(&mut out, format_args!("Durable   {}", status.durability));
    line(
        &mut out,
        format_args!(
            "Layout    epoch {}, code {}, writes need {} shards, {} partitions",
            status.layout.epoch, status.layout.code, status.layout.write_quorum, status.layout.partitions
        ),
    );
    let keys = &status.keys;
    line(
        &mut out,
        format_args!("Key       generation {} on {} drives; {}", keys.generation, keys.copies, keys.text),
    );
    let meta = &status.metadata;
    let mut about =
        format!("Metadata  {}, generation {}, {} requests", meta.engine, meta.generation, meta.applied);
    if !meta.log_drives.is_empty() {
        about += &format!(", log {} on {} drives", bytes(meta.log_bytes), meta.log_drives.len());
    }
    line(&mut out, format_args!("{about}"));
    meta.notes.iter().for_each(|note| line(&mut out, format_args!("          {note}")));
    for drive in meta.log_drives.iter().filter(|drive| !drive.ok) {
        let why = drive.last_error.as_deref().unwrap_or("no reason is known");
        line(&mut out, format_args!("          log drive {} is out: {why}", drive.name));
    }
    if !status.nodes.is_empty() {
        out += "\nNodes\n";
        crate::cluster::nodes(&status.nodes)
            .lines()
            .for_each(|node| line(&mut out, format_args!("  {node}")));
    }
    out += "\nDrives\n";
    out += &drives(status);
    out += "\nWorkers\n";
    status.workers.iter().for_each(|found| out += &worker(found));
    if !status.notes.is_empty() {
        out += "\nNotes\n";
        status.notes.iter().for_each(|note| line(&mut out, format_args!("  {note}")));
    }
    out
}

/// The drives, for people.
pub(crate) fn drives(status: &Status) -> String {
    let mut out = String::new();
    let many = status.nodes.len() > 1;
    status.drives.iter().for_each(|drive| render_drive(&mut out, drive, many));
    out
}

fn render_drive(out: &mut String, drive: &DriveStatus, many_nodes: bool) {
    let place = if many_nodes { format!("{}:{}", drive.node, drive.dir) } else { drive.dir.clone() };
    line(
        out,
        format_args!(
            "  {:>3}  {:<9}  {:>10} used  {:>10} free  {:>8} shards  {:<7}  {}",
            drive.slot,
            drive.state,
            bytes(drive.live_bytes + drive.garbage_bytes),
            bytes(drive.available_bytes),
            drive.shards,
            if drive.engine.is_empty() { "-" } else { &drive.engine },
            place
        ),
    );
    let notes = [
        drive.reason.clone(),
        drive.replaced.as_ref().map(|old| format!("replaces drive {old}")),
        (drive.errors > 0).then(|| format!("{} errors or damaged shards since the start", drive.errors)),
    ];
    notes.iter().flatten().for_each(|note| line(out, format_args!("       {note}")));
}

/// One worker, for people.
pub(crate) fn worker(worker: &WorkerStatus) -> String {
    let mut out = String::new();
    let doing = match (worker.state.as_str(), worker.total, worker.next_seconds) {
        ("running", Some(total), _) => format!("running, {} of {total}{}", worker.done, ahead(worker)),
        ("running", None, _) => format!("running, {} so far", worker.done),
        ("waiting", _, Some(next)) => format!("waiting, next in {}", duration(next)),
        (state, ..) => state.to_owned(),
    };
    line(&mut out, format_args!("  {:<14} {doing}: {}", worker.name, worker.about));
    if let Some(limit) = worker.limit_bytes_per_second {
        line(&mut out, format_args!("                 limited to {} a second", bytes(limit)));
    }
    if let Some(report) = &worker.last_report {
        line(&mut out, format_args!("                 last: {report}"));
    }
    if let Some(error) = &worker.last_error {
        line(&mut out, format_args!("                 FAILED: {error}"));
    }
    out
}

/// How fast a pass goes and how long it will take.
fn ahead(worker: &WorkerStatus) -> String {
    let rate = worker.per_second.map(|rate| format!(", {rate} a second")).unwrap_or_default();
    let left = worker.left_seconds.map(|left| format!(", {} left", duration(left))).unwrap_or_default();
    rate + &left
}

/// Bytes with a unit that leaves at most four digits.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let unit = (0..UNITS.len()).rev().find(|unit| bytes >> (10 * unit) > 0).unwrap_or(0);
    let whole = bytes >> (10 * unit);
    let tenths = if unit == 0 || whole >= 100 {
        None
    } else {
        Some(((bytes >> (10 * (unit - 1))) & 1023) * 10 / 1024)
    };
    match tenths {
        Some(tenths) => format!("{whole}.{tenths} {}", UNITS[unit]),
        None => format!("{whole} {}", UNITS[unit]),
    }
}

/// Seconds in the two largest units.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("writing to a String cannot fail");
}
