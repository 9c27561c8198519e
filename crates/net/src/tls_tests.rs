//! Handshakes with those who show too much, too little or somebody else's.

use std::sync::Arc;
use std::time::Duration;

use pangea_core::id::NodeId;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ServerConfig, SignatureScheme};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::{PROVIDER, STORE_PROTOCOL, Verifier, channel, dialler, listener, no_name, peer};
use crate::certificate::CertificateError;
use crate::error::NetError;
use crate::identity::NodeIdentity;

const PATIENCE: Duration = Duration::from_secs(10);

fn identity(seed: u8) -> NodeIdentity {
    NodeIdentity::from_seed([seed; 32]).expect("a seed")
}

/// A dialler that shows any chain, and believes anything that is a node's.
fn dialler_showing(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { expected: None }))
        .with_client_auth_cert(chain, key)
        .expect("a certificate and its key");
    config.alpn_protocols = vec![STORE_PROTOCOL.to_vec()];
    Arc::new(config)
}

/// What becomes of a handshake, as each side sees it: the dialler first.
async fn shake(dialler: Arc<ClientConfig>, listener: Arc<ServerConfig>) -> [Result<NodeId, NetError>; 2] {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = socket.local_addr().expect("bound");
    let dials = async {
        let stream = TcpStream::connect(address).await.expect("it listens");
        let stream = TlsConnector::from(dialler).connect(no_name(), stream).await;
        stream.map(TlsStream::Client).map_err(NetError::of_stream)
    };
    let listens = async {
        let (stream, _) = socket.accept().await.expect("somebody dials");
        let stream = TlsAcceptor::from(listener).accept(stream).await;
        stream.map(TlsStream::Server).map_err(NetError::of_stream)
    };
    let both = async { tokio::join!(dials, listens) };
    let (dialled, listened) = tokio::time::timeout(PATIENCE, both).await.expect("it ends");
    let (channels, ends): (Vec<_>, Vec<_>) = [dialled, listened]
        .into_iter()
        .map(|end| (end.as_ref().ok().map(|end| channel(end, b"EXPORTER-test").expect("done")), end))
        .unzip();
    if let [Some(one), Some(other)] = channels[..] {
        assert_eq!(one, other, "both ends know the same of the connection");
    }
    let mut ends = ends.into_iter().map(|end| end.and_then(|end| peer(&end)));
    [ends.next().expect("two"), ends.next().expect("two")]
}

#[tokio::test]
async fn two_nodes_know_each_other_after_the_handshake() {
    let (one, two) = (identity(1), identity(2));
    let dials = dialler(&one, two.node_id(), STORE_PROTOCOL).expect("a config");
    let [of_dialler, of_listener] = shake(dials, listener(&two).expect("a config")).await;
    assert_eq!(of_dialler.expect("good"), two.node_id());
    assert_eq!(of_listener.expect("good"), one.node_id());
}

#[tokio::test]
async fn another_node_than_the_one_dialled_is_named() {
    let (one, two, three) = (identity(1), identity(2), identity(3));
    let dials = dialler(&one, three.node_id(), STORE_PROTOCOL).expect("a config");
    let [of_dialler, of_listener] = shake(dials, listener(&two).expect("a config")).await;
    let (expected, found) = (three.node_id(), two.node_id());
    assert!(
        matches!(of_dialler, Err(NetError::OtherNode { expected: e, found: f }) if (e, f) == (expected, found)),
        "{of_dialler:?}"
    );
    assert!(of_listener.is_err());
}

#[tokio::test]
async fn a_chain_of_two_is_refused() {
    let (one, two) = (identity(1), identity(2));
    let shown = one.shown();
    let chain = vec![shown.certificate.clone(), two.shown().certificate.clone()];
    let dials = dialler_showing(chain, shown.key.clone_key());
    let [_, of_listener] = shake(dials, listener(&two).expect("a config")).await;
    let expected = CertificateError::Chain { certificates: 2 };
    assert!(matches!(of_listener, Err(NetError::Certificate(why)) if why == expected), "{of_listener:?}");
}

#[tokio::test]
async fn a_certificate_whose_key_one_does_not_have_is_refused() {
    let (one, two, thief) = (identity(1), identity(2), identity(3));
    // The library itself does not show a certificate with another key; a resolver shows what it is told to.
    #[derive(Debug)]
    struct Shows(Arc<rustls::sign::CertifiedKey>);
    impl rustls::client::ResolvesClientCert for Shows {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
            Some(self.0.clone())
        }
        fn has_certs(&self) -> bool {
            true
        }
    }
    let key = aws_lc_rs::sign::any_supported_type(&thief.shown().key).expect("a key");
    let stolen = rustls::sign::CertifiedKey::new(vec![one.shown().certificate.clone()], key);
    let mut dials = (*dialler(&thief, two.node_id(), STORE_PROTOCOL).expect("a config")).clone();
    dials.client_auth_cert_resolver = Arc::new(Shows(Arc::new(stolen)));
    let [_, of_listener] = shake(Arc::new(dials), listener(&two).expect("a config")).await;
    assert!(of_listener.is_err(), "{of_listener:?}");
}

#[tokio::test]
async fn nobody_without_a_certificate_gets_in_and_nobody_with_an_older_tls() {
    let two = identity(2);
    let verifier = || Arc::new(Verifier { expected: None });
    let mut nobody = ClientConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier())
        .with_no_client_auth();
    nobody.alpn_protocols = vec![STORE_PROTOCOL.to_vec()];
    let [_, of_listener] = shake(Arc::new(nobody), listener(&two).expect("a config")).await;
    assert!(of_listener.is_err(), "{of_listener:?}");

    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut old = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("TLS 1.2")
        .dangerous()
        .with_custom_certificate_verifier(verifier())
        .with_no_client_auth();
    old.alpn_protocols = vec![STORE_PROTOCOL.to_vec()];
    let [of_dialler, of_listener] = shake(Arc::new(old), listener(&two).expect("a config")).await;
    assert!(of_dialler.is_err() && of_listener.is_err());
}

#[tokio::test]
async fn who_speaks_another_protocol_is_told_so() {
    let (one, two) = (identity(1), identity(2));
    let dials = dialler(&one, two.node_id(), b"/pangea/other/1.0.0").expect("a config");
    let [of_dialler, of_listener] = shake(dials, listener(&two).expect("a config")).await;
    assert!(matches!(of_dialler, Err(NetError::OtherProtocol)), "{of_dialler:?}");
    assert!(matches!(of_listener, Err(NetError::OtherProtocol)), "{of_listener:?}");
}

#[test]
fn aes_comes_first() {
    let dials = dialler(&identity(1), NodeId([2; 32]), STORE_PROTOCOL).expect("a config");
    let suites: Vec<_> = dials.crypto_provider().cipher_suites.iter().map(|suite| suite.suite()).collect();
    use rustls::CipherSuite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384};
    assert_eq!(suites, [TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384]);
}
