//! The certificate that a node shows: self-signed, with a fresh P-256 key, and in an extension the node's own public key
//! and its signature over the certificate's (libp2p's TLS scheme, so that libp2p nodes could understand it).
//!
//! Owns what is believed of such a certificate: its own signature holds, it is valid now, the extension is there once and
//! its signature holds, nothing critical is unknown. The extension, OID 1.3.6.1.4.1.53594.1.1, is
//! `SEQUENCE { publicKey OCTET STRING, signature OCTET STRING }`; the public key is `08 01 12 20` and the 32 bytes of an
//! Ed25519 key (protobuf), the signature is over `libp2p-tls-handshake:` and the SubjectPublicKeyInfo.

use std::fmt;

use pangea_core::id::NodeId;
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, KeyPair, PublicKeyData as _, date_time_ymd,
};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::der::{self, Der, NotDer};
use crate::error::NetError;
use crate::identity::{SIGNATURE_BYTES, signed_by};

/// The largest certificate that is looked at.
pub const CERTIFICATE_BYTES_MAX: usize = 4096;

const SIGNED_PREFIX: &[u8] = b"libp2p-tls-handshake:";
const EXTENSION: [u64; 9] = [1, 3, 6, 1, 4, 1, 53594, 1, 1];
/// [`EXTENSION`] as it stands in a certificate.
const EXTENSION_DER: [u8; 10] = [0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xa2, 0x5a, 0x01, 0x01];
/// What stands before an Ed25519 key in libp2p's protobuf: type Ed25519, then 32 bytes of data.
const KEY_PREFIX: [u8; 4] = [0x08, 0x01, 0x12, 0x20];

/// Why a certificate cannot be believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CertificateError {
    /// Not exactly one.
    Chain {
        /// So many.
        certificates: usize,
    },
    /// Larger than [`CERTIFICATE_BYTES_MAX`], or not a certificate.
    Malformed,
    /// Its signature is not by its own key, or of a kind that is not taken.
    SelfSignature,
    /// Not valid at this time.
    Validity,
    /// The extension with the node's key is missing or there twice.
    NoNodeKey,
    /// A critical extension that is not known.
    Critical,
    /// The node's key is not an Ed25519 key.
    OtherKey,
    /// The node's key did not sign it.
    NodeSignature,
    /// It is good, but of another node than was dialled.
    OtherNode {
        /// Who was meant.
        expected: NodeId,
        /// Whose it is.
        found: NodeId,
    },
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain { certificates } => write!(f, "there must be one, there are {certificates}"),
            Self::Malformed => write!(f, "malformed or too large"),
            Self::SelfSignature => write!(f, "its signature is not by its own key"),
            Self::Validity => write!(f, "not valid at this time: is the clock right?"),
            Self::NoNodeKey => write!(f, "it names no node's key, or two"),
            Self::Critical => write!(f, "it has a critical extension that is not known"),
            Self::OtherKey => write!(f, "the node's key is not an Ed25519 key"),
            Self::NodeSignature => write!(f, "the node's key did not sign it"),
            Self::OtherNode { expected, found } => write!(f, "it is of node {found}, not of {expected}"),
        }
    }
}

impl std::error::Error for CertificateError {}

impl From<NotDer> for CertificateError {
    fn from(_: NotDer) -> Self {
        Self::Malformed
    }
}

/// A certificate and its key.
pub(crate) struct Shown {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

/// Makes a node's certificate.
pub(crate) fn make(node: NodeId, sign: impl Fn(&[u8]) -> [u8; SIGNATURE_BYTES]) -> Result<Shown, NetError> {
    let failed = |error: rcgen::Error| NetError::Key { why: error.to_string() };
    let pair = KeyPair::generate().map_err(failed)?;
    let content = extension(node, &sign(&signed_part(&pair.subject_public_key_info())));
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // Always: clocks may be wrong, and what ends a node's membership is not a date.
    (params.not_before, params.not_after) = (date_time_ymd(1970, 1, 1), date_time_ymd(4096, 1, 1));
    params.custom_extensions = vec![CustomExtension::from_oid_content(&EXTENSION, content)];
    let certificate = params.self_signed(&pair).map_err(failed)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()));
    Ok(Shown { certificate: certificate.der().clone(), key })
}

/// The content of the extension.
pub(crate) fn extension(node: NodeId, signature: &[u8; SIGNATURE_BYTES]) -> Vec<u8> {
    let key = [KEY_PREFIX.as_slice(), &node.0].concat();
    let both = [der::write(der::OCTETS, &key), der::write(der::OCTETS, signature)].concat();
    der::write(der::SEQUENCE, &both)
}

/// What a node signs of its certificate's key.
pub(crate) fn signed_part(public_key_info: &[u8]) -> Vec<u8> {
    [SIGNED_PREFIX, public_key_info].concat()
}

/// What matters of a certificate that was believed.
pub(crate) struct Believed<'a> {
    /// Whose it is.
    pub(crate) node: NodeId,
    /// Its own key, as SubjectPublicKeyInfo.
    pub(crate) public_key_info: &'a [u8],
}

