//! Certificates: libp2p's published vectors, and hostile ones.

use pangea_core::id::NodeId;
use rcgen::{CertificateParams, CustomExtension, KeyPair, PublicKeyData as _, date_time_ymd};

use super::{
    CERTIFICATE_BYTES_MAX, CertificateError, EXTENSION, SIGNED_PREFIX, extension, node_of, signed_part,
};
use crate::identity::{NodeIdentity, SIGNATURE_BYTES};

/// 2026-01-01.
const NOW: i64 = 1_767_225_600;

/// Authenticates an Ed25519 key.
const ED25519: &str = "\
    308201ae30820156a0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a13096c6962703270\
    2e696f310a300806035504051301313020170d3735303130313133303030305a180f34303936303130313133303030305a30\
    2031123010060355040a13096c69627032702e696f310a300806035504051301313059301306072a8648ce3d020106082a86\
    48ce3d030107034200040c901d423c831ca85e27c73c263ba132721bb9d7a84c4f0380b2a6756fd601331c8870234dec8785\
    04c174144fa4b14b66a651691606d8173e55bd37e381569ea37c307a3078060a2b0601040183a25a0101046a306804240801\
    1220a77f1d92fedb59dddaea5a1c4abd1ac2fbde7d7b879ed364501809923d7c11b90440d90d2769db992d5e6195dbb08e70\
    6b6651e024fda6cfb8846694a435519941cac215a8207792e42849cccc6cd8136c6e4bde92a58c5e08cfd4206eb5fe0bf909\
    300a06082a8648ce3d0403020346003043021f50f6b6c52711a881778718238f650c9fb48943ae6ee6d28427dc6071ae55e7\
    02203625f116a7a454db9c56986c82a25682f7248ea1cb764d322ea983ed36a31b77";
/// Authenticates an ECDSA key: a good certificate, of no node of ours.
const ECDSA: &str = "\
    308201f63082019da0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a13096c6962703270\
    2e696f310a300806035504051301313020170d3735303130313133303030305a180f34303936303130313133303030305a30\
    2031123010060355040a13096c69627032702e696f310a300806035504051301313059301306072a8648ce3d020106082a86\
    48ce3d030107034200040c901d423c831ca85e27c73c263ba132721bb9d7a84c4f0380b2a6756fd601331c8870234dec8785\
    04c174144fa4b14b66a651691606d8173e55bd37e381569ea381c23081bf3081bc060a2b0601040183a25a01010481ad3081\
    aa045f0803125b3059301306072a8648ce3d020106082a8648ce3d03010703420004bf30511f909414ebdd3242178fd290f0\
    93a551cf75c973155de0bb5a96fedf6cb5d52da7563e794b512f66e60c7f55ba8a3acf3dd72a801980d205e8a1ad29f20447\
    30450220064ea8124774caf8f50e57f436aa62350ce652418c019df5d98a3ac666c9386a022100aa59d704a931b5f72fb922\
    2cb6cc51f954d04a4e2e5450f8805fe8918f71eaae300a06082a8648ce3d04030203470030440220799395b0b6c1e940a7e4\
    484705f610ab51ed376f19ff9d7c16757cfbf61b8d4302206205c03fbb0f95205c779be86581d3e31c01871ad5d1f3435bcf\
    375cb0e5088a";
/// Authenticates a secp256k1 key.
const SECP256K1: &str = "\
    308201ba3082015fa0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a13096c6962703270\
    2e696f310a300806035504051301313020170d3735303130313133303030305a180f34303936303130313133303030305a30\
    2031123010060355040a13096c69627032702e696f310a300806035504051301313059301306072a8648ce3d020106082a86\
    48ce3d030107034200040c901d423c831ca85e27c73c263ba132721bb9d7a84c4f0380b2a6756fd601331c8870234dec8785\
    04c174144fa4b14b66a651691606d8173e55bd37e381569ea38184308181307f060a2b0601040183a25a01010471306f0425\
    080212210206dc6968726765b820f050263ececf7f71e4955892776c0970542efd689d2382044630440220145e15a991961f\
    0d08cd15425bb95ec93f6ffa03c5a385eedc34ecf464c7a8ab022026b3109b8a3f40ef833169777eb2aa337cfb6282f188de\
    0666d1bcec2a4690dd300a06082a8648ce3d0403020349003046022100e1a217eeef9ec9204b3f774a08b70849646b6a1e6b\
    8b27f93dc00ed58545d9fe022100b00dafa549d0f03547878338c7b15e7502888f6d45db387e5ae6b5d46899cef0";
