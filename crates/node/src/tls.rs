//! https: certificates from files, or one of the server's own making, and reading them again at SIGHUP.
//!
//! A certificate that the server made for itself lies in `tls` below the first drive's directory, the key readable by its
//! owner only; it is made once and kept, so that clients can pin it. Its fingerprint is announced.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

use crate::config::Tls;
use crate::keyfile::{read_bounded, write_new_file};

/// The directory of the server's own certificate.
const DIRECTORY: &str = "tls";
const CERT_FILE: &str = "cert.pem";
const KEY_FILE: &str = "key.pem";
/// A chain of certificates, or a key.
const PEM_BYTES_MAX: usize = 1 << 20;
/// Names that clients on this machine use.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What is wrong with a certificate or its key.
#[derive(Debug)]
pub enum TlsError {
    /// A file cannot be read or written.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    Pem {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// Certificate and key do not go together, or cannot be used.
    Unusable {
        /// Why.
        why: String,
    },
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, source } => write!(f, "the TLS file {}: {source}", path.display()),
            Self::Pem { path, wanted } => {
                write!(f, "the TLS file {} holds no {wanted} in PEM", path.display())
            }
            Self::Unusable { why } => write!(f, "the TLS certificate cannot be used: {why}"),
        }
    }
}

impl std::error::Error for TlsError {}

/// How https is spoken.
pub(crate) struct Spoken {
    /// For the gateway.
    pub(crate) config: Arc<ServerConfig>,
    /// SHA-256 of the certificate, `AB:CD:…`: what clients pin.
    pub(crate) fingerprint: String,
}

/// Reads what was configured; `None`: plain http. `home` keeps the server's own certificate, which is good for `domains`.
pub(crate) fn load(tls: &Tls, home: &Path, domains: &[String]) -> Result<Option<Spoken>, TlsError> {
    match tls {
        Tls::Off => Ok(None),
        Tls::Files { cert, key } => read(cert, key).map(Some),
        Tls::SelfSigned => {
            let directory = home.join(DIRECTORY);
            let (cert, key) = (directory.join(CERT_FILE), directory.join(KEY_FILE));
            if !cert.exists() || !key.exists() {
                make(&directory, &cert, &key, domains)?;
            }
            read(&cert, &key).map(Some)
        }
    }
}

fn read(cert: &Path, key: &Path) -> Result<Spoken, TlsError> {
    let bytes = |path: &Path| {
        read_bounded(path, PEM_BYTES_MAX).map_err(|source| TlsError::File { path: path.into(), source })
    };
    let pem = |path: &Path, wanted| TlsError::Pem { path: path.into(), wanted };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&bytes(cert)?)
        .collect::<Result<_, _>>()
        .map_err(|_| pem(cert, "certificate"))?;
    let first = chain.first().ok_or_else(|| pem(cert, "certificate"))?;
    let fingerprint = fingerprint(first);
    let key = PrivateKeyDer::from_pem_slice(&bytes(key)?).map_err(|_| pem(key, "private key"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let unusable = |error: rustls::Error| TlsError::Unusable { why: error.to_string() };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Spoken { config: Arc::new(config), fingerprint })
}

/// Makes a certificate for this machine's names and for the domains with everything below them.
fn make(directory: &Path, cert: &Path, key: &Path, domains: &[String]) -> Result<(), TlsError> {
    let unusable = |error: rcgen::Error| TlsError::Unusable { why: error.to_string() };
    let mut names: Vec<String> = LOCAL_NAMES.map(str::to_owned).to_vec();
    names.extend(domains.iter().flat_map(|domain| [domain.clone(), format!("*.{domain}")]));
    let mut params = CertificateParams::new(names).map_err(unusable)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "pangea");
    // It ends with the key's use, not at a date: whoever trusts it has pinned it.
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2099, 12, 31));
    let pair = KeyPair::generate().map_err(unusable)?;
    let certificate = params.self_signed(&pair).map_err(unusable)?;
    let failed = |path: &Path, source| TlsError::File { path: path.into(), source };
    std::fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
    for (path, text) in [(key, pair.serialize_pem()), (cert, certificate.pem())] {
        // What an interrupted start left is half a pair.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(path, error)),
            _ => {}
        }
        write_new_file(path, text.as_bytes())
            .map_err(|error| failed(path, io::Error::other(error.to_string())))?;
    }
    Ok(())
}

fn fingerprint(certificate: &[u8]) -> String {
    let digest = Sha256::digest(certificate);
    digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_made_certificate_is_kept_and_its_key_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let scratch = Scratch::new("tls");
        let home = scratch.path();
        let first = load(&Tls::SelfSigned, home, &["s3.test".into()]).expect("made").expect("https");
        let again = load(&Tls::SelfSigned, home, &[]).expect("read").expect("https");
        assert_eq!(first.fingerprint, again.fingerprint);
        assert_eq!(first.fingerprint.len(), 95);
        let mode = std::fs::metadata(home.join("tls/key.pem")).expect("there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
        std::fs::remove_file(home.join("tls/cert.pem")).expect("there");
        let new = load(&Tls::SelfSigned, home, &[]).expect("made anew").expect("https");
        assert_ne!(first.fingerprint, new.fingerprint);
        assert!(load(&Tls::Off, home, &[]).expect("nothing to read").is_none());
    }

    #[test]
    fn bad_files_are_named() {
        let scratch = Scratch::new("tls-bad");
        let home = scratch.path();
        load(&Tls::SelfSigned, home, &[]).expect("made");
        let (good_cert, good_key) = (home.join("tls/cert.pem"), home.join("tls/key.pem"));
        let junk = home.join("junk");
        std::fs::write(&junk, "junk").expect("a temporary file");
        let other = Scratch::new("tls-other");
        load(&Tls::SelfSigned, other.path(), &[]).expect("made");
        let other_key = other.path().join("tls/key.pem");
        for (cert, key, words) in [
            (&home.join("none"), &good_key, "none"),
            (&junk, &good_key, "holds no certificate"),
            (&good_key, &good_key, "holds no certificate"),
            (&good_cert, &junk, "holds no private key"),
            (&good_cert, &good_cert, "holds no private key"),
            (&good_cert, &other_key, "cannot be used"),
        ] {
            let tls = Tls::Files { cert: cert.clone(), key: key.clone() };
            let error = load(&tls, home, &[]).err().expect("must be refused").to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
