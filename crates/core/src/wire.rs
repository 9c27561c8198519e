//! Wire messages: what one node asks of another's drives, and the frame that carries it.
//!
//! A message is a head (frame and request, at most [`HEAD_BYTES_MAX`]) and a body (shard bytes, shared, never copied
//! into the head). Frame, little-endian:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | version, 1 |
//! | 1 | 1 | kind: 1 request, 2 response, 3 cancel, 4 ask, 5 told |
//! | 2 | 8 | request id, drawn by the caller, unique per connection |
//! | 10 | 4 | milliseconds that the caller will still wait (requests, asks; else 0) |
//! | 14 | 4 | body length |
//! | 18 | | the request or response; ask: the service, 1 byte; told: 1 if there is such a service, else 0 |
//!
//! An ask is a question to a service of the node itself; question and answer are the bodies, in the service's own words.

use crate::chunk::ShardHeader;
use crate::codec::{Malformed, Put, Reader};
use crate::id::{BlobId, ChunkId, DriveId, ShardId};

/// The largest message body: one shard, with room.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// The largest head.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// The most shards named in one delete or list.
pub const SHARDS_PER_MESSAGE_MAX: usize = 1000;
const VERSION: u8 = 1;

/// What a message is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload {
    /// A question.
    Request {
        /// How long the caller will wait.
        patience_ms: u32,
        /// The question.
        request: StoreRequest,
    },
    /// Its answer.
    Response(StoreResponse),
    /// The caller no longer wants the answer.
    Cancel,
    /// A question to a service of the node; the question is the body.
    Ask {
        /// How long the caller will wait.
        patience_ms: u32,
        /// Which service.
        service: u8,
    },
    /// What the service answered is the body.
    Told {
        /// Whether there is such a service, and it takes questions of that peer.
        served: bool,
    },
}

/// One frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Ties an answer to its question.
    pub request_id: u64,
    /// What it is.
    pub payload: Payload,
}

/// What may be asked of a drive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreRequest {
    /// Keep this shard (its bytes are the body); answered when it is durable.
    Put {
        /// The drive.
        drive: DriveId,
        /// What the shard says of itself.
        header: Box<ShardHeader>,
    },
    /// Give these pieces of a shard.
    Read {
        /// The drive.
        drive: DriveId,
        /// The shard.
        shard: ShardId,
        /// The first piece.
        first: u8,
        /// How many.
        pieces: u8,
    },
    /// Give a shard's header.
    Header {
        /// The drive.
        drive: DriveId,
        /// The shard.
        shard: ShardId,
    },
    /// Read a shard from the medium and check every piece.
    Verify {
        /// The drive.
        drive: DriveId,
        /// The shard.
        shard: ShardId,
    },
    /// Drop a shard that was found corrupt, so that a good one may take its place.
    Condemn {
        /// The drive.
        drive: DriveId,
        /// The shard.
        shard: ShardId,
    },
    /// Forget these shards.
    Delete {
        /// The drive.
        drive: DriveId,
        /// The shards; those that are not there count as deleted.
        shards: Vec<ShardId>,
    },
    /// Name the shards after this one, in order.
    List {
        /// The drive.
        drive: DriveId,
        /// Exclusive.
        after: Option<ShardId>,
        /// At most so many.
        limit: u16,
    },
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreResponse {
    /// Done.
    Done,
    /// The pieces are the body.
    Data,
    /// A header.
    Header(Box<ShardHeader>),
    /// Shards, rising; fewer than asked for: that was all.
    Shards(Vec<ShardId>),
    /// Not done, and why.
    Failed(Fault),
}

/// Why a drive did not do what it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Fault {
    /// It does not have the shard.
    Missing = 1,
    /// The shard's bytes are not what its header says.
    Corrupt = 2,
    /// It holds another shard under that id.
    Conflict = 3,
    /// It is full.
    Full = 4,
    /// It takes no writes.
    ReadOnly = 5,
    /// It stopped after an error of the medium.
    Drive = 6,
    /// No such drive here.
    NoSuchDrive = 7,
    /// The request makes no sense.
    Malformed = 8,
    /// The answer did not come in time, or the peer is gone (made by the caller's side, never sent).
    Unreachable = 9,
}

