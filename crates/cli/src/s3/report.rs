//! Reports: lines for people or JSON for programs on standard output; progress and errors on standard error.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pangea_s3client::Meter;
use serde::Serialize;

use crate::Failure;
use crate::s3::words::Common;
use crate::status::bytes;

const REDRAW_A_SECOND: u8 = 10;
const TICK: Duration = Duration::from_millis(200);
const STYLE: &str = "{bar:24} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";

/// See the module.
pub(crate) struct Reporter {
    json: bool,
    quiet: bool,
    bar: Option<ProgressBar>,
    /// The bar is shown when there is something to move, and not before.
    shown: Once,
    started: Instant,
    done: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
    /// Whether the reader of standard output has gone away.
    gone: AtomicBool,
}

/// One thing that was done, or would be.
#[derive(Serialize)]
pub(crate) struct Deed<'a> {
    pub(crate) action: &'a str,
    pub(crate) source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) dry_run: bool,
}

#[derive(Serialize)]
struct Summary {
    action: &'static str,
    done: u64,
    bytes: u64,
    failed: u64,
    seconds: f64,
}

impl Deed<'_> {
    pub(crate) fn text(&self) -> String {
        let would = if self.dry_run { "would " } else { "" };
        let target = self.target.map_or(String::new(), |target| format!(" -> {target}"));
        let version = self.version.map_or(String::new(), |version| format!(" (version {version})"));
        format!("{would}{} {}{version}{target}\n", self.action, self.source)
    }
}

impl Reporter {
    pub(crate) fn new(common: &Common) -> Self {
        Self {
            json: common.json,
            quiet: common.quiet,
            bar: (!common.json && !common.quiet && std::io::stderr().is_terminal()).then(bar),
            shown: Once::new(),
            started: Instant::now(),
            done: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            gone: AtomicBool::new(false),
        }
    }

    /// Prints what was asked for: `value` for programs, `text` for people.
    pub(crate) fn answer<T: Serialize>(&self, value: &T, text: &str) {
        if self.json {
            // What is printed is made of text and numbers, which JSON can say.
            let line = serde_json::to_string(value).unwrap_or_default();
            self.out(format!("{line}\n").as_bytes());
        } else {
            self.out(text.as_bytes());
        }
    }

    /// Prints what was done, unless nobody wants to know.
    pub(crate) fn deed(&self, deed: &Deed<'_>) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(deed.bytes.unwrap_or(0), Ordering::Relaxed);
        if self.json || !self.quiet || deed.dry_run {
            self.answer(deed, &deed.text());
        }
    }

    /// Writes bytes to standard output.
    pub(crate) fn out(&self, bytes: &[u8]) {
        let write = || std::io::stdout().lock().write_all(bytes);
        let written = match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        };
        if written.is_err() {
            self.gone.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it is of no use to go on printing.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Says what failed while the rest goes on.
    pub(crate) fn problem(&self, failure: &Failure) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.aside(&failure.shown(self.json));
    }

    /// A remark on standard error.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet && !self.json {
            self.aside(text);
        }
    }

    fn aside(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// More bytes are to be moved.
    pub(crate) fn expect(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc_length(bytes);
            self.shown.call_once(|| {
                bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAW_A_SECOND));
                bar.enable_steady_tick(TICK);
            });
        }
    }

    /// What moves the bar.
    pub(crate) fn meter(&self) -> Meter {
        let Some(bar) = self.bar.clone() else { return Meter::silent() };
        Meter::new(move |moved| match u64::try_from(moved) {
            Ok(forward) => bar.inc(forward),
            Err(_) => bar.dec(moved.unsigned_abs()),
        })
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed) > 0
    }

    /// The end of a verb that moves or removes many things: a summary, and 1 if something failed.
    pub(crate) fn end(&self) -> ExitCode {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let seconds = self.started.elapsed().as_secs_f64();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (done, moved, failed) = (count(&self.done), count(&self.bytes), count(&self.failed));
        if self.json {
            let seconds = (seconds * 1000.0).round() / 1000.0;
            self.answer(&Summary { action: "summary", done, bytes: moved, failed, seconds }, "");
        } else if !self.quiet {
            self.note(&summary(done, moved, failed, seconds));
        }
        self.code()
    }

    /// 1 if something failed.
    pub(crate) fn code(&self) -> ExitCode {
        if self.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

/// One line about all of it.
pub(crate) fn summary(done: u64, moved: u64, failed: u64, seconds: f64) -> String {
    let rate = (moved as f64 / seconds.max(0.001)) as u64;
    let moved = if moved == 0 { String::new() } else { format!(", {} at {}/s", bytes(moved), bytes(rate)) };
    let failed = if failed == 0 { String::new() } else { format!(", {failed} FAILED") };
    format!("{done} done{moved}{failed}")
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
    let style = ProgressStyle::with_template(STYLE);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Shared by tasks.
pub(crate) type Shared = Arc<Reporter>;
