//! The bytes between nodes, inside TLS: frames. Bytes only; nothing here waits or allocates by what a peer says.
//!
//! A frame is a header of 8 bytes, a head and a body, little-endian:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | kind |
//! | 1 | 3 | length of the head |
//! | 4 | 4 | length of the body |
//!
//! | kind | head | body |
//! |---|---|---|
//! | 1 question, 2 answer | of the message, at most `HEAD_BYTES_MAX` | of the message, at most `BODY_BYTES_MAX` |
//! | 3 ping, 4 pong | 8: a stamp of the pinger's, which the pong repeats | none |
//! | 5 credit | 4: so many more bytes of questions may come | none |
//! | 6 greeting | 61: see [`crate::proof`] | none |
//! | 7 bye | 1: why, see [`Refusal`] | none |

use std::fmt;

use pangea_core::wire::{BODY_BYTES_MAX, HEAD_BYTES_MAX};

use crate::error::Refusal;
use crate::proof::GREETING_BYTES;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 8;
/// The longest head of a frame that is no message.
pub const CONTROL_BYTES_MAX: usize = GREETING_BYTES;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A message that asks.
    Question = 1,
    /// A message that answers.
    Answer = 2,
    /// Asks for a sign of life.
    Ping = 3,
    /// Gives one.
    Pong = 4,
    /// Gives room for more questions.
    Credit = 5,
    /// The first frame of each side.
    Greeting = 6,
    /// The last frame of a side.
    Bye = 7,
}

/// Bytes that are no frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// No such kind.
    Kind(u8),
    /// A head or body that is longer than its kind allows, or shorter.
    Length {
        /// The kind.
        kind: Kind,
        /// Bytes of the head.
        head_bytes: usize,
        /// Bytes of the body.
        body_bytes: usize,
    },
    /// A frame that may not come at this point.
    Unexpected(Kind),
    /// More questions than there was room for.
    Flood,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "there is no frame of kind {kind}"),
            Self::Length { kind, head_bytes, body_bytes } => {
                write!(f, "a frame {kind:?} of {head_bytes} + {body_bytes} bytes")
            }
            Self::Unexpected(kind) => write!(f, "a frame {kind:?} at the wrong time"),
            Self::Flood => write!(f, "more questions than there was room for"),
        }
    }
}

impl std::error::Error for FrameError {}

/// What a frame says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// Bytes of its head.
    pub head_bytes: usize,
    /// Bytes of its body.
    pub body_bytes: usize,
}

impl Header {
    /// A header's bytes. The lengths are bounded where messages are taken in.
    pub fn encode(self) -> [u8; HEADER_BYTES] {
        debug_assert!(self.fits(), "{self:?}");
        let [low, middle, high, _] = (self.head_bytes as u32).to_le_bytes();
        let body = (self.body_bytes as u32).to_le_bytes();
        [self.kind as u8, low, middle, high, body[0], body[1], body[2], body[3]]
    }

    /// Reads a header and checks its lengths, before anything is allocated for them.
    pub fn decode(bytes: [u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let [kind, low, middle, high, body @ ..] = bytes;
        let kind = match kind {
            1 => Kind::Question,
            2 => Kind::Answer,
            3 => Kind::Ping,
            4 => Kind::Pong,
            5 => Kind::Credit,
            6 => Kind::Greeting,
            7 => Kind::Bye,
            other => return Err(FrameError::Kind(other)),
        };
        let head_bytes = u32::from_le_bytes([low, middle, high, 0]) as usize;
        let body_bytes = u32::from_le_bytes(body) as usize;
        let header = Self { kind, head_bytes, body_bytes };
        if header.fits() { Ok(header) } else { Err(FrameError::Length { kind, head_bytes, body_bytes }) }
    }

    fn fits(self) -> bool {
        match self.kind {
            Kind::Question | Kind::Answer => {
                self.head_bytes <= HEAD_BYTES_MAX && self.body_bytes <= BODY_BYTES_MAX
            }
            Kind::Ping | Kind::Pong => (self.head_bytes, self.body_bytes) == (8, 0),
            Kind::Credit => (self.head_bytes, self.body_bytes) == (4, 0),
            Kind::Greeting => (self.head_bytes, self.body_bytes) == (GREETING_BYTES, 0),
            Kind::Bye => (self.head_bytes, self.body_bytes) == (1, 0),
        }
    }
}

/// A frame that is no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Control {
    /// Asks for a sign of life.
    Ping(u64),
    /// Gives one.
    Pong(u64),
    /// Room for so many more bytes of questions.
    Credit(u32),
    /// The sender hangs up; an unknown reason is [`Refusal::Protocol`].
    Bye(Refusal),
}

