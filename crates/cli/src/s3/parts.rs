//! Parts: how a large object is cut, and how many pieces may be in memory at once.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Failure;

/// Parts of one upload, by S3's rule.
pub(crate) const PARTS_MAX: u64 = 10_000;
/// The smallest part but the last, by S3's rule.
pub(crate) const PART_BYTES_MIN: u64 = 5 << 20;
/// The largest part that is held in memory; 10,000 of them are 10 TB.
pub(crate) const PART_BYTES_MAX: u64 = 1 << 30;
/// Bytes of parts in memory at once.
const MEMORY_BYTES_MAX: u64 = 256 << 20;
const MEMORY_UNIT: u64 = 1 << 10;

/// How an object is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) size: u64,
    pub(crate) part_bytes: u64,
}

/// One piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// From 1.
    pub(crate) number: u32,
    pub(crate) offset: u64,
    pub(crate) length: usize,
}

impl Cut {
    /// Of parts of the wanted size, or larger ones if there would be too many.
    pub(crate) fn new(size: u64, wanted: u64) -> Self {
        const MIB: u64 = 1 << 20;
        let least = size.div_ceil(PARTS_MAX).div_ceil(MIB) * MIB;
        Self { size, part_bytes: wanted.max(least).max(1) }
    }

    pub(crate) fn count(self) -> u64 {
        self.size.div_ceil(self.part_bytes)
    }

    pub(crate) fn pieces(self) -> impl Iterator<Item = Piece> {
        (0..self.count()).filter_map(move |at| {
            let offset = at * self.part_bytes;
            let length = usize::try_from(self.part_bytes.min(self.size - offset)).ok()?;
            Some(Piece { number: u32::try_from(at + 1).ok()?, offset, length })
        })
    }
}

/// What bounds the work under way: requests, and bytes in memory.
pub(crate) struct Lanes {
    requests: Arc<Semaphore>,
    memory: Arc<Semaphore>,
}

/// The right to hold some bytes and to make one request.
pub(crate) struct Lane {
    _request: OwnedSemaphorePermit,
    _memory: OwnedSemaphorePermit,
}

impl Lanes {
    pub(crate) fn new(parallel: u16) -> Self {
        let units = (MEMORY_BYTES_MAX / MEMORY_UNIT) as usize;
        Self { requests: Arc::new(Semaphore::new(parallel.into())), memory: Arc::new(Semaphore::new(units)) }
    }

    /// Waits for room. A piece that is larger than all of it waits for all of it.
    pub(crate) async fn enter(&self, bytes: u64) -> Lane {
        let units = bytes.div_ceil(MEMORY_UNIT).clamp(1, MEMORY_BYTES_MAX / MEMORY_UNIT) as u32;
        let open = "the semaphores are never closed";
        let memory = self.memory.clone().acquire_many_owned(units).await.expect(open);
        Lane { _request: self.requests.clone().acquire_owned().await.expect(open), _memory: memory }
    }
}

/// Reads a piece of a file.
pub(crate) async fn read_piece(
    file: &Arc<File>,
    path: &Path,
    offset: u64,
    length: usize,
) -> Result<Bytes, Failure> {
    let file = file.clone();
    let read = move || {
        let mut buffer = vec![0; length];
        file.read_exact_at(&mut buffer, offset).map(|()| Bytes::from(buffer))
    };
    blocking(read).await.map_err(|error| of_file(path, &error))
}

/// Does slow work of the file system where it delays nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

/// What went wrong with a file.
pub(crate) fn of_file(path: &Path, error: &std::io::Error) -> Failure {
    let advice = match error.kind() {
        std::io::ErrorKind::NotFound => "name a file that is there; an alias is one of `pangea alias list`",
        std::io::ErrorKind::PermissionDenied => "change its permissions, or be another user",
        std::io::ErrorKind::UnexpectedEof => "it became shorter while it was read: copy it again",
        std::io::ErrorKind::StorageFull => "make room on this disk and run the same command again",
        std::io::ErrorKind::IsADirectory => "add -r for everything below it",
        std::io::ErrorKind::NotADirectory | std::io::ErrorKind::AlreadyExists => {
            "a key and keys below it cannot both be files: copy it to another directory"
        }
        _ => "run the same command again",
    };
    Failure::new(format!("{}: {error}", path.display()), advice, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_everything_once() {
        for (size, wanted) in [(0, 5), (1, 5), (5, 5), (6, 5), (1 << 40, PART_BYTES_MIN), (100, 1 << 20)] {
            let cut = Cut::new(size, wanted);
            assert!(cut.count() <= PARTS_MAX, "{cut:?}");
            let mut end = 0;
            for piece in cut.pieces() {
                assert_eq!(piece.offset, end);
                end += piece.length as u64;
            }
            assert_eq!(end, size, "{cut:?}");
        }
    }
}
