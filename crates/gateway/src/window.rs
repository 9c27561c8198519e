//! Memory for answers: what is fetched of an object ahead of the client that reads it, over all requests.
//!
//! The data path keeps a window of chunks ahead of every reader. That is budgeted here as bodies are in `front`: a read takes
//! the window's bytes when it begins and holds them until its last byte has gone or its client is given up. Once half of the
//! budget is taken, further reads get a narrow window, so that slow clients make others slower and do not shut them out.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use pangea_client::{Body, Client, Object};
use s3s::S3Result;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::slow_down;

/// What the data path fetches ahead of one reader.
const WIDE_BYTES: u64 = 8 << 20;
/// What a reader has where memory is short: it asks for so many bytes at a time, the fewer the less is left.
const NARROW_BYTES_MAX: u64 = 1 << 20;
/// The least; an answer of so few bytes needs no budget, the number of requests bounds it.
const NARROW_BYTES_MIN: u64 = 64 << 10;
/// Of what is left, a narrow reader takes so much.
const NARROW_SHARE: u64 = 16;
/// What is fetched is there as sealed pieces, as plaintext and as a frame on its way out; of a wide window not all at once.
const NARROW_COPIES: u64 = 3;
const WIDE_COPIES: u64 = 2;

/// The budget.
pub(crate) struct Windows {
    kib: Arc<Semaphore>,
    kib_max: usize,
    /// How long a read waits for its turn.
    wait: Duration,
}

/// The stream of an object's bytes, and the memory that it may take.
pub(crate) struct Read {
    /// The bytes.
    pub(crate) body: Body,
    /// Dropped with the body.
    pub(crate) held: OwnedSemaphorePermit,
}

impl Windows {
    /// With so many bytes in all; at least one narrow window.
    pub(crate) fn new(bytes_max: usize, wait: Duration) -> Self {
        let kib_max =
            (bytes_max >> 10).clamp(kib(NARROW_COPIES * NARROW_BYTES_MIN) as usize, Semaphore::MAX_PERMITS);
        Self { kib: Arc::new(Semaphore::new(kib_max)), kib_max, wait }
    }

    /// Begins to read, once there is memory for it.
    pub(crate) async fn read(&self, client: &Client, object: &Object, bytes: Range<u64>) -> S3Result<Read> {
        let len = bytes.end - bytes.start;
        let wide = if len <= NARROW_BYTES_MIN { 0 } else { kib(WIDE_COPIES * len.min(WIDE_BYTES)) };
        let left = self.kib.available_permits();
        if (wide == 0 || left >= wide as usize + self.kib_max / 2)
            && let Ok(held) = Arc::clone(&self.kib).try_acquire_many_owned(wide)
        {
            return Ok(Read { body: client.read(object, bytes), held });
        }
        let narrow = ((left as u64) << 10) / NARROW_SHARE / NARROW_COPIES;
        let narrow = narrow.clamp(NARROW_BYTES_MIN, NARROW_BYTES_MAX);
        let waiting = Arc::clone(&self.kib).acquire_many_owned(kib(NARROW_COPIES * len.min(narrow)));
        match timeout(self.wait, waiting).await {
            Ok(Ok(held)) => Ok(Read { body: in_steps(client, object, bytes, narrow), held }),
            Ok(Err(_)) | Err(_) => Err(slow_down("Too much is being read at once: try again in a moment.")),
        }
    }
}

fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes >> 10).unwrap_or(u32::MAX)
}

/// The same bytes, one narrow window after the other.
fn in_steps(client: &Client, object: &Object, bytes: Range<u64>, narrow: u64) -> Body {
    let (client, object) = (client.clone(), object.clone());
    let starts = (bytes.start..bytes.end).step_by(narrow as usize);
    let step = move |start: u64| client.read(&object, start..bytes.end.min(start + narrow));
    Box::pin(stream::iter(starts).flat_map(step))
}