/// Claims one key and is signed by another.
const MISMATCH: &str = "\
    308201f73082019da0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a13096c6962703270\
    2e696f310a300806035504051301313020170d3735303130313133303030305a180f34303936303130313133303030305a30\
    2031123010060355040a13096c69627032702e696f310a300806035504051301313059301306072a8648ce3d020106082a86\
    48ce3d030107034200040c901d423c831ca85e27c73c263ba132721bb9d7a84c4f0380b2a6756fd601331c8870234dec8785\
    04c174144fa4b14b66a651691606d8173e55bd37e381569ea381c23081bf3081bc060a2b0601040183a25a01010481ad3081\
    aa045f0803125b3059301306072a8648ce3d020106082a8648ce3d03010703420004bf30511f909414ebdd3242178fd290f0\
    93a551cf75c973155de0bb5a96fedf6cb5d52da7563e794b512f66e60c7f55ba8a3acf3dd72a801980d205e8a1ad29f20447\
    3045022100bb6e03577b7cc7a3cd1558df0da2b117dfdcc0399bc2504ebe7de6f65cade72802206de96e2a5be9b6202adba2\
    4ee0362e490641ac45c240db71fe955f2c5cf8df6e300a06082a8648ce3d0403020348003045022100e847f267f43717358f\
    850355bdcabbefb2cfbf8a3c043b203a14788a092fe8db022027c1d04a2d41fd6b57a7e8b3989e470325de4406e52e084e34\
    a3fd56eef0d0df";
/// The key of [`ED25519`], of the peer id 12D3KooWM6CgA9iBFZmcYAHA6A2qvbAxqfkmrYiRQuz3XEsk4Ksv.
const ED25519_NODE: &str = "a77f1d92fedb59dddaea5a1c4abd1ac2fbde7d7b879ed364501809923d7c11b9";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let value = |digit: u8| (digit as char).to_digit(16).expect("a digit") as u8;
    digits.chunks(2).map(|two| value(two[0]) << 4 | value(two[1])).collect()
}

/// A certificate that somebody made who may do as he likes.
struct Forged {
    node: NodeId,
    extensions: Vec<CustomExtension>,
    years: (i32, i32),
}

impl Forged {
    /// An honest one; `sign` gives the node's signature over the certificate's key.
    fn make(self, sign: impl Fn(&[u8]) -> [u8; SIGNATURE_BYTES]) -> Vec<u8> {
        let pair = KeyPair::generate().expect("a key");
        let content = extension(self.node, &sign(&signed_part(&pair.subject_public_key_info())));
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) =
            (date_time_ymd(self.years.0, 1, 1), date_time_ymd(self.years.1, 1, 1));
        params.custom_extensions = vec![CustomExtension::from_oid_content(&EXTENSION, content)];
        params.custom_extensions.extend(self.extensions);
        params.self_signed(&pair).expect("a certificate").der().to_vec()
    }
}

fn identity(seed: u8) -> NodeIdentity {
    NodeIdentity::from_seed([seed; 32]).expect("a seed")
}

fn forged(node: NodeId) -> Forged {
    Forged { node, extensions: vec![], years: (2020, 2030) }
}

#[test]
fn the_published_vectors_of_libp2p_are_judged_as_published() {
    let node = NodeId(hex(ED25519_NODE).try_into().expect("32 bytes"));
    assert_eq!(node_of(&hex(ED25519), NOW), Ok(node));
    // Good certificates, but a node's key is an Ed25519 key.
    assert_eq!(node_of(&hex(ECDSA), NOW), Err(CertificateError::OtherKey));
    assert_eq!(node_of(&hex(SECP256K1), NOW), Err(CertificateError::OtherKey));
    assert!(node_of(&hex(MISMATCH), NOW).is_err());
}