impl Fault {
    fn from_u8(byte: u8) -> Option<Self> {
        use Fault as F;
        let all = [
            F::Missing,
            F::Corrupt,
            F::Conflict,
            F::Full,
            F::ReadOnly,
            F::Drive,
            F::NoSuchDrive,
            F::Malformed,
            F::Unreachable,
        ];
        all.into_iter().find(|fault| *fault as u8 == byte)
    }
}

impl Frame {
    /// The head of a message with a body of `body_len` bytes.
    pub fn encode(&self, body_len: usize) -> Vec<u8> {
        assert!(body_len <= BODY_BYTES_MAX, "bodies are bounded where they are made");
        let (kind, patience_ms) = match &self.payload {
            Payload::Request { patience_ms, .. } => (1, *patience_ms),
            Payload::Response(_) => (2, 0),
            Payload::Cancel => (3, 0),
            Payload::Ask { patience_ms, .. } => (4, *patience_ms),
            Payload::Told { .. } => (5, 0),
        };
        let mut out = Vec::with_capacity(128);
        out.put_u8(VERSION);
        out.put_u8(kind);
        out.put_u64(self.request_id);
        out.put_u32(patience_ms);
        out.put_u32(body_len as u32);
        match &self.payload {
            Payload::Request { request, .. } => request.encode(&mut out),
            Payload::Response(response) => response.encode(&mut out),
            Payload::Cancel => {}
            Payload::Ask { service, .. } => out.put_u8(*service),
            Payload::Told { served } => out.put_u8(u8::from(*served)),
        }
        assert!(out.len() <= HEAD_BYTES_MAX, "heads are bounded where they are made");
        out
    }

    /// Reads a head; gives the frame and the length that the body must have.
    pub fn decode(head: &[u8]) -> Result<(Self, usize), Malformed> {
        let mut r = Reader::new(head, "frame");
        if head.len() > HEAD_BYTES_MAX || r.u8()? != VERSION {
            return Err(r.malformed());
        }
        let (kind, request_id, patience_ms, body_len) = (r.u8()?, r.u64()?, r.u32()?, r.u32()? as usize);
        if body_len > BODY_BYTES_MAX {
            return Err(r.malformed());
        }
        let payload = match kind {
            1 => Payload::Request { patience_ms, request: StoreRequest::decode(&mut r)? },
            2 => Payload::Response(StoreResponse::decode(&mut r)?),
            3 => Payload::Cancel,
            4 => Payload::Ask { patience_ms, service: r.u8()? },
            5 => Payload::Told { served: r.bool()? },
            _ => return Err(r.malformed()),
        };
        r.finish()?;
        Ok((Self { request_id, payload }, body_len))
    }
}

impl StoreRequest {
    /// The drive that is asked.
    pub fn drive(&self) -> DriveId {
        match self {
            Self::Put { drive, .. }
            | Self::Read { drive, .. }
            | Self::Header { drive, .. }
            | Self::Verify { drive, .. }
            | Self::Condemn { drive, .. }
            | Self::Delete { drive, .. }
            | Self::List { drive, .. } => *drive,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let tag = match self {
            Self::Put { .. } => 1,
            Self::Read { .. } => 2,
            Self::Header { .. } => 3,
            Self::Verify { .. } => 4,
            Self::Condemn { .. } => 5,
            Self::Delete { .. } => 6,
            Self::List { .. } => 7,
        };
        out.put_u8(tag);
        out.put_raw(&self.drive().0);
        match self {
            Self::Put { header, .. } => header.encode(out),
            Self::Read { shard, first, pieces, .. } => {
                put_shard(out, shard);
                out.put_u8(*first);
                out.put_u8(*pieces);
            }
            Self::Header { shard, .. } | Self::Verify { shard, .. } | Self::Condemn { shard, .. } => {
                put_shard(out, shard);
            }
            Self::Delete { shards, .. } => put_shards(out, shards),
            Self::List { after, limit, .. } => {
                out.put_u8(u8::from(after.is_some()));
                after.iter().for_each(|shard| put_shard(out, shard));
                out.put_u16(*limit);
            }
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let tag = r.u8()?;
        let drive = DriveId(r.array()?);
        Ok(match tag {
            1 => Self::Put { drive, header: Box::new(ShardHeader::decode(r)?) },
            2 => Self::Read { drive, shard: take_shard(r)?, first: r.u8()?, pieces: r.u8()? },
            3 => Self::Header { drive, shard: take_shard(r)? },
            4 => Self::Verify { drive, shard: take_shard(r)? },
            5 => Self::Condemn { drive, shard: take_shard(r)? },
            6 => Self::Delete { drive, shards: take_shards(r)? },
            7 => {
                let after = if r.bool()? { Some(take_shard(r)?) } else { None };
                Self::List { drive, after, limit: r.u16()? }
            }
            _ => return Err(r.malformed()),
        })
    }
}

impl StoreResponse {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Done => out.put_u8(1),
            Self::Data => out.put_u8(2),
            Self::Header(header) => {
                out.put_u8(3);
                header.encode(out);
            }
            Self::Shards(shards) => {
                out.put_u8(4);
                put_shards(out, shards);
            }
            Self::Failed(fault) => {
                out.put_u8(5);
                out.put_u8(*fault as u8);
            }
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match r.u8()? {
            1 => Self::Done,
            2 => Self::Data,
            3 => Self::Header(Box::new(ShardHeader::decode(r)?)),
            4 => Self::Shards(take_shards(r)?),
            5 => Self::Failed(Fault::from_u8(r.u8()?).ok_or(r.malformed())?),
            _ => return Err(r.malformed()),
        })
    }
}

