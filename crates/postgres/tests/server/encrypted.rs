//! TLS: what each `sslmode` takes, with certificates of our own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use pangea_postgres::scratch::{Disk, Server};
use pangea_postgres::{OpenError, Options, PostgresMeta};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::{apply, create_bucket, options};

/// A root, and a certificate by it for `localhost` alone.
struct Authority {
    root: String,
    certificate: String,
    key: String,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let root = params.self_signed(&key).expect("it signs itself").pem();
    let issuer = Issuer::new(params, key);
    let server_key = KeyPair::generate().expect("a key");
    let server = CertificateParams::new(vec!["localhost".to_owned()]).expect("a good name");
    let certificate = server.signed_by(&server_key, &issuer).expect("the root signs").pem();
    Authority { root, certificate, key: server_key.serialize_pem() }
}

/// Files that the server's user may read.
fn written(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).expect("it can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    if Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.starts_with(b"0\n")) {
        let given = Command::new("chown").arg("postgres").arg(&path).status();
        assert!(given.is_ok_and(|status| status.success()), "it can be given to the server's user");
    }
    path
}

fn open(url: &str, roots: Option<&str>) -> Result<PostgresMeta, OpenError> {
    let roots = roots.map(|pem| pem.as_bytes().to_vec());
    PostgresMeta::open(Options { roots, ..options(url) })
}

#[test]
fn each_mode_takes_what_it_should_and_nothing_else() {
    let (ours, strangers) = (authority(), authority());
    let dir = std::env::temp_dir().join(format!("pangea-pg-{}-tls", std::process::id()));
    fs::create_dir_all(&dir).expect("a temporary directory can be made");
    let certificate = written(&dir, "server.crt", &ours.certificate);
    let key = written(&dir, "server.key", &ours.key);
    let settings = [
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", certificate.display()),
        format!("ssl_key_file={}", key.display()),
    ];
    let server = Server::start_with(Disk::Quick, &settings.each_ref().map(String::as_str));
    let at = |host: &str, mode: &str| {
        format!("postgres://postgres@{host}:{}/postgres?sslmode={mode}", server.port())
    };
    for (host, mode, roots, opens) in [
        ("127.0.0.1", "disable", None, true),
        ("127.0.0.1", "prefer", None, true),
        ("127.0.0.1", "require", Some(&strangers), true),
        ("127.0.0.1", "verify-ca", Some(&ours), true),
        ("127.0.0.1", "verify-ca", Some(&strangers), false),
        ("localhost", "verify-full", Some(&ours), true),
        ("localhost", "verify-full", Some(&strangers), false),
        ("127.0.0.1", "verify-full", Some(&ours), false), // the certificate names localhost
    ] {
        match open(&at(host, mode), roots.map(|authority| authority.root.as_str())) {
            Ok(meta) => {
                assert!(opens, "{host} {mode} let a stranger in");
                apply(&meta, create_bucket());
                let shown = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                             WHERE application_name = 'pangea'";
                assert_eq!(server.sql(shown) == "t", mode != "disable", "{mode}: encrypted");
            }
            Err(error) => {
                assert!(!opens && matches!(error, OpenError::Tls { .. }), "{host} {mode}: {error}");
            }
        }
    }
    let no_roots = open(&at("localhost", "verify-full"), Some("nothing")).map(drop);
    assert!(matches!(no_roots, Err(OpenError::Tls { .. })));
    fs::remove_dir_all(&dir).expect("it is ours");
}