/// The parts of a certificate.
struct Parts<'a> {
    signed: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
    not_before: i64,
    not_after: i64,
    public_key_info: &'a [u8],
    key_algorithm: &'a [u8],
    key: &'a [u8],
    /// What is in the one sequence of extensions.
    extensions: Der<'a>,
}

/// Checks a certificate at a time, in seconds since 1970.
pub(crate) fn check<'a>(
    certificate: &'a [u8],
    now: i64,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<Believed<'a>, CertificateError> {
    if certificate.len() > CERTIFICATE_BYTES_MAX {
        return Err(CertificateError::Malformed);
    }
    let parts = parts(certificate)?;
    if now < parts.not_before || now > parts.not_after {
        return Err(CertificateError::Validity);
    }
    let content = node_key(parts.extensions)?;
    let own = algorithms.all.iter().any(|algorithm| {
        algorithm.public_key_alg_id().as_ref() == parts.key_algorithm
            && algorithm.signature_alg_id().as_ref() == parts.algorithm
            && algorithm.verify_signature(parts.key, parts.signed, parts.signature).is_ok()
    });
    if !own {
        return Err(CertificateError::SelfSignature);
    }
    let node = signer(content, parts.public_key_info)?;
    Ok(Believed { node, public_key_info: parts.public_key_info })
}

/// Which node a certificate is of, if it can be believed at a time; for tests and tools outside a handshake.
pub fn node_of(certificate: &[u8], now: i64) -> Result<NodeId, CertificateError> {
    Ok(check(certificate, now, &crate::tls::ALGORITHMS)?.node)
}

fn parts(certificate: &[u8]) -> Result<Parts<'_>, NotDer> {
    let mut outside = Der::new(certificate);
    let mut all = outside.sequence()?;
    outside.finish()?;
    let signed = all.next(der::SEQUENCE)?;
    let algorithm = all.next(der::SEQUENCE)?;
    let signature = der::bits(all.next(der::BITS)?)?;
    all.finish()?;

    let mut part = Der::new(signed.content);
    // Version 3, the one that has extensions.
    if part.next(der::context(0))?.content != [der::INTEGER, 1, 2] {
        return Err(NotDer);
    }
    part.next(der::INTEGER)?;
    if part.next(der::SEQUENCE)?.content != algorithm.content {
        return Err(NotDer);
    }
    part.next(der::SEQUENCE)?;
    let mut validity = part.sequence()?;
    let (not_before, not_after) = (der::seconds(validity.any()?)?, der::seconds(validity.any()?)?);
    validity.finish()?;
    part.next(der::SEQUENCE)?;
    let public_key_info = part.next(der::SEQUENCE)?;
    let mut key = Der::new(public_key_info.content);
    let key_algorithm = key.next(der::SEQUENCE)?.content;
    let bits = der::bits(key.next(der::BITS)?)?;
    key.finish()?;
    // The ids of issuer and subject, which may stand here, are not allowed by the scheme.
    let mut extensions = Der::new(part.next(der::context(3))?.content);
    part.finish()?;
    let inside = extensions.sequence()?;
    extensions.finish()?;
    Ok(Parts {
        signed: signed.whole,
        algorithm: algorithm.content,
        signature,
        not_before,
        not_after,
        public_key_info: public_key_info.whole,
        key_algorithm,
        key: bits,
        extensions: inside,
    })
}

/// The content of the one extension that names the node's key.
fn node_key(mut extensions: Der<'_>) -> Result<&[u8], CertificateError> {
    let mut found = None;
    while !extensions.is_empty() {
        let mut extension = extensions.sequence()?;
        let oid = extension.next(der::OID)?.content;
        let critical = extension.optional(der::BOOLEAN)?.is_some_and(|value| value.content != [0]);
        let content = extension.next(der::OCTETS)?.content;
        extension.finish()?;
        match (oid == EXTENSION_DER, found) {
            (true, None) => found = Some(content),
            (true, Some(_)) => return Err(CertificateError::NoNodeKey),
            (false, _) if critical => return Err(CertificateError::Critical),
            (false, _) => {}
        }
    }
    found.ok_or(CertificateError::NoNodeKey)
}

/// The node whose key signed the certificate's.
fn signer(content: &[u8], public_key_info: &[u8]) -> Result<NodeId, CertificateError> {
    let mut outside = Der::new(content);
    let mut both = outside.sequence()?;
    outside.finish()?;
    let key = both.next(der::OCTETS)?.content;
    let signature = both.next(der::OCTETS)?.content;
    both.finish()?;
    let key = key.strip_prefix(&KEY_PREFIX).ok_or(CertificateError::OtherKey)?;
    let node = NodeId(key.try_into().map_err(|_| CertificateError::OtherKey)?);
    if signed_by(node, &signed_part(public_key_info), signature) {
        Ok(node)
    } else {
        Err(CertificateError::NodeSignature)
    }
}

#[cfg(test)]
#[path = "certificate_tests.rs"]
mod tests;
