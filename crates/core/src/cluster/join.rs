//! Joining: the token that an operator carries from a member to a newcomer, and the one question and answer that follow.
//!
//! The newcomer proves that it has the token's secret without sending it: [`join_proof`] binds the secret to the very
//! connection, so that nobody in between can use it. The answer carries the master keys sealed under the same secret and
//! connection.
//!
//! A token is text: `pangea1-`, then in hexadecimal: the member's node id (32 bytes), the token's id (8), its secret (16), the
//! first four bytes of the BLAKE3 of these (a slip of the hand is told from a wrong token), then `@` and the member's addresses
//! with commas between.

use std::fmt;

use super::{ADDRESSES_MAX, Members, TEXT_BYTES_MAX, put_domain, take_domain};
use crate::codec::{Malformed, Put, Reader};
use crate::id::{ClusterId, NodeId};
use crate::layout::Domain;

const PREFIX: &str = "pangea1-";
const SECRET_BYTES: usize = 16;
const ID_BYTES: usize = 8;
const CHECK_BYTES: usize = 4;
const PURPOSE_PROOF: &str = "pangea 2026-11 v1 join proof";
const VERSION: u8 = 1;

/// What an operator carries to a newcomer. Whoever has it may join until it expires.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The member that is asked.
    pub member: NodeId,
    /// Which token: members remember its secret under this.
    pub id: [u8; ID_BYTES],
    /// Its secret.
    pub secret: [u8; SECRET_BYTES],
    /// Where the member is reached.
    pub addresses: Vec<String>,
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("member", &self.member).finish_non_exhaustive()
    }
}

impl JoinToken {
    /// As text.
    pub fn text(&self) -> String {
        let mut bytes = [&self.member.0[..], &self.id, &self.secret].concat();
        let check = blake3::hash(&bytes);
        bytes.extend_from_slice(&check.as_bytes()[..CHECK_BYTES]);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{PREFIX}{hex}@{}", self.addresses.join(","))
    }

    /// Reads what `text` wrote; spaces around it do not matter.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let malformed = Malformed { what: "join token" };
        let rest = text.trim().strip_prefix(PREFIX).ok_or(malformed)?;
        let (hex, addresses) = rest.split_once('@').ok_or(malformed)?;
        if !hex.is_ascii() || hex.len() != 2 * (32 + ID_BYTES + SECRET_BYTES + CHECK_BYTES) {
            return Err(malformed);
        }
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).map_err(|_| malformed);
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect::<Result<_, _>>()?;
        let (said, check) = bytes.split_at(bytes.len() - CHECK_BYTES);
        if &blake3::hash(said).as_bytes()[..CHECK_BYTES] != check {
            return Err(malformed);
        }
        let mut r = Reader::new(said, "join token");
        let (member, id, secret) = (NodeId(r.array()?), r.array()?, r.array()?);
        let addresses: Vec<String> = addresses.split(',').map(str::to_owned).collect();
        let fits = |address: &String| !address.is_empty() && address.len() <= TEXT_BYTES_MAX;
        if addresses.len() > ADDRESSES_MAX || !addresses.iter().all(fits) {
            return Err(malformed);
        }
        Ok(Self { member, id, secret, addresses })
    }
}

/// Proves that its maker has the secret, to whoever has it, on this connection only.
pub fn join_proof(secret: &[u8; SECRET_BYTES], channel: &[u8; 32]) -> [u8; 32] {
    let key = blake3::derive_key(PURPOSE_PROOF, secret);
    *blake3::keyed_hash(&key, channel).as_bytes()
}

/// What a newcomer says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinQuestion {
    /// Which token.
    pub token: [u8; ID_BYTES],
    /// See [`join_proof`].
    pub proof: [u8; 32],
    /// Where it will be reached.
    pub addresses: Vec<String>,
    /// Where it stands.
    pub domain: Domain,
    /// Its version, for people.
    pub version: String,
    /// Its clock, ms since 1970.
    pub now_ms: u64,
    /// The cluster whose metadata its database holds, if it was told of a database.
    pub database: Option<ClusterId>,
}

/// What a newcomer is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum JoinAnswer {
    /// It is a member now.
    Welcome(Box<Welcome>),
    /// It is not, and why, in words for people.
    Refused(String),
}

/// What a member needs to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// Of which cluster it is a member now.
    pub cluster: ClusterId,
    /// The master keys, sealed under the token's secret and the connection.
    pub keys: Vec<u8>,
    /// All members, the newcomer among them.
    pub members: Members,
}

