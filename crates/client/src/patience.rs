//! Patience: how long a write waits for memory before its client is told to come back.
//!
//! Memory is granted in order, and whoever waits for it cannot know what those before it wait for: a drive that hangs, or a
//! sender that brings nothing. Without a bound a PUT could stand in the line for ever.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use crate::client::Client;
use crate::door::ClientError;

impl Client {
    /// Waits for memory, but not longer than [`crate::Options::memory_wait_ms`]; the place in the line is then given up.
    ///
    /// # Errors
    /// [`ClientError::SlowDown`] when the time is over.
    pub(crate) async fn in_time<T>(&self, waiting: impl Future<Output = T>) -> Result<T, ClientError> {
        let (inner, mut waiting) = (&self.inner, pin!(waiting));
        // Made when there is something to wait for: as a rule there is not.
        let mut timer = None;
        poll_fn(|cx| {
            if let Poll::Ready(granted) = waiting.as_mut().poll(cx) {
                return Poll::Ready(Ok(granted));
            }
            let timer = timer.get_or_insert_with(|| {
                let wait_us = u64::from(inner.options.memory_wait_ms) * 1000;
                inner.parts.runtime.sleep_until(inner.parts.clock.mono_us() + wait_us)
            });
            timer.as_mut().poll(cx).map(|()| Err(ClientError::SlowDown))
        })
        .await
    }
}
