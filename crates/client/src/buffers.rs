//! Buffers of chunks, kept from one chunk to the next: new memory for each costs more than the copying.
//!
//! Owns memory that nobody uses just now, within a number of bytes, and only while somebody is at work: with the last user
//! all of it goes back to the system. Used by the sealing of `blob_put` and the opening of `stripe`, on the CPU pool.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};

/// Smaller wishes are the allocator's affair.
const KEPT_BYTES_MIN: usize = 256 << 10;
/// A buffer serves a wish of at least this fraction of it.
const WASTE_MAX: usize = 2;

/// See the module.
pub(crate) struct Buffers {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Memory of stripes and its length; their shards may still be on their way to the drives. The oldest first.
    stripes: VecDeque<(BytesMut, usize)>,
    plains: Vec<Vec<u8>>,
    /// Of both.
    bytes: usize,
    users: usize,
}

/// Somebody who reads or writes chunks.
pub(crate) struct User(Arc<Buffers>);

impl Buffers {
    /// Keeps at most so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default() }
    }

    /// Registers a user, as long as whom buffers are kept.
    pub(crate) fn user(self: &Arc<Self>) -> User {
        self.lock().users += 1;
        User(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the buffers")
    }
}

impl User {
    /// Has `work` fill memory for a stripe, and keeps that memory for when its shards are gone.
    pub(crate) fn with_stripe<T>(&self, work: impl FnOnce(&mut BytesMut) -> (T, usize)) -> T {
        let (mut memory, _) = self.0.lock().take_stripe().unwrap_or_default();
        let (done, bytes) = work(&mut memory);
        let mut state = self.0.lock();
        if bytes >= KEPT_BYTES_MIN && state.bytes + bytes <= self.0.bytes_max {
            state.bytes += bytes;
            state.stripes.push_back((memory, bytes));
        }
        done
    }

    /// Has `work` fill a buffer of about `bytes` bytes and say where its result is. The buffer comes back when nobody holds
    /// the result any more.
    pub(crate) fn with_plain<E>(
        self,
        bytes: usize,
        work: impl FnOnce(&mut Vec<u8>) -> Result<Range<usize>, E>,
    ) -> Result<Bytes, E> {
        let buffer = self.0.lock().take_plain(bytes).unwrap_or_default();
        let mut kept = Kept { buffer, user: self };
        let range = work(&mut kept.buffer)?;
        Ok(Bytes::from_owner(kept).slice(range))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.users -= 1;
        if state.users == 0 {
            *state = State::default();
        }
    }
}

impl State {
    fn take_stripe(&mut self) -> Option<(BytesMut, usize)> {
        let taken = self.stripes.pop_front()?;
        self.bytes -= taken.1;
        Some(taken)
    }

    fn take_plain(&mut self, bytes: usize) -> Option<Vec<u8>> {
        let fits = |plain: &Vec<u8>| (bytes..=bytes.saturating_mul(WASTE_MAX)).contains(&plain.len());
        let taken = self.plains.swap_remove(self.plains.iter().position(fits)?);
        self.bytes -= taken.len();
        Some(taken)
    }
}

/// A result in its buffer.
struct Kept {
    buffer: Vec<u8>,
    user: User,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let buffers = &self.user.0;
        let mut state = buffers.lock();
        let bytes = self.buffer.len();
        if bytes >= KEPT_BYTES_MIN && state.bytes + bytes <= buffers.bytes_max {
            state.bytes += bytes;
            state.plains.push(std::mem::take(&mut self.buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Buffers, KEPT_BYTES_MIN, User};
    use std::convert::Infallible;
    use std::sync::Arc;

    const BYTES: usize = 2 * KEPT_BYTES_MIN;

    fn plain(user: User, bytes: usize) -> bytes::Bytes {
        let filled = user.with_plain(bytes, |buffer| {
            if buffer.len() < bytes {
                *buffer = vec![1; bytes];
            }
            Ok::<_, Infallible>(0..bytes)
        });
        let Ok(filled) = filled;
        filled
    }

    #[test]
    fn a_buffer_comes_back_with_the_last_who_holds_its_result_and_goes_with_the_last_user() {
        let buffers = Arc::new(Buffers::new(2 * BYTES));
        let user = buffers.user();
        let first = plain(buffers.user(), BYTES);
        let (at, slice) = (first.as_ptr(), first.slice(5..6));
        drop(first);
        assert_eq!(buffers.lock().bytes, 0, "a slice of it is still held");
        drop(slice);
        assert_eq!(buffers.lock().bytes, BYTES);
        assert_eq!(plain(buffers.user(), BYTES - 1).as_ptr(), at, "used again");
        assert_ne!(plain(buffers.user(), BYTES / 2 - 1).as_ptr(), at, "far too large");
        drop(user);
        let state = buffers.lock();
        assert_eq!((state.bytes, state.users, state.plains.len()), (0, 0, 0));
    }

    #[test]
    fn no_more_is_kept_than_allowed_and_nothing_small() {
        let buffers = Arc::new(Buffers::new(2 * BYTES));
        let user = buffers.user();
        let many: Vec<_> = (0..5).map(|_| plain(buffers.user(), BYTES)).collect();
        drop(many);
        assert_eq!(buffers.lock().bytes, 2 * BYTES);
        for _ in 0..5 {
            user.with_stripe(|memory| {
                memory.resize(BYTES, 1);
                (memory.split(), BYTES)
            });
        }
        drop(plain(buffers.user(), 10));
        let state = buffers.lock();
        assert_eq!((state.bytes, state.stripes.len()), (2 * BYTES, 0));
    }

    #[test]
    fn a_stripe_is_written_where_one_was_whose_shards_are_gone() {
        let buffers = Arc::new(Buffers::new(4 * BYTES));
        let user = buffers.user();
        let stripe = || {
            user.with_stripe(|memory| {
                memory.clear();
                memory.reserve(BYTES);
                memory.resize(BYTES, 1);
                (memory.split().freeze(), BYTES)
            })
        };
        let at = stripe().as_ptr();
        let held = stripe();
        assert_eq!(held.as_ptr(), at);
        assert_ne!(stripe().as_ptr(), at, "its shards are still held");
    }
}
