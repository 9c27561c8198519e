//! The node's card: who this node is and where it belongs, in a sealed file called `node` on each of its drives.
//!
//! It is what a member needs to find its cluster again: its own key and the members that it knew last. Sealed under a key of the
//! cluster's ring, so a drive that was stolen cannot pass for the node. The copy with the highest sequence counts.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `PANGEAND` |
//! | 8 | 2 | format version, 1 |
//! | 10 | 16 | cluster id |
//! | 26 | 4 | generation of the master key that the sealing key is derived from |
//! | 30 | 8 | sequence: rises with every writing |
//! | 38 | n | sealed by `keys::seal_small` with bytes 0..38 as associated data |
//!
//! Sealed: 32 bytes of the node's key seed, the address that it listens on (text), the members.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use pangea_core::cluster::Members;
use pangea_core::codec::{Malformed, Put as _, Reader};
use pangea_core::id::ClusterId;
use pangea_core::keys::{derive, open_small, seal_small};
use pangea_core::seam::random;
use zeroize::Zeroizing;

use crate::entropy::SystemEntropy;
use crate::keyfile::{Ring, read_bounded, write_new_file};

/// Its name on a drive.
pub(crate) const CARD_FILE: &str = "node";
const NEW_FILE: &str = "node.new";
const MAGIC: [u8; 8] = *b"PANGEAND";
const FORMAT_VERSION: u16 = 1;
const HEAD_BYTES: usize = 38;
/// More than the longest list of members takes.
const FILE_BYTES_MAX: usize = 16 << 20;
const PURPOSE: &str = "pangea 2026-11 v1 node card";

/// See the module.
pub(crate) struct Card {
    /// What the node's key is made of.
    pub seed: Zeroizing<[u8; 32]>,
    /// Where it listens for other nodes.
    pub listen: SocketAddr,
    /// The members that it knew last.
    pub members: Members,
    /// Rises with every writing.
    pub sequence: u64,
}