#[test]
fn what_a_node_shows_is_believed_at_any_time() {
    let identity = identity(1);
    let certificate = &identity.shown().certificate;
    assert!(certificate.len() < 600, "{} bytes", certificate.len());
    for now in [0, NOW, 4_000_000_000, 60_000_000_000] {
        assert_eq!(node_of(certificate, now), Ok(identity.node_id()));
    }
}

#[test]
fn no_changed_byte_and_no_cut_is_believed() {
    let identity = identity(1);
    let certificate = identity.shown().certificate.to_vec();
    for at in 0..certificate.len() {
        assert!(node_of(&certificate[..at], NOW).is_err(), "cut at {at}");
        for bit in [1, 0x80] {
            let mut changed = certificate.clone();
            changed[at] ^= bit;
            assert!(node_of(&changed, NOW).is_err(), "byte {at}");
        }
    }
}

#[test]
fn hostile_certificates_are_refused_for_what_they_are() {
    let (one, two) = (identity(1), identity(2));
    let sign = |message: &[u8]| one.sign(message);
    let node = one.node_id();
    assert_eq!(node_of(&forged(node).make(sign), NOW), Ok(node), "an honest one");

    let stolen = |_: &[u8]| one.sign(b"libp2p-tls-handshake:the key of another certificate");
    assert_eq!(node_of(&forged(node).make(stolen), NOW), Err(CertificateError::NodeSignature));
    let other = forged(two.node_id()).make(sign);
    assert_eq!(node_of(&other, NOW), Err(CertificateError::NodeSignature));
    let unprefixed = |message: &[u8]| one.sign(&message[SIGNED_PREFIX.len()..]);
    assert_eq!(node_of(&forged(node).make(unprefixed), NOW), Err(CertificateError::NodeSignature));

    let old = Forged { years: (2000, 2020), ..forged(node) }.make(sign);
    assert_eq!(node_of(&old, NOW), Err(CertificateError::Validity));
    let young = Forged { years: (2030, 2040), ..forged(node) }.make(sign);
    assert_eq!(node_of(&young, NOW), Err(CertificateError::Validity));

    let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0]);
    unknown.set_criticality(true);
    let critical = Forged { extensions: vec![unknown], ..forged(node) }.make(sign);
    assert_eq!(node_of(&critical, NOW), Err(CertificateError::Critical));
    let ignored = CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0]);
    assert_eq!(node_of(&Forged { extensions: vec![ignored], ..forged(node) }.make(sign), NOW), Ok(node));
    let second = CustomExtension::from_oid_content(&EXTENSION, extension(two.node_id(), &[0; 64]));
    let twice = Forged { extensions: vec![second], ..forged(node) }.make(sign);
    assert_eq!(node_of(&twice, NOW), Err(CertificateError::NoNodeKey));
}

#[test]
fn a_certificate_without_a_nodes_key_is_refused() {
    let pair = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0])];
    let certificate = params.self_signed(&pair).expect("a certificate");
    assert_eq!(node_of(certificate.der(), NOW), Err(CertificateError::NoNodeKey));
}

#[test]
fn a_certificate_that_another_key_signed_is_refused() {
    let identity = identity(1);
    let (own, issuer) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
    let content = extension(identity.node_id(), &identity.sign(&signed_part(&own.subject_public_key_info())));
    let mut params = CertificateParams::default();
    params.custom_extensions = vec![CustomExtension::from_oid_content(&EXTENSION, content)];
    let issuer = rcgen::Issuer::new(CertificateParams::default(), issuer);
    let certificate = params.signed_by(&own, &issuer).expect("a certificate");
    assert_eq!(node_of(certificate.der(), NOW), Err(CertificateError::SelfSignature));
}

#[test]
fn a_certificate_beyond_the_bound_is_not_read() {
    let mut large = identity(1).shown().certificate.to_vec();
    large.resize(CERTIFICATE_BYTES_MAX + 1, 0);
    assert_eq!(node_of(&large, NOW), Err(CertificateError::Malformed));
}
