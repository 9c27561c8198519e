//! The greeting: the first frame of each side, which proves that both belong to one cluster.
//!
//! TLS has shown which nodes they are. The proof shows that a node knows the cluster's secret, on this very connection: it
//! is a keyed BLAKE3 over what only the two ends of the connection know, so it is of no use on any other.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | version, 1 |
//! | 1 | 16 | cluster |
//! | 17 | 32 | proof: BLAKE3, keyed by the derived secret, of the connection's exporter value, the role (1 dialler, 2 listener) and the cluster |
//! | 49 | 8 | instance: drawn when the node was started |
//! | 57 | 4 | bytes of questions that may come at once |
//!
//! The dialler speaks first, so a stranger who dials learns nothing of the cluster.

use pangea_core::id::ClusterId;
use zeroize::Zeroizing;

use crate::error::Refusal;

/// Bytes of a greeting.
pub const GREETING_BYTES: usize = 61;
/// The label of the exporter value that is proved over.
pub const LABEL: &[u8] = b"EXPORTER-pangea-cluster";

const VERSION: u8 = 1;
const CONTEXT: &str = "pangea 2026-11 proof of a cluster's secret to a peer";

/// Which side of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Role {
    /// It dialled.
    Dialler = 1,
    /// It was dialled.
    Listener = 2,
}

/// What a node has to know to greet.
pub struct Cluster {
    id: ClusterId,
    key: Zeroizing<[u8; 32]>,
}

/// What a peer said beside its proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Greeted {
    /// Differs from one start of the peer to the next.
    pub instance: u64,
    /// Bytes of questions that may be sent to it at once.
    pub window_bytes: u32,
}

impl Cluster {
    /// A cluster and its secret.
    pub fn new(id: ClusterId, secret: &[u8; 32]) -> Self {
        Self { id, key: Zeroizing::new(blake3::derive_key(CONTEXT, secret)) }
    }

    /// The greeting of this side.
    pub fn greeting(&self, channel: &[u8; 32], role: Role, greeted: Greeted) -> [u8; GREETING_BYTES] {
        let mut out = [0; GREETING_BYTES];
        out[0] = VERSION;
        out[1..17].copy_from_slice(&self.id.0);
        out[17..49].copy_from_slice(self.proof(channel, role).as_bytes());
        out[49..57].copy_from_slice(&greeted.instance.to_le_bytes());
        out[57..].copy_from_slice(&greeted.window_bytes.to_le_bytes());
        out
    }

    /// Checks the greeting of the other side.
    pub fn check(
        &self,
        channel: &[u8; 32],
        role: Role,
        greeting: &[u8; GREETING_BYTES],
    ) -> Result<Greeted, Refusal> {
        if greeting[0] != VERSION {
            return Err(Refusal::Protocol);
        }
        if greeting[1..17] != self.id.0 {
            return Err(Refusal::OtherCluster);
        }
        let proof: [u8; 32] = array(&greeting[17..49]);
        // In constant time.
        if self.proof(channel, role) != proof {
            return Err(Refusal::WrongSecret);
        }
        Ok(Greeted {
            instance: u64::from_le_bytes(array(&greeting[49..57])),
            window_bytes: u32::from_le_bytes(array(&greeting[57..])),
        })
    }

    fn proof(&self, channel: &[u8; 32], role: Role) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(channel).update(&[role as u8]).update(&self.id.0);
        hasher.finalize()
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("cut to its length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_of_one_cluster_one_connection_and_one_side() {
        let cluster = Cluster::new(ClusterId([1; 16]), &[2; 32]);
        let said = Greeted { instance: 7, window_bytes: 9 };
        let greeting = cluster.greeting(&[3; 32], Role::Dialler, said);
        assert_eq!(cluster.check(&[3; 32], Role::Dialler, &greeting), Ok(said));
        for (id, secret, channel, role, why) in [
            (2, 2, 3, Role::Dialler, Refusal::OtherCluster),
            (1, 3, 3, Role::Dialler, Refusal::WrongSecret),
            (1, 2, 4, Role::Dialler, Refusal::WrongSecret),
            (1, 2, 3, Role::Listener, Refusal::WrongSecret),
        ] {
            let cluster = Cluster::new(ClusterId([id; 16]), &[secret; 32]);
            assert_eq!(cluster.check(&[channel; 32], role, &greeting), Err(why));
        }
        let mut later = greeting;
        later[0] = 2;
        assert_eq!(cluster.check(&[3; 32], Role::Dialler, &later), Err(Refusal::Protocol));
    }
}
