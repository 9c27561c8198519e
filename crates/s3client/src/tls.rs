//! Trust: which certificates an endpoint may show.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::S3Error;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Trust {
    /// Certificates of the CAs that this machine trusts.
    #[default]
    System,
    /// Those, and these (PEM), which may be the endpoint's own.
    With(Vec<u8>),
    /// Any certificate at all: whoever sits between can read and change everything.
    Anything,
}

impl Trust {
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, S3Error> {
        let unusable = |what: String| S3Error::Unusable { what };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(error.to_string()))?;
        let pem = match self {
            Self::Anything => {
                let verifier = Arc::new(Unverified { provider });
                let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
                return Ok(Arc::new(builder.with_no_client_auth()));
            }
            Self::System => None,
            Self::With(pem) => Some(pem),
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(pem) = pem {
            let mut found = 0;
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let added = certificate
                    .map_err(|error| error.to_string())
                    .and_then(|der| roots.add(der).map_err(|error| error.to_string()));
                added.map_err(|why| {
                    unusable(format!("the CA file has a certificate that cannot be used: {why}"))
                })?;
                found += 1;
            }
            if found == 0 {
                return Err(unusable("the CA file has no certificate in PEM".into()));
            }
        }
        Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
    }
}

/// Takes any certificate; signatures of the handshake are still checked, so that the key belongs to the certificate.
#[derive(Debug)]
struct Unverified {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for bad in ["", "no certificate", broken] {
            let error = Trust::With(bad.into()).config().expect_err(bad);
            assert!(matches!(error, S3Error::Unusable { .. }), "{error}");
        }
        assert!(Trust::Anything.config().is_ok() && Trust::System.config().is_ok());
    }
}