fn put_shard(out: &mut Vec<u8>, shard: &ShardId) {
    out.put_raw(&shard.chunk.blob.0);
    out.put_u32(shard.chunk.chunk);
    out.put_u8(shard.index);
}

fn take_shard(r: &mut Reader<'_>) -> Result<ShardId, Malformed> {
    Ok(ShardId { chunk: ChunkId { blob: BlobId(r.array()?), chunk: r.u32()? }, index: r.u8()? })
}

fn put_shards(out: &mut Vec<u8>, shards: &[ShardId]) {
    assert!(shards.len() <= SHARDS_PER_MESSAGE_MAX, "lists are cut where they are made");
    out.put_u32(shards.len() as u32);
    shards.iter().for_each(|shard| put_shard(out, shard));
}

fn take_shards(r: &mut Reader<'_>) -> Result<Vec<ShardId>, Malformed> {
    let count = r.count(21)?;
    if count > SHARDS_PER_MESSAGE_MAX {
        return Err(r.malformed());
    }
    (0..count).map(|_| take_shard(r)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(chunk: u32, index: u8) -> ShardId {
        ShardId { chunk: ChunkId { blob: BlobId([7; 16]), chunk }, index }
    }

    #[test]
    fn every_message_round_trips_and_every_cut_is_refused() {
        let drive = DriveId([3; 16]);
        let requests = [
            StoreRequest::Read { drive, shard: shard(1, 2), first: 3, pieces: 4 },
            StoreRequest::Verify { drive, shard: shard(9, 0) },
            StoreRequest::Delete { drive, shards: vec![shard(0, 0), shard(0, 1)] },
            StoreRequest::List { drive, after: Some(shard(5, 5)), limit: 10 },
            StoreRequest::List { drive, after: None, limit: 10 },
        ];
        let mut payloads: Vec<Payload> =
            requests.into_iter().map(|request| Payload::Request { patience_ms: 5, request }).collect();
        payloads.push(Payload::Response(StoreResponse::Shards(vec![shard(1, 1)])));
        payloads.push(Payload::Response(StoreResponse::Failed(Fault::Full)));
        payloads.push(Payload::Cancel);
        payloads.push(Payload::Ask { patience_ms: 7, service: 3 });
        payloads.push(Payload::Told { served: true });
        for payload in payloads {
            let frame = Frame { request_id: 42, payload };
            let head = frame.encode(17);
            assert_eq!(Frame::decode(&head), Ok((frame, 17)));
            for cut in 0..head.len() {
                assert!(Frame::decode(&head[..cut]).is_err());
            }
        }
    }

    #[test]
    fn a_body_length_beyond_the_bound_is_refused() {
        let mut head = Frame { request_id: 1, payload: Payload::Cancel }.encode(0);
        head[14..18].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Frame::decode(&head).is_err());
    }
}
