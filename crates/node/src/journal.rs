//! The log of requests: a line each, to a file or standard error, written by a thread of its own.
//!
//! A request never waits for the log: what does not fit into the queue is left out and counted, and the log says so.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    left_out: Arc<AtomicU64>,
}

impl RequestJournal {
    /// Opens the log; a file is appended to, and readable by its owner only when it is made.
    pub(crate) fn open(place: &RequestLog) -> io::Result<Arc<Self>> {
        match place {
            RequestLog::Stderr => Self::start(io::stderr()),
            RequestLog::File(path) => {
                Self::start(OpenOptions::new().append(true).create(true).mode(0o600).open(path)?)
            }
        }
    }

    fn start(out: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        let (lines, queue) = sync_channel(QUEUE_MAX);
        let left_out = Arc::new(AtomicU64::new(0));
        let counter = left_out.clone();
        // It ends when the last sender is gone.
        std::thread::Builder::new()
            .name("request-log".into())
            .spawn(move || write_all(out, &queue, &counter))?;
        Ok(Arc::new(Self { lines, left_out }))
    }
}

impl Journal for RequestJournal {
    fn write(&self, line: &str) {
        if self.lines.try_send(format!("{line}\n")).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_all(mut out: impl Write, queue: &Receiver<String>, left_out: &AtomicU64) {
    let mut works = true;
    while let Ok(first) = queue.recv() {
        let mut text = first;
        for line in queue.try_iter().take(BATCH_MAX) {
            text.push_str(&line);
        }
        let missed = left_out.swap(0, Ordering::Relaxed);
        if missed > 0 {
            text.push_str(&format!("{{\"left_out\":{missed}}}\n"));
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
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while std::fs::read_to_string(&path).expect("there") != expected {
            assert!(std::time::Instant::now() < until, "the lines did not arrive");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(
            RequestJournal::open(&RequestLog::File(scratch.path().into())).is_err(),
            "a directory is no file"
        );
    }
}
