//! What nodes tell each other of themselves, and the few questions between them that are about no drive and no metadata.

use crate::codec::{Malformed, Put, Reader};
use crate::id::{BlobId, DriveId};

/// The most drives of one node.
const DRIVES_MAX: usize = 255;
/// The longest text of a pulse.
const TEXT_BYTES_MAX: usize = 4096;
/// The most blobs in flight that one answer names; a node with more says that it cannot tell.
pub const FLIGHT_MAX: usize = 500_000;
const VERSION: u8 = 1;

/// How a node is, as it says itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pulse {
    /// Its version, for people.
    pub version: String,
    /// Where it serves S3, for people.
    pub endpoint: String,
    /// Whether it takes requests.
    pub ready: bool,
    /// The newest layout that it knows.
    pub layout_epoch: u32,
    /// The list of members that it knows.
    pub members_revision: u64,
    /// The sequence number of its ring of master keys.
    pub ring_sequence: u64,
    /// Its drives.
    pub drives: Vec<DrivePulse>,
}

/// How a drive is, as its node says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DrivePulse {
    /// Which.
    pub drive: DriveId,
    /// Whether it is given new shards.
    pub takes_part: bool,
    /// `ok`, `full`, `failed` … as `status` shows it.
    pub state: String,
    /// Why it is not `ok`.
    pub reason: Option<String>,
    /// Bytes of its file system.
    pub capacity_bytes: u64,
    /// Bytes that are free.
    pub available_bytes: u64,
    /// Bytes of shards.
    pub live_bytes: u64,
    /// Bytes of deleted shards that compaction has not given back.
    pub garbage_bytes: u64,
    /// Shards.
    pub shards: u64,
    /// Errors since its node started.
    pub errors: u64,
}

/// What a node asks another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodeQuestion {
    /// How are you?
    Pulse,
    /// Which blobs are written or read through you now?
    InFlight,
    /// Access keys were changed: forget what you remember of them.
    ForgetKeys,
    /// The layout or the list of members changed: read them again before you answer.
    Reread,
    /// My drives may lack shards that they should have: look.
    Census,
}

/// What it answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodeAnswer {
    /// To a pulse, and to a request to read again.
    Pulse(Pulse),
    /// Blobs in flight: those being written, then all.
    InFlight {
        /// Being written.
        written: Vec<BlobId>,
        /// Written or read.
        all: Vec<BlobId>,
    },
    /// Done.
    Done,
    /// Not done, and why.
    Failed(String),
}

impl NodeQuestion {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let tag = match self {
            Self::Pulse => 1,
            Self::InFlight => 2,
            Self::ForgetKeys => 3,
            Self::Reread => 4,
            Self::Census => 5,
        };
        vec![VERSION, tag]
    }

    /// Reads what `encode` wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        match bytes {
            [VERSION, 1] => Ok(Self::Pulse),
            [VERSION, 2] => Ok(Self::InFlight),
            [VERSION, 3] => Ok(Self::ForgetKeys),
            [VERSION, 4] => Ok(Self::Reread),
            [VERSION, 5] => Ok(Self::Census),
            _ => Err(Malformed { what: "question between nodes" }),
        }
    }
}

impl NodeAnswer {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        match self {
            Self::Pulse(pulse) => {
                out.put_u8(1);
                pulse.encode(&mut out);
            }
            Self::InFlight { written, all } => {
                out.put_u8(2);
                for blobs in [written, all] {
                    out.put_u32(blobs.len() as u32);
                    blobs.iter().for_each(|blob| out.put_raw(&blob.0));
                }
            }
            Self::Done => out.put_u8(3),
            Self::Failed(why) => {
                out.put_u8(4);
                out.put_bytes(why.as_bytes());
            }
        }
        out
    }

    /// Reads what `encode` wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, "answer between nodes");
        if r.u8()? != VERSION {
            return Err(r.malformed());
        }
        let answer = match r.u8()? {
            1 => Self::Pulse(Pulse::decode(&mut r)?),
            2 => Self::InFlight { written: take_blobs(&mut r)?, all: take_blobs(&mut r)? },
            3 => Self::Done,
            4 => Self::Failed(r.str()?.to_owned()),
            _ => return Err(r.malformed()),
        };
        r.finish()?;
        Ok(answer)
    }
}

