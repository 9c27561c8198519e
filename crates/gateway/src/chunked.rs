//! The framing of aws-chunked bodies, checked before `s3s` sees it.
//!
//! `s3s` verifies signatures, but holds every chunk whole, takes chunks of 4 GiB, and takes the end of the connection
//! for the end of the body. So sizes, the last chunk and the total are checked here. Unsigned chunks are cut into
//! frames of what just arrived, so that one chunk of gigabytes (some SDKs send those) costs one buffer.
//!
//! ```text
//! Size --"HEX[;chunk-signature=64HEX]\r\n"--> Data --all bytes--> AfterData --"\r\n"--> Size
//! Size --"0[...]\r\n"--> Trailer --end of body--> done
//! ```

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};

use crate::inlet::BodyFault;
use crate::options::SIGNED_CHUNK_BYTES_MAX;
use crate::screen::Chunking;

/// `HEX;chunk-signature=` and 64 digits, with room to spare.
const LINE_BYTES_MAX: usize = 128;
const TRAILER_BYTES_MAX: usize = 16 << 10;

#[derive(PartialEq, Eq, Debug)]
enum State {
    /// In a chunk's first line.
    Size,
    /// In its data: bytes left.
    Data(u64),
    /// In the line end after its data: bytes left.
    AfterData(u8),
    /// After the last chunk: bytes so far.
    Trailer(usize),
}

/// Where in the framing a body is.
#[derive(Debug)]
pub(crate) struct Framing {
    chunking: Chunking,
    state: State,
    line: Vec<u8>,
    seen: u64,
}

impl Framing {
    /// At the beginning.
    pub(crate) fn new(chunking: Chunking) -> Self {
        Self { chunking, state: State::Size, line: Vec::new(), seen: 0 }
    }

    /// Takes what arrived and gives what `s3s` shall see of it. `admit` is asked before a signed chunk is let in that
    /// has to be held whole.
    pub(crate) fn push(
        &mut self,
        mut bytes: Bytes,
        out: &mut VecDeque<Bytes>,
        admit: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), BodyFault> {
        if self.chunking.signed {
            out.push_back(bytes.clone());
        }
        while !bytes.is_empty() {
            match self.state {
                State::Size => self.size_line(&mut bytes, out, admit)?,
                State::Data(left) => self.data(&mut bytes, left, out),
                State::AfterData(left) => {
                    let expected = if left == 2 { b'\r' } else { b'\n' };
                    if bytes.get_u8() != expected {
                        return Err(BodyFault::Framing);
                    }
                    self.state = if left == 2 { State::AfterData(1) } else { State::Size };
                }
                State::Trailer(seen) => {
                    let seen = seen + bytes.len();
                    let blank = bytes.iter().all(|b| matches!(b, b'\r' | b'\n'));
                    if seen > TRAILER_BYTES_MAX || (!self.chunking.trailer && !blank) {
                        return Err(BodyFault::Trailer);
                    }
                    self.state = State::Trailer(seen);
                    let rest = std::mem::take(&mut bytes);
                    if !self.chunking.signed {
                        out.push_back(rest);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the body may end here.
    pub(crate) fn finish(&self) -> Result<(), BodyFault> {
        match self.state {
            State::Trailer(_) => Ok(()),
            State::Size | State::Data(_) | State::AfterData(_) => Err(BodyFault::Truncated),
        }
    }

    fn size_line(
        &mut self,
        bytes: &mut Bytes,
        out: &mut VecDeque<Bytes>,
        admit: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), BodyFault> {
        let end = bytes.iter().position(|b| *b == b'\n');
        let taken = bytes.split_to(end.map_or(bytes.len(), |end| end + 1));
        self.line.extend_from_slice(&taken);
        if self.line.len() > LINE_BYTES_MAX {
            return Err(BodyFault::Framing);
        }
        if end.is_none() {
            return Ok(());
        }
        let size = size_of(&self.line, self.chunking.signed).ok_or(BodyFault::Framing)?;
        self.line.clear();
        let expected = self.chunking.decoded;
        let seen = self.seen.checked_add(size).ok_or(BodyFault::Framing)?;
        if seen > expected || (size == 0 && seen != expected) {
            return Err(BodyFault::Length { expected, received: seen });
        }
        self.seen = seen;
        if size == 0 {
            self.state = State::Trailer(0);
            if !self.chunking.signed {
                out.push_back(Bytes::from_static(b"0\r\n"));
            }
            return Ok(());
        }
        if self.chunking.signed {
            if size > SIGNED_CHUNK_BYTES_MAX {
                return Err(BodyFault::ChunkTooLarge { bytes_max: SIGNED_CHUNK_BYTES_MAX });
            }
            if !admit(size) {
                return Err(BodyFault::Busy);
            }
        }
        self.state = State::Data(size);
        Ok(())
    }

    fn data(&mut self, bytes: &mut Bytes, left: u64, out: &mut VecDeque<Bytes>) {
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let data = bytes.split_to(take);
        if !self.chunking.signed {
            out.push_back(Bytes::from(format!("{take:x}\r\n")));
            out.push_back(data);
            out.push_back(Bytes::from_static(b"\r\n"));
        }
        let left = left - take as u64;
        self.state = if left == 0 { State::AfterData(2) } else { State::Data(left) };
    }
}

/// The size in a chunk's first line, if that is well formed.
fn size_of(line: &[u8], signed: bool) -> Option<u64> {
    let line = std::str::from_utf8(line.strip_suffix(b"\r\n")?).ok()?;
    let digits = if signed {
        let (digits, signature) = line.split_once(";chunk-signature=")?;
        let well_formed = signature.len() == 64 && signature.bytes().all(|b| b.is_ascii_hexdigit());
        well_formed.then_some(digits)?
    } else {
        line
    };
    let well_formed = (1..=16).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    well_formed.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
#[path = "chunked_tests.rs"]
mod tests;
