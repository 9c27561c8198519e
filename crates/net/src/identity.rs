//! A node's identity: one Ed25519 key. Its public half is the node's id.
//!
//! Owns the private key: it is wiped when dropped, never printed, and leaves this room only as signatures.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use pangea_core::id::NodeId;
use zeroize::Zeroizing;

use crate::certificate::{self, Shown};
use crate::error::NetError;

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// A node's key. Cheap to clone.
#[derive(Clone)]
pub struct NodeIdentity {
    node: NodeId,
    // The cipher library wipes the key when it frees it.
    pair: Arc<Ed25519KeyPair>,
    shown: Arc<Shown>,
}

impl NodeIdentity {
    /// The identity of this seed (32 random bytes, which the caller keeps), with a fresh certificate.
    pub fn from_seed(seed: [u8; 32]) -> Result<Self, NetError> {
        let seed = Zeroizing::new(seed);
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice())
            .map_err(|error| NetError::Key { why: error.to_string() })?;
        let node = NodeId(pair.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes"));
        let shown = certificate::make(node, |message| signature(&pair, message))?;
        Ok(Self { node, pair: Arc::new(pair), shown: Arc::new(shown) })
    }

    /// The public half.
    pub fn node_id(&self) -> NodeId {
        self.node
    }

    /// Signs a message. Messages of different kinds must begin differently, or one could be taken for another:
    /// `libp2p-tls-handshake:` is taken.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        signature(&self.pair, message)
    }

    /// The certificate and its key.
    pub(crate) fn shown(&self) -> &Shown {
        &self.shown
    }
}

impl fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeIdentity({})", self.node)
    }
}

/// Whether `node` signed `message`.
pub fn signed_by(node: NodeId, message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, node.0).verify(message, signature).is_ok()
}

fn signature(pair: &Ed25519KeyPair, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
    pair.sign(message).as_ref().try_into().expect("an Ed25519 signature has 64 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_node_and_is_never_printed() {
        // RFC 8032, test 1.
        let seed: [u8; 32] = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
            0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
        ];
        let identity = NodeIdentity::from_seed(seed).expect("any 32 bytes are a seed");
        assert_eq!(identity.node_id().0[..4], [0xd7, 0x5a, 0x98, 0x01]);
        assert_eq!(identity.sign(b"")[..4], [0xe5, 0x56, 0x43, 0x00]);
        let printed = format!("{identity:?}");
        assert!(printed.starts_with("NodeIdentity(d75a98") && !printed.contains("9d61"), "{printed}");
    }

    #[test]
    fn a_signature_binds_the_signer_and_every_bit_of_the_message() {
        let [one, two] = [1, 2].map(|seed| NodeIdentity::from_seed([seed; 32]).expect("a seed"));
        let signature = one.sign(b"words");
        assert!(signed_by(one.node_id(), b"words", &signature));
        assert!(!signed_by(one.node_id(), b"Words", &signature));
        assert!(!signed_by(two.node_id(), b"words", &signature));
        assert!(!signed_by(one.node_id(), b"words", &signature[..63]));
    }
}