fn take_blobs(r: &mut Reader<'_>) -> Result<Vec<BlobId>, Malformed> {
    let count = r.count(16)?;
    if count > FLIGHT_MAX {
        return Err(r.malformed());
    }
    (0..count).map(|_| r.array().map(BlobId)).collect()
}

impl Pulse {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_bytes(self.version.as_bytes());
        out.put_bytes(self.endpoint.as_bytes());
        out.put_u8(u8::from(self.ready));
        out.put_u32(self.layout_epoch);
        out.put_u64(self.members_revision);
        out.put_u64(self.ring_sequence);
        out.put_u16(self.drives.len() as u16);
        for drive in &self.drives {
            out.put_raw(&drive.drive.0);
            out.put_u8(u8::from(drive.takes_part));
            out.put_bytes(drive.state.as_bytes());
            out.put_u8(u8::from(drive.reason.is_some()));
            drive.reason.iter().for_each(|reason| out.put_bytes(reason.as_bytes()));
            let figures = [
                drive.capacity_bytes,
                drive.available_bytes,
                drive.live_bytes,
                drive.garbage_bytes,
                drive.shards,
                drive.errors,
            ];
            figures.into_iter().for_each(|figure| out.put_u64(figure));
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let text = |r: &mut Reader<'_>| {
            let text = r.str()?;
            (text.len() <= TEXT_BYTES_MAX).then(|| text.to_owned()).ok_or(r.malformed())
        };
        let mut pulse = Self {
            version: text(r)?,
            endpoint: text(r)?,
            ready: r.bool()?,
            layout_epoch: r.u32()?,
            members_revision: r.u64()?,
            ring_sequence: r.u64()?,
            drives: vec![],
        };
        let count = usize::from(r.u16()?);
        if count > DRIVES_MAX {
            return Err(r.malformed());
        }
        for _ in 0..count {
            pulse.drives.push(DrivePulse {
                drive: DriveId(r.array()?),
                takes_part: r.bool()?,
                state: text(r)?,
                reason: if r.bool()? { Some(text(r)?) } else { None },
                capacity_bytes: r.u64()?,
                available_bytes: r.u64()?,
                live_bytes: r.u64()?,
                garbage_bytes: r.u64()?,
                shards: r.u64()?,
                errors: r.u64()?,
            });
        }
        Ok(pulse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_round_trip_and_every_cut_is_refused() {
        let drive = DrivePulse {
            drive: DriveId([9; 16]),
            takes_part: true,
            state: "ok".into(),
            reason: Some("an error was survived".into()),
            capacity_bytes: 5,
            ..DrivePulse::default()
        };
        let pulse = Pulse {
            version: "1".into(),
            ready: true,
            layout_epoch: 4,
            drives: vec![drive],
            ..Pulse::default()
        };
        let answers = [
            NodeAnswer::Pulse(pulse),
            NodeAnswer::InFlight {
                written: vec![BlobId([1; 16])],
                all: vec![BlobId([1; 16]), BlobId([2; 16])],
            },
            NodeAnswer::Done,
            NodeAnswer::Failed("no".into()),
        ];
        for answer in answers {
            let bytes = answer.encode();
            assert_eq!(NodeAnswer::decode(&bytes), Ok(answer));
            assert!((0..bytes.len()).all(|cut| NodeAnswer::decode(&bytes[..cut]).is_err()));
        }
        for question in
            [NodeQuestion::Pulse, NodeQuestion::InFlight, NodeQuestion::ForgetKeys, NodeQuestion::Reread]
        {
            assert_eq!(NodeQuestion::decode(&question.encode()), Ok(question));
        }
        assert!(NodeQuestion::decode(&[1, 9]).is_err());
    }
}
