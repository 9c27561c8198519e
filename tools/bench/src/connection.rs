//! Connections: one keep-alive HTTP/1.1 connection to an S3 server, and signed requests over it.
//!
//! Owns what a request looks like. A connection that the server closed is opened again before the next request; a request
//! is never repeated, so an error is always counted.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use crate::quick_ack::QuickAck;
use crate::sigv4::{self, Moment, Signer};

/// A request that takes longer has failed.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(120);
/// An XML answer is never longer.
const ANSWER_BYTES_MAX: usize = 8 << 20;
const ERROR_CHARS_KEPT: usize = 300;

/// A server and who we are to it.
pub struct Endpoint {
    address: SocketAddr,
    host: String,
    signer: Signer,
    /// Whether PUT bodies are hashed and signed; over plain HTTP clients do either.
    sign_bodies: bool,
}

/// Why a request did not do what it should.
#[derive(Debug)]
pub enum Failure {
    /// The server said no.
    Refused {
        /// The status.
        status: StatusCode,
        /// The beginning of the body.
        says: String,
    },
    /// The connection broke, or could not be made.
    Broken(String),
    /// No answer within [`REQUEST_TIME_MAX`].
    Late,
    /// The bytes that came are not the bytes that were sent; the run is worthless.
    WrongBytes {
        /// Where the object lies.
        path: String,
        /// Offset of the frame that differs, or of the end that came early.
        at: u64,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { status, says } => write!(f, "{status}: {says}"),
            Self::Broken(what) => write!(f, "connection: {what}"),
            Self::Late => write!(f, "no answer within {} s", REQUEST_TIME_MAX.as_secs()),
            Self::WrongBytes { path, at } => write!(f, "WRONG BYTES in {path} at {at}"),
        }
    }
}

impl std::error::Error for Failure {}

impl Endpoint {
    /// Takes `http://HOST:PORT`.
    pub fn new(url: &str, signer: Signer, sign_bodies: bool) -> Result<Self> {
        let host = url
            .strip_prefix("http://")
            .with_context(|| format!("{url}: only http:// endpoints can be measured"))?
            .trim_end_matches('/');
        ensure!(!host.contains('/'), "{url}: an endpoint has no path");
        let with_port = if host.contains(':') { host.to_string() } else { format!("{host}:80") };
        let address = with_port
            .to_socket_addrs()
            .with_context(|| format!("resolving {url}"))?
            .next()
            .with_context(|| format!("{url} has no address"))?;
        Ok(Self { address, host: host.to_string(), signer, sign_bodies })
    }

    fn request(&self, method: Method, path: &str, query: &str, body: Bytes) -> Result<Request<Full<Bytes>>> {
        let now = Moment::now()?;
        let payload = match (body.is_empty(), self.sign_bodies) {
            (true, _) => sigv4::EMPTY.to_string(),
            (false, true) => sigv4::payload_hash(&body),
            (false, false) => sigv4::UNSIGNED.to_string(),
        };
        let signed =
            sigv4::Request { method: method.as_str(), path, query, host: &self.host, payload: &payload };
        let authorization = self.signer.authorization(&signed, &now);
        let target = if query.is_empty() { path.to_string() } else { format!("{path}?{query}") };
        Ok(Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, &self.host)
            .header("x-amz-content-sha256", payload)
            .header("x-amz-date", now.text)
            .header(AUTHORIZATION, authorization)
            .body(Full::new(body))?)
    }
}

/// One connection.
pub struct Connection {
    endpoint: Rc<Endpoint>,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// Connects. Must run on a `LocalSet`: the connection's own work is spawned there and ends with the connection.
    pub async fn open(endpoint: &Rc<Endpoint>) -> Result<Self, Failure> {
        let mut connection = Self { endpoint: endpoint.clone(), sender: None };
        connection.ready().await?;
        Ok(connection)
    }

    async fn ready(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, Failure> {
        // Taken out: a request that is given up half-way leaves no connection behind.
        let kept = match self.sender.take() {
            Some(mut sender) => sender.ready().await.is_ok().then_some(sender),
            None => None,
        };
        let sender = match kept {
            Some(sender) => sender,
            None => {
                let stream = QuickAck::connect(self.endpoint.address).await.map_err(Failure::broken)?;
                let (sender, work) = handshake(TokioIo::new(stream)).await.map_err(Failure::broken)?;
                // Its errors reach the request that suffers from them.
                tokio::task::spawn_local(async move {
                    let _ = work.await;
                });
                sender
            }
        };
        Ok(self.sender.insert(sender))
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        query: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Failure> {
        let request = self.endpoint.request(method, path, query, body).map_err(Failure::broken)?;
        let response = self.ready().await?.send_request(request).await.map_err(Failure::broken)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let says = text(response).await.unwrap_or_default().chars().take(ERROR_CHARS_KEPT).collect();
        Err(Failure::Refused { status, says })
    }

    /// Sends a request whose answer's body is read and not looked at.
    pub async fn order(&mut self, method: Method, path: &str, body: Bytes) -> Result<(), Failure> {
        let work = async {
            let mut answer = self.send(method, path, "", body).await?.into_body();
            while let Some(frame) = answer.frame().await {
                frame.map_err(Failure::broken)?;
            }
            Ok(())
        };
        let outcome = in_time(work).await;
        self.keep_if_whole(outcome)
    }

    /// Reads an object and compares it, frame by frame, with what it must be.
    pub async fn get(&mut self, path: &str, expected: &Bytes) -> Result<(), Failure> {
        let work = async {
            let mut body = self.send(Method::GET, path, "", Bytes::new()).await?.into_body();
            let mut at = 0;
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame.map_err(Failure::broken)?.into_data() {
                    let end = at + data.len();
                    if expected.get(at..end) != Some(&data[..]) {
                        return Err(Failure::WrongBytes { path: path.to_string(), at: at as u64 });
                    }
                    at = end;
                }
            }
            if at != expected.len() {
                return Err(Failure::WrongBytes { path: path.to_string(), at: at as u64 });
            }
            Ok(())
        };
        let outcome = in_time(work).await;
        self.keep_if_whole(outcome)
    }

    /// After anything but a clean answer nobody knows where the stream stands: the next request gets a new one.
    fn keep_if_whole<T>(&mut self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        if !matches!(outcome, Ok(_) | Err(Failure::Refused { .. })) {
            self.sender = None;
        }
        outcome
    }

    /// Asks for an XML page.
    pub async fn page(&mut self, path: &str, query: &str) -> Result<String, Failure> {
        let work = async { text(self.send(Method::GET, path, query, Bytes::new()).await?).await };
        let outcome = in_time(work).await;
        self.keep_if_whole(outcome)
    }
}

impl Failure {
    fn broken(error: impl fmt::Display + fmt::Debug) -> Self {
        // hyper's Display hides the cause that matters ("connection error"), its Debug does not.
        Self::Broken(format!("{error:?}"))
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(REQUEST_TIME_MAX, work).await.unwrap_or(Err(Failure::Late))
}

async fn text(response: Response<Incoming>) -> Result<String, Failure> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
    let bytes = body.collect().await.map_err(|error| Failure::Broken(error.to_string()))?.to_bytes();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
