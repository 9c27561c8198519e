//! How two nodes meet: the TCP connection, the handshake, the greeting; from both sides, each with a deadline.
//!
//! ```text
//!  dialler                                    listener
//!     │───── TCP, TLS 1.3 (both certificates) ─────▶│  who is it? not listed: bye
//!     │───── greeting (cluster, proof) ────────────▶│  other cluster, wrong secret: bye
//!     │◀──── greeting (cluster, proof) ─────────────│
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pangea_core::id::NodeId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::error::{Awaited, NetError, Refusal};
use crate::frame::{CONTROL_BYTES_MAX, Control, FrameError, HEADER_BYTES, Header, Kind};
use crate::identity::NodeIdentity;
use crate::proof::{Cluster, GREETING_BYTES, Greeted, LABEL, Role};
use crate::tls;

/// A TCP connection is there after so long, or the address is given up.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// Handshake and greeting are done after so long.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Addresses that one name may stand for.
const ADDRESSES_MAX: usize = 8;
/// How long, and how many bytes, a refused peer is listened to, so that it can read why.
const REFUSED_MAX: Duration = Duration::from_secs(1);
const REFUSED_BYTES_MAX: usize = 4096;

/// Dials an address and makes sure that `expected` answers.
pub(crate) async fn dial(
    identity: &NodeIdentity,
    expected: NodeId,
    address: &str,
    protocol: &'static [u8],
) -> Result<TlsStream<TcpStream>, NetError> {
    let failed = |source| NetError::Address { address: address.to_owned(), source: Arc::new(source) };
    let found = timeout(CONNECT_MAX, tokio::net::lookup_host(address)).await;
    let found = found.map_err(|_| NetError::TimedOut { awaited: Awaited::Connection })?.map_err(failed)?;
    let mut why = None;
    for address in found.take(ADDRESSES_MAX) {
        match reach(identity, expected, address, protocol).await {
            Ok(stream) => return Ok(stream),
            Err(error) => why = Some(error),
        }
    }
    Err(why.unwrap_or(NetError::NoAddress))
}

async fn reach(
    identity: &NodeIdentity,
    expected: NodeId,
    address: SocketAddr,
    protocol: &'static [u8],
) -> Result<TlsStream<TcpStream>, NetError> {
    let stream = timeout(CONNECT_MAX, TcpStream::connect(address)).await;
    let stream = stream
        .map_err(|_| NetError::TimedOut { awaited: Awaited::Connection })?
        .map_err(|source| NetError::Io { source: Arc::new(source) })?;
    stream.set_nodelay(true).map_err(|source| NetError::Io { source: Arc::new(source) })?;
    let connector = TlsConnector::from(tls::dialler(identity, expected, protocol)?);
    let stream = timeout(HANDSHAKE_MAX, connector.connect(tls::no_name(), stream)).await;
    let stream = stream.map_err(|_| NetError::TimedOut { awaited: Awaited::Handshake })?;
    stream.map(TlsStream::Client).map_err(NetError::of_stream)
}

/// Greets as the dialler.
pub(crate) async fn greet(
    stream: &mut TlsStream<TcpStream>,
    cluster: &Cluster,
    said: Greeted,
) -> Result<Greeted, NetError> {
    let work = async {
        let channel = tls::channel(stream, LABEL)?;
        send_greeting(stream, &cluster.greeting(&channel, Role::Dialler, said)).await?;
        let greeting = read_greeting(stream).await?;
        cluster.check(&channel, Role::Listener, &greeting).map_err(NetError::Refusing)
    };
    let greeted = timeout(HANDSHAKE_MAX, work).await;
    let greeted = greeted.unwrap_or(Err(NetError::TimedOut { awaited: Awaited::Handshake }));
    if let Err(NetError::Refusing(reason)) = greeted {
        refuse(stream, reason).await;
    }
    greeted
}

/// Makes the handshake with someone who dialled.
pub(crate) async fn accept(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, NetError> {
    stream.set_nodelay(true).map_err(|source| NetError::Io { source: Arc::new(source) })?;
    acceptor.accept(stream).await.map(TlsStream::Server).map_err(NetError::of_stream)
}

/// Greets as the listener, if the dialler is of the cluster.
pub(crate) async fn greet_back(
    stream: &mut TlsStream<TcpStream>,
    cluster: &Cluster,
    said: Greeted,
) -> Result<Greeted, NetError> {
    let channel = tls::channel(stream, LABEL)?;
    let greeting = read_greeting(stream).await?;
    let greeted = cluster.check(&channel, Role::Dialler, &greeting).map_err(NetError::Refusing)?;
    send_greeting(stream, &cluster.greeting(&channel, Role::Listener, said)).await?;
    Ok(greeted)
}

async fn send_greeting(
    stream: &mut TlsStream<TcpStream>,
    greeting: &[u8; GREETING_BYTES],
) -> Result<(), NetError> {
    let header = Header { kind: Kind::Greeting, head_bytes: GREETING_BYTES, body_bytes: 0 }.encode();
    stream.write_all(&[header.as_slice(), greeting].concat()).await.map_err(NetError::of_stream)?;
    stream.flush().await.map_err(NetError::of_stream)
}

async fn read_greeting(stream: &mut TlsStream<TcpStream>) -> Result<[u8; GREETING_BYTES], NetError> {
    let header = read_header(stream).await?;
    if header.kind != Kind::Greeting {
        return Err(NetError::Frame(FrameError::Unexpected(header.kind)));
    }
    let mut greeting = [0; GREETING_BYTES];
    stream.read_exact(&mut greeting).await.map_err(NetError::of_stream)?;
    Ok(greeting)
}

/// Reads a header outside an established connection; a bye there is an error.
pub(crate) async fn read_header(stream: &mut TlsStream<TcpStream>) -> Result<Header, NetError> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).await.map_err(NetError::of_stream)?;
    let header = Header::decode(header).map_err(NetError::Frame)?;
    if header.kind != Kind::Bye {
        return Ok(header);
    }
    let mut head = [0; CONTROL_BYTES_MAX];
    let head = &mut head[..header.head_bytes];
    stream.read_exact(head).await.map_err(NetError::of_stream)?;
    match Control::decode(header.kind, head).map_err(NetError::Frame)? {
        Control::Bye(reason) => Err(NetError::Refused(reason)),
        _ => Err(NetError::Frame(FrameError::Unexpected(header.kind))),
    }
}

/// Says why, hangs up, and waits a moment for the other side to have read it: a socket that is closed over unread bytes
/// takes back what was sent.
pub(crate) async fn refuse(stream: &mut TlsStream<TcpStream>, reason: Refusal) {
    let work = async {
        let mut frame = Vec::new();
        Control::Bye(reason).encode(&mut frame);
        stream.write_all(&frame).await?;
        stream.shutdown().await?;
        let (mut rest, mut read) = ([0; 256], 0);
        while read < REFUSED_BYTES_MAX {
            match stream.read(&mut rest).await? {
                0 => break,
                count => read += count,
            }
        }
        Ok::<(), std::io::Error>(())
    };
    // Whoever does not listen learns nothing.
    let _ = timeout(REFUSED_MAX, work).await;
}
