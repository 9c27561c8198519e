//! What is written at once: the parts of some frames, one behind another, shared and not copied.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};
use pangea_transport::Message;
use tokio::sync::OwnedSemaphorePermit;

use super::link::message_header;
use crate::frame::Control;

/// A batch of so many bytes is full.
const BATCH_BYTES: usize = 256 << 10;
/// A batch of so many parts is full.
const BATCH_PARTS: usize = 48;

/// See the module.
#[derive(Default)]
pub(crate) struct Batch {
    parts: VecDeque<Bytes>,
    bytes: usize,
    /// The room that the questions took, until they are written.
    permits: Vec<OwnedSemaphorePermit>,
    scratch: BytesMut,
    /// Whether the other side gives a sign for it: a message or a ping is in it.
    asks: bool,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES || self.parts.len() >= BATCH_PARTS
    }

    /// Whether the other side gives a sign for it.
    pub(crate) fn asks(&self) -> bool {
        self.asks
    }

    /// Adds a message.
    pub(crate) fn message(&mut self, message: Message, permit: Option<OwnedSemaphorePermit>) {
        self.asks = true;
        let header = message_header(&message, &mut self.scratch);
        self.part(header);
        self.part(message.head);
        self.part(message.body);
        self.permits.extend(permit);
    }

    /// Adds a frame that is no message.
    pub(crate) fn control(&mut self, control: Control) {
        self.asks |= matches!(control, Control::Ping(_));
        control.encode(&mut self.scratch);
        let frame = self.scratch.split().freeze();
        self.part(frame);
    }

    /// Everything was written.
    pub(crate) fn done(&mut self) {
        debug_assert!(self.is_empty());
        self.permits.clear();
        self.bytes = 0;
        self.asks = false;
    }

    fn part(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.bytes += part.len();
            self.parts.push_back(part);
        }
    }
}

impl Buf for Batch {
    fn remaining(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let used = slices.len().min(self.parts.len());
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            *slice = IoSlice::new(part);
        }
        used
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(first) = self.parts.front_mut() {
            if count < first.len() {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.parts.pop_front();
        }
        assert_eq!(count, 0, "no more is written than there was");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_stand_one_behind_another_however_they_are_taken() {
        let message =
            Message { head: Bytes::from_static(b"head"), body: Bytes::from(vec![7; 100]), answer: true };
        for step in [1, 3, 1000] {
            let mut batch = Batch::default();
            batch.control(Control::Ping(5));
            batch.message(message.clone(), None);
            let mut written: Vec<u8> = Vec::new();
            while !batch.is_empty() {
                let mut slices = [IoSlice::new(&[]); 8];
                let count = batch.chunks_vectored(&mut slices);
                let all: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
                assert_eq!(all.len(), batch.remaining());
                let take = step.min(all.len());
                written.extend(&all[..take]);
                batch.advance(take);
            }
            batch.done();
            assert_eq!(written.len(), 16 + 8 + 4 + 100);
            assert_eq!(written[24..28], *b"head");
        }
    }
}
