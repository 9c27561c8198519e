//! The status as Prometheus text. Names are kept once given; labels come from the layout and the workers only.

use std::fmt::Write as _;

use crate::control::{DriveStatus, Status};

type Figure = fn(&DriveStatus) -> u64;

/// Appends the node's own metrics.
pub(crate) fn render(status: &Status, out: &mut String) {
    gauge(out, "pangea_up", 1);
    gauge(out, "pangea_uptime_seconds", status.uptime_seconds);
    gauge(out, "pangea_ready", u64::from(status.ready));
    gauge(out, "pangea_whole", u64::from(status.whole));
    gauge(out, "pangea_layout_epoch", u64::from(status.layout.epoch));
    gauge(out, "pangea_survives_drives", u64::from(status.survives_drives));
    gauge(out, "pangea_stripes_not_whole", status.stripes.not_whole);
    gauge(out, "pangea_shards_standing_in", status.stripes.stand_ins);
    gauge(out, "pangea_metadata_generation", status.metadata.generation);
    gauge(out, "pangea_metadata_requests_applied", status.metadata.applied);
    gauge(out, "pangea_metadata_log_bytes", status.metadata.log_bytes);
    let failed = status.metadata.log_drives.iter().filter(|drive| !drive.ok).count();
    gauge(out, "pangea_metadata_log_drives_failed", failed as u64);
    let of_drives: [(&str, Figure); 7] = [
        ("pangea_drive_ok", |drive| u64::from(drive.state == "ok")),
        ("pangea_drive_capacity_bytes", |drive| drive.capacity_bytes),
        ("pangea_drive_available_bytes", |drive| drive.available_bytes),
        ("pangea_drive_live_bytes", |drive| drive.live_bytes),
        ("pangea_drive_garbage_bytes", |drive| drive.garbage_bytes),
        ("pangea_drive_shards", |drive| drive.shards),
        ("pangea_drive_errors", |drive| drive.errors),
    ];
    for (name, value) in of_drives {
        line(out, format_args!("# TYPE {name} gauge"));
        for drive in &status.drives {
            line(out, format_args!("{name}{{slot=\"{}\"}} {}", drive.slot, value(drive)));
        }
    }
    line(out, format_args!("# TYPE pangea_worker_passes_total counter"));
    for worker in &status.workers {
        line(out, format_args!("pangea_worker_passes_total{{worker=\"{}\"}} {}", worker.name, worker.passes));
    }
    line(out, format_args!("# TYPE pangea_worker_failing gauge"));
    for worker in &status.workers {
        let failing = u64::from(worker.last_error.is_some());
        line(out, format_args!("pangea_worker_failing{{worker=\"{}\"}} {failing}", worker.name));
    }
}

fn gauge(out: &mut String, name: &str, value: u64) {
    line(out, format_args!("# TYPE {name} gauge\n{name} {value}"));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("writing to a String cannot fail");
}