impl Control {
    /// Appends the whole frame.
    pub fn encode(self, out: &mut impl bytes::BufMut) {
        let (kind, stamp, count, why);
        let head: &[u8] = match self {
            Self::Ping(at) | Self::Pong(at) => {
                kind = if matches!(self, Self::Ping(_)) { Kind::Ping } else { Kind::Pong };
                stamp = at.to_le_bytes();
                &stamp
            }
            Self::Credit(bytes) => {
                kind = Kind::Credit;
                count = bytes.to_le_bytes();
                &count
            }
            Self::Bye(reason) => {
                kind = Kind::Bye;
                why = [reason as u8];
                &why
            }
        };
        out.put_slice(&Header { kind, head_bytes: head.len(), body_bytes: 0 }.encode());
        out.put_slice(head);
    }

    /// Reads the head of a frame of this kind.
    pub fn decode(kind: Kind, head: &[u8]) -> Result<Self, FrameError> {
        let wrong = FrameError::Length { kind, head_bytes: head.len(), body_bytes: 0 };
        Ok(match kind {
            Kind::Ping => Self::Ping(u64::from_le_bytes(head.try_into().map_err(|_| wrong)?)),
            Kind::Pong => Self::Pong(u64::from_le_bytes(head.try_into().map_err(|_| wrong)?)),
            Kind::Credit => Self::Credit(u32::from_le_bytes(head.try_into().map_err(|_| wrong)?)),
            Kind::Bye => {
                let [number] = head.try_into().map_err(|_| wrong)?;
                Self::Bye(Refusal::from_u8(number).unwrap_or(Refusal::Protocol))
            }
            Kind::Question | Kind::Answer | Kind::Greeting => return Err(FrameError::Unexpected(kind)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip_at_their_bounds_and_are_refused_beyond() {
        for kind in [Kind::Question, Kind::Answer] {
            for (head_bytes, body_bytes) in [(0, 0), (1, 2), (HEAD_BYTES_MAX, BODY_BYTES_MAX)] {
                let header = Header { kind, head_bytes, body_bytes };
                assert_eq!(Header::decode(header.encode()), Ok(header));
            }
        }
        let largest =
            Header { kind: Kind::Answer, head_bytes: HEAD_BYTES_MAX, body_bytes: BODY_BYTES_MAX }.encode();
        for at in [1, 4] {
            let mut beyond = largest;
            beyond[at] += 1;
            assert!(matches!(Header::decode(beyond), Err(FrameError::Length { .. })));
        }
        assert_eq!(Header::decode([9; 8]), Err(FrameError::Kind(9)));
        assert!(Header::decode([3, 7, 0, 0, 0, 0, 0, 0]).is_err(), "a ping has 8 bytes");
        assert!(Header::decode([7, 1, 0, 0, 1, 0, 0, 0]).is_err(), "a bye has no body");
    }

    #[test]
    fn controls_round_trip() {
        let mut all = vec![Control::Ping(1), Control::Pong(u64::MAX), Control::Credit(77)];
        all.extend(Refusal::ALL.map(Control::Bye));
        for control in all {
            let mut frame = Vec::new();
            control.encode(&mut frame);
            let (header, head) = frame.split_at(HEADER_BYTES);
            let header = Header::decode(header.try_into().expect("8 bytes")).expect("well formed");
            assert_eq!(Control::decode(header.kind, head), Ok(control));
            assert!(Control::decode(header.kind, &frame).is_err(), "one length a kind");
        }
        assert_eq!(Control::decode(Kind::Bye, &[200]), Ok(Control::Bye(Refusal::Protocol)));
    }
}
