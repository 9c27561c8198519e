//! TLS between nodes: 1.3 only, AES first, both sides show a node's certificate and check the other's.
//!
//! Owns the cipher choice, the two verifiers and the names of the protocols. Sessions are never resumed: every connection
//! proves anew who is there.

use std::sync::{Arc, LazyLock};

use pangea_core::id::NodeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError as TlsCertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName,
    OtherError, ServerConfig, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use crate::certificate::{self, Believed, CertificateError};
use crate::error::NetError;
use crate::identity::NodeIdentity;

/// The protocol between the members of a cluster.
pub(crate) const STORE_PROTOCOL: &[u8] = b"/pangea/store/1.0.0";
/// The protocol for a node that is no member yet.
pub(crate) const JOIN_PROTOCOL: &[u8] = b"/pangea/join/1.0.0";

/// What both ends of one connection know and nobody else (RFC 5705).
pub(crate) type Channel = [u8; 32];

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
            aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
        ],
        // What is recorded today must not be read by a quantum computer later.
        kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768, aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    })
});

/// How certificates may be signed.
pub(crate) static ALGORITHMS: LazyLock<WebPkiSupportedAlgorithms> =
    LazyLock::new(|| PROVIDER.signature_verification_algorithms);

/// How a node dials: `expected` must answer.
pub(crate) fn dialler(
    identity: &NodeIdentity,
    expected: NodeId,
    protocol: &'static [u8],
) -> Result<Arc<ClientConfig>, NetError> {
    let shown = identity.shown();
    let mut config = ClientConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { expected: Some(expected) }))
        .with_client_auth_cert(vec![shown.certificate.clone()], shown.key.clone_key())
        .map_err(tls)?;
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_sni = false;
    Ok(Arc::new(config))
}

/// How a node listens.
pub(crate) fn listener(identity: &NodeIdentity) -> Result<Arc<ServerConfig>, NetError> {
    let shown = identity.shown();
    let mut config = ServerConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(tls)?
        .with_client_cert_verifier(Arc::new(Verifier { expected: None }))
        .with_single_cert(vec![shown.certificate.clone()], shown.key.clone_key())
        .map_err(tls)?;
    config.alpn_protocols = vec![STORE_PROTOCOL.to_vec(), JOIN_PROTOCOL.to_vec()];
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn tls(source: rustls::Error) -> NetError {
    NetError::Tls { source }
}

/// What the name of a server would be, if there were one: identities are keys.
pub(crate) fn no_name() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())
}

/// Who is at the other end of a connection whose handshake is done.
pub(crate) fn peer(stream: &TlsStream<TcpStream>) -> Result<NodeId, NetError> {
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let [certificate] = shown else {
        return Err(NetError::Certificate(CertificateError::Chain { certificates: shown.len() }));
    };
    let believed = certificate::check(certificate, now(UnixTime::now()), &ALGORITHMS);
    believed.map(|believed| believed.node).map_err(NetError::Certificate)
}

/// The secret of this one connection that `label` stands for.
pub(crate) fn channel(stream: &TlsStream<TcpStream>, label: &[u8]) -> Result<Channel, NetError> {
    let mut value = Channel::default();
    let filled = match stream {
        TlsStream::Client(stream) => stream.get_ref().1.export_keying_material(&mut value, label, None),
        TlsStream::Server(stream) => stream.get_ref().1.export_keying_material(&mut value, label, None),
    };
    filled.map_err(tls)?;
    Ok(value)
}

/// Checks the other side's certificate, whichever side that is.
#[derive(Debug)]
struct Verifier {
    expected: Option<NodeId>,
}

impl Verifier {
    fn check<'a>(
        &self,
        certificate: &'a CertificateDer<'_>,
        others: usize,
        time: UnixTime,
    ) -> Result<Believed<'a>, CertificateError> {
        if others > 0 {
            return Err(CertificateError::Chain { certificates: others + 1 });
        }
        let believed = certificate::check(certificate, now(time), &ALGORITHMS)?;
        match self.expected {
            Some(expected) if expected != believed.node => {
                Err(CertificateError::OtherNode { expected, found: believed.node })
            }
            _ => Ok(believed),
        }
    }

    /// Checks that the other side has the certificate's own key.
    fn holds(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let believed =
            certificate::check(certificate, now(UnixTime::now()), &ALGORITHMS).map_err(disbelieved)?;
        let key = SubjectPublicKeyInfoDer::from(believed.public_key_info);
        verify_tls13_signature_with_raw_key(message, &key, signature, &ALGORITHMS)
    }
}

fn disbelieved(error: CertificateError) -> rustls::Error {
    TlsCertificateError::Other(OtherError(Arc::new(error))).into()
}

fn now(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

fn schemes() -> Vec<SignatureScheme> {
    vec![
        SignatureScheme::ECDSA_NISTP256_SHA256,
        SignatureScheme::ED25519,
        SignatureScheme::ECDSA_NISTP384_SHA384,
    ]
}

/// TLS 1.2 is not offered, so nobody can have signed for it.
fn too_old() -> rustls::Error {
    rustls::PeerIncompatible::Tls12NotOffered.into()
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity, intermediates.len(), now).map_err(disbelieved)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.holds(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity, intermediates.len(), now).map_err(disbelieved)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.holds(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
