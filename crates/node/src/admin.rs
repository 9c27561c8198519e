//! The admin listener: health, metrics and the operators' [`Control`], over plain HTTP/1.1.
//!
//! Health and metrics are for everyone who can reach the port. Whatever changes something, or could show a key, needs the
//! operator token as `Authorization: Bearer`: the configured one, or one made at every start and kept in `admin.token`,
//! readable by its owner only. A browser page can forge neither; on a loopback address foreign `Host` names are
//! refused as well, so that no page can rebind its own name to this port and read the status.
//!
//! | route | token | answer |
//! |---|---|---|
//! | `GET /health/live` | | 200 while the process runs |
//! | `GET /health/ready` | | 200 while S3 is served, else 503 |
//! | `GET /metrics` | | Prometheus text |
//! | `GET /control/v1/hello` | | where the token lies |
//! | `GET /control/v1/status` | only a configured one | [`Status`](crate::control::Status) |
//! | `GET /control/v1/scrub/N` | only a configured one | [`PassReport`](crate::control::PassReport) |
//! | `POST /control/v1/scrub` | yes | [`Pass`](crate::control::Pass) |
//! | `POST /control/v1/layout` | yes | [`LayoutPlan`](crate::control::LayoutPlan) |
//! | `POST /control/v1/recode` | yes | [`Recoding`](crate::control::Recoding) |
//! | `POST /control/v1/worker` | yes | [`WorkerStatus`](crate::control::WorkerStatus) |
//! | `POST /control/v1/cluster/token` | yes | [`MadeToken`](crate::control::MadeToken) |
//! | `POST /control/v1/cluster/remove` | yes | nothing |
//! | `POST /control/v1/cluster/cut` | yes | nothing |
//! | `POST /control/v1/keys/rotate` | yes | [`Rotated`](crate::control::Rotated) |
//! | `POST /control/v1/keys/backup` | yes | [`KeyBackup`](crate::control::KeyBackup) |
//! | `POST /control/v1/meta/backup` | yes | [`MetaBackup`](crate::control::MetaBackup) |
//! | `POST /control/v1/meta/backup/read` | yes | [`MetaBackupBytes`](crate::control::MetaBackupBytes) |
//! | `POST /control/v1/access-keys/create` | yes | [`CreatedAccessKey`](crate::control::CreatedAccessKey) |
//! | `POST /control/v1/access-keys/list` | yes | [`AccessKeyInfo`](crate::control::AccessKeyInfo), a list |
//! | `POST /control/v1/access-keys/revoke` | yes | nothing |

mod patience;
#[cfg(test)]
mod tests;
mod token;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::control::{
    Control, ControlError, LayoutWish, MetaBackupPart, NewAccessKey, RecodeWish, Rotation, TokenWish,
    WorkerWish,
};
use crate::entropy::SystemEntropy;

use patience::Patience;

pub use token::{TOKEN_FILE_NAME, Token};
pub(crate) use token::{hex, unhex};

/// Connections at a time; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 1 << 20;
/// From a request's first byte to the end of its head, and for its body.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer may take none of its answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long running requests may go on after the end was asked for.
const DRAIN: Duration = Duration::from_secs(2);
/// A pause after the system refused to accept: usually too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Gives the text of `/metrics`.
pub type Metrics = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = String> + Send>> + Send + Sync>;

/// What the listener shows.
pub struct Parts {
    /// What operators may ask.
    pub control: Arc<dyn Control>,
    /// Whether S3 is served.
    pub ready: Arc<AtomicBool>,
    /// Everything in Prometheus' text format.
    pub metrics: Metrics,
    /// What operators must show.
    pub token: Token,
}

/// Serves until `stop` turns true; running requests get a moment to end.
pub async fn serve(listener: TcpListener, parts: Arc<Parts>, mut stop: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = accept(&listener, &room) => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, permit) = accepted;
        let parts = parts.clone();
        connections.spawn(async move {
            serve_connection(stream, parts, loopback).await;
            drop(permit);
        });
    }
    // Whatever takes longer is cut off: operators ask again.
    let drained = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN, drained).await;
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, tokio::sync::OwnedSemaphorePermit) {
    let permit = room.clone().acquire_owned().await.expect("nobody closes the semaphore");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) => {
                tracing::warn!(%error, "the admin listener could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, parts: Arc<Parts>, loopback: bool) {
    // Small answers must not wait for the peer's delayed acknowledgement; without it they are only slower.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let parts = parts.clone();
        async move { Ok::<_, Infallible>(answer(&parts, request, loopback).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(Patience::new(stream, WRITE_TIMEOUT)), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an admin connection broke");
    }
}

type Answer = Response<Full<Bytes>>;

/// An answer in place of the one that was asked for.
struct Refusal {
    status: StatusCode,
    kind: &'static str,
    body: Bytes,
}

async fn answer(parts: &Parts, request: Request<Incoming>, loopback: bool) -> Answer {
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::GET, "/health/live") => text(StatusCode::OK, "live\n"),
        (&Method::GET, "/health/ready") if parts.ready.load(Ordering::Acquire) => {
            text(StatusCode::OK, "ready\n")
        }
        (&Method::GET, "/health/ready") => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        (&Method::GET, "/metrics") => {
            reply(StatusCode::OK, "text/plain; version=0.0.4", (parts.metrics)().await.into())
        }
        _ if path.starts_with("/control/") => match control(parts, request, &path, loopback).await {
            Ok(body) => reply(StatusCode::OK, JSON, body),
            Err(refusal) => reply(refusal.status, refusal.kind, refusal.body),
        },
        _ => text(StatusCode::NOT_FOUND, "no such page\n"),
    }
}