impl JoinQuestion {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.put_raw(&self.token);
        out.put_raw(&self.proof);
        out.put_u8(self.addresses.len() as u8);
        self.addresses.iter().for_each(|address| out.put_bytes(address.as_bytes()));
        put_domain(&mut out, &self.domain);
        out.put_bytes(self.version.as_bytes());
        out.put_u64(self.now_ms);
        out.put_u8(u8::from(self.database.is_some()));
        self.database.iter().for_each(|cluster| out.put_raw(&cluster.0));
        out
    }

    /// Reads what `encode` wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, "question to join");
        if r.u8()? != VERSION {
            return Err(r.malformed());
        }
        let (token, proof) = (r.array()?, r.array()?);
        let count = usize::from(r.u8()?);
        if count > ADDRESSES_MAX {
            return Err(r.malformed());
        }
        let addresses = (0..count).map(|_| r.str().map(str::to_owned)).collect::<Result<_, _>>()?;
        let question = Self {
            token,
            proof,
            addresses,
            domain: take_domain(&mut r)?,
            version: r.str()?.to_owned(),
            now_ms: r.u64()?,
            database: if r.bool()? { Some(ClusterId(r.array()?)) } else { None },
        };
        r.finish()?;
        Ok(question)
    }
}

impl JoinAnswer {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        match self {
            Self::Welcome(welcome) => {
                out.put_u8(1);
                out.put_raw(&welcome.cluster.0);
                out.put_bytes(&welcome.keys);
                welcome.members.encode(&mut out);
            }
            Self::Refused(why) => {
                out.put_u8(2);
                out.put_bytes(why.as_bytes());
            }
        }
        out
    }

    /// Reads what `encode` wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, "answer to a newcomer");
        if r.u8()? != VERSION {
            return Err(r.malformed());
        }
        let answer = match r.u8()? {
            1 => Self::Welcome(Box::new(Welcome {
                cluster: ClusterId(r.array()?),
                keys: r.bytes()?.to_vec(),
                members: Members::decode(&mut r)?,
            })),
            2 => Self::Refused(r.str()?.to_owned()),
            _ => return Err(r.malformed()),
        };
        r.finish()?;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        let addresses = vec!["node-1.example:9002".to_owned(), "[::1]:9002".to_owned()];
        JoinToken { member: NodeId([7; 32]), id: [1; 8], secret: [9; 16], addresses }
    }

    #[test]
    fn a_token_survives_a_copy_and_no_slip_of_the_hand() {
        let text = token().text();
        assert_eq!(JoinToken::parse(&format!(" {text}\n")), Ok(token()));
        let letters: Vec<char> = text.chars().collect();
        for (at, letter) in letters.iter().enumerate().take_while(|(_, letter)| **letter != '@') {
            let mut slipped = letters.clone();
            slipped[at] = if *letter == '3' { '4' } else { '3' };
            assert!(JoinToken::parse(&slipped.iter().collect::<String>()).is_err(), "place {at}");
            slipped.remove(at);
            assert!(JoinToken::parse(&slipped.iter().collect::<String>()).is_err(), "without place {at}");
        }
        for wrong in ["", "pangea1-", "pangea1-é@x:1", "pangea2-00@x:1"] {
            assert!(JoinToken::parse(wrong).is_err(), "{wrong}");
        }
        assert!(!format!("{:?}", token()).contains("0909"), "a token's secret is not printed");
    }

    #[test]
    fn a_proof_is_good_for_one_secret_and_one_connection() {
        let proof = join_proof(&[9; 16], &[1; 32]);
        assert_ne!(proof, join_proof(&[9; 16], &[2; 32]));
        assert_ne!(proof, join_proof(&[8; 16], &[1; 32]));
    }

    #[test]
    fn questions_and_answers_round_trip_and_every_cut_is_refused() {
        let question = JoinQuestion {
            token: [1; 8],
            proof: [2; 32],
            addresses: vec!["a:1".into()],
            domain: Domain { site: "s".into(), ..Domain::default() },
            version: "0.1".into(),
            now_ms: 5,
            database: Some(ClusterId([7; 16])),
        };
        let bytes = question.encode();
        assert_eq!(JoinQuestion::decode(&bytes), Ok(question));
        assert!((0..bytes.len()).all(|cut| JoinQuestion::decode(&bytes[..cut]).is_err()));
        let welcome = Welcome { cluster: ClusterId([3; 16]), keys: vec![4; 50], members: Members::default() };
        for answer in [JoinAnswer::Welcome(Box::new(welcome)), JoinAnswer::Refused("no".into())] {
            let bytes = answer.encode();
            assert_eq!(JoinAnswer::decode(&bytes), Ok(answer));
            assert!((0..bytes.len()).all(|cut| JoinAnswer::decode(&bytes[..cut]).is_err()));
        }
    }
}
