//! The log of requests: a line each, to a file or standard error, written by a thread of its own.
//!
//! A request never waits for the log: what does not fit into the queue is left out and counted, and the log says so.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use pangea_gateway::Journal;

use crate::config::RequestLog;

/// Lines that may wait.
const QUEUE_MAX: usize = 16 * 1024;
/// Lines that are written before they are flushed together.
const BATCH_MAX: usize = 256;

/// See the module.
pub(crate) struct RequestJournal {
    lines: SyncSender<String>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Lines that did not fit.
    left_out: AtomicU64,
    /// The file was moved away: it is to be opened anew.
    again: AtomicBool,
}

impl RequestJournal {
    /// Opens the log; a file is appended to, and readable by its owner only when it is made.
    pub(crate) fn open(place: &RequestLog) -> io::Result<Arc<Self>> {
        let out = open(place)?;
        let (lines, queue) = sync_channel(QUEUE_MAX);
        let shared = Arc::new(Shared::default());
        let (place, seen) = (place.clone(), shared.clone());
        // It ends when the last sender is gone.
        std::thread::Builder::new()
            .name("request-log".into())
            .spawn(move || write_all(out, &place, &queue, &seen))?;
        Ok(Arc::new(Self { lines, shared }))
    }

    /// Opens the file anew, as whoever rotates logs expects: what is written from now on goes to the file of that name.
    pub(crate) fn reopen(&self) {
        self.shared.again.store(true, Ordering::Release);
        // Wakes the writer; if the queue is full, it is awake.
        let _ = self.lines.try_send(String::new());
    }
}

impl Journal for RequestJournal {
    fn write(&self, line: &str) {
        if self.lines.try_send(format!("{line}\n")).is_err() {
            self.shared.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

type Out = Box<dyn Write + Send>;

fn open(place: &RequestLog) -> io::Result<Out> {
    Ok(match place {
        RequestLog::Stderr => Box::new(io::stderr()),
        RequestLog::File(path) => {
            Box::new(OpenOptions::new().append(true).create(true).mode(0o600).open(path)?)
        }
    })
}

fn write_all(mut out: Out, place: &RequestLog, queue: &Receiver<String>, shared: &Shared) {
    let mut works = true;
    while let Ok(first) = queue.recv() {
        let mut text = first;
        for line in queue.try_iter().take(BATCH_MAX) {
            text.push_str(&line);
        }
        let missed = shared.left_out.swap(0, Ordering::Relaxed);
        if missed > 0 {
            text.push_str(&format!("{{\"left_out\":{missed}}}\n"));
        }
        if shared.again.swap(false, Ordering::Acquire) {
            match open(place) {
                Ok(opened) => out = opened,
                Err(error) => {
                    tracing::error!(%error, "the log of requests cannot be opened anew: the old file stays")
                }
            }
        }
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => works = true,
            // Once for a disk that stays full.
            Err(error) if works => {
                tracing::warn!(%error, "the log of requests cannot be written");
                works = false;
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn lines_arrive_in_order_at_the_end_of_the_file() {
        let scratch = Scratch::new("journal");
        let path = scratch.path().join("requests.log");
        std::fs::write(&path, "before\n").expect("a temporary file");
        let journal = RequestJournal::open(&RequestLog::File(path.clone())).expect("it can be opened");
        (0..100).for_each(|n| journal.write(&format!("{{\"n\":{n}}}")));
        drop(journal);
        let expected: String = std::iter::once("before\n".to_owned())
            .chain((0..100).map(|n| format!("{{\"n\":{n}}}\n")))
            .collect();
        wait_for(&path, &expected);
        assert!(
            RequestJournal::open(&RequestLog::File(scratch.path().into())).is_err(),
            "a directory is no file"
        );
    }

    fn wait_for(path: &std::path::Path, expected: &str) {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while std::fs::read_to_string(path).unwrap_or_default() != expected {
            assert!(std::time::Instant::now() < until, "the lines did not arrive");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// A rotated log was written on under its new name for ever.
    #[test]
    fn a_log_that_was_moved_away_is_opened_anew_when_asked() {
        let scratch = Scratch::new("journal-again");
        let (path, old) = (scratch.path().join("requests.log"), scratch.path().join("requests.log.1"));
        let journal = RequestJournal::open(&RequestLog::File(path.clone())).expect("it can be opened");
        journal.write("1");
        wait_for(&path, "1\n");
        std::fs::rename(&path, &old).expect("it is there");
        journal.write("2");
        wait_for(&old, "1\n2\n");
        journal.reopen();
        wait_for(&path, "");
        journal.write("3");
        wait_for(&path, "3\n");
        std::fs::rename(&path, scratch.path().join("requests.log.2")).expect("it is there");
        std::fs::create_dir(&path).expect("a fresh name");
        journal.reopen();
        journal.write("4");
        wait_for(&scratch.path().join("requests.log.2"), "3\n4\n");
        wait_for(&old, "1\n2\n");
    }
}