/// Why a card cannot be read or written.
#[derive(Debug)]
pub(crate) enum CardError {
    /// No copy can be opened; what is wrong with each.
    Unreadable {
        /// In words.
        why: Vec<String>,
    },
    /// A drive refused it.
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl fmt::Display for CardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { why } => {
                write!(f, "no copy of the file that says which node this is can be read: {}", why.join("; "))
            }
            Self::Io { path, source } => write!(f, "write {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for CardError {}

impl Card {
    /// The newest copy on these drives; `None`: there is none at all, and the node is on its own.
    pub(crate) fn read(drives: &[PathBuf], ring: &Ring) -> Result<Option<Self>, CardError> {
        let (mut best, mut why): (Option<Self>, Vec<String>) = (None, vec![]);
        for drive in drives {
            let path = drive.join(CARD_FILE);
            let opened = match read_bounded(&path, FILE_BYTES_MAX) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => Err(error.to_string()),
                Ok(bytes) => Self::open(&bytes, ring),
            };
            match opened {
                Ok(card) if best.as_ref().is_none_or(|best| best.sequence < card.sequence) => {
                    best = Some(card)
                }
                Ok(_) => {}
                Err(error) => why.push(format!("{}: {error}", path.display())),
            }
        }
        if best.is_none() && !why.is_empty() {
            return Err(CardError::Unreadable { why });
        }
        Ok(best)
    }

    /// Writes it to every drive; one that refuses does not keep the others from having it.
    pub(crate) fn write(&self, drives: &[PathBuf], ring: &Ring) -> Result<(), CardError> {
        let bytes = self.seal(ring);
        let mut failed = None;
        for drive in drives {
            if let Err(source) = write_copy(drive, &bytes) {
                failed = Some(CardError::Io { path: drive.join(CARD_FILE), source });
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn seal(&self, ring: &Ring) -> Vec<u8> {
        let current = ring.current();
        let mut out = Vec::with_capacity(HEAD_BYTES);
        out.put_raw(&MAGIC);
        out.put_u16(FORMAT_VERSION);
        out.put_raw(&ring.cluster.0);
        out.put_u32(current.number);
        out.put_u64(self.sequence);
        let mut plain = Zeroizing::new(Vec::with_capacity(1024));
        plain.put_raw(&self.seed[..]);
        plain.put_bytes(self.listen.to_string().as_bytes());
        self.members.encode(&mut plain);
        let sealed = seal_small(&derive(PURPOSE, &current.key), random(&SystemEntropy), &out, &plain);
        out.put_raw(&sealed);
        out
    }

    fn open(bytes: &[u8], ring: &Ring) -> Result<Self, String> {
        let malformed = |error: Malformed| error.to_string();
        let mut r = Reader::new(bytes, "node card");
        if r.array().map_err(malformed)? != MAGIC {
            return Err("it is no node card".into());
        }
        let version = r.u16().map_err(malformed)?;
        if version != FORMAT_VERSION {
            return Err(format!("it has format version {version}, written by a newer Pangea"));
        }
        let cluster = ClusterId(r.array().map_err(malformed)?);
        if cluster != ring.cluster {
            return Err(format!("it belongs to cluster {cluster}, the keys to {}", ring.cluster));
        }
        let generation = r.u32().map_err(malformed)?;
        let key = ring
            .key(generation)
            .ok_or_else(|| format!("it is sealed by master key {generation}, unknown here"))?;
        let sequence = r.u64().map_err(malformed)?;
        let (head, sealed) = bytes.split_at(HEAD_BYTES);
        let plain =
            open_small(&derive(PURPOSE, key), head, sealed).map_err(|_| "it is damaged".to_owned())?;
        let plain = Zeroizing::new(plain);
        let mut r = Reader::new(&plain, "node card");
        let seed = Zeroizing::new(r.array().map_err(malformed)?);
        let listen =
            r.str().map_err(malformed)?.parse().map_err(|_| "its address is no address".to_owned())?;
        let members = Members::decode(&mut r).map_err(malformed)?;
        r.finish().map_err(malformed)?;
        Ok(Self { seed, listen, members, sequence })
    }
}

fn write_copy(drive: &Path, bytes: &[u8]) -> io::Result<()> {
    let (new, name) = (drive.join(NEW_FILE), drive.join(CARD_FILE));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_new_file(&new, bytes).map_err(|error| io::Error::other(error.to_string()))?;
    fs::rename(&new, &name)?;
    fs::File::open(drive)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn the_newest_card_counts_and_a_damaged_one_is_no_reason_to_be_somebody_else() {
        let scratch = Scratch::new("card");
        let drives: Vec<PathBuf> = ["a", "b"].iter().map(|name| scratch.path().join(name)).collect();
        drives.iter().for_each(|drive| fs::create_dir(drive).expect("it can be made"));
        let ring = Ring::draw(ClusterId([7; 16]), 1, &SystemEntropy);
        assert!(Card::read(&drives, &ring).expect("nothing is there").is_none());
        let card = |sequence| Card {
            seed: Zeroizing::new([sequence as u8; 32]),
            listen: "127.0.0.1:9002".parse().expect("valid"),
            members: Members::default(),
            sequence,
        };
        card(1).write(&drives, &ring).expect("written");
        card(2).write(&drives[1..], &ring).expect("written");
        let rotated = ring.rotated(2, &SystemEntropy).expect("there is room");
        let read = Card::read(&drives, &rotated).expect("readable").expect("there");
        assert_eq!((read.sequence, read.seed[0]), (2, 2));
        let mut bytes = fs::read(drives[1].join(CARD_FILE)).expect("there");
        *bytes.last_mut().expect("not empty") ^= 1;
        fs::write(drives[1].join(CARD_FILE), &bytes).expect("written");
        assert_eq!(Card::read(&drives, &ring).expect("the other copy").expect("there").sequence, 1);
        assert!(matches!(Card::read(&drives[1..], &ring), Err(CardError::Unreadable { .. })));
        let stranger = Ring::draw(ClusterId([8; 16]), 1, &SystemEntropy);
        assert!(matches!(Card::read(&drives, &stranger), Err(CardError::Unreadable { .. })));
    }
}