async fn control(
    parts: &Parts,
    request: Request<Incoming>,
    path: &str,
    loopback: bool,
) -> Result<Bytes, Refusal> {
    if loopback && !names_loopback(&request) {
        return Err(say(StatusCode::FORBIDDEN, "this port answers to its loopback address only\n"));
    }
    let shown = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let trusted = parts.token.accepts(shown.and_then(|value| value.strip_prefix("Bearer ")));
    let reading = request.method() == Method::GET;
    let open = reading && (path == "/control/v1/hello" || !parts.token.is_configured());
    if !trusted && !open {
        let why = "this needs the operator token".into();
        return Err(refuse(StatusCode::UNAUTHORIZED, &ControlError::Unauthorized { why }));
    }
    let control = &parts.control;
    if reading {
        return match path.strip_prefix("/control/v1/") {
            Some("hello") => json_bytes(&json!({ "token_file": parts.token.file(&SystemEntropy) })),
            Some("status") => done(control.status().await),
            Some(rest) => match rest.strip_prefix("scrub/").map(str::parse) {
                Some(Ok(pass)) => done(control.pass(pass).await),
                _ => Err(say(StatusCode::NOT_FOUND, "no such page\n")),
            },
            None => Err(say(StatusCode::NOT_FOUND, "no such page\n")),
        };
    }
    if let Some(wish) = path.strip_prefix("/control/v1/cluster/") {
        return cluster(&**control, request, wish).await;
    }
    wished(&**control, request, path).await
}

/// What operators wish of the cluster.
async fn cluster(control: &dyn Control, request: Request<Incoming>, wish: &str) -> Result<Bytes, Refusal> {
    match (request.method(), wish) {
        (&Method::POST, "token") => {
            let wish: TokenWish = read(request).await?;
            done(control.make_join_token(wish).await)
        }
        (&Method::POST, "remove") => {
            let node: String = read(request).await?;
            done(control.remove_node(node).await)
        }
        (&Method::POST, "cut") => {
            let nodes: Vec<String> = read(request).await?;
            done(control.cut_off(nodes).await)
        }
        _ => Err(say(StatusCode::NOT_FOUND, "no such page\n")),
    }
}

/// What else they wish.
async fn wished(control: &dyn Control, request: Request<Incoming>, path: &str) -> Result<Bytes, Refusal> {
    match (request.method(), path) {
        (&Method::POST, "/control/v1/scrub") => done(control.scrub().await),
        (&Method::POST, "/control/v1/layout") => {
            let wish: LayoutWish = read(request).await?;
            done(control.change_layout(wish).await)
        }
        (&Method::POST, "/control/v1/recode") => {
            let wish: RecodeWish = read(request).await?;
            done(control.recode(wish).await)
        }
        (&Method::POST, "/control/v1/worker") => {
            let wish: WorkerWish = read(request).await?;
            done(control.set_worker(wish).await)
        }
        (&Method::POST, "/control/v1/keys/rotate") => {
            let rotation: Rotation = read(request).await?;
            done(control.rotate_keys(rotation).await)
        }
        (&Method::POST, "/control/v1/meta/backup") => done(control.back_up_meta().await),
        (&Method::POST, "/control/v1/meta/backup/read") => {
            let wanted: MetaBackupPart = read(request).await?;
            done(control.read_meta_backup(wanted).await)
        }
        (&Method::POST, "/control/v1/access-keys/create") => {
            let wanted: NewAccessKey = read(request).await?;
            done(control.create_access_key(wanted).await)
        }
        (&Method::POST, "/control/v1/access-keys/list") => done(control.access_keys().await),
        (&Method::POST, "/control/v1/access-keys/revoke") => {
            let id: String = read(request).await?;
            done(control.revoke_access_key(id).await)
        }
        (&Method::POST, "/control/v1/keys/backup") => {
            let passphrase: String = read(request).await?;
            done(control.back_up_keys(passphrase).await)
        }
        _ => Err(say(StatusCode::NOT_FOUND, "no such page\n")),
    }
}

/// Whether the request calls the loopback by an address or as `localhost`: a page that rebinds its name cannot.
fn names_loopback(request: &Request<Incoming>) -> bool {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    is_loopback_name(host)
}

fn is_loopback_name(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    name == "localhost"
        || host.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
        || name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refusal> {
    let refused = |why: String| refuse(StatusCode::BAD_REQUEST, &ControlError::Refused { why });
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    let body = match tokio::time::timeout(READ_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return Err(refused(format!("the request's body: {error}"))),
        Err(_) => return Err(refused("the request's body did not come in time".into())),
    };
    serde_json::from_slice(&body).map_err(|error| refused(format!("the request's body: {error}")))
}

fn done<T: Serialize>(result: Result<T, ControlError>) -> Result<Bytes, Refusal> {
    match result {
        Ok(value) => json_bytes(&value),
        Err(error @ ControlError::Refused { .. }) => Err(refuse(StatusCode::CONFLICT, &error)),
        Err(error) => Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, &error)),
    }
}

fn json_bytes<T: Serialize>(value: &T) -> Result<Bytes, Refusal> {
    let failed = |error: serde_json::Error| say(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"));
    serde_json::to_vec(value).map(Bytes::from).map_err(failed)
}

fn refuse(status: StatusCode, error: &ControlError) -> Refusal {
    match json_bytes(error) {
        Ok(body) => Refusal { status, kind: JSON, body },
        Err(refusal) => refusal,
    }
}

fn say(status: StatusCode, text: impl Into<Bytes>) -> Refusal {
    Refusal { status, kind: TEXT, body: text.into() }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    reply(status, TEXT, body.into())
}

fn reply(status: StatusCode, kind: &'static str, body: Bytes) -> Answer {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, kind)
        .header(CACHE_CONTROL, "no-store")
        .body(Full::new(body))
        .expect("fixed headers are valid")
}
