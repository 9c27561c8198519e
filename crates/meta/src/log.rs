//! The meta log: every request, sealed, on every log drive, before anybody hears of its outcome.
//!
//! Owns the files `meta/log-<generation>-<number>` (both in hex; bytes in `sealed`). A generation is one start of the
//! engine with one set of drives; within it the log is cut into numbered files so that snapshots let the old ones go. All
//! drives of a generation hold the same bytes.
//!
//! ```text
//! generation 7      log-7-0 [1..40) ─▶ log-7-1 [40..90 … the last frame, 88, torn on a drive
//! generation 8      log-8-0 first 88: its header names the chain value after 87; whatever else claims to be 88 is void
//! ```
//!
//! * `writer` appends: all live drives, then fdatasync on all, then the answer. A drive that fails is left out, and a new
//!   generation begins on the others before the answer, so that the failed drive's end can never be taken for the log's.
//! * `inventory` finds what is on the drives; `walk` reads it in order, each frame from whichever drive has it whole, and
//!   notes which copies are not; then they are put right from the others.
//!
//! What a walk may leave out: the last frame of the newest generation, if no drive has it whole (it was never
//! acknowledged, or it is rotten on every drive: the walk says so). Anything else that is missing is an error.

pub(crate) mod inventory;
pub(crate) mod walk;
pub(crate) mod writer;

/// The directory of the log and its snapshots on each drive.
pub(crate) const DIR: &str = "meta";

/// The name of a log file.
pub(crate) fn log_name(generation: u64, number: u32) -> String {
    format!("{DIR}/log-{generation:016x}-{number:08x}")
}

/// The name of a snapshot.
pub(crate) fn snapshot_name(seq: u64) -> String {
    format!("{DIR}/snapshot-{seq:016x}")
}

/// What a file name below [`DIR`] means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Name {
    /// A log file: generation and number.
    Log(u64, u32),
    /// A snapshot: sequence.
    Snapshot(u64),
    /// Something half-written.
    Temporary,
    /// Not ours.
    Foreign,
}

impl Name {
    /// Reads a name as the drive lists it: with or without the directory.
    pub fn parse(listed: &str) -> Self {
        let name = listed.strip_prefix(DIR).and_then(|rest| rest.strip_prefix('/')).unwrap_or(listed);
        if name.ends_with(TEMPORARY) {
            return Self::Temporary;
        }
        let hex =
            |text: &str, digits| (text.len() == digits).then(|| u64::from_str_radix(text, 16).ok()).flatten();
        if let Some(seq) = name.strip_prefix("snapshot-").and_then(|text| hex(text, 16)) {
            return Self::Snapshot(seq);
        }
        let parts = name.strip_prefix("log-").and_then(|rest| rest.split_once('-'));
        match parts.map(|(generation, number)| (hex(generation, 16), hex(number, 8))) {
            Some((Some(generation), Some(number))) => Self::Log(generation, number as u32),
            _ => Self::Foreign,
        }
    }
}

/// What a file is called until it is whole.
pub(crate) const TEMPORARY: &str = ".tmp";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        assert_eq!(Name::parse(&log_name(7, 3)), Name::Log(7, 3));
        assert_eq!(Name::parse("snapshot-000000000000000a"), Name::Snapshot(10));
        assert_eq!(Name::parse("meta/snapshot-000000000000000a.tmp"), Name::Temporary);
        for foreign in ["log-7-3", "meta/log-", "view.sqlite", "snapshot-xyz"] {
            assert_eq!(Name::parse(foreign), Name::Foreign, "{foreign}");
        }
    }
}
