//! The admin port over a real socket: who is let in, and what bad requests cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::patience::Patience;
use super::{Parts, Token, WRITE_TIMEOUT, is_loopback_name, serve};
use crate::config::Secret;
use crate::control::{
    AccessKeyInfo, Control, ControlError, CreatedAccessKey, KeyBackup, LayoutPlan, LayoutWish, MadeToken,
    MetaBackup, MetaBackupBytes, MetaBackupPart, NewAccessKey, Pass, PassReport, RecodeWish, Recoding, Reply,
    Rotated, Rotation, Status, TokenWish, WorkerStatus, WorkerWish,
};
use crate::entropy::SystemEntropy;
use crate::remote::Remote;
use crate::scratch::Scratch;

/// A node that scrubs at once and refuses the rest.
struct Puppet;

fn refused<'a, T: Send + 'a>() -> Reply<'a, T> {
    Box::pin(std::future::ready(Err(ControlError::Refused { why: "not today".into() })))
}

impl Control for Puppet {
    fn status(&self) -> Reply<'_, Status> {
        refused()
    }
    fn scrub(&self) -> Reply<'_, Pass> {
        Box::pin(std::future::ready(Ok(Pass { pass: 7 })))
    }
    fn pass(&self, pass: u64) -> Reply<'_, PassReport> {
        let report = PassReport { pass, finished: true, done: 1, total: Some(1), report: None, error: None };
        Box::pin(std::future::ready(Ok(report)))
    }
    fn rotate_keys(&self, _: Rotation) -> Reply<'_, Rotated> {
        refused()
    }
    fn create_access_key(&self, _: NewAccessKey) -> Reply<'_, CreatedAccessKey> {
        refused()
    }
    fn access_keys(&self) -> Reply<'_, Vec<AccessKeyInfo>> {
        refused()
    }
    fn revoke_access_key(&self, _: String) -> Reply<'_, ()> {
        refused()
    }
    fn change_layout(&self, _: LayoutWish) -> Reply<'_, LayoutPlan> {
        refused()
    }
    fn recode(&self, _: RecodeWish) -> Reply<'_, Recoding> {
        refused()
    }
    fn make_join_token(&self, _: TokenWish) -> Reply<'_, MadeToken> {
        unreachable!("not asked for")
    }
    fn cut_off(&self, _: Vec<String>) -> Reply<'_, ()> {
        unreachable!("not asked for")
    }
    fn remove_node(&self, _: String) -> Reply<'_, ()> {
        unreachable!("not asked for")
    }
    fn set_worker(&self, _: WorkerWish) -> Reply<'_, WorkerStatus> {
        refused()
    }
    fn back_up_meta(&self) -> Reply<'_, MetaBackup> {
        Box::pin(std::future::ready(Err(ControlError::Failed { why: "no snapshot".into() })))
    }

    fn read_meta_backup(&self, wanted: MetaBackupPart) -> Reply<'_, MetaBackupBytes> {
        Box::pin(std::future::ready(Ok(MetaBackupBytes { hex: format!("{:02x}", wanted.offset) })))
    }

    fn back_up_keys(&self, passphrase: String) -> Reply<'_, KeyBackup> {
        Box::pin(std::future::ready(Ok(KeyBackup { hex: passphrase })))
    }
}

struct Running {
    address: String,
    ready: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    served: tokio::task::JoinHandle<()>,
}

async fn start(token: Token) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let ready = Arc::new(AtomicBool::new(false));
    let parts = Parts {
        control: Arc::new(Puppet),
        ready: ready.clone(),
        metrics: Arc::new(|| Box::pin(async { "pangea_up 1\n".to_owned() })),
        token,
    };
    let (stop, stopped) = watch::channel(false);
    let served = tokio::spawn(serve(listener, Arc::new(parts), stopped));
    Running { address, ready, stop, served }
}

fn drawn_in(directory: &std::path::Path) -> Token {
    let home = directory.to_path_buf();
    Token::draw(Box::new(move || vec![home.clone()]), &SystemEntropy).expect("drawn")
}

async fn ask(running: &Running, request: &str) -> String {
    let mut stream = TcpStream::connect(&running.address).await.expect("listening");
    stream.write_all(request.replace("HOST", &running.address).as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer.lines().next().unwrap_or("").to_owned() + "|" + answer.rsplit("\r\n\r\n").next().unwrap_or("")
}

#[tokio::test]
async fn health_and_metrics_are_for_everyone() {
    let running = start(Token::configured(&Secret::new("0123456789abcdef"))).await;
    let get =
        async |path: &str| ask(&running, &format!("GET {path} HTTP/1.1\r\nHost: anything\r\n\r\n")).await;
    assert_eq!(get("/health/live").await, "HTTP/1.1 200 OK|live\n");
    assert_eq!(get("/health/ready").await, "HTTP/1.1 503 Service Unavailable|not ready\n");
    running.ready.store(true, Ordering::Release);
    assert_eq!(get("/health/ready").await, "HTTP/1.1 200 OK|ready\n");
    assert_eq!(get("/metrics").await, "HTTP/1.1 200 OK|pangea_up 1\n");
    assert!(get("/elsewhere").await.starts_with("HTTP/1.1 404"));
    running.stop.send_replace(true);
    running.served.await.expect("it ends when told");
}

#[tokio::test]
async fn what_changes_something_needs_the_token_and_the_right_name() {
    let scratch = Scratch::new("admin");
    let running = start(drawn_in(scratch.path())).await;
    let post =
        |host: &str, extra: &str| format!("POST /control/v1/scrub HTTP/1.1\r\nHost: {host}\r\n{extra}\r\n");
    assert!(ask(&running, &post("HOST", "")).await.starts_with("HTTP/1.1 401"));
    assert!(ask(&running, &post("HOST", "Authorization: Bearer 00\r\n")).await.starts_with("HTTP/1.1 401"));
    let token = std::fs::read_to_string(scratch.path().join("admin.token")).expect("there");
    let right = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(ask(&running, &post("HOST", &right)).await, "HTTP/1.1 200 OK|{\"pass\":7}");
    assert!(ask(&running, &post("evil.example", &right)).await.starts_with("HTTP/1.1 403"));
}

#[tokio::test]
async fn the_command_line_finds_the_token_by_itself() {
    let scratch = Scratch::new("admin-remote");
    let running = start(drawn_in(scratch.path())).await;
    let remote = Remote::new(&format!("http://{}", running.address), None).expect("a valid address");
    assert_eq!(remote.scrub().await, Ok(Pass { pass: 7 }));
    assert!(remote.pass(7).await.expect("answered").finished);
    assert_eq!(remote.back_up_keys("00ff".into()).await, Ok(KeyBackup { hex: "00ff".into() }));
    assert_eq!(remote.status().await, Err(ControlError::Refused { why: "not today".into() }));
}

#[tokio::test]
async fn a_configured_token_guards_reading_too() {
    let running = start(Token::configured(&Secret::new("0123456789abcdef"))).await;
    let address = format!("http://{}", running.address);
    let stranger = Remote::new(&address, None).expect("a valid address");
    assert!(matches!(stranger.pass(7).await, Err(ControlError::Unauthorized { .. })));
    let operator = Remote::new(&address, Some(Secret::new("0123456789abcdef"))).expect("a valid address");
    assert!(operator.pass(7).await.is_ok());
}

#[test]
fn loopback_names_are_recognised() {
    for good in
        ["localhost", "localhost:9001", "127.0.0.1", "127.0.0.1:9001", "[::1]:9001", "[::1]", "127.8.8.8:1"]
    {
        assert!(is_loopback_name(good), "{good}");
    }
    for bad in
        ["", "evil.example", "evil.example:9001", "localhost.evil.example", "10.0.0.1:9001", "127.0.0.1.evil"]
    {
        assert!(!is_loopback_name(bad), "{bad}");
    }
}

/// Sixty-four such peers took the port from the operators until they went away by themselves.
#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_of_its_answer_is_given_up() {
    let (mut peer, socket) = tokio::io::duplex(64);
    let mut socket = Patience::new(socket, WRITE_TIMEOUT);
    let start = tokio::time::Instant::now();
    let taking = async {
        for _ in 0..3 {
            tokio::time::sleep(WRITE_TIMEOUT / 2).await;
            peer.read_exact(&mut [0; 64]).await.expect("more comes");
        }
        std::future::pending::<()>().await;
    };
    let writing = async {
        let error = socket.write_all(&[0; 1024]).await.expect_err("the peer stops reading");
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    };
    tokio::select! { () = writing => {}, () = taking => {} }
    assert_eq!(start.elapsed().as_secs(), (WRITE_TIMEOUT / 2 * 5).as_secs(), "three times it was in time");
}

#[tokio::test]
async fn a_token_that_left_with_its_drive_is_made_anew_on_another_one() {
    let (first, second) = (Scratch::new("token-first"), Scratch::new("token-second"));
    let homes = [first.path().to_path_buf(), second.path().to_path_buf()];
    let token = Token::draw(Box::new(move || homes.to_vec()), &SystemEntropy).expect("drawn");
    let read = |file: std::path::PathBuf| std::fs::read_to_string(file).expect("readable");
    let before = read(token.file(&SystemEntropy).expect("drawn"));
    assert!(token.accepts(Some(&before)));
    std::fs::remove_dir_all(first.path()).expect("gone");
    let after = token.file(&SystemEntropy).expect("made anew");
    assert!(after.starts_with(second.path().canonicalize().expect("there")));
    assert!(token.accepts(Some(&read(after))) && !token.accepts(Some(&before)));
}

/// Found by pulling the first of four drives in mid-write (tests/clients/power.py): the next start was refused, although three
/// drives held everything.
#[test]
fn a_drive_that_takes_no_token_is_passed_over() {
    let well = Scratch::new("token-well");
    let broken = well.path().join("not there");
    let homes = [broken.clone(), well.path().to_path_buf()];
    let token = Token::draw(Box::new(move || homes.to_vec()), &SystemEntropy).expect("one of them takes it");
    let file = token.file(&SystemEntropy).expect("it is kept");
    assert!(file.starts_with(well.path().canonicalize().expect("there")));
    assert!(Token::draw(Box::new(move || vec![broken.clone()]), &SystemEntropy).is_err());

    // What can no longer be read is made anew.
    std::fs::write(&file, b"spoilt").expect("writable");
    let shown = std::fs::read_to_string(token.file(&SystemEntropy).expect("it is kept")).expect("readable");
    assert!(token.accepts(Some(&shown)) && !token.accepts(Some("spoilt")));
}
